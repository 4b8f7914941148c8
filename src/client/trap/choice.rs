//! Which candidates become traps.
//!
//! All candidates are put in an order that follows from the client's seed and the number of the
//! rotation period, and the first that can be bound become traps. So a restart keeps the choice
//! without a file of its own, a taken port falls to the next in order, and nobody without the
//! seed can tell which ports a client holds.
//!
//! The order is a weighted sample without replacement (Efraimidis and Spirakis, 2006): candidate
//! i gets the key −ln(uᵢ)/wᵢ with uᵢ uniform in (0, 1), and the smallest keys come first. uᵢ is
//! the HMAC-SHA256 of the period and the port under the seed.

use std::time::Duration;

use ring::hmac;

use crate::config::candidates::Candidate;
use crate::event::Timestamp;

/// The number of the rotation period that `now` lies in; 0 where traps never rotate.
pub fn period(now: Timestamp, rotate: Option<Duration>) -> u64 {
    match rotate.map(|every| u64::try_from(every.as_micros()).unwrap_or(u64::MAX)) {
        None | Some(0) => 0,
        Some(every) => now.as_micros() / every,
    }
}

/// How long from `now` to the next rotation period.
pub fn until_next(now: Timestamp, rotate: Duration) -> Duration {
    let every = u64::try_from(rotate.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(every - now.as_micros() % every)
}

/// The candidates' ports in the order in which they become traps in this period.
pub fn order(candidates: &[Candidate], seed: &[u8; 32], period: u64) -> Vec<u16> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, seed);
    let mut keyed: Vec<_> = candidates
        .iter()
        .map(|candidate| {
            let rank = -uniform(&key, period, candidate.port).ln() / f64::from(candidate.weight);
            (rank, candidate.port)
        })
        .collect();
    keyed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    keyed.into_iter().map(|(_, port)| port).collect()
}

/// A number in (0, 1) with 32 random bits.
fn uniform(key: &hmac::Key, period: u64, port: u16) -> f64 {
    let mut context = hmac::Context::with_key(key);
    context.update(b"vft traps");
    context.update(&period.to_be_bytes());
    context.update(&port.to_be_bytes());
    let tag = context.sign();
    let mut bits = [0; 4];
    for (to, from) in bits.iter_mut().zip(tag.as_ref()) {
        *to = *from;
    }
    (f64::from(u32::from_be_bytes(bits)) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::candidates;

    #[test]
    fn the_same_seed_and_period_give_the_same_order() {
        let list = candidates::default();
        assert_eq!(order(&list, &[1; 32], 7), order(&list, &[1; 32], 7));
        assert_ne!(order(&list, &[1; 32], 7), order(&list, &[1; 32], 8));
        assert_ne!(order(&list, &[1; 32], 7), order(&list, &[2; 32], 7));
    }

    #[test]
    fn heavier_candidates_come_first_more_often() {
        let list = [
            Candidate {
                port: 1,
                weight: 30,
            },
            Candidate {
                port: 2,
                weight: 10,
            },
        ];
        let heavy = (0..4000)
            .filter(|&period| order(&list, &[3; 32], period)[0] == 1)
            .count();
        // Expected 3000 with a standard deviation of 27.
        assert!((2860..=3140).contains(&heavy), "{heavy}");
    }

    #[test]
    fn periods_are_counted_from_the_epoch() {
        let day = Duration::from_secs(86_400);
        let noon = Timestamp::from_micros(1_000_000 * (86_400 * 3 + 43_200));
        assert_eq!(period(noon, Some(day)), 3);
        assert_eq!(until_next(noon, day), day / 2);
        assert_eq!(period(noon, None), 0);
    }
}
