//! `hammering`: one source that hits one trap over and over.
//!
//! A leaky bucket (Turner 1986) for each triple of source, client and port: every repeat adds one,
//! one leaks away every `leak` (10 s); `capacity` (60) of them are told of. Low by itself: it
//! mostly is something that was set up wrongly. If the repeats come like clockwork the alert says
//! so, and its `allow_hint` mutes exactly this.
//!
//! An example: a health check that still asks port 8080 of a host every second.

use std::hint::black_box;
use std::time::Duration;

use crate::config::detectors::Hammering;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Rhythm, Statistic};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::sources::hash::Hash;
use crate::server::correlate::table::Table;
use crate::server::correlate::window::Moment as _;

/// The buckets of triples that repeat.
#[derive(Debug)]
pub struct Repeats {
    /// By a hash of the triple that nobody can foresee.
    buckets: Table<u64, Bucket>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    level: f64,
    last: Timestamp,
    gaps: Gaps,
}

/// Mean and variance of the gaps between repeats, in seconds (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Gaps {
    number: f64,
    mean: f64,
    squares: f64,
}

/// Triples that are kept; when there are more, those that repeated longest ago are forgotten.
const TRIPLES: usize = 65_536;

impl Repeats {
    /// Nothing has repeated yet.
    pub fn new() -> Self {
        Self {
            buckets: Table::new(TRIPLES),
        }
    }

    /// Reads what a repeat of a source with this hash will change.
    pub fn foresee(&self, sighting: &Sighting, source: Hash) {
        black_box(self.buckets.get(&triple(sighting, source)).copied());
    }

    /// Takes in a repeat of a source with this hash; says so if its bucket is full.
    pub fn add(
        &mut self,
        sighting: &Sighting,
        source: Hash,
        settings: &Hammering,
    ) -> Option<Statistic> {
        if !settings.enabled {
            return None;
        }
        let bucket = self.buckets.touch(triple(sighting, source));
        let capacity = settings.capacity.get();
        bucket.add(sighting, settings.leak.get());
        (bucket.level >= f64::from(capacity)).then(|| bucket.full(capacity))
    }
}

fn triple(sighting: &Sighting, source: Hash) -> u64 {
    source.with(sighting.trap().number()).bits()
}

impl Bucket {
    fn add(&mut self, sighting: &Sighting, leak: Duration) {
        let count = f64::from(sighting.count);
        if self.last > Timestamp::default() {
            let gap = sighting.at.since(self.last).as_secs_f64();
            self.level = (self.level - gap / leak.as_secs_f64()).max(0.0);
            self.gaps.add(gap / count);
        }
        self.level += count;
        self.last = self.last.max(sighting.at);
    }

    fn full(&self, capacity: u16) -> Statistic {
        Statistic {
            detector: Detector::Hammering,
            measure: Measure::Repeats {
                level: whole(self.level),
                capacity: capacity.into(),
                gap: Duration::try_from_secs_f64(self.gaps.mean).unwrap_or_default(),
                rhythm: self.gaps.rhythm(),
            },
        }
    }
}

impl Gaps {
    fn add(&mut self, gap: f64) {
        self.number += 1.0;
        let off = gap - self.mean;
        self.mean += off / self.number;
        self.squares += off * (gap - self.mean);
    }

    /// Regular is what varies by less than a tenth of its mean, over ten gaps or more.
    fn rhythm(&self) -> Rhythm {
        let deviation = (self.squares / self.number.max(1.0)).sqrt();
        if self.number >= 10.0 && deviation < 0.1 * self.mean {
            Rhythm::Regular
        } else {
            Rhythm::Irregular
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a level is positive, and casts saturate"
)]
const fn whole(level: f64) -> u64 {
    level as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClientId;
    use crate::server::correlate::clients::Handle;
    use crate::server::correlate::sources::hash::Secret;

    fn hit(millis: u64) -> Sighting {
        Sighting {
            at: Timestamp::from_micros(1_795_000_000_000_000 + millis * 1000),
            source: [192, 0, 2, 1].into(),
            client: ClientId([1; 16]),
            handle: Handle(1),
            port: 8080,
            count: 1,
        }
    }

    fn full_at(gaps: impl Iterator<Item = u64>) -> Option<(usize, Statistic)> {
        let mut repeats = Repeats::new();
        let source = Secret::default().hash(7);
        let mut at = 0;
        gaps.enumerate().find_map(|(number, gap)| {
            at += gap;
            let statistic = repeats.add(&hit(at), source, &Hammering::default())?;
            Some((number + 1, statistic))
        })
    }

    #[test]
    fn what_comes_faster_than_it_leaks_fills_the_bucket() {
        let (number, statistic) = full_at(std::iter::repeat_n(1000, 100)).unwrap();
        assert_eq!(number, 67);
        let Measure::Repeats { rhythm, gap, .. } = statistic.measure else {
            panic!("{statistic:?}")
        };
        assert_eq!(rhythm, Rhythm::Regular);
        assert_eq!(gap, Duration::from_secs(1));
    }

    #[test]
    fn what_comes_no_faster_never_does() {
        assert_eq!(full_at(std::iter::repeat_n(10_000, 10_000)), None);
    }

    #[test]
    fn what_comes_by_fits_and_starts_is_no_clockwork() {
        let gaps = [100, 3000].into_iter().cycle().take(1000);
        let (_, statistic) = full_at(gaps).unwrap();
        let Measure::Repeats { rhythm, .. } = statistic.measure else {
            panic!("{statistic:?}")
        };
        assert_eq!(rhythm, Rhythm::Irregular);
    }
}
