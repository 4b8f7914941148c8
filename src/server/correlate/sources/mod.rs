//! Who touches traps: all sources, in a bounded amount of memory, out of
//! which a flood of sources seen once drives nobody who comes again.
//!
//! ```text
//!            ┌ inside: a tier of its own      tier = vault (exact, suspect by suspect)
//! sighting ──┤                                     + sieve (an upper bound on contacts) and
//!            └ outside: another one                  pairs (is it a first contact?) for the rest
//!               └─▶ networks: a third one
//! ```
//!
//! The setting `memory` is shared out: three eighths to each zone of sources, an eighth to
//! networks, and an eighth is left for what is kept of ports, clients and incidents.

pub mod hash;
pub mod lines;
pub mod pairs;
pub mod sieve;
pub mod suspect;
pub mod tier;
pub mod traps;
pub mod vault;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::Timestamp;
use crate::server::alert::{Network, Source, Zone};
use crate::server::correlate::clients::Witness;
use crate::server::correlate::foresight::BATCH;
use crate::server::correlate::frequency::Rule;
use crate::server::correlate::sighting::{Proof, Sighting, Trap};
use crate::server::correlate::sources::hash::{Hash, Secret};
use crate::server::correlate::sources::suspect::{Key, Standing, Suspect, Touch};
use crate::server::correlate::sources::tier::{Arrival, Entrance, Sight, Tier, Visit};
use crate::server::correlate::statistics::bursts::Model;
use crate::server::correlate::window::Moment as _;

/// Whether a source has touched a trap before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It has not: a first contact.
    First,
    /// It has.
    Repeat,
}

/// All sources, and the networks of those outside.
#[derive(Debug)]
pub struct Sources {
    /// Sources of the inside.
    pub inside: Tier,
    /// All other sources.
    pub outside: Tier,
    /// Networks.
    pub networks: Tier,
    crowds: Crowds,
    introductions: Introductions,
    network_introductions: Introductions,
    hashes: Hashes,
}

/// What the sources are looked at with.
#[derive(Clone, Copy, Debug)]
pub struct Glass<'a> {
    /// The rule about frequent hits.
    pub rule: &'a Rule,
    /// What first contacts mean.
    pub model: &'a Model,
    /// What the hit shows of its source.
    pub proof: Proof,
    /// On whose word it rests.
    pub witness: Witness,
    /// When the server got it.
    pub now: Timestamp,
}

impl Sources {
    /// Tables of `memory` bytes.
    pub fn new(memory: usize, secret: Secret) -> Self {
        let eighth = memory / 8;
        Self {
            inside: Tier::new(eighth * 3),
            outside: Tier::new(eighth * 3),
            networks: Tier::new(eighth),
            crowds: Crowds::new(),
            introductions: Introductions::default(),
            network_introductions: Introductions::default(),
            hashes: Hashes::new(secret),
        }
    }

    /// A hit that is to come.
    pub fn prospect(&mut self, sighting: &Sighting, zone: Zone) -> Prospect {
        let (source, network) = keys(sighting.source);
        Prospect {
            zone,
            trap: sighting.trap(),
            source: (source, self.hashes.of(source)),
            network: (network, self.hashes.of(network)),
        }
    }

    /// Reads what says where things are.
    pub fn foresee(&self, prospect: &Prospect) {
        let (_, source) = prospect.source;
        self.tier(prospect.zone).foresee(source, prospect.trap);
        if prospect.zone == Zone::Outside {
            let (_, network) = prospect.network;
            self.networks.foresee(network, prospect.trap);
        }
    }

    /// Reads the suspects themselves.
    pub fn foresee_suspects(&self, prospect: &Prospect) {
        let (key, hash) = prospect.source;
        self.tier(prospect.zone)
            .foresee_suspect(hash, key, prospect.trap);
        if prospect.zone == Zone::Outside {
            let (key, hash) = prospect.network;
            self.networks.foresee_suspect(hash, key, prospect.trap);
        }
    }

