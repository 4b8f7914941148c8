//! The clients, from their ends of the lines, and what the server must answer.

use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use vft::fuzzing::auth::{Side, Transcript};
use vft::fuzzing::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE, VERSION};
use vft::fuzzing::message::{
    Ack, ClientMessage, Heartbeat, MAX_TRAPS, Reason, Report, ServerMessage, Welcome, decode,
    encode,
};
use vft::fuzzing::permits::Permits;
use vft::fuzzing::permits::places::Bounds;
use vft::fuzzing::server_session::{Context, serve};

use crate::input::{
    Guard, How, Input, MAX_STEPS, Opening, Place, Room, SECRET, Said, Step, id, report,
};
use crate::outcome::{Disk, Expected, Taken};

/// Longer than any answer takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection, from the client's end.
pub struct Line<'scope> {
    pub socket: TcpStream,
    pub server: ScopedJoinHandle<'scope, ()>,
    pub key: Place,
    pub instance: Place,
    /// Whether the server knew it before this session.
    pub known: bool,
    /// What has come by what the server knows in this session.
    pub received: u64,
}

impl Line<'_> {
    /// The server may have gone by now; what it said still counts.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    pub fn send_frame(&mut self, message: &[u8]) {
        self.send(&frame::framed(message).unwrap());
    }

    pub fn send_no_more(&mut self) {
        drop(self.socket.shutdown(Shutdown::Write));
    }

    /// The next message and its bytes; `None` is the end.
    pub fn hear(&mut self) -> Option<(ServerMessage, Vec<u8>)> {
        let mut message = Vec::new();
        match frame::read(&mut self.socket, MAX_FRAME, &mut message) {
            Ok(()) => Some((decode(&message).expect("a message"), message)),
            Err(FrameError::Closed) => None,
            Err(FrameError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither an answer nor the end: {error}"),
        }
    }

    pub fn is_refused(&mut self, reason: Reason) {
        match self.hear() {
            Some((ServerMessage::Refused(refused), _)) => assert_eq!(refused.reason, reason),
            other => panic!("{other:?} and not {reason:?}"),
        }
    }

    pub fn refused(mut self, reason: Reason) {
        self.is_refused(reason);
        self.ended();
    }

    pub fn ended(mut self) {
        let last = self.hear();
        assert!(last.is_none(), "{last:?} and not the end");
        self.server.join().unwrap();
    }

    pub fn leave(mut self) {
        self.send_no_more();
        self.ended();
    }
}

pub type LinesOf<'scope> = [Option<Line<'scope>>; 2];

pub struct World<'a> {
    pub context: &'a Context,
    pub permits: Permits,
    pub disk: &'a Disk,
    pub guard: Guard,
    pub room: Room,
    /// Who has been welcomed before, so that the server knows them.
    pub known: [bool; 2],
    /// How far each client has come, and how far of that on the disk, as it was told.
    pub come: [Ack; 2],
    pub expected: Expected,
}

impl<'a> World<'a> {
    pub fn new(context: &'a Context, disk: &'a Disk, input: &Input<'_>) -> Self {
        let known = u64::from(input.known);
        let at = |number| Ack {
            received: number,
            durable: number,
        };
        disk.0
            .lock()
            .unwrap()
            .progress
            .insert(id(Place::Here), known);
        Self {
            context,
            // Nobody is displaced or refused: one address has its fair share until all are taken.
            permits: Permits::new(
                Bounds {
                    total: 2 * (MAX_STEPS + 2),
                    per_address: MAX_STEPS + 2,
                },
                4,
            ),
            disk,
            guard: input.guard,
            room: input.room,
            known: [true, false],
            come: [at(known), at(0)],
            expected: Expected::default(),
        }
    }

