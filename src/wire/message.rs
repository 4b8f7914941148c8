//! Messages and their encoding: the only user of bincode.
//!
//! bincode 2 in its standard configuration: integers are variable-length (one byte below 251,
//! else a marker 251, 252 or 253 and 2, 4 or 8 bytes, little-endian; signed ones zigzag first),
//! an enum is its variant's number, arrays have no length, vectors and strings have theirs in
//! front, an option is 0 or 1 and the value. Decoding is given a byte limit, and bytes left over
//! are an error. bincode's functions without a limit are never called.
//!
//! The order of variants and fields below is the format. Version 1 never changes it; what a
//! later version adds, it adds behind.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::{Hit, Probe, Timestamp};
use crate::wire::frame::MAX_FRAME;

/// The most hits in one report: so many that every legal one fits a frame.
pub const MAX_HITS: usize = 1024;

/// The most traps a heartbeat can name.
pub const MAX_TRAPS: usize = 1024;

/// The highest number of a hit: more than any client will ever come to, and within what every
/// format can hold.
pub const MAX_SEQUENCE: u64 = 1 << 62;

/// The longest time between the first and the last touch of a merged hit, in microseconds: an hour.
/// Touches merge within milliseconds; what is left is for a clock that is set meanwhile.
pub const MAX_SPAN: u64 = 3_600_000_000;

/// The longest name of a client, in characters.
pub const MAX_NAME: usize = 64;

const CODEC: Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> =
    bincode::config::standard().with_limit::<MAX_FRAME>();

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// Who it claims to be.
    Hello(Hello),
    /// That it is.
    Proof(Proof),
    /// What its traps have seen.
    Report(Report),
    /// That it is alive, and how it does.
    Heartbeat(Heartbeat),
    /// That it stops, on purpose.
    Goodbye,
    /// That it is alive, and how it does, to a server that has [`capability::CONDITIONS`].
    ExtendedHeartbeat(ExtendedHeartbeat),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The connection ends here, and why. Its form is the same in all versions.
    Refused(Refused),
    /// Who the server is, and what it wants to be shown.
    Challenge(Challenge),
    /// The client is in.
    Welcome(Welcome),
    /// How far hits have come.
    Ack(Ack),
    /// The heartbeat was heard; how far hits have come.
    HeartbeatAck(Ack),
    /// The client is in, if it has [`capability::CONDITIONS`].
    ExtendedWelcome(ExtendedWelcome),
}

/// Bits of what a side can do beyond the first release of version 1. Unknown ones are ignored.
pub mod capability {
    /// A client that has it understands an extended welcome, a server an extended heartbeat.
    pub const CONDITIONS: u64 = 1;
}

/// Bits of what is wrong with a client. Unknown ones are ignored.
pub mod condition {
    /// It cannot write its spool.
    pub const SPOOL: u64 = 1;
}

/// A client's first message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Ed25519; the client's id is the first 16 bytes of its SHA-256.
    pub public_key: [u8; 32],
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// What people call the host. At most [`MAX_NAME`] characters; cut and escaped by the server.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Random; differs after each start of the client, so that a copy of its key shows.
    pub instance: [u8; 16],
    /// What it can do: bits of [`capability`].
    pub capabilities: u64,
}

/// The server's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Stays the same for the server's life; the salt of the secret.
    pub server_id: [u8; 16],
    /// Fresh random bytes.
    pub nonce: [u8; 32],
    /// Whether the secret must be proven.
    pub secret_required: bool,
}

/// The client's answer to [`Challenge`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// HMAC-SHA256; see [`crate::wire::auth`].
    pub secret: Option<[u8; 32]>,
    /// Ed25519, the 64 bytes as two halves.
    pub identity: [[u8; 32]; 2],
}

/// The server's answer to a good [`Proof`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// HMAC-SHA256, if a secret was required.
    pub secret: Option<[u8; 32]>,
    /// The last number of this client's sequence that the server has; `None` if it has none of
    /// this client, and the next report may begin anywhere.
    pub acknowledged: Option<u64>,
    /// How often the server wants to hear from an idle client, in milliseconds.
    pub heartbeat_millis: u64,
    /// The server's clock, in microseconds since the Unix epoch.
    pub clock: u64,
}

