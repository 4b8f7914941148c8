//! The sieve: how often, at most, keys without a place in the vault have been counted.
//!
//! A blocked Count-Min sketch with conservative update (Cormode and Muthukrishnan 2005; Estan and
//! Varghese 2002): one line of 64 bytes for a key, in it one counter in each quarter, of which
//! only the smallest are raised. What it says is never too small; how often it is too large
//! [`Sieve::error`] estimates from the counters themselves. Two generations, a day each, so that
//! old counts end.

use std::time::Duration;

use crate::event::Timestamp;
use crate::server::correlate::sources::hash::Hash;
use crate::server::correlate::sources::lines::{LINE, Lines};

/// Counters of a byte in each quarter of a key's line.
const QUARTER: usize = LINE / 4;

/// How long a generation counts before the next one begins.
pub const GENERATION: Duration = Duration::from_secs(86_400);

/// Lines looked at to estimate the error.
const SAMPLED: usize = 1024;

/// Upper bounds on counts.
#[derive(Debug)]
pub struct Sieve {
    young: Generation,
    old: Generation,
    begun: Timestamp,
}

#[derive(Debug)]
struct Generation {
    counters: Lines,
    used: Used,
}

/// Whether anything was counted; what is blank needs not be wiped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    No,
    Yes,
}

impl Sieve {
    /// A sieve of `bytes`, both generations together.
    pub fn new(bytes: usize) -> Self {
        let lines = bytes / 2 / LINE;
        Self {
            young: Generation::new(lines),
            old: Generation::new(lines),
            begun: Timestamp::default(),
        }
    }

    /// Counts a key once more at `now`, and says how often it has been counted at most.
    pub fn add(&mut self, hash: Hash, now: Timestamp) -> u32 {
        self.turn(now);
        self.young.add(hash) + self.old.estimate(hash)
    }

    /// Reads what is needed to count a key.
    pub fn foresee(&self, hash: Hash) {
        self.young.counters.foresee(self.young.line(hash));
        self.old.counters.foresee(self.old.line(hash));
    }

    /// Which share of keys never counted would be said to have been counted `count` times.
    ///
    /// Within a line the quarters are independent of each other, lines are not all alike; so it is
    /// the mean over lines of the product over quarters of the share of counters that high.
    pub fn error(&self, count: u8) -> f64 {
        self.young.error(count).max(self.old.error(count))
    }

    /// What less than this share of keys never counted would be said to exceed.
    pub fn noise(&self, share: f64) -> u32 {
        // What is said is the sum over both generations.
        let level = |generation: &Generation| {
            let clear = (1..u8::MAX).find(|count| generation.error(*count) < share);
            u32::from(clear.unwrap_or(u8::MAX)) - 1
        };
        level(&self.young) + level(&self.old)
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
        self.young.wipe();
        if age >= GENERATION * 2 {
            self.old.wipe();
        }
        self.begun = now;
    }
}

impl Generation {
    fn new(lines: usize) -> Self {
        Self {
            counters: Lines::new(lines),
            used: Used::No,
        }
    }

    fn wipe(&mut self) {
        if self.used == Used::Yes {
            // Fresh memory costs nothing until it is used.
            self.counters = Lines::new(self.counters.len());
            self.used = Used::No;
        }
    }

    fn line(&self, hash: Hash) -> usize {
        hash.reduced_to(self.counters.len())
    }

    fn estimate(&self, hash: Hash) -> u32 {
        let line = self.counters.get(self.line(hash));
        line.map_or(0, |line| least(line, hash).into())
    }

    /// Counts a key once more, and says how often it has been counted at most.
    fn add(&mut self, hash: Hash) -> u32 {
        self.used = Used::Yes;
        let place = self.line(hash);
        let Some(line) = self.counters.get_mut(place) else {
            return 0;
        };
        let raised = least(line, hash).saturating_add(1);
        for place in places(hash) {
            if let Some(counter) = line.get_mut(place) {
                *counter = raised.max(*counter);
            }
        }
        raised.into()
    }

