//! A vault with a sieve before it: sources of one zone, or networks.
//!
//! Whoever is seen for the first time gets a place in the vault if there is a free one that the
//! quotas let it have. Else the sieve counts its first contacts, until it has made clearly more of
//! them than the weakest in its bucket. *Clearly* is more than the sieve's noise: what one in a
//! hundred sources never seen would be taken for.

use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::Statistic;
use crate::server::correlate::frequency::Rule;
use crate::server::correlate::sighting::{Proof, Trap};
use crate::server::correlate::sources::Novelty;
use crate::server::correlate::sources::hash::Hash;
use crate::server::correlate::sources::pairs::Pairs;
use crate::server::correlate::sources::sieve::Sieve;
use crate::server::correlate::sources::suspect::{Budget, Key, Shelf, Suspect, Touch};
use crate::server::correlate::sources::vault::{Place, Room, Vault};
use crate::server::correlate::statistics::bursts::Model;
use crate::server::correlate::window::Moment as _;

/// Who has not been seen for so long may lose its place to anybody.
pub const MEMORY: Duration = Duration::from_secs(30 * 86_400);

/// A table of suspects in a fixed amount of memory.
#[derive(Debug)]
pub struct Tier {
    vault: Vault<Suspect>,
    sieve: Sieve,
    pairs: Pairs,
    budget: Budget,
    /// Places taken by sources that have sent bare packets only.
    packets_only: usize,
    noise: Noise,
    /// Who had to give up a place, or did not get one.
    pub counts: Counts,
}

/// What has become of those for whom there was no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Suspects that lost their place to stronger ones.
    pub displaced: u64,
    /// First contacts of sources without a place.
    pub outside: u64,
}

/// A hit as a tier takes it in.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// Whose.
    pub key: Key,
    /// The hash of that.
    pub hash: Hash,
    /// What.
    pub touch: Touch,
    /// What it shows of its source.
    pub proof: Proof,
    /// The rule about frequent hits.
    pub rule: &'a Rule,
    /// The statistic of first contacts.
    pub model: &'a Model,
    /// When the server got it.
    pub now: Timestamp,
}

/// Whether a newcomer may take up a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// It may.
    Open,
    /// Some quota is used up.
    Shut,
}

/// What a visit was.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The hash of what was visited.
    pub hash: Hash,
    /// Where the suspect is, if it has a place.
    pub place: Option<Place>,
    /// Whether it took the place just now.
    pub arrival: Arrival,
    /// Whether it was a first contact.
    pub novelty: Novelty,
    /// Whether the rule fired.
    pub fired: Option<Statistic>,
    /// How long it had not been seen; for ever if it had no place.
    pub pause: Duration,
    /// How many first contacts it has made at most, within two days, if it has no place and this was
    /// one of them; else 0.
    pub contacts: u32,
}

/// Whether a suspect is new to the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has just been let in, and nobody had to go.
    Newcomer,
    /// It has just been let in, and another has lost its place.
    Displacing(Key),
    /// It was there, or it is not.
    None,
}

/// How far the sieve is off.
#[derive(Debug, Default)]
struct Noise {
    level: u32,
    since: u32,
}

impl Tier {
    /// A tier of `bytes`.
    pub fn new(bytes: usize) -> Self {
        let part = |twelfths: usize| bytes / 12 * twelfths;
        Self {
            vault: Vault::new(part(5) / size_of::<Suspect>()),
            sieve: Sieve::new(part(4)),
            pairs: Pairs::new(part(1)),
            budget: Budget {
                bytes: part(2),
                used: 0,
                shed: 0,
            },
            packets_only: 0,
            noise: Noise::default(),
            counts: Counts::default(),
        }
    }

    /// Reads what says where the suspect with this hash is, and what is known of it if it has no place.
    pub fn foresee(&self, hash: Hash, trap: Trap) {
        self.vault.foresee(hash);
        self.pairs.foresee(hash.with(trap.number()));
        self.sieve.foresee(hash);
    }

    /// Reads a suspect, if it has a place.
    pub fn foresee_suspect(&self, hash: Hash, key: Key, trap: Trap) {
        let place = self.vault.find(hash, key);
        if let Some(suspect) = place.and_then(|place| self.vault.get(place)) {
            suspect.foresee(trap);
        }
    }

