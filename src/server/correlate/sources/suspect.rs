//! What is kept of one source, or of one network of sources.
//!
//! Who was seen once takes up a place in a bucket of eight, some 180 bytes; the history of those
//! seen again is on the heap, and its bytes are counted.

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Network, Source, Statistic};
use crate::server::correlate::frequency::{History, Rule};
use crate::server::correlate::persistent_source::Days;
use crate::server::correlate::sighting::{Proof, Sighting, Trap};
use crate::server::correlate::sources::Novelty;
use crate::server::correlate::sources::traps::Traps;
use crate::server::correlate::sources::vault::Entry;
use crate::server::correlate::statistics::bursts::{Bursts, Model};
use crate::server::correlate::window::Moment;

/// What a source or a network is found by: its address, IPv4 as mapped into IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of a source.
    pub fn source(source: Source) -> Self {
        Self(mapped(source.address()))
    }

    /// The key of a network.
    pub fn network(network: Network) -> Self {
        Self(mapped(network.address()))
    }

    /// As a number.
    pub const fn number(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The address.
    pub fn address(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A hit, as short as it can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// When.
    pub at: Timestamp,
    address: [u8; 16],
    trap: Trap,
    count: u32,
}

impl Touch {
    /// The address it came from.
    pub fn source(&self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }
}

impl From<&Sighting> for Touch {
    fn from(sighting: &Sighting) -> Self {
        Self {
            at: sighting.at,
            address: mapped(sighting.source),
            trap: sighting.trap(),
            count: sighting.count,
        }
    }
}

impl Moment for Touch {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn trap(&self) -> Trap {
        self.trap
    }
}

/// One source or network.
#[derive(Clone, Debug)]
pub struct Suspect {
    key: Key,
    /// When the server first got a hit of it, whenever its client says that it happened.
    pub known_since: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    last_contact: Timestamp,
    /// First contacts since it has a place here.
    pub contacts: u32,
    /// What it has shown of itself.
    pub proof: Proof,
    /// Whether an incident was ever opened about it while it had its place.
    pub standing: Standing,
    /// The days on which it was seen.
    pub days: Days,
    /// Bursts in which the contacts came.
    pub bursts: u32,
    run: Bursts,
    /// By chance, what was seen of it happens once in so many days.
    pub chance_days: f64,
    past: Past,
}

/// Whether an incident was opened about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// None was.
    Unalerted,
    /// One was.
    Alerted,
}

#[derive(Clone, Debug)]
enum Past {
    /// One hit.
    One(Touch),
    /// Several.
    Many(Box<Many>),
    /// Several, and no memory for them: only the last one.
    Shed(Touch),
}

#[derive(Clone, Debug, Default)]
struct Many {
    history: History<Touch>,
    traps: Traps,
}

/// Traps of one source that are told apart; more are taken for known ones.
const MAX_TRAPS: usize = 256;

/// How much memory histories have.
#[derive(Debug)]
pub struct Budget {
    /// Bytes that may be used.
    pub bytes: usize,
    /// Bytes that are used.
    pub used: usize,
    /// Histories that could not be kept.
    pub shed: u64,
}

/// Where histories are kept, and what is known of the traps of those that have none.
#[derive(Debug)]
pub struct Shelf<'a> {
    /// The memory there is.
    pub budget: &'a mut Budget,
    /// Whether the hit is on a trap that its source has not touched lately, if its history is not
    /// kept.
    pub novelty: Novelty,
}

/// What a hit has changed.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// Whether it was a first contact.
    pub novelty: Novelty,
    /// Whether the rule fired.
    pub fired: Option<Statistic>,
    /// How long it had not been seen.
    pub pause: Duration,
}

impl Suspect {
    /// Who is seen for the first time, in a hit that the server got at `now`.
    pub fn new(key: Key, touch: Touch, proof: Proof, model: &Model, now: Timestamp) -> Self {
        let run = Bursts::fresh(model);
        let mut days = Days::default();
        days.add(touch.at);
        Self {
            key,
            known_since: now,
            last_seen: touch.at,
            last_contact: touch.at,
            contacts: 1,
            proof,
            standing: Standing::Unalerted,
            days,
            chance_days: run.chance_days(model),
            bursts: 1,
            run,
            past: Past::One(touch),
        }
    }

    /// Whether the history of another hit cannot be kept.
    pub const fn lacks_memory(&self, budget: &Budget) -> bool {
        match &self.past {
            Past::One(_) => budget.used >= budget.bytes,
            Past::Many(_) => false,
            Past::Shed(_) => true,
        }
    }

    /// What it is found by.
    pub const fn id(&self) -> Key {
        self.key
    }

    /// Reads what another hit will change.
    pub fn foresee(&self, trap: Trap) {
        black_box((self.key, self.last_seen, self.contacts, self.days));
        black_box((self.run, self.chance_days));
        if let Past::Many(many) = &self.past {
            black_box(many.traps.contains(trap));
            many.history.foresee();
        }
    }