    fn error(&self, count: u8) -> f64 {
        if self.used == Used::No {
            return 0.0;
        }
        let sampled = self.counters.sample(self.counters.len() / SAMPLED);
        let share = |quarter: &[u8]| {
            let high = quarter.iter().filter(|counter| **counter >= count).count();
            high as f64 / QUARTER as f64
        };
        let (mut sum, mut number) = (0.0, 0.0);
        for line in sampled {
            sum += line.chunks_exact(QUARTER).map(share).product::<f64>();
            number += 1.0;
        }
        sum / f64::max(number, 1.0)
    }
}

/// The smallest of a key's counters in its line.
fn least(line: &[u8; LINE], hash: Hash) -> u8 {
    let counters = places(hash).map(|place| line.get(place).copied().unwrap_or(0));
    counters.into_iter().min().unwrap_or(0)
}

/// Where in its line a key's counters are, one in each quarter.
fn places(hash: Hash) -> [usize; 4] {
    // The line was chosen by the upper bits.
    let bits = usize::try_from(hash.bits() & 0xffff).unwrap_or(0);
    [
        bits & 15,
        QUARTER + ((bits >> 4) & 15),
        2 * QUARTER + ((bits >> 8) & 15),
        3 * QUARTER + ((bits >> 12) & 15),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::sources::hash::Secret;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    impl Sieve {
        fn estimate(&self, hash: Hash) -> u32 {
            self.young.estimate(hash) + self.old.estimate(hash)
        }
    }

    fn day(n: u64) -> Timestamp {
        Timestamp::from_micros((n + 1) * 86_400_000_000)
    }

    proptest! {
        #[test]
        fn it_never_says_too_little(keys in prop::collection::vec(0..300_u128, 0..600)) {
            let mut sieve = Sieve::new(1024);
            let mut exact = BTreeMap::<u128, u32>::new();
            for key in keys {
                *exact.entry(key).or_default() += 1;
                let hash = Secret::default().hash(key);
                prop_assert!(sieve.add(hash, day(0)) >= exact[&key].min(255));
            }
        }
    }

    #[test]
    fn it_says_how_often_it_says_too_much() {
        let mut sieve = Sieve::new(64 * 1024 * 2);
        for key in 0..60_000 {
            sieve.add(Secret::default().hash(key), day(0));
        }
        for count in [2_u8, 4, 6] {
            let wrong = (1_000_000..1_100_000)
                .filter(|key| sieve.estimate(Secret::default().hash(*key)) >= count.into())
                .count();
            let (measured, said) = (wrong as f64 / 1e5, sieve.error(count));
            assert!(
                (measured - said).abs() < 0.1 * said + 0.002,
                "{measured} {said}"
            );
        }
    }

    #[test]
    fn noise_is_that_of_both_generations() {
        let mut sieve = Sieve::new(64 * 64 * 2);
        assert_eq!(sieve.noise(0.01), 0);
        for (today, keys) in [(0, 0..6000), (1, 6000..12_000)] {
            for key in keys {
                sieve.add(Secret::default().hash(key), day(today));
            }
        }
        let noise = sieve.noise(0.01);
        assert!(noise >= 4, "{noise}");
        let louder = (1_000_000..1_010_000)
            .filter(|key| sieve.estimate(Secret::default().hash(*key)) > noise)
            .count();
        assert!(louder < 200, "{louder} of 10,000");
    }

    #[test]
    fn counts_end_after_two_days() {
        let mut sieve = Sieve::new(4096);
        let hash = Secret::default().hash(1);
        assert_eq!(sieve.add(hash, day(0)), 1);
        assert_eq!(sieve.add(hash, day(1)), 2);
        assert_eq!(sieve.add(hash, day(2)), 2);
        assert_eq!(sieve.add(hash, day(9)), 1);
    }
}
