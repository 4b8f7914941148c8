//! The report as JSON, for programs.
//!
//! One object with the `options` and a list of `scenarios`; each has its `name` and a list of
//! `parts` {`title`, `runs`, `days`, `events`, `alerts` {`opened`, `updated`, `closed`, `per_day`,
//! `events_per_alert`}, `attackers`, `false_alarms`, `nuisance`, `resident_kib`, `targets`}. An item
//! of `attackers` is a group of them: `by` what they are grouped (`rate`, `shape`, `origin`), its
//! `value`, how many there were (`attackers`) and were `found`, `found_by` (detectors with their
//! counts), and `contacts`, `hits`, `probes`, `seconds` until then {`median`, `p95`}, null where it
//! never came so far. An item of `false_alarms` and `nuisance`: `detector`, kind of `subject`,
//! `alarms`, `per_day`, `bound` (a day, may be null), `serious` (of medium severity or more). An item
//! of `targets`: `what`, `wanted` {`at_most` or `at_least`}, `measured` (may be null), `met`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::evaluate::figures::{Group, Spread};
use crate::evaluate::scenario::Options;
use crate::evaluate::score::{Alarm, Alarms, Figures};
use crate::evaluate::target::{Wanted, bound};
use crate::evaluate::{Check, Report, Scored};
use crate::server::alert::Detector;

/// The report as an object, on one line.
pub fn object(reports: &[Report], options: &Options) -> String {
    let scenarios = reports.iter().map(|report| {
        let parts: Vec<_> = report.parts.iter().map(part_object).collect();
        json!({"name": report.scenario.name(), "parts": parts})
    });
    let object = json!({
        "options": {
            "clients": options.clients,
            "traps": options.traps,
            "candidates": options.candidates,
            "days": options.days,
            "scanners": options.scanners,
            "flood": options.flood,
            "seed": options.seed,
        },
        "scenarios": scenarios.collect::<Vec<_>>(),
    });
    format!("{object}\n")
}

fn part_object(part: &Scored) -> Value {
    let figures = &part.figures;
    let alerts = &figures.alerts;
    json!({
        "title": part.title,
        "runs": part.runs,
        "days": figures.days(),
        "events": figures.events,
        "alerts": {
            "opened": alerts.opened,
            "updated": alerts.updated,
            "closed": alerts.closed,
            "per_day": figures.per_day(alerts.all()),
            "events_per_alert": figures.events_per_alert(),
        },
        "attackers": figures.groups().iter().map(group_object).collect::<Vec<_>>(),
        "false_alarms": alarm_objects(figures, &figures.false_alarms),
        "nuisance": alarm_objects(figures, &figures.nuisance),
        "resident_kib": figures.resident,
        "targets": part.checks.iter().map(check_object).collect::<Vec<_>>(),
    })
}

fn group_object(group: &Group) -> Value {
    let pool = &group.pool;
    let spread = |spread: Spread| json!({"median": spread.median, "p95": spread.p95});
    let found_by: BTreeMap<_, _> = pool
        .by
        .iter()
        .map(|(by, count)| (by.name(), count))
        .collect();
    json!({
        "by": group.by,
        "value": group.value,
        "attackers": pool.attackers,
        "found": pool.found,
        "found_by": found_by,
        "contacts": spread(pool.contacts),
        "hits": spread(pool.hits),
        "probes": spread(pool.probes),
        "seconds": spread(pool.seconds),
    })
}

fn alarm_objects(figures: &Figures, alarms: &Alarms) -> Vec<Value> {
    let object = |((detector, subject), alarm): (&(Detector, &str), &Alarm)| {
        json!({
            "detector": detector.name(),
            "subject": subject,
            "alarms": alarm.opened,
            "per_day": figures.per_day(alarm.opened),
            "bound": bound(*detector),
            "serious": alarm.serious,
        })
    };
    alarms.iter().map(object).collect()
}

fn check_object(check: &Check) -> Value {
    let wanted = match check.wanted {
        Wanted::AtMost(most) => json!({"at_most": most}),
        Wanted::AtLeast(least) => json!({"at_least": least}),
    };
    json!({
        "what": check.what,
        "wanted": wanted,
        "measured": check.measured,
        "met": check.is_met(),
    })
}
