//! Does this source come more often than a harmless one would?
//!
//! Looked at are a source's **first contacts**: the times at which it touches a trap of a client
//! for the first time. They come in bursts, which are contacts that follow one another within a
//! [gap](Null::gap) of two minutes. Harmless sources begin a burst at a [rate](Null::rate) of at
//! most one a month, and within it go on with a [chance](Null::continuation) of at most a
//! quarter: that is the null hypothesis. The [alternatives](ALTERNATIVES) are sources that come
//! more often, or whose bursts are longer.
//!
//! # The statistic
//!
//! Shiryaev and Roberts: Shiryaev, *On optimum methods in quickest detection problems*, 1963;
//! Roberts, *A comparison of some control chart procedures*, 1966. For each alternative j, with
//! rate l and continuation p against l0 and q of the null, R sums up the likelihood ratios of
//! «since then it is j» against «it never was» over all times when that could have begun. Between
//! contacts it obeys dR/dt = 1 - κ R, whose solution needs no timer, only the time d since the last
//! contact:
//!
//! ```text
//! fresh   R = ρ / κ                                                  ρ = l / l0
//! d ≤ g   R ← R · p / q                                              κ = l - l0
//! d > g   R ← (R · e · exp(-κ d) + (1 - exp(-κ d)) / κ) · ρ          e = (1 - p) / (1 - q)
//! S = Σ w R
//! ```
//!
//! A fresh source stands where one is that has been silent for ever. What comes out of order has
//! no gap that means anything, and counts as within the burst.
//!
//! # What is known of it
//!
//! R - t, with t in days, is a supermartingale under the null: of an R, a contact makes ρ R at
//! l0 a day, which κ takes away again, and a burst either goes on and makes p/q of it, or not and
//! makes e of it, which is R again on average: q · p/q + (1 - q) · e = 1. Nothing else adds to it
//! but a day a day. So is the mean S - t, and optional stopping gives: **the chance that S reaches
//! A within T days is at most (S₀ + T) / A**, however short or long its bursts and gaps are, as
//! long as rate and chance stay within the null's. Hence K harmless sources raise at most K/A
//! false alarms a day, and S reads «by chance once in S days». S₀, where a source begins, is 31
//! days right after its first contact: the time a source of rate l0 takes until its first one.
//!
//! That holds for each source whose own rate is within the null's. If rates differ and the null
//! only matches their mean, those above it raise more: 2.7 times the bound at A = 10,000 and 13
//! times at 100,000 if rates are distributed exponentially. [`Calibration`] therefore aims two
//! standard deviations above the mean, which holds the bound at both.
//!
//! # The alternatives
//!
//! Any alternatives and weights give the same guarantee; what they change is the delay. These
//! five were chosen among some twenty sets by the mean number of first contacts until an alarm,
//! over sources that come 0.2 to 300 times a day and meet one, two or three traps at a time. A
//! sixth hardly helps, because it takes weight from the others. Most of the weight lies on sweeps,
//! since a threshold of 10,000 days is then reached with the sixth contact and not the seventh;
//! fewer than six no statistic can promise, as harmless bursts of five are more frequent than that.
//!
//! # Example
//!
//! At A = 10,000 a source that finds one trap an hour has S = 31 after its first contact, 2,000
//! after the second, and forty times A after the third.

use crate::server::correlate::statistics::elementary::exp;
use crate::server::correlate::statistics::saturate;

/// The most that harmless sources do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Null {
    /// Bursts a day.
    pub rate: f64,
    /// The chance that a contact is followed by another of the same burst.
    pub continuation: f64,
    /// Days within which a contact is of the same burst as the one before it.
    pub gap: f64,
}

impl Default for Null {
    /// A burst a month; one contact in four is followed by another within two minutes.
    fn default() -> Self {
        Self {
            rate: 1.0 / 30.0,
            continuation: 0.25,
            gap: 120.0 / 86_400.0,
        }
    }
}

impl Null {
    /// The highest rate that [`Calibration`] may find: a source that comes once a week is worth an
    /// alarm, however many of its kind there are.
    pub const MAX_RATE: f64 = 1.0 / 7.0;

    /// The highest chance that [`Calibration`] may find. It is below that of every alternative.
    pub const MAX_CONTINUATION: f64 = 0.9;

