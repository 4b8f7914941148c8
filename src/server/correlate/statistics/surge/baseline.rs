//! What a port or a client is used to: contacts a minute, by hour of the day.
//!
//! Learned are, with a half-life of seven days, the contacts in each of the 24 hours (UTC). From
//! them follow, at the first contact of a day:
//!
//! ```text
//! level       = (contacts + 2 + √(contacts + 1)) / (minutes + 2 / mean of the prior)
//! mean of h   = level · 24 (contacts in h + 8) / (contacts + 24 · 8)      at least 1e-4 a minute
//! 1/r         = (Σ ((n - m)² - m) + 50 / r of the prior) / (Σ m² + 50)    r between 0.5 and 50
//! ```
//!
//! The level is a gamma posterior. Its prior, that of the fleet, weighs as much as two contacts, for
//! keys differ widely. It is taken one standard deviation high: a mean that is too low raises
//! false alarms, one that is too high costs a contact. The share of an hour has a Dirichlet prior
//! of eight contacts, so that what is quiet has the same mean in all hours. The dispersion r is
//! that of a negative binomial distribution, whose variance is m + m²/r, by the method of moments.
//!
//! # Against poisoning
//!
//! * An hour counts for no more than two contacts, the mean, and five standard deviations.
//! * What looks like a surge does not teach: see [`Lesson`].
//! * No mean rises by more than a tenth a day, however it is brought about. To make a port used to
//!   20 times as much takes a month of everyone's notice.
//!
//! The first day is not learned, because it is not whole; so the prior alone counts for the first
//! 24 to 48 hours. From then on for seven days a key learns whatever comes, which is the price of
//! not raising false alarms for a month about one that is busier than the fleet.

use std::f64::consts::LN_2;

use crate::server::correlate::statistics::elementary::{exp, ln};
use crate::server::correlate::statistics::saturate;
use crate::server::correlate::statistics::surge::Prior;

/// Minutes of a day.
pub const DAY: u64 = 24 * 60;

/// The least mean, in contacts a minute: one a week.
pub const FLOOR: f64 = 1e-4;

/// The range of r. Below, a single contact would prove nothing; above, it is Poisson's.
pub const DISPERSIONS: (f64, f64) = (0.5, 50.0);

const MOST_A_MINUTE: f64 = 1e9;
const HALF_LIFE_DAYS: f64 = 7.0;
const LEARNING_DAYS: u32 = 7;
const RISE_A_DAY: f64 = 1.1;

/// The prior's weight in the level, in contacts.
const LEVEL_PRIOR: f64 = 2.0;
/// The prior's weight in an hour's share, in contacts.
const HOUR_PRIOR: f64 = 8.0;
/// The prior's weight in the dispersion, as a sum of squared means.
const DISPERSION_PRIOR: f64 = 50.0;

/// What a minute teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// What it was.
    Whole,
    /// What was expected, because it may be a part of a surge.
    Expected,
}

/// What is learned, and what is in force.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// The day of the first contact.
    born: u64,
    /// The day since which the means are in force.
    day: u64,
    /// Contacts a minute that are expected, by hour.
    means: [f32; 24],
    /// Contacts, by hour, that have been seen; those of earlier days count for less.
    contacts: [f32; 24],
    /// The hour that was last learned from, since the epoch.
    hour: u64,
    /// What of it has been learned.
    learned: f64,
    /// r
    dispersion: f64,
    /// Σ ((n - m)² - m), likewise fading.
    excess: f64,
    /// Σ m², likewise fading.
    mass: f64,
}

impl Baseline {
    /// Of a key that has not been seen before this minute.
    pub fn fresh(minute: u64, prior: &Prior) -> Self {
        Self {
            born: minute / DAY,
            day: minute / DAY,
            means: [small(prior.sound_mean()); 24],
            contacts: [0.0; 24],
            hour: minute / 60,
            learned: 0.0,
            dispersion: prior.sound_dispersion(),
            excess: 0.0,
            mass: 0.0,
        }
    }

    /// m, the mean for this minute.
    pub fn mean(&self, minute: u64) -> f64 {
        let mean = self.means.get(hour(minute)).copied().unwrap_or_default();
        at_least_floor(mean.into())
    }

    /// r
    pub fn dispersion(&self) -> f64 {
        sound_dispersion(self.dispersion)
    }

    /// Learns that there were so many contacts in a minute.
    pub fn learn(&mut self, minute: u64, count: u32, lesson: Lesson) {
        let m = self.mean(minute);
        match self.lesson(minute, lesson) {
            Lesson::Whole => {
                let n = f64::from(count).min(self.left_of_hour(minute));
                self.count(minute, n);
                self.moments((n - m) * (n - m) - m, m * m);
            }
            Lesson::Expected => self.count(minute, m),
        }
    }

    /// Learns that there was nothing in so many minutes, all of them of the hour of `minute`.
    pub fn learn_silence(&mut self, minute: u64, minutes: f64, lesson: Lesson) {
        let m = self.mean(minute);
        match self.lesson(minute, lesson) {
            Lesson::Whole => self.moments(minutes * (m * m - m), minutes * m * m),
            Lesson::Expected => self.count(minute, minutes * m),
        }
    }

