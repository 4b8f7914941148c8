//! What is kept of trap ports, for as many of them as there is room for.
//!
//! Which port was hit is a client's word, and there are 65,536. So each port counts against one of
//! the witnesses that have reported hits on it. When there is no room for another, the witness
//! against which most count loses the one that has not been hit for longest, unless somebody else
//! has reported hits on it as well who has fewer: then it counts against them from now on. So who
//! makes ports up drives out their own, and a port on which there are traps stays.

use std::collections::HashMap;

use crate::event::Timestamp;
use crate::server::correlate::clients::Witness;
use crate::server::correlate::holders::Holders;
use crate::server::correlate::table::Fast;

/// A value for each port.
#[derive(Debug)]
pub struct Ports<V> {
    held: HashMap<u16, Held<V>, Fast>,
    holders: Holders<Witness, (), (Minute, u16)>,
}

#[derive(Debug)]
struct Held<V> {
    /// Against whom it counts.
    holder: Witness,
    /// Who has reported hits on it: the first few.
    reporters: Vec<Witness>,
    hit: Minute,
    value: V,
}

/// Minutes since the Unix epoch.
type Minute = u64;

/// Ports that are remembered: more than any fleet has traps on.
const PORTS: usize = 4096;

/// Witnesses that are remembered for each port.
const REPORTERS: usize = 8;

impl<V> Default for Ports<V> {
    fn default() -> Self {
        Self {
            held: HashMap::default(),
            holders: Holders::default(),
        }
    }
}

impl<V: Default> Ports<V> {
    /// Notes that a witness has reported a hit on a port, and makes room for it if there is none.
    pub fn hit(&mut self, port: u16, witness: Witness, now: Timestamp) -> &mut V {
        let hit = now.as_micros() / 60_000_000;
        if !self.held.contains_key(&port) && self.held.len() >= PORTS {
            self.make_room();
        }
        let held = self.held.entry(port).or_insert_with(|| {
            self.holders.insert(witness, (), (hit, port));
            Held {
                holder: witness,
                reporters: Vec::new(),
                hit,
                value: V::default(),
            }
        });
        if held.reporters.len() < REPORTERS && !held.reporters.contains(&witness) {
            held.reporters.push(witness);
        }
        if held.hit != hit {
            self.holders.remove(held.holder, (), (held.hit, port));
            self.holders.insert(held.holder, (), (hit, port));
            held.hit = hit;
        }
        &mut held.value
    }

    /// What is kept of a port, if anything is.
    pub fn get_mut(&mut self, port: u16) -> Option<&mut V> {
        self.held.get_mut(&port).map(|held| &mut held.value)
    }

    /// How many ports there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Forgets a port. On the way, ports that somebody reports who holds fewer are handed on; each
    /// makes the shares more even, so that this does not happen over and over.
    fn make_room(&mut self) {
        while let Some((holder, count)) = self.holders.fullest() {
            let Some(((), (hit, port))) = self.holders.least(holder) else {
                return;
            };
            self.holders.remove(holder, (), (hit, port));
            let heir = self.held.get(&port).and_then(|held| self.heir(held));
            let heir = heir.filter(|(others, _)| others + 1 < count);
            let (Some((_, heir)), Some(held)) = (heir, self.held.get_mut(&port)) else {
                self.held.remove(&port);
                return;
            };
            held.holder = heir;
            self.holders.insert(heir, (), (hit, port));
        }
    }

    /// Of those who have reported hits on a port the one that holds least, and how much that is.
    fn heir(&self, held: &Held<V>) -> Option<(usize, Witness)> {
        let others = held.reporters.iter().filter(|it| **it != held.holder);
        let counts = others.map(|witness| (self.holders.count(*witness), *witness));
        counts.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClientId;

    const fn witness(number: u8) -> Witness {
        Witness::Client(ClientId([number; 16]))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_795_000_000_000_000 + seconds * 1_000_000)
    }

    #[test]
    fn who_makes_up_ports_drives_out_their_own() {
        let mut ports = Ports::<u32>::default();
        // The liars were there first.
        for liar in 1..=5 {
            ports.hit(22, witness(liar), at(0));
        }
        *ports.hit(22, witness(9), at(60)) = 7;
        // And are there again.
        for liar in 1..=5 {
            ports.hit(22, witness(liar), at(60));
        }
        *ports.hit(3389, witness(8), at(60)) = 8;
        for port in 30_000..60_000 {
            for liar in 1..=5 {
                ports.hit(port + u16::from(liar), witness(liar), at(61));
            }
            assert!(ports.len() <= PORTS);
        }
        assert_eq!(ports.get_mut(22), Some(&mut 7));
        assert_eq!(ports.get_mut(3389), Some(&mut 8));
        assert_eq!(ports.get_mut(30_001), None);
        assert_eq!(ports.holders.count(witness(9)), 1);
    }

    #[test]
    fn of_too_many_ports_the_one_not_hit_for_longest_is_forgotten() {
        let mut ports = Ports::<u32>::default();
        for port in 0..4096_u16 {
            ports.hit(port, witness(1), at(60 * u64::from(port)));
        }
        *ports.hit(0, witness(1), at(60 * 5000)) = 7;
        ports.hit(5000, witness(1), at(60 * 5001));
        assert_eq!((ports.len(), ports.get_mut(1)), (PORTS, None));
        assert_eq!(ports.get_mut(0), Some(&mut 7));
    }
}
