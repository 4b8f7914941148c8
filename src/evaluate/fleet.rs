//! A made-up fleet: clients with names, ids, inside addresses and traps.
//!
//! A client's traps are drawn as real ones are: so many of a list of candidates, one after the
//! other, in proportion to their weights. The draw is made here anew, because what a client does
//! is no business of the evaluation.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::candidates;
use crate::evaluate::address;
use crate::evaluate::dice::Dice;
use crate::event::ClientId;

/// What a fleet is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetPlan {
    /// So many clients.
    pub clients: u32,
    /// So many traps on each.
    pub traps: u16,
    /// Out of so many candidates: the heaviest of the real ones, and beyond these made-up ports.
    pub candidates: u16,
    /// How they are chosen.
    pub choice: Choice,
}

/// How clients come to their traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Each draws its own.
    Drawn,
    /// All hold the heaviest candidates, as if they had been told a list.
    Same,
}

/// A fleet.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Its clients.
    pub clients: Vec<Client>,
    /// All traps of all clients, client after client.
    pub traps: Vec<Trap>,
    /// How many ports a trap can be on.
    pub candidates: u32,
    by_port: BTreeMap<u16, Vec<Trap>>,
}

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Who it is.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub address: IpAddr,
    /// Its traps, ascending.
    pub traps: Vec<u16>,
}

/// One trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trap {
    /// Whose it is: the client's place in the fleet.
    pub client: u32,
    /// Its port.
    pub port: u16,
}

impl Fleet {
    /// A fleet after this plan.
    pub fn draw(plan: &FleetPlan, dice: &mut Dice) -> Self {
        let list = candidates(plan.candidates);
        let mut fleet = Self {
            clients: Vec::new(),
            traps: Vec::new(),
            candidates: u32::try_from(list.len()).unwrap_or(u32::MAX),
            by_port: BTreeMap::new(),
        };
        for number in 0..plan.clients {
            let count = usize::from(plan.traps);
            let mut ports = match plan.choice {
                Choice::Drawn => dice.sample_weighted(&list, count),
                Choice::Same => list.iter().take(count).map(|item| item.0).collect(),
            };
            ports.sort_unstable();
            fleet.add(number, ports, dice);
        }
        fleet
    }

    fn add(&mut self, number: u32, ports: Vec<u16>, dice: &mut Dice) {
        for &port in &ports {
            let trap = Trap {
                client: number,
                port,
            };
            self.traps.push(trap);
            self.by_port.entry(port).or_default().push(trap);
        }
        let id = u128::from(dice.bits()) << 64 | u128::from(dice.bits());
        self.clients.push(Client {
            id: ClientId(id.to_be_bytes()),
            name: format!("host-{number:05}"),
            address: address::member(number),
            traps: ports,
        });
    }

    /// How many clients there are.
    pub fn size(&self) -> u32 {
        u32::try_from(self.clients.len()).unwrap_or(u32::MAX)
    }

    /// The traps on this port.
    pub fn on_port(&self, port: u16) -> &[Trap] {
        self.by_port.get(&port).map_or(&[], Vec::as_slice)
    }

    /// The port that most clients hold.
    pub fn commonest_port(&self) -> u16 {
        let ports = self.by_port.iter();
        let most = ports.max_by_key(|(port, traps)| (traps.len(), std::cmp::Reverse(**port)));
        most.map_or(0, |(port, _)| *port)
    }

    /// The traps of these clients.
    pub fn of_clients(&self, clients: &[u32]) -> Vec<Trap> {
        let theirs = self.traps.iter().copied();
        theirs
            .filter(|trap| clients.contains(&trap.client))
            .collect()
    }
}

/// The candidates with their weights, heaviest first. Those that are made up weigh as much as the
/// lightest real ones.
fn candidates(count: u16) -> Vec<(u16, u16)> {
    let mut list: Vec<_> = candidates::DEFAULT
        .iter()
        .map(|&(port, weight, _)| (port, weight))
        .collect();
    list.sort_by_key(|&(port, weight)| (std::cmp::Reverse(weight), port));
    let made_up = 30_000..u16::MAX;
    list.extend(made_up.map(|port| (port, 4)));
    list.truncate(count.into());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: FleetPlan = FleetPlan {
        clients: 500,
        traps: 5,
        candidates: 48,
        choice: Choice::Drawn,
    };

    #[test]
    fn every_client_has_so_many_traps_and_an_address_of_its_own() {
        let fleet = Fleet::draw(&PLAN, &mut Dice::new(1));
        let mut addresses: Vec<_> = fleet.clients.iter().map(|client| client.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 500);
        for client in &fleet.clients {
            assert_eq!(client.traps.len(), 5);
            assert!(client.traps.windows(2).all(|pair| pair[0] < pair[1]));
        }
        assert_eq!(fleet.traps.len(), 2500);
        let by_port: usize = fleet.by_port.values().map(Vec::len).sum();
        assert_eq!(by_port, 2500);
    }

    #[test]
    fn heavy_candidates_are_held_by_more_clients() {
        let fleet = Fleet::draw(&PLAN, &mut Dice::new(1));
        let (heavy, light) = (fleet.on_port(445).len(), fleet.on_port(502).len());
        // 445 weighs 20 and 502 weighs 4 of 421 in all.
        assert!(heavy > 3 * light, "{heavy} and {light}");
        assert!((80..=150).contains(&heavy), "{heavy}");
    }

    #[test]
    fn a_list_gives_all_the_same_traps() {
        let plan = FleetPlan {
            choice: Choice::Same,
            ..PLAN
        };
        let fleet = Fleet::draw(&plan, &mut Dice::new(1));
        assert_eq!(fleet.on_port(445).len(), 500);
        assert_eq!(fleet.by_port.len(), 5);
    }

    #[test]
    fn there_can_be_more_candidates_than_real_ones() {
        assert_eq!(candidates(1000).len(), 1000);
        assert_eq!(candidates(10).len(), 10);
        assert!(candidates(10).iter().all(|&(_, weight)| weight >= 12));
    }
}
