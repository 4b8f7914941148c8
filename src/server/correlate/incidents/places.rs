//! Who holds the places that there are for incidents, and who gives way when they are taken.
//!
//! Whoever owns a host of the fleet can report as many findings as they like, and whoever has a
//! network can cause as many. Neither must keep the findings of others from being told. So there
//! are shares, and when one of them is used up, what matters less gives way to what matters more.
//!
//! | share | of all places | for |
//! |---|---|---|
//! | of a witness | an eighth, or as many parts as there are witnesses if they are fewer | incidents that its reports have opened |
//! | of a network | an eighth | incidents about sources of one IPv4 /24 or IPv6 /48 |
//! | of the outside | seven eighths | all incidents but those about sources inside |
//!
//! An incident that several witnesses have led to counts against the one of them that holds least.
//! A share of fewer than 8 places would be of no use, so it has at least 8.
//!
//! Within what is used up, the incident of the lowest [`Rank`] gives way to a finding of a higher
//! one, at once. Between equals, one that has been quiet for ten minutes gives way; else one of the
//! witness that holds most, if that is more than the newcomer's witness holds. What only a doubted
//! client reports is below everything, and makes nothing give way.

mod place;
mod rank;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Network, Zone};
use crate::server::correlate::clients::Witness;
use crate::server::correlate::holders::Holders;
use crate::server::correlate::incidents::Key;
pub use crate::server::correlate::incidents::places::place::Place;
use crate::server::correlate::incidents::places::place::{Minute, Scope, minute};
pub use crate::server::correlate::incidents::places::rank::{Backing, Conduct, Credence, Rank};

/// The places.
#[derive(Debug)]
pub struct Places {
    bound: usize,
    /// How many parts there are for witnesses.
    parts: usize,
    inside: Room,
    outside: Room,
    networks: Holders<Network, Rank, Entry>,
}

/// The incidents of one zone.
#[derive(Debug, Default)]
struct Room {
    taken: BTreeSet<(Rank, Entry)>,
    witnesses: Holders<Witness, Rank, Entry>,
}

/// When an incident was last heard of, and which one it is.
type Entry = (Minute, Key);

/// A share is one in so many places.
const SHARES: usize = 8;

/// Places that a share has at least.
const LEAST_SHARE: usize = 8;

/// What has been quiet for longer gives way to its equals.
const CALM: Duration = Duration::from_secs(600);

