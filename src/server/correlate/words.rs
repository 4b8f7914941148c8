//! Incidents in words.

use std::net::IpAddr;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{
    Detector, Exactness, Measure, NamedClient, Sampled, Severity, Statistic, Subject,
};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::severity::Origin;

/// How many names or ports a line of text spells out.
const SPELT_OUT: usize = 8;

/// What words are made of.
#[derive(Debug)]
pub struct Words<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// The clients that saw it.
    pub clients: &'a Sampled<NamedClient>,
    /// The ports it touched.
    pub ports: &'a Sampled<u16>,
    /// Where it came from.
    pub sources: &'a Sampled<IpAddr>,
    /// When it is spoken of.
    pub now: Timestamp,
}

impl Words<'_> {
    /// The whole in half a line.
    pub fn title(&self) -> String {
        let incident = self.incident;
        match incident.opened_by {
            Detector::SilentClient => return self.silence(),
            Detector::LyingClient => return self.flood(),
            Detector::ClonedClient => {
                return "a second process with this client's identity was refused".to_owned();
            }
            Detector::NewClient => return self.newcomers(),
            Detector::Degraded => return self.shortcoming(),
            _ => {}
        }
        let sources = match incident.subject {
            Subject::Source(_) => String::new(),
            Subject::Port(_)
            | Subject::Client(_)
            | Subject::Network(_)
            | Subject::Fleet
            | Subject::Server => {
                format!("from {}, ", counted(self.sources, "source"))
            }
        };
        format!(
            "{} {sources}on {}{}{}{}",
            many(incident.hits, "hit"),
            self.client_names(),
            self.port_list(),
            self.duration(", over "),
            self.chance(),
        )
    }

    /// From the first hit to the last, behind this word; nothing if they came at once.
    fn duration(&self, word: &str) -> String {
        let duration = self.incident.last_seen.since(self.incident.first_seen);
        if duration < Duration::from_millis(1) {
            String::new()
        } else {
            format!("{word}{}", span(duration))
        }
    }

    fn newcomers(&self) -> String {
        let count = many(self.incident.newcomers(), "new client");
        match self.incident.subject {
            Subject::Source(_) => format!("{count} from this address"),
            Subject::Client(_) if self.incident.found >= Severity::Medium => {
                "a client takes the name of another one that is there".to_owned()
            }
            Subject::Client(_) => "a new client has the name of one that is not there".to_owned(),
            _ => count,
        }
    }

    fn shortcoming(&self) -> String {
        let first = self.incident.remarks.first().cloned();
        first.unwrap_or_else(|| "something had to be left out".to_owned())
    }

    /// How seldom chance would do the same, if a detector has computed it.
    fn chance(&self) -> String {
        let days = self.incident.statistics.values().filter_map(days_of_chance);
        let most = days.fold(0.0, f64::max);
        if most > 0.0 {
            format!(" (by chance once in {})", many_days(most))
        } else {
            String::new()
        }
    }

    fn client_names(&self) -> String {
        let shown = self.clients.sample.iter().take(SPELT_OUT);
        let names = join(shown.map(|(client, _)| &client.name), " ");
        let more = if self.clients.sample.len() > SPELT_OUT {
            " …"
        } else {
            ""
        };
        format!("{} ({names}{more})", counted(self.clients, "client"))
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
                let missed = counted(self.clients, "client");
                format!(
                    "{missed} not heard from, some {since}{}",
                    self.newly_silent()
                )
            }
            _ => format!("not heard from {since}"),
        }
    }

    /// Who has fallen silent since the last message.
    fn newly_silent(&self) -> String {
        if self.clients.sample.is_empty() {
            return String::new();
        }
        let names = join(
            self.clients.sample.iter().map(|(client, _)| &client.name),
            " ",
        );
        match self.incident.roll_call.unnamed() {
            0 => format!("; newly silent: {names}"),
            more => format!("; newly silent: {names} and {more} more: vft clients"),
        }
    }

    /// What a witness alone reports.
    fn flood(&self) -> String {
        let networks = self
            .incident
            .statistics
            .values()
            .find_map(|it| match it.measure {
                Measure::Share { value, .. } => Some(value),
                _ => None,
            });
        let networks = networks.unwrap_or_default();
        format!("reports {networks:.0} networks or more within an hour that nobody else sees")
    }

    /// The whole in a sentence, and one for each detector that has more to say.
    pub fn explain(&self) -> String {
        let incident = self.incident;
        if !incident.opened_by.is_about_health() {
            let reasons = incident.statistics.values().filter_map(reason);
            return std::iter::once(self.touched())
                .chain(self.place())
                .chain(reasons)
                .collect::<Vec<_>>()
                .join(" ");
        }
        match incident.opened_by {
            Detector::LyingClient => {
                "This client reports far more networks that nobody else sees than the others do, and \
                 than it did before. It is under attack, or somebody has it report what never \
                 happened. What it alone reports about sources first seen since then counts as low, \
                 until an hour after that has ended."
            }
            Detector::ClonedClient => {
                "Two processes use one client's identity, most often because a disk image with a \
                 state folder was copied. Only the first is listened to: remove the folder on \
                 the other."
            }
            Detector::Degraded if matches!(incident.subject, Subject::Client(_)) => {
                "This client cannot write its spool, most often because its disk is full. It reports \
                 what its traps see from memory; what it has not delivered when it ends is lost."
            }
            Detector::NewClient => {
                "Clients have come that the server did not know. If nobody has rolled them out, \
                 somebody else has the fleet's secret: look at the hosts that they come from, \
                 block them, and change the secret."
            }
            Detector::Degraded => {
                "The server had to leave something out; the notes say what, and what to do."
            }
            _ => {
                "A client that should send heartbeats does not: its host, its network or the \
                 client itself is down, or somebody has stopped it."
            }
        }
        .to_owned()
    }

    fn touched(&self) -> String {
        let incident = self.incident;
        let sources = counted(self.sources, "source");
        let have = if self.sources.count == 1 {
            "has"
        } else {
            "have"
        };
        let whom = match incident.subject {
            Subject::Source(source) => format!("{source} has touched"),
            Subject::Port(port) => format!("On port {port}, {sources} {have} touched"),
            Subject::Network(network) => format!("{sources} of {network} {have} touched"),
            Subject::Client(_) | Subject::Fleet | Subject::Server => {
                format!("{sources} {have} touched")
            }
        };
        format!(
            "{whom} {} that nothing legitimate uses, {}{}.",
            self.traps(),
            many(incident.hits, "time"),
            self.duration(", within "),
        )
    }

    /// How many traps were touched: each port and each client is one at least.
    fn traps(&self) -> String {
        let told_apart = u64::try_from(self.incident.traps()).unwrap_or(u64::MAX);
        let traps = told_apart.max(self.ports.count).max(self.clients.count);
        more_or_less(traps, self.incident.contacts.exactness(), "trap")
    }

    /// That its source is inside, which raises its severity, unless a detector says so.
    fn place(&self) -> Option<String> {
        let statistics = &self.incident.statistics;
        let moves = statistics.get(&Detector::LateralMovement);
        let said = moves.is_some_and(|it| it.measure == Measure::Touch);
        let inside = self.incident.circumstances.origin == Origin::Inside;
        (inside && !said).then(|| "It is a host of the inside.".to_owned())
    }
}

