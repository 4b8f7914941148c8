//! What is known of one client.

use std::net::IpAddr;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::correlate::clients::liveness::{Presence, Rank, Record};
use crate::server::correlate::clients::witnesses::DAY;

/// What is known of a client. Times are those of the steady clock.
#[derive(Clone, Debug)]
pub struct Client {
    /// What people call it.
    pub name: String,
    /// When it first came.
    pub since: Timestamp,
    /// When it was last heard from.
    pub seen: Timestamp,
    /// Since when it is waited for: when it was last heard from, or since the server was away.
    pub heard: Timestamp,
    /// Whether it is missed.
    pub presence: Presence,
    /// Whether it said that it stops.
    pub farewell: Farewell,
    /// The last number of its sequence that was taken in; none of it was if 0.
    pub progress: u64,
    /// Numbers that never arrived.
    pub missing: u64,
    /// Where it last came from.
    pub address: Option<IpAddr>,
    /// The ports of its traps, as it last said, each once and in order.
    pub traps: Vec<u16>,
}

impl Client {
    /// A client that has just come for the first time.
    pub fn new(name: &str, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            since: now,
            seen: now,
            heard: now,
            presence: Presence::Awaited,
            farewell: Farewell::None,
            progress: 0,
            missing: 0,
            address: None,
            traps: Vec::new(),
        }
    }

    /// How long it was there, from its first sign of life to its last.
    pub const fn lived(&self) -> Duration {
        self.seen.since(self.since)
    }

    /// Whether it is more than somebody who has looked in: it was there for a day, or has reported
    /// a hit.
    pub fn is_established(&self) -> bool {
        self.progress > 0 || self.lived() >= DAY
    }

    /// Whether it counts as an owner of its traps.
    pub fn is_counted(&self) -> bool {
        self.presence != Presence::Absent
    }

    /// Its place in the order of last signs of life.
    pub const fn rank(&self) -> Rank {
        Rank {
            record: if self.progress > 0 {
                Record::Reported
            } else {
                Record::Blank
            },
            presence: self.presence,
            heard: self.heard,
        }
    }
}

/// How a client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// It did not; it is there, or it vanished.
    None,
    /// It said that it stops.
    Said,
}
