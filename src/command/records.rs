//! `vft alerts`, `vft events`: what a server has stored.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::Value;

use crate::cli::records::{AlertsArgs, AlertsCommand, EventFormat, EventsArgs, StoreArgs, When};
use crate::clock;
use crate::command::print;
use crate::config::server::{Format, Network};
use crate::config::state;
use crate::event::{ClientId, Event, Timestamp, distinct_name};
use crate::exit::{Failure, Kind};
use crate::replay::{csv, json};
use crate::server::store::FILE;
use crate::server::store::reader::{More, Reader, Selection, StoredIncident, Which};

/// Lists incidents, or shows one.
pub fn alerts(args: &AlertsArgs) -> Result<(), Failure> {
    let reader = open(&args.store)?;
    if let Some(AlertsCommand::Show { id }) = &args.command {
        return show(&reader, id.trim_start_matches('#'), args.format);
    }
    let which = if args.open { Which::Open } else { Which::All };
    let incidents = reader.incidents(which)?;
    match args.format {
        Format::Json => print(&lines(
            incidents.iter().map(|incident| incident.line.clone()),
        )),
        Format::Text if incidents.is_empty() => print("no incidents\n"),
        Format::Text => print(&lines(incidents.iter().map(one_line))),
    }
}

/// Lists events.
pub fn events(args: &EventsArgs) -> Result<(), Failure> {
    let reader = open(&args.store)?;
    let now = Timestamp::from(clock::wall());
    let time = |when: When| match when {
        When::At(micros) => Timestamp::from_micros(micros),
        When::Ago(ago) => now.before(ago),
    };
    let selection = Selection {
        source: args.source.map(|network| network.0),
        port: args.port,
        client: args.client.as_ref().map(|client| client.to_lowercase()),
        since: args.since.map(time),
        until: args.until.map(time),
    };
    write_events(
        &reader,
        &selection,
        args.limit.unwrap_or(u64::MAX),
        args.format,
    )
}

/// Names that several clients bear. They are shown with the beginning of the client's id; JSON and
/// CSV have the whole id in a field of its own.
pub struct Names(BTreeSet<String>);

impl Names {
    /// Those of a store.
    pub fn of(reader: &Reader) -> Result<Self, Failure> {
        Ok(Self(reader.shared_names()?))
    }

    /// What people call a client.
    pub fn shown<'a>(&self, id: ClientId, name: &'a str) -> Cow<'a, str> {
        if self.0.contains(name) {
            distinct_name(name, id).into()
        } else {
            name.into()
        }
    }
}

/// The store that is meant.
pub fn open(args: &StoreArgs) -> Result<Reader, Failure> {
    Ok(Reader::open(&folder(args).join(FILE))?)
}

/// The state folder of the server that is meant.
pub fn folder(args: &StoreArgs) -> PathBuf {
    state::folder(args.state_dir.as_deref()).join("server")
}

/// Each of them as a line.
pub fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("?")
}

fn one_line(incident: &StoredIncident) -> String {
    let alert: Value = serde_json::from_str(&incident.line).unwrap_or_default();
    let subject = alert.get("subject").unwrap_or(&Value::Null);
    let (value, name) = (
        text(subject, "value"),
        subject.get("name").and_then(Value::as_str),
    );
    let about = match (text(subject, "kind"), name) {
        ("client", Some(name)) => name.to_owned(),
        (_, Some(name)) => format!("{value} (client {name})"),
        (_, None) => value.to_owned(),
    };
    format!(
        "#{} {} {:<6} {:<13} {:<16} {}",
        incident.id,
        text(&alert, "time"),
        text(&alert, "action"),
        text(&alert, "severity"),
        about,
        text(&alert, "title"),
    )
}

fn show(reader: &Reader, id: &str, format: Format) -> Result<(), Failure> {
    let incident = reader.incident(id)?.ok_or_else(|| {
        Failure::new(Kind::Runtime, format!("there is no incident #{id}"))
            .hint("`vft alerts` lists them")
    })?;
    let alerts = reader.alerts(id)?;
    if format == Format::Json {
        return print(&lines(alerts.into_iter()));
    }
    let last: Value = serde_json::from_str(&incident.line).unwrap_or_default();
    let mut out = one_line(&incident) + "\n\n" + text(&last, "explain") + "\n";
    for line in &alerts {
        let alert: Value = serde_json::from_str(line).unwrap_or_default();
        out += &format!(
            "\n{} {:<6} {}",
            text(&alert, "time"),
            text(&alert, "action"),
            text(&alert, "title")
        );
    }
    if let Some(hint) = last.get("allow_hint").and_then(Value::as_str) {
        out += &format!("\n\nto mute exactly this, in the server's settings:\n\n{hint}");
    }
    out += "\n\nevents:\n";
    print(&out)?;
    write_events(reader, &evidence(&last), EVIDENCE, EventFormat::Text)
}

/// Events that are shown with an incident.
const EVIDENCE: u64 = 1000;

/// The events that an incident rests on, as far as its last alert names them.
fn evidence(alert: &Value) -> Selection {
    let time = |name: &str| {
        let time: jiff::Timestamp = text(alert, name).parse().ok()?;
        u64::try_from(time.as_microsecond())
            .ok()
            .map(Timestamp::from_micros)
    };
    let subject = alert.get("subject").unwrap_or(&Value::Null);
    let value = text(subject, "value");
    let kind = text(subject, "kind");
    // Alerts have milliseconds, events microseconds.
    let until = time("last_seen").map(|last| last.after(std::time::Duration::from_millis(1)));
    Selection {
        source: matches!(kind, "source" | "network")
            .then(|| network(value))
            .flatten(),
        port: (kind == "port").then(|| value.parse().ok()).flatten(),
        client: (kind == "client").then(|| value.to_owned()),
        since: time("first_seen"),
        until,
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<Network>().ok().map(|network| network.0)
}

fn write_events(
    reader: &Reader,
    selection: &Selection,
    limit: u64,
    format: EventFormat,
) -> Result<(), Failure> {
    let names = Names::of(reader)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut outcome = match format {
        EventFormat::Csv => csv::write_header(&mut out),
        EventFormat::Text | EventFormat::Json => Ok(()),
    };
    let mut left = limit;
    reader.events(selection, |event, name| {
        if left == 0 || outcome.is_err() {
            return More::Enough;
        }
        left -= 1;
        outcome = match format {
            EventFormat::Text => {
                let name = names.shown(event.client, name);
                writeln!(out, "{}", event_text(event, &name))
            }
            EventFormat::Json => json::line(event, name)
                .map_err(io::Error::from)
                .and_then(|line| writeln!(out, "{line}")),
            EventFormat::Csv => csv::write(&mut out, event, name),
        };
        More::Please
    })?;
    match outcome.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Kind::Runtime,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}

fn event_text(event: &Event, name: &str) -> String {
    let hit = &event.hit;
    format!(
        "{} {:<20} {:<39} {:>5} → {:<5} {} ×{}",
        event.at.precise(),
        name,
        hit.source,
        hit.source_port,
        hit.trap_port,
        hit.probe.name(),
        hit.count
    )
}