/// A [`Welcome`] for a client that understands more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedWelcome {
    /// What every client is told.
    pub welcome: Welcome,
    /// What the server can do: bits of [`capability`].
    pub capabilities: u64,
}

/// How far a client's hits have come, as numbers of its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Every hit up to and including this one has been taken in and correlated.
    pub received: u64,
    /// Every hit up to and including this one is on the server's disk, and can be forgotten. Less
    /// than `received` only while the server cannot write its store.
    pub durable: u64,
}

/// A batch of hits: 1 to [`MAX_HITS`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The number of the first hit; the others follow without a gap.
    pub first_sequence: u64,
    /// What the hits' times count from, in microseconds since the Unix epoch.
    pub base: u64,
    /// The hits.
    pub hits: Vec<HitRecord>,
}

/// A [`Hit`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitRecord {
    /// When it was first seen, in microseconds from the report's base.
    pub offset: i64,
    /// How much later it was last seen, in microseconds.
    pub span: u64,
    /// The source's address.
    pub source: Address,
    /// The source's port.
    pub source_port: u16,
    /// The trap's port.
    pub trap_port: u16,
    /// 0 connect, 1 syn, 2 fin, 3 null, 4 xmas, 5 udp.
    pub probe: u8,
    /// How many times, at least 1.
    pub count: u32,
}

/// An address on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// IPv4, in network order.
    V4([u8; 4]),
    /// IPv6, in network order.
    V6([u8; 16]),
}

/// A client's sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The client's clock, in microseconds since the Unix epoch.
    pub clock: u64,
    /// How long the client has been running, in milliseconds.
    pub uptime_millis: u64,
    /// Hits that wait to be acknowledged.
    pub backlog: u64,
    /// How many traps the client was told to hold.
    pub traps_wanted: u16,
    /// The trap ports it does hold, at most [`MAX_TRAPS`].
    pub traps: Vec<u16>,
    /// Connections its traps have taken since it started.
    pub hits: u64,
    /// Hits it had to drop, over all its starts.
    pub dropped: u64,
}

/// A [`Heartbeat`] for a server that understands more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedHeartbeat {
    /// What every server is told.
    pub heartbeat: Heartbeat,
    /// What is wrong with the client: bits of [`condition`].
    pub conditions: u64,
}

/// The end of a connection, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// For programs.
    pub reason: Reason,
    /// For people: what is wrong and how to mend it.
    pub text: String,
    /// How long to wait before the next attempt, in milliseconds.
    pub retry_after_millis: u64,
}

/// Why a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The server speaks TLS and the client does not.
    TlsRequired,
    /// The server does not speak the client's version of the protocol.
    Version,
    /// The server wants a secret and the client has none.
    SecretMissing,
    /// The secret is not the server's.
    SecretWrong,
    /// The identity was not proven.
    IdentityUnproven,
    /// Another session with this identity is alive.
    IdentityInUse,
    /// There are as many sessions as the server may hold.
    TooManySessions,
    /// The client did not keep to the protocol.
    Protocol,
    /// The server is shutting down.
    ShuttingDown,
    /// A newer session of the same client has taken over.
    Superseded,
    /// The server cannot take in more hits until its disk takes what it has.
    StoreFull,
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// They do not decode.
    Malformed,
    /// They decode, with this many bytes left over.
    TrailingBytes(usize),
    /// A report with no hits, or with this many, more than [`MAX_HITS`].
    HitCount(usize),
    /// A heartbeat with this many traps, more than [`MAX_TRAPS`].
    TrapCount(usize),
    /// A report whose numbers go past the last one there is.
    SequenceOverflow,
    /// A kind of probe that version 1 does not have.
    UnknownProbe(u8),
    /// A hit that happened no time at all.
    ZeroCount,
    /// A hit that was merged over so many microseconds.
    Span(u64),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("a message that does not decode"),
            Self::TrailingBytes(n) => write!(f, "a message with {n} bytes left over"),
            Self::HitCount(n) => write!(f, "a report of {n} hits, not 1 to {MAX_HITS}"),
            Self::TrapCount(n) => write!(f, "a heartbeat of {n} traps, more than {MAX_TRAPS}"),
            Self::SequenceOverflow => f.write_str("a report whose numbers overflow"),
            Self::UnknownProbe(code) => write!(f, "a hit with the unknown probe {code}"),
            Self::ZeroCount => f.write_str("a hit with a count of 0"),
            Self::Span(micros) => {
                write!(f, "a hit with a span of {micros} µs, more than {MAX_SPAN}")
            }
        }
    }
}

