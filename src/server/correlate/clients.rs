//! The fleet as the engine knows it: names, progress in the sequences, last signs of life.
//!
//! How long nothing was heard from a client is measured by the steady clock, so that nobody who
//! steps the time of day makes a client seem silent, or hides that it is.

pub mod addresses;
pub mod client;
pub mod handles;
mod lapse;
pub mod liveness;
pub mod names;
pub mod owners;
pub mod progress;
pub mod witnesses;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::server::Network;
use crate::event::{ClientId, Timestamp, distinct_name};
use crate::server::correlate::clients::addresses::Addresses;
pub use crate::server::correlate::clients::client::{Client, Farewell};
pub use crate::server::correlate::clients::handles::Handle;
use crate::server::correlate::clients::handles::Handles;
use crate::server::correlate::clients::liveness::{Liveness, Presence, Record};
use crate::server::correlate::clients::names::Names;
use crate::server::correlate::clients::owners::Owners;
pub use crate::server::correlate::clients::progress::Fresh;
pub use crate::server::correlate::clients::witnesses::NOBODY;
pub use crate::server::correlate::clients::witnesses::Witness;
use crate::server::correlate::clients::witnesses::{DAY, Witnesses};

/// All clients that were ever welcomed, up to a bound.
#[derive(Debug)]
pub struct Clients {
    bound: usize,
    patience: Duration,
    known: BTreeMap<ClientId, (Handle, Client)>,
    handles: Handles,
    names: Names,
    addresses: Addresses,
    witnesses: Witnesses,
    owners: Owners,
    liveness: Liveness,
    /// Those that were silent and are not any more, or are not known any more.
    returned: Vec<ClientId>,
    /// Those that were forgotten and not yet taken note of.
    forgotten: Vec<ClientId>,
    /// When those that are gone were last looked for.
    lapsed: Timestamp,
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

impl Clients {
    /// Room for `bound` clients. One that was heard from within `patience` is there.
    pub fn new(bound: usize, patience: Duration) -> Self {
        Self {
            bound,
            patience,
            known: BTreeMap::new(),
            handles: Handles::default(),
            names: Names::default(),
            addresses: Addresses::default(),
            witnesses: Witnesses::default(),
            owners: Owners::default(),
            liveness: Liveness::default(),
            returned: Vec::new(),
            forgotten: Vec::new(),
            lapsed: Timestamp::default(),
        }
    }

    /// Takes up which addresses many hosts share.
    pub fn share(&mut self, nat: &[Network]) {
        self.witnesses.share(nat);
        for (id, (handle, client)) in &self.known {
            self.witnesses.note(*handle, *id, client);
        }
    }

    /// Notes that a client has come. When there is no room, the client not heard from for longest
    /// is forgotten, unless it is there; one that has never reported a hit goes before all that
    /// have.
    pub fn welcome(&mut self, id: ClientId, name: &str, now: Timestamp) -> Room {
        if self.known.contains_key(&id) {
            self.rename(id, name);
            self.heard(id, now);
            return Room::Found;
        }
        if self.known.len() >= self.bound && self.make_room(now) == Room::None {
            return Room::None;
        }
        self.insert(id, Client::new(name, now));
        Room::Found
    }

    fn make_room(&mut self, now: Timestamp) -> Room {
        let longest = [Record::Blank, Record::Reported].map(|record| self.liveness.first(record));
        let gone = longest.into_iter().flatten().find(|id| {
            self.get(*id).is_some_and(|client| {
                client.farewell == Farewell::Said || now.since(client.heard) > self.patience
            })
        });
        let Some(gone) = gone else {
            return Room::None;
        };
        self.forget(gone);
        Room::Found
    }

    fn insert(&mut self, id: ClientId, client: Client) {
        let handle = self.handles.give(id);
        self.names.add(&client.name);
        self.liveness.insert(id, client.rank());
        if client.is_counted() {
            self.owners.add(&client.traps);
        }
        if let Some(address) = client.address {
            self.addresses.insert(id, address);
        }
        self.witnesses.note(handle, id, &client);
        self.known.insert(id, (handle, client));
    }

