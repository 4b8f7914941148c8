//! Clients that are silent together, counted exactly, and the names of those that are new.

use std::collections::BTreeSet;

use crate::event::ClientId;
use crate::server::alert::{Exactness, Sampled};

/// Clients that one incident is about.
#[derive(Clone, Debug, Default)]
pub struct RollCall {
    missed: u64,
    /// Those that fell silent since the last message, established ones first.
    new: BTreeSet<(Standing, ClientId)>,
    unnamed: u64,
}

/// Whether a client is more than somebody who has looked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It was there for a day, or has reported a hit.
    Established,
    /// It was not, and has not.
    Newcomer,
}

/// Names in one message.
const NAMED: usize = 16;

impl RollCall {
    /// One more client is missed.
    pub fn miss(&mut self, id: ClientId, standing: Standing) {
        self.missed += 1;
        self.new.insert((standing, id));
        if self.new.len() > NAMED {
            self.new.pop_last();
            self.unnamed += 1;
        }
    }

    /// A client that was missed is back.
    pub fn back(&mut self, id: ClientId) {
        self.missed = self.missed.saturating_sub(1);
        for standing in [Standing::Established, Standing::Newcomer] {
            self.new.remove(&(standing, id));
        }
    }

    /// Notes that those who are new have been named.
    pub fn told(&mut self) {
        self.new.clear();
        self.unnamed = 0;
    }

    /// How many are missed.
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// How many are new, beside those who are named.
    pub const fn unnamed(&self) -> u64 {
        self.unnamed
    }

    /// Whether somebody is new whom people will want to know of.
    pub fn has_news(&self) -> bool {
        let first = self.new.first();
        first.is_some_and(|(standing, _)| *standing == Standing::Established)
    }

    /// How many are missed, and those who are new.
    pub fn sampled<T>(&self, show: impl Fn(ClientId) -> T) -> Sampled<T> {
        Sampled {
            count: self.missed,
            exactness: Exactness::Exact,
            sample: self.new.iter().map(|(_, id)| (show(*id), 0)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_take_no_established_clients_place_among_the_names() {
        let mut roll = RollCall::default();
        for number in 0..100 {
            roll.miss(ClientId([number; 16]), Standing::Newcomer);
        }
        assert!(!roll.has_news());
        let id = ClientId([200; 16]);
        roll.miss(id, Standing::Established);
        assert!(roll.has_news());
        let sampled = roll.sampled(|id| id);
        assert_eq!((sampled.count, sampled.sample.len()), (101, NAMED));
        assert_eq!(sampled.sample.first(), Some(&(id, 0)));
        assert_eq!(roll.unnamed(), 101 - NAMED as u64);
        roll.told();
        roll.back(id);
        assert_eq!(
            (roll.missed(), roll.sampled(|id| id).sample.len()),
            (100, 0)
        );
    }
}
