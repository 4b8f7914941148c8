//! The server's side of the handshake: nobody gets past a secret without it, whatever they send;
//! and whoever proves everything gets in, whatever they say of themselves.
//!
//! Input: a byte of which the lowest bit is whether there is a secret and the next whether there
//! is TLS, then the peer's frames.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use vft::fuzzing::auth::{self, SecretKey, Side, Transcript};
use vft::fuzzing::event::Timestamp;
use vft::fuzzing::frame::{self, MAX_EARLY_FRAME};
use vft::fuzzing::message::{ClientMessage, Hello, Proof, ServerMessage, decode, encode};
use vft::fuzzing::refusal::Refusal;
use vft::fuzzing::server_handshake::{Applicant, Gate};

const SERVER: [u8; 16] = [9; 16];
const NONCE: [u8; 32] = [4; 32];
const BINDING: [u8; 32] = [3; 32];

static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::derive(b"secret", &SERVER));

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap());

fuzz_target!(|data: &[u8]| {
    let Some((&flags, mut sent)) = data.split_first() else {
        return;
    };
    let secret = (flags & 1 == 1).then(|| SECRET.clone());
    let binding = (flags & 2 == 2).then_some(&BINDING);
    let gate = Gate::new(SERVER, secret.clone());
    let (mut hello, mut proof) = (Vec::new(), Vec::new());
    if frame::read(&mut sent, MAX_EARLY_FRAME, &mut hello).is_err() {
        return;
    }
    let (greeted, _) = match gate.challenge(&hello, NONCE) {
        Ok(answer) => answer,
        Err(refusal) => return told(refusal),
    };
    if frame::read(&mut sent, MAX_EARLY_FRAME, &mut proof).is_ok() {
        match gate.judge(&greeted, &proof, binding) {
            Ok(_) => assert!(secret.is_none(), "somebody got past the secret"),
            Err(refusal) => told(refusal),
        }
    }
    if let Ok(ClientMessage::Hello(hello)) = decode(&hello) {
        honest(&gate, hello, secret.as_ref(), binding);
    }
});

/// A refusal can be said.
fn told(refusal: Refusal) {
    encode(&ServerMessage::Refused(refusal.message())).unwrap();
}

/// The same hello from somebody who has the key and the secret.
fn honest(gate: &Gate, hello: Hello, secret: Option<&SecretKey>, binding: Option<&[u8; 32]>) {
    let public_key = KEY.public_key().as_ref().try_into().unwrap();
    let hello = encode(&ClientMessage::Hello(Hello {
        public_key,
        ..hello
    }))
    .unwrap();
    let (greeted, challenge) = gate.challenge(&hello, NONCE).unwrap();
    let transcript = Transcript::new(&hello, &challenge, binding);
    let proof = |transcript| {
        let proof = Proof {
            secret: secret.map(|secret| secret.prove(Side::Client, transcript)),
            identity: auth::sign(&KEY, transcript),
        };
        encode(&ClientMessage::Proof(proof)).unwrap()
    };
    let applicant = gate.judge(&greeted, &proof(&transcript), binding).unwrap();
    assert_eq!(applicant.id, auth::client_id(&public_key));
    printable(&applicant);
    let welcome = gate
        .welcome(&applicant, Some(1), Duration::MAX, Timestamp::default())
        .unwrap();
    let welcome = match decode(&welcome).unwrap() {
        ServerMessage::Welcome(welcome) => welcome,
        ServerMessage::ExtendedWelcome(extended) => extended.welcome,
        other => panic!("{other:?} is no welcome"),
    };
    assert_eq!(welcome.secret.is_some(), secret.is_some());
    // A proof that was made for another hello is worth nothing.
    let other = Transcript::new(&challenge, &hello, binding);
    assert!(gate.judge(&greeted, &proof(&other), binding).is_err());
}

fn printable(applicant: &Applicant) {
    for text in [&applicant.name, &applicant.version] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= 1024, "{text:?}");
    }
    assert!(!applicant.name.is_empty());
}
