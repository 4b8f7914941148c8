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
pub mod pairs;
pub mod sieve;
pub mod suspect;
pub mod tier;
pub mod vault;

use std::net::IpAddr;

use crate::event::Timestamp;
use crate::server::alert::{Network, Source, Zone};
use crate::server::correlate::clients::Handle;
use crate::server::correlate::frequency::Rule;
use crate::server::correlate::sighting::{Proof, Sighting};
use crate::server::correlate::sources::hash::Secret;
use crate::server::correlate::sources::suspect::{Key, Standing, Suspect, Touch};
use crate::server::correlate::sources::tier::{Arrival, Entrance, Sight, Tier, Visit};
use crate::server::correlate::statistics::bursts::Model;

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
    secret: Secret,
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
    /// When the server got it.
    pub now: Timestamp,
}

impl Sources {
    /// Tables of `memory` bytes.
    pub fn new(memory: usize, secret: Secret) -> Self {
        let eighth = memory / 8;
        Self {
            inside: Tier::new(eighth * 3, secret),
            outside: Tier::new(eighth * 3, secret),
            networks: Tier::new(eighth, secret),
            crowds: Crowds::new(),
            introductions: Introductions::default(),
            secret,
        }
    }

    /// Takes in a hit.
    pub fn visit(&mut self, sighting: &Sighting, zone: Zone, glass: &Glass<'_>) -> Sight {
        let tier = match zone {
            Zone::Inside => &mut self.inside,
            Zone::Outside => &mut self.outside,
        };
        let quota = tier.capacity() / 8;
        let entrance = || {
            let introduced = self.introductions.of(sighting.handle, glass.now);
            let crowded =
                zone == Zone::Outside && self.crowds.is_full(crowd(self.secret, sighting.source));
            if crowded || introduced >= quota {
                Entrance::Shut
            } else {
                Entrance::Open
            }
        };
        let visit = Visit {
            key: Key::source(Source::of(sighting.source)),
            touch: Touch::from(sighting),
            proof: glass.proof,
            rule: glass.rule,
            model: glass.model,
            now: glass.now,
        };
        let sight = tier.visit(&visit, entrance);
        if sight.arrival != Arrival::None {
            self.introductions.count(sighting.handle, glass.now);
        }
        if zone == Zone::Outside {
            self.count_crowds(sighting.source, sight.arrival);
        }
        sight
    }

    /// Takes in a first contact of a network, and says which suspect it is if it has a place and
    /// the contact is new to the network too.
    pub fn visit_network(&mut self, sighting: &Sighting, glass: &Glass<'_>) -> Option<&Suspect> {
        let visit = Visit {
            key: Key::network(Network::of(sighting.source)),
            touch: Touch::from(sighting),
            proof: glass.proof,
            rule: glass.rule,
            model: glass.model,
            now: glass.now,
        };
        let sight = self.networks.visit(&visit, || Entrance::Open);
        match sight.novelty {
            Novelty::First => self.networks.get(sight.place?),
            Novelty::Repeat => None,
        }
    }

    /// What is kept of a source, if it has a place.
    pub fn suspect_mut(&mut self, source: Source, zone: Zone) -> Option<&mut Suspect> {
        self.tier_mut(zone).find_mut(Key::source(source))
    }

    /// Notes that an incident was opened about the network of a source.
    pub fn network_is_alerted(&mut self, source: IpAddr) {
        let key = Key::network(Network::of(source));
        if let Some(network) = self.networks.find_mut(key) {
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

    fn count_crowds(&mut self, newcomer: IpAddr, arrival: Arrival) {
        match arrival {
            Arrival::None => return,
            Arrival::Newcomer => {}
            Arrival::Displacing(gone) => {
                self.crowds.leave(crowd(self.secret, gone.address()));
            }
        }
        self.crowds.enter(crowd(self.secret, newcomer));
    }
}

/// By what sources of one network are counted.
fn crowd(secret: Secret, source: IpAddr) -> u64 {
    secret
        .hash(Key::network(Network::of(source)).number())
        .bits()
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

    fn place(&self, crowd: u64) -> usize {
        usize::try_from(crowd).unwrap_or(0) & (self.0.len() - 1)
    }

    fn is_full(&self, crowd: u64) -> bool {
        let counter = self.0.get(self.place(crowd));
        counter.is_some_and(|counter| *counter >= CROWD)
    }

    fn enter(&mut self, crowd: u64) {
        let place = self.place(crowd);
        if let Some(counter) = self.0.get_mut(place) {
            *counter = counter.saturating_add(1);
        }
    }

    fn leave(&mut self, crowd: u64) {
        let place = self.place(crowd);
        if let Some(counter) = self.0.get_mut(place) {
            *counter = counter.saturating_sub(1);
        }
    }
}

/// How many new sources each client has brought within the hour: a client that lies could bring
/// any number, and gets an eighth of the places of a zone.
#[derive(Debug, Default)]
struct Introductions(Vec<(u64, usize)>);

impl Introductions {
    fn of(&self, client: Handle, now: Timestamp) -> usize {
        let known = self.0.get(client.index());
        known.map_or(
            0,
            |(hour, count)| if *hour == hours(now) { *count } else { 0 },
        )
    }

    fn count(&mut self, client: Handle, now: Timestamp) {
        let index = client.index();
        if index >= self.0.len() {
            self.0.resize(index.saturating_add(1), (0, 0));
        }
        let before = self.of(client, now);
        if let Some(known) = self.0.get_mut(index) {
            *known = (hours(now), before + 1);
        }
    }
}

const fn hours(now: Timestamp) -> u64 {
    now.as_micros() / 3_600_000_000
}
