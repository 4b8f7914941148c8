//! Members in groups, of which the largest is found at once.
//!
//! Wherever something is scarce and strangers share it, the group that has most gives way first
//! (max-min fairness). Members are numbers that grow, so that a group's first member is its oldest
//! and its last its newest. Each operation takes O(log n).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Members, each in one group.
#[derive(Debug)]
pub struct Groups<G> {
    members: HashMap<G, BTreeSet<u64>>,
    /// By size; of groups of one size, the one with the oldest member is last.
    ranked: BTreeSet<(usize, Reverse<u64>, G)>,
}

/// A group, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group<G> {
    /// Which.
    pub name: G,
    /// How many members it has, one at least.
    pub size: usize,
    /// Its first member.
    pub oldest: u64,
    /// Its last.
    pub newest: u64,
}

impl<G> Default for Groups<G> {
    fn default() -> Self {
        Self {
            members: HashMap::new(),
            ranked: BTreeSet::new(),
        }
    }
}

impl<G: Copy + Ord + Hash> Groups<G> {
    /// Adds a member to a group.
    pub fn insert(&mut self, group: G, member: u64) {
        self.change(group, |members| members.insert(member));
    }

    /// Takes a member out of a group.
    pub fn remove(&mut self, group: G, member: u64) {
        self.change(group, |members| members.remove(&member));
    }

    /// How many groups have members.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// How many members a group has.
    pub fn size(&self, group: G) -> usize {
        self.members.get(&group).map_or(0, BTreeSet::len)
    }

    /// A group's first member.
    pub fn oldest(&self, group: G) -> Option<u64> {
        self.members.get(&group)?.first().copied()
    }

    /// A group's last member.
    pub fn newest(&self, group: G) -> Option<u64> {
        self.members.get(&group)?.last().copied()
    }

    /// The group with most members; of several, the one with the oldest member.
    pub fn largest(&self) -> Option<Group<G>> {
        let (size, Reverse(oldest), name) = *self.ranked.last()?;
        let newest = self.newest(name)?;
        Some(Group {
            name,
            size,
            oldest,
            newest,
        })
    }

    fn change(&mut self, group: G, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let members = self.members.entry(group).or_default();
        if let Some(rank) = rank(group, members) {
            self.ranked.remove(&rank);
        }
        change(members);
        match rank(group, members) {
            Some(rank) => drop(self.ranked.insert(rank)),
            None => drop(self.members.remove(&group)),
        }
    }
}

fn rank<G>(group: G, members: &BTreeSet<u64>) -> Option<(usize, Reverse<u64>, G)> {
    Some((members.len(), Reverse(*members.first()?), group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_largest_group_is_the_largest_whoever_comes_and_goes(
            steps in prop::collection::vec((0..6_u8, 0..20_u64, any::<bool>()), 1..200)
        ) {
            let mut groups = Groups::default();
            let mut model = std::collections::BTreeMap::<u8, BTreeSet<u64>>::new();
            for (group, member, comes) in steps {
                if comes {
                    groups.insert(group, member);
                    model.entry(group).or_default().insert(member);
                } else {
                    groups.remove(group, member);
                    model.entry(group).or_default().remove(&member);
                }
                model.retain(|_, members| !members.is_empty());
                prop_assert_eq!(groups.count(), model.len());
                let rank = |(group, members): (&u8, &BTreeSet<u64>)| {
                    (members.len(), Reverse(*members.first().unwrap()), *group)
                };
                let expected = model.iter().map(rank).max().map(|(size, Reverse(oldest), name)| {
                    let newest = *model[&name].last().unwrap();
                    Group { name, size, oldest, newest }
                });
                prop_assert_eq!(groups.largest(), expected);
                for (group, members) in &model {
                    prop_assert_eq!(groups.size(*group), members.len());
                    prop_assert_eq!(groups.oldest(*group), members.first().copied());
                }
            }
        }
    }
}
