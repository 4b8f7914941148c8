//! Which pairs of a source and a trap were seen, for sources without a place in the vault.
//!
//! A blocked Bloom filter (Putze, Sanders and Singler 2007): one line of 512 bits for a pair, six
//! of them set. It may say that a pair was seen that was not, so a first contact may be missed,
//! and never the other way round. Two generations, a day each.

use crate::event::Timestamp;
use crate::server::correlate::sources::Novelty;
use crate::server::correlate::sources::hash::Hash;
use crate::server::correlate::sources::lines::{LINE, Lines};
use crate::server::correlate::sources::sieve::GENERATION;

const BITS: u32 = 6;

/// A set of pairs.
#[derive(Debug)]
pub struct Pairs {
    young: Lines,
    old: Lines,
    begun: Timestamp,
}

impl Pairs {
    /// A set of `bytes`, both generations together.
    pub fn new(bytes: usize) -> Self {
        let lines = bytes / 2 / LINE;
        Self {
            young: Lines::new(lines),
            old: Lines::new(lines),
            begun: Timestamp::default(),
        }
    }

    /// Notes a pair at `now`; says whether it is new.
    pub fn add(&mut self, hash: Hash, now: Timestamp) -> Novelty {
        self.turn(now);
        let place = self.place(hash);
        let old = self.old.get(place).is_some_and(|line| {
            bits(hash).all(|(byte, mask)| line.get(byte).is_some_and(|byte| byte & mask != 0))
        });
        let mut young = true;
        if let Some(line) = self.young.get_mut(place) {
            for (byte, mask) in bits(hash) {
                if let Some(byte) = line.get_mut(byte) {
                    young &= *byte & mask != 0;
                    *byte |= mask;
                }
            }
        }
        if young || old {
            Novelty::Repeat
        } else {
            Novelty::First
        }
    }

    /// Reads what is needed to note a pair.
    pub fn foresee(&self, hash: Hash) {
        let place = self.place(hash);
        self.young.foresee(place);
        self.old.foresee(place);
    }

    fn place(&self, hash: Hash) -> usize {
        hash.reduced_to(self.young.len())
    }

    fn turn(&mut self, now: Timestamp) {
        if self.begun == Timestamp::default() {
            self.begun = now;
        }
        let age = now.since(self.begun);
        if age < GENERATION {
            return;
        }
        std::mem::swap(&mut self.young, &mut self.old);
        self.young = Lines::new(self.young.len());
        if age >= GENERATION * 2 {
            self.old = Lines::new(self.old.len());
        }
        self.begun = now;
    }
}

/// The bytes of a pair's line that are looked at, each with its bit.
fn bits(hash: Hash) -> impl Iterator<Item = (usize, u8)> {
    // The line was chosen by the upper bits; 54 of the lower ones are used here.
    (0..BITS).map(move |n| {
        let bit = hash.bits() >> (9 * n) & 511;
        (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::sources::hash::Secret;

    fn hour(n: u64) -> Timestamp {
        Timestamp::from_micros((n + 1) * 3_600_000_000)
    }

    #[test]
    fn a_pair_is_new_once_in_a_day_or_two() {
        let mut pairs = Pairs::new(1 << 20);
        let hash = Secret::default().hash(7).with(22);
        assert_eq!(pairs.add(hash, hour(0)), Novelty::First);
        assert_eq!(pairs.add(hash, hour(1)), Novelty::Repeat);
        assert_eq!(pairs.add(hash, hour(25)), Novelty::Repeat);
        assert_eq!(pairs.add(hash, hour(90)), Novelty::First);
    }

    #[test]
    fn few_new_pairs_are_taken_for_known_ones() {
        let mut pairs = Pairs::new(2 << 20);
        let new = (0..400_000)
            .filter(|key| pairs.add(Secret::default().hash(*key), hour(0)) == Novelty::First)
            .count();
        assert!(new > 396_000, "{new}");
    }
}
