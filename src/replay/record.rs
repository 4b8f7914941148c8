//! What one line of a file says of one event, and how its fields are checked.
//!
//! | field | means | if it is missing |
//! |---|---|---|
//! | `time` | when it happened: RFC 3339, or seconds since 1970 | the line is bad |
//! | `client` | the client's id (32 hexadecimal digits) or its name | `client_name` or `client_id` must be there |
//! | `client_name` | the client's name | it is what `client` says |
//! | `client_id` | the client's id | it is what `client` says, or follows from the name |
//! | `source` | an IPv4 or IPv6 address | the line is bad |
//! | `source_port` | 0 to 65535 | 0 |
//! | `trap_port` | 0 to 65535 | the line is bad |
//! | `probe` | connect, syn, fin, null, xmas or udp | connect |
//! | `count` | how many times, at least 1 | 1 |
//! | `received` | when the server got it | it is `time` |
//! | `sequence` | its number in the client's sequence, at least 1 | one is made up |
//!
//! Both forms, [CSV](crate::replay::csv) and [JSON](crate::replay::json), have these fields under
//! these names.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
use crate::replay::time;
use crate::sanitize;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which client.
    pub who: Who<'a>,
    /// When it happened.
    pub at: Timestamp,
    /// When the server got it; the epoch if the line does not say.
    pub received: Timestamp,
    /// Its number in the client's sequence; 0 if the line does not say.
    pub sequence: u64,
    /// Who touched the trap; never an IPv4 address mapped into IPv6.
    pub source: IpAddr,
    /// The source's port.
    pub source_port: u16,
    /// The trap's port.
    pub trap_port: u16,
    /// How it was seen.
    pub probe: Probe,
    /// How many times.
    pub count: NonZeroU32,
}

/// Which client a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who<'a> {
    /// The one with this id, and this name if it has one.
    Known(ClientId, Option<Cow<'a, str>>),
    /// The one with this name, which is all that is known of it.
    Named(Cow<'a, str>),
}

/// Why a line is bad, for people. What it quotes is printable and short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw(String);

impl Flaw {
    /// A flaw in these words, which may quote the line.
    pub fn new(words: &str) -> Self {
        Self(sanitize::line(words, 200))
    }

    /// `text` should have been something else.
    pub fn not(text: &str, what: &str) -> Self {
        Self(format!("`{}` is not {what}", sanitize::line(text, 40)))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Record<'_> {
    /// The event, seen by this client.
    pub const fn event(&self, client: ClientId) -> Event {
        Event {
            client,
            sequence: self.sequence,
            received: self.received,
            at: self.at,
            hit: Hit {
                first: self.at,
                last: self.at,
                source: self.source,
                source_port: self.source_port,
                trap_port: self.trap_port,
                probe: self.probe,
                count: self.count,
            },
        }
    }
}

impl<'a> Who<'a> {
    /// The client that these fields say; an empty one says nothing.
    pub fn new(client: Cow<'a, str>, name: Cow<'a, str>, id: &str) -> Result<Self, Flaw> {
        let name = Some(name).filter(|name| !name.trim().is_empty());
        if !id.is_empty() {
            let id = client_id(id).ok_or_else(|| Flaw::not(id, "32 hexadecimal digits"))?;
            let client = Some(client).filter(|client| !client.trim().is_empty());
            return Ok(Self::Known(id, name.or(client)));
        }
        if let Some(id) = client_id(&client) {
            return Ok(Self::Known(id, name));
        }
        match (client.trim().is_empty(), name) {
            (true, Some(name)) => Ok(Self::Named(name)),
            (true, None) => Err(Flaw::new("there is no client")),
            (false, _) => Ok(Self::Named(client)),
        }
    }
}

/// The id that 32 hexadecimal digits are.
fn client_id(text: &str) -> Option<ClientId> {
    let mut id = [0; 16];
    if text.len() != 2 * id.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(ClientId(id))
}

/// The time that a text says.
pub fn at(text: &str) -> Result<Timestamp, Flaw> {
    time::parse(text).ok_or_else(|| {
        let what = "a time; write it like 2026-11-24T03:12:09Z, or as seconds since 1970";
        Flaw::not(text, what)
    })
}

/// The address that a text says.
pub fn source(text: &str) -> Result<IpAddr, Flaw> {
    let address: Result<IpAddr, _> = text.parse();
    address
        .map(|address| address.to_canonical())
        .map_err(|_| Flaw::not(text, "an address"))
}

/// The way of being seen that a text says.
pub fn probe(text: &str) -> Result<Probe, Flaw> {
    Probe::ALL
        .into_iter()
        .find(|probe| probe.name() == text)
        .ok_or_else(|| Flaw::not(text, "connect, syn, fin, null, xmas or udp"))
}

/// The number that a text says.
pub fn number<N: std::str::FromStr>(text: &str, what: &str) -> Result<N, Flaw> {
    text.parse().map_err(|_| Flaw::not(text, what))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Any event that a store can hold, as far as its record can say it.
    pub fn event() -> impl Strategy<Value = Event> {
        let time = 1..250_000_000_000_000_000_u64;
        let times = (time.clone(), time);
        let hit = (
            any::<IpAddr>(),
            any::<(u16, u16)>(),
            0..Probe::ALL.len(),
            1..=u32::MAX,
        );
        let client = (any::<[u8; 16]>(), 1..=u64::MAX);
        (client, times, hit).prop_map(|((client, sequence), (at, received), hit)| {
            let (source, (source_port, trap_port), probe, count) = hit;
            let at = Timestamp::from_micros(at);
            Event {
                client: ClientId(client),
                sequence,
                received: Timestamp::from_micros(received),
                at,
                hit: Hit {
                    first: at,
                    last: at,
                    source: source.to_canonical(),
                    source_port,
                    trap_port,
                    probe: Probe::ALL[probe],
                    count: NonZeroU32::new(count).unwrap(),
                },
            }
        })
    }

    const ID: &str = "000102030405060708090a0b0c0d0e0F";

    fn who<'a>(client: &'a str, name: &'a str, id: &str) -> Result<Who<'a>, Flaw> {
        Who::new(client.into(), name.into(), id)
    }

    #[test]
    fn a_client_is_known_by_its_id_wherever_it_stands() {
        let id = ClientId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(who(ID, "", ""), Ok(Who::Known(id, None)));
        let named = Ok(Who::Known(id, Some("web-7".into())));
        assert_eq!(who(ID, "web-7", ""), named);
        assert_eq!(who("web-7", "", ID), named);
        assert_eq!(who("other", "web-7", ID), named);
        assert_eq!(who("", "web-7", ID), named);
    }

    #[test]
    fn a_client_without_an_id_is_known_by_its_name() {
        assert_eq!(who("web-7", "", ""), Ok(Who::Named("web-7".into())));
        assert_eq!(who(" ", "web-7", ""), Ok(Who::Named("web-7".into())));
        let short = "000102030405060708090a0b0c0d0e0";
        assert_eq!(who(short, "", ""), Ok(Who::Named(short.into())));
        assert!(who("", " ", "").is_err());
        assert!(who("web-7", "", "7").is_err());
    }

    #[test]
    fn a_flaw_quotes_nothing_that_moves_a_cursor_and_little() {
        let flaw = Flaw::not(&"\u{1b}[2J".repeat(1000), "a port").to_string();
        assert!(flaw.len() < 300 && !flaw.contains('\u{1b}'), "{flaw}");
    }
}