impl Places {
    /// Room for so many incidents.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            parts: SHARES,
            inside: Room::default(),
            outside: Room::default(),
            networks: Holders::default(),
        }
    }

    /// How many there are.
    pub const fn bound(&self) -> usize {
        self.bound
    }

    /// Notes how many witnesses the fleet has: those of a small one share all places among them.
    pub fn share_among(&mut self, witnesses: usize) {
        self.parts = witnesses.clamp(1, SHARES);
    }

    /// How many there are for one witness.
    pub fn share_of_witness(&self) -> usize {
        self.part(self.parts)
    }

    /// How many there are for one network.
    pub fn share_of_network(&self) -> usize {
        self.part(SHARES)
    }

    fn part(&self, parts: usize) -> usize {
        (self.bound / parts).max(LEAST_SHARE).min(self.bound)
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.inside.taken.len() + self.outside.taken.len()
    }

    /// How many a witness holds.
    pub fn held_by(&self, witness: Witness) -> usize {
        self.inside.witnesses.count(witness) + self.outside.witnesses.count(witness)
    }

    /// The witness that holds most, and how many that is. Looks at all witnesses.
    pub fn busiest_witness(&self) -> Option<(Witness, usize)> {
        let rooms = [&self.inside, &self.outside];
        let witnesses = rooms.iter().flat_map(|room| room.witnesses.iter());
        let counts = witnesses.map(|(witness, _)| (self.held_by(witness), witness));
        counts.max().map(|(count, witness)| (witness, count))
    }

    /// The network about whose sources most incidents are, and how many that is. Looks at all
    /// networks.
    pub fn busiest_network(&self) -> Option<(Network, usize)> {
        let counts = self
            .networks
            .iter()
            .map(|(network, count)| (count, network));
        counts.max().map(|(count, network)| (network, count))
    }

    /// One of a witness's incidents: that which would give way first.
    pub fn example(&self, witness: Witness) -> Option<Key> {
        let (_, (_, key)) = self.least(Scope::Witness(witness))?;
        Some(key)
    }

    /// Who has to give way to a newcomer: mostly nobody. If nobody does, what is used up is
    /// returned.
    pub fn make_room(&self, newcomer: &Place) -> Result<Vec<Key>, Scope> {
        let mut leaving = Vec::new();
        for scope in newcomer.scopes() {
            let left = leaving.iter().filter(|it| self.has(scope, **it)).count();
            if self.count(scope) - left >= self.limit(scope) {
                leaving.push(self.gives_way(scope, newcomer).ok_or(scope)?);
            }
        }
        Ok(leaving.into_iter().map(|(_, (_, key))| key).collect())
    }

    /// Gives an incident its place.
    pub fn take(&mut self, key: Key, place: &Place) {
        let (rank, entry) = (place.rank, (place.heard, key));
        let room = self.room_mut(place.zone);
        room.taken.insert((rank, entry));
        room.witnesses.insert(place.holder, rank, entry);
        if let Some(network) = place.network {
            self.networks.insert(network, rank, entry);
        }
    }

    /// Takes an incident's place from it.
    pub fn leave(&mut self, key: Key, place: &Place) {
        let (rank, entry) = (place.rank, (place.heard, key));
        let room = self.room_mut(place.zone);
        room.taken.remove(&(rank, entry));
        room.witnesses.remove(place.holder, rank, entry);
        if let Some(network) = place.network {
            self.networks.remove(network, rank, entry);
        }
    }

    /// Notes that an incident was heard of, and what it amounts to now.
    pub fn update(&mut self, key: Key, place: &mut Place, rank: Rank, heard: Timestamp) {
        let heard = minute(heard);
        if place.rank != rank || place.heard != heard {
            self.leave(key, place);
            (place.rank, place.heard) = (rank, heard);
            self.take(key, place);
        }
    }

    /// Which incident gives way to a newcomer for which there is no place in `scope`.
    fn gives_way(&self, scope: Scope, newcomer: &Place) -> Option<(Rank, Entry)> {
        let least = self.least(scope)?;
        let (rank, (heard, _)) = least;
        let calm = newcomer.heard.saturating_sub(heard) > CALM.as_secs() / 60;
        let gives_way = newcomer.rank.credence == Credence::Believed
            && (rank < newcomer.rank || rank == newcomer.rank && calm);
        if gives_way {
            return Some(least);
        }
        self.of_the_fullest(scope, newcomer)
    }

    /// What the witness that holds most would give up, if it is no more than the newcomer and that
    /// witness holds more than the newcomer's.
    fn of_the_fullest(&self, scope: Scope, newcomer: &Place) -> Option<(Rank, Entry)> {
        let rooms: &[_] = match scope {
            Scope::All => &[&self.inside, &self.outside],
            Scope::Outside => &[&self.outside],
            Scope::Witness(_) | Scope::Network(_) => &[],
        };
        let own = self.room(newcomer.zone).witnesses.count(newcomer.holder);
        let fullest = rooms.iter().filter_map(|room| {
            let (witness, count) = room.witnesses.fullest()?;
            Some((count, room.witnesses.least(witness)?))
        });
        let equal = fullest.filter(|(_, (rank, _))| *rank == newcomer.rank);
        let (count, least) = equal.max_by_key(|(count, _)| *count)?;
        (newcomer.rank.credence == Credence::Believed && count > own + 1).then_some(least)
    }

    fn limit(&self, scope: Scope) -> usize {
        match scope {
            Scope::Witness(_) => self.share_of_witness(),
            Scope::Network(_) => self.share_of_network(),
            Scope::Outside => self.bound - self.bound / SHARES,
            Scope::All => self.bound,
        }
    }

    fn count(&self, scope: Scope) -> usize {
        match scope {
            Scope::Witness(witness) => self.held_by(witness),
            Scope::Network(network) => self.networks.count(network),
            Scope::Outside => self.outside.taken.len(),
            Scope::All => self.taken(),
        }
    }

    fn least(&self, scope: Scope) -> Option<(Rank, Entry)> {
        let rooms = [&self.inside, &self.outside];
        match scope {
            Scope::Witness(witness) => {
                let each = rooms
                    .iter()
                    .filter_map(|room| room.witnesses.least(witness));
                each.min()
            }
            Scope::Network(network) => self.networks.least(network),
            Scope::Outside => self.outside.taken.first().copied(),
            Scope::All => {
                let each = rooms.iter().filter_map(|room| room.taken.first().copied());
                each.min()
            }
        }
    }

    fn has(&self, scope: Scope, (rank, entry): (Rank, Entry)) -> bool {
        let rooms = [&self.inside, &self.outside];
        match scope {
            Scope::Witness(witness) => rooms
                .iter()
                .any(|room| room.witnesses.holds(witness, rank, entry)),
            Scope::Network(network) => self.networks.holds(network, rank, entry),
            Scope::Outside => self.outside.taken.contains(&(rank, entry)),
            Scope::All => true,
        }
    }

    const fn room(&self, zone: Zone) -> &Room {
        match zone {
            Zone::Inside => &self.inside,
            Zone::Outside => &self.outside,
        }
    }

    const fn room_mut(&mut self, zone: Zone) -> &mut Room {
        match zone {
            Zone::Inside => &mut self.inside,
            Zone::Outside => &mut self.outside,
        }
    }
}

#[cfg(test)]
mod tests;