/// What a detector has to say beside what was touched.
fn reason(statistic: &Statistic) -> Option<String> {
    let days = days_of_chance(statistic).map(many_days);
    match (statistic.detector, statistic.measure) {
        (Detector::SlowScan, Measure::Hits { hits, .. }) => Some(format!(
            "There are too many sources to keep track of this one; it has made {hits} first \
             contacts at most."
        )),
        (Detector::SlowScan | Detector::LateralMovement | Detector::SubnetScan, _)
            if days.is_some() =>
        {
            days.map(|days| {
                format!("First contacts of harmless sources come about like this once in {days}.")
            })
        }
        (Detector::PortSurge | Detector::ClientSurge, _) => days.map(|days| {
            format!("That is more than usual here; chance would bring it about once in {days}.")
        }),
        (
            _,
            Measure::Overlap {
                contacts,
                overlaps,
                expected,
                ..
            },
        ) => Some(format!(
            "Of {contacts} first contacts only {overlaps} met a client that another source had \
             touched, where {expected:.0} would by chance: the sources share the work."
        )),
        (Detector::LateralMovement, _) => Some(
            "It is a host of the inside, and attackers move along this port: look at the host \
             first."
                .to_owned(),
        ),
        (_, Measure::Days { days, within, .. }) => {
            Some(format!("It has come on {days} days within {within}."))
        }
        (_, Measure::Silence(silence)) => Some(format!(
            "It had an incident before and was silent for {}.",
            span(Duration::from_secs(silence.as_secs() / 3600 * 3600))
        )),
        (_, Measure::Repeats { gap, .. }) => Some(format!(
            "It hits the same trap over and over, every {:.1} s on average.",
            gap.as_secs_f64()
        )),
        _ => None,
    }
}

/// Once in how many days chance would do the same.
const fn days_of_chance(statistic: &Statistic) -> Option<f64> {
    match statistic.measure {
        Measure::Chance { days, .. } => Some(days),
        _ => None,
    }
}

/// Days, without a precision that is not there.
fn many_days(days: f64) -> String {
    const YEAR: f64 = 365.25;
    if days < 10.0 {
        format!("{days:.1} days")
    } else if days < 10.0 * YEAR {
        format!("{days:.0} days")
    } else if days < 1e6 * YEAR {
        format!("{:.0} years", days / YEAR)
    } else {
        "more than a million years".to_owned()
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

/// How many there are, if that is known.
fn counted<T>(sampled: &Sampled<T>, noun: &str) -> String {
    more_or_less(sampled.count, sampled.exactness, noun)
}

/// `1 trap`, `256 traps or more`.
fn more_or_less(count: u64, exactness: Exactness, noun: &str) -> String {
    let many = many(count, noun);
    match exactness {
        Exactness::Exact => many,
        Exactness::AtLeast => format!("{many} or more"),
    }
}

/// To the millisecond, from a second on to the second, from an hour on to the minute, and from a day
/// on to the hour, which are told in days however many there are.
pub fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86_400, seconds % 86_400 / 3600);
    let rounded = match seconds {
        0 => Duration::from_millis(u64::from(span.subsec_millis())),
        1..3600 => Duration::from_secs(seconds),
        3600..86_400 => Duration::from_secs(seconds / 60 * 60),
        _ if hours == 0 => return many(days, "day"),
        _ => return format!("{} {hours}h", many(days, "day")),
    };
    humantime::format_duration(rounded).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_no_precision_that_nobody_needs() {
        let spans = [0, 59, 3599, 3661, 86_399, 86_400, 90_000, 5_000_000];
        let spans = spans.map(|seconds| span(Duration::from_secs(seconds)));
        let expected = [
            "0s",
            "59s",
            "59m 59s",
            "1h 1m",
            "23h 59m",
            "1 day",
            "1 day 1h",
            "57 days 20h",
        ];
        assert_eq!(spans, expected);
        assert_eq!(span(Duration::from_micros(2500)), "2ms");
    }
}
