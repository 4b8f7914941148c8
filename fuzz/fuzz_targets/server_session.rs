//! Sessions from the server's side, from the first byte to the last, two at a time beside each other.
//! Whatever clients say and however they leave: everybody is answered or cut off; nobody gets in who
//! has not proven everything; what is acknowledged has come, what is called durable is on the disk,
//! neither falls; and every hit counts once.
//!
//! A session holds its socket, which others end it by, so it gets one: an end of a socket pair, on a
//! thread of its own. The target is at the other end, with the clients' keys, and knows what must
//! come of each message.

#![no_main]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use vft::fuzzing::auth::{self, SecretKey, Side, Transcript};
use vft::fuzzing::correlate::Correlator;
use vft::fuzzing::correlate::clients::{Client, Farewell};
use vft::fuzzing::event::{ClientId, Hit, Timestamp};
use vft::fuzzing::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE, VERSION};
use vft::fuzzing::intake::Intake;
use vft::fuzzing::message::{
    Ack, ClientMessage, Heartbeat, Hello, HitRecord, MAX_HITS, MAX_TRAPS, Proof, Reason, Report,
    ServerMessage, Welcome, decode, encode,
};
use vft::fuzzing::metrics::ServerMetrics;
use vft::fuzzing::permits::Permits;
use vft::fuzzing::process::Stop;
use vft::fuzzing::server::ServerSettings;
use vft::fuzzing::server_handshake::Gate;
use vft::fuzzing::server_session::allowance::{Allowances, Rate};
use vft::fuzzing::server_session::delays::Delays;
use vft::fuzzing::server_session::seats::Seats;
use vft::fuzzing::server_session::{Context, Lines, serve};
use vft::fuzzing::store::queue::{Otherwise, Reading, Writer};
use vft::fuzzing::store::record::Change;
use vft::fuzzing::value::Size;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    guard: Guard,
    room: Room,
    /// How far the first client had come before.
    known: u8,
    /// How often the disk takes nothing at first.
    failures: u8,
    steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nobody,
    Secret,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    ForOne,
    ForTwo,
}

/// On one of two lines. What can be said in a session only is said in one that is opened for it.
#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Connect(Place, Opening<'a>),
    Say(Place, Said<'a>),
    Leave(Place),
    /// The server stops.
    Stop,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    There,
}

