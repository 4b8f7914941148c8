//! What a trap saw: the words every other module speaks in.
//!
//! Nothing here is serialisable. The wire, the stores and the alert format have records of their
//! own and convert, so a format can change its version without touching a detector.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The time `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// RFC 3339 in UTC, to the millisecond: `2026-11-24T03:12:09.123Z`.
    pub fn precise(self) -> String {
        let millis = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(exact) => format!("{exact:.3}"),
            Err(_) => self.to_string(),
        }
    }

    /// RFC 3339 in UTC, to the microsecond, so that nothing is lost: `2026-11-24T03:12:09.123456Z`.
    pub fn exact(self) -> String {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_microsecond(micros) {
            Ok(exact) => format!("{exact:.6}"),
            Err(_) => self.to_string(),
        }
    }

    /// The time that lies `span` later, or the last one there is.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(micros(span)))
    }

    /// The time that lies `span` earlier, or the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(micros(span)))
    }

    /// The time moved by a signed number of microseconds, within what can be expressed.
    #[must_use]
    pub const fn shifted(self, by_micros: i64) -> Self {
        Self(self.0.saturating_add_signed(by_micros))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// How far this lies from `other`, in microseconds: positive when later.
    pub fn offset_from(self, other: Self) -> i64 {
        if self.0 >= other.0 {
            i64::try_from(self.0 - other.0).unwrap_or(i64::MAX)
        } else {
            i64::try_from(other.0 - self.0).map_or(i64::MIN, |behind| -behind)
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl From<SystemTime> for Timestamp {
    /// A time before the epoch becomes the epoch.
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).map_or(0, micros))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the second: `2026-11-24T03:12:09Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(seconds) {
            Ok(time) => write!(f, "{time}"),
            Err(_) => f.write_str("9999-12-31T23:59:59Z"),
        }
    }
}

/// What time it is, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The time of day, which people read, and which may step.
    pub wall: Timestamp,
    /// A time that does not step: by it, how long nothing was heard from somebody is measured.
    pub steady: Timestamp,
}

impl Clocks {
    /// The time of day, as it is reckoned now, of a time by the steady clock.
    pub fn wall_of(self, steady: Timestamp) -> Timestamp {
        self.wall.before(self.steady.since(steady))
    }
}

impl From<Timestamp> for Clocks {
    /// In a replay the time of the events is both.
    fn from(time: Timestamp) -> Self {
        Self {
            wall: time,
            steady: time,
        }
    }
}

/// Who a client is: the first 16 bytes of the SHA-256 of its public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(pub [u8; 16]);

impl Hash for ClientId {
    /// In one go: this is done several times for each event.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl fmt::Display for ClientId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// A client's name with the beginning of its id, for when others bear the name as well.
pub fn distinct_name(name: &str, id: ClientId) -> String {
    let [a, b, c, d, ..] = id.0;
    format!("{name} ({a:02x}{b:02x}{c:02x}{d:02x})")
}

/// What stands for everybody who can easily have this address: an IPv4 address for itself, an
/// IPv6 address for its /64. A link-local one stands for itself: on every link there are others.
pub fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !is_link_local(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        other => other,
    }
}

/// Whether an address is one of those that every link has for itself (`fe80::/10`).
pub fn is_link_local(address: Ipv6Addr) -> bool {
    let [head, ..] = address.segments();
    head & 0xffc0 == 0xfe80
}

/// How a hit was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A TCP connection that was fully established.
    Connect,
    /// A bare TCP SYN.
    Syn,
    /// A TCP segment with FIN alone.
    Fin,
    /// A TCP segment without flags.
    Null,
    /// A TCP segment with FIN, PSH and URG.
    Xmas,
    /// A UDP datagram.
    Udp,
}

impl Probe {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 6] = [
        Self::Connect,
        Self::Syn,
        Self::Fin,
        Self::Null,
        Self::Xmas,
        Self::Udp,
    ];

    /// The number that stands for it in every format.
    pub const fn code(self) -> u8 {
        match self {
            Self::Connect => 0,
            Self::Syn => 1,
            Self::Fin => 2,
            Self::Null => 3,
            Self::Xmas => 4,
            Self::Udp => 5,
        }
    }

    /// The one that a number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The word that stands for it in every text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Syn => "syn",
            Self::Fin => "fin",
            Self::Null => "null",
            Self::Xmas => "xmas",
            Self::Udp => "udp",
        }
    }
}

/// What a trap saw once, or several times in short order from one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// When it was first seen, by the clock of the client's host.
    pub first: Timestamp,
    /// When it was last seen; equal to `first` for a single one.
    pub last: Timestamp,
    /// Who touched the trap; never an IPv4 address mapped into IPv6.
    pub source: IpAddr,
    /// The source's port, of the first one seen.
    pub source_port: u16,
    /// The trap's port.
    pub trap_port: u16,
    /// How it was seen.
    pub probe: Probe,
    /// How many times.
    pub count: NonZeroU32,
}

impl Hit {
    /// Takes another hit into this one, if the sum of the counts can be expressed.
    pub fn absorb(&mut self, other: &Self) -> Absorbed {
        match self.count.checked_add(other.count.get()) {
            Some(count) => {
                self.count = count;
                self.first = self.first.min(other.first);
                self.last = self.last.max(other.last);
                Absorbed::Whole
            }
            None => Absorbed::Not,
        }
    }
}

/// Whether [`Hit::absorb`] took the other hit in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Absorbed {
    /// It is counted in this hit now.
    Whole,
    /// The count would have overflowed; nothing changed.
    Not,
}

/// A hit with the client that saw it and its place in that client's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The client whose trap it was.
    pub client: ClientId,
    /// The hit's number in the client's sequence, counted from 1 for ever.
    pub sequence: u64,
    /// When the server got it, by the server's clock.
    pub received: Timestamp,
    /// When it happened: the client's time corrected by the offset of its clock.
    pub at: Timestamp,
    /// What was seen.
    pub hit: Hit,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_in_utc() {
        let time = Timestamp::from_micros(1_795_490_000_123_456);
        assert_eq!(time.to_string(), "2026-11-24T03:13:20Z");
        assert_eq!(
            Timestamp::from_micros(u64::MAX).to_string(),
            "9999-12-31T23:59:59Z"
        );
    }

    #[test]
    fn every_probe_has_its_code() {
        for probe in Probe::ALL {
            assert_eq!(Probe::from_code(probe.code()), Some(probe));
        }
        assert_eq!(Probe::from_code(6), None);
    }

    #[test]
    fn offsets_are_signed_and_spans_are_not() {
        let early = Timestamp::from_micros(5);
        let late = early.after(Duration::from_micros(7));
        assert_eq!(late.offset_from(early), 7);
        assert_eq!(early.offset_from(late), -7);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.shifted(7), late);
    }
}