    /// Takes in a hit.
    pub fn visit(&mut self, sighting: &Sighting, zone: Zone, glass: &Glass<'_>) -> Sight {
        let (key, network) = keys(sighting.source);
        let (hash, crowd) = (self.hashes.of(key), self.hashes.of(network));
        let tier = match zone {
            Zone::Inside => &mut self.inside,
            Zone::Outside => &mut self.outside,
        };
        let quota = tier.capacity() / 8;
        let entrance = || {
            let introduced = self.introductions.of(glass.witness, glass.now);
            let crowded = zone == Zone::Outside && self.crowds.is_full(crowd);
            if crowded || introduced >= quota {
                Entrance::Shut
            } else {
                Entrance::Open
            }
        };
        let visit = Visit {
            key,
            hash,
            touch: Touch::from(sighting),
            proof: glass.proof,
            rule: glass.rule,
            model: glass.model,
            now: glass.now,
        };
        let sight = tier.visit(&visit, entrance);
        if sight.arrival != Arrival::None {
            self.introductions.count(glass.witness, glass.now);
        }
        if zone == Zone::Outside {
            self.count_crowds(crowd, sight.arrival);
        }
        sight
    }

    /// Takes in a first contact of a network, and says which suspect it is if it has a place and
    /// the contact is new to the network too.
    pub fn visit_network(&mut self, sighting: &Sighting, glass: &Glass<'_>) -> Option<&Suspect> {
        let (_, key) = keys(sighting.source);
        let visit = Visit {
            key,
            hash: self.hashes.of(key),
            touch: Touch::from(sighting),
            proof: glass.proof,
            rule: glass.rule,
            model: glass.model,
            now: glass.now,
        };
        let quota = self.networks.capacity() / 8;
        let entrance = || {
            if self.network_introductions.of(glass.witness, glass.now) < quota {
                Entrance::Open
            } else {
                Entrance::Shut
            }
        };
        let sight = self.networks.visit(&visit, entrance);
        if sight.arrival != Arrival::None {
            self.network_introductions.count(glass.witness, glass.now);
        }
        match sight.novelty {
            Novelty::First => self.networks.get(sight.place?),
            Novelty::Repeat => None,
        }
    }

    /// What is kept of a source, if it has a place.
    pub fn suspect_mut(&mut self, source: Source, zone: Zone) -> Option<&mut Suspect> {
        let key = Key::source(source);
        let hash = self.hashes.of(key);
        self.tier_mut(zone).find_mut(hash, key)
    }

    /// Notes that an incident was opened about the network of a source.
    pub fn network_is_alerted(&mut self, source: IpAddr) {
        let (_, key) = keys(source);
        if let Some(network) = self.networks.find_mut(self.hashes.of(key), key) {
            network.standing = Standing::Alerted;
        }
    }

    /// The tier of a zone.
    pub const fn tier(&self, zone: Zone) -> &Tier {
        match zone {
            Zone::Inside => &self.inside,
            Zone::Outside => &self.outside,
        }
    }

    /// The tier of a zone.
    pub const fn tier_mut(&mut self, zone: Zone) -> &mut Tier {
        match zone {
            Zone::Inside => &mut self.inside,
            Zone::Outside => &mut self.outside,
        }
    }

    fn count_crowds(&mut self, newcomer: Hash, arrival: Arrival) {
        match arrival {
            Arrival::None => return,
            Arrival::Newcomer => {}
            Arrival::Displacing(gone) => {
                let (_, network) = keys(gone.address());
                self.crowds.leave(self.hashes.of(network));
            }
        }
        self.crowds.enter(newcomer);
    }
}

/// A hit that is to come: by what it will be looked for.
#[derive(Clone, Copy, Debug)]
pub struct Prospect {
    zone: Zone,
    trap: Trap,
    source: (Key, Hash),
    network: (Key, Hash),
}

impl Prospect {
    /// The hash of its source.
    pub const fn hash(&self) -> Hash {
        self.source.1
    }
}

/// What an address and its network are found by.
fn keys(source: IpAddr) -> (Key, Key) {
    (
        Key::source(Source::of(source)),
        Key::network(Network::of(source)),
    )
}

