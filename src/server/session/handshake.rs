//! The server's side of the handshake: messages in, messages out; no sockets, no clocks.

use std::time::Duration;

use crate::event::{ClientId, Timestamp};
use crate::sanitize;
use crate::server::session::refusal::Refusal;
use crate::wire::auth::{self, SecretKey, Side, Transcript};
use crate::wire::message::{
    Challenge, ClientMessage, ExtendedWelcome, Hello, MAX_NAME, MessageError, ServerMessage,
    Welcome, capability, decode, encode,
};

/// The longest version that is shown, in characters.
const MAX_VERSION: usize = 32;

/// What a client must show to get in.
#[derive(Debug)]
pub struct Gate {
    server_id: [u8; 16],
    secret: Option<SecretKey>,
}

/// A peer that has said hello and was challenged.
#[derive(Debug)]
pub struct Greeted {
    hello: Hello,
    said: Vec<u8>,
    challenge: Vec<u8>,
}

/// A client that has proven who it is.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// Who it is.
    pub id: ClientId,
    /// What people call it, printable.
    pub name: String,
    /// The version of its program, printable.
    pub version: String,
    /// Which start of the client it is.
    pub instance: [u8; 16],
    /// What it can do: bits of [`capability`].
    capabilities: u64,
    transcript: Transcript,
}

impl Gate {
    /// A gate that asks for the secret if there is one.
    pub const fn new(server_id: [u8; 16], secret: Option<SecretKey>) -> Self {
        Self { server_id, secret }
    }

    /// The answer to a hello.
    pub fn challenge(
        &self,
        message: &[u8],
        nonce: [u8; 32],
    ) -> Result<(Greeted, Vec<u8>), Refusal> {
        let ClientMessage::Hello(hello) = decode(message).map_err(Refusal::Message)? else {
            return Err(Refusal::OutOfTurn);
        };
        if auth::is_of_small_order(&hello.public_key) {
            return Err(Refusal::IdentityWeak);
        }
        let challenge = encode(&ServerMessage::Challenge(Challenge {
            server_id: self.server_id,
            nonce,
            secret_required: self.secret.is_some(),
        }))
        .map_err(Refusal::Message)?;
        Ok((
            Greeted {
                hello,
                said: message.to_vec(),
                challenge: challenge.clone(),
            },
            challenge,
        ))
    }

    /// Whether the answer to the challenge proves what it must.
    pub fn judge(
        &self,
        greeted: &Greeted,
        message: &[u8],
        binding: Option<&[u8; 32]>,
    ) -> Result<Applicant, Refusal> {
        let ClientMessage::Proof(proof) = decode(message).map_err(Refusal::Message)? else {
            return Err(Refusal::OutOfTurn);
        };
        let transcript = Transcript::new(&greeted.said, &greeted.challenge, binding);
        match (&self.secret, &proof.secret) {
            (None, _) => {}
            (Some(_), None) => return Err(Refusal::SecretMissing),
            (Some(secret), Some(proof)) => {
                if !secret.verify(Side::Client, &transcript, proof) {
                    return Err(Refusal::SecretWrong);
                }
            }
        }
        if !auth::is_signed_by(&greeted.hello.public_key, &transcript, &proof.identity) {
            return Err(Refusal::IdentityUnproven);
        }
        let id = auth::client_id(&greeted.hello.public_key);
        let name = match greeted.hello.name.trim() {
            "" => id.to_string(),
            name => sanitize::line(name, MAX_NAME),
        };
        let version = sanitize::line(&greeted.hello.version, MAX_VERSION);
        Ok(Applicant {
            id,
            name,
            version,
            instance: greeted.hello.instance,
            capabilities: greeted.hello.capabilities,
            transcript,
        })
    }