    /// Forgets a client, if it is known.
    pub fn forget(&mut self, id: ClientId) {
        let Some((handle, client)) = self.known.remove(&id) else {
            return;
        };
        self.names.remove(&client.name);
        self.liveness.remove(id, client.rank());
        if client.is_counted() {
            self.owners.remove(&client.traps);
        }
        if client.presence != Presence::Awaited {
            self.returned.push(id);
        }
        if let Some(address) = client.address {
            self.addresses.remove(id, address);
        }
        self.witnesses.forget(handle);
        self.handles.take(handle);
        // Where nobody takes note, as in a replay, there are not more of them than of clients.
        if self.forgotten.len() < self.bound {
            self.forgotten.push(id);
        }
    }

    fn rename(&mut self, id: ClientId, name: &str) {
        let Some((_, client)) = self.known.get_mut(&id) else {
            return;
        };
        if client.name != name {
            let former = std::mem::replace(&mut client.name, name.to_owned());
            self.names.add(name);
            self.names.remove(&former);
        }
    }

    /// Notes where a client comes from.
    pub fn lives_at(&mut self, id: ClientId, address: IpAddr) {
        let Some((handle, client)) = self.known.get_mut(&id) else {
            return;
        };
        let before = client.address.replace(address);
        self.witnesses.note(*handle, id, client);
        if let Some(before) = before.filter(|before| *before != address) {
            self.addresses.remove(id, before);
        }
        self.addresses.insert(id, address);
    }

    /// The client at an address. Where several are, as behind a NAT, nobody can tell which one.
    pub fn at(&self, address: IpAddr) -> Option<ClientId> {
        self.addresses.only(address)
    }

    /// How many clients come from this address.
    pub fn count_at(&self, address: IpAddr) -> u64 {
        self.addresses.count(address)
    }

    /// Whether some client comes from this address.
    pub fn is_home(&self, address: IpAddr) -> bool {
        self.addresses.is_taken(address)
    }

    /// Whether this client comes from this address.
    pub fn is_home_of(&self, id: ClientId, address: IpAddr) -> bool {
        self.addresses.holds(id, address)
    }

    /// On whose word it rests what this client reports. All that are not known are one.
    pub fn witness(&self, id: ClientId) -> Witness {
        self.witness_of(self.handle(id)).unwrap_or(NOBODY)
    }

    /// The same by the client's handle; `None` if it is not known.
    pub fn witness_of(&self, handle: Handle) -> Option<Witness> {
        self.witnesses.of(handle)
    }

    /// How many witnesses all clients are.
    pub fn witnesses(&self) -> usize {
        self.witnesses.len()
    }

    /// Notes which traps a client holds.
    pub fn owns(&mut self, id: ClientId, traps: &[u16]) {
        let Some((_, client)) = self.known.get_mut(&id) else {
            return;
        };
        if client.traps == traps {
            return;
        }
        let mut traps = traps.to_vec();
        traps.sort_unstable();
        traps.dedup();
        let before = std::mem::replace(&mut client.traps, traps);
        if client.is_counted() {
            self.owners.remove(&before);
            self.owners.add(&client.traps);
        }
    }

    /// How many clients hold a trap on this port, as far as they have said. Those that have been
    /// silent for a day do not count.
    pub fn owners(&self, port: u16) -> u64 {
        self.owners.of(port)
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
            let mut client = client.clone();
            client.traps.sort_unstable();
            client.traps.dedup();
            self.insert(id, client);
        }
    }

    /// Notes that a client was silent since `heard`, before a restart.
    pub fn silent_since(&mut self, id: ClientId, heard: Timestamp) {
        self.change(id, |client| {
            client.heard = heard;
            client.presence = Presence::Silent;
        });
    }

