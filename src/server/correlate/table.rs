//! A table that forgets what has not been touched for longest, in bounded memory.
//!
//! Entries live in two generations. What is touched moves to the young one; when that holds half
//! of the bound, it becomes the old one and the former old one is forgotten. So an entry is
//! forgotten only after at least half as many others as the bound allows were touched since.

use std::collections::HashMap;
use std::hash::Hash;

/// Hashes that are fast and the same in every run: for keys that strangers do not choose, and for tables
/// so small that it does no harm if they do.
pub type Fast = foldhash::fast::FixedState;

/// At most so many entries, the lately touched ones.
#[derive(Debug)]
pub struct Table<K, V> {
    half: usize,
    young: HashMap<K, V, Fast>,
    old: HashMap<K, V, Fast>,
}

impl<K: Hash + Eq + Copy, V: Default> Table<K, V> {
    /// A table for up to `bound` entries.
    pub fn new(bound: usize) -> Self {
        let (young, old) = (HashMap::default(), HashMap::default());
        Self {
            half: (bound / 2).max(1),
            young,
            old,
        }
    }

    /// The entry of `key`, made if there is none.
    pub fn touch(&mut self, key: K) -> &mut V {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        let old = &mut self.old;
        self.young
            .entry(key)
            .or_insert_with(|| old.remove(&key).unwrap_or_default())
    }

    /// The entry of `key`, if there is one.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_now_and_then_outlives_a_flood() {
        let mut table = Table::<u32, u32>::new(100);
        *table.touch(0) = 7;
        for n in 1..10_000 {
            table.touch(n);
            if n % 40 == 0 {
                assert_eq!(*table.touch(0), 7);
            }
            assert!(table.young.len() + table.old.len() <= 100);
        }
        assert_eq!(table.get(&1), None);
    }
}
