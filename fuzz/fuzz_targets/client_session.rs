//! Sessions from the client's side, one after the other over the same backlog, with two servers.
//! Whatever they acknowledge, refuse, say or leave out: the client reports its oldest hits that are
//! not received, each under the number that was agreed; forgets none that is not durable; calls no
//! number its own that it has not sent; and goes only when it is done.
//!
//! A session looks at its socket while it is idle, so it gets one: an end of a socket pair, on a
//! thread of its own. The target is the server at the other end, and knows what must come next.

#![no_main]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use vft::fuzzing::auth::{self, SecretKey, Side, Transcript};
use vft::fuzzing::backlog::Backlog;
use vft::fuzzing::client_session::{Session, Status};
use vft::fuzzing::dial::{Dialled, Dialler, Me};
use vft::fuzzing::error::SessionError;
use vft::fuzzing::event::{Hit, Probe, Timestamp};
use vft::fuzzing::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE};
use vft::fuzzing::identity::Identity;
use vft::fuzzing::link::Link;
use vft::fuzzing::message::{
    Ack, Challenge, ClientMessage, MAX_HITS, MAX_SEQUENCE, MAX_TRAPS, Reason, Refused, Report,
    ServerMessage, Welcome, decode, encode,
};
use vft::fuzzing::metrics::ClientMetrics;
use vft::fuzzing::open_ports::OpenPorts;
use vft::fuzzing::process::{StateFolder, Stop};
use vft::fuzzing::spool::Spool;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    scene: Scene,
    traps: u8,
    visits: Vec<Visit<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Scene {
    guard: Guard,
    inflow: Inflow,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nobody,
    Secret,
}

/// Whether more hits may come while a session runs. It takes a tenth of a second to see an idle
/// one to its end, so of all inputs only a few have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflow {
    Ended,
    Open,
}

impl<'a> Arbitrary<'a> for Inflow {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match input.arbitrary()? {
            u8::MAX => Self::Open,
            _ => Self::Ended,
        })
    }
}

/// One session.
#[derive(Arbitrary, Debug)]
struct Visit<'a> {
    /// Hits that have come since the last: mostly few.
    hits: u8,
    server: Server,
    challenge: Opening<'a>,
    welcome: Opening<'a>,
    known: Known,
    heartbeat: u64,
    answers: Vec<Answer<'a>>,
    then: Then,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    First,
    Second,
}

/// How the server says the next thing of its handshake: mostly as it should, or few inputs would get
/// to anything else.
#[derive(Clone, Copy, Debug)]
enum Opening<'a> {
    AsItShould,
    WithoutSecret,
    NotTheSecret,
    Otherwise(Answer<'a>),
}

impl<'a> Arbitrary<'a> for Opening<'a> {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        Ok(match input.arbitrary()? {
            0..224_u8 => Self::AsItShould,
            224..232 => Self::WithoutSecret,
            232..240 => Self::NotTheSecret,
            240.. => Self::Otherwise(input.arbitrary()?),
        })
    }
}

