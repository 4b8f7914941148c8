//! What failed proofs cost: the answer comes later each time.
//!
//! Guessing is slow, while a neighbour behind the same address who knows the secret is not locked
//! out: only failures wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::event::neighbourhood;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A failure is forgotten after this long without another.
const MEMORY: Duration = Duration::from_secs(600);

/// Addresses that are remembered. When there are more, all are forgotten: whoever has so many
/// does not need to come twice from one.
const MAX_ADDRESSES: usize = 4096;

/// Failures by address.
#[derive(Debug, Default)]
pub struct Delays(Mutex<HashMap<IpAddr, (u32, Instant)>>);

impl Delays {
    /// How long to wait before telling `address` that its proof has failed: 1 s, and twice as
    /// long each time, up to 30 s.
    pub fn failed(&self, address: IpAddr, now: Instant) -> Duration {
        let address = neighbourhood(address);
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&address) {
            failures.clear();
        }
        let (count, last) = failures.entry(address).or_insert((0, now));
        if now.saturating_duration_since(*last) > MEMORY {
            *count = 0;
        }
        let pause = FIRST
            .saturating_mul(2_u32.saturating_pow(*count))
            .min(LONGEST);
        *count = count.saturating_add(1);
        *last = now;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn delays_grow_by_address_and_are_forgotten() {
        let delays = Delays::default();
        let now = clock::monotonic();
        let pause = |address: &str, now| delays.failed(address.parse().unwrap(), now).as_secs();
        let seen: Vec<_> = (0..7).map(|_| pause("192.0.2.1", now)).collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause("192.0.2.2", now), 1);
        assert_eq!(pause("192.0.2.1", now + MEMORY * 2), 1);
    }
}
