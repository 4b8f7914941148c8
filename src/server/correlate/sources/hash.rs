//! Hashes that nobody outside can foresee: SipHash-1-3 with a secret.
//!
//! Without the secret one could choose addresses that all fall into one bucket of a table, and so
//! drive somebody out of it.

use siphasher::sip::SipHasher13;

use crate::server::correlate::table::Fast;

/// What hashes depend on beside their key. All zeros in a replay, which has no enemies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A hash of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(u64);

impl Secret {
    /// The hash of a key.
    pub fn hash(self, key: u128) -> Hash {
        Hash(SipHasher13::new_with_key(&self.0).hash(&key.to_le_bytes()))
    }

    /// Hashes that are fast, for small tables whose keys strangers choose: they are less of a secret,
    /// but one has to know it to make keys collide.
    pub fn fast(self) -> Fast {
        Fast::with_seed(self.hash(0).bits())
    }
}

impl Hash {
    /// The hash of this key and something that belongs to it. The last step of
    /// `SplitMix64`
    /// (Steele, Lea and Flood 2014) mixes the two.
    pub const fn with(self, part: u64) -> Self {
        let mut mixed = self.0 ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(mixed ^ (mixed >> 31))
    }

    /// A number below `bound`, from the upper bits (Lemire 2019).
    pub fn reduced_to(self, bound: usize) -> usize {
        let bound = u128::try_from(bound).unwrap_or(1);
        usize::try_from((u128::from(self.0) * bound) >> 64).unwrap_or(0)
    }

    /// 16 bits that tell entries of a bucket apart.
    #[expect(clippy::cast_possible_truncation, reason = "the lower bits are wanted")]
    pub const fn tag(self) -> u16 {
        self.0 as u16
    }

    /// The lower bits, for positions within a line.
    pub const fn bits(self) -> u64 {
        self.0
    }
}