    /// With numbers that make sense: what is out of range is moved to its end.
    fn sound(self) -> Self {
        let default = Self::default();
        let within = |figure: f64, default: f64, least: f64, most: f64| {
            if figure.is_nan() {
                default
            } else {
                figure.clamp(least, most)
            }
        };
        Self {
            rate: within(self.rate, default.rate, 1e-6, MOST_OFTEN / 2.0),
            continuation: within(
                self.continuation,
                default.continuation,
                1e-3,
                Self::MAX_CONTINUATION,
            ),
            gap: within(self.gap, default.gap, 0.0, 1.0),
        }
    }
}

/// A kind of source that is to be found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alternative {
    /// Bursts a day.
    pub rate: f64,
    /// The chance that a contact is followed by another of the same burst; none if it is that of
    /// the null.
    pub continuation: Option<f64>,
    /// Its share in S.
    pub weight: f64,
}

const MOST_OFTEN: f64 = 24.0;

/// What is looked for: slow, middling and fast sources whose bursts are as short as harmless ones;
/// slow ones that meet two or three traps at a time; and sweeps over many.
pub const ALTERNATIVES: [Alternative; 5] = [
    Alternative {
        rate: 0.5,
        continuation: None,
        weight: 0.17,
    },
    Alternative {
        rate: 4.0,
        continuation: None,
        weight: 0.17,
    },
    Alternative {
        rate: MOST_OFTEN,
        continuation: None,
        weight: 0.17,
    },
    Alternative {
        rate: 0.7,
        continuation: Some(0.6),
        weight: 0.12,
    },
    Alternative {
        rate: 3.0,
        continuation: Some(0.97),
        weight: 0.37,
    },
];

/// A null and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    gap: f64,
    terms: [Terms; ALTERNATIVES.len()],
}

/// An alternative, in the letters of the formulas above.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    /// w
    weight: f64,
    /// ρ
    ratio: f64,
    /// κ, a day
    decay: f64,
    /// p/q
    continued: f64,
    /// e
    ended: f64,
}

impl Terms {
    /// An alternative that cannot be told from the null. It stays at 0.
    const NOTHING: Self = Self {
        weight: 0.0,
        ratio: 0.0,
        decay: 1.0,
        continued: 0.0,
        ended: 0.0,
    };

    fn new(alternative: Alternative, null: &Null) -> Self {
        if alternative.rate < 2.0 * null.rate {
            return Self::NOTHING;
        }
        let q = null.continuation;
        let p = alternative.continuation.unwrap_or(q);
        Self {
            weight: alternative.weight,
            ratio: alternative.rate / null.rate,
            decay: alternative.rate - null.rate,
            continued: p / q,
            ended: (1.0 - p) / (1.0 - q),
        }
    }

    /// R after so many days without a contact.
    fn rested(&self, run: f64, days: f64) -> f64 {
        let left = exp(-self.decay * days);
        run * left + (1.0 - left) / self.decay
    }
}

impl Model {
    /// Of a null, whose figures are moved into their ranges: at least 1e-6 and at most 12 bursts a
    /// day; chances of 0.001 to 0.9; a gap of at most a day. An alternative that comes less than
    /// twice as often as the null has no weight, and the others share it.
    pub fn new(null: &Null) -> Self {
        let null = null.sound();
        let terms = ALTERNATIVES.map(|alternative| Terms::new(alternative, &null));
        let sum: f64 = terms.iter().map(|terms| terms.weight).sum();
        let shared = |terms: Terms| Terms {
            weight: terms.weight / sum,
            ..terms
        };
        Self {
            gap: null.gap,
            terms: terms.map(shared),
        }
    }

    /// Whether a contact so many days after the one before it begins a new burst.
    pub fn is_new_burst(&self, days: f64) -> bool {
        days > self.gap
    }
}

/// What is known of one source: R of each alternative. 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    runs: [f64; ALTERNATIVES.len()],
}

impl Bursts {
    /// A source at its first contact.
    pub fn fresh(model: &Model) -> Self {
        let runs = model.terms.map(|terms| saturate(terms.ratio / terms.decay));
        Self { runs }
    }

    /// The source's next first contact, so many days after the one before it. If that is negative,
    /// because it comes late, it is taken to be of the same burst.
    pub fn contact(&mut self, days_since_last: f64, model: &Model) {
        let d = days_since_last;
        for (run, terms) in self.runs.iter_mut().zip(&model.terms) {
            let next = if d > model.gap {
                terms.rested(*run * terms.ended, d) * terms.ratio
            } else {
                *run * terms.continued
            };
            *run = saturate(next);
        }
    }

