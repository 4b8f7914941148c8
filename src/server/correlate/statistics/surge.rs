//! Does this port, or this client, see more than it is used to?
//!
//! Looked at are contacts a minute. What a key, that is, a port or a client, is used to is its
//! [baseline]: a mean for each hour of the day, and how far counts scatter about it. They scatter
//! widely, because strangers come in waves, so the null hypothesis is a negative binomial
//! distribution with the mean m and the dispersion r, whose variance is m + m²/r, and not
//! Poisson's. An alarm set for Poisson counts, to sound once in 100,000 minutes, sounds every three
//! hours when they scatter with r = 0.5. The alternatives are counts with ρ times the mean, ρ in
//! 2, 5, 20, 100, and the same r.
//!
//! # The statistic
//!
//! The procedure of Shiryaev (1963) and Roberts (1966): R sums up the likelihood ratios of «since
//! that minute it is ρ times as much» against «it never was» over all minutes. The likelihood of
//! a count n is proportional to (m/(r+m))ⁿ (r/(r+m))ʳ, so the logarithm of one minute's ratio is
//!
//! ```text
//! L = n · ln(ρ (r+m) / (r+ρm)) - r · ln((r+ρm) / (r+m))
//! R ← (1 + R) · exp(L)
//! S = mean of R over ρ
//! ```
//!
//! Of an empty minute the ratio is c = ((r+m)/(r+ρm))ʳ. D of them in a row are a geometric sum,
//! R ← R cᴰ + c (1-cᴰ)/(1-c), hour by hour; and whole days, of which one is like the other, are a
//! geometric sum once more. So silence costs the same however long it lasts, and nothing ticks.
//!
//! The first factor of L is positive, so within a minute S only rises with its count, and it can
//! be read at any time: what has been seen of a minute stands for all of it.
//!
//! # What is known of it
//!
//! With the true m and r the ratio of a minute is 1 on average, and R - t, with t in minutes, a
//! martingale; with a smaller true mean it is less, because the ratio rises with n. So the chance
//! that S reaches A within T minutes is at most (S₀ + T)/A, and K keys raise at most K · 1440/A
//! false alarms a day. A key begins where a silent one is. The mean in force is always one that was
//! learned before, never from the minute that is judged. It may be wrong all the same, for which
//! it has a margin: simulated keys raise between a thirtieth and nine tenths of the false alarms
//! that are allowed. The promise does not hold for the first two days of a key that sees more than
//! the fleet's mean, nor for counts that scatter more than r = 0.5.
//!
//! # Example
//!
//! A port is used to a contact in a hundred minutes. When there are 20 of them in as long a time,
//! S passes 14,400,000, the threshold for a thousand keys and a false alarm in ten days, after
//! nine contacts or half an hour.

mod baseline;

use std::hint::black_box;

use crate::server::correlate::statistics::elementary::{exp, ln};
use crate::server::correlate::statistics::saturate;
use crate::server::correlate::statistics::surge::baseline::{Baseline, DAY, Lesson, whole};

/// ρ: how many times as much is looked for.
const RATIOS: [f64; 4] = [2.0, 5.0, 20.0, 100.0];

/// Longer than this a surge does not keep the baseline from learning: then it is the new custom.
const MAX_SUSPICION: u64 = 7 * DAY;

/// What the fleet knows of a key that it has not seen before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Contacts a minute.
    pub mean: f64,
    /// r: the variance of a minute's count is m + m²/r.
    pub dispersion: f64,
    /// The S at which an alarm is raised, in minutes. A key whose S is more than half of the way
    /// there, in powers of ten, does not learn.
    pub threshold: f64,
}

/// What is known of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surge {
    baseline: Baseline,
    /// R of each ρ, at the end of the minute before the current one.
    runs: [f64; RATIOS.len()],
    /// The current minute, since the epoch.
    minute: u64,
    /// Contacts in it, so far.
    count: u32,
    /// When S was suspiciously high.
    suspect: Suspect,
    /// What minutes were measured by last.
    measures: Measures,
}

/// The minutes from which nothing is learned.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Suspect {
    since: u64,
    until: u64,
}

impl Suspect {
    /// The last of them.
    fn end(self) -> u64 {
        self.until.min(self.since.saturating_add(MAX_SUSPICION))
    }
}

