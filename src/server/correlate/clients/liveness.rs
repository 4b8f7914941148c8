//! In which order clients were last heard from.
//!
//! Nobody walks over all clients: those that fall silent, and the one that is forgotten when there
//! is no room, are found at the beginning of an ordered set.

use std::collections::BTreeSet;

use crate::event::{ClientId, Timestamp};

/// Clients in the order of their [`Rank`].
#[derive(Debug, Default)]
pub struct Liveness(BTreeSet<(Rank, ClientId)>);

/// A client's place in the order: those to forget first come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether it has ever reported a hit.
    pub record: Record,
    /// Whether it is missed.
    pub presence: Presence,
    /// When it was last heard from, by the steady clock.
    pub heard: Timestamp,
}

/// Whether a client has ever reported a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Record {
    /// It has not.
    Blank,
    /// It has.
    Reported,
}

/// Whether a client is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// It has been silent for a day: it counts for nothing until it comes back.
    Absent,
    /// It should have been heard from.
    Silent,
    /// It is there, or nobody has looked.
    Awaited,
}

impl Record {
    const ALL: [Self; 2] = [Self::Blank, Self::Reported];
}

impl Liveness {
    /// Takes a client in.
    pub fn insert(&mut self, id: ClientId, rank: Rank) {
        self.0.insert((rank, id));
    }

    /// Takes a client out.
    pub fn remove(&mut self, id: ClientId, rank: Rank) {
        self.0.remove(&(rank, id));
    }

    /// Whom to forget first of those with this record.
    pub fn first(&self, record: Record) -> Option<ClientId> {
        self.first_of(record, Presence::Absent, |rank| rank.record == record)
    }

    /// A client of this presence that was not heard from since `time`, if there is one.
    pub fn before(&self, presence: Presence, time: Timestamp) -> Option<ClientId> {
        Record::ALL.into_iter().find_map(|record| {
            self.first_of(record, presence, |rank| {
                (rank.record, rank.presence) == (record, presence) && rank.heard < time
            })
        })
    }

    fn first_of(
        &self,
        record: Record,
        presence: Presence,
        belongs: impl Fn(&Rank) -> bool,
    ) -> Option<ClientId> {
        let least = Rank {
            record,
            presence,
            heard: Timestamp::default(),
        };
        let (rank, id) = self.0.range((least, ClientId::default())..).next()?;
        belongs(rank).then_some(*id)
    }
}
