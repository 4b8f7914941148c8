//! What the figures have to come to.

use std::collections::BTreeSet;

use crate::evaluate::Check;
use crate::evaluate::scanner::{HOURLY, Rate};
use crate::evaluate::score::{Figures, Outcome};
use crate::server::alert::Detector;

/// A figure that is wanted.
#[derive(Clone, Debug)]
pub struct Goal {
    /// What it is.
    pub what: String,
    /// What it should be.
    pub wanted: Wanted,
    /// How it is read from the figures; `None` for what never came about.
    pub measure: fn(&Figures) -> Option<f64>,
}

/// How large a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// So large or less.
    AtMost(f64),
    /// So large or more.
    AtLeast(f64),
}

impl Wanted {
    /// Whether a figure is as it should be. What never came about is not.
    pub fn is_met(self, measured: Option<f64>) -> bool {
        match (self, measured) {
            (Self::AtMost(most), Some(measured)) => measured <= most,
            (Self::AtLeast(least), Some(measured)) => measured >= least,
            (Self::AtMost(_) | Self::AtLeast(_), None) => false,
        }
    }
}

/// Detectors that fire at a number of hits within a time, whoever it was. They are set by whoever
/// runs the server, and promise nothing about false alarms.
const THRESHOLDS: [&str; 4] = [
    "frequent-source",
    "frequent-port",
    "frequent-client",
    "hammering",
];

/// So many false alarms a day of a fleet, by detector.
const BOUNDS: [(&str, f64); 4] = [
    ("slow-scan", 0.3),
    ("subnet-scan", 0.1),
    ("port-surge", 0.1),
    ("client-surge", 0.2),
];

/// The false alarms a day that a detector may raise; `None` if it promises nothing.
pub fn bound(detector: Detector) -> Option<f64> {
    let known = BOUNDS.iter().find(|(name, _)| *name == detector.name());
    known.map(|(_, bound)| *bound)
}

/// Whether each detector that has raised false alarms has kept what it promises.
pub fn bounds(figures: &Figures) -> Vec<Check> {
    let raised: BTreeSet<_> = figures
        .false_alarms
        .keys()
        .map(|(detector, _)| *detector)
        .collect();
    let check = |detector: Detector| {
        let alarms = figures.false_alarms(|other, _| other == detector);
        bound(detector).map(|bound| Check {
            what: format!("false alarms a day of {}", detector.name()),
            wanted: Wanted::AtMost(bound),
            measured: Some(figures.per_day(alarms)),
        })
    };
    raised.into_iter().filter_map(check).collect()
}

fn goal(what: &str, wanted: Wanted, measure: fn(&Figures) -> Option<f64>) -> Goal {
    Goal {
        what: what.to_owned(),
        wanted,
        measure,
    }
}

/// Of `slow`.
pub fn slow() -> Vec<Goal> {
    vec![
        goal(
            "one an hour: first contacts until found, median",
            Wanted::AtMost(4.0),
            |figures| {
                figures
                    .pool(|outcome| is(outcome, HOURLY.name))
                    .contacts
                    .median
            },
        ),
        goal(
            "one a day: first contacts until found, median",
            Wanted::AtMost(6.0),
            |figures| {
                figures
                    .pool(|outcome| is(outcome, "1 a day"))
                    .contacts
                    .median
            },
        ),
        goal(
            "a burst of one a second: first contacts until found, median",
            Wanted::AtMost(6.0),
            |figures| {
                figures
                    .pool(|outcome| is(outcome, "1 a second"))
                    .contacts
                    .median
            },
        ),
        false_alarms(),
    ]
}

/// Of `shared`.
pub fn shared() -> Vec<Goal> {
    vec![
        goal(
            "one an hour together: share found",
            Wanted::AtLeast(0.9),
            |figures| figures.pool(|outcome| is(outcome, HOURLY.name)).share(),
        ),
        false_alarms(),
    ]
}

/// Of `coordinated`, where so many sources work together.
pub fn coordinated(sources: u32) -> Vec<Goal> {
    vec![goal(
        "contacts until coordinated-scan has tripped",
        Wanted::AtMost(f64::from(sources)),
        |figures| figures.tripped("coordinated-scan").median,
    )]
}

/// Of `coordinated`, where nobody works together.
pub fn uncoordinated() -> Vec<Goal> {
    vec![goal(
        "incidents opened by coordinated-scan",
        Wanted::AtMost(0.0),
        |figures| {
            let ours = |detector: Detector, _: &str| detector.name() == "coordinated-scan";
            Some(f64::from(figures.false_alarms(ours)))
        },
    )]
}

/// Of `lateral`.
pub fn lateral() -> Vec<Goal> {
    vec![
        goal(
            "share found at the first contact",
            Wanted::AtLeast(1.0),
            |figures| figures.pool(|_| true).share(),
        ),
        false_alarms(),
    ]
}

/// Of `flood`.
pub fn flood() -> Vec<Goal> {
    vec![
        goal(
            "share of the attackers found",
            Wanted::AtLeast(0.99),
            |figures| figures.pool(|_| true).share(),
        ),
        goal(
            "first contacts until found, median",
            Wanted::AtMost(4.0),
            |figures| figures.pool(|_| true).contacts.median,
        ),
        goal(
            "false alarms about sources",
            Wanted::AtMost(0.0),
            |figures| {
                let about_sources = |_, subject: &str| matches!(subject, "source" | "network");
                Some(f64::from(figures.false_alarms(about_sources)))
            },
        ),
    ]
}

/// Of `benign`.
pub fn benign() -> Vec<Goal> {
    vec![false_alarms()]
}

/// Of `noisy`.
pub fn noisy() -> Vec<Goal> {
    vec![
        goal(
            "share found of those of one a day or more",
            Wanted::AtLeast(0.9),
            |figures| {
                let daily = |outcome: &Outcome| outcome.campaign.rate.per_second > 1.1e-5;
                figures.pool(daily).share()
            },
        ),
        false_alarms(),
    ]
}

fn false_alarms() -> Goal {
    goal(
        "false alarms a day, but those of fixed thresholds",
        Wanted::AtMost(1.0),
        |figures| {
            let counts = |detector: Detector, _: &str| !THRESHOLDS.contains(&detector.name());
            Some(figures.per_day(figures.false_alarms(counts)))
        },
    )
}

fn is(outcome: &Outcome, rate: &str) -> bool {
    let Rate { name, .. } = outcome.campaign.rate;
    name == rate
}
