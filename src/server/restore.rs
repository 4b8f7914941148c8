//! A server that starts again goes on where it was.
//!
//! Clients are as the store has them. The engine gets the events of the last 31 days again, the last
//! 20 million if there are more, in the order in which they arrived, and what it says to them is
//! not said again. Then the store has the last word: an incident that is not open there is not open, and
//! what was last told of one that is, was told. So an incident that was open stays open under its
//! id, and is updated and closed as if nothing had happened. One that the events do not explain
//! any more, because the settings have changed or they have expired, is closed with a note.
//!
//! Clients that were silent stay silent; all others count as just heard from, because they have
//! to find the server again first.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use log::{info, warn};
use serde_json::Value;

use crate::config::server::ServerSettings;
use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Action, Detector, Network, Severity, Shape, Source, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::clients::{Client, Farewell};
use crate::server::correlate::dormant::{self, Closed, Grounds};
use crate::server::correlate::foresight::BATCH;
use crate::server::correlate::incident::{Gist, Memory};
use crate::server::correlate::incidents::Key;
use crate::server::correlate::sources::hash::Secret;
use crate::server::store::StoreError;
use crate::server::store::reader::{Reader, StoredIncident, Which};
use crate::server::store::record::AlertRecord;

/// What a server knows when it starts.
#[derive(Debug)]
pub struct Restored {
    /// The engine as it was.
    pub correlator: Correlator,
    /// Where clients were last, those heard from most lately last.
    pub addresses: Vec<IpAddr>,
    /// How far each client's hits are on the disk.
    pub durable: Vec<(ClientId, u64)>,
    /// The number of the last alert, those of `closing` included.
    pub last_alert: u64,
    /// What is to be said of incidents that are open in the store and could not be restored.
    pub closing: Vec<AlertRecord>,
    /// Alerts that may not have been written: number, text, JSON.
    pub undelivered: Vec<(u64, String, String)>,
    /// Clients that are refused, and how far they had come.
    pub blocked: Vec<(ClientId, u64)>,
    /// Clients for which there is no room any more.
    pub forgotten: Vec<ClientId>,
}

/// The engine forgets sources after 30 days; a day more for what came late.
const MEMORY: Duration = Duration::from_secs(31 * 86_400);

/// The latest events, if there are more: what can be taken in within half a minute.
const MOST_EVENTS: u64 = 20_000_000;

/// Reads what a server needs to go on at `now`.
pub fn restore(
    reader: &Reader,
    settings: &ServerSettings,
    hashing: Secret,
    now: Timestamp,
) -> Result<Restored, StoreError> {
    let mut correlator = Correlator::with_secret(settings, hashing);
    let Fleet {
        durable,
        addresses,
        blocked,
        forgotten,
    } = fleet(reader, &mut correlator, now)?;
    let open = reader.incidents(Which::Open)?;
    let events = replay(reader, &mut correlator, now.before(MEMORY))?;
    let memories: BTreeMap<_, _> = open.iter().filter_map(memory).collect();
    let lost = correlator.resume(&memories, now);
    let most = u64::from(settings.limits.incidents)
        .saturating_mul(u64::try_from(dormant::FOR_EACH_OPEN).unwrap_or(u64::MAX));
    reader.closed_incidents(now.before(dormant::MEMORY), most, |incident| {
        if let Some((key, closed)) = closed(incident) {
            correlator.remember_closed(key, closed);
        }
    })?;
    if events > 0 || !durable.is_empty() {
        let (clients, incidents) = (durable.len(), memories.len());
        info!("restored {clients} clients and {incidents} open incidents from {events} events");
    }
    let (mut last_alert, undelivered) = (reader.last_alert()?, reader.undelivered()?);
    let mut closing = Vec::new();
    for incident in open.iter().filter(|incident| lost.contains(&incident.id)) {
        warn!("incident #{} cannot be restored and is closed", incident.id);
        last_alert += 1;
        let text = reader.last_words(&incident.id)?.unwrap_or_default();
        closing.push(farewell(incident, &text, last_alert, now));
    }
    Ok(Restored {
        correlator,
        addresses,
        durable,
        last_alert,
        closing,
        undelivered,
        blocked,
        forgotten,
    })
}