/// What a minute is measured by if its mean is m and its dispersion r. For an hour it is the same,
/// and takes eight logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measures {
    m: f64,
    r: f64,
    each: [Measure; RATIOS.len()],
}

impl Measures {
    fn new(m: f64, r: f64) -> Self {
        let each = RATIOS.map(|ratio| Measure::new(ratio, m, r));
        Self { m, r, each }
    }

    fn are_of(&self, m: f64, r: f64) -> bool {
        (self.m.to_bits(), self.r.to_bits()) == (m.to_bits(), r.to_bits())
    }
}

/// What a minute is measured by, for one ρ.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Measure {
    /// The logarithm of what a contact multiplies R by.
    contact: f64,
    /// The logarithm of what a minute divides R by, -ln c.
    minute: f64,
    /// R at rest, if no contact has ever come: c/(1-c).
    at_rest: f64,
}

impl Measure {
    fn new(ratio: f64, m: f64, r: f64) -> Self {
        let more = ln((r + ratio * m) / (r + m));
        let minute = r * more;
        let c = exp(-minute);
        Self {
            contact: ln(ratio) - more,
            minute,
            at_rest: saturate(c / (1.0 - c)),
        }
    }

    /// R after a minute with so many contacts.
    fn counted(&self, run: f64, count: u32) -> f64 {
        saturate((1.0 + run) * exp(f64::from(count) * self.contact - self.minute))
    }

    /// What so many empty minutes do.
    fn silence(&self, minutes: f64) -> Silence {
        let ln_kept = -self.minute * minutes;
        Silence {
            ln_kept,
            gained: self.at_rest * (1.0 - exp(ln_kept)),
        }
    }
}

/// What silence makes of R: a part of it is kept, and something added.
#[derive(Clone, Copy, Debug)]
struct Silence {
    ln_kept: f64,
    gained: f64,
}

impl Silence {
    const NONE: Self = Self {
        ln_kept: 0.0,
        gained: 0.0,
    };

    fn of(&self, run: f64) -> f64 {
        saturate(run * exp(self.ln_kept) + self.gained)
    }

    fn then(&self, next: &Self) -> Self {
        Self {
            ln_kept: self.ln_kept + next.ln_kept,
            gained: next.of(self.gained),
        }
    }

    fn times(&self, number: f64) -> Self {
        let ln_kept = self.ln_kept * number;
        let once = 1.0 - exp(self.ln_kept);
        Self {
            ln_kept,
            gained: saturate(self.gained * (1.0 - exp(ln_kept)) / once.max(f64::MIN_POSITIVE)),
        }
    }
}

impl Surge {
    /// A key whose first contact comes in this minute since the epoch.
    pub fn fresh(minute: u64, prior: &Prior) -> Self {
        let baseline = Baseline::fresh(minute, prior);
        let measures = Measures::new(baseline.mean(minute), baseline.dispersion());
        Self {
            baseline,
            runs: measures.each.map(|measure| measure.at_rest),
            minute,
            count: 0,
            suspect: Suspect {
                since: minute,
                until: 0,
            },
            measures,
        }
    }

    /// Reads what the next contact will change.
    pub fn foresee(&self) {
        black_box((self.minute, self.count, self.runs, self.suspect));
        black_box((self.baseline.dispersion(), self.measures.m));
        for measure in &self.measures.each {
            black_box(measure.contact);
        }
    }

    /// Counts contacts in a minute since the epoch. What comes late counts in the current minute.
    /// Without contacts (0) time passes, and nothing else.
    pub fn add(&mut self, minute: u64, count: u32, prior: &Prior) {
        if minute > self.minute {
            self.close(prior);
            self.rest(minute);
            self.minute = minute;
        }
        if count > 0 {
            self.baseline.renew(self.minute, prior);
        }
        self.measures = self.measured_by(self.minute);
        self.count = self.count.saturating_add(count);
    }

    /// S, the current minute included: a key that sees what it is used to gets here by chance once
    /// in so many minutes.
    pub fn mean_run_minutes(&self) -> f64 {
        mean(self.counted())
    }

    /// How many contacts are expected in this minute since the epoch.
    #[cfg(test)]
    pub fn expected(&self, minute: u64) -> f64 {
        self.baseline.mean(minute)
    }

