//! Sliding windows over sightings, exact and in little memory.
//!
//! Whether n hits lie within a window W that holds the newest one is decided by the last n. A
//! sighting that comes late, but by no more than W, may fall into a window that begins up to 2 W
//! before the newest; as long as the detector has not fired, that stretch holds fewer than 2 n
//! hits, so the newest 2 n sightings are kept. Another 2 n are kept beside them for those that
//! come later still: the ones nearest to the last of them, so that a backlog is exact within
//! itself. A merged sighting counts as its count, but takes up one place: it drives nothing else
//! out of the window, which is also the evidence for an incident.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::correlate::sighting::Trap;

/// Something that happened so many times at a time.
pub trait Moment {
    /// When.
    fn at(&self) -> Timestamp;

    /// How many times.
    fn count(&self) -> u32;

    /// To which trap.
    fn trap(&self) -> Trap;
}

/// Sightings that are read ahead: all that there are by default, and of very many the last.
const NEAR: usize = 32;

/// The latest sightings of one subject, in order of their time.
#[derive(Clone, Debug)]
pub struct Window<T> {
    sightings: VecDeque<T>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            sightings: VecDeque::new(),
        }
    }
}

impl<T: Moment> Window<T> {
    /// Adds a sighting, and says how many hits there are at most within any `span` (ends
    /// included) that holds it. The answer is exact up to `threshold`.
    pub fn add(&mut self, sighting: T, threshold: u64, span: Duration) -> u64 {
        let at = sighting.at();
        let later = self
            .sightings
            .iter()
            .rev()
            .take_while(|kept| kept.at() > at)
            .count();
        let most = if later == 0 {
            self.sightings.push_back(sighting);
            self.most_lately(at.before(span))
        } else {
            self.sightings
                .insert(self.sightings.len().saturating_sub(later), sighting);
            self.most_around(at, span)
        };
        let enough = usize::try_from(threshold.saturating_mul(2)).unwrap_or(usize::MAX);
        self.trim(enough, at);
        most
    }

    /// How many hits there are since `from`: where nothing is later, no other span has more.
    fn most_lately(&self, from: Timestamp) -> u64 {
        let lately = self.sightings.iter().rev();
        let counts = lately.take_while(|kept| kept.at() >= from);
        counts.fold(0, |sum, kept| sum.saturating_add(kept.count().into()))
    }

    /// How many hits there are at most within any `span` that holds the time `at`.
    pub fn most_around(&self, at: Timestamp, span: Duration) -> u64 {
        let from = at.before(span);
        let near = self.sightings.iter().skip_while(|kept| kept.at() < from);
        let mut ahead = near.clone();
        let mut within = 0_u64;
        let mut reached = ahead.next();
        let mut most = 0;
        for first in near.take_while(|kept| kept.at() <= at) {
            while let Some(kept) = reached.filter(|kept| kept.at() <= first.at().after(span)) {
                within = within.saturating_add(kept.count().into());
                reached = ahead.next();
            }
            most = most.max(within);
            within = within.saturating_sub(first.count().into());
        }
        most
    }

    /// Forgets the sightings that `unwanted` picks.
    pub fn forget(&mut self, unwanted: impl Fn(&T) -> bool) {
        self.sightings.retain(|kept| !unwanted(kept));
    }

    /// Reads what another sighting will be held against.
    pub fn foresee(&self) {
        for kept in self.sightings.iter().rev().take(NEAR) {
            black_box(kept.at());
        }
    }

    /// What is kept, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.sightings.iter()
    }

    /// What is kept from within two spans of the time `at`, oldest first.
    pub fn near(&self, at: Timestamp, span: Duration) -> impl Iterator<Item = &T> {
        let reach = span.saturating_mul(2);
        let (from, to) = (at.before(reach), at.after(reach));
        self.sightings
            .iter()
            .filter(move |kept| (from..=to).contains(&kept.at()))
    }

    /// The bytes on the heap.
    pub fn heap(&self) -> usize {
        self.sightings.capacity().saturating_mul(size_of::<T>())
    }

    /// Keeps the newest `enough` sightings, and of the others as many that are nearest to `at`.
    fn trim(&mut self, enough: usize, at: Timestamp) {
        while self.sightings.len() > enough.saturating_mul(2) {
            let last = self
                .sightings
                .len()
                .saturating_sub(enough)
                .saturating_sub(1);
            let far = |index: usize| {
                let kept = self.sightings.get(index).map_or(at, Moment::at);
                kept.offset_from(at).unsigned_abs()
            };
            let farthest = if far(0) >= far(last) { 0 } else { last };
            self.sightings.remove(farthest);
        }
    }
}

