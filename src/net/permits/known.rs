//! Addresses from which clients have come that have proven themselves.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// So many addresses as there is room for: those from which a client came most lately.
#[derive(Debug)]
pub struct KnownAddresses {
    most: usize,
    next: u64,
    turn: HashMap<IpAddr, u64>,
    by_turn: BTreeMap<u64, IpAddr>,
}

impl KnownAddresses {
    /// Room for `most` addresses.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            next: 0,
            turn: HashMap::new(),
            by_turn: BTreeMap::new(),
        }
    }

    /// Notes that a client has come from there.
    pub fn note(&mut self, address: IpAddr) {
        if let Some(turn) = self.turn.insert(address, self.next) {
            self.by_turn.remove(&turn);
        }
        self.by_turn.insert(self.next, address);
        self.next += 1;
        if self.turn.len() > self.most {
            if let Some((_, longest_ago)) = self.by_turn.pop_first() {
                self.turn.remove(&longest_ago);
            }
        }
    }

    /// Whether a client has come from there.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.turn.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_from_which_a_client_came_longest_ago_is_forgotten_first() {
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let mut known = KnownAddresses::new(2);
        known.note(address(1));
        known.note(address(2));
        known.note(address(1));
        known.note(address(3));
        let there = [1, 2, 3].map(|last| known.contains(address(last)));
        assert_eq!(there, [true, false, true]);
        assert_eq!(known.turn.len(), known.by_turn.len());
    }
}