    /// Takes in a hit. Whether who has no place may take one up is only asked when there is one.
    pub fn visit(&mut self, visit: &Visit<'_>, entrance: impl Fn() -> Entrance) -> Sight {
        let hash = visit.hash;
        let Some(place) = self.vault.find(hash, visit.key) else {
            return self.newcomer(visit, entrance);
        };
        let Some(suspect) = self.vault.get_mut(place) else {
            return Sight::outside(Novelty::Repeat, visit);
        };
        let novelty = if suspect.lacks_memory(&self.budget) {
            let pair = hash.with(visit.touch.trap().number());
            self.pairs.add(pair, visit.now)
        } else {
            Novelty::First
        };
        let mut shelf = Shelf {
            budget: &mut self.budget,
            novelty,
        };
        let change = suspect.add(visit.touch, visit.rule, visit.model, &mut shelf);
        if suspect.proof == Proof::PacketsOnly && visit.proof == Proof::Connected {
            suspect.proof = Proof::Connected;
            self.packets_only = self.packets_only.saturating_sub(1);
        }
        Sight {
            hash: visit.hash,
            place: Some(place),
            arrival: Arrival::None,
            novelty: change.novelty,
            fired: change.fired,
            pause: change.pause,
            contacts: 0,
        }
    }

    /// The suspect at a place.
    pub fn get(&self, place: Place) -> Option<&Suspect> {
        self.vault.get(place)
    }

    /// The suspect at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Suspect> {
        self.vault.get_mut(place)
    }

    /// The suspect with this key, if it has a place.
    pub fn find_mut(&mut self, hash: Hash, key: Key) -> Option<&mut Suspect> {
        self.vault.get_mut(self.vault.find(hash, key)?)
    }

    /// All suspects.
    pub fn iter(&self) -> impl Iterator<Item = &Suspect> {
        self.vault.iter()
    }

    /// How many suspects have a place.
    pub const fn len(&self) -> usize {
        self.vault.len()
    }

    /// How many there can be.
    pub fn capacity(&self) -> usize {
        self.vault.capacity()
    }

    /// Histories that could not be kept.
    pub const fn shed(&self) -> u64 {
        self.budget.shed
    }

    /// Which share of sources never seen would be taken for ones that have made `contacts`.
    pub fn error(&self, contacts: u8) -> f64 {
        self.sieve.error(contacts)
    }

    fn newcomer(&mut self, visit: &Visit<'_>, entrance: impl Fn() -> Entrance) -> Sight {
        let hash = visit.hash;
        let expired = visit.now.before(MEMORY);
        let too_many = self.has_too_many(visit);
        let is_open = || !too_many && entrance() == Entrance::Open;
        let room = self.vault.has_room(hash, expired);
        if room && is_open() {
            return self.admit(visit, 0, 0);
        }
        let pair = hash.with(visit.touch.trap().number());
        if self.pairs.add(pair, visit.now) == Novelty::Repeat {
            return Sight::outside(Novelty::Repeat, visit);
        }
        let estimate = self.sieve.add(hash, visit.now);
        self.counts.outside += 1;
        let strength = estimate.saturating_sub(self.noise.level(&self.sieve));
        if !room && strength > 1 && is_open() {
            self.admit(visit, strength, estimate)
        } else {
            Sight::stranger(estimate, visit)
        }
    }

    fn admit(&mut self, visit: &Visit<'_>, strength: u32, contacts: u32) -> Sight {
        let suspect = Suspect::new(visit.key, visit.touch, visit.proof, visit.model, visit.now);
        let expired = visit.now.before(MEMORY);
        let (place, arrival) = match self.vault.admit(visit.hash, suspect, strength, expired) {
            Room::Free(place) => (place, Arrival::Newcomer),
            Room::Made(place, gone) => {
                self.forget(&gone, expired);
                (place, Arrival::Displacing(gone.id()))
            }
            Room::None(_) => return Sight::stranger(contacts, visit),
        };
        if visit.proof == Proof::PacketsOnly {
            self.packets_only += 1;
        }
        Sight {
            hash: visit.hash,
            place: Some(place),
            arrival,
            novelty: Novelty::First,
            fired: visit.rule.alone(&visit.touch),
            pause: Duration::MAX,
            contacts: 0,
        }
    }

    fn forget(&mut self, gone: &Suspect, expired: Timestamp) {
        if gone.last_seen >= expired {
            self.counts.displaced += 1;
        }
        if gone.proof == Proof::PacketsOnly {
            self.packets_only = self.packets_only.saturating_sub(1);
        }
        self.budget.used = self.budget.used.saturating_sub(gone.heap());
    }

    /// Sources of bare packets, which can bear anybody's address, get a quarter of the places.
    fn has_too_many(&self, visit: &Visit<'_>) -> bool {
        visit.proof == Proof::PacketsOnly && self.packets_only >= self.vault.capacity() / 4
    }
}

