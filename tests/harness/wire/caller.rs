//! A client written by hand, for a real server.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::harness::SECRET;
use crate::harness::wire::codec::{decode, encode};
use crate::harness::wire::line::{Line, framed};
use crate::harness::wire::message::{
    Ack, Challenge, ClientMessage, ExtendedHeartbeat, Heartbeat, Hello, Hit, Proof, Report,
    ServerMessage, Welcome,
};
use crate::harness::wire::proof;

/// Who calls, and what it knows.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where its key comes from.
    pub seed: [u8; 32],
    /// The key it claims to have; its own if it is honest.
    pub claims: [u8; 32],
    pub secret: Option<String>,
    pub name: String,
    /// Which start of it this is.
    pub instance: u8,
    /// What it says that it can do.
    pub capabilities: u64,
}

/// A handshake in which the server has challenged the caller.
#[derive(Debug)]
pub struct Challenged {
    pub challenge: Challenge,
    /// All that was said, hashed.
    pub transcript: [u8; 32],
}

impl Caller {
    /// A caller that knows the secret; each number is another one.
    pub fn new(number: u8) -> Self {
        Self::of([number; 32], &format!("by-hand-{number}"))
    }

    /// A caller that knows the secret, with this key and name.
    pub fn of(seed: [u8; 32], name: &str) -> Self {
        Self {
            seed,
            claims: proof::public_key(seed),
            secret: Some(SECRET.to_owned()),
            name: name.to_owned(),
            instance: 7,
            capabilities: 0,
        }
    }

    /// Its client id.
    pub fn id(&self) -> String {
        proof::client_id(self.claims)
    }

    /// Its first message.
    pub fn hello(&self) -> Hello {
        Hello {
            public_key: self.claims,
            nonce: [self.seed[0] ^ 0xff; 32],
            name: self.name.clone(),
            version: "by hand".to_owned(),
            instance: [self.instance; 16],
            capabilities: self.capabilities,
        }
    }

    /// Says hello, and hears the challenge.
    pub fn greet(&self, line: &mut Line) -> Challenged {
        self.try_greet(line).unwrap()
    }

    /// The same, where the server may be in no mood.
    pub fn try_greet(&self, line: &mut Line) -> io::Result<Challenged> {
        let hello = encode(&ClientMessage::Hello(self.hello()));
        line.try_write(&proof::PREAMBLE)?;
        line.try_write(&framed(&hello))?;
        let answer = line.try_receive_bytes()?;
        match decode(&answer) {
            Ok(ServerMessage::Challenge(challenge)) => Ok(Challenged {
                challenge,
                transcript: proof::transcript(&hello, &answer, line.binding),
            }),
            other => Err(io::Error::other(format!("not a challenge: {other:?}"))),
        }
    }

    /// What it can prove in answer to a challenge.
    pub fn proof(&self, challenged: &Challenged) -> Proof {
        let secret = self.secret.as_deref().map(|secret| {
            let stretched = proof::stretch(secret, challenged.challenge.server_id);
            proof::of_client(&stretched, &challenged.transcript)
        });
        Proof {
            secret,
            identity: proof::of_identity(self.seed, &challenged.transcript),
        }
    }

    /// Goes through the handshake, and checks the server's proof if it has given one.
    pub fn enter(&self, mut line: Line) -> (Visit, Welcome) {
        let challenged = self.greet(&mut line);
        line.send(&ClientMessage::Proof(self.proof(&challenged)));
        let welcome = match line.receive() {
            ServerMessage::Welcome(welcome) if self.capabilities == 0 => welcome,
            ServerMessage::ExtendedWelcome(extended) if self.capabilities != 0 => extended.welcome,
            other => panic!("not welcome: {other:?}"),
        };
        let expected = self.secret.as_deref().map(|secret| {
            let stretched = proof::stretch(secret, challenged.challenge.server_id);
            proof::of_server(&stretched, &challenged.transcript)
        });
        assert_eq!(welcome.secret, expected, "the server's proof");
        (Visit { line }, welcome)
    }

    /// The same on a new connection without TLS.
    pub fn visit(&self, server: &str) -> (Visit, Welcome) {
        self.enter(Line::plain(server))
    }

    /// The same on a new connection with TLS.
    pub fn visit_tls(&self, server: &str, cert: &Path) -> (Visit, Welcome) {
        self.enter(Line::tls(server, cert))
    }
}

/// A session after its handshake.
pub struct Visit {
    pub line: Line,
}

impl Visit {
    /// Reports, and returns the number that is acknowledged.
    pub fn report(&mut self, report: Report) -> u64 {
        let ack = self.take_in(report);
        assert_eq!(ack.received, ack.durable, "the store takes everything");
        ack.received
    }

    /// Reports, and returns the acknowledgement, whatever the disk does.
    pub fn take_in(&mut self, report: Report) -> Ack {
        self.line.send(&ClientMessage::Report(report));
        match self.line.receive() {
            ServerMessage::Ack(ack) => ack,
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }

    /// Sends a heartbeat, and waits until it was heard.
    pub fn heartbeat(&mut self, heartbeat: Heartbeat) {
        self.sign_of_life(&ClientMessage::Heartbeat(heartbeat));
    }

    /// The same with what is wrong with it.
    pub fn extended_heartbeat(&mut self, heartbeat: Heartbeat, conditions: u64) {
        self.sign_of_life(&ClientMessage::ExtendedHeartbeat(ExtendedHeartbeat {
            heartbeat,
            conditions,
        }));
    }

    fn sign_of_life(&mut self, message: &ClientMessage) {
        self.line.send(message);
        let answer: ServerMessage = self.line.receive();
        assert!(
            matches!(answer, ServerMessage::HeartbeatAck(_)),
            "{answer:?}"
        );
    }

    /// Says goodbye, after which the server closes.
    pub fn leave(mut self) {
        self.line.send(&ClientMessage::Goodbye);
        self.line.assert_ends();
    }
}

/// One touch of a trap.
pub fn hit(source: &str, trap_port: u16) -> Hit {
    Hit {
        offset: 0,
        span: 0,
        source: source.parse::<IpAddr>().unwrap(),
        source_port: 54_321,
        trap_port,
        probe: 0,
        count: 1,
    }
}

/// A report of hits that happened now.
pub fn report(first_sequence: u64, hits: Vec<Hit>) -> Report {
    Report {
        first_sequence,
        base: now(),
        hits,
    }
}

/// The time of day in microseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_micros()).unwrap()
}