/// The clients as the store has them.
#[derive(Debug, Default)]
struct Fleet {
    durable: Vec<(ClientId, u64)>,
    /// Where they came from, the latest last.
    addresses: Vec<IpAddr>,
    blocked: Vec<(ClientId, u64)>,
    forgotten: Vec<ClientId>,
}

/// Has the engine take up the clients that there is room for, and that are not blocked.
fn fleet(
    reader: &Reader,
    correlator: &mut Correlator,
    now: Timestamp,
) -> Result<Fleet, StoreError> {
    let mut fleet = Fleet::default();
    let mut clients = reader.clients()?;
    let mut blocked: BTreeMap<_, _> = reader.blocked()?.iter().map(|it| (it.id, 0)).collect();
    // If there is no room for all, it is for those heard from most lately.
    clients.sort_by_key(|client| std::cmp::Reverse(client.last_seen));
    for client in clients {
        fleet.durable.push((client.id, client.progress));
        if let Some(come) = blocked.get_mut(&client.id) {
            *come = client.progress;
            continue;
        }
        let known = Client {
            since: client.first_seen.min(now),
            seen: client.last_seen.min(now),
            farewell: if client.farewell {
                Farewell::Said
            } else {
                Farewell::None
            },
            progress: client.progress,
            missing: client.missing,
            address: client.address.parse().ok(),
            traps: client.status.traps,
            ..Client::new(&client.name, now)
        };
        fleet.addresses.extend(known.address);
        correlator.remember(client.id, &known);
        if correlator.client(client.id).is_none() {
            fleet.durable.pop();
            fleet.forgotten.push(client.id);
        }
    }
    fleet.addresses.reverse();
    fleet.blocked = blocked.into_iter().collect();
    Ok(fleet)
}

/// Has the engine take in what has arrived since then, and says how many events that was.
fn replay(
    reader: &Reader,
    correlator: &mut Correlator,
    since: Timestamp,
) -> Result<u64, StoreError> {
    let (mut number, mut batch) = (0, Vec::with_capacity(BATCH));
    reader.arrived_since(since, MOST_EVENTS, |event| {
        number += 1;
        batch.push(event);
        if batch.len() >= BATCH {
            correlator.replay(&batch);
            batch.clear();
        }
    })?;
    correlator.replay(&batch);
    Ok(number)
}

/// The last alert of an incident once more, as one that closes it.
fn farewell(incident: &StoredIncident, text: &str, number: u64, now: Timestamp) -> AlertRecord {
    let mut line: Value = serde_json::from_str(&incident.line).unwrap_or_default();
    let message = messages(incident, &line).saturating_add(1);
    if let Some(fields) = line.as_object_mut() {
        fields.insert("action".to_owned(), Action::Close.name().into());
        fields.insert("time".to_owned(), now.precise().into());
        let id = format!("{}-{message}", incident.id);
        fields.insert("message".to_owned(), id.into());
        let note = "the server was started anew and could not go on with it";
        fields.insert("notes".to_owned(), vec![note].into());
    }
    // A line of text begins with the time and ends with what became of the incident.
    let what = text.split_once(' ').map_or("", |(_, rest)| rest);
    let what = what.rsplit_once(' ').map_or(what, |(what, _)| what);
    AlertRecord {
        number,
        incident: incident.id.clone(),
        action: Action::Close.name(),
        time: now,
        first_seen: incident.first_seen,
        last_seen: incident.last_seen,
        text: format!("{now} {what} {}", Action::Close.name()),
        line: line.to_string(),
    }
}

