//! On how many witnesses' word an incident rests.
//!
//! Its clients and contacts are counted in tallies of their own; here those at one address count as
//! one. Who is new is noted when a sighting comes, and looked up once for all before somebody asks.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use crate::event::ClientId;
use crate::server::correlate::clients::{NOBODY, Witness};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::table::Fast;

/// The witnesses of an incident.
#[derive(Clone, Debug, Default)]
pub struct Testimony {
    /// What is to be looked up: drained after each event.
    unheard: Vec<(ClientId, IpAddr, u16)>,
    witnesses: HashSet<Witness, Fast>,
    accounts: BTreeSet<(Witness, IpAddr, u16)>,
}

/// Witnesses that are told apart.
pub const MAX_WITNESSES: usize = 256;

/// Accounts that are told apart: five make the highest confidence.
const MAX_ACCOUNTS: usize = 5;

impl Testimony {
    /// Takes in a sighting whose client, or whose triple, may be new to the incident.
    pub fn add(&mut self, sighting: &Sighting) {
        let Sighting {
            client,
            source,
            port,
            ..
        } = *sighting;
        self.unheard.push((client, source, port));
    }

    /// Looks up on whose word it rests what has come since the last call.
    pub fn hear(&mut self, witness: impl Fn(ClientId) -> Witness) {
        for (client, source, port) in self.unheard.drain(..) {
            let witness = witness(client);
            // Of clients that were forgotten nobody knows whose word it was.
            if witness == NOBODY {
                continue;
            }
            if self.witnesses.len() < MAX_WITNESSES {
                self.witnesses.insert(witness);
            }
            if self.accounts.len() < MAX_ACCOUNTS {
                self.accounts.insert((witness, source, port));
            }
        }
    }

    /// How many witnesses there are, up to [`MAX_WITNESSES`].
    pub fn count(&self) -> usize {
        self.witnesses.len()
    }

    /// The witnesses, in no order.
    pub fn witnesses(&self) -> impl Iterator<Item = Witness> {
        self.witnesses.iter().copied()
    }

    /// The only witness, if there is only one.
    pub fn only(&self) -> Option<Witness> {
        let first = || self.witnesses.iter().next().copied();
        (self.witnesses.len() == 1).then(first).flatten()
    }

    /// How many distinct triples of source, witness and port there are, up to five.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }
}