/// How far it says that it has come with this client.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Known {
    Nothing,
    WhatItHas,
    About(i8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Answer<'a> {
    AsItShould,
    /// An acknowledgement of other numbers.
    Ack(Number, Number),
    /// To a report as to a heartbeat, or the other way round.
    Swapped,
    Refused(&'a str, u64),
    /// A frame with these bytes.
    Message(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    About(i8),
    Any(u64),
}

/// What becomes of the session when all answers are given.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It goes on as it should.
    On,
    End,
}

/// The most sessions, and answers in one that are not as they should be, so that no input takes
/// long.
const MAX_VISITS: usize = 4;
const MAX_ANSWERS: usize = 12;
/// Likewise if every answer takes its time.
const MAX_OPEN: usize = 2;

/// Below this, few hits or traps are meant; above, a few more than there are in a report or in a
/// heartbeat, which takes its time.
const MANY: u8 = 252;

/// Longer than any message takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(5);

const ID: [[u8; 16]; 2] = [[7; 16], [9; 16]];

static SECRETS: [LazyLock<SecretKey>; 2] = [
    LazyLock::new(|| SecretKey::derive(b"secret", &ID[0])),
    LazyLock::new(|| SecretKey::derive(b"secret", &ID[1])),
];

/// A dialler stretches its secret for the server it saw last, which takes its time: here is one for
/// each.
static WITH_SECRET: [LazyLock<Mutex<Dialler>>; 2] = [
    LazyLock::new(|| dialler(Guard::Secret)),
    LazyLock::new(|| dialler(Guard::Secret)),
];
static WITHOUT: LazyLock<Mutex<Dialler>> = LazyLock::new(|| dialler(Guard::Nobody));

fn dialler(guard: Guard) -> Mutex<Dialler> {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::keep(&StateFolder::open(folder.path()).unwrap()).unwrap();
    let secret = (guard == Guard::Secret).then(|| "secret".parse().unwrap());
    let me = Me {
        name: "web-7".to_owned(),
        instance: [1; 16],
    };
    Mutex::new(Dialler::new(Vec::new(), None, secret, identity, me))
}

fuzz_target!(|input: Input<'_>| {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), u64::MAX).unwrap().0;
    let metrics = Arc::new(ClientMetrics::default());
    let backlog = Backlog::new(spool, Arc::clone(&metrics)).unwrap();
    let mut scene = input.scene;
    if scene.inflow == Inflow::Ended {
        backlog.end();
    }
    let traps = OpenPorts::default();
    traps.set(match input.traps {
        ..MANY => (0..u16::from(input.traps % 8)).collect(),
        MANY.. => (0..MAX_TRAPS as u16 + 1).collect(),
    });
    let status = Status {
        started: Instant::now(),
        traps,
        traps_wanted: 5,
        metrics,
    };
    let mut model = Model::default();
    let visits = match scene.inflow {
        Inflow::Ended => MAX_VISITS,
        Inflow::Open => MAX_OPEN,
    };
    for visit in input.visits.iter().take(visits) {
        model.gather(&backlog, visit.hits);
        play(&mut model, &backlog, &status, scene, visit);
    }
    // Whatever is not durable anywhere is still there.
    backlog.end();
    scene.inflow = Inflow::Ended;
    play(&mut model, &backlog, &status, scene, &Visit::last());
    assert_eq!((backlog.len(), model.gone), (0, model.total));
});

/// One session to its end.
fn play(model: &mut Model, backlog: &Backlog, status: &Status, scene: Scene, visit: &Visit<'_>) {
    let (near, far) = UnixStream::pair().unwrap();
    let [near, far] = [near, far].map(|end| TcpStream::from(OwnedFd::from(end)));
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let dialler = match scene.guard {
        Guard::Nobody => &WITHOUT,
        Guard::Secret => &WITH_SECRET[visit.server as usize],
    };
    model.begin();
    let (end, result) = std::thread::scope(|scope| {
        let client = scope.spawn(|| client(near, dialler, backlog, status));
        let mut peer = Peer {
            socket: far,
            scene,
            visit,
            model,
            last_words: None,
        };
        let end = peer.serve();
        drop(peer.socket);
        (end, client.join().unwrap())
    });
    match (end, &result) {
        (End::Goodbye, Ok(())) => {}
        (End::Cut, Err(error)) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(error.retry_after() <= Duration::from_secs(300));
        }
        (end, result) => panic!("{end:?} is taken for {result:?}"),
    }
    assert_eq!(backlog.len(), model.total - model.gone);
}

/// What the client's reporting thread does with a connection.
fn client(
    socket: TcpStream,
    dialler: &Mutex<Dialler>,
    backlog: &Backlog,
    status: &Status,
) -> Result<(), SessionError> {
    let link = Link::plain(Arc::new(socket), Instant::now() + PATIENCE);
    let mut dialler = dialler.lock().unwrap_or_else(PoisonError::into_inner);
    let Dialled {
        link,
        server_id,
        welcome,
    } = dialler.greet(link)?;
    drop(dialler);
    backlog
        .resume(&server_id, welcome.acknowledged)
        .map_err(SessionError::Spool)?;
    Session::new(link, &welcome).run(backlog, status, &Stop::new())
}

/// What must be. Hits are counted from 1 in the order in which they came.
#[derive(Default)]
struct Model {
    /// How many there are.
    total: u64,
    /// Up to here a server has said that they are durable.
    gone: u64,
    /// Up to here this session's server has said that it has received them.
    sent: u64,
    /// Up to here they were reported in this session.
    offered: u64,
    /// What is added for this session's server.
    shift: i128,
    /// What was agreed with either.
    agreed: [Option<i128>; 2],
}

