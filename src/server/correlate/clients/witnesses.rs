//! On whose word a hit rests.
//!
//! Identities are free: whoever owns a host can make as many as they like there. So all clients
//! that come from one address (IPv6: one /64) are one witness, however many they are. Behind a NAT
//! many hosts share an address. Where the settings name it (`nat`), a client that has been there
//! for a day is a witness of its own, and all younger ones at one address are together one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::server::Network;
use crate::event::{ClientId, neighbourhood};
use crate::server::correlate::clients::{Client, Handle};
use crate::server::correlate::table::Fast;
use crate::server::correlate::zones::Networks;

/// On whose word a hit rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Witness {
    /// Whoever is at this address.
    Address(IpAddr),
    /// One client: nobody knows where it is, as in a replay, or it shares its address with others.
    Client(ClientId),
}

/// Who stands behind all clients that are not known: for which there was no room, or that were
/// forgotten or blocked.
pub const NOBODY: Witness = Witness::Client(ClientId([0; 16]));

/// A client that was there for so long is established.
pub const DAY: Duration = Duration::from_secs(86_400);

/// The witnesses that the fleet has.
#[derive(Debug, Default)]
pub struct Witnesses {
    nat: Networks,
    /// By the clients' handles.
    of: Vec<Option<Witness>>,
    /// How many clients each one has.
    clients: HashMap<Witness, u32, Fast>,
}

impl Witnesses {
    /// These addresses are shared by many hosts.
    pub fn share(&mut self, nat: &[Network]) {
        self.nat = Networks::new(nat.iter().map(|network| network.0));
    }

    /// Notes who a client is a witness as, by what is known of it now.
    pub fn note(&mut self, handle: Handle, id: ClientId, client: &Client) {
        let witness = match client.address {
            None => Witness::Client(id),
            Some(address) if client.lived() >= DAY && self.nat.hold(address.to_canonical()) => {
                Witness::Client(id)
            }
            Some(address) => Witness::Address(neighbourhood(address)),
        };
        self.replace(handle, Some(witness));
    }

    /// Notes that a client is forgotten.
    pub fn forget(&mut self, handle: Handle) {
        self.replace(handle, None);
    }

    /// Who the client with this handle is a witness as.
    pub fn of(&self, handle: Handle) -> Option<Witness> {
        self.of.get(handle.index()).copied().flatten()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    fn replace(&mut self, handle: Handle, witness: Option<Witness>) {
        if self.of.len() <= handle.index() {
            self.of.resize(handle.index() + 1, None);
        }
        let Some(place) = self.of.get_mut(handle.index()) else {
            return;
        };
        let before = std::mem::replace(place, witness);
        if before == witness {
            return;
        }
        if let Some(witness) = witness {
            *self.clients.entry(witness).or_default() += 1;
        }
        if let Some(before) = before {
            if let Some(clients) = self.clients.get_mut(&before) {
                *clients -= 1;
                if *clients == 0 {
                    self.clients.remove(&before);
                }
            }
        }
    }
}
