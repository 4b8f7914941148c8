//! Who this client is: an Ed25519 key in the state folder, made at the first start.

use std::fmt;

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use crate::entropy::random;
use crate::state::{StateError, StateFolder};

/// A client's identity.
pub struct Identity {
    seed: [u8; 32],
    key: Ed25519KeyPair,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// The file in the state folder that holds the key's seed.
const FILE: &str = "identity";

impl Identity {
    /// The identity kept in the folder.
    pub fn keep(folder: &StateFolder) -> Result<Self, StateError> {
        let seed = folder.keep(FILE, random)?;
        // Any 32 bytes are the seed of a key.
        let key = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| StateError::Damaged(FILE.into()))?;
        Ok(Self { seed, key })
    }

    /// The key that signs.
    pub const fn key(&self) -> &Ed25519KeyPair {
        &self.key
    }

    /// The public half.
    pub fn public_key(&self) -> [u8; 32] {
        let mut public = [0; 32];
        public.copy_from_slice(self.key.public_key().as_ref());
        public
    }

    /// What the choice of traps is drawn from; as secret as the key.
    pub const fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}