impl Model {
    fn gather(&mut self, backlog: &Backlog, hits: u8) {
        let hits = match hits {
            ..MANY => u64::from(hits % 24),
            MANY.. => MAX_HITS as u64 + 6,
        };
        let last = self.total + hits;
        backlog.append(&mut (self.total + 1..=last).map(hit).collect());
        self.total = last;
    }

    fn begin(&mut self) {
        (self.sent, self.offered) = (0, 0);
    }

    /// A server welcomes the client and has come as far as this.
    fn welcomed(&mut self, server: Server, known: u64) {
        let known = i128::from(known);
        let agreed = &mut self.agreed[server as usize];
        match *agreed {
            Some(shift) if known - shift <= i128::from(self.total) => {
                self.shift = shift;
                self.gone = self.gone.max(u64::try_from(known - shift).unwrap_or(0));
            }
            _ => {
                let oldest = i128::from(self.gone) + 1;
                self.shift = if known == 0 { 0 } else { known + 1 - oldest };
                *agreed = Some(self.shift);
            }
        }
    }

    fn acknowledged(&mut self, ack: Ack) {
        let most = self.offered.max(self.gone);
        let here = |number| {
            let number = i128::from(number) - self.shift;
            u64::try_from(number.max(0)).unwrap_or(u64::MAX).min(most)
        };
        let (received, durable) = (here(ack.received), here(ack.durable));
        self.sent = self.sent.max(received);
        self.gone = self.gone.max(durable);
    }

    fn reported(&mut self, report: &Report) {
        let first = self.gone.max(self.sent) + 1;
        let last = self.total.min(first + MAX_HITS as u64 - 1);
        let expected: Vec<_> = (first..=last).map(hit).collect();
        let base = Timestamp::from_micros(report.base);
        let said: Vec<_> = report
            .hits
            .iter()
            .map(|record| record.hit(base).unwrap())
            .collect();
        assert_eq!(said, expected);
        assert_eq!(i128::from(report.first_sequence), self.number(first));
        self.offered = last;
    }

    /// What a hit's number is for this session's server.
    fn number(&self, hit: u64) -> i128 {
        i128::from(hit) + self.shift
    }

    /// The last number that this session's server can know of.
    fn last(&self) -> u64 {
        let last = self.offered.max(self.sent).max(self.gone);
        u64::try_from(self.number(last).max(0)).unwrap()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client has said goodbye.
    Goodbye,
    /// The server has broken it off, in one way or another.
    Cut,
}

/// Whether a session goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    On,
    Over,
}

/// The server.
struct Peer<'a> {
    socket: TcpStream,
    scene: Scene,
    visit: &'a Visit<'a>,
    model: &'a mut Model,
    /// What the client has still to read, if nothing more can be said.
    last_words: Option<Vec<u8>>,
}

