//! What client and server prove to each other, and how.
//!
//! Both hash the same transcript,
//!
//! ```text
//! T = SHA-256( "vft1 transcript" | n(preamble) | n(Hello) | n(Challenge) | binding )
//! ```
//!
//! where `n(x)` is the length of `x` as u32 big-endian followed by `x`, the messages are the bytes
//! of their frames without the length, and `binding` is 0 without TLS, or 1 followed by the 32
//! bytes of the TLS exporter `EXPORTER-Channel-Binding` (RFC 9266), so that a proof made on one
//! TLS connection is worth nothing on another.
//!
//! ```text
//! k               = PBKDF2-HMAC-SHA256( secret, salt = server id, 600 000 rounds, 32 bytes )
//! client's proof  = HMAC-SHA256( k, "vft1 client" | T )
//! server's proof  = HMAC-SHA256( k, "vft1 server" | T )
//! identity        = Ed25519 signature of "vft1 identity" | T
//! ```
//!
//! The number of rounds is OWASP's recommendation for PBKDF2-HMAC-SHA256 (2023). The server shows
//! its proof only after it has seen the client's, so a stranger who connects learns nothing to
//! guess the secret with.

use std::num::NonZeroU32;

use ring::digest::{Context, SHA256};
use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use ring::{hmac, pbkdf2};

use crate::event::ClientId;
use crate::wire::frame::PREAMBLE;

/// A fuzz target has no secret worth guessing, and would do nothing else but stretch it.
const ROUNDS: NonZeroU32 = match NonZeroU32::new(if cfg!(fuzzing) { 1 } else { 600_000 }) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};

/// The fleet's secret, stretched for one server.
#[derive(Clone, Debug)]
pub struct SecretKey(hmac::Key);

impl SecretKey {
    /// Stretches the secret. Takes some tenths of a second of CPU on purpose.
    pub fn derive(secret: &[u8], server_id: &[u8; 16]) -> Self {
        let mut stretched = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            ROUNDS,
            server_id,
            secret,
            &mut stretched,
        );
        Self(hmac::Key::new(hmac::HMAC_SHA256, &stretched))
    }

    /// The proof that `side` knows the secret.
    pub fn prove(&self, side: Side, transcript: &Transcript) -> [u8; 32] {
        let tag = hmac::sign(&self.0, &transcript.labelled(side.label()));
        let mut proof = [0; 32];
        proof.copy_from_slice(tag.as_ref());
        proof
    }

    /// Whether `proof` is the proof that `side` knows the secret; compares in constant time.
    pub fn verify(&self, side: Side, transcript: &Transcript, proof: &[u8; 32]) -> bool {
        hmac::verify(&self.0, &transcript.labelled(side.label()), proof).is_ok()
    }
}

/// Whose proof it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connects.
    Client,
    /// The one that listens.
    Server,
}

impl Side {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Client => b"vft1 client",
            Self::Server => b"vft1 server",
        }
    }
}

/// The hash of all that was said before the proofs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transcript([u8; 32]);

impl Transcript {
    /// Hashes the encoded `Hello` and `Challenge` and the channel they were sent on.
    pub fn new(hello: &[u8], challenge: &[u8], binding: Option<&[u8; 32]>) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(b"vft1 transcript");
        for part in [&PREAMBLE, hello, challenge] {
            // Both messages have passed the frame limit, so their length fits.
            context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            context.update(part);
        }
        match binding {
            None => context.update(&[0]),
            Some(exported) => {
                context.update(&[1]);
                context.update(exported);
            }
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self(hash)
    }

    fn labelled(&self, label: &[u8]) -> Vec<u8> {
        [label, &self.0].concat()
    }
}

/// The signature that proves the client holds its key, as two halves.
pub fn sign(key: &Ed25519KeyPair, transcript: &Transcript) -> [[u8; 32]; 2] {
    let signature = key.sign(&transcript.labelled(IDENTITY));
    let mut halves = [[0; 32]; 2];
    halves
        .as_flattened_mut()
        .copy_from_slice(signature.as_ref());
    halves
}

/// Whether the signature was made with the private half of `public_key`.
pub fn is_signed_by(
    public_key: &[u8; 32],
    transcript: &Transcript,
    signature: &[[u8; 32]; 2],
) -> bool {
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&transcript.labelled(IDENTITY), signature.as_flattened())
        .is_ok()
}