    /// The welcome for a client that has got in.
    pub fn welcome(
        &self,
        applicant: &Applicant,
        acknowledged: Option<u64>,
        heartbeat: Duration,
        now: Timestamp,
    ) -> Result<Vec<u8>, MessageError> {
        let prove = |secret: &SecretKey| secret.prove(Side::Server, &applicant.transcript);
        let welcome = Welcome {
            secret: self.secret.as_ref().map(prove),
            acknowledged,
            heartbeat_millis: u64::try_from(heartbeat.as_millis()).unwrap_or(u64::MAX),
            clock: now.as_micros(),
        };
        let understands_more = applicant.capabilities & capability::CONDITIONS != 0;
        encode(&if understands_more {
            ServerMessage::ExtendedWelcome(ExtendedWelcome {
                welcome,
                capabilities: capability::CONDITIONS,
            })
        } else {
            ServerMessage::Welcome(welcome)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    const SERVER: [u8; 16] = [9; 16];

    struct Peer {
        key: Ed25519KeyPair,
        claims: [u8; 32],
        secret: Option<SecretKey>,
        channel: Option<[u8; 32]>,
    }

    impl Peer {
        fn new(secret: Option<&str>) -> Self {
            let key = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
            let claims = key.public_key().as_ref().try_into().unwrap();
            let secret = secret.map(|secret| SecretKey::derive(secret.as_bytes(), &SERVER));
            Self {
                key,
                claims,
                secret,
                channel: Some([3; 32]),
            }
        }

        fn knock(&self, gate: &Gate, channel: Option<&[u8; 32]>) -> Result<Applicant, Refusal> {
            let hello = encode(&ClientMessage::Hello(Hello {
                public_key: self.claims,
                nonce: [2; 32],
                name: "web-\u{1b}[7m7".to_owned(),
                version: "1".to_owned(),
                instance: [0; 16],
                capabilities: 0,
            }))
            .unwrap();
            let (greeted, challenge) = gate.challenge(&hello, [4; 32])?;
            let transcript = Transcript::new(&hello, &challenge, self.channel.as_ref());
            let proof = crate::wire::message::Proof {
                secret: self
                    .secret
                    .as_ref()
                    .map(|s| s.prove(Side::Client, &transcript)),
                identity: auth::sign(&self.key, &transcript),
            };
            gate.judge(
                &greeted,
                &encode(&ClientMessage::Proof(proof)).unwrap(),
                channel,
            )
        }
    }

    fn gate(secret: Option<&str>) -> Gate {
        Gate::new(
            SERVER,
            secret.map(|secret| SecretKey::derive(secret.as_bytes(), &SERVER)),
        )
    }

    #[test]
    fn whoever_proves_everything_gets_in_under_a_printable_name() {
        let applicant = Peer::new(Some("s"))
            .knock(&gate(Some("s")), Some(&[3; 32]))
            .unwrap();
        assert_eq!(applicant.name, "web-\\u{1b}[7m7");
        assert!(Peer::new(None).knock(&gate(None), Some(&[3; 32])).is_ok());
    }

    #[test]
    fn each_missing_proof_has_its_own_refusal() {
        let here = Some(&[3; 32]);
        let knock = |peer: Peer, gate: &Gate| peer.knock(gate, here).map(|a| a.id).unwrap_err();
        assert_eq!(
            knock(Peer::new(None), &gate(Some("s"))),
            Refusal::SecretMissing
        );
        assert_eq!(
            knock(Peer::new(Some("t")), &gate(Some("s"))),
            Refusal::SecretWrong
        );
        let liar = Peer {
            claims: [7; 32],
            ..Peer::new(Some("s"))
        };
        assert_eq!(knock(liar, &gate(Some("s"))), Refusal::IdentityUnproven);
    }

    #[test]
    fn an_identity_that_anybody_could_have_is_refused_before_it_is_challenged() {
        let mut claims = [0; 32];
        claims[0] = 1;
        let anybody = Peer {
            claims,
            ..Peer::new(None)
        };
        let refused = anybody.knock(&gate(None), Some(&[3; 32])).map(|a| a.id);
        assert_eq!(refused, Err(Refusal::IdentityWeak));
    }

    #[test]
    fn a_proof_relayed_over_another_tls_connection_is_worthless() {
        let peer = Peer::new(Some("s"));
        let relayed = peer.knock(&gate(Some("s")), Some(&[5; 32])).map(|a| a.id);
        assert_eq!(relayed, Err(Refusal::SecretWrong));
        let open = Peer::new(None)
            .knock(&gate(None), Some(&[5; 32]))
            .map(|a| a.id);
        assert_eq!(open, Err(Refusal::IdentityUnproven));
    }

    #[test]
    fn messages_out_of_turn_are_refused() {
        let report = encode(&ClientMessage::Goodbye).unwrap();
        let refusal = gate(None)
            .challenge(&report, [0; 32])
            .map(|_| ())
            .unwrap_err();
        assert_eq!(refusal, Refusal::OutOfTurn);
    }
}
