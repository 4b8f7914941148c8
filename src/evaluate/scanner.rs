//! Attackers: what they are after, from how many addresses, and how fast.
//!
//! A scanner's *rate* is that of its first contacts with traps, not that of its probes: whoever
//! tries addresses and ports at random and at an even pace meets traps as a Poisson process, and
//! that is what can be seen of it. How many probes that were follows from what it tries: one in
//! U/k meets a trap where each client holds k of U candidates and all of them are tried, one in
//! N/n where one port is tried on all N clients and n of them hold it.

use std::net::IpAddr;
use std::time::Duration;

use crate::evaluate::address;
use crate::evaluate::dice::{Dice, span};
use crate::evaluate::fleet::{Fleet, Trap};
use crate::evaluate::timeline::{Next, Touch};
use crate::event::Probe;

/// How often a scanner meets a trap for the first time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// In words.
    pub name: &'static str,
    /// In numbers.
    pub per_second: f64,
}

/// From one a week to a thousand a second, at least one for each power of ten.
pub const RATES: [Rate; 11] = [
    Rate::new("1 a week", 1.0 / 604_800.0),
    Rate::new("1 a day", 1.0 / 86_400.0),
    Rate::new("6 a day", 6.0 / 86_400.0),
    HOURLY,
    Rate::new("10 an hour", 10.0 / 3600.0),
    Rate::new("1 a minute", 1.0 / 60.0),
    Rate::new("10 a minute", 10.0 / 60.0),
    Rate::new("1 a second", 1.0),
    Rate::new("10 a second", 10.0),
    Rate::new("100 a second", 100.0),
    Rate::new("1000 a second", 1000.0),
];

/// One an hour, the rate by which detectors of slow scans are measured.
pub const HOURLY: Rate = Rate::new("1 an hour", 1.0 / 3600.0);

impl Rate {
    const fn new(name: &'static str, per_second: f64) -> Self {
        Self { name, per_second }
    }
}

/// What a scanner is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// One port on all clients.
    Horizontal,
    /// All ports on two clients.
    Vertical,
    /// All ports on all clients.
    Block,
    /// All ports on one client.
    Host,
    /// One trap on a port that is used to go from host to host.
    Lateral,
}

impl Shape {
    /// Those of a scan.
    pub const SCANS: [Self; 4] = [Self::Horizontal, Self::Vertical, Self::Block, Self::Host];

    /// The shape's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Horizontal => "horizontal",
            Self::Vertical => "vertical",
            Self::Block => "block",
            Self::Host => "host",
            Self::Lateral => "lateral",
        }
    }
}

/// Ports that are used to go from host to host: SSH, RPC, SMB, RDP, VNC, `WinRM`.
pub const LATERAL: [u16; 8] = [22, 135, 139, 445, 3389, 5900, 5985, 5986];

/// Where a scanner comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// One address.
    One,
    /// One IPv6 /64, a new address each time.
    Ipv6,
    /// Three addresses of a /24 that take turns.
    Three,
    /// A new address, of a network of its own, for each contact.
    Many,
    /// A client of the fleet.
    Member,
    /// The address that the allow-list names.
    Auditor,
}

impl Origin {
    /// The origin's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one address",
            Self::Ipv6 => "one IPv6 /64",
            Self::Three => "three of a /24",
            Self::Many => "one each",
            Self::Member => "a client",
            Self::Auditor => "allowed",
        }
    }
}

/// What a scanner is to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScannerPlan {
    /// What it is after.
    pub shape: Shape,
    /// Where it comes from.
    pub origin: Origin,
    /// How fast.
    pub rate: Rate,
    /// It ends after so many first contacts, or when it has touched all it is after.
    pub contacts: u32,
    /// The chance that it touches a trap twice at once, which is one hit that counts twice.
    pub twice: f64,
}

/// A scanner as those who judge detectors know it.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// What it is after.
    pub shape: Shape,
    /// Where it comes from.
    pub origin: Origin,
    /// How fast it is.
    pub rate: Rate,
    /// How many probes there are to one first contact, in the mean.
    pub probes: f64,
    /// All its addresses, or /64s.
    pub sources: Vec<IpAddr>,
}

/// A scanner at work.
#[derive(Clone, Debug)]
pub struct Scanner {
    sources: Vec<IpAddr>,
    targets: Vec<Trap>,
    done: usize,
    per_second: f64,
    twice: f64,
    dice: Dice,
}

