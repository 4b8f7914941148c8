//! Random bytes for keys and nonces, from the system's generator.

use ring::rand::{SecureRandom as _, SystemRandom};

/// Fresh random bytes.
///
/// Panics if the system's generator fails: without randomness nothing can be done safely.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    assert!(
        SystemRandom::new().fill(&mut bytes).is_ok(),
        "the system's random generator failed"
    );
    bytes
}
