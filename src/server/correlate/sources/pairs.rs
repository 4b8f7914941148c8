//! Which pairs of a source and a trap were seen, for sources without a place in the vault.
//!
//! A blocked Bloom filter (Putze, Sanders and Singler 2007): one line of 512 bits for a pair, six
//! of them set. It may say that a pair was seen that was not, so a first contact may be missed,
//! and never the other way round. Two generations, a day each.

use crate::event::Timestamp;
use crate::server::correlate::sources::Novelty;
use crate::server::correlate::sources::hash::Hash;
use crate::server::correlate::sources::sieve::GENERATION;

const LINE: usize = 64;
const BITS: u32 = 6;

/// A set of pairs.
#[derive(Debug)]
pub struct Pairs {
    young: Vec<u8>,
    old: Vec<u8>,
    begun: Timestamp,
}

impl Pairs {
    /// A set of `bytes`, both generations together.
    pub fn new(bytes: usize) -> Self {
        let size = (bytes / 2 / LINE).max(1) * LINE;
        let (young, old) = (vec![0; size], vec![0; size]);
        Self {
            young,
            old,
            begun: Timestamp::default(),
        }
    }

    /// Notes a pair at `now`; says whether it is new.
    pub fn add(&mut self, hash: Hash, now: Timestamp) -> Novelty {
        self.turn(now);
        let line = hash.reduced_to(self.young.len() / LINE) * LINE;
        let (mut in_young, mut in_old) = (Novelty::Repeat, Novelty::Repeat);
        for n in 0..BITS {
            // The line was chosen by the upper bits; 54 of the lower ones are used here.
            let bit = hash.bits() >> (9 * n) & 511;
            let (byte, mask) = (line + usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8));
            if let Some(byte) = self.young.get_mut(byte) {
                if *byte & mask == 0 {
                    in_young = Novelty::First;
                }
                *byte |= mask;
            }
            if self.old.get(byte).is_some_and(|byte| byte & mask == 0) {
                in_old = Novelty::First;
            }
        }
        match (in_young, in_old) {
            (Novelty::First, Novelty::First) => Novelty::First,
            _ => Novelty::Repeat,
        }
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
        self.young = vec![0; self.young.len()];
        if age >= GENERATION * 2 {
            self.old = vec![0; self.old.len()];
        }
        self.begun = now;
    }
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
