//! What is written to the store, and how its parts become columns.

use std::net::IpAddr;

use crate::event::{ClientId, Event, Timestamp};
use crate::server::store::orders::Order;

/// One thing to write. Changes are written in the order in which they were put.
#[derive(Clone, Debug)]
pub enum Change {
    /// A client has come.
    Welcome(Visitor),
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
        /// The address that has reported them.
        origin: IpAddr,
        /// The hits that are new.
        events: Vec<Event>,
        /// What was said because of them, which must be on the disk with them.
        alerts: Vec<AlertRecord>,
        /// The last number of the client's sequence that is now taken in.
        progress: u64,
        /// Numbers that never arrived, first and last.
        gap: Option<(u64, u64)>,
        /// Hits that were refused because of their time.
        refused: u64,
        /// When.
        now: Timestamp,
    },
    /// Something was said about an incident.
    Alert(AlertRecord),
    /// All alerts up to this number have been written to standard output.
    Delivered(u64),
    /// Clients are forgotten.
    Forget(Vec<ClientId>),
    /// An order is obeyed.
    Obeyed {
        /// Which.
        order: Order,
        /// What people call its client.
        name: String,
        /// When.
        now: Timestamp,
    },
}

/// A client that has come.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Who.
    pub client: ClientId,
    /// What people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it came from.
    pub address: String,
    /// When.
    pub now: Timestamp,
}

impl Visitor {
    /// A client of which nothing is known but its identity.
    pub fn unknown(client: ClientId, now: Timestamp) -> Self {
        Self {
            client,
            name: client.to_string(),
            version: String::new(),
            address: String::new(),
            now,
        }
    }
}

/// What a client says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its trap ports.
    pub traps: Vec<u16>,
    /// How many it should hold.
    pub traps_wanted: u16,
    /// Hits that wait to be acknowledged.
    pub backlog: u64,
    /// Hits it had to drop, ever.
    pub dropped: u64,
    /// How far its clock is behind the server's, in microseconds.
    pub clock_offset: i64,
    /// Whether it cannot write its spool.
    pub unwritable: bool,
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
    /// Whether it is left out while there is no room: it comes again, or matters little.
    pub const fn can_be_left_out(&self) -> bool {
        match self {
            Self::Welcome(_)
            | Self::Status { .. }
            | Self::Delivered(_)
            | Self::Farewell(_)
            | Self::Forget(_) => true,
            Self::Events { .. } | Self::Alert(_) | Self::Obeyed { .. } => false,
        }
    }

    /// Whether it does no harm if it is written a little later, and lost if the server is killed
    /// before.
    pub const fn can_wait(&self) -> bool {
        match self {
            Self::Welcome(_) | Self::Status { .. } | Self::Forget(_) => true,
            Self::Farewell(_)
            | Self::Delivered(_)
            | Self::Events { .. }
            | Self::Alert(_)
            | Self::Obeyed { .. } => false,
        }
    }

    /// How many hits it holds; what the queue's bound counts.
    pub fn weight(&self) -> usize {
        match self {
            Self::Events { events, .. } => events.len().max(1),
            Self::Welcome(_)
            | Self::Status { .. }
            | Self::Farewell(_)
            | Self::Alert(_)
            | Self::Delivered(_)
            | Self::Forget(_)
            | Self::Obeyed { .. } => 0,
        }
    }
}

/// Trap ports as two bytes each, the higher one first.
pub fn trap_bytes(ports: impl IntoIterator<Item = u16>) -> Vec<u8> {
    ports.into_iter().flat_map(u16::to_be_bytes).collect()
}

/// The trap ports that these bytes are; a byte that is left over is none.
pub fn traps(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok().map(u16::from_be_bytes))
        .collect()
}

/// The checksum of how far a client has come: what a server asks its client for depends on it.
pub fn client_crc(id: ClientId, progress: u64) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&id.0);
    crc.update(&progress.to_be_bytes());
    crc.finalize()
}

/// The checksum of which key stands for which client.
pub fn key_crc(key: i64, id: ClientId) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&key.to_be_bytes());
    crc.update(&id.0);
    crc.finalize()
}

/// The checksum of an event of the client with this key.
pub fn event_crc(key: i64, event: &Event) -> u32 {
    let hit = &event.hit;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&key.to_be_bytes());
    let times = [event.received, event.at, hit.first, hit.last];
    for number in [event.sequence]
        .into_iter()
        .chain(times.map(Timestamp::as_micros))
    {
        // As it is stored, or it would not fit what is read.
        crc.update(&integer(number).to_be_bytes());
    }
    crc.update(&address_bytes(hit.source));
    crc.update(&hit.source_port.to_be_bytes());
    crc.update(&hit.trap_port.to_be_bytes());
    crc.update(&[hit.probe.code()]);
    crc.update(&hit.count.get().to_be_bytes());
    crc.finalize()
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

/// No number that the store gives comes to this one: a hit every microsecond takes 285 years.
pub const PLAUSIBLE: i64 = 1 << 53;

/// A number as SQLite has them; beyond its range it is the largest.
pub fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as SQLite had it; a negative one, which nobody has written, is 0.
pub fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
