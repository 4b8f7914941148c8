//! What an incident holds, and in what it needs it.

use crate::event::Timestamp;
use crate::server::alert::{Network, Zone};
use crate::server::correlate::clients::Witness;
use crate::server::correlate::incidents::places::Rank;

/// Minutes since the Unix epoch: so an incident moves at most once a minute.
pub type Minute = u64;

/// What an incident holds its place by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// How well it stands up to others.
    pub rank: Rank,
    /// Against whose share it counts.
    pub holder: Witness,
    /// The network of its sources, if it is about some of one network.
    pub network: Option<Network>,
    /// Where its source is; outside if it is not about one.
    pub zone: Zone,
    /// When it was last heard of.
    pub heard: Minute,
}

/// What a newcomer needs a place in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The share of a witness.
    Witness(Witness),
    /// The share of a network of sources.
    Network(Network),
    /// What is there for all but sources inside.
    Outside,
    /// All places.
    All,
}

impl Place {
    /// A place for what was last heard of at `heard`.
    pub const fn new(
        rank: Rank,
        holder: Witness,
        network: Option<Network>,
        zone: Zone,
        heard: Timestamp,
    ) -> Self {
        Self {
            rank,
            holder,
            network,
            zone,
            heard: minute(heard),
        }
    }

    /// In what it needs a place, the narrowest first.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> {
        let outside = match self.zone {
            Zone::Outside => Some(Scope::Outside),
            Zone::Inside => None,
        };
        [
            Some(Scope::Witness(self.holder)),
            self.network.map(Scope::Network),
            outside,
            Some(Scope::All),
        ]
        .into_iter()
        .flatten()
    }
}

/// The minute that a time lies in.
pub const fn minute(at: Timestamp) -> Minute {
    at.as_micros() / 60_000_000
}
