//! The scenarios: what each is to show, what happens in it, and what it has to come to.

use std::time::Duration;

use crate::evaluate::fleet::{Choice, FleetPlan};
use crate::evaluate::noise::{Aim, FloodPlan, NoisePlan};
use crate::evaluate::run::Run;
use crate::evaluate::scanner::{HOURLY, Origin, RATES, Rate, ScannerPlan, Shape};
use crate::evaluate::target::{self, Goal};
use crate::event::Probe;

/// How large an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Clients in the fleet.
    pub clients: u32,
    /// Traps on each.
    pub traps: u16,
    /// Candidates that they are drawn from.
    pub candidates: u16,
    /// Days a run lasts.
    pub days: u32,
    /// Scanners of each rate.
    pub scanners: u32,
    /// Sources of the flood.
    pub flood: u32,
    /// What everything follows from.
    pub seed: u64,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Single scanners, from very slow to very fast.
    Slow,
    /// Three sources that share the work.
    Shared,
    /// Hundreds of sources with one contact each.
    Coordinated,
    /// A client of the fleet that touches another.
    Lateral,
    /// Slow attackers in a flood of sources.
    Flood,
    /// Nobody attacks.
    Benign,
    /// Everything at once.
    Noisy,
}

/// A part of a scenario that is scored on its own.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is.
    pub title: String,
    /// Its runs, which are scored together.
    pub runs: Vec<Run>,
    /// What it has to come to.
    pub goals: Vec<Goal>,
}

const DAY: Duration = Duration::from_secs(86_400);

/// In a quiet fleet, so many strangers make mistakes.
const QUIET: u32 = 100;

/// First contacts of a scanner whose delay is measured: five times as many as it should take.
const ENOUGH: u32 = 30;

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Slow,
        Self::Shared,
        Self::Coordinated,
        Self::Lateral,
        Self::Flood,
        Self::Benign,
        Self::Noisy,
    ];

    /// The scenario's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Shared => "shared",
            Self::Coordinated => "coordinated",
            Self::Lateral => "lateral",
            Self::Flood => "flood",
            Self::Benign => "benign",
            Self::Noisy => "noisy",
        }
    }

    /// Whether it has enough scanners of each rate to draw what becomes of them.
    pub const fn has_rates(self) -> bool {
        match self {
            Self::Slow | Self::Shared => true,
            Self::Coordinated | Self::Lateral | Self::Flood | Self::Benign | Self::Noisy => false,
        }
    }

    /// Its parts.
    pub fn parts(self, options: &Options) -> Vec<Part> {
        match self {
            Self::Slow => vec![slow(options)],
            Self::Shared => vec![shared(options)],
            Self::Coordinated => coordinated(options),
            Self::Lateral => vec![lateral(options)],
            Self::Flood => vec![
                flood(options, Probe::Connect, "connections"),
                flood(options, Probe::Syn, "bare packets"),
            ],
            Self::Benign => vec![benign(options)],
            Self::Noisy => vec![noisy(options)],
        }
    }
}

fn slow(options: &Options) -> Part {
    let run = |rate| {
        let shapes = Shape::SCANS.iter().cycle();
        let origins = [
            Origin::One,
            Origin::One,
            Origin::One,
            Origin::One,
            Origin::Ipv6,
        ];
        let plans = shapes
            .zip(origins.iter().cycle())
            .map(|(shape, origin)| ScannerPlan {
                shape: *shape,
                origin: *origin,
                rate,
                contacts: ENOUGH,
                twice: 0.0,
            });
        quiet(options, plans.take(places(options.scanners)).collect())
    };
    Part {
        title: "one source, from one first contact a week to a thousand a second".to_owned(),
        runs: RATES.map(run).into(),
        goals: target::slow(),
    }
}

fn shared(options: &Options) -> Part {
    let run = |rate| {
        let shapes = [Shape::Block, Shape::Horizontal];
        let plans = shapes.iter().cycle().map(|shape| ScannerPlan {
            shape: *shape,
            origin: Origin::Three,
            rate,
            contacts: ENOUGH,
            twice: 0.0,
        });
        quiet(options, plans.take(places(options.scanners)).collect())
    };
    Part {
        title: "three sources of one /24 that share the work".to_owned(),
        runs: RATES.map(run).into(),
        goals: target::shared(),
    }
}

