//! Where clients come from.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::event::ClientId;
use crate::server::correlate::table::Fast;

/// Clients by address.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<IpAddr, BTreeSet<ClientId>, Fast>);

impl Addresses {
    /// Notes that a client is at this address.
    pub fn insert(&mut self, id: ClientId, address: IpAddr) {
        self.0.entry(address).or_default().insert(id);
    }

    /// Notes that a client is no longer at this address.
    pub fn remove(&mut self, id: ClientId, address: IpAddr) {
        let Some(clients) = self.0.get_mut(&address) else {
            return;
        };
        clients.remove(&id);
        if clients.is_empty() {
            self.0.remove(&address);
        }
    }

    /// The client at an address, if there is only one.
    pub fn only(&self, address: IpAddr) -> Option<ClientId> {
        let clients = self.0.get(&address)?;
        clients.first().copied().filter(|_| clients.len() == 1)
    }

    /// How many clients are at this address.
    pub fn count(&self, address: IpAddr) -> u64 {
        let clients = self.0.get(&address).map_or(0, BTreeSet::len);
        u64::try_from(clients).unwrap_or(u64::MAX)
    }

    /// Whether some client is at this address.
    pub fn is_taken(&self, address: IpAddr) -> bool {
        self.0.contains_key(&address)
    }

    /// Whether this client is at this address.
    pub fn holds(&self, id: ClientId, address: IpAddr) -> bool {
        let clients = self.0.get(&address);
        clients.is_some_and(|clients| clients.contains(&id))
    }
}
