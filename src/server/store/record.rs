//! What is written to the store, and how its parts become columns.

use std::net::IpAddr;

use crate::event::{ClientId, Event, Timestamp};

/// One thing to write. Changes are written in the order in which they were put.
#[derive(Clone, Debug)]
pub enum Change {
    /// A client has come.
    Welcome {
        /// Who.
        client: ClientId,
        /// What people call it.
        name: String,
        /// The version of its program.
        version: String,
        /// Where it came from.
        address: IpAddr,
        /// When.
        now: Timestamp,
    },
    /// A client has said how it does.
    Status {
        /// Who.
        client: ClientId,
        /// When.
        now: Timestamp,
        /// What it said.
        status: Status,
    },
    /// A client has said that it stops.
    Farewell(ClientId),
    /// Hits have come.
    Events {
        /// Whose.
        client: ClientId,
        /// The hits that are new.
        events: Vec<Event>,
        /// What was said because of them, which must be on the disk with them.
        alerts: Vec<AlertRecord>,
        /// The last number of the client's sequence that is now taken in.
        progress: u64,
        /// Numbers that never arrived, first and last.
        gap: Option<(u64, u64)>,
        /// When.
        now: Timestamp,
    },
    /// Something was said about an incident.
    Alert(AlertRecord),
    /// What is older than this can be forgotten.
    Expire(Timestamp),
    /// All alerts up to this number have been written to standard output.
    Delivered(u64),
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its trap ports, with blanks between.
    pub traps: String,
    /// How many it should hold.
    pub traps_wanted: u16,
    /// Hits that wait to be acknowledged.
    pub backlog: u64,
    /// Hits it had to drop, ever.
    pub dropped: u64,
    /// How far its clock is behind the server's, in microseconds.
    pub clock_offset: i64,
}

/// An alert as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRecord {
    /// Its place among all alerts, counted from 1.
    pub number: u64,
    /// The incident's id.
    pub incident: String,
    /// open, update or close.
    pub action: &'static str,
    /// When it was said.
    pub time: Timestamp,
    /// When the incident's first hit happened.
    pub first_seen: Timestamp,
    /// When its last hit happened.
    pub last_seen: Timestamp,
    /// All of it, as a line of text.
    pub text: String,
    /// All of it, as a line of JSON.
    pub line: String,
}

impl Change {
    /// Whether it does not matter if it is not written this time.
    pub const fn comes_again(&self) -> bool {
        match self {
            Self::Welcome { .. }
            | Self::Status { .. }
            | Self::Farewell(_)
            | Self::Delivered(_)
            | Self::Expire(_) => true,
            Self::Events { .. } | Self::Alert(_) => false,
        }
    }

    /// Whether it does no harm if it is written a little later, and lost if the server is killed
    /// before.
    pub const fn can_wait(&self) -> bool {
        match self {
            Self::Welcome { .. } | Self::Status { .. } | Self::Expire(_) => true,
            Self::Farewell(_) | Self::Delivered(_) | Self::Events { .. } | Self::Alert(_) => false,
        }
    }

    /// How many hits it holds; what the queue's bound counts.
    pub fn weight(&self) -> usize {
        match self {
            Self::Events { events, .. } => events.len().max(1),
            _ => 0,
        }
    }
}

/// An address as 4 or 16 bytes.
pub fn address_bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The address that 4 or 16 bytes are.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// A number as SQLite has them; beyond its range it is the largest.
pub fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as SQLite had it; a negative one, which nobody has written, is 0.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
