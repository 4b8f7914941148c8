//! The client's side of the handshake: a client that has a secret takes nobody for its server who
//! has not, whatever they send.
//!
//! Input: a byte of which the lowest bit is whether there is a secret and the next whether there
//! is TLS, then the server's frames.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use vft::fuzzing::auth::SecretKey;
use vft::fuzzing::client_handshake::Greeted;
use vft::fuzzing::error::SessionError;
use vft::fuzzing::frame::{self, MAX_EARLY_FRAME, MAX_FRAME};
use vft::fuzzing::message::Hello;

static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::derive(b"secret", &[9; 16]));

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap());

fuzz_target!(|data: &[u8]| {
    let Some((&flags, sent)) = data.split_first() else {
        return;
    };
    let secret = (flags & 1 == 1).then_some(&*SECRET);
    let binding = (flags & 2 == 2).then_some(&[3; 32]);
    match shake(secret, binding, sent) {
        Ok(()) => assert!(secret.is_none(), "somebody got past the secret"),
        Err(None) => {}
        Err(Some(error)) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            error.retry_after();
        }
    }
});

/// `Err(None)` if the server says too little.
fn shake(
    secret: Option<&SecretKey>,
    binding: Option<&[u8; 32]>,
    mut sent: &[u8],
) -> Result<(), Option<SessionError>> {
    let mut answer = Vec::new();
    let (greeted, hello) = Greeted::begin(hello())?;
    assert!(hello.len() <= MAX_EARLY_FRAME);
    frame::read(&mut sent, MAX_FRAME, &mut answer).map_err(|_| None)?;
    let challenged = greeted.challenged(&answer, binding)?;
    let (proven, proof) = challenged.prove(&KEY, secret)?;
    assert!(proof.len() <= MAX_EARLY_FRAME);
    frame::read(&mut sent, MAX_FRAME, &mut answer).map_err(|_| None)?;
    proven.welcomed(&answer)?;
    Ok(())
}

fn hello() -> Hello {
    Hello {
        public_key: KEY.public_key().as_ref().try_into().unwrap(),
        nonce: [2; 32],
        name: "web-7".to_owned(),
        version: "1".to_owned(),
        instance: [0; 16],
        capabilities: 0,
    }
}
