//! Pauses between attempts: doubling, with full jitter, so that a fleet whose server comes back
//! does not come back all at once.

use std::time::Duration;

use rand::{Rng, RngExt as _};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(30);

/// The pauses since something last went well.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to pause after one more failure: anything up to 250 ms, then up to twice as long
    /// each time, and at most 30 s.
    pub fn next(&mut self, random: &mut impl Rng) -> Duration {
        let ceiling = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn pauses_grow_to_a_bound() {
        let mut random = StdRng::seed_from_u64(1);
        let mut longest = [Duration::ZERO; 12];
        for _ in 0..2000 {
            let mut backoff = Backoff::default();
            for pause in &mut longest {
                *pause = (*pause).max(backoff.next(&mut random));
            }
        }
        assert!(longest[0] <= FIRST && longest[0] > FIRST.mul_f64(0.95));
        assert!(longest[3] <= FIRST * 8 && longest[3] > FIRST.mul_f64(7.6));
        assert!(longest[11] <= LONGEST && longest[11] > LONGEST.mul_f64(0.95));
    }
}
