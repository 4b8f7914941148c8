//! Bounded counts of who and what took part in an incident.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::hint::black_box;

use crate::server::alert::{Exactness, Sampled};
use crate::server::correlate::table::Fast;

/// Distinct values that are told apart; beyond, hits still count and values no more.
const MAX_DISTINCT: usize = 256;

/// Distinct triples that are told apart.
pub const MAX_CONTACTS: usize = 1024;

/// Values that an alert shows.
const SAMPLE: usize = 16;

/// Hits by value. Somebody who makes hashes collide gains nothing: there are few.
#[derive(Clone, Debug)]
pub struct Tally<K> {
    hits: HashMap<K, u64, Fast>,
    exactness: Exactness,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            hits: HashMap::default(),
            exactness: Exactness::Exact,
        }
    }
}

impl<K: Ord + Hash + Copy> Tally<K> {
    /// Reads the hits of a value.
    pub fn foresee(&self, key: &K) {
        black_box(self.hits.get(key).copied());
    }

    /// Counts hits of a value; says whether it may be new.
    pub fn add(&mut self, key: K, hits: u64) -> bool {
        if let Some(sum) = self.hits.get_mut(&key) {
            *sum = sum.saturating_add(hits);
            return false;
        }
        if self.hits.len() < MAX_DISTINCT {
            self.hits.insert(key, hits);
        } else {
            self.exactness = Exactness::AtLeast;
        }
        true
    }

    /// How many distinct values were seen, up to a bound.
    pub fn count(&self) -> usize {
        self.hits.len()
    }

    /// The only value, if there is only one.
    pub fn only(&self) -> Option<K> {
        let first = || self.hits.keys().next().copied();
        (self.hits.len() == 1).then(first).flatten()
    }

    /// The distinct values, in no order.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.hits.keys().copied()
    }

    /// The values with the most hits.
    pub fn sampled<T>(&self, show: impl Fn(K) -> T) -> Sampled<T> {
        let mut most: Vec<_> = self.hits.iter().map(|(key, hits)| (*key, *hits)).collect();
        most.sort_by_key(|(key, hits)| (std::cmp::Reverse(*hits), *key));
        most.truncate(SAMPLE);
        most.sort_by_key(|(key, _)| *key);
        Sampled {
            count: u64::try_from(self.hits.len()).unwrap_or(u64::MAX),
            exactness: self.exactness,
            sample: most
                .into_iter()
                .map(|(key, hits)| (show(key), hits))
                .collect(),
        }
    }
}

/// Distinct triples of source, client and port.
#[derive(Clone, Debug)]
pub struct Contacts<K> {
    seen: HashSet<K, Fast>,
    exactness: Exactness,
}

impl<K> Default for Contacts<K> {
    fn default() -> Self {
        Self {
            seen: HashSet::default(),
            exactness: Exactness::Exact,
        }
    }
}

impl<K: Eq + Hash> Contacts<K> {
    /// Reads whether a triple is known.
    pub fn foresee(&self, triple: &K) {
        if self.exactness == Exactness::Exact {
            black_box(self.seen.contains(triple));
        }
    }

    /// Notes a triple; says whether it is known to be new.
    pub fn add(&mut self, triple: K) -> bool {
        if self.exactness == Exactness::AtLeast {
            return false;
        }
        if self.seen.len() < MAX_CONTACTS {
            return self.seen.insert(triple);
        }
        let new = !self.seen.contains(&triple);
        if new {
            self.exactness = Exactness::AtLeast;
        }
        new
    }

    /// How many there were, up to a bound.
    pub fn count(&self) -> u64 {
        u64::try_from(self.seen.len()).unwrap_or(u64::MAX)
    }

    /// The triples that are told apart.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.seen.iter()
    }

    /// Whether the count is exact.
    pub const fn exactness(&self) -> Exactness {
        self.exactness
    }
}