/// Hashes of keys. Those that were asked for lately are mostly not computed again.
#[derive(Debug)]
struct Hashes {
    secret: Secret,
    lately: Vec<(Key, Hash)>,
}

/// Hashes that are kept: for each event of a batch that of its source and that of its network, and as
/// many again.
const LATELY: usize = 4 * BATCH;

impl Hashes {
    fn new(secret: Secret) -> Self {
        let key = Key::default();
        Self {
            secret,
            lately: vec![(key, secret.hash(key.number())); LATELY],
        }
    }

    fn of(&mut self, key: Key) -> Hash {
        let number = key.number();
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let place = usize::try_from(mixed >> 100).unwrap_or(0) % LATELY;
        let Some((known, hash)) = self.lately.get_mut(place) else {
            return self.secret.hash(number);
        };
        if *known != key {
            (*known, *hash) = (key, self.secret.hash(number));
        }
        *hash
    }
}

/// How many places sources of one network have, at most: a counter for each of many groups of
/// networks.
#[derive(Debug)]
struct Crowds(Vec<u8>);

/// Places for the sources of one network outside.
const CROWD: u8 = 64;

impl Crowds {
    /// A million counters: so many that two networks seldom share one.
    fn new() -> Self {
        Self(vec![0; 1 << 20])
    }

    fn place(&self, crowd: Hash) -> usize {
        usize::try_from(crowd.bits()).unwrap_or(0) & (self.0.len() - 1)
    }

    fn is_full(&self, crowd: Hash) -> bool {
        let counter = self.0.get(self.place(crowd));
        counter.is_some_and(|counter| *counter >= CROWD)
    }

    fn enter(&mut self, crowd: Hash) {
        let place = self.place(crowd);
        if let Some(counter) = self.0.get_mut(place) {
            *counter = counter.saturating_add(1);
        }
    }

    fn leave(&mut self, crowd: Hash) {
        let place = self.place(crowd);
        if let Some(counter) = self.0.get_mut(place) {
            *counter = counter.saturating_sub(1);
        }
    }
}

/// How many newcomers each witness has brought within the hour: one that lies could bring any
/// number, and gets an eighth of the places.
#[derive(Debug, Default)]
struct Introductions {
    hour: u64,
    by: BTreeMap<Witness, usize>,
}

impl Introductions {
    fn of(&self, witness: Witness, now: Timestamp) -> usize {
        let known = self.by.get(&witness).filter(|_| self.hour == hours(now));
        known.copied().unwrap_or(0)
    }

    fn count(&mut self, witness: Witness, now: Timestamp) {
        if self.hour != hours(now) {
            self.hour = hours(now);
            self.by.clear();
        }
        *self.by.entry(witness).or_default() += 1;
    }
}

const fn hours(now: Timestamp) -> u64 {
    now.as_micros() / 3_600_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_count_against_the_witness_within_the_hour() {
        let at = |minute: u64| Timestamp::from_micros(minute * 60_000_000);
        let of = |number: u8| Witness::Address([10, 9, 0, number].into());
        let mut introductions = Introductions::default();
        introductions.count(of(1), at(61));
        introductions.count(of(1), at(119));
        assert_eq!(introductions.of(of(1), at(119)), 2);
        assert_eq!(introductions.of(of(2), at(119)), 0);
        assert_eq!(introductions.of(of(1), at(120)), 0);
        introductions.count(of(2), at(120));
        assert_eq!(introductions.of(of(1), at(119)), 0);
    }

    #[test]
    fn a_hash_that_is_remembered_is_that_of_its_key() {
        let secret = Secret([7; 16]);
        let mut hashes = Hashes::new(secret);
        for number in (0..100_000_u32).chain(0..1000) {
            // Each twice, and between them others that take each other's places.
            for number in [number, number / 2] {
                let key = Key::source(Source::of(number.to_be_bytes().into()));
                assert_eq!(hashes.of(key), secret.hash(key.number()));
            }
        }
    }
}
