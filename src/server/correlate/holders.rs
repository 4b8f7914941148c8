//! Who holds how many entries of a bounded table.
//!
//! When a table is full, somebody has to give way. Whoever holds most is the one to ask: then
//! nobody is driven out by one that takes ever more, however many entries that one makes up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Entries by who holds them. Of each holder those of the lowest class go first, and within a class
/// the least.
#[derive(Debug)]
pub struct Holders<H, C, E> {
    held: BTreeMap<H, BTreeSet<(C, E)>>,
    /// By the class that each would give up next, and whoever holds most first.
    order: BTreeSet<(C, Reverse<usize>, H)>,
}

impl<H, C, E> Default for Holders<H, C, E> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            order: BTreeSet::new(),
        }
    }
}

impl<H: Ord + Copy, C: Ord + Copy, E: Ord + Copy> Holders<H, C, E> {
    /// Gives an entry to a holder.
    pub fn insert(&mut self, holder: H, class: C, entry: E) {
        self.change(holder, |held| held.insert((class, entry)));
    }

    /// Takes an entry from its holder.
    pub fn remove(&mut self, holder: H, class: C, entry: E) {
        self.change(holder, |held| held.remove(&(class, entry)));
    }

    /// How many entries a holder has.
    pub fn count(&self, holder: H) -> usize {
        self.held.get(&holder).map_or(0, BTreeSet::len)
    }

    /// Whether this entry is the holder's.
    pub fn holds(&self, holder: H, class: C, entry: E) -> bool {
        let held = self.held.get(&holder);
        held.is_some_and(|held| held.contains(&(class, entry)))
    }

    /// What a holder would give up next.
    pub fn least(&self, holder: H) -> Option<(C, E)> {
        self.held.get(&holder)?.first().copied()
    }

    /// Of those that would give up the lowest class, the one that holds most, and how many entries
    /// that is.
    pub fn fullest(&self) -> Option<(H, usize)> {
        let (_, Reverse(count), holder) = self.order.first()?;
        Some((*holder, *count))
    }

    /// All holders, each with how many entries it has.
    pub fn iter(&self) -> impl Iterator<Item = (H, usize)> {
        self.held.iter().map(|(holder, held)| (*holder, held.len()))
    }

    fn change(&mut self, holder: H, how: impl FnOnce(&mut BTreeSet<(C, E)>) -> bool) {
        let held = self.held.entry(holder).or_default();
        let before = place(holder, held);
        how(held);
        let after = place(holder, held);
        if held.is_empty() {
            self.held.remove(&holder);
        }
        if let Some(before) = before {
            self.order.remove(&before);
        }
        self.order.extend(after);
    }
}

fn place<H, C: Ord + Copy, E: Ord>(
    holder: H,
    held: &BTreeSet<(C, E)>,
) -> Option<(C, Reverse<usize>, H)> {
    let (class, _) = held.first()?;
    Some((*class, Reverse(held.len()), holder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_most_of_the_lowest_class_is_asked_first_and_gives_up_the_least() {
        let mut holders = Holders::<char, u8, u32>::default();
        for entry in 1..=3 {
            holders.insert('a', 2, entry);
        }
        holders.insert('b', 1, 9);
        holders.insert('c', 1, 7);
        holders.insert('c', 1, 8);
        assert_eq!(holders.fullest(), Some(('c', 2)));
        assert_eq!(holders.least('c'), Some((1, 7)));
        holders.remove('c', 1, 7);
        holders.remove('c', 1, 8);
        holders.remove('b', 1, 9);
        assert_eq!(holders.fullest(), Some(('a', 3)));
        assert_eq!((holders.count('c'), holders.least('c')), (0, None));
        assert_eq!(holders.iter().collect::<Vec<_>>(), [('a', 3)]);
    }
}
