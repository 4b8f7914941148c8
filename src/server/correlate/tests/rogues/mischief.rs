//! What rogue clients report, and what strangers do to honest ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::event::ClientId;
use crate::server::correlate::tests::rogues::attack::{Attack, BEGINS};
use crate::server::correlate::tests::rogues::fleet::{Fleet, Step, Touch};

/// One thing that somebody keeps doing, in a stretch of time that may lie before the attack, within
/// it, or both.
#[derive(Clone, Copy, Debug)]
pub struct Mischief {
    pub what: What,
    /// How many identities a rogue makes for it, all at its one address.
    pub identities: u8,
    /// How many touches there are.
    pub touches: u16,
    /// When it begins, in seconds.
    pub begins: u64,
    /// How long it lasts, in seconds.
    pub lasts: u64,
}

/// What is made up, or done.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// Touches from sources of this kind, so many each, on traps of this kind.
    Touches {
        from: From,
        each: u8,
        on: On,
        count: u32,
    },
    /// Heartbeats that name one port over and over (of a rogue), or touches from one address.
    OnePort,
    /// Identities that come once.
    ComeOnce,
}

/// Where touches come from, or are said to.
#[derive(Clone, Copy, Debug)]
pub enum From {
    Anywhere,
    OneNetwork,
    OneNetworkOfIpv6,
    Inside,
    TheFleet,
    TheAttacker,
}

/// Which traps are touched, or are said to be.
#[derive(Clone, Copy, Debug)]
pub enum On {
    OnePort,
    TrapPorts,
    AnyPort,
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        Just(From::Anywhere),
        Just(From::OneNetwork),
        Just(From::OneNetworkOfIpv6),
        Just(From::Inside),
        Just(From::TheFleet),
        Just(From::TheAttacker),
    ]
}

fn touches(from: impl Strategy<Value = From>) -> impl Strategy<Value = What> {
    let on = prop_oneof![Just(On::OnePort), Just(On::TrapPorts), Just(On::AnyPort)];
    let count = prop_oneof![4 => Just(1), 1 => 2..100_000_u32];
    (from, 1..=6_u8, on, count).prop_map(|(from, each, on, count)| What::Touches {
        from,
        each,
        on,
        count,
    })
}

/// Touches of one rogue: enough to take its share of all places.
const OF_A_ROGUE: u16 = 2500;

/// Touches of strangers: they are really scanning, and so few that they do not take all places by
/// themselves.
const OF_STRANGERS: u16 = 600;

fn when(what: impl Strategy<Value = What>, most: u16) -> impl Strategy<Value = Mischief> {
    let when = (0..BEGINS + 600, 1..7200_u64);
    (what, 1..=12_u8, 1..most, when).prop_map(|(what, identities, touches, (begins, lasts))| {
        Mischief {
            what,
            identities,
            touches,
            begins,
            lasts,
        }
    })
}

pub fn of_a_rogue() -> impl Strategy<Value = Mischief> {
    when(
        prop_oneof![
            6 => touches(from()),
            1 => Just(What::OnePort),
            1 => Just(What::ComeOnce),
        ],
        OF_A_ROGUE,
    )
}

pub fn of_strangers() -> impl Strategy<Value = Mischief> {
    let outside = prop_oneof![
        Just(From::Anywhere),
        Just(From::OneNetwork),
        Just(From::OneNetworkOfIpv6)
    ];
    when(
        prop_oneof![4 => touches(outside), 1 => Just(What::OnePort)],
        OF_STRANGERS,
    )
}

impl Mischief {
    fn second(&self, dice: &mut StdRng) -> u64 {
        self.begins + dice.random_range(0..self.lasts)
    }

    /// What a rogue says, whose address is one of its own.
    pub fn steps_of_a_rogue(
        &self,
        rogue: u8,
        attack: &Attack,
        fleet: &Fleet,
        dice: &mut StdRng,
    ) -> Vec<Step> {
        let id = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let mut id = [rogue + 100; 16];
            (id[0], id[1]) = (high, low);
            ClientId(id)
        };
        let address = Ipv4Addr::new(10, 20, 200, rogue).into();
        let identities = match self.what {
            What::ComeOnce => self.touches.min(400),
            What::Touches { .. } | What::OnePort => self.identities.into(),
        };
        let mut steps: Vec<_> = (0..identities)
            .map(|number| Step::Hello {
                second: self.begins,
                client: id(number),
                address,
            })
            .collect();
        let traps = match self.what {
            What::OnePort => vec![445; 1024],
            What::Touches { .. } | What::ComeOnce => vec![22, 80, 445, 3389, 8080],
        };
        steps.extend((0..identities).map(|number| Step::Heartbeat {
            second: self.begins,
            client: id(number),
            traps: traps.clone(),
        }));
        if matches!(self.what, What::Touches { .. }) {
            steps.extend((0..self.touches).map(|number| {
                let client = id(number % identities);
                Step::Touch(self.touch(number, client, attack, fleet, dice))
            }));
        }
        steps
    }

    /// What strangers do to honest clients.
    pub fn steps_of_strangers(&self, fleet: &Fleet, dice: &mut StdRng) -> Vec<Step> {
        let one = Attack::Killed { client: 0 };
        let mut steps = Vec::new();
        for number in 0..self.touches {
            let honest = match self.what {
                What::OnePort => 3,
                What::Touches { .. } | What::ComeOnce => {
                    dice.random_range(0..u8::try_from(fleet.len()).unwrap())
                }
            };
            let mut touch = self.touch(number, Fleet::id(honest), &one, fleet, dice);
            // A stranger meets only traps that there are.
            let traps = fleet.traps(honest);
            touch.port = traps[usize::from(touch.port) % traps.len()];
            touch.late = 0;
            steps.push(Step::Touch(touch));
        }
        steps
    }

    fn touch(
        &self,
        number: u16,
        client: ClientId,
        attack: &Attack,
        fleet: &Fleet,
        dice: &mut StdRng,
    ) -> Touch {
        let (from, each, on, count) = match self.what {
            What::Touches {
                from,
                each,
                on,
                count,
            } => (from, each, on, count),
            What::OnePort | What::ComeOnce => (From::TheAttacker, 1, On::OnePort, 1),
        };
        let source = number / u16::from(each);
        let [high, low] = source.to_be_bytes();
        let source: IpAddr = match from {
            From::Anywhere => Ipv4Addr::from(0x0b00_0000 + u32::from(source) * 65_521).into(),
            From::OneNetwork => Ipv4Addr::new(198, 51, 100, low).into(),
            From::OneNetworkOfIpv6 => Ipv6Addr::new(0x2001, 0xdb8, 7, source, 0, 0, 0, 1).into(),
            From::Inside => Ipv4Addr::new(10, 99, high, low).into(),
            From::TheFleet => Fleet::address(low % u8::try_from(fleet.len()).unwrap()),
            From::TheAttacker => match self.what {
                What::OnePort => Ipv4Addr::new(198, 18, 0, 1).into(),
                What::Touches { .. } | What::ComeOnce => attack.source(),
            },
        };
        let port = match on {
            On::OnePort => 22,
            On::TrapPorts => [22, 80, 445, 3389, 8080][dice.random_range(0..5)],
            On::AnyPort => dice.random_range(1..=u16::MAX),
        };
        Touch {
            second: self.second(dice),
            client,
            source,
            port,
            count,
            late: if dice.random_range(0..8) == 0 {
                dice.random_range(0..3600)
            } else {
                0
            },
        }
    }
}
