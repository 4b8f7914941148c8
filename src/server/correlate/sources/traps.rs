//! The traps that a source has touched.
//!
//! Most sources touch a few, which take up no more room than they need. Of many a list would be
//! searched step by step, and each step waits for memory; they are found by their hash.

use std::collections::HashMap;

use crate::event::Timestamp;
use crate::server::correlate::sighting::Trap;
use crate::server::correlate::table::Fast;

/// Traps, each with the time of the first contact.
#[derive(Clone, Debug)]
pub enum Traps {
    /// At most [`FEW`], in any order.
    Few(Vec<(Trap, Timestamp)>),
    /// More.
    #[expect(
        clippy::box_collection,
        reason = "those with few are many, and should not take up the room of a table"
    )]
    Many(Box<HashMap<Trap, Timestamp, Fast>>),
}

/// So many are looked through one by one.
const FEW: usize = 16;

impl Default for Traps {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Traps {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(table) => table.len(),
        }
    }

    /// Whether a trap is among them.
    pub fn contains(&self, trap: Trap) -> bool {
        match self {
            Self::Few(list) => list.iter().any(|(known, _)| *known == trap),
            Self::Many(table) => table.contains_key(&trap),
        }
    }

    /// Adds a trap that is not among them.
    pub fn add(&mut self, trap: Trap, at: Timestamp) {
        match self {
            Self::Few(list) if list.len() < FEW => {
                if list.len() == list.capacity() {
                    list.reserve_exact(list.len().max(2));
                }
                list.push((trap, at));
            }
            Self::Few(list) => {
                let all = list.drain(..).chain([(trap, at)]);
                *self = Self::Many(Box::new(all.collect()));
            }
            Self::Many(table) => drop(table.insert(trap, at)),
        }
    }

    /// All of them, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (Trap, Timestamp)> {
        let (list, table) = match self {
            Self::Few(list) => (Some(list), None),
            Self::Many(table) => (None, Some(table)),
        };
        let few = list.into_iter().flatten().copied();
        let many = table.into_iter().flat_map(|table| table.iter());
        few.chain(many.map(|(trap, at)| (*trap, *at)))
    }

    /// The bytes on the heap.
    pub fn heap(&self) -> usize {
        let each = size_of::<(Trap, Timestamp)>();
        match self {
            Self::Few(list) => list.capacity() * each,
            // A table is filled to seven eighths, and has a byte beside each place.
            Self::Many(table) => size_of_val(&**table) + table.capacity() * 8 / 7 * (each + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::clients::Handle;
    use std::collections::BTreeMap;

    #[test]
    fn they_are_all_there_however_many() {
        let (mut traps, mut model) = (Traps::default(), BTreeMap::new());
        for number in 0..100_u16 {
            let trap = Trap::new(Handle(number.into()), number % 7);
            let at = Timestamp::from_micros(number.into());
            assert!(!traps.contains(trap));
            let before = traps.heap();
            traps.add(trap, at);
            model.insert(trap, at);
            assert!(traps.contains(trap) && traps.heap() >= before);
            assert_eq!(traps.len(), model.len());
            assert_eq!(traps.iter().collect::<BTreeMap<_, _>>(), model);
        }
    }
}