    pub fn step<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        lines: &mut LinesOf<'scope>,
        step: &Step<'_>,
    ) where
        'a: 'scope,
    {
        match step {
            Step::Connect(place, opening) => self.connect(scope, lines, *place, opening),
            Step::Say(place, said) => {
                if lines[*place as usize].is_none() {
                    self.connect(scope, lines, *place, &Opening::honest(*place));
                }
                let line = lines[*place as usize].take();
                lines[*place as usize] = line.and_then(|line| self.say(line, said));
            }
            Step::Leave(place) => {
                if let Some(line) = lines[*place as usize].take() {
                    line.leave();
                }
            }
            Step::Stop => {}
        }
    }

    pub fn stop(&self, lines: &mut LinesOf<'_>) {
        self.context.stop.request();
        for line in lines.iter_mut().filter_map(Option::take) {
            line.refused(Reason::ShuttingDown);
        }
    }

    /// Opens a line in the place of the one that is there.
    pub fn connect<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        lines: &mut LinesOf<'scope>,
        place: Place,
        opening: &Opening<'_>,
    ) where
        'a: 'scope,
    {
        if let Some(line) = lines[place as usize].take() {
            line.leave();
        }
        let (line, other) = (
            self.dial(scope, place, opening),
            &mut lines[1 - place as usize],
        );
        lines[place as usize] = self.open(line, opening, other);
    }

    pub fn dial<'scope>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        place: Place,
        opening: &Opening<'_>,
    ) -> Line<'scope>
    where
        'a: 'scope,
    {
        let (near, far) = UnixStream::pair().unwrap();
        let [near, far] = [near, far].map(|end| TcpStream::from(OwnedFd::from(end)));
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        let (near, context) = (Arc::new(near), self.context);
        let peer = SocketAddr::from(([192, 0, 2, 1 + place as u8], 40_000));
        let displaced = &context.metrics.displaced;
        let permit = self.permits.admit(peer.ip(), &near, displaced).unwrap();
        Line {
            socket: far,
            server: scope.spawn(move || serve(&near, peer, permit, context)),
            key: opening.key,
            instance: opening.instance,
            known: false,
            received: 0,
        }
    }

    /// From the first byte to the welcome, if there is one.
    pub fn open<'scope>(
        &mut self,
        mut line: Line<'scope>,
        opening: &Opening<'_>,
        other: &mut Option<Line<'scope>>,
    ) -> Option<Line<'scope>> {
        match opening.how {
            How::Preamble(mut preamble) => {
                if preamble[7] % 2 == 1 {
                    preamble[..3].copy_from_slice(&PREAMBLE[..3]);
                }
                line.send(&preamble);
                match preamble {
                    // A TLS handshake, to which nothing can be said.
                    [22, ..] => line.ended(),
                    [b'V', b'F', b'T', version, ..] if version != VERSION => {
                        line.refused(Reason::Version);
                    }
                    _ if preamble != PREAMBLE => line.refused(Reason::Protocol),
                    _ => line.leave(),
                }
                return None;
            }
            How::Bytes(bytes) => {
                line.send(bytes);
                line.send_no_more();
                while let Some((said, _)) = line.hear() {
                    let may_be = matches!(
                        said,
                        ServerMessage::Challenge(_) | ServerMessage::Refused(_)
                    );
                    assert!(may_be, "{said:?} to somebody who has proven nothing");
                }
                line.ended();
                return None;
            }
            _ => {}
        }
        line.send(&PREAMBLE);
        let hello = match opening.how {
            How::Hello(bytes) => bytes.to_vec(),
            _ => opening.hello(),
        };
        line.send_frame(&hello);
        if hello.len() > MAX_EARLY_FRAME || !matches!(decode(&hello), Ok(ClientMessage::Hello(_))) {
            line.refused(Reason::Protocol);
            return None;
        }
        let Some((ServerMessage::Challenge(_), challenge)) = line.hear() else {
            panic!("a hello is not answered by a challenge");
        };
        if matches!(opening.how, How::Hello(_)) {
            line.leave();
            return None;
        }
        let transcript = Transcript::new(&hello, &challenge, None);
        self.prove(line, opening, other, &transcript)
    }

    pub fn prove<'scope>(
        &mut self,
        mut line: Line<'scope>,
        opening: &Opening<'_>,
        other: &mut Option<Line<'scope>>,
        transcript: &Transcript,
    ) -> Option<Line<'scope>> {
        let proof = opening.proof(transcript);
        line.send_frame(&proof);
        let verdict = self.verdict(opening, &proof);
        if let Some(reason) = verdict {
            if matches!(reason, Reason::SecretWrong | Reason::IdentityUnproven) {
                self.expected.failed_proofs += 1;
                // Or it would have to wait for the answer.
                line.send_no_more();
            }
            line.refused(reason);
            return None;
        }
        line.known = self.known[line.key as usize];
        match other {
            Some(former) if former.key == line.key && former.instance != line.instance => {
                line.refused(Reason::IdentityInUse);
                return None;
            }
            Some(former) if former.key != line.key && self.room == Room::ForOne => {
                if former.known || !line.known {
                    line.refused(Reason::TooManySessions);
                    return None;
                }
            }
            _ => {}
        }
        let Some((ServerMessage::Welcome(welcome), _)) = line.hear() else {
            panic!("whoever has proven everything is not welcome");
        };
        if other.as_ref().is_some_and(|former| former.key == line.key) {
            other.take().unwrap().refused(Reason::Superseded);
        } else if self.room == Room::ForOne {
            // It was new, and gives way to one that is known.
            if let Some(former) = other.take() {
                former.refused(Reason::TooManySessions);
            }
        }
        self.known[line.key as usize] = true;
        self.welcomed(&mut line, &welcome, transcript);
        Some(line)
    }

    /// Why a proof is refused, if it is.
    pub fn verdict(&self, opening: &Opening<'_>, proof: &[u8]) -> Option<Reason> {
        if proof.len() > MAX_EARLY_FRAME {
            return Some(Reason::Protocol);
        }
        let Ok(ClientMessage::Proof(proof)) = decode(proof) else {
            return Some(Reason::Protocol);
        };
        match (self.guard, opening.how) {
            (Guard::Secret, _) if proof.secret.is_none() => Some(Reason::SecretMissing),
            (Guard::Secret, How::NotTheSecret | How::Proof(_)) => Some(Reason::SecretWrong),
            (_, How::NotTheKey | How::Proof(_)) => Some(Reason::IdentityUnproven),
            (_, _) => None,
        }
    }

    pub fn welcomed(&mut self, line: &mut Line<'_>, welcome: &Welcome, transcript: &Transcript) {
        self.expected.welcomes += 1;
        let proven = |proof| SECRET.verify(Side::Server, transcript, proof);
        match self.guard {
            Guard::Nobody => assert!(welcome.secret.is_none()),
            Guard::Secret => assert!(welcome.secret.as_ref().is_some_and(proven)),
        }
        let durable = self.come[line.key as usize].durable;
        assert_eq!(welcome.acknowledged, (durable > 0).then_some(durable));
        line.received = durable;
    }

    /// What is left of a line on which this is said.
    pub fn say<'scope>(&mut self, mut line: Line<'scope>, said: &Said<'_>) -> Option<Line<'scope>> {
        let message = match said {
            Said::Bytes(bytes) => {
                line.send(bytes);
                line.send_no_more();
                self.answer_all(line, bytes);
                return None;
            }
            Said::Message(bytes) => bytes.to_vec(),
            Said::Goodbye => encode(&ClientMessage::Goodbye).unwrap(),
            Said::Report {
                first,
                base,
                touches,
                fault,
            } => report(
                first.after(self.come[line.key as usize].received),
                base.time(),
                touches,
                *fault,
            ),
            Said::Heartbeat {
                clock,
                traps,
                wanted,
                dropped,
                fault,
            } => {
                let mut traps = traps.clone();
                if fault.is_some() {
                    traps.resize(MAX_TRAPS + 1, 1);
                }
                encode(&ClientMessage::Heartbeat(Heartbeat {
                    clock: clock.time().as_micros(),
                    uptime_millis: 1,
                    backlog: 2,
                    traps_wanted: *wanted,
                    traps,
                    hits: 3,
                    dropped: *dropped,
                }))
                .unwrap()
            }
        };
        line.send_frame(&message);
        self.answer(line, &message)
    }

    /// What must come of bytes behind which there are no more.
    pub fn answer_all(&mut self, line: Line<'_>, mut bytes: &[u8]) {
        let (mut left, mut message) = (Some(line), Vec::new());
        while let Some(line) = left.take() {
            left = match frame::read(&mut bytes, MAX_FRAME, &mut message) {
                Ok(()) => self.answer(line, &message),
                Err(FrameError::TooLong { .. }) => {
                    line.refused(Reason::Protocol);
                    None
                }
                Err(FrameError::Closed | FrameError::Io(_)) => {
                    line.ended();
                    None
                }
            };
        }
    }

    /// What must come of a message, and what is left of the line on which it was sent.
    pub fn answer<'scope>(
        &mut self,
        mut line: Line<'scope>,
        message: &[u8],
    ) -> Option<Line<'scope>> {
        match decode(message) {
            Ok(ClientMessage::Report(report)) if report.hits().is_ok() => {
                self.taken(&mut line, &report);
                let Some((ServerMessage::Ack(ack), _)) = line.hear() else {
                    panic!("a report is not acknowledged");
                };
                self.acknowledged(&line, ack);
                Some(line)
            }
            Ok(ClientMessage::Heartbeat(heartbeat)) if heartbeat.traps.len() <= MAX_TRAPS => {
                let Some((ServerMessage::HeartbeatAck(ack), _)) = line.hear() else {
                    panic!("a heartbeat is not acknowledged");
                };
                self.acknowledged(&line, ack);
                Some(line)
            }
            Ok(ClientMessage::ExtendedHeartbeat(extended))
                if extended.heartbeat.traps.len() <= MAX_TRAPS =>
            {
                let Some((ServerMessage::HeartbeatAck(ack), _)) = line.hear() else {
                    panic!("a heartbeat is not acknowledged");
                };
                self.acknowledged(&line, ack);
                Some(line)
            }
            Ok(ClientMessage::Goodbye) => {
                line.ended();
                None
            }
            Ok(_) | Err(_) => {
                line.refused(Reason::Protocol);
                None
            }
        }
    }

    pub fn taken(&mut self, line: &mut Line<'_>, report: &Report) {
        let come = &mut self.come[line.key as usize];
        let taken = Taken {
            client: id(line.key),
            before: come.received,
            first: report.first_sequence,
            hits: report.hits().unwrap(),
        };
        come.received = come.received.max(taken.last());
        line.received = come.received;
        self.expected.reports.push(taken);
    }

    pub fn acknowledged(&mut self, line: &Line<'_>, ack: Ack) {
        assert_eq!(
            ack.received, line.received,
            "neither more nor less has come"
        );
        let come = &mut self.come[line.key as usize];
        assert!(
            ack.durable >= come.durable,
            "what was durable is not any more"
        );
        assert!(ack.durable <= ack.received);
        let written = self.disk.0.lock().unwrap();
        let on_disk = written.progress.get(&id(line.key)).copied().unwrap_or(0);
        assert!(
            ack.durable <= on_disk,
            "what is not on the disk is called durable"
        );
        come.durable = ack.durable;
    }
}