/// Whether a public key is one of those of small order, for which anybody can make a signature that
/// holds for any message: then it is nobody's identity.
///
/// The curve has eight such points. They have 14 encodings, those included that are not canonical:
/// 7 for the coordinate, each with either sign (Chalkias, Garillot and Nikolaenko, *Taming the many
/// `EdDSAs`*, 2020, table 1; libsodium refuses the same).
pub fn is_of_small_order(public_key: &[u8; 32]) -> bool {
    let mut unsigned = *public_key;
    if let Some(last) = unsigned.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&unsigned)
}

/// The coordinates of points of small order, little-endian: of order 4, 1, 8, 8, 2, and those of
/// order 4 and 1 once more with the field's prime 2²⁵⁵ − 19 added.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    alike_within(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    alike_within(0xec, 0xff, 0x7f),
    alike_within(0xed, 0xff, 0x7f),
    alike_within(0xee, 0xff, 0x7f),
];

/// A number of 32 bytes of which all but the first and the last are alike.
const fn alike_within(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// The id of the client that holds this key.
pub fn client_id(public_key: &[u8; 32]) -> ClientId {
    let hash = ring::digest::digest(&SHA256, public_key);
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    ClientId(id)
}

const IDENTITY: &[u8] = b"vft1 identity";

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::KeyPair as _;

    fn key(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn public(key: &Ed25519KeyPair) -> [u8; 32] {
        key.public_key().as_ref().try_into().unwrap()
    }

    #[test]
    fn a_proof_is_good_for_one_side_one_transcript_one_secret() {
        let here = Transcript::new(b"hello", b"challenge", Some(&[1; 32]));
        let there = Transcript::new(b"hello", b"challenge", Some(&[2; 32]));
        let secret = SecretKey::derive(b"correct horse", &[7; 16]);
        let proof = secret.prove(Side::Client, &here);
        assert!(secret.verify(Side::Client, &here, &proof));
        assert!(!secret.verify(Side::Server, &here, &proof));
        assert!(!secret.verify(Side::Client, &there, &proof));
        let other = SecretKey::derive(b"correct house", &[7; 16]);
        assert!(!other.verify(Side::Client, &here, &proof));
    }

    #[test]
    fn a_signature_is_good_for_one_key_and_one_transcript() {
        let here = Transcript::new(b"hello", b"challenge", None);
        let signature = sign(&key(1), &here);
        assert!(is_signed_by(&public(&key(1)), &here, &signature));
        assert!(!is_signed_by(&public(&key(2)), &here, &signature));
        let there = Transcript::new(b"hello!", b"challenge", None);
        assert!(!is_signed_by(&public(&key(1)), &there, &signature));
    }

    #[test]
    fn keys_of_small_order_are_recognised_in_every_encoding_and_no_other_is() {
        // As libsodium's ge25519_has_small_order lists them.
        let listed = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        for listed in listed {
            let mut key: [u8; 32] = std::array::from_fn(|at| {
                u8::from_str_radix(listed.get(2 * at..2 * at + 2).unwrap(), 16).unwrap()
            });
            assert!(is_of_small_order(&key), "{listed}");
            key[31] |= 0x80;
            assert!(is_of_small_order(&key), "{listed} with the other sign");
            key[15] ^= 1;
            assert!(!is_of_small_order(&key), "{listed}, changed");
        }
        for seed in 0..=u8::MAX {
            assert!(!is_of_small_order(&public(&key(seed))));
        }
    }

    #[test]
    fn what_anybody_can_sign_with_a_key_of_small_order_would_hold() {
        let (mut identity, mut signature) = ([0; 32], [[0; 32]; 2]);
        (identity[0], signature[0][0]) = (1, 1);
        let any = Transcript::new(b"hello", b"challenge", None);
        assert!(is_signed_by(&identity, &any, &signature));
        assert!(is_of_small_order(&identity));
    }

    #[test]
    fn parts_of_a_transcript_cannot_slide_into_each_other() {
        assert_ne!(
            Transcript::new(b"ab", b"c", None),
            Transcript::new(b"a", b"bc", None)
        );
    }
}
