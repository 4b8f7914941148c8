//! The server, from its end of the line, and what the client must say next.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;

use vft::fuzzing::auth::{self, SecretKey, Side, Transcript};
use vft::fuzzing::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE};
use vft::fuzzing::message::{
    Ack, Challenge, ClientMessage, MAX_SEQUENCE, MAX_TRAPS, Reason, Refused, ServerMessage,
    Welcome, decode, encode,
};

use crate::input::{
    Answer, Guard, Inflow, Known, MAX_ANSWERS, MAX_OPEN, Number, Opening, Scene, Then, Visit,
};
use crate::model::Model;

const ID: [[u8; 16]; 2] = [[7; 16], [9; 16]];

static SECRETS: [LazyLock<SecretKey>; 2] = [
    LazyLock::new(|| SecretKey::derive(b"secret", &ID[0])),
    LazyLock::new(|| SecretKey::derive(b"secret", &ID[1])),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client has said goodbye.
    Goodbye,
    /// The server has broken it off, in one way or another.
    Cut,
}

/// Whether a session goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    On,
    Over,
}

/// The server.
pub struct Peer<'a> {
    pub socket: TcpStream,
    pub scene: Scene,
    pub visit: &'a Visit<'a>,
    pub model: &'a mut Model,
    /// What the client has still to read, if nothing more can be said.
    pub last_words: Option<Vec<u8>>,
}

impl Peer<'_> {
    pub fn serve(&mut self) -> End {
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
            let course = match (&self.last_words, answers.next()) {
                (Some(_), _) => self.answered(is_report),
                (None, Some(answer)) => self.answer(is_report, *answer),
                (None, None) => match (self.scene.inflow, self.visit.then) {
                    (Inflow::Ended, Then::On) => self.answer(is_report, Answer::AsItShould),
                    (Inflow::Ended, Then::End) => Course::Over,
                    (Inflow::Open, then) => self.close(is_report, then),
                },
            };
            if course == Course::Over {
                return End::Cut;
            }
        }
    }

    pub fn heard(&mut self, said: &ClientMessage) -> Course {
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
            ClientMessage::Hello(_)
            | ClientMessage::Proof(_)
            | ClientMessage::ExtendedHeartbeat(_) => panic!("{said:?}"),
        }
        Course::On
    }

    pub fn shake_hands(&mut self) -> Course {
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

    pub fn welcome(&mut self, transcript: &Transcript) -> Course {
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
    pub fn instead(&mut self, answer: Answer<'_>) -> Course {
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
                Ok(ServerMessage::Challenge(_)
                    | ServerMessage::Welcome(_)
                    | ServerMessage::ExtendedWelcome(_))
            );
        if !is_one {
            drop(self.socket.write_all(&bytes));
        }
        Course::Over
    }

    /// Answers a report or a heartbeat.
    pub fn answer(&mut self, is_report: bool, answer: Answer<'_>) -> Course {
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

    /// Answers as it should and closes, with or without a word about it: an idle client finds out.
    pub fn close(&mut self, is_report: bool, then: Then) -> Course {
        let last = self.model.last();
        let ack = Ack {
            received: last,
            durable: last,
        };
        let mut bytes = framed(&if is_report {
            ServerMessage::Ack(ack)
        } else {
            ServerMessage::HeartbeatAck(ack)
        });
        if then == Then::End {
            bytes.extend(framed(&refusal("the server stops", 0)));
        }
        drop(self.socket.write_all(&bytes));
        drop(self.socket.shutdown(Shutdown::Write));
        self.last_words = Some(bytes);
        self.answered(is_report)
    }

    /// What the client makes of what it reads next, all the same how the server meant it.
    pub fn answered(&mut self, is_report: bool) -> Course {
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
    pub fn say(&mut self, message: &[u8]) {
        let frame = frame::framed(message).unwrap();
        drop(self.socket.write_all(&frame));
    }

    /// The client's next message; `None` is its end.
    pub fn hear(&mut self) -> Option<ClientMessage> {
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
pub fn refusal(text: &str, retry_after_millis: u64) -> ServerMessage {
    ServerMessage::Refused(Refused {
        reason: Reason::ShuttingDown,
        text: text.to_owned(),
        retry_after_millis,
    })
}

/// A message as a frame.
pub fn framed(message: &ServerMessage) -> Vec<u8> {
    frame::framed(&encode(message).unwrap()).unwrap()
}
