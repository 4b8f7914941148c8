//! Randomness that follows from a seed.
//!
//! Xoshiro256++ by name, and not whatever generator a library takes for the best at the time: the
//! same seed is to give the same fleets and the same strangers in every release.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::{IndexedRandom as _, index};
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A source of randomness of one part of an evaluation.
#[derive(Clone, Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// What follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// Dice of another part. Whatever one of both throws, the other throws the same.
    pub fn fork(&mut self) -> Self {
        Self::new(self.bits())
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to 1, the latter excluded.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 {
            return 0;
        }
        self.0.random_range(0..bound)
    }

    /// One of `items`, each as likely as the other.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        items.choose(&mut self.0).copied()
    }

    /// Up to `count` of `items`, none twice, in random order.
    pub fn sample<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let places = index::sample(&mut self.0, items.len(), count.min(items.len()));
        let chosen = places.iter().filter_map(|place| items.get(place).copied());
        chosen.collect()
    }

    /// Up to `count` of `items`, none twice, drawn one after the other in proportion to the
    /// weights of those that are left.
    pub fn sample_weighted<T: Copy>(&mut self, items: &[(T, u16)], count: usize) -> Vec<T> {
        let weight = |place: usize| items.get(place).map_or(0.0, |item| f64::from(item.1));
        index::sample_weighted(&mut self.0, items.len(), weight, count.min(items.len()))
            .into_iter()
            .flatten()
            .filter_map(|place| items.get(place).map(|item| item.0))
            .collect()
    }

    /// How long until something happens that happens so often a second: exponential, by
    /// inversion. For ever if it never happens.
    pub fn wait(&mut self, per_second: f64) -> Duration {
        span(-(1.0 - self.unit()).ln() / per_second)
    }

    /// Anything from nothing to `longest`, each as likely as the other.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.unit())
    }
}

/// So many seconds; for ever if they are too many or not a number, none if they are less than 0.
pub fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_promise() {
        // If this fails, the same seed gives other figures than it gave before.
        let mut dice = Dice::new(1);
        assert_eq!(dice.bits(), 14_971_601_782_005_023_387);
        let mut other = Dice::new(1);
        other.bits();
        assert_eq!(dice.fork().bits(), other.fork().bits());
    }

    #[test]
    fn waits_are_as_long_as_they_should_be_in_the_mean() {
        let mut dice = Dice::new(1);
        let all: Duration = (0..10_000).map(|_| dice.wait(2.0)).sum();
        // Expected 5,000 s with a standard deviation of 50.
        assert!((4800.0..5200.0).contains(&all.as_secs_f64()), "{all:?}");
        assert_eq!(dice.wait(0.0), Duration::MAX);
    }

    #[test]
    fn heavier_items_are_drawn_more_often_and_none_twice() {
        let mut dice = Dice::new(1);
        let mut first = [0; 3];
        for _ in 0..4000 {
            for item in dice.sample_weighted(&[(0, 30), (1, 10)], 1) {
                first[item] += 1;
            }
        }
        // Expected 3,000 with a standard deviation of 27.
        assert!((2860..=3140).contains(&first[0]), "{first:?}");
        let mut both = dice.sample_weighted(&[(0, 30), (1, 10)], 5);
        both.sort_unstable();
        assert_eq!(both, [0, 1]);
    }
}
