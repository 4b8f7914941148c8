//! Who belongs to the fleet: clients that come, are forgotten, and are blocked.

use std::net::IpAddr;
use std::sync::Arc;

use log::info;

use crate::event::{ClientId, Timestamp};
use crate::server::correlate::clients::Room;
use crate::server::correlate::new_client::Newcomer;
use crate::server::intake::{Intake, Progress, State, steady};
use crate::server::store::orders::{Order, What};
use crate::server::store::record::{Change, Visitor};

/// A client that has just come.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// Who it is.
    pub client: ClientId,
    /// What people call it.
    pub name: &'a str,
    /// The version of its program.
    pub version: &'a str,
    /// Where it came from.
    pub address: IpAddr,
    /// When, by the server's clock.
    pub now: Timestamp,
}

/// What the server knows of somebody who wants to be a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Familiarity {
    /// It is a client, or was one.
    Known,
    /// An operator has blocked it.
    Blocked,
    /// Nothing.
    New {
        /// When the fleet's first client came.
        founded: Option<Timestamp>,
    },
}

/// Why a client is not welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwelcome {
    /// There is no room for another.
    NoRoom,
    /// An operator has blocked it.
    Blocked,
}

impl Intake {
    /// Refuses these clients, who had come so far.
    #[must_use]
    pub fn refusing(self, blocked: impl IntoIterator<Item = (ClientId, u64)>) -> Self {
        let mut state = self.lock();
        for (client, progress) in blocked {
            state.blocked.insert(client);
            state.kept.insert(client, progress);
        }
        drop(state);
        self
    }

    /// What is known of somebody who wants to be a client.
    pub fn familiarity(&self, client: ClientId) -> Familiarity {
        let state = self.lock();
        if state.blocked.contains(&client) {
            return Familiarity::Blocked;
        }
        let is_client = state.correlator.client(client).is_some();
        if is_client || state.kept.contains_key(&client) {
            Familiarity::Known
        } else {
            Familiarity::New {
                founded: state.correlator.founded(),
            }
        }
    }

    /// Does what an operator wants done about a client. Whoever calls this ends its session.
    pub fn obey(&self, order: Order, now: Timestamp) {
        let mut state = self.lock();
        let client = order.client;
        let name = state.correlator.client_name(client);
        match order.what {
            What::Forget => {
                state.kept.remove(&client);
                state.durable.remove(&client);
                state.correlator.forget(client);
            }
            What::Block => {
                if let Some(progress) = state.correlator.client(client).map(|it| it.progress) {
                    state.kept.insert(client, progress);
                }
                state.blocked.insert(client);
                state.correlator.forget(client);
            }
            What::Unblock => {
                state.blocked.remove(&client);
            }
        }
        // What becomes of its row is the order's business.
        state.correlator.take_forgotten();
        // One that is not known goes by its id.
        let who = if name == client.to_string() {
            name.clone()
        } else {
            format!("{name} ({client})")
        };
        info!("client {who}: {}, as ordered", order.what.name());
        self.store.put(Change::Obeyed { order, name, now });
    }

    /// Notes which clients the engine has forgotten.
    pub(super) fn forget(&self, state: &mut State) {
        let forgotten = state.correlator.take_forgotten();
        if forgotten.is_empty() {
            return;
        }
        for client in &forgotten {
            state.durable.remove(client);
        }
        self.store.put(Change::Forget(forgotten));
    }

    /// Notes that a client has come, unless it is not welcome.
    pub fn welcome(&self, arrival: &Arrival<'_>) -> Result<Progress, Unwelcome> {
        let mut state = self.lock();
        let client = arrival.client;
        if state.blocked.contains(&client) {
            return Err(Unwelcome::Blocked);
        }
        let before = state.correlator.client(client).map(|it| it.name.clone());
        if state.correlator.welcome(client, arrival.name, steady()) == Room::None {
            return Err(Unwelcome::NoRoom);
        }
        self.forget(&mut state);
        if let Some(progress) = state.kept.remove(&client) {
            let count = usize::try_from(progress).unwrap_or(usize::MAX);
            state.correlator.advance(client, 1, count);
        }
        state.correlator.lives_at(client, arrival.address);
        state.correlator.see_newcomer(&Newcomer {
            client,
            address: arrival.address,
            before: before.as_deref(),
            now: arrival.now,
        });
        self.store.put(Change::Welcome(Visitor {
            client,
            name: arrival.name.to_owned(),
            version: arrival.version.to_owned(),
            address: arrival.address.to_string(),
            now: arrival.now,
        }));
        Ok(Progress {
            durable: Arc::clone(state.durable.entry(client).or_default()),
        })
    }
}
