//! The fleet as the engine knows it: names, progress in the sequences, last signs of life.

pub mod handles;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::event::{ClientId, Timestamp, neighbourhood};
pub use crate::server::correlate::clients::handles::Handle;
use crate::server::correlate::clients::handles::Handles;
use crate::server::correlate::table::Fast;

/// All clients that were ever welcomed, up to a bound.
#[derive(Debug)]
pub struct Clients {
    bound: usize,
    patience: Duration,
    known: BTreeMap<ClientId, (Handle, Client)>,
    handles: Handles,
    addresses: HashMap<IpAddr, BTreeSet<ClientId>, Fast>,
    owners: HashMap<u16, u64, Fast>,
}

/// On whose word a hit rests.
///
/// Identities are free: whoever owns a host can make as many as they like there. So all clients that
/// come from one address (IPv6: one /64) are one witness, however many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// Whoever is at this address.
    Address(IpAddr),
    /// A client of which nobody knows where it is, as in a replay.
    Client(ClientId),
}

/// What is known of a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What people call it.
    pub name: String,
    /// When it was last heard from, by the server's clock.
    pub heard: Timestamp,
    /// Whether it said that it stops.
    pub farewell: Farewell,
    /// The last number of its sequence that was taken in; none of it was if 0.
    pub progress: u64,
    /// Numbers that never arrived.
    pub missing: u64,
    /// Where it last came from.
    pub address: Option<IpAddr>,
    /// The ports of its traps, as it last said.
    pub traps: Vec<u16>,
}

/// How a client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It did not; it is there, or it vanished.
    None,
    /// It said that it stops.
    Said,
}

/// Whether there is room for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Room {
    /// There is, or was made.
    Found,
    /// There is none: all who are known are there.
    None,
}

/// What is new in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// How many of the report's first hits have been taken in before.
    pub duplicates: usize,
    /// Numbers between the last report and this one that never arrived.
    pub gap: Option<RangeInclusive<u64>>,
    /// The last number that is now taken in.
    pub up_to: u64,
}

impl Clients {
    /// Room for `bound` clients. One that was heard from within `patience` is there.
    pub fn new(bound: usize, patience: Duration) -> Self {
        Self {
            bound,
            patience,
            known: BTreeMap::new(),
            handles: Handles::default(),
            addresses: HashMap::default(),
            owners: HashMap::default(),
        }
    }

    /// Notes that a client has come. When there is no room, the client not heard from for longest
    /// is forgotten, unless it is there.
    pub fn welcome(&mut self, id: ClientId, name: &str, now: Timestamp) -> Room {
        if let Some((_, client)) = self.known.get_mut(&id) {
            name.clone_into(&mut client.name);
            client.heard = client.heard.max(now);
            client.farewell = Farewell::None;
            return Room::Found;
        }
        if self.known.len() >= self.bound {
            let longest = self
                .known
                .iter()
                .min_by_key(|(_, (_, client))| client.heard);
            let Some((longest, (_, client))) = longest else {
                return Room::None;
            };
            if client.farewell == Farewell::None && now.since(client.heard) <= self.patience {
                return Room::None;
            }
            let longest = *longest;
            self.forget(longest);
        }
        let client = Client {
            name: name.to_owned(),
            heard: now,
            farewell: Farewell::None,
            progress: 0,
            missing: 0,
            address: None,
            traps: Vec::new(),
        };
        self.insert(id, client);
        Room::Found
    }

    fn insert(&mut self, id: ClientId, client: Client) {
        let (address, traps) = (client.address, client.traps.clone());
        let handle = self.handles.give(id);
        let client = Client {
            address: None,
            traps: Vec::new(),
            ..client
        };
        self.known.insert(id, (handle, client));
        self.owns(id, &traps);
        if let Some(address) = address {
            self.lives_at(id, address);
        }
    }

    fn forget(&mut self, id: ClientId) {
        self.owns(id, &[]);
        if let Some((handle, client)) = self.known.remove(&id) {
            self.handles.take(handle);
            self.leaves(id, client.address);
        }
    }

    /// Notes where a client comes from.
    pub fn lives_at(&mut self, id: ClientId, address: IpAddr) {
        let Some((_, client)) = self.known.get_mut(&id) else {
            return;
        };
        let before = client.address.replace(address);
        if before != Some(address) {
            self.leaves(id, before);
        }
        self.addresses.entry(address).or_default().insert(id);
    }

    fn leaves(&mut self, id: ClientId, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let Some(clients) = self.addresses.get_mut(&address) else {
            return;
        };
        clients.remove(&id);
        if clients.is_empty() {
            self.addresses.remove(&address);
        }
    }