    /// In its first days a key learns whatever comes.
    fn lesson(&self, minute: u64, lesson: Lesson) -> Lesson {
        if self.whole_days(minute) <= LEARNING_DAYS {
            Lesson::Whole
        } else {
            lesson
        }
    }

    fn count(&mut self, minute: u64, n: f64) {
        if minute / DAY <= self.born {
            return;
        }
        if self.hour == minute / 60 {
            self.learned = saturate(self.learned + n);
        } else {
            (self.hour, self.learned) = (minute / 60, n);
        }
        if let Some(contacts) = self.contacts.get_mut(hour(minute)) {
            *contacts = small(f64::from(*contacts) + n);
        }
    }

    /// How many contacts more this hour may count for.
    fn left_of_hour(&self, minute: u64) -> f64 {
        if self.whole_days(minute) <= LEARNING_DAYS {
            return MOST_A_MINUTE;
        }
        let (m, r) = (self.mean(minute), self.dispersion());
        let most = 2.0 + 60.0 * m + 5.0 * (60.0 * (m + m * m / r)).sqrt();
        let learned = if self.hour == minute / 60 {
            self.learned
        } else {
            0.0
        };
        saturate(most - learned)
    }

    /// The days that have been learned as a whole, today not counted.
    fn whole_days(&self, minute: u64) -> u32 {
        whole((minute / DAY).saturating_sub(self.born).saturating_sub(1))
    }

    fn moments(&mut self, excess: f64, mass: f64) {
        self.excess = bounded(self.excess + excess);
        self.mass = saturate(self.mass + mass);
    }

    /// Puts into force what has been learned, if a new day has begun.
    pub fn renew(&mut self, minute: u64, prior: &Prior) {
        let today = minute / DAY;
        let Some(passed) = today.checked_sub(self.day).filter(|passed| *passed > 0) else {
            return;
        };
        let fade = faded(whole(passed));
        for contacts in &mut self.contacts {
            *contacts = small(f64::from(*contacts) * fade);
        }
        // What scatters about a mean that was the prior's tells nothing.
        let kept = if self.whole_days(self.day.saturating_mul(DAY)) == 0 {
            0.0
        } else {
            fade
        };
        self.excess = bounded(self.excess * kept);
        self.mass = saturate(self.mass * kept);
        self.day = today;
        let days = self.whole_days(minute);
        let old = self.means;
        self.means = self.learned_means(days, prior);
        if days > LEARNING_DAYS {
            let rise = exp(ln(RISE_A_DAY) * f64::from(whole(passed)));
            for (mean, old) in self.means.iter_mut().zip(old) {
                *mean = mean.min(small(at_least_floor(old.into()) * rise));
            }
        }
        self.dispersion = self.learned_dispersion(prior);
    }

    /// The means after so many whole days.
    fn learned_means(&self, days: u32, prior: &Prior) -> [f32; 24] {
        if days == 0 {
            return [small(prior.sound_mean()); 24];
        }
        let contacts: f64 = self.contacts.iter().map(|n| saturate((*n).into())).sum();
        let day = faded(1);
        let minutes = 1440.0 * day * (1.0 - faded(days)) / (1.0 - day);
        let high = (contacts + 1.0).sqrt();
        let prior = LEVEL_PRIOR / prior.sound_mean();
        let level = (contacts + LEVEL_PRIOR + high) / (minutes + prior);
        let all = contacts + 24.0 * HOUR_PRIOR;
        self.contacts.map(|n| {
            let share = 24.0 * (saturate(n.into()) + HOUR_PRIOR) / all;
            small(at_least_floor(level * share))
        })
    }

    fn learned_dispersion(&self, prior: &Prior) -> f64 {
        let excess = self.excess + DISPERSION_PRIOR / prior.sound_dispersion();
        let mass = self.mass + DISPERSION_PRIOR;
        sound_dispersion(mass / excess.max(1e-9))
    }
}

impl Prior {
    fn sound_mean(&self) -> f64 {
        at_least_floor(self.mean)
    }

    fn sound_dispersion(&self) -> f64 {
        sound_dispersion(self.dispersion)
    }
}

fn at_least_floor(mean: f64) -> f64 {
    saturate(mean).clamp(FLOOR, MOST_A_MINUTE)
}

fn sound_dispersion(dispersion: f64) -> f64 {
    saturate(dispersion).clamp(DISPERSIONS.0, DISPERSIONS.1)
}

/// A sum that may be negative, within limits.
fn bounded(sum: f64) -> f64 {
    saturate(sum) - saturate(-sum)
}

/// The hour of the day.
pub fn hour(minute: u64) -> usize {
    usize::try_from(minute % DAY / 60).unwrap_or_default()
}

/// A number that is far larger than any there is stays so.
pub fn whole(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// What is left after so many days.
fn faded(days: u32) -> f64 {
    exp(-LN_2 / HALF_LIFE_DAYS * f64::from(days))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "seven digits are enough for a mean, and twice 24 of them are kept for each key"
)]
fn small(figure: f64) -> f32 {
    saturate(figure) as f32
}