impl std::error::Error for MessageError {}

/// Encodes a message. Messages made by this program always encode; one over [`MAX_FRAME`] bytes
/// would be refused by the peer.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    bincode::serde::encode_to_vec(message, CODEC).map_err(|_| MessageError::Malformed)
}

/// Decodes a message that takes up all of `bytes`.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, MessageError> {
    let (message, read) =
        bincode::serde::decode_from_slice(bytes, CODEC).map_err(|_| MessageError::Malformed)?;
    match bytes.len().saturating_sub(read) {
        0 => Ok(message),
        left => Err(MessageError::TrailingBytes(left)),
    }
}

impl Report {
    /// A report of the first [`MAX_HITS`] of `hits`; `None` if there are none.
    pub fn new(first_sequence: u64, hits: &[Hit]) -> Option<Self> {
        let base = hits.first()?.first;
        let hits = hits
            .iter()
            .take(MAX_HITS)
            .map(|hit| HitRecord::new(hit, base))
            .collect();
        Some(Self {
            first_sequence,
            base: base.as_micros(),
            hits,
        })
    }

    /// The hits, if all of them are sound.
    pub fn hits(&self) -> Result<Vec<Hit>, MessageError> {
        let count = self.hits.len();
        if !(1..=MAX_HITS).contains(&count) {
            return Err(MessageError::HitCount(count));
        }
        let numbers = u64::try_from(count).unwrap_or(u64::MAX);
        let last = self.first_sequence.saturating_add(numbers);
        if self.first_sequence == 0 || last > MAX_SEQUENCE {
            return Err(MessageError::SequenceOverflow);
        }
        let base = Timestamp::from_micros(self.base);
        self.hits.iter().map(|record| record.hit(base)).collect()
    }
}

impl HitRecord {
    /// A hit whose time counts from `base`.
    pub fn new(hit: &Hit, base: Timestamp) -> Self {
        let span = hit.last.since(hit.first);
        Self {
            offset: hit.first.offset_from(base),
            span: u64::try_from(span.as_micros()).map_or(MAX_SPAN, |it| it.min(MAX_SPAN)),
            source: hit.source.into(),
            source_port: hit.source_port,
            trap_port: hit.trap_port,
            probe: hit.probe.code(),
            count: hit.count.get(),
        }
    }

    /// The hit, if it is sound; its time counts from `base`.
    pub fn hit(&self, base: Timestamp) -> Result<Hit, MessageError> {
        if self.span > MAX_SPAN {
            return Err(MessageError::Span(self.span));
        }
        let first = base.shifted(self.offset);
        Ok(Hit {
            first,
            last: Timestamp::from_micros(first.as_micros().saturating_add(self.span)),
            source: IpAddr::from(self.source.clone()).to_canonical(),
            source_port: self.source_port,
            trap_port: self.trap_port,
            probe: Probe::from_code(self.probe).ok_or(MessageError::UnknownProbe(self.probe))?,
            count: NonZeroU32::new(self.count).ok_or(MessageError::ZeroCount)?,
        })
    }
}

impl Heartbeat {
    /// The heartbeat with each trap once and in order, if it keeps to its bounds.
    pub fn checked(mut self) -> Result<Self, MessageError> {
        let count = self.traps.len();
        if count > MAX_TRAPS {
            return Err(MessageError::TrapCount(count));
        }
        self.traps.sort_unstable();
        self.traps.dedup();
        Ok(self)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => Self::V6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::V4(octets) => octets.into(),
            Address::V6(octets) => octets.into(),
        }
    }
}

#[cfg(test)]
mod tests;