impl Scanner {
    /// A scanner after this plan, whose networks are numbered from `network`. If it is a client of
    /// the fleet, that is the client's number.
    pub fn new(
        plan: &ScannerPlan,
        network: u32,
        fleet: &Fleet,
        dice: &mut Dice,
    ) -> (Campaign, Self) {
        let mut dice = dice.fork();
        let member = network.checked_rem(fleet.size()).unwrap_or(0);
        let (within_reach, probes) = reach(plan.shape, member, fleet, &mut dice);
        let count = usize::try_from(plan.contacts).unwrap_or(usize::MAX);
        let targets = dice.sample(&within_reach, count);
        let sources = sources(plan, network, member, &mut dice);
        let campaign = Campaign {
            shape: plan.shape,
            origin: plan.origin,
            rate: plan.rate,
            probes,
            sources: sources.clone(),
        };
        let scanner = Self {
            sources,
            targets,
            done: 0,
            per_second: plan.rate.per_second,
            twice: plan.twice,
            dice,
        };
        (campaign, scanner)
    }

    /// What it does next, and how long until it does something again.
    pub fn touch(&mut self) -> Option<Next> {
        let trap = *self.targets.get(self.done)?;
        let turn = self.done.checked_rem(self.sources.len())?;
        let source = address::shown(*self.sources.get(turn)?, &mut self.dice);
        self.done += 1;
        let mut touch = Touch::new(source, trap, Probe::Connect, &mut self.dice);
        if self.twice > 0.0 && self.dice.unit() < self.twice {
            touch.count = touch.count.saturating_add(1);
        }
        let more = self.done < self.targets.len();
        Some((touch, more.then(|| self.dice.wait(self.per_second))))
    }
}

impl ScannerPlan {
    /// How many networks of attackers, or clients, it takes.
    pub const fn networks(&self) -> u32 {
        match self.origin {
            Origin::One | Origin::Ipv6 | Origin::Three | Origin::Member | Origin::Auditor => 1,
            Origin::Many => self.contacts,
        }
    }

    /// How long it takes for all it does, in the mean.
    pub fn duration(&self) -> Duration {
        span(f64::from(self.contacts) / self.rate.per_second)
    }
}

/// The traps that a scanner is after, and how many probes it takes to find one of them.
fn reach(shape: Shape, member: u32, fleet: &Fleet, dice: &mut Dice) -> (Vec<Trap>, f64) {
    let all: Vec<u32> = (0..fleet.size()).collect();
    let ports = fleet.candidates;
    let (traps, clients, ports) = match shape {
        Shape::Horizontal => {
            let port = dice.pick(&fleet.traps).map_or(0, |trap| trap.port);
            (fleet.on_port(port).to_vec(), fleet.size(), 1)
        }
        Shape::Block => (fleet.traps.clone(), fleet.size(), ports),
        Shape::Vertical => (fleet.of_clients(&dice.sample(&all, 2)), 2, ports),
        Shape::Host => (fleet.of_clients(&dice.sample(&all, 1)), 1, ports),
        Shape::Lateral => {
            let ports = LATERAL.iter().flat_map(|port| fleet.on_port(*port));
            let others = ports.filter(|trap| trap.client != member);
            // It knows where it goes, and goes there once.
            return (others.copied().collect(), 1.0);
        }
    };
    let found = u32::try_from(traps.len()).unwrap_or(u32::MAX).max(1);
    let probes = f64::from(clients) * f64::from(ports) / f64::from(found);
    (traps, probes)
}

fn sources(plan: &ScannerPlan, network: u32, member: u32, dice: &mut Dice) -> Vec<IpAddr> {
    let hosts: Vec<u8> = (1..=254).collect();
    let mut one_of = |network| {
        let host = dice.pick(&hosts).unwrap_or(1);
        address::attacker(network, host)
    };
    match plan.origin {
        Origin::One => vec![one_of(network)],
        Origin::Ipv6 => vec![address::attacker_v6(network)],
        Origin::Many => (network..network.saturating_add(plan.contacts))
            .map(one_of)
            .collect(),
        Origin::Three => {
            let hosts = dice.sample(&hosts, 3);
            let addresses = hosts.iter().map(|host| address::attacker(network, *host));
            addresses.collect()
        }
        Origin::Member => vec![address::member(member)],
        Origin::Auditor => vec![address::auditor()],
    }
}
