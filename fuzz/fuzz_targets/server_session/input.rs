//! What a fuzzer may have clients do, as what they say.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::SystemTime;

use arbitrary::Arbitrary;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use vft::fuzzing::auth::{self, SecretKey, Side, Transcript};
use vft::fuzzing::event::{ClientId, Timestamp};
use vft::fuzzing::message::{ClientMessage, Hello, HitRecord, MAX_HITS, Proof, Report, encode};

#[derive(Arbitrary, Debug)]
pub struct Input<'a> {
    pub guard: Guard,
    pub room: Room,
    /// How far the first client had come before.
    pub known: u8,
    /// How often the disk takes nothing at first.
    pub failures: u8,
    pub steps: Vec<Step<'a>>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    Nobody,
    Secret,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    ForOne,
    ForTwo,
}

/// On one of two lines. What can be said in a session only is said in one that is opened for it.
#[derive(Arbitrary, Debug)]
pub enum Step<'a> {
    Connect(Place, Opening<'a>),
    Say(Place, Said<'a>),
    Leave(Place),
    /// The server stops.
    Stop,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Here,
    There,
}

#[derive(Arbitrary, Debug)]
pub struct Opening<'a> {
    pub key: Place,
    pub instance: Place,
    pub name: &'a str,
    pub version: &'a str,
    pub how: How<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum How<'a> {
    Honest,
    NotTheSecret,
    WithoutSecret,
    NotTheKey,
    /// Every other one is that of some version.
    Preamble([u8; 8]),
    /// These bytes are the first message, or the second.
    Hello(&'a [u8]),
    Proof(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
pub enum Said<'a> {
    Report {
        first: First,
        base: When,
        touches: Vec<Touch>,
        fault: Option<Fault>,
    },
    Heartbeat {
        clock: When,
        traps: Vec<u16>,
        wanted: u16,
        dropped: u64,
        fault: Option<()>,
    },
    Goodbye,
    /// A frame with these bytes.
    Message(&'a [u8]),
    /// These bytes, and no more.
    Bytes(&'a [u8]),
}

/// Where a report begins.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum First {
    Next,
    Back(u8),
    Ahead(u8),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum When {
    Now,
    Off(i32),
    Any(u64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Touch {
    pub offset: i64,
    pub span: u16,
    pub source: Source,
    pub port: u8,
    pub probe: u8,
    pub count: NonZeroU32,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Source {
    Near(u8),
    Any(IpAddr),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Fault {
    Probe(u8),
    NoCount,
    TooMany,
}

/// The most steps in one input, so that none takes long.
pub const MAX_STEPS: usize = 32;
/// The most hits in a report that is sound, for the same reason.
pub const MAX_TOUCHES: usize = 24;

pub const SERVER: [u8; 16] = [9; 16];

pub static SECRET: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::derive(b"secret", &SERVER));

pub static KEYS: LazyLock<[Ed25519KeyPair; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()));

pub fn now() -> Timestamp {
    SystemTime::now().into()
}

pub fn id(place: Place) -> ClientId {
    auth::client_id(&public_key(place))
}

pub fn public_key(place: Place) -> [u8; 32] {
    KEYS[place as usize]
        .public_key()
        .as_ref()
        .try_into()
        .unwrap()
}

impl Opening<'_> {
    pub fn honest(key: Place) -> Self {
        Self {
            key,
            instance: Place::Here,
            name: "web-7",
            version: "1",
            how: How::Honest,
        }
    }

    pub fn hello(&self) -> Vec<u8> {
        encode(&ClientMessage::Hello(Hello {
            public_key: public_key(self.key),
            nonce: [2; 32],
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            instance: [self.instance as u8; 16],
            capabilities: 0,
        }))
        .unwrap()
    }

    pub fn proof(&self, transcript: &Transcript) -> Vec<u8> {
        let secret = match self.how {
            How::Proof(bytes) => return bytes.to_vec(),
            How::WithoutSecret => None,
            How::NotTheSecret => Some([7; 32]),
            _ => Some(SECRET.prove(Side::Client, transcript)),
        };
        let mut identity = auth::sign(&KEYS[self.key as usize], transcript);
        if matches!(self.how, How::NotTheKey) {
            identity[1][0] ^= 1;
        }
        encode(&ClientMessage::Proof(Proof { secret, identity })).unwrap()
    }
}

impl First {
    pub fn after(self, last: u64) -> u64 {
        match self {
            Self::Next => last.saturating_add(1),
            Self::Back(by) => last.saturating_sub(by.into()),
            Self::Ahead(by) => last.saturating_add(2 + u64::from(by)),
            Self::Any(number) => number,
        }
    }
}

impl When {
    pub fn time(self) -> Timestamp {
        match self {
            Self::Now => now(),
            Self::Off(seconds) => now().shifted(i64::from(seconds) * 1_000_000),
            Self::Any(micros) => Timestamp::from_micros(micros),
        }
    }
}

impl Touch {
    pub fn record(&self) -> HitRecord {
        let source = match self.source {
            Source::Near(number) => IpAddr::from([198, 51, 100, number]),
            Source::Any(address) => address,
        };
        HitRecord {
            offset: self.offset,
            span: self.span.into(),
            source: source.into(),
            source_port: 40_000,
            trap_port: self.port.into(),
            probe: self.probe % 6,
            count: self.count.get(),
        }
    }
}

pub fn report(first: u64, base: Timestamp, touches: &[Touch], fault: Option<Fault>) -> Vec<u8> {
    let mut hits: Vec<_> = touches
        .iter()
        .take(MAX_TOUCHES)
        .map(Touch::record)
        .collect();
    match (fault, hits.last().cloned()) {
        (Some(Fault::Probe(probe)), Some(last)) => hits.push(HitRecord { probe, ..last }),
        (Some(Fault::NoCount), Some(last)) => hits.push(HitRecord { count: 0, ..last }),
        (Some(Fault::TooMany), Some(last)) => hits.resize(MAX_HITS + 1, last),
        (_, _) => {}
    }
    encode(&ClientMessage::Report(Report {
        first_sequence: first,
        base: base.as_micros(),
        hits,
    }))
    .unwrap()
}
