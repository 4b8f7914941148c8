//! The report, as tables for people and as JSON.
//!
//! JSON: one object with the `options` and a list of `scenarios`; each has its `name` and a list of
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

use crate::evaluate::figures::{Pool, Spread};
use crate::evaluate::scenario::Options;
use crate::evaluate::score::{Alarm, Alarms, Figures, Outcome};
use crate::evaluate::target::{Wanted, bound};
use crate::evaluate::{Check, Report, Scored};
use crate::server::alert::Detector;

/// The report as an object, on one line.
pub fn json(reports: &[Report], options: &Options) -> String {
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

/// The report as text.
pub fn text(reports: &[Report], options: &Options) -> String {
    let mut out = format!(
        "{} clients with {} traps of {} candidates, {} days, seed {}\n",
        options.clients, options.traps, options.candidates, options.days, options.seed
    );
    for report in reports {
        for part in &report.parts {
            out += &format!("\n{}: {}\n", report.scenario.name(), part.title);
            out += &part_text(part);
        }
    }
    let checks = || {
        reports
            .iter()
            .flat_map(|report| &report.parts)
            .flat_map(|part| &part.checks)
    };
    let met = checks().filter(|check| check.is_met()).count();
    out += &format!("\n{met} of {} targets met\n", checks().count());
    out
}

/// Attackers that have something in common.
struct Group {
    by: &'static str,
    value: &'static str,
    pool: Pool,
}

/// The attackers by whatever they differ in; by their rate in any case.
fn groups(figures: &Figures) -> Vec<Group> {
    let mut groups = by(figures, "rate", |outcome| outcome.campaign.rate.name);
    for (what, name) in [
        (
            "shape",
            (|outcome| outcome.campaign.shape.name()) as fn(&Outcome) -> &'static str,
        ),
        ("origin", |outcome| outcome.campaign.origin.name()),
    ] {
        let more = by(figures, what, name);
        if more.len() > 1 {
            groups.extend(more);
        }
    }
    groups
}

fn by(figures: &Figures, what: &'static str, name: fn(&Outcome) -> &'static str) -> Vec<Group> {
    let mut values = Vec::new();
    for outcome in &figures.outcomes {
        if !values.contains(&name(outcome)) {
            values.push(name(outcome));
        }
    }
    let group = |value| Group {
        by: what,
        value,
        pool: figures.pool(|outcome| name(outcome) == value),
    };
    values.into_iter().map(group).collect()
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
        "attackers": groups(figures).iter().map(group_object).collect::<Vec<_>>(),
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

fn part_text(part: &Scored) -> String {
    let figures = &part.figures;
    let mut out = String::new();
    let groups = groups(figures);
    if !groups.is_empty() {
        let head = [
            "attackers",
            "all",
            "found",
            "contacts",
            "p95",
            "hits",
            "p95",
            "probes",
            "p95",
            "delay",
            "p95",
            "found by",
        ];
        let rows = groups.iter().map(group_row);
        out += &columns(
            std::iter::once(head.map(str::to_owned).into())
                .chain(rows)
                .collect(),
        );
    }
    out += &alarm_text(figures, "false alarms", &figures.false_alarms);
    out += &alarm_text(figures, "expected nuisance", &figures.nuisance);
    out += &totals(part);
    let head = ["target", "wanted", "measured", ""]
        .map(str::to_owned)
        .into();
    let rows = part.checks.iter().map(check_row);
    out + &columns(std::iter::once(head).chain(rows).collect())
}

fn group_row(group: &Group) -> Vec<String> {
    let pool = &group.pool;
    let by = pool
        .by
        .iter()
        .map(|(detector, count)| format!("{} {count}", detector.name()));
    let mut row = vec![
        group.value.to_owned(),
        pool.attackers.to_string(),
        pool.share()
            .map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
    ];
    for (spread, write) in [
        (pool.contacts, number as fn(f64) -> String),
        (pool.hits, number),
        (pool.probes, number),
        (pool.seconds, seconds),
    ] {
        for figure in [spread.median, spread.p95] {
            row.push(figure.map_or_else(|| "–".to_owned(), write));
        }
    }
    row.push(by.collect::<Vec<_>>().join(", "));
    row
}

fn alarm_text(figures: &Figures, what: &str, alarms: &Alarms) -> String {
    if alarms.is_empty() {
        return format!("  no {what}\n");
    }
    let head = [what, "about", "in all", "a day", "bound", "medium or worse"];
    let rows = alarms.iter().map(|((detector, subject), alarm)| {
        vec![
            detector.name().to_owned(),
            (*subject).to_owned(),
            alarm.opened.to_string(),
            number(figures.per_day(alarm.opened)),
            bound(*detector).map_or_else(|| "–".to_owned(), number),
            alarm.serious.to_string(),
        ]
    });
    columns(
        std::iter::once(head.map(str::to_owned).into())
            .chain(rows)
            .collect(),
    )
}

fn totals(part: &Scored) -> String {
    let figures = &part.figures;
    let alerts = &figures.alerts;
    let per_alert = figures
        .events_per_alert()
        .map_or_else(|| "–".to_owned(), number);
    let resident = figures
        .resident
        .map_or_else(String::new, |kib| format!(", {} MiB resident", kib / 1024));
    format!(
        "  {} events in {} days; {} alerts ({} opened, {} updates, {} closed), {} a day, {} events \
         an alert{}\n",
        figures.events,
        number(figures.days()),
        alerts.all(),
        alerts.opened,
        alerts.updated,
        alerts.closed,
        number(figures.per_day(alerts.all())),
        per_alert,
        resident,
    )
}

fn check_row(check: &Check) -> Vec<String> {
    let wanted = match check.wanted {
        Wanted::AtMost(most) => format!("at most {}", number(most)),
        Wanted::AtLeast(least) => format!("at least {}", number(least)),
    };
    vec![
        check.what.clone(),
        wanted,
        check.measured.map_or_else(|| "never".to_owned(), number),
        if check.is_met() { "met" } else { "missed" }.to_owned(),
    ]
}

/// Three digits that count, and not more.
fn number(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        ..0.1 => 3,
        ..10.0 if value.fract() == 0.0 => 0,
        ..10.0 => 2,
        ..100.0 if value.fract() == 0.0 => 0,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

/// A span in the unit that suits it.
fn seconds(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    let unit = UNITS.iter().find(|(length, _)| seconds >= *length);
    let (length, name) = unit.copied().unwrap_or((0.001, "ms"));
    format!("{:.1} {name}", seconds / length)
}

/// Rows under each other: what comes first and last to the left, the rest to the right.
fn columns(rows: Vec<Vec<String>>) -> String {
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let last = row.len().saturating_sub(1);
        let mut line = String::new();
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line += &match place {
                0 => format!("  {cell:<width$}"),
                _ if place == last => format!("  {cell}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}
