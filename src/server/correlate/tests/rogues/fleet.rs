//! Honest clients: who they are, and what they say on a quiet day.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::server::ServerSettings;
use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
use crate::server::alert::Alert;
use crate::server::correlate::Correlator;
use crate::server::correlate::clients::Client;

/// Places for incidents: so few that five rogues can take more than half of them.
pub const INCIDENTS: usize = 1024;

const CLIENTS: u8 = 24;
const HEARTBEAT: u64 = 30;

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + seconds * 1_000_000)
}

/// What an engine is given.
#[derive(Clone, Debug)]
pub enum Step {
    Hello {
        second: u64,
        client: ClientId,
        address: IpAddr,
    },
    Heartbeat {
        second: u64,
        client: ClientId,
        traps: Vec<u16>,
    },
    Touch(Touch),
}

/// Hits of one source on one trap.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    pub second: u64,
    pub client: ClientId,
    pub source: IpAddr,
    pub port: u16,
    pub count: u32,
    /// How long before they were reported they happened, in seconds.
    pub late: u64,
}

impl Step {
    pub const fn second(&self) -> u64 {
        match self {
            Self::Hello { second, .. }
            | Self::Heartbeat { second, .. }
            | Self::Touch(Touch { second, .. }) => *second,
        }
    }

    pub fn take(&self, engine: &mut Correlator, alerts: &mut Vec<Alert>) {
        match self {
            Self::Hello {
                second,
                client,
                address,
            } => {
                let _room = engine.welcome(*client, &client.to_string(), at(*second));
                engine.lives_at(*client, *address);
            }
            Self::Heartbeat {
                second,
                client,
                traps,
            } => {
                engine.heard(*client, at(*second));
                engine.owns(*client, traps);
            }
            Self::Touch(touch) => engine.event(&touch.event(), alerts),
        }
    }
}

impl Touch {
    fn event(&self) -> Event {
        let happened = at(self.second.saturating_sub(self.late));
        Event {
            client: self.client,
            sequence: 1,
            received: at(self.second),
            at: happened,
            hit: Hit {
                first: happened,
                last: happened,
                source: self.source,
                source_port: 40_000,
                trap_port: self.port,
                probe: Probe::Connect,
                count: NonZeroU32::new(self.count).unwrap(),
            },
        }
    }
}

/// Honest clients.
#[derive(Debug)]
pub struct Fleet {
    traps: Vec<Vec<u16>>,
}

/// What traps are drawn from, here: each client holds five of them.
const CANDIDATES: [u16; 12] = [21, 22, 23, 80, 135, 445, 1433, 3306, 3389, 5432, 5900, 8080];

impl Fleet {
    pub fn new() -> Self {
        let traps = |client: u8| {
            let first = usize::from(client) * 5;
            let ports = (first..first + 5).map(|each| CANDIDATES[each % CANDIDATES.len()]);
            ports.collect()
        };
        Self {
            traps: (0..CLIENTS).map(traps).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.traps.len()
    }

    pub fn id(client: u8) -> ClientId {
        ClientId([client + 1; 16])
    }

    pub fn address(client: u8) -> IpAddr {
        Ipv4Addr::new(10, 20, client, 5).into()
    }

    pub fn traps(&self, client: u8) -> &[u16] {
        &self.traps[usize::from(client)]
    }

    /// Clients that hold a trap on this port.
    pub fn owners(&self, port: u16) -> impl Iterator<Item = u8> {
        (0..CLIENTS).filter(move |client| self.traps(*client).contains(&port))
    }

    /// An engine that has known the fleet for days.
    pub fn engine(&self) -> Correlator {
        let settings =
            format!("memory = '32MiB'\n[limits]\nincidents = {INCIDENTS}\nclients = 4096\n");
        let settings: ServerSettings = toml::from_str(&settings).unwrap();
        let mut engine = Correlator::new(&settings);
        for client in 0..CLIENTS {
            let known = Client {
                since: at(0).before(Duration::from_secs(3 * 86_400)),
                progress: 1,
                address: Some(Self::address(client)),
                traps: self.traps(client).to_vec(),
                ..Client::new(&format!("web-{client}"), at(0))
            };
            engine.remember(Self::id(client), &known);
        }
        engine
    }

    /// Heartbeats, and a stray touch now and then, until so many seconds and half an hour have passed.
    pub fn days_work(&self, until: u64) -> impl Iterator<Item = Step> {
        let last = (until + 1800) / HEARTBEAT;
        let beats = (0..last).flat_map(move |beat| {
            (0..CLIENTS).map(move |client| Step::Heartbeat {
                second: beat * HEARTBEAT,
                client: Self::id(client),
                traps: self.traps(client).to_vec(),
            })
        });
        let strays = (1..last / 40).map(move |number| {
            let client = u8::try_from(number * 7 % u64::from(CLIENTS)).unwrap();
            Step::Touch(Touch {
                second: number * 40 * HEARTBEAT + 11,
                client: Self::id(client),
                source: Ipv4Addr::from(0xcb00_7100 + u32::try_from(number).unwrap()).into(),
                port: self.traps(client)[0],
                count: 1,
                late: 0,
            })
        });
        beats.chain(strays)
    }
}
