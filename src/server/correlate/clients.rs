//! The fleet as the engine knows it: names, progress in the sequences, last signs of life.

mod lapse;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::event::{ClientId, Timestamp, neighbourhood};
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
    /// Those that were forgotten and not yet taken note of.
    forgotten: Vec<ClientId>,
    /// When such ones were last looked for.
    lapsed: Timestamp,
}

/// A client in four bytes: small numbers, used again when a client is forgotten. 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

impl Handle {
    /// Its place in a list.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }
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

/// Who bears which handle.
#[derive(Debug, Default)]
struct Handles {
    bearers: Vec<Option<ClientId>>,
    of: HashMap<ClientId, Handle, Fast>,
    free: BTreeSet<Handle>,
}

impl Handles {
    fn give(&mut self, id: ClientId) -> Handle {
        if self.bearers.is_empty() {
            self.bearers.push(None);
        }
        let handle = self.free.pop_first().unwrap_or_else(|| {
            self.bearers.push(None);
            Handle(u32::try_from(self.bearers.len() - 1).unwrap_or(0))
        });
        if let Some(bearer) = self.bearers.get_mut(handle.index()) {
            *bearer = Some(id);
        }
        self.of.insert(id, handle);
        handle
    }

    fn take(&mut self, handle: Handle) {
        let bearer = self.bearers.get_mut(handle.index());
        if let Some(id) = bearer.and_then(Option::take) {
            self.of.remove(&id);
            self.free.insert(handle);
        }
    }
}

/// What is known of a client.
#[derive(Clone, Debug)]
pub struct Client {
    /// What people call it.
    pub name: String,
    /// When it first came, by the server's clock.
    pub since: Timestamp,
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
            forgotten: Vec::new(),
            lapsed: Timestamp::default(),
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
            since: now,
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

    /// How many clients come from this address.
    pub fn count_at(&self, address: IpAddr) -> u64 {
        let clients = self.addresses.get(&address);
        clients.map_or(0, |clients| {
            u64::try_from(clients.len()).unwrap_or(u64::MAX)
        })
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
        self.handles.of.get(&id).copied().unwrap_or_default()
    }

    /// Who bears a handle.
    pub fn bearer(&self, handle: Handle) -> Option<ClientId> {
        self.handles.bearers.get(handle.index()).copied().flatten()
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: ClientId = ClientId([1; 16]);

    fn clients() -> Clients {
        let mut clients = Clients::new(2, Duration::ZERO);
        let _room = clients.welcome(ID, "web-1", Timestamp::default());
        clients
    }

    #[test]
    fn of_several_clients_at_one_address_none_is_named() {
        let mut clients = clients();
        let (other, nat) = (ClientId([2; 16]), IpAddr::from([192, 0, 2, 1]));
        let _room = clients.welcome(other, "web-2", Timestamp::default());
        clients.lives_at(ID, nat);
        assert_eq!(clients.at(nat), Some(ID));
        clients.lives_at(other, nat);
        assert_eq!(clients.at(nat), None);
        assert!(clients.is_home(nat) && clients.is_home_of(other, nat));
        clients.lives_at(ID, [192, 0, 2, 2].into());
        assert_eq!(clients.at(nat), Some(other));
        assert!(!clients.is_home_of(ID, nat));
    }

    #[test]
    fn clients_at_one_address_are_one_witness() {
        let mut clients = clients();
        let other = ClientId([2; 16]);
        let _room = clients.welcome(other, "web-2", Timestamp::default());
        assert_eq!(clients.witness(ID), Witness::Client(ID));
        clients.lives_at(ID, "2001:db8::1".parse().unwrap());
        clients.lives_at(other, "2001:db8::2".parse().unwrap());
        assert_eq!(clients.witness(ID), clients.witness(other));
        clients.lives_at(other, [192, 0, 2, 1].into());
        assert_ne!(clients.witness(ID), clients.witness(other));
    }

    #[test]
    fn what_came_twice_is_not_new() {
        let mut clients = clients();
        assert_eq!(
            clients.advance(ID, 1, 3),
            Fresh {
                duplicates: 0,
                gap: None,
                up_to: 3
            }
        );
        assert_eq!(
            clients.advance(ID, 1, 3),
            Fresh {
                duplicates: 3,
                gap: None,
                up_to: 3
            }
        );
        assert_eq!(
            clients.advance(ID, 2, 4),
            Fresh {
                duplicates: 2,
                gap: None,
                up_to: 5
            }
        );
    }

    #[test]
    fn what_never_came_is_a_gap() {
        let mut clients = clients();
        assert_eq!(clients.advance(ID, 41, 1).gap, None);
        assert_eq!(clients.advance(ID, 45, 1).gap, Some(42..=44));
        assert_eq!(clients.get(ID).unwrap().missing, 3);
    }

    #[test]
    fn the_client_not_heard_from_for_longest_is_forgotten_first() {
        let mut clients = clients();
        let _room = clients.welcome(ClientId([2; 16]), "web-2", Timestamp::from_micros(2));
        let _room = clients.welcome(ClientId([3; 16]), "web-3", Timestamp::from_micros(3));
        assert!(clients.get(ID).is_none());
    }

    proptest! {
        #[test]
        fn however_reports_overlap_each_number_is_new_once(
            reports in prop::collection::vec((0..20_u64, 1..10_usize), 1..40)
        ) {
            let mut clients = clients();
            let mut taken = BTreeSet::new();
            let mut sent = 1;
            for (back, count) in reports {
                let first = sent - back.min(sent - 1);
                let fresh = clients.advance(ID, first, count);
                for number in first + fresh.duplicates as u64..first + count as u64 {
                    prop_assert!(taken.insert(number), "{number} was new twice");
                }
                sent = sent.max(first + count as u64);
                prop_assert_eq!(fresh.up_to, sent - 1);
            }
            prop_assert_eq!(taken.len() as u64, sent - 1);
        }
    }
}
