//! The report as tables, for people.

use crate::evaluate::figures::{Group, Pool};
use crate::evaluate::scenario::Options;
use crate::evaluate::score::{Alarms, Figures};
use crate::evaluate::target::{Wanted, bound};
use crate::evaluate::{Check, Report, Scored};

/// The report as text.
pub fn text(reports: &[Report], options: &Options) -> String {
    let mut out = format!(
        "{} clients with {} traps of {} candidates, {}, seed {}\n",
        options.clients,
        options.traps,
        options.candidates,
        days(options.days.into()),
        options.seed
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

fn part_text(part: &Scored) -> String {
    let figures = &part.figures;
    let mut out = attackers_text(&figures.groups());
    out += &alarm_text(figures, "false alarms", &figures.false_alarms);
    out += &alarm_text(figures, "expected nuisance", &figures.nuisance);
    out += &totals(part);
    let head = ["target", "wanted", "measured", ""]
        .map(str::to_owned)
        .into();
    let rows = part.checks.iter().map(check_row);
    out + &columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn attackers_text(groups: &[Group]) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut by = "";
    for group in groups {
        if group.by != by {
            by = group.by;
            let mut head = vec![
                format!("attackers by {by}"),
                "all".to_owned(),
                "found".to_owned(),
            ];
            for what in ["contacts", "hits", "probes", "delay"] {
                head.extend([what.to_owned(), "p95".to_owned()]);
            }
            head.push("found by".to_owned());
            rows.push(head);
        }
        rows.push(group_row(group));
    }
    columns(&rows)
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
        share(pool),
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
    let head = head.map(str::to_owned).into();
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
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
        "  {} events in {}; {} alerts ({} opened, {} updates, {} closed), {} a day, {} events \
         an alert{}\n",
        figures.events,
        days(figures.days()),
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

fn days(days: f64) -> String {
    match number(days).as_str() {
        "1" => "1 day".to_owned(),
        many => format!("{many} days"),
    }
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

/// The share of attackers that were found.
pub fn share(pool: &Pool) -> String {
    let share = pool.share();
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

/// A span in the unit that suits it.
pub fn seconds(seconds: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s")];
    if seconds == 0.0 {
        return "0 s".to_owned();
    }
    let unit = UNITS.iter().find(|(length, _)| seconds >= *length);
    let (length, name) = unit.copied().unwrap_or((0.001, "ms"));
    format!("{:.1} {name}", seconds / length)
}

/// Rows under each other: what comes first and last to the left, the rest to the right.
fn columns(rows: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for row in rows {
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
