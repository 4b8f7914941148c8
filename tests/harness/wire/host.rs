//! A server written by hand, for a real client.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::harness::SECRET;
use crate::harness::wire::caller::now;
use crate::harness::wire::codec::{decode, encode};
use crate::harness::wire::line::{Line, serve};
use crate::harness::wire::message::{
    Ack, Challenge, ClientMessage, ExtendedWelcome, Heartbeat, Hello, Report, ServerMessage,
    Welcome,
};
use crate::harness::wire::proof;

/// A server that knows the secret.
pub struct Host {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    pub id: [u8; 16],
}

/// A client that has said hello and was challenged.
pub struct Greeted {
    pub hello: Hello,
    /// The message it came in.
    pub said: Vec<u8>,
    pub transcript: [u8; 32],
}

impl Host {
    /// A server without TLS.
    pub fn plain() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            tls: None,
            id: [9; 16],
        }
    }

    /// A server with TLS.
    pub fn tls(cert: &Path, key: &Path) -> Self {
        Self {
            tls: Some(serve(cert, key)),
            ..Self::plain()
        }
    }

    /// Where it listens.
    pub fn address(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> Line {
        match &self.tls {
            None => Line::accept(&self.listener),
            Some(config) => Line::accept_tls(&self.listener, config),
        }
    }

    /// The key a client's proof must be made with.
    pub fn stretched(&self) -> [u8; 32] {
        proof::stretch(SECRET, self.id)
    }

    /// Hears hello, and challenges the client.
    pub fn greet(&self, line: &mut Line) -> Greeted {
        let challenge = Challenge {
            server_id: self.id,
            nonce: [5; 32],
            secret_required: true,
        };
        greet_with(line, challenge)
    }

    /// Goes through the handshake, and checks what the client proves.
    pub fn welcome(&self, line: &mut Line, welcome: &Welcome) -> Hello {
        let greeted = self.greet(line);
        let proof = line.receive_bytes().expect("the client closed");
        self.admit(line, &greeted, &proof, welcome);
        greeted.hello
    }

    /// The same, and tells the client that the server hears conditions.
    pub fn welcome_extended(&self, line: &mut Line, welcome: &Welcome) {
        let greeted = self.greet(line);
        let proof = line.receive_bytes().expect("the client closed");
        let welcome = self.judge(&greeted, &proof, welcome);
        line.send(&ServerMessage::ExtendedWelcome(ExtendedWelcome {
            welcome,
            capabilities: u64::MAX,
        }));
    }

    /// Checks what the client proves, and welcomes it.
    pub fn admit(&self, line: &mut Line, greeted: &Greeted, proof: &[u8], welcome: &Welcome) {
        let welcome = self.judge(greeted, proof, welcome);
        line.send(&ServerMessage::Welcome(welcome));
    }

    /// Checks what the client proves; returns a welcome with the server's proof.
    fn judge(&self, greeted: &Greeted, proof: &[u8], welcome: &Welcome) -> Welcome {
        let proof = match decode(proof).unwrap() {
            ClientMessage::Proof(proof) => proof,
            other => panic!("not a proof: {other:?}"),
        };
        let expected = proof::of_client(&self.stretched(), &greeted.transcript);
        assert_eq!(proof.secret, Some(expected), "the client's proof");
        let key = greeted.hello.public_key;
        assert!(
            proof::is_of_identity(key, &greeted.transcript, &proof.identity),
            "the client's signature"
        );
        Welcome {
            secret: Some(proof::of_server(&self.stretched(), &greeted.transcript)),
            ..welcome.clone()
        }
    }
}

/// Hears hello, and challenges the client in these words.
pub fn greet_with(line: &mut Line, challenge: Challenge) -> Greeted {
    assert_eq!(line.read(), proof::PREAMBLE);
    let said = line.receive_bytes().expect("the client closed");
    let hello = match decode(&said).unwrap() {
        ClientMessage::Hello(hello) => hello,
        other => panic!("not hello: {other:?}"),
    };
    let challenge = encode(&ServerMessage::Challenge(challenge));
    line.send_bytes(&challenge);
    Greeted {
        hello,
        transcript: proof::transcript(&said, &challenge, line.binding),
        said,
    }
}

/// A welcome that asks for heartbeats at this interval.
pub fn every(heartbeat_millis: u64, acknowledged: Option<u64>) -> Welcome {
    Welcome {
        secret: None,
        acknowledged,
        heartbeat_millis,
        clock: now(),
    }
}

/// Waits for the next report; answers heartbeats meanwhile.
pub fn next_report(line: &mut Line) -> Report {
    loop {
        match line.receive() {
            ClientMessage::Report(report) => return report,
            ClientMessage::Heartbeat(_) | ClientMessage::ExtendedHeartbeat(_) => {
                line.send(&ServerMessage::HeartbeatAck(Ack::default()));
            }
            other => panic!("neither a report nor a heartbeat: {other:?}"),
        }
    }
}

/// Waits for the next heartbeat, and answers it.
pub fn next_heartbeat(line: &mut Line) -> Heartbeat {
    match line.receive() {
        ClientMessage::Heartbeat(heartbeat) => {
            line.send(&ServerMessage::HeartbeatAck(Ack::default()));
            heartbeat
        }
        other => panic!("not a heartbeat: {other:?}"),
    }
}