/// What an incident's last alert said.
fn memory(incident: &StoredIncident) -> Option<(String, Memory)> {
    let line: Value = serde_json::from_str(&incident.line).ok()?;
    let count = |name: &str| usize::try_from(line.get(name)?.get("count")?.as_u64()?).ok();
    let text = |name: &str| line.get(name)?.as_str();
    let memory = Memory {
        at: time(text("time")?)?,
        alerts: messages(incident, &line),
        what: Gist {
            hits: line.get("hits")?.as_u64()?,
            clients: count("clients")?,
            // Alerts of before witnesses were counted have none.
            witnesses: line
                .get("witnesses")
                .and_then(Value::as_u64)
                .and_then(|witnesses| usize::try_from(witnesses).ok())
                .unwrap_or(0),
            ports: count("ports")?,
            detectors: line.get("detectors")?.as_array()?.len(),
            // What is about vft itself is not gone on with.
            reasons: 0,
            severity: severity(&line)?,
            shape: Shape::ALL
                .into_iter()
                .find(|it| Some(it.name()) == text("shape")),
        },
        key: key(&line)?,
        first_seen: incident.first_seen,
    };
    Some((incident.id.clone(), memory))
}

/// What is remembered of an incident that is closed.
fn closed(incident: &StoredIncident) -> Option<(Key, Closed)> {
    let line: Value = serde_json::from_str(&incident.line).ok()?;
    let text = |name: &str| line.get(name)?.as_str();
    let key = key(&line).filter(|key| matches!(key, Key::Scan(_)))?;
    if text("action") != Some(Action::Close.name()) {
        return None;
    }
    let closed = Closed {
        id: incident.id.clone(),
        at: time(text("time")?)?,
        last_seen: incident.last_seen,
        severity: severity(&line)?,
        grounds: Grounds::of(detectors(&line)),
        recurrence: u32::try_from(line.get("recurrence")?.as_u64()?).ok()?,
        messages: messages(incident, &line),
    };
    Some((key, closed))
}

/// How many messages there were about an incident. A row that was lost and made anew counts only
/// the alerts that are kept; the last of them knows better.
fn messages(incident: &StoredIncident, line: &Value) -> u32 {
    let id = line.get("message").and_then(Value::as_str);
    let last = id.and_then(|id| id.rsplit('-').next()?.parse().ok());
    let counted = u32::try_from(incident.alerts).unwrap_or(u32::MAX);
    counted.max(last.unwrap_or(0))
}

fn time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let micros = u64::try_from(time.as_microsecond()).ok()?;
    Some(Timestamp::from_micros(micros))
}

fn severity(line: &Value) -> Option<Severity> {
    let name = line.get("severity")?.as_str()?;
    Severity::ALL.into_iter().find(|it| it.name() == name)
}

/// What an incident has tripped.
fn detectors(line: &Value) -> impl Iterator<Item = Detector> {
    let names = line.get("detectors").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(|name| {
        let name = name.as_str()?;
        Detector::ALL.into_iter().find(|it| it.name() == name)
    })
}

/// Whom or what an incident is about.
fn subject(line: &Value) -> Option<Subject> {
    let subject = line.get("subject")?;
    let value = subject.get("value")?.as_str()?;
    match subject.get("kind")?.as_str()? {
        "source" => {
            let address = value.split('/').next()?.parse().ok()?;
            Some(Subject::Source(Source::of(address)))
        }
        "port" => value.parse().ok().map(Subject::Port),
        "client" => client(value).map(Subject::Client),
        "network" => {
            let address = value.split('/').next()?.parse().ok()?;
            Some(Subject::Network(Network::of(address)))
        }
        "server" => Some(Subject::Server),
        "fleet" => Some(Subject::Fleet),
        _ => None,
    }
}

/// What an incident is found by.
fn key(line: &Value) -> Option<Key> {
    let name = line.get("detector")?.as_str()?;
    let detector = Detector::ALL.into_iter().find(|it| it.name() == name)?;
    Some(Key::new(detector, subject(line)?))
}

fn client(digits: &str) -> Option<ClientId> {
    let mut id = [0; 16];
    for (index, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(ClientId(id))
}

#[cfg(test)]
mod tests;
