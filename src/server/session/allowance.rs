//! How fast one client may report: so many hits a second, and a burst beyond.
//!
//! A client that has used up its allowance is not read from until it has some again. So it waits,
//! with what it has to report in its spool, and nobody else does. The allowance is the client's and
//! not the session's: whoever connects anew has no other.
//!
//! It is a bucket that fills steadily (the generic cell rate algorithm, as ATM has it): of each
//! client only the time is kept at which its bucket will be full again, and of those whose bucket is
//! full, nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::ClientId;

/// When there are more, those whose bucket is full are looked for and forgotten.
const FEW: usize = 1024;

/// How fast any one client may report. Merged hits count once, and every message as one at least.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Hits a second, for as long as it likes.
    pub sustained: u32,
    /// Hits that it may report at once after a pause.
    pub burst: u32,
}

impl Rate {
    /// How long it takes to earn so many hits.
    fn earn(self, hits: usize) -> Duration {
        let hits = u64::try_from(hits).unwrap_or(u64::MAX);
        let nanos = hits.saturating_mul(1_000_000_000) / u64::from(self.sustained.max(1));
        Duration::from_nanos(nanos)
    }

    /// How long an empty bucket takes to fill.
    fn fill(self) -> Duration {
        self.earn(usize::try_from(self.burst).unwrap_or(usize::MAX))
    }
}

/// What clients have used of their allowances.
#[derive(Debug)]
pub struct Allowances {
    rate: Rate,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// When each client's bucket is full.
    full: HashMap<ClientId, Instant>,
    /// With so many, it is time to look for those who need not be remembered.
    many: usize,
}

impl Allowances {
    /// Full buckets for everybody.
    pub fn new(rate: Rate) -> Self {
        let inner = Inner {
            full: HashMap::new(),
            many: FEW,
        };
        Self {
            rate,
            inner: Mutex::new(inner),
        }
    }

    /// Takes so many hits out of a client's bucket, be they in it or not.
    pub fn spend(&self, client: ClientId, hits: usize, now: Instant) {
        let mut inner = self.lock();
        let full = inner.full.get(&client).copied();
        let full = full.map_or(now, |full| full.max(now)) + self.rate.earn(hits.max(1));
        inner.full.insert(client, full);
        if inner.full.len() > inner.many {
            inner.full.retain(|_, full| *full > now);
            inner.many = FEW.max(2 * inner.full.len());
        }
    }

    /// How long a client must wait until its bucket is not overdrawn any more.
    pub fn pause(&self, client: ClientId, now: Instant) -> Duration {
        let full = self.lock().full.get(&client).copied();
        full.map_or(Duration::ZERO, |full| {
            full.saturating_duration_since(now)
                .saturating_sub(self.rate.fill())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use proptest::prelude::*;

    const ID: ClientId = ClientId([1; 16]);
    const REPORT: usize = 1024;

    fn allowances(sustained: u32, burst: u32) -> Allowances {
        Allowances::new(Rate { sustained, burst })
    }

    #[test]
    fn a_burst_is_free_and_what_comes_on_top_is_waited_for() {
        let (allowances, now) = (allowances(1000, 2048), clock::monotonic());
        for _ in 0..2 {
            allowances.spend(ID, REPORT, now);
            assert_eq!(allowances.pause(ID, now), Duration::ZERO);
        }
        allowances.spend(ID, REPORT, now);
        assert_eq!(allowances.pause(ID, now), Duration::from_millis(1024));
        let later = now + Duration::from_secs(1);
        assert_eq!(allowances.pause(ID, later), Duration::from_millis(24));
        let other = ClientId([2; 16]);
        assert_eq!(allowances.pause(other, now), Duration::ZERO);
        // Nothing is earned beyond a burst.
        let later = now + Duration::from_secs(3600);
        for _ in 0..3 {
            allowances.spend(ID, REPORT, later);
        }
        assert_eq!(allowances.pause(ID, later), Duration::from_millis(1024));
    }

    #[test]
    fn a_message_without_hits_costs_one() {
        let (allowances, now) = (allowances(10, 1), clock::monotonic());
        allowances.spend(ID, 0, now);
        allowances.spend(ID, 0, now);
        assert_eq!(allowances.pause(ID, now), Duration::from_millis(100));
    }

    #[test]
    fn those_whose_bucket_is_full_are_not_remembered() {
        let (allowances, now) = (allowances(1000, 2048), clock::monotonic());
        for number in 0..100_000_u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            // A millisecond each, which one hit takes to earn.
            let now = now + Duration::from_millis(number);
            allowances.spend(ClientId(id), 100, now);
        }
        assert!(allowances.lock().full.len() <= 2 * FEW);
    }

    proptest! {
        #[test]
        fn whoever_waits_as_told_gets_the_sustained_rate_and_a_burst_and_no_more(
            steps in prop::collection::vec((0..3000_u64, 1..=REPORT), 1..200)
        ) {
            let (allowances, start) = (allowances(1000, 5000), clock::monotonic());
            let (mut now, mut spent) = (start, 0);
            for (millis, hits) in steps {
                now += Duration::from_millis(millis);
                let pause = allowances.pause(ID, now);
                // One report is the most that it can be behind.
                prop_assert!(pause <= Duration::from_millis(1024));
                now += pause;
                prop_assert_eq!(allowances.pause(ID, now), Duration::ZERO);
                allowances.spend(ID, hits, now);
                spent += hits;
                let earned = 5000 + usize::try_from((now - start).as_millis()).unwrap();
                prop_assert!(spent <= earned + hits + 1, "{} of {}", spent, earned);
            }
        }

        #[test]
        fn whoever_keeps_to_the_rate_never_waits(
            steps in prop::collection::vec(1..=REPORT, 1..200)
        ) {
            let (allowances, mut now) = (allowances(1000, 1024), clock::monotonic());
            for hits in steps {
                prop_assert_eq!(allowances.pause(ID, now), Duration::ZERO);
                allowances.spend(ID, hits, now);
                now += Duration::from_millis(u64::try_from(hits).unwrap());
            }
        }
    }
}
