//! What the two sides prove to each other, computed from docs/protocol.md with ring alone.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::pbkdf2;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// What a client of version 1 sends first.
pub const PREAMBLE: [u8; 8] = *b"VFT\x01\0\0\0\0";

/// The secret stretched for a server. Each pair is stretched once a test run: it is slow on
/// purpose.
pub fn stretch(secret: &str, server_id: [u8; 16]) -> [u8; 32] {
    type Stretched = HashMap<(String, [u8; 16]), [u8; 32]>;
    static DONE: Mutex<Option<Stretched>> = Mutex::new(None);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    *done
        .get_or_insert_default()
        .entry((secret.to_owned(), server_id))
        .or_insert_with(|| {
            let mut key = [0; 32];
            let rounds = NonZeroU32::new(600_000).unwrap();
            let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
            pbkdf2::derive(algorithm, rounds, &server_id, secret.as_bytes(), &mut key);
            key
        })
}

/// The transcript of a handshake: the two messages as they were in their frames, and the TLS
/// exporter of the connection if it is under TLS.
pub fn transcript(hello: &[u8], challenge: &[u8], binding: Option<[u8; 32]>) -> [u8; 32] {
    let mut said = b"vft1 transcript".to_vec();
    for part in [&PREAMBLE, hello, challenge] {
        said.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        said.extend(part);
    }
    match binding {
        None => said.push(0),
        Some(exported) => {
            said.push(1);
            said.extend(exported);
        }
    }
    digest(&SHA256, &said).as_ref().try_into().unwrap()
}

/// The client's proof of the secret.
pub fn of_client(stretched: &[u8; 32], transcript: &[u8; 32]) -> [u8; 32] {
    mac(stretched, b"vft1 client", transcript)
}

/// The server's proof of the secret.
pub fn of_server(stretched: &[u8; 32], transcript: &[u8; 32]) -> [u8; 32] {
    mac(stretched, b"vft1 server", transcript)
}

fn mac(stretched: &[u8; 32], label: &[u8], transcript: &[u8; 32]) -> [u8; 32] {
    let key = Key::new(HMAC_SHA256, stretched);
    let tag = sign(&key, &[label, transcript].concat());
    tag.as_ref().try_into().unwrap()
}

/// The proof of an identity.
pub fn of_identity(seed: [u8; 32], transcript: &[u8; 32]) -> [u8; 64] {
    let signed = [&b"vft1 identity"[..], transcript].concat();
    key(seed).sign(&signed).as_ref().try_into().unwrap()
}

/// Whether it proves the identity of whoever holds this key.
pub fn is_of_identity(public_key: [u8; 32], transcript: &[u8; 32], proof: &[u8; 64]) -> bool {
    let signed = [&b"vft1 identity"[..], transcript].concat();
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&signed, proof)
        .is_ok()
}

/// The public key of a seed.
pub fn public_key(seed: [u8; 32]) -> [u8; 32] {
    key(seed).public_key().as_ref().try_into().unwrap()
}

/// The id of the client that holds this key.
pub fn client_id(public_key: [u8; 32]) -> String {
    hex(&digest(&SHA256, &public_key).as_ref()[..16])
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(seed: [u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}