    /// Notes a sign of life.
    pub fn heard(&mut self, id: ClientId, now: Timestamp) {
        let presence = self.get(id).map(|client| client.presence);
        if presence.is_some_and(|presence| presence != Presence::Awaited) {
            self.returned.push(id);
            self.set_presence(id, Presence::Awaited);
        }
        self.change(id, |client| {
            client.seen = client.seen.max(now);
            client.heard = client.heard.max(now);
            client.farewell = Farewell::None;
        });
        if let Some((handle, client)) = self.known.get(&id) {
            self.witnesses.note(*handle, id, client);
        }
    }

    /// Notes that a client stops.
    pub fn farewell(&mut self, id: ClientId) {
        if let Some((_, client)) = self.known.get_mut(&id) {
            client.farewell = Farewell::Said;
        }
    }

    /// Finds a client that is still awaited and was not heard from for longer than `patience`, and
    /// takes it for silent from now on.
    pub fn next_silent(&mut self, now: Timestamp, patience: Duration) -> Option<ClientId> {
        let id = self
            .liveness
            .before(Presence::Awaited, now.before(patience))?;
        self.set_presence(id, Presence::Silent);
        Some(id)
    }

    /// Those that were silent and have come back, or were forgotten, since the last call.
    pub fn returned(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.returned)
    }

    /// Takes those for absent that have been silent for a day.
    pub fn dismiss(&mut self, now: Timestamp) {
        while let Some(id) = self.liveness.before(Presence::Silent, now.before(DAY)) {
            self.set_presence(id, Presence::Absent);
        }
    }

    fn set_presence(&mut self, id: ClientId, presence: Presence) {
        let Some((_, client)) = self.known.get(&id) else {
            return;
        };
        let (counted, counts) = (client.is_counted(), presence != Presence::Absent);
        if counted && !counts {
            self.owners.remove(&client.traps);
        } else if counts && !counted {
            self.owners.add(&client.traps);
        }
        self.change(id, |client| client.presence = presence);
    }

    /// Changes what is known of a client, and its place in the order.
    fn change(&mut self, id: ClientId, change: impl FnOnce(&mut Client)) {
        let Some((_, client)) = self.known.get_mut(&id) else {
            return;
        };
        let before = client.rank();
        change(client);
        let rank = client.rank();
        if rank != before {
            self.liveness.remove(id, before);
            self.liveness.insert(id, rank);
        }
    }

    /// Notes that `count` hits numbered from `first` have come, and says what is new in them.
    pub fn advance(&mut self, id: ClientId, first: u64, count: usize) -> Fresh {
        let Some(known) = self.get(id).map(|client| client.progress) else {
            return Fresh {
                gap: None,
                ..Fresh::of(0, first, count)
            };
        };
        let fresh = Fresh::of(known, first, count);
        self.change(id, |client| {
            client.missing = client.missing.saturating_add(fresh.missing());
            client.progress = fresh.up_to;
        });
        fresh
    }

    /// What people call a client: with the beginning of its id while others bear its name as well.
    pub fn name(&self, id: ClientId) -> String {
        let name = self.bare_name(id);
        if self.names.is_shared(&name) {
            distinct_name(&name, id)
        } else {
            name
        }
    }

    /// The name that a client has given itself, whoever else bears it.
    pub fn bare_name(&self, id: ClientId) -> String {
        self.get(id)
            .map_or_else(|| id.to_string(), |client| client.name.clone())
    }

    /// A client, if it is known.
    pub fn get(&self, id: ClientId) -> Option<&Client> {
        self.known.get(&id).map(|(_, client)| client)
    }

    /// Takes all clients that are not missed as just heard from: the server itself was away.
    pub fn forgive(&mut self, now: Timestamp) {
        let awaited = self
            .known
            .iter()
            .filter(|(_, (_, client))| client.presence == Presence::Awaited && client.heard < now);
        let awaited: Vec<_> = awaited.map(|(id, _)| *id).collect();
        for id in awaited {
            self.change(id, |client| client.heard = now);
        }
    }
}

#[cfg(test)]
mod tests;