impl Peer<'_> {
    fn serve(&mut self) -> End {
        if self.shake_hands() == Course::Over {
            return End::Cut;
        }
        let most = match self.scene.inflow {
            Inflow::Ended => MAX_ANSWERS,
            Inflow::Open => MAX_OPEN,
        };
        let mut answers = self.visit.answers.iter().take(most);
        let mut is_first = true;
        loop {
            let Some(said) = self.hear() else {
                assert!(self.last_words.is_some(), "it goes for no reason");
                return End::Cut;
            };
            assert!(!is_first || matches!(said, ClientMessage::Heartbeat(_)));
            is_first = false;
            if self.heard(&said) == Course::Over {
                return End::Goodbye;
            }
            let is_report = matches!(said, ClientMessage::Report(_));
            let course = if self.last_words.is_some() {
                self.answered(is_report)
            } else {
                let answer = match (answers.next(), self.visit.then, self.scene.inflow) {
                    (Some(answer), ..) => *answer,
                    (None, Then::On, Inflow::Ended) => Answer::AsItShould,
                    (None, ..) => return End::Cut,
                };
                self.answer(is_report, answer)
            };
            if course == Course::Over {
                return End::Cut;
            }
        }
    }

    fn heard(&mut self, said: &ClientMessage) -> Course {
        match said {
            ClientMessage::Report(report) => self.model.reported(report),
            ClientMessage::Heartbeat(heartbeat) => {
                assert_eq!(heartbeat.backlog, self.model.total - self.model.gone);
                assert!(heartbeat.traps.len() <= MAX_TRAPS);
            }
            ClientMessage::Goodbye => {
                let come = self.model.gone.max(self.model.sent);
                assert_eq!(come, self.model.total, "it leaves before it is done");
                assert!(self.hear().is_none(), "it goes on after its goodbye");
                return Course::Over;
            }
            ClientMessage::Hello(_) | ClientMessage::Proof(_) => panic!("{said:?}"),
        }
        Course::On
    }

    fn shake_hands(&mut self) -> Course {
        let mut preamble = [0; PREAMBLE.len()];
        self.socket.read_exact(&mut preamble).unwrap();
        assert_eq!(preamble, PREAMBLE);
        let mut hello = Vec::new();
        frame::read(&mut self.socket, MAX_EARLY_FRAME, &mut hello).unwrap();
        let Ok(ClientMessage::Hello(said)) = decode(&hello) else {
            panic!("it does not say hello");
        };
        let secret_required = match self.visit.challenge {
            Opening::AsItShould | Opening::NotTheSecret => true,
            Opening::WithoutSecret => false,
            Opening::Otherwise(answer) => return self.instead(answer),
        };
        let challenge = encode(&ServerMessage::Challenge(Challenge {
            server_id: ID[self.visit.server as usize],
            nonce: [4; 32],
            secret_required,
        }))
        .unwrap();
        self.say(&challenge);
        let Some(proof) = self.hear() else {
            assert!(self.scene.guard == Guard::Secret && !secret_required);
            return Course::Over;
        };
        let ClientMessage::Proof(proof) = proof else {
            panic!("{proof:?} is no proof");
        };
        let transcript = Transcript::new(&hello, &challenge, None);
        let identity = proof.identity;
        assert!(auth::is_signed_by(&said.public_key, &transcript, &identity));
        let key = &SECRETS[self.visit.server as usize];
        match (self.scene.guard, &proof.secret) {
            (Guard::Nobody, None) => {}
            (Guard::Secret, Some(proof)) => assert!(key.verify(Side::Client, &transcript, proof)),
            (guard, proof) => panic!("{guard:?} and {proof:?}"),
        }
        self.welcome(&transcript)
    }

    fn welcome(&mut self, transcript: &Transcript) -> Course {
        let server = self.visit.server;
        let secret = match (self.scene.guard, self.visit.welcome) {
            (_, Opening::Otherwise(answer)) => return self.instead(answer),
            (_, Opening::WithoutSecret) => None,
            (_, Opening::NotTheSecret) => Some([1; 32]),
            (Guard::Nobody, Opening::AsItShould) => None,
            (Guard::Secret, Opening::AsItShould) => {
                Some(SECRETS[server as usize].prove(Side::Server, transcript))
            }
        };
        let has = self.model.agreed[server as usize]
            .map_or(0, |shift| i128::from(self.model.gone) + shift);
        let known = match self.visit.known {
            Known::Nothing => None,
            Known::WhatItHas => Some(has),
            Known::About(more) => Some(has + i128::from(more)),
            Known::Any(number) => Some(number.into()),
        };
        let known = known.map(|number| u64::try_from(number.max(0)).unwrap());
        let heartbeat_millis = match self.scene.inflow {
            Inflow::Ended => self.visit.heartbeat,
            // It would take its time to look whether the server is there.
            Inflow::Open => 0,
        };
        let welcome = Welcome {
            secret,
            acknowledged: known,
            heartbeat_millis,
            clock: 0,
        };
        self.say(&encode(&ServerMessage::Welcome(welcome)).unwrap());
        let proven =
            self.scene.guard == Guard::Nobody || matches!(self.visit.welcome, Opening::AsItShould);
        if !proven || known.is_some_and(|number| number > MAX_SEQUENCE) {
            assert!(self.hear().is_none(), "it goes on with who is no server");
            return Course::Over;
        }
        self.model.welcomed(server, known.unwrap_or(0));
        Course::On
    }

    /// Something else in place of what the handshake asks for.
    fn instead(&mut self, answer: Answer<'_>) -> Course {
        let bytes = match answer {
            Answer::AsItShould | Answer::Swapped | Answer::Ack(..) => {
                let (received, durable) = (1, 1);
                framed(&ServerMessage::Ack(Ack { received, durable }))
            }
            Answer::Refused(text, millis) => framed(&refusal(text, millis)),
            Answer::Message(bytes) => frame::framed(bytes).unwrap(),
            Answer::Bytes(bytes) => bytes.to_vec(),
        };
        let mut first = Vec::new();
        let is_whole = frame::read(&mut &*bytes, MAX_FRAME, &mut first).is_ok();
        // That would be a handshake after all.
        let is_one = is_whole
            && matches!(
                decode(&first),
                Ok(ServerMessage::Challenge(_) | ServerMessage::Welcome(_))
            );
        if !is_one {
            drop(self.socket.write_all(&bytes));
        }
        Course::Over
    }

    /// Answers a report or a heartbeat.
    fn answer(&mut self, is_report: bool, answer: Answer<'_>) -> Course {
        let last = self.model.last();
        let number = |number| match number {
            Number::About(more) => last.saturating_add_signed(i64::from(more)),
            Number::Any(number) => number,
        };
        let (received, durable) = match answer {
            Answer::Ack(received, durable) => (number(received), number(durable)),
            _ => (last, last),
        };
        let ack = Ack { received, durable };
        let bytes = match answer {
            Answer::AsItShould | Answer::Ack(..) if is_report => framed(&ServerMessage::Ack(ack)),
            Answer::AsItShould | Answer::Ack(..) => framed(&ServerMessage::HeartbeatAck(ack)),
            Answer::Swapped if is_report => framed(&ServerMessage::HeartbeatAck(ack)),
            Answer::Swapped => framed(&ServerMessage::Ack(ack)),
            Answer::Refused(text, millis) => framed(&refusal(text, millis)),
            Answer::Message(bytes) => frame::framed(bytes).unwrap(),
            Answer::Bytes(bytes) => bytes.to_vec(),
        };
        drop(self.socket.write_all(&bytes));
        let is_last = matches!(answer, Answer::Bytes(_));
        if is_last {
            drop(self.socket.shutdown(Shutdown::Write));
        }
        self.last_words = Some(bytes);
        let course = self.answered(is_report);
        if !is_last {
            self.last_words = None;
        }
        course
    }

    /// What the client makes of what it reads next, all the same how the server meant it.
    fn answered(&mut self, is_report: bool) -> Course {
        let words = self.last_words.take().unwrap_or_default();
        let (mut left, mut message) = (&*words, Vec::new());
        let read = frame::read(&mut left, MAX_FRAME, &mut message);
        self.last_words = Some(left.to_vec());
        match decode(&message) {
            _ if read.is_err() => return Course::Over,
            Ok(ServerMessage::Ack(ack)) if is_report => self.model.acknowledged(ack),
            Ok(ServerMessage::HeartbeatAck(ack)) if !is_report => self.model.acknowledged(ack),
            Ok(_) | Err(_) => return Course::Over,
        }
        Course::On
    }

    /// The client may have gone by now.
    fn say(&mut self, message: &[u8]) {
        let frame = frame::framed(message).unwrap();
        drop(self.socket.write_all(&frame));
    }

    /// The client's next message; `None` is its end.
    fn hear(&mut self) -> Option<ClientMessage> {
        let mut message = Vec::new();
        match frame::read(&mut self.socket, MAX_FRAME, &mut message) {
            Ok(()) => Some(decode(&message).expect("a message")),
            Err(FrameError::Closed) => None,
            // It has not read all there was.
            Err(FrameError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither a message nor the end: {error}"),
        }
    }
}

impl Visit<'_> {
    /// A server that does all as it should.
    const fn last() -> Self {
        Self {
            hits: 0,
            server: Server::First,
            challenge: Opening::AsItShould,
            welcome: Opening::AsItShould,
            known: Known::Nothing,
            heartbeat: 30_000,
            answers: Vec::new(),
            then: Then::On,
        }
    }
}

fn refusal(text: &str, retry_after_millis: u64) -> ServerMessage {
    ServerMessage::Refused(Refused {
        reason: Reason::ShuttingDown,
        text: text.to_owned(),
        retry_after_millis,
    })
}

/// A message as a frame.
fn framed(message: &ServerMessage) -> Vec<u8> {
    frame::framed(&encode(message).unwrap()).unwrap()
}

fn hit(number: u64) -> Hit {
    let time = Timestamp::from_micros(1_795_000_000_000_000 + number);
    Hit {
        first: time,
        last: time,
        source: [192, 0, 2, 1].into(),
        source_port: 40_000,
        trap_port: 22,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    }
}