#[derive(Arbitrary, Debug)]
struct Opening<'a> {
    key: Place,
    instance: Place,
    name: &'a str,
    version: &'a str,
    how: How<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum How<'a> {
    Honest,
    NotTheSecret,
    WithoutSecret,
    NotTheKey,
    Preamble([u8; 8]),
    /// These bytes are the first message, or the second.
    Hello(&'a [u8]),
    Proof(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Said<'a> {
    Report {
        first: First,
        base: When,
        touches: Vec<Touch>,
        fault: Option<Fault>,
    },
    Heartbeat {
        clock: When,
        traps: Vec<u16>,
        wanted: u16,
        dropped: u64,
        fault: Option<()>,
    },
    Goodbye,
    /// A frame with these bytes.
    Message(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

/// Where a report begins.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum First {
    Next,
    Back(u8),
    Ahead(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum When {
    Now,
    Off(i32),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Touch {
    offset: i64,
    span: u16,
    source: Source,
    port: u8,
    probe: u8,
    count: NonZeroU32,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Source {
    Near(u8),
    Any(IpAddr),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Fault {
    Probe(u8),
    NoCount,
    TooMany,
}

/// The most steps in one input, so that none takes long.
const MAX_STEPS: usize = 32;
/// The most hits in a report that is sound, for the same reason.
const MAX_TOUCHES: usize = 24;

const SERVER: [u8; 16] = [9; 16];
/// Longer than any answer takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(5);

static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::derive(b"secret", &SERVER));

static KEYS: LazyLock<[Ed25519KeyPair; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()));

fuzz_target!(|input: Input<'_>| {
    let settings = settings();
    let writer = Writer::default();
    let (disk, reading) = (Disk::default(), writer.reading());
    let context = context(&input, &settings, &writer);
    let mut expected = std::thread::scope(|scope| {
        let written = scope.spawn(|| disk.run(&reading, input.failures % 4));
        let mut world = World::new(&context, &disk, &input);
        let mut lines = [None, None];
        for step in input.steps.iter().take(MAX_STEPS) {
            if matches!(step, Step::Stop) {
                world.stop(&mut lines);
                break;
            }
            world.step(scope, &mut lines, step);
        }
        lines.into_iter().flatten().for_each(Line::leave);
        writer.end();
        written.join().unwrap();
        world.expected
    });
    assert_eq!(
        context.seats.count(),
        0,
        "a session has left its seat taken"
    );
    expected.compare(&disk.0.into_inner().unwrap().changes, &context.metrics);
});

fn settings() -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.memory = Size::mib(0);
    settings.limits.incidents = 8;
    settings.limits.clients = 4;
    settings
}

fn context(input: &Input<'_>, settings: &ServerSettings, writer: &Writer) -> Context {
    let metrics = Arc::new(ServerMetrics::default());
    let mut correlator = Correlator::new(settings);
    let progress = u64::from(input.known);
    let known = Client {
        name: "web-1".to_owned(),
        heard: now(),
        farewell: Farewell::None,
        progress,
        missing: 0,
        address: None,
        traps: Vec::new(),
    };
    correlator.remember(id(Place::Here), &known);
    let durable = [(id(Place::Here), progress)];
    let intake = Intake::new(
        correlator,
        durable,
        0,
        Vec::new(),
        writer.clone(),
        Arc::clone(&metrics),
    );
    let secret = (input.guard == Guard::Secret).then(|| SECRET.clone());
    // Nobody is slowed down, or it would take as long.
    let rate = Rate {
        sustained: u32::MAX,
        burst: u32::MAX,
    };
    Context {
        tls: None,
        gate: Gate::new(SERVER, secret),
        delays: Delays::default(),
        allowances: Allowances::new(rate),
        seats: Seats::new(match input.room {
            Room::ForOne => 1,
            Room::ForTwo => 2,
        }),
        intake: Arc::new(intake),
        limits: settings.limits,
        metrics,
        seldom: Lines::default(),
        stop: Stop::new(),
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn id(place: Place) -> ClientId {
    auth::client_id(&public_key(place))
}

fn public_key(place: Place) -> [u8; 32] {
    KEYS[place as usize]
        .public_key()
        .as_ref()
        .try_into()
        .unwrap()
}

/// What is written, and how far each client has come in it.
#[derive(Default)]
struct Disk(Mutex<Written>);

#[derive(Default)]
struct Written {
    changes: Vec<Change>,
    progress: BTreeMap<ClientId, u64>,
}

impl Disk {
    fn run(&self, reading: &Reading, failures: u8) {
        let mut left = failures;
        let mut otherwise = Otherwise::Idle;
        while let Some(batch) = reading.next(otherwise) {
            if left > 0 {
                left -= 1;
                reading.put_back(batch.changes);
                otherwise = Otherwise::Failed(Duration::ZERO);
                continue;
            }
            otherwise = Otherwise::Idle;
            let mut written = self.0.lock().unwrap();
            for change in &batch.changes {
                if let Change::Events {
                    client, progress, ..
                } = change
                {
                    written.progress.insert(*client, *progress);
                }
            }
            written.changes.extend(batch.changes.iter().cloned());
            drop(written);
            reading.done(&batch.changes);
        }
    }
}

/// What the reports that were taken must have come to.
#[derive(Default)]
struct Expected {
    reports: Vec<Taken>,
    welcomes: u64,
    failed_proofs: u64,
}

/// A report that was sound, and how far its client had come before.
struct Taken {
    client: ClientId,
    before: u64,
    first: u64,
    hits: Vec<Hit>,
}

impl Expected {
    /// Compares it with what was written, report by report, and with what was counted.
    fn compare(&mut self, changes: &[Change], metrics: &ServerMetrics) {
        let (mut reports, mut hits, mut duplicates) = (self.reports.iter(), 0, 0);
        for change in changes {
            let Change::Events { .. } = change else {
                continue;
            };
            let taken = reports.next().expect("events of no report");
            taken.compare(change);
        }
        assert_eq!(reports.count(), 0, "a report was not written");
        for taken in &self.reports {
            let fresh = taken.fresh().count();
            duplicates += taken.hits.len() - fresh;
            hits += taken
                .fresh()
                .map(|(_, hit)| u64::from(hit.count.get()))
                .sum::<u64>();
        }
        assert_eq!(metrics.reports.get(), self.reports.len() as u64);
        assert_eq!(metrics.duplicates.get(), duplicates as u64);
        assert_eq!(metrics.hits.get() + metrics.refused_hits.get(), hits);
        assert_eq!(metrics.sessions.get(), self.welcomes);
        assert_eq!(metrics.failed_proofs.get(), self.failed_proofs);
    }
}

impl Taken {
    fn last(&self) -> u64 {
        self.first + self.hits.len() as u64 - 1
    }

    /// The hits that had not come before, with their numbers.
    fn fresh(&self) -> impl Iterator<Item = (u64, &Hit)> {
        (self.first..)
            .zip(&self.hits)
            .filter(|(number, _)| *number > self.before)
    }

    fn compare(&self, change: &Change) {
        let Change::Events {
            client,
            events,
            progress,
            gap,
            refused,
            now,
            ..
        } = change
        else {
            unreachable!();
        };
        assert_eq!(*client, self.client);
        assert_eq!(*progress, self.before.max(self.last()));
        let next = self.before + 1;
        let missing = (self.before > 0 && self.first > next).then(|| (next, self.first - 1));
        assert_eq!(*gap, missing);
        let mut fresh = self.fresh();
        let mut left_out = 0;
        for event in events {
            let hit = loop {
                let (number, hit) = fresh.next().expect("an event that is no fresh hit");
                if number == event.sequence {
                    break hit;
                }
                left_out += u64::from(hit.count.get());
            };
            assert_eq!((event.hit, event.client), (*hit, self.client));
            assert!(event.at <= now.after(Duration::from_secs(2)));
            assert_eq!(event.received, *now);
        }
        left_out += fresh
            .map(|(_, hit)| u64::from(hit.count.get()))
            .sum::<u64>();
        assert_eq!(*refused, left_out, "a hit is neither taken in nor refused");
    }
}

/// A connection, from the client's end.
struct Line<'scope> {
    socket: TcpStream,
    server: ScopedJoinHandle<'scope, ()>,
    key: Place,
    instance: Place,
    /// What has come by what the server knows in this session.
    received: u64,
}

impl Line<'_> {
    /// The server may have gone by now; what it said still counts.
    fn send(&mut self, bytes: &[u8]) {
        drop(self.socket.write_all(bytes));
    }

    fn send_frame(&mut self, message: &[u8]) {
        self.send(&frame::framed(message).unwrap());
    }

    fn send_no_more(&mut self) {
        drop(self.socket.shutdown(Shutdown::Write));
    }

    /// The next message and its bytes; `None` is the end.
    fn hear(&mut self) -> Option<(ServerMessage, Vec<u8>)> {
        let mut message = Vec::new();
        match frame::read(&mut self.socket, MAX_FRAME, &mut message) {
            Ok(()) => Some((decode(&message).expect("a message"), message)),
            Err(FrameError::Closed) => None,
            Err(FrameError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither an answer nor the end: {error}"),
        }
    }

    fn is_refused(&mut self, reason: Reason) {
        match self.hear() {
            Some((ServerMessage::Refused(refused), _)) => assert_eq!(refused.reason, reason),
            other => panic!("{other:?} and not {reason:?}"),
        }
    }

    fn refused(mut self, reason: Reason) {
        self.is_refused(reason);
        self.ended();
    }

    fn ended(mut self) {
        let last = self.hear();
        assert!(last.is_none(), "{last:?} and not the end");
        self.server.join().unwrap();
    }

    fn leave(mut self) {
        self.send_no_more();
        self.ended();
    }
}

type LinesOf<'scope> = [Option<Line<'scope>>; 2];

struct World<'a> {
    context: &'a Context,
    permits: Permits,
    disk: &'a Disk,
    guard: Guard,
    room: Room,
    /// How far each client has come, and how far of that on the disk, as it was told.
    come: [Ack; 2],
    expected: Expected,
}

impl<'a> World<'a> {
    fn new(context: &'a Context, disk: &'a Disk, input: &Input<'_>) -> Self {
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
            permits: Permits::new(MAX_STEPS + 2, MAX_STEPS + 2),
            disk,
            guard: input.guard,
            room: input.room,
            come: [at(known), at(0)],
            expected: Expected::default(),
        }
    }

    fn step<'scope>(
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

    fn stop(&self, lines: &mut LinesOf<'_>) {
        self.context.stop.request();
        for line in lines.iter_mut().filter_map(Option::take) {
            line.refused(Reason::ShuttingDown);
        }
    }

    /// Opens a line in the place of the one that is there.
    fn connect<'scope>(
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

    fn dial<'scope>(
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
            received: 0,
        }
    }

    /// From the first byte to the welcome, if there is one.
    fn open<'scope>(
        &mut self,
        mut line: Line<'scope>,
        opening: &Opening<'_>,
        other: &mut Option<Line<'scope>>,
    ) -> Option<Line<'scope>> {
        match opening.how {
            How::Preamble(preamble) if preamble != PREAMBLE => {
                line.send(&preamble);
                match preamble {
                    // A TLS handshake, to which nothing can be said.
                    [22, ..] => line.ended(),
                    [b'V', b'F', b'T', version, ..] if version != VERSION => {
                        line.refused(Reason::Version);
                    }
                    _ => line.refused(Reason::Protocol),
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

    fn prove<'scope>(
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
        match other {
            Some(former) if former.key == line.key && former.instance != line.instance => {
                line.refused(Reason::IdentityInUse);
                return None;
            }
            Some(former) if former.key != line.key && self.room == Room::ForOne => {
                line.refused(Reason::TooManySessions);
                return None;
            }
            _ => {}
        }
        let Some((ServerMessage::Welcome(welcome), _)) = line.hear() else {
            panic!("whoever has proven everything is not welcome");
        };
        if other.as_ref().is_some_and(|former| former.key == line.key) {
            other.take().unwrap().refused(Reason::Superseded);
        }
        self.welcomed(&mut line, &welcome, transcript);
        Some(line)
    }

    /// Why a proof is refused, if it is.
    fn verdict(&self, opening: &Opening<'_>, proof: &[u8]) -> Option<Reason> {
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

    fn welcomed(&mut self, line: &mut Line<'_>, welcome: &Welcome, transcript: &Transcript) {
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
    fn say<'scope>(&mut self, mut line: Line<'scope>, said: &Said<'_>) -> Option<Line<'scope>> {
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
    fn answer_all(&mut self, line: Line<'_>, mut bytes: &[u8]) {
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
    fn answer<'scope>(&mut self, mut line: Line<'scope>, message: &[u8]) -> Option<Line<'scope>> {
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

    fn taken(&mut self, line: &mut Line<'_>, report: &Report) {
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

    fn acknowledged(&mut self, line: &Line<'_>, ack: Ack) {
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

impl Opening<'_> {
    fn honest(key: Place) -> Self {
        Self {
            key,
            instance: Place::Here,
            name: "web-7",
            version: "1",
            how: How::Honest,
        }
    }

    fn hello(&self) -> Vec<u8> {
        encode(&ClientMessage::Hello(Hello {
            public_key: public_key(self.key),
            nonce: [2; 32],
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            instance: [self.instance as u8; 16],
            capabilities: 0,
        }))
        .unwrap()
    }

    fn proof(&self, transcript: &Transcript) -> Vec<u8> {
        let secret = match self.how {
            How::Proof(bytes) => return bytes.to_vec(),
            How::WithoutSecret => None,
            How::NotTheSecret => Some([7; 32]),
            _ => Some(SECRET.prove(Side::Client, transcript)),
        };
        let mut identity = auth::sign(&KEYS[self.key as usize], transcript);
        if matches!(self.how, How::NotTheKey) {
            identity[1][0] ^= 1;
        }
        encode(&ClientMessage::Proof(Proof { secret, identity })).unwrap()
    }
}

impl First {
    fn after(self, last: u64) -> u64 {
        match self {
            Self::Next => last.saturating_add(1),
            Self::Back(by) => last.saturating_sub(by.into()),
            Self::Ahead(by) => last.saturating_add(2 + u64::from(by)),
            Self::Any(number) => number,
        }
    }
}

impl When {
    fn time(self) -> Timestamp {
        match self {
            Self::Now => now(),
            Self::Off(seconds) => now().shifted(i64::from(seconds) * 1_000_000),
            Self::Any(micros) => Timestamp::from_micros(micros),
        }
    }
}

impl Touch {
    fn record(&self) -> HitRecord {
        let source = match self.source {
            Source::Near(number) => IpAddr::from([198, 51, 100, number]),
            Source::Any(address) => address,
        };
        HitRecord {
            offset: self.offset,
            span: self.span.into(),
            source: source.into(),
            source_port: 40_000,
            trap_port: self.port.into(),
            probe: self.probe % 6,
            count: self.count.get(),
        }
    }
}

fn report(first: u64, base: Timestamp, touches: &[Touch], fault: Option<Fault>) -> Vec<u8> {
    let mut hits: Vec<_> = touches
        .iter()
        .take(MAX_TOUCHES)
        .map(Touch::record)
        .collect();
    match (fault, hits.last().cloned()) {
        (Some(Fault::Probe(probe)), Some(last)) => hits.push(HitRecord { probe, ..last }),
        (Some(Fault::NoCount), Some(last)) => hits.push(HitRecord { count: 0, ..last }),
        (Some(Fault::TooMany), Some(last)) => hits.resize(MAX_HITS + 1, last),
        (_, _) => {}
    }
    encode(&ClientMessage::Report(Report {
        first_sequence: first,
        base: base.as_micros(),
        hits,
    }))
    .unwrap()
}