/// Twenty times as many clients as elsewhere, all of which hold the port, and 6 √N sources, which
/// are 600 for 10,000 clients. So many that have nothing to do with each other would meet on a
/// client some 18 times.
fn coordinated(options: &Options) -> Vec<Part> {
    let clients = options.clients.saturating_mul(20);
    let sources = (1..clients).find(|n| u64::from(*n).pow(2) >= 36 * u64::from(clients));
    let sources = sources.unwrap_or(clients);
    let fleet = FleetPlan {
        clients,
        choice: Choice::Same,
        ..fleet(options)
    };
    let run = Run {
        fleet,
        lasts: DAY,
        ..quiet(options, Vec::new())
    };
    let scanner = ScannerPlan {
        shape: Shape::Horizontal,
        origin: Origin::Many,
        rate: Rate {
            name: "all in 20 h",
            per_second: f64::from(sources) / 72_000.0,
        },
        contacts: sources,
        twice: 0.0,
    };
    let alone = FloodPlan {
        sources,
        probe: Probe::Connect,
        aim: Aim::OnePort,
    };
    vec![
        Part {
            title: format!(
                "{sources} sources with one contact each that share one port of {clients} clients"
            ),
            runs: again(Run {
                scanners: vec![scanner],
                ..run.clone()
            }),
            goals: target::coordinated(sources),
        },
        Part {
            title: format!(
                "{sources} sources that have nothing to do with each other, on the same port"
            ),
            runs: again(Run {
                flood: Some(alone),
                ..run
            }),
            goals: target::uncoordinated(),
        },
    ]
}

/// The same ten times, with another fleet each time.
fn again(run: Run) -> Vec<Run> {
    vec![run; 10]
}

fn lateral(options: &Options) -> Part {
    let plan = ScannerPlan {
        shape: Shape::Lateral,
        origin: Origin::Member,
        rate: Rate {
            name: "once",
            per_second: 1.0,
        },
        contacts: 1,
        twice: 0.0,
    };
    let count = options.scanners.min(options.clients);
    Part {
        title: "a client of the fleet that touches one lateral port of another, once".to_owned(),
        runs: vec![quiet(options, vec![plan; places(count)])],
        goals: target::lateral(),
    }
}

/// One attacker to 10,000 sources of the flood.
fn flood(options: &Options, probe: Probe, seen: &str) -> Part {
    let plan = ScannerPlan {
        shape: Shape::Block,
        origin: Origin::One,
        rate: HOURLY,
        contacts: 24,
        twice: 0.0,
    };
    let attackers = (options.flood / 10_000).max(10);
    Part {
        title: format!(
            "{attackers} attackers with one hit an hour among {} sources with one hit ({seen})",
            options.flood
        ),
        runs: vec![Run {
            lasts: DAY,
            flood: Some(FloodPlan {
                sources: options.flood,
                probe,
                aim: Aim::All,
            }),
            noise: NoisePlan::default(),
            ..quiet(options, vec![plan; places(attackers)])
        }],
        goals: target::flood(),
    }
}

fn benign(options: &Options) -> Part {
    Part {
        title: "nobody attacks".to_owned(),
        runs: vec![Run {
            noise: everyday(options),
            ..quiet(options, Vec::new())
        }],
        goals: target::benign(),
    }
}

fn noisy(options: &Options) -> Part {
    let origins = [Origin::One, Origin::Ipv6, Origin::Three];
    let every = RATES
        .iter()
        .flat_map(|rate| Shape::SCANS.map(|shape| (*rate, shape)));
    let scanners = every
        .zip(origins.iter().cycle())
        .map(|((rate, shape), origin)| ScannerPlan {
            shape,
            origin: *origin,
            rate,
            contacts: 100,
            twice: 0.2,
        });
    let audit = ScannerPlan {
        shape: Shape::Block,
        origin: Origin::Auditor,
        rate: Rate {
            name: "weekly",
            per_second: 1.0,
        },
        contacts: u32::MAX,
        twice: 0.0,
    };
    Part {
        title: "everything at once, and a vulnerability scanner that is allowed".to_owned(),
        runs: vec![Run {
            noise: everyday(options),
            audits: vec![audit; places(options.days / 7 + 1)],
            ..quiet(options, scanners.collect())
        }],
        goals: target::noisy(),
    }
}

fn fleet(options: &Options) -> FleetPlan {
    FleetPlan {
        clients: options.clients,
        traps: options.traps,
        candidates: options.candidates,
        choice: Choice::Drawn,
    }
}

/// A fleet that a few strangers touch by mistake, and these scanners.
fn quiet(options: &Options, scanners: Vec<ScannerPlan>) -> Run {
    Run {
        fleet: fleet(options),
        lasts: DAY * options.days,
        noise: NoisePlan {
            strangers: QUIET,
            ..NoisePlan::default()
        },
        scanners,
        audits: Vec::new(),
        flood: None,
    }
}

/// What a fleet has to bear every day: two strangers to a client, one careless host inside to five
/// clients, and a few things that are set up wrong.
fn everyday(options: &Options) -> NoisePlan {
    NoisePlan {
        strangers: options.clients.saturating_mul(2),
        inside: options.clients / 5,
        monitors: 2,
        cron_jobs: 5,
        ..NoisePlan::default()
    }
}

fn places(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