    /// S, at the last contact: a harmless source does what this one does by chance once in so many
    /// days.
    pub fn chance_days(&self, model: &Model) -> f64 {
        let weighed = self.runs.iter().zip(&model.terms);
        saturate(weighed.map(|(run, terms)| run * terms.weight).sum())
    }

    /// S, so many days after the last contact.
    #[cfg(test)]
    pub fn chance_days_after(&self, days: f64, model: &Model) -> f64 {
        if days > model.gap {
            let weighed = self.runs.iter().zip(&model.terms);
            let rested = weighed
                .map(|(run, terms)| saturate(terms.rested(run * terms.ended, days)) * terms.weight);
            saturate(rested.sum())
        } else {
            self.chance_days(model)
        }
    }
}

/// The threshold A for S, in days: so high that so many harmless sources raise no more than so
/// many false alarms a day, and at least `floor`.
pub fn threshold(sources: f64, false_alarms_a_day: f64, floor: f64) -> f64 {
    let wanted = saturate(sources) / false_alarms_a_day.max(1.0 / MOST_SOURCES);
    saturate(wanted).max(saturate(floor)).max(1.0)
}

/// More sources than there are addresses.
const MOST_SOURCES: f64 = 1e20;

/// What harmless sources do here, from which the null is learned.
///
/// Count in every source that has raised no alarm, the silent ones included, each from its first
/// contact until now. To leave out those that are still active would make the rate too low.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calibration {
    /// Bursts after a source's first one.
    bursts: f64,
    /// Days from the first contact until now, over all sources.
    days: f64,
    /// Ordered pairs of a source's bursts after its first one.
    pairs: f64,
    /// Those days squared, over all sources.
    squares: f64,
    /// Contacts that followed another within the burst.
    continuations: f64,
    /// Contacts that none followed.
    ends: f64,
}

impl Calibration {
    /// How many bursts the default rate is worth as evidence, and how many contacts the default
    /// continuation: it takes about as much evidence to move the null half of the way.
    const PRIOR: f64 = 50.0;

    /// By how many standard deviations of the sources' rates the null is above their mean.
    const MARGIN: f64 = 2.0;

    /// Counts in a source: its bursts, all of its contacts, and the days since its first one.
    pub fn add(&mut self, bursts: u32, contacts: u32, days: f64) {
        let days = saturate(days);
        let after_first = f64::from(bursts.saturating_sub(1));
        let more = |sum: &mut f64, amount: f64| *sum = saturate(*sum + amount);
        more(&mut self.bursts, after_first);
        more(&mut self.days, days);
        more(&mut self.pairs, saturate(after_first * (after_first - 1.0)));
        more(&mut self.squares, days * days);
        more(
            &mut self.continuations,
            f64::from(contacts.saturating_sub(bursts)),
        );
        more(&mut self.ends, f64::from(bursts));
    }

    /// How many bursts a day they begin in the mean, whatever was expected; 0 if nothing is known.
    pub fn mean_rate(&self) -> f64 {
        saturate(self.bursts / self.days)
    }

    /// The null: the mean of a gamma posterior for the rate, and two standard deviations of the
    /// sources' own rates, so that those above the mean are within it too; and the mean of a beta
    /// posterior for the continuation. The priors are about the default and weigh as much as 50
    /// bursts and 50 contacts. The null is never below the default, which a quiet month must not
    /// undercut, and never above `max_rate` a day and 0.9.
    pub fn null(&self, default: &Null, max_rate: f64) -> Null {
        let default = default.sound();
        let rate = (self.bursts + Self::PRIOR) / (self.days + Self::PRIOR / default.rate);
        // Of n bursts within T days at the rate λ, n(n - 1) has the mean λ² T².
        let excess = self.pairs - rate * rate * self.squares;
        let prior = Self::PRIOR / (default.rate * default.rate);
        let spread = saturate(excess / (self.squares + prior)).sqrt();
        let going_on = self.continuations + Self::PRIOR * default.continuation;
        let continuation = going_on / (self.continuations + self.ends + Self::PRIOR);
        let most = max_rate.max(default.rate);
        Null {
            rate: saturate(rate + Self::MARGIN * spread).clamp(default.rate, most),
            continuation: saturate(continuation)
                .clamp(default.continuation, Null::MAX_CONTINUATION),
            gap: default.gap,
        }
    }
}

#[cfg(test)]
mod tests;