    /// The client at an address. Where several are, as behind a NAT, nobody can tell which one.
    pub fn at(&self, address: IpAddr) -> Option<ClientId> {
        let clients = self.addresses.get(&address)?;
        clients.first().copied().filter(|_| clients.len() == 1)
    }

    /// Whether some client comes from this address.
    pub fn is_home(&self, address: IpAddr) -> bool {
        self.addresses.contains_key(&address)
    }

    /// Whether this client comes from this address.
    pub fn is_home_of(&self, id: ClientId, address: IpAddr) -> bool {
        let clients = self.addresses.get(&address);
        clients.is_some_and(|clients| clients.contains(&id))
    }

    /// On whose word it rests what this client reports.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "shares and severity come to use it next")
    )]
    pub fn witness(&self, id: ClientId) -> Witness {
        let address = self.get(id).and_then(|client| client.address);
        address.map_or(Witness::Client(id), |address| {
            Witness::Address(neighbourhood(address))
        })
    }

    /// Notes which traps a client holds.
    pub fn owns(&mut self, id: ClientId, traps: &[u16]) {
        let Some((_, client)) = self.known.get_mut(&id) else {
            return;
        };
        if client.traps == traps {
            return;
        }
        for port in std::mem::replace(&mut client.traps, traps.to_vec()) {
            if let Some(owners) = self.owners.get_mut(&port) {
                *owners -= 1;
                if *owners == 0 {
                    self.owners.remove(&port);
                }
            }
        }
        for port in traps {
            *self.owners.entry(*port).or_default() += 1;
        }
    }

    /// How many clients hold a trap on this port, as far as they have said.
    pub fn owners(&self, port: u16) -> u64 {
        self.owners.get(&port).copied().unwrap_or(0)
    }

    /// How many clients are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// A client's handle.
    pub fn handle(&self, id: ClientId) -> Handle {
        self.handles.of(id)
    }

    /// Who bears a handle.
    pub fn bearer(&self, handle: Handle) -> Option<ClientId> {
        self.handles.bearer(handle)
    }

    /// Takes up a client as it was before a restart, if there is room.
    pub fn remember(&mut self, id: ClientId, client: &Client) {
        if self.known.len() < self.bound && !self.known.contains_key(&id) {
            self.insert(id, client.clone());
        }
    }

    /// Notes that a client was silent since `heard`, before a restart.
    pub fn silent_since(&mut self, id: ClientId, heard: Timestamp) {
        if let Some((_, client)) = self.known.get_mut(&id) {
            client.heard = heard;
        }
    }

    /// Notes a sign of life.
    pub fn heard(&mut self, id: ClientId, now: Timestamp) {
        if let Some((_, client)) = self.known.get_mut(&id) {
            client.heard = client.heard.max(now);
            client.farewell = Farewell::None;
        }
    }

    /// Notes that a client stops.
    pub fn farewell(&mut self, id: ClientId) {
        if let Some((_, client)) = self.known.get_mut(&id) {
            client.farewell = Farewell::Said;
        }
    }

    /// Notes that `count` hits numbered from `first` have come, and says what is new in them.
    pub fn advance(&mut self, id: ClientId, first: u64, count: usize) -> Fresh {
        let length = u64::try_from(count).unwrap_or(u64::MAX);
        let last = first.saturating_add(length).saturating_sub(1);
        let Some((_, client)) = self.known.get_mut(&id) else {
            return Fresh {
                duplicates: 0,
                gap: None,
                up_to: last,
            };
        };
        let known = client.progress;
        let next = known.saturating_add(1);
        // Where a client begins is not known at first, so a first report has no gap before it.
        let gap = (known > 0 && first > next).then(|| next..=first.saturating_sub(1));
        if let Some(gap) = &gap {
            client.missing = client.missing.saturating_add(gap.end() - gap.start() + 1);
        }
        client.progress = known.max(last);
        let duplicates = next.saturating_sub(first).min(length);
        Fresh {
            duplicates: usize::try_from(duplicates).unwrap_or(count),
            gap,
            up_to: client.progress,
        }
    }

    /// What people call a client.
    pub fn name(&self, id: ClientId) -> String {
        self.known
            .get(&id)
            .map_or_else(|| id.to_string(), |(_, client)| client.name.clone())
    }

    /// A client, if it is known.
    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.known.get(&id).map(|(_, client)| client)
    }

    /// All clients.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.known.iter().map(|(id, (_, client))| (*id, client))
    }

    /// Takes all clients as just heard from: the server itself was away.
    pub fn forgive(&mut self, now: Timestamp) {
        for (_, client) in self.known.values_mut() {
            client.heard = client.heard.max(now);
        }
    }
}

#[cfg(test)]
mod tests;
