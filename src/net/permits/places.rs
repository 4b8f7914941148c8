//! Who may hold a place, and who gives way: a pure core, with time and chance passed in.
//!
//! Nobody waits: each newcomer has a place or is refused at once. In this order:
//!
//! 1. An address has [`Bounds::per_address`] places at most. At that, its own oldest gives way if
//!    it has had [`GRACE`]; else the newcomer is refused.
//! 2. When half of all places are taken, a newcomer whose site has its fair share already is
//!    refused by chance, the more often the fuller it is ([random early
//!    drop](https://man.openbsd.org/sshd_config#MaxStartups), as `MaxStartups 50:30:100` of OpenSSH
//!    does it), so that there is room for others.
//! 3. When all are taken, the site with most gives way, with its oldest place, to one that has
//!    fewer and will not have more than that (max-min fairness). Among sites that have as many, the
//!    oldest place gives way once it has had [`GRACE`]; so in a rush of honest clients nobody is
//!    thrown out a moment before it would have been done.
//!
//! A *site* is what one owner has as a rule: an IPv4 address, or an IPv6 /48 (RFC 6177). The fair
//! share is all places divided by the sites that want some.
//!
//! A place that is pinned, because a proof has failed on it, counts for its address until its
//! time is up, even if its connection is over by then.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::groups::Groups;

/// How long a connection keeps its place whoever has no fewer places comes.
pub const GRACE: Duration = Duration::from_secs(1);

/// Of a hundred newcomers who have their share already, so many are refused when half of the
/// places are taken, and more beyond: as many as OpenSSH has it.
const REFUSED_AT_HALF: u64 = 30;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In all.
    pub total: usize,
    /// For one address.
    pub per_address: usize,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// What has a bound of its own.
    pub address: IpAddr,
    /// What gives way as a whole.
    pub site: IpAddr,
}

/// Places, and what is kept of each connection that holds one.
#[derive(Debug)]
pub struct Places<T> {
    bounds: Bounds,
    next: u64,
    held: HashMap<u64, Place<T>>,
    /// Those that are not pinned.
    loose: Groups<IpAddr>,
    sites: Groups<IpAddr>,
    pins: Pins,
}

#[derive(Debug)]
struct Place<T> {
    origin: Origin,
    since: Instant,
    pinned: Option<Instant>,
    kept: T,
}

/// A place that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// Its number.
    pub id: u64,
    /// What was kept of the one that had to give way for it, if one had to.
    pub displaced: Option<T>,
}

/// What becomes of a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Admit,
    /// This place is taken from whoever has it.
    Displace(u64),
    Refuse,
}

impl<T> Places<T> {
    /// So many places, one at least.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds: Bounds {
                total: bounds.total.max(1),
                per_address: bounds.per_address.max(1),
            },
            next: 0,
            held: HashMap::new(),
            loose: Groups::default(),
            sites: Groups::default(),
            pins: Pins::default(),
        }
    }

    /// A place for a connection, or what was to be kept of it if there is none. `chance` is any
    /// number, each as likely as the others.
    pub fn admit(
        &mut self,
        origin: Origin,
        kept: T,
        now: Instant,
        chance: u32,
    ) -> Result<Found<T>, T> {
        self.pins.release(now);
        let displaced = match self.decide(origin, now, chance) {
            Decision::Refuse => return Err(kept),
            Decision::Admit => None,
            Decision::Displace(id) => self.end(id, now),
        };
        let id = self.next;
        self.next += 1;
        self.loose.insert(origin.address, id);
        self.sites.insert(origin.site, id);
        let place = Place {
            origin,
            since: now,
            pinned: None,
            kept,
        };
        self.held.insert(id, place);
        Ok(Found { id, displaced })
    }

    /// Until this time nobody from the same address can take this place.
    pub fn pin(&mut self, id: u64, until: Instant) {
        let Some(place) = self.held.get_mut(&id) else {
            return;
        };
        let address = place.origin.address;
        if place.pinned.replace(until).is_none() {
            self.loose.remove(address, id);
            self.pins.add(address);
        }
    }

    /// Ends a connection's hold, and returns what was kept of it.
    pub fn end(&mut self, id: u64, now: Instant) -> Option<T> {
        let place = self.held.remove(&id)?;
        let Origin { address, site } = place.origin;
        self.sites.remove(site, id);
        match place.pinned {
            None => self.loose.remove(address, id),
            Some(until) if until > now => self.pins.outlive(address, id, until, self.bounds.total),
            Some(_) => self.pins.remove(address),
        }
        Some(place.kept)
    }

    fn decide(&self, origin: Origin, now: Instant, chance: u32) -> Decision {
        let of_address = self.loose.size(origin.address) + self.pins.of(origin.address);
        if of_address >= self.bounds.per_address {
            return match self.loose.oldest(origin.address) {
                Some(oldest) if self.has_had_grace(oldest, now) => Decision::Displace(oldest),
                _ => Decision::Refuse,
            };
        }
        let of_site = self.sites.size(origin.site);
        if self.held.len() < self.bounds.total {
            return if self.drops_early(of_site, chance) {
                Decision::Refuse
            } else {
                Decision::Admit
            };
        }
        match self.sites.largest() {
            Some(most) if of_site + 1 < most.size || self.has_had_grace(most.oldest, now) => {
                Decision::Displace(most.oldest)
            }
            _ => Decision::Refuse,
        }
    }

    fn has_had_grace(&self, id: u64, now: Instant) -> bool {
        let since = self.held.get(&id).map(|place| place.since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= GRACE)
    }

    /// Whether chance refuses a newcomer whose site has so many places.
    fn drops_early(&self, of_site: usize, chance: u32) -> bool {
        let (total, held) = (self.bounds.total, self.held.len());
        let half = total.div_ceil(2);
        let sites = self.sites.count() + usize::from(of_site == 0);
        if held < half || of_site < total / sites.max(1) {
            return false;
        }
        let share = |part: usize| u64::try_from(part).unwrap_or(u64::MAX);
        let beyond = (100 - REFUSED_AT_HALF) * share(held - half) / share(total - half).max(1);
        u64::from(chance) * 100 < (REFUSED_AT_HALF + beyond) << 32
    }
}

/// Pinned places by address.
#[derive(Debug, Default)]
struct Pins {
    count: HashMap<IpAddr, usize>,
    /// Those whose connection is over, by when their time is up.
    outliving: BTreeMap<(Instant, u64), IpAddr>,
}

impl Pins {
    fn of(&self, address: IpAddr) -> usize {
        self.count.get(&address).copied().unwrap_or(0)
    }

    fn add(&mut self, address: IpAddr) {
        *self.count.entry(address).or_default() += 1;
    }

    fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.count.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.count.remove(&address);
            }
        }
    }

    /// Keeps a pin beyond its connection. There are `most` of them; beyond, the one whose time is
    /// up next is forgotten.
    fn outlive(&mut self, address: IpAddr, id: u64, until: Instant, most: usize) {
        self.outliving.insert((until, id), address);
        if self.outliving.len() > most {
            if let Some((_, address)) = self.outliving.pop_first() {
                self.remove(address);
            }
        }
    }

    fn release(&mut self, now: Instant) {
        while let Some(next) = self.outliving.first_entry() {
            if next.key().0 > now {
                break;
            }
            let address = next.remove();
            self.remove(address);
        }
    }
}

#[cfg(test)]
mod tests;
