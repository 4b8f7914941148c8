//! Incidents in figures: from what the engine knows to an alert.

use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{
    Action, Alert, Detector, Exactness, NamedClient, Sampled, Severity, Subject, Zone,
};
use crate::server::correlate::clients::{Clients, Farewell};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::severity::{Credit, Origin};
use crate::server::correlate::tally::MAX_CONTACTS;
use crate::server::correlate::words::{Words, span};

/// The alert that says `action` of `incident`.
pub fn describe(incident: &Incident, action: Action, now: Timestamp, clients: &Clients) -> Alert {
    let name = |id| NamedClient {
        id,
        name: clients.name(id),
    };
    let named = match (incident.opened_by, incident.subject) {
        (Detector::SilentClient, Subject::Fleet) => incident.roll_call.sampled(name),
        (_, _) => incident.clients.sampled(name),
    };
    let ports = incident.ports.sampled(|port| port);
    let sources = incident.sources.sampled(|source| source);
    let words = Words {
        incident,
        clients: &named,
        ports: &ports,
        sources: &sources,
        now,
    };
    Alert {
        time: now,
        action,
        incident: incident.id.clone(),
        message: incident.messages.saturating_add(1),
        detector: incident.opened_by,
        detectors: incident.statistics.keys().copied().collect(),
        severity: severity(incident, clients),
        confidence: confidence(incident),
        title: words.title(),
        subject: incident.subject,
        subject_name: match incident.subject {
            Subject::Client(id) => Some(clients.name(id)),
            Subject::Source(_) => {
                let client = incident.sources.only().and_then(|it| clients.at(it));
                client.map(|id| clients.name(id))
            }
            Subject::Port(_) | Subject::Network(_) | Subject::Fleet | Subject::Server => None,
        },
        zone: match incident.circumstances.origin {
            Origin::Inside => Some(Zone::Inside),
            Origin::Outside => Some(Zone::Outside),
            Origin::Elsewhere => None,
        },
        first_seen: incident.first_seen,
        last_seen: incident.last_seen,
        hits: incident.hits,
        first_contacts: incident.contacts.count(),
        witnesses: u64::try_from(incident.testimony.count()).unwrap_or(u64::MAX),
        shape: incident.shape(),
        recurrence: incident.recurrence,
        statistics: incident.statistics.values().copied().collect(),
        attack: attack(incident),
        explain: words.explain(),
        allow_hint: allow_hint(incident, &ports),
        notes: notes(incident, &named, clients),
        clients: named,
        ports,
        sources,
    }
}

fn severity(incident: &Incident, clients: &Clients) -> Severity {
    if stopped_on_purpose(incident, clients) {
        Severity::Informational
    } else {
        incident.severity()
    }
}

fn stopped_on_purpose(incident: &Incident, clients: &Clients) -> bool {
    match (incident.opened_by, incident.subject) {
        (Detector::SilentClient, Subject::Client(id)) => clients
            .get(id)
            .is_some_and(|client| client.farewell == Farewell::Said),
        _ => false,
    }
}

/// Nothing legitimate uses a trap, so even one triple is a fact; that it is meant grows with the
/// distinct traps that were touched, those of clients at one address counted once for each port.
/// What decides beside them is how many detectors agree, so these are steps and not probabilities.
fn confidence(incident: &Incident) -> u8 {
    if incident.opened_by.is_about_health() {
        return 90;
    }
    let by_contacts = match incident.testimony.accounts() {
        0 | 1 => 40,
        2 => 60,
        3 | 4 => 80,
        _ => 95,
    };
    match incident.circumstances.credit {
        Credit::Full => by_contacts,
        Credit::Doubtful { .. } => 20,
    }
}

/// The techniques of MITRE ATT&CK that the detectors an incident has tripped speak of.
fn attack(incident: &Incident) -> Vec<&'static str> {
    let mut ids: Vec<_> = incident
        .statistics
        .keys()
        .filter_map(|detector| technique(*detector))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// T1046 is Network Service Discovery, T1595.001 Scanning IP Blocks, T1021 Remote Services, T1110
/// Brute Force, T1562 Impair Defenses.
const fn technique(detector: Detector) -> Option<&'static str> {
    match detector {
        Detector::FrequentSource
        | Detector::FrequentPort
        | Detector::FrequentClient
        | Detector::SlowScan
        | Detector::PortSurge
        | Detector::ClientSurge
        | Detector::ReturningSource
        | Detector::PersistentSource => Some("T1046"),
        Detector::SubnetScan | Detector::CoordinatedScan => Some("T1595.001"),
        Detector::LateralMovement => Some("T1021"),
        Detector::Hammering => Some("T1110"),
        Detector::LyingClient | Detector::ClonedClient | Detector::SilentClient => Some("T1562"),
        Detector::NewClient | Detector::Degraded => None,
    }
}

fn allow_hint(incident: &Incident, ports: &Sampled<u16>) -> Option<String> {
    if incident.opened_by.is_about_health() {
        return None;
    }
    let network = match incident.subject {
        Subject::Source(source) => source.to_string(),
        Subject::Network(network) => network.to_string(),
        Subject::Port(_) | Subject::Client(_) | Subject::Fleet | Subject::Server => return None,
    };
    if ports.count > u64::try_from(ports.sample.len()).unwrap_or(0) {
        return Some(format!("[[allow]]\nnetwork = \"{network}\""));
    }
    let list: Vec<_> = ports
        .sample
        .iter()
        .map(|(port, _)| port.to_string())
        .collect();
    let list = list.join(",");
    Some(format!(
        "[[allow]]\nnetwork = \"{network}\"\nports = \"{list}\""
    ))
}

/// How many addresses stand behind its clients, where that is fewer.
fn reporters(incident: &Incident, clients: u64) -> Vec<String> {
    let witnesses = u64::try_from(incident.testimony.count()).unwrap_or(u64::MAX);
    if incident.hits == 0 || witnesses > 1 && witnesses >= clients {
        return Vec::new();
    }
    let single = (witnesses <= 1).then(|| "single reporter".to_owned());
    let shared = match (clients, witnesses) {
        (0 | 1, _) => None,
        (_, 1) => Some(format!("{clients} clients at one address report it")),
        (_, _) => Some(format!(
            "{clients} clients report it, but they count as {witnesses} witnesses: some share an \
             address"
        )),
    };
    single.into_iter().chain(shared).collect()
}

/// Hits that come later than this are worth a note.
const LATE: Duration = Duration::from_secs(60);

fn notes(incident: &Incident, named: &Sampled<NamedClient>, clients: &Clients) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(reporters(incident, named.count));
    if let Credit::Doubtful { until } = incident.circumstances.credit {
        notes.push(format!(
            "in doubt: its only reporter also reports far more networks that nobody else sees than \
             the others do; what it reports of new sources counts in full again from {until}, \
             unless that goes on"
        ));
    }
    if incident.lateness >= LATE {
        let late = span(incident.lateness);
        notes.push(format!(
            "late: some hits were reported up to {late} after they happened"
        ));
    }
    if stopped_on_purpose(incident, clients) {
        notes.push("the client said goodbye: it was stopped on purpose".to_owned());
    }
    if incident.contacts.exactness() == Exactness::AtLeast {
        notes.push(format!(
            "first contacts beyond {MAX_CONTACTS} are not told apart"
        ));
    }
    notes.extend(incident.remarks.iter().cloned());
    notes
}
