//! Attacks that must not go unseen.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use crate::server::alert::{Action, Alert, Detector, Source, Subject};
use crate::server::correlate::tests::rogues::fleet::{Fleet, Step, Touch};

/// Something that is really done to the fleet. All begin at the same time.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// One source touches all traps of so many clients, one every so many seconds.
    Sweep { clients: u8, pause: u64 },
    /// One source touches all traps of one client.
    Vertical { client: u8, pause: u64 },
    /// One source touches one trap of one client after the other, an hour or so apart.
    Slow { contacts: u8, pause: u64 },
    /// A host of the fleet touches a lateral port of others.
    Lateral { from: u8, hosts: u8, pause: u64 },
    /// A host of the fleet is killed.
    Killed { client: u8 },
}

/// When an attack begins, in seconds.
pub const BEGINS: u64 = 3600;

const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66));

/// A port along which attackers move.
const LATERAL: u16 = 445;

pub fn any_attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        (3..=20_u8, 1..=20_u64).prop_map(|(clients, pause)| Attack::Sweep { clients, pause }),
        (0..24_u8, 1..=20_u64).prop_map(|(client, pause)| Attack::Vertical { client, pause }),
        (6..=8_u8, 1800..=3600_u64).prop_map(|(contacts, pause)| Attack::Slow { contacts, pause }),
        (0..24_u8, 1..=5_u8, 1..=60_u64).prop_map(|(from, hosts, pause)| Attack::Lateral {
            from,
            hosts,
            pause
        }),
        (0..24_u8).prop_map(|client| Attack::Killed { client }),
    ]
}

impl Attack {
    /// When it begins and ends, in seconds.
    pub fn span(&self) -> (u64, u64) {
        let lasts = match self {
            Self::Sweep { clients, pause } => u64::from(*clients) * 5 * pause,
            Self::Vertical { pause, .. } => 5 * pause,
            Self::Slow { contacts, pause } => u64::from(*contacts) * pause,
            Self::Lateral { hosts, pause, .. } => u64::from(*hosts) * pause,
            Self::Killed { .. } => 600,
        };
        (BEGINS, BEGINS + lasts)
    }

    /// Whose address it comes from.
    pub fn source(&self) -> IpAddr {
        match self {
            Self::Sweep { .. } | Self::Vertical { .. } | Self::Slow { .. } => ATTACKER,
            Self::Lateral { from, .. } => Fleet::address(*from),
            Self::Killed { client } => Fleet::address(*client),
        }
    }

    /// Whether an alert is about it.
    pub fn is_subject_of(&self, alert: &Alert) -> bool {
        if alert.action == Action::Close {
            return false;
        }
        let Self::Killed { client } = self else {
            return alert.subject == Subject::Source(Source::of(self.source()));
        };
        let id = Fleet::id(*client);
        let name = format!("web-{client}");
        let words = || alert.notes.iter().chain([&alert.title, &alert.explain]);
        let names = || {
            words().any(|text| {
                text.split([' ', ',', ':', ';', ')', '('])
                    .any(|it| it == name)
            })
        };
        alert.detector == Detector::SilentClient
            && (alert.subject == Subject::Client(id)
                || alert.clients.sample.iter().any(|(it, _)| it.id == id)
                || names())
    }

    pub fn steps(&self, fleet: &Fleet) -> Vec<Step> {
        let touch = |number: u64, pause: u64, client: u8, port: u16| {
            Step::Touch(Touch {
                second: BEGINS + number * pause,
                client: Fleet::id(client),
                source: self.source(),
                port,
                count: 1,
                late: 0,
            })
        };
        match *self {
            Self::Sweep { clients, pause } => {
                let traps = (0..clients)
                    .flat_map(|client| fleet.traps(client).iter().map(move |port| (client, *port)));
                let steps = (0..).zip(traps);
                steps
                    .map(|(number, (client, port))| touch(number, pause, client, port))
                    .collect()
            }
            Self::Vertical { client, pause } => {
                let steps = (0..).zip(fleet.traps(client));
                steps
                    .map(|(number, port)| touch(number, pause, client, *port))
                    .collect()
            }
            Self::Slow { contacts, pause } => (0..contacts)
                .map(|client| touch(client.into(), pause, client, fleet.traps(client)[1]))
                .collect(),
            Self::Lateral { from, hosts, pause } => {
                let others = fleet.owners(LATERAL).filter(|client| *client != from);
                let steps = (0..).zip(others.take(hosts.into()));
                steps
                    .map(|(number, client)| touch(number, pause, client, LATERAL))
                    .collect()
            }
            Self::Killed { .. } => Vec::new(),
        }
    }

    /// Whether a step does not happen, because who would take it is dead by then.
    pub fn silences(&self, step: &Step) -> bool {
        match (self, step) {
            (Self::Killed { client }, Step::Heartbeat { client: of, .. }) => {
                Fleet::id(*client) == *of && step.second() >= BEGINS
            }
            _ => false,
        }
    }
}
