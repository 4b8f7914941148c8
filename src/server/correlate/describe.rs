//! Incidents in words and figures: from what the engine knows to an alert.

use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{
    Action, Alert, Detector, Exactness, NamedClient, Sampled, Severity, Subject,
};
use crate::server::correlate::clients::{Clients, Farewell};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::tally::MAX_CONTACTS;

/// The alert that says `action` of `incident`.
pub fn describe(incident: &Incident, action: Action, now: Timestamp, clients: &Clients) -> Alert {
    let named = incident.clients.sampled(|id| NamedClient {
        id,
        name: clients.name(id),
    });
    let ports = incident.ports.sampled(|port| port);
    let sources = incident.sources.sampled(|source| source);
    let words = Words {
        incident,
        clients: &named,
        ports: &ports,
        now,
    };
    Alert {
        time: now,
        action,
        incident: incident.id.clone(),
        detector: incident.opened_by,
        detectors: incident.statistics.keys().copied().collect(),
        severity: severity(incident, clients),
        confidence: confidence(incident),
        title: words.title(),
        subject: incident.subject,
        subject_name: match incident.subject {
            Subject::Client(id) => Some(clients.name(id)),
            Subject::Source(_) | Subject::Port(_) | Subject::Fleet => None,
        },
        first_seen: incident.first_seen,
        last_seen: incident.last_seen,
        hits: incident.hits,
        first_contacts: incident.contacts.count(),
        shape: incident.shape(),
        statistics: incident.statistics.values().copied().collect(),
        attack: attack(incident.opened_by),
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
/// distinct traps that were touched. A detector's own certainty is not known to three thresholds,
/// so these are steps and not probabilities.
fn confidence(incident: &Incident) -> u8 {
    match (incident.opened_by, incident.contacts.count()) {
        (Detector::SilentClient, _) => 90,
        (_, 0 | 1) => 40,
        (_, 2) => 60,
        (_, 3 | 4) => 80,
        (_, _) => 95,
    }
}

/// T1046 is Network Service Discovery; T1562 is Impair Defenses.
fn attack(detector: Detector) -> Vec<&'static str> {
    match detector {
        Detector::FrequentSource | Detector::FrequentPort | Detector::FrequentClient => {
            vec!["T1046"]
        }
        Detector::SilentClient => vec!["T1562"],
    }
}

fn allow_hint(incident: &Incident, ports: &Sampled<u16>) -> Option<String> {
    let Subject::Source(source) = incident.subject else {
        return None;
    };
    if ports.count > u64::try_from(ports.sample.len()).unwrap_or(0) {
        return Some(format!("[[allow]]\nnetwork = \"{source}\""));
    }
    let list = join(ports.sample.iter().map(|(port, _)| port), ",");
    Some(format!(
        "[[allow]]\nnetwork = \"{source}\"\nports = \"{list}\""
    ))
}

fn notes(incident: &Incident, named: &Sampled<NamedClient>, clients: &Clients) -> Vec<String> {
    let mut notes = Vec::new();
    if incident.hits > 0 && named.count == 1 {
        notes.push("single reporter".to_owned());
    }
    if stopped_on_purpose(incident, clients) {
        notes.push("the client said goodbye: it was stopped on purpose".to_owned());
    }
    if incident.contacts.exactness() == Exactness::AtLeast {
        notes.push(format!(
            "first contacts beyond {MAX_CONTACTS} are not told apart"
        ));
    }
    notes
}

/// How many names or ports a line of text spells out.
const SPELT_OUT: usize = 8;

struct Words<'a> {
    incident: &'a Incident,
    clients: &'a Sampled<NamedClient>,
    ports: &'a Sampled<u16>,
    now: Timestamp,
}

impl Words<'_> {
    fn title(&self) -> String {
        let incident = self.incident;
        if incident.opened_by == Detector::SilentClient {
            return self.silence();
        }
        let sources = match incident.subject {
            Subject::Source(_) => String::new(),
            Subject::Port(_) | Subject::Client(_) | Subject::Fleet => {
                format!("from {}, ", many(self.incident.sources.count(), "source"))
            }
        };
        format!(
            "{} {sources}on {}{}, over {}",
            many(incident.hits, "hit"),
            self.client_names(),
            self.port_list(),
            span(incident.last_seen.since(incident.first_seen)),
        )
    }

    fn client_names(&self) -> String {
        let shown = self.clients.sample.iter().take(SPELT_OUT);
        let names = join(shown.map(|(client, _)| &client.name), " ");
        let more = if self.clients.sample.len() > SPELT_OUT {
            " …"
        } else {
            ""
        };
        format!("{} ({names}{more})", many(self.clients.count, "client"))
    }

    fn port_list(&self) -> String {
        let word = if self.ports.count == 1 {
            "port"
        } else {
            "ports"
        };
        let list = join(self.ports.sample.iter().map(|(port, _)| port), " ");
        let hidden = self.ports.count - u64::try_from(self.ports.sample.len()).unwrap_or(0);
        let more = if hidden > 0 {
            format!(" and {hidden} more")
        } else {
            String::new()
        };
        format!(", {word} {list}{more}")
    }

    fn silence(&self) -> String {
        let since = format!(
            "since {} ({} ago)",
            self.incident.last_seen,
            span(self.now.since(self.incident.last_seen))
        );
        match self.incident.subject {
            Subject::Fleet => {
                format!("{} not heard from, some {since}", self.client_names())
            }
            Subject::Client(_) | Subject::Source(_) | Subject::Port(_) => {
                format!("not heard from {since}")
            }
        }
    }

    fn explain(&self) -> String {
        let incident = self.incident;
        if incident.opened_by == Detector::SilentClient {
            return "A client that should send heartbeats does not: its host, its network or the \
                    client itself is down, or somebody has stopped it."
                .to_owned();
        }
        let whom = match incident.subject {
            Subject::Source(source) => format!("{source} has touched"),
            Subject::Port(port) => format!("Several sources have, on port {port}, touched"),
            Subject::Client(_) | Subject::Fleet => "Several sources have touched".to_owned(),
        };
        format!(
            "{whom} {} that nothing legitimate uses, {}, within {}.",
            many(incident.traps(), "trap"),
            many(incident.hits, "time"),
            span(incident.last_seen.since(incident.first_seen)),
        )
    }
}

fn join<T: ToString>(items: impl Iterator<Item = T>, between: &str) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

fn many(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// To the second, and below that to the millisecond.
fn span(span: Duration) -> String {
    let rounded = if span >= Duration::from_secs(1) {
        Duration::from_secs(span.as_secs())
    } else {
        Duration::from_millis(u64::from(span.subsec_millis()))
    };
    humantime::format_duration(rounded).to_string()
}
