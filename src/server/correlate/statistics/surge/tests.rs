//! Simulations of keys that see what they are used to, or more, and what must hold for all input.

use super::*;
use crate::server::correlate::statistics::MOST;
use crate::server::correlate::statistics::random::{Random, chance_of_none};
use proptest::prelude::*;

/// `VFT_KEY_MINUTES` asks for more than the few that fit into every run.
fn key_minutes() -> u64 {
    let asked = std::env::var("VFT_KEY_MINUTES");
    asked.map_or(3_000_000, |minutes| {
        minutes.parse().expect("a number of minutes")
    })
}

/// A key as it truly is.
#[derive(Clone, Copy, Debug)]
struct Nature {
    mean: f64,
    dispersion: f64,
    /// By what part of itself the mean swings over a day.
    swing: f64,
}

impl Nature {
    fn mean_at(&self, minute: u64) -> f64 {
        let hour = u32::try_from(minute / 60 % 24).unwrap();
        let phase = (f64::from(hour) - 11.5).abs() / 6.0 - 1.0;
        self.mean * (1.0 - self.swing * phase)
    }

    /// The first minute from `minute` on with contacts, and how many.
    fn next(&self, mut minute: u64, random: &mut Random) -> (u64, u32) {
        loop {
            let mean = self.mean_at(minute);
            let some = 1.0 - chance_of_none(mean, self.dispersion);
            let left = 60 - minute % 60;
            let wait = random.failures(some);
            if wait < left {
                return (minute + wait, random.count(mean, self.dispersion));
            }
            minute += left;
        }
    }
}

/// A key that is watched.
struct Watched {
    nature: Nature,
    prior: Prior,
    surge: Surge,
    minute: u64,
    random: Random,
}

impl Watched {
    fn new(nature: Nature, prior: Prior, seed: u64) -> Self {
        let mut random = Random(seed);
        let start = 29_000_000 + random.failures(0.001);
        let (minute, count) = nature.next(start, &mut random);
        let mut surge = Surge::fresh(minute, &prior);
        surge.add(minute, count, &prior);
        Self {
            nature,
            prior,
            surge,
            minute,
            random,
        }
    }

    /// How many alarms there are in so many minutes.
    fn alarms(&mut self, minutes: u64) -> f64 {
        let end = self.minute + minutes;
        let mut alarms = 0.0;
        loop {
            let (minute, count) = self.nature.next(self.minute + 1, &mut self.random);
            if minute > end {
                self.minute = end;
                return alarms;
            }
            self.surge.add(minute, count, &self.prior);
            self.minute = minute;
            if self.surge.mean_run_minutes() >= self.prior.threshold {
                alarms += 1.0;
                self.surge.restart(&self.prior);
            }
        }
    }
}

const WEEK: u64 = 7 * DAY;

#[test]
fn explore() {
    let per = key_minutes();
    for threshold in [1e4, 1e5, 1e6] {
        for mean in [1e-4, 3e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0] {
            for dispersion in [0.5, 2.0, 5.0] {
                for swing in [0.0, 0.8] {
                    let nature = Nature {
                        mean,
                        dispersion,
                        swing,
                    };
                    let prior = Prior {
                        mean: 1e-2,
                        dispersion: 1.0,
                        threshold,
                    };
                    let (mut first, mut later, mut minutes, mut keys) = (0.0, 0.0, 0, 0);
                    let mut r = 0.0;
                    while minutes < per {
                        let mut key = Watched::new(nature, prior, 1 + keys);
                        first += key.alarms(2 * WEEK);
                        later += key.alarms(12 * WEEK);
                        minutes += 12 * WEEK;
                        keys += 1;
                        r = key.surge.baseline.dispersion();
                    }
                    let t = f64::from(u32::try_from(minutes).unwrap());
                    println!(
                        "A {threshold:e} m {mean:e} r {dispersion} s {swing}: later {:.3} of bound ({later}), first {:.3}/key r {r:.2}",
                        later * threshold / t,
                        first / f64::from(u32::try_from(keys).unwrap())
                    );
                }
            }
        }
    }
}
