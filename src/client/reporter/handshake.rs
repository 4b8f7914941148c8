//! The client's side of the handshake: messages in, messages out.

use ring::signature::Ed25519KeyPair;

use crate::client::reporter::error::SessionError;
use crate::wire::auth::{self, SecretKey, Side, Transcript};
use crate::wire::message::{
    ClientMessage, ExtendedWelcome, Hello, Proof, ServerMessage, decode, encode,
};

/// A handshake in which the client has said hello.
#[derive(Debug)]
pub struct Greeted {
    hello: Vec<u8>,
}

/// A handshake in which the client has proven what it was asked to.
#[derive(Debug)]
pub struct Proven {
    transcript: Transcript,
    secret: Option<SecretKey>,
}

/// What the server was found to be and to want.
#[derive(Debug)]
pub struct Challenged {
    transcript: Transcript,
    secret_required: bool,
    /// The server's id, for which the secret is stretched.
    pub server_id: [u8; 16],
}

impl Greeted {
    /// Begins; the bytes are the first message.
    pub fn begin(hello: Hello) -> Result<(Self, Vec<u8>), SessionError> {
        let hello = encode(&ClientMessage::Hello(hello))?;
        Ok((
            Self {
                hello: hello.clone(),
            },
            hello,
        ))
    }

    /// Takes the server's answer.
    pub fn challenged(
        self,
        answer: &[u8],
        binding: Option<&[u8; 32]>,
    ) -> Result<Challenged, SessionError> {
        match decode(answer)? {
            ServerMessage::Challenge(challenge) => Ok(Challenged {
                transcript: Transcript::new(&self.hello, answer, binding),
                secret_required: challenge.secret_required,
                server_id: challenge.server_id,
            }),
            other => Err(unexpected(other, "a challenge")),
        }
    }
}

impl Challenged {
    /// Proves the identity, and the secret if the server wants it. A client that has a secret
    /// wants the server to want it: a server that asks for none cannot prove that it knows it.
    pub fn prove(
        self,
        key: &Ed25519KeyPair,
        secret: Option<&SecretKey>,
    ) -> Result<(Proven, Vec<u8>), SessionError> {
        if secret.is_some() && !self.secret_required {
            return Err(SessionError::ServerUnproven);
        }
        let proof = Proof {
            secret: secret.map(|secret| secret.prove(Side::Client, &self.transcript)),
            identity: auth::sign(key, &self.transcript),
        };
        let proof = encode(&ClientMessage::Proof(proof))?;
        Ok((
            Proven {
                transcript: self.transcript,
                secret: secret.cloned(),
            },
            proof,
        ))
    }
}

impl Proven {
    /// Takes the server's answer, and its proof if there is a secret. A server that does not say
    /// what it can do can do nothing that is not in the first release.
    pub fn welcomed(self, answer: &[u8]) -> Result<ExtendedWelcome, SessionError> {
        let welcome = match decode(answer)? {
            ServerMessage::Welcome(welcome) => ExtendedWelcome {
                welcome,
                capabilities: 0,
            },
            ServerMessage::ExtendedWelcome(welcome) => welcome,
            other => return Err(unexpected(other, "a welcome")),
        };
        match (&self.secret, &welcome.welcome.secret) {
            (None, _) => Ok(welcome),
            (Some(secret), Some(proof)) if secret.verify(Side::Server, &self.transcript, proof) => {
                Ok(welcome)
            }
            (Some(_), _) => Err(SessionError::ServerUnproven),
        }
    }
}

/// What an answer that is not the expected one means.
pub fn unexpected(answer: ServerMessage, expected: &'static str) -> SessionError {
    match answer {
        ServerMessage::Refused(refused) => SessionError::Refused(refused),
        _ => SessionError::Unexpected(expected),
    }
}