    /// Takes in another hit.
    pub fn add(
        &mut self,
        touch: Touch,
        rule: &Rule,
        model: &Model,
        shelf: &mut Shelf<'_>,
    ) -> Change {
        let pause = touch.at.since(self.last_seen);
        self.last_seen = self.last_seen.max(touch.at);
        self.days.add(touch.at);
        let (novelty, fired) = self.remember(touch, rule, shelf);
        if novelty == Novelty::First {
            self.contact(touch.at, model);
        }
        Change {
            novelty,
            fired,
            pause,
        }
    }

    fn contact(&mut self, at: Timestamp, model: &Model) {
        // A contact that comes late has no gap before it.
        let gap = at.since(self.last_contact).as_secs_f64() / 86_400.0;
        self.last_contact = self.last_contact.max(at);
        self.contacts = self.contacts.saturating_add(1);
        if model.is_new_burst(gap) {
            self.bursts = self.bursts.saturating_add(1);
        }
        self.run.contact(gap, model);
        self.chance_days = self.run.chance_days(model);
    }

    fn remember(
        &mut self,
        touch: Touch,
        rule: &Rule,
        shelf: &mut Shelf<'_>,
    ) -> (Novelty, Option<Statistic>) {
        if let Past::One(first) = self.past {
            let budget = &mut *shelf.budget;
            self.past = if budget.used < budget.bytes {
                let many = Many::new(first, rule);
                budget.used += many.heap();
                Past::Many(Box::new(many))
            } else {
                budget.shed += 1;
                Past::Shed(first)
            };
        }
        match &mut self.past {
            Past::Many(many) => {
                let before = many.heap();
                let change = many.add(touch, rule);
                let used = &mut shelf.budget.used;
                *used = used.saturating_sub(before) + many.heap();
                change
            }
            Past::One(last) | Past::Shed(last) => {
                let novelty = if last.trap == touch.trap {
                    Novelty::Repeat
                } else {
                    shelf.novelty
                };
                *last = touch;
                (novelty, rule.alone(&touch))
            }
        }
    }

    /// The bytes on the heap.
    pub fn heap(&self) -> usize {
        match &self.past {
            Past::Many(many) => many.heap(),
            Past::One(_) | Past::Shed(_) => 0,
        }
    }

    /// What is remembered of it, oldest first: its last hits, and of traps that are not among
    /// them the first contact, as one hit.
    pub fn evidence(&self) -> Vec<Touch> {
        match &self.past {
            Past::One(touch) | Past::Shed(touch) => vec![*touch],
            Past::Many(many) => many.evidence(self.key),
        }
    }

    /// What led to a rule's finding at the time `at`, oldest first.
    pub fn evidence_for(&self, rule: &Rule, at: Timestamp) -> Vec<Touch> {
        match &self.past {
            Past::One(touch) | Past::Shed(touch) => vec![*touch],
            Past::Many(many) => many.history.evidence(at, rule),
        }
    }
}

impl Many {
    fn new(first: Touch, rule: &Rule) -> Self {
        let mut many = Self::default();
        many.add(first, rule);
        many
    }

    fn add(&mut self, touch: Touch, rule: &Rule) -> (Novelty, Option<Statistic>) {
        let fired = self.history.add(touch, rule);
        if self.traps.len() >= MAX_TRAPS || self.traps.contains(touch.trap) {
            return (Novelty::Repeat, fired);
        }
        self.traps.add(touch.trap, touch.at);
        (Novelty::First, fired)
    }

    fn heap(&self) -> usize {
        size_of::<Self>() + self.history.heap() + self.traps.heap()
    }

    fn evidence(&self, key: Key) -> Vec<Touch> {
        let mut all: Vec<_> = self.history.iter().copied().collect();
        let mut recent: Vec<_> = all.iter().map(|touch| touch.trap).collect();
        recent.sort_unstable();
        let forgotten = self
            .traps
            .iter()
            .filter(|(trap, _)| recent.binary_search(trap).is_err());
        all.extend(forgotten.map(|(trap, at)| Touch {
            at,
            address: key.0,
            trap,
            count: 1,
        }));
        all.sort_by_key(|touch| (touch.at, touch.trap));
        all
    }
}

impl Entry for Suspect {
    type Key = Key;

    fn key(&self) -> Key {
        self.key
    }

    /// On probation is who has made few contacts and is not much of a suspect.
    fn strength(&self) -> Option<u32> {
        const PROBATION: u32 = 3;
        const HARMLESS_DAYS: f64 = 10_000.0;
        let unproven = self.contacts < PROBATION && self.chance_days < HARMLESS_DAYS;
        unproven.then_some(self.contacts)
    }

    fn last_seen(&self) -> Timestamp {
        self.last_seen
    }
}