    /// Begins anew after an alarm: S is what it is at rest, and what is still to come in this minute
    /// counts as another one. What has been learned stays.
    pub fn restart(&mut self, prior: &Prior) {
        self.close(prior);
        self.runs = self.at_rest();
    }

    /// Suspects nothing that was before this minute, and goes on learning.
    pub fn calm(&mut self) {
        self.runs = self.at_rest();
    }

    /// Ends the current minute.
    fn close(&mut self, prior: &Prior) {
        self.runs = self.counted();
        let count = std::mem::take(&mut self.count);
        self.suspect(prior);
        self.baseline
            .learn(self.minute, count, self.lesson(self.minute));
    }

    /// Where S is high enough for an alarm, nothing is learned for a day.
    fn suspect(&mut self, prior: &Prior) {
        if mean(self.runs) >= saturate(prior.threshold) {
            if self.suspect.until < self.minute {
                self.suspect.since = self.minute;
            }
            self.suspect.until = self.minute.saturating_add(DAY);
        }
    }

    /// What a minute may teach. When suspicion has lasted for a week, this is the new custom.
    fn lesson(&self, minute: u64) -> Lesson {
        if minute <= self.suspect.end() {
            Lesson::Expected
        } else {
            Lesson::Whole
        }
    }

    /// Passes over the empty minutes between the current one and `until`.
    fn rest(&mut self, until: u64) {
        let mut at = self.minute.saturating_add(1);
        while at < until {
            let left = until - at;
            let in_doubt = self.suspect.end().saturating_add(1).saturating_sub(at);
            let (step, silence) = if at.is_multiple_of(60) && left >= DAY && in_doubt == 0 {
                let days = left / DAY;
                (days * DAY, self.silent_days(at, days))
            } else {
                let same = if in_doubt > 0 { in_doubt } else { left };
                let minutes = same.min(left).min(60 - at % 60);
                (minutes, self.silent_minutes(at, f64::from(whole(minutes))))
            };
            for (run, silence) in self.runs.iter_mut().zip(silence) {
                *run = silence.of(*run);
            }
            at += step;
        }
    }

    /// Empty minutes of one hour.
    fn silent_minutes(&mut self, at: u64, minutes: f64) -> [Silence; RATIOS.len()] {
        self.baseline.learn_silence(at, minutes, self.lesson(at));
        self.measures(at).map(|measure| measure.silence(minutes))
    }

    /// Empty days, from a full hour on.
    fn silent_days(&mut self, at: u64, days: u64) -> [Silence; RATIOS.len()] {
        let days = f64::from(whole(days));
        let mut day = [Silence::NONE; RATIOS.len()];
        for at in (0..24).map(|hour| at + 60 * hour) {
            self.baseline.learn_silence(at, 60.0 * days, Lesson::Whole);
            for (day, measure) in day.iter_mut().zip(self.measures(at)) {
                *day = day.then(&measure.silence(60.0));
            }
        }
        day.map(|day| day.times(days))
    }

    fn measures(&self, minute: u64) -> [Measure; RATIOS.len()] {
        self.measured_by(minute).each
    }

    fn measured_by(&self, minute: u64) -> Measures {
        let (m, r) = (self.baseline.mean(minute), self.baseline.dispersion());
        if self.measures.are_of(m, r) {
            self.measures
        } else {
            Measures::new(m, r)
        }
    }

    fn at_rest(&self) -> [f64; RATIOS.len()] {
        self.measures(self.minute).map(|measure| measure.at_rest)
    }

    /// R, the current minute included.
    fn counted(&self) -> [f64; RATIOS.len()] {
        let mut runs = self.runs;
        for (run, measure) in runs.iter_mut().zip(self.measures(self.minute)) {
            *run = measure.counted(*run, self.count);
        }
        runs
    }
}

fn mean(runs: [f64; RATIOS.len()]) -> f64 {
    let sum: f64 = runs.iter().sum();
    saturate(sum / 4.0)
}

/// The threshold for S, in minutes: so high that so many keys raise no more than so many false
/// alarms a day.
pub fn threshold_minutes(keys: f64, false_alarms_a_day: f64) -> f64 {
    let minutes = saturate(keys) * 1440.0 / false_alarms_a_day.max(1e-20);
    saturate(minutes).max(1.0)
}

#[cfg(test)]
mod tests;