impl Noise {
    /// What one in a hundred sources never seen is taken for; looked up now and then.
    fn level(&mut self, sieve: &Sieve) -> u32 {
        const OFTEN: u32 = 65_536;
        const WRONG: f64 = 0.01;
        if self.since.is_multiple_of(OFTEN) {
            self.level = sieve.noise(WRONG);
        }
        self.since = self.since.wrapping_add(1);
        self.level
    }
}

impl Sight {
    fn outside(novelty: Novelty, visit: &Visit<'_>) -> Self {
        Self {
            hash: visit.hash,
            place: None,
            arrival: Arrival::None,
            novelty,
            fired: visit.rule.alone(&visit.touch),
            pause: Duration::MAX,
            contacts: 0,
        }
    }

    fn stranger(contacts: u32, visit: &Visit<'_>) -> Self {
        Self {
            contacts,
            ..Self::outside(Novelty::First, visit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::detectors::Frequency;
    use crate::event::ClientId;
    use crate::server::alert::{Detector, Source};
    use crate::server::correlate::clients::Handle;
    use crate::server::correlate::sighting::Sighting;
    use crate::server::correlate::sources::hash::Secret;
    use crate::server::correlate::statistics::bursts::Null;

    /// A tier, and what its suspects are looked at with.
    struct Watch {
        tier: Tier,
        rule: Rule,
        model: Model,
    }

    impl Watch {
        fn new(bytes: usize) -> Self {
            Self {
                tier: Tier::new(bytes),
                rule: Rule::new(Detector::FrequentSource, &Frequency::default()),
                model: Model::new(&Null::default()),
            }
        }

        fn hit(&mut self, source: u32, port: u16, minute: u64, proof: Proof) -> Sight {
            let now = Timestamp::from_micros(1_795_000_000_000_000 + minute * 60_000_000);
            let sighting = Sighting {
                at: now,
                source: source.to_be_bytes().into(),
                client: ClientId([1; 16]),
                handle: Handle(1),
                port,
                count: 1,
            };
            let key = Key::source(Source::of(sighting.source));
            let visit = Visit {
                key,
                hash: Secret::default().hash(key.number()),
                touch: Touch::from(&sighting),
                proof,
                rule: &self.rule,
                model: &self.model,
                now,
            };
            self.tier.visit(&visit, || Entrance::Open)
        }

        fn contacts(&self, sight: Sight) -> Option<u32> {
            Some(self.tier.get(sight.place?)?.contacts)
        }
    }

    #[test]
    fn who_comes_again_gets_a_place_in_a_full_vault_and_who_comes_once_does_not_drive_it_out() {
        let mut watch = Watch::new(1 << 20);
        let full = u32::try_from(watch.tier.capacity() * 3).unwrap();
        for source in 0..full {
            watch.hit(source, 22, 0, Proof::Connected);
        }
        let attacker = u32::MAX;
        let mut found = None;
        for port in 1..=8 {
            let sight = watch.hit(attacker, port, 60 * u64::from(port), Proof::Connected);
            if found.is_none() && sight.place.is_some() {
                found = Some(port);
            }
            let flood = full + u32::from(port) * 500;
            for source in flood..flood + 500 {
                watch.hit(source, 22, 60 * u64::from(port), Proof::Connected);
            }
        }
        assert!(found.is_some_and(|contacts| contacts <= 4), "{found:?}");
        let sight = watch.hit(attacker, 9, 600, Proof::Connected);
        assert!(watch.contacts(sight) >= Some(6), "it kept its place");
        assert!(watch.tier.len() <= watch.tier.capacity());
    }

    #[test]
    fn bare_packets_get_a_quarter_of_the_places() {
        let mut watch = Watch::new(1 << 20);
        let many = u32::try_from(watch.tier.capacity() * 2).unwrap();
        for source in 0..many {
            watch.hit(source, 22, 0, Proof::PacketsOnly);
        }
        assert_eq!(watch.tier.len(), watch.tier.capacity() / 4);
        let sight = watch.hit(many, 22, 0, Proof::Connected);
        assert_eq!(sight.arrival, Arrival::Newcomer);
    }

    #[test]
    fn without_memory_for_its_history_a_source_makes_no_contact_twice() {
        let mut watch = Watch::new(1 << 20);
        watch.tier.budget.bytes = 0;
        let mut last = None;
        for minute in 0..60 {
            last = Some(watch.hit(1, 20 + minute % 3, minute.into(), Proof::Connected));
        }
        // The first trap is not in the filter until it is touched again.
        assert!(watch.contacts(last.unwrap()) <= Some(4));
        assert_eq!(watch.tier.shed(), 1);
    }
}