/// The distinct values seen most lately, as many as a rule asks for.
#[derive(Clone, Debug)]
pub struct Recent<K>(Vec<(K, Timestamp)>);

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq> Recent<K> {
    /// Notes a value, and says whether `wanted` distinct ones were seen at or after `since`.
    pub fn add(&mut self, value: K, at: Timestamp, wanted: usize, since: Timestamp) -> bool {
        if wanted <= 1 {
            return true;
        }
        match self.0.iter_mut().find(|(known, _)| *known == value) {
            Some((_, last)) => *last = at.max(*last),
            None => self.0.push((value, at)),
        }
        self.0.sort_by_key(|(_, last)| std::cmp::Reverse(*last));
        self.0.truncate(wanted);
        self.0.len() == wanted && self.0.last().is_some_and(|(_, last)| *last >= since)
    }

    /// The bytes on the heap.
    pub fn heap(&self) -> usize {
        self.0
            .capacity()
            .saturating_mul(size_of::<(K, Timestamp)>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::clients::Handle;
    use proptest::prelude::*;

    #[derive(Clone)]
    struct Seen(u64, u32);

    impl Moment for Seen {
        fn at(&self) -> Timestamp {
            Timestamp::from_micros(self.0)
        }
        fn count(&self) -> u32 {
            self.1
        }
        fn trap(&self) -> Trap {
            Trap::new(Handle(0), 22)
        }
    }

    const fn sighting(at: u64, count: u32) -> Seen {
        Seen(at, count)
    }

    /// What the window must say, from the whole history.
    fn by_definition(history: &[(u64, u32)], at: u64, span: u64) -> u64 {
        let sum = |from: u64| {
            let inside = |t: u64| (from..=from + span).contains(&t);
            history
                .iter()
                .filter(|(t, _)| inside(*t))
                .map(|(_, c)| u64::from(*c))
                .sum()
        };
        let starts = history.iter().map(|(t, _)| *t);
        starts
            .filter(|from| *from <= at && at <= from + span)
            .map(sum)
            .max()
            .unwrap_or(0)
    }

    proptest! {
        /// Fires exactly when the whole history says so, at the first time it does, for
        /// sightings that are late by up to the window.
        #[test]
        fn fires_exactly_on_the_threshold(
            steps in prop::collection::vec((0..40_u64, 0..=100_u64, 1..4_u32), 1..60),
            threshold in 1..8_u64,
        ) {
            let span = 100;
            let mut window = Window::default();
            let mut history = Vec::new();
            let mut newest = 1000;
            for (step, late, count) in steps {
                newest += step;
                let at = if late % 3 == 0 { newest - late } else { newest };
                history.push((at, count));
                let expected = by_definition(&history, at, span);
                let found = window.add(sighting(at, count), threshold, Duration::from_micros(span));
                prop_assert_eq!(found.min(threshold), expected.min(threshold));
                if expected >= threshold {
                    break;
                }
            }
        }

        #[test]
        fn memory_is_bounded_by_the_threshold(
            times in prop::collection::vec(0..1000_u64, 1..200),
            threshold in 1..8_u64,
        ) {
            let mut window = Window::default();
            for at in times {
                window.add(sighting(at, 1), threshold, Duration::from_micros(500));
                prop_assert!(window.iter().count() as u64 <= threshold * 4);
            }
        }
    }

    #[test]
    fn both_ends_of_the_window_count() {
        let mut window = Window::default();
        let span = Duration::from_micros(300);
        window.add(sighting(0, 1), 3, span);
        window.add(sighting(150, 1), 3, span);
        assert_eq!(window.clone().add(sighting(300, 1), 3, span), 3);
        assert_eq!(window.add(sighting(301, 1), 3, span), 2);
    }

    #[test]
    fn distinct_values_must_be_recent() {
        let mut recent = Recent::default();
        let at = Timestamp::from_micros;
        assert!(!recent.add('a', at(1), 2, at(0)));
        assert!(!recent.add('a', at(2), 2, at(0)));
        assert!(recent.add('b', at(3), 2, at(0)));
        assert!(!recent.add('b', at(9), 2, at(5)));
    }
}
