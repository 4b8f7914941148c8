//! `port-surge` and `client-surge`: more first contacts than are usual there.
//!
//! | detector | looks at | at least, within an hour |
//! |---|---|---|
//! | `port-surge` | first contacts on a trap port, over all clients | 5 contacts on 3 clients |
//! | `client-surge` | first contacts on a client | 4 contacts, from 2 sources or on 3 ports |
//!
//! What is usual is learned port by port and client by client, from the fleet's mean on; the
//! statistic is that of [`surge`](crate::server::correlate::statistics::surge). Nothing is found in
//! the first two days of a fleet: until then one port, or one client, is taken to be like the other,
//! and those that see most would each raise an alarm. Thresholds follow
//! from the false alarms that the settings put up with, over all ports and all clients. Sources
//! that have an incident of their own do not count: what they do is explained.
//!
//! An example: port 3389, on which a source a day is usual over all clients, gets seven within ten
//! minutes, each from another address.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use crate::config::detectors::{ClientSurge, PortSurge};
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Source, Statistic};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::statistics::surge::{Prior, Surge, threshold_minutes};

/// First contacts within this time make up a surge.
const HOUR: Duration = Duration::from_secs(3600);

const MINUTES_A_DAY: f64 = 1440.0;

/// A rule as the settings give it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    detector: Detector,
    enabled: bool,
    false_alarms: f64,
    contacts: usize,
    need: Need,
}

#[derive(Clone, Copy, Debug)]
enum Need {
    Clients(usize),
    SourcesOrPorts(usize, usize),
}

impl From<&PortSurge> for Rule {
    fn from(settings: &PortSurge) -> Self {
        Self {
            detector: Detector::PortSurge,
            enabled: settings.enabled,
            false_alarms: settings.false_alarms_per_day.get(),
            contacts: settings.min_contacts.get().into(),
            need: Need::Clients(settings.min_clients.get().into()),
        }
    }
}

impl From<&ClientSurge> for Rule {
    fn from(settings: &ClientSurge) -> Self {
        Self {
            detector: Detector::ClientSurge,
            enabled: settings.enabled,
            false_alarms: settings.false_alarms_per_day.get(),
            contacts: settings.min_contacts.get().into(),
            need: Need::SourcesOrPorts(
                settings.min_sources.get().into(),
                settings.min_ports.get().into(),
            ),
        }
    }
}

impl Rule {
    /// The detector.
    pub const fn detector(&self) -> Detector {
        self.detector
    }

    /// Whether so many minutes are more than chance needs.
    fn judge(&self, minutes: f64, prior: &Prior) -> Option<Statistic> {
        let threshold = prior.threshold;
        (self.enabled && minutes >= threshold).then_some(Statistic {
            detector: self.detector,
            measure: Measure::Chance {
                days: minutes / MINUTES_A_DAY,
                threshold: threshold / MINUTES_A_DAY,
            },
        })
    }

    /// So many minutes, with so many subjects.
    fn threshold(&self, subjects: usize) -> f64 {
        threshold_minutes(subjects.max(1) as f64, self.false_alarms)
    }

    /// Whether the contacts are enough to speak of.
    pub fn is_met_by<'a>(&self, contacts: &(impl Iterator<Item = &'a Sighting> + Clone)) -> bool {
        let each = || contacts.clone();
        each().take(self.contacts).count() >= self.contacts
            && match self.need {
                Need::Clients(clients) => are_distinct(clients, each().map(|it| it.handle)),
                Need::SourcesOrPorts(sources, ports) => {
                    are_distinct(sources, each().map(|it| Source::of(it.source)))
                        || are_distinct(ports, each().map(|it| it.port))
                }
            }
    }
}

/// Whether so many of the values are distinct; no more of them are looked at than it takes.
fn are_distinct<K: PartialEq>(wanted: usize, values: impl Iterator<Item = K>) -> bool {
    let mut seen = Vec::new();
    for value in values {
        if seen.len() >= wanted {
            break;
        }
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen.len() >= wanted
}

/// The first contacts on a port or a client.
#[derive(Debug, Default)]
pub struct Contacts {
    surge: Option<(Surge, Prior)>,
    recent: VecDeque<Sighting>,
}

/// Contacts that are kept as evidence.
const RECENT: usize = 64;

impl Contacts {
    /// Reads what the next contact will change.
    pub fn foresee(&self) {
        if let Some((surge, _)) = &self.surge {
            surge.foresee();
        }
        black_box(self.recent.front().map(|kept| kept.at));
        black_box(self.recent.back().map(|kept| kept.at));
    }

    /// Takes in a first contact.
    pub fn add(&mut self, sighting: Sighting, prior: &Prior) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(sighting);
        let minute = sighting.at.as_micros() / 60_000_000;
        let (surge, last) = self
            .surge
            .get_or_insert_with(|| (Surge::fresh(minute, prior), *prior));
        surge.add(minute, 1, prior);
        if prior.threshold == NEVER {
            surge.calm();
        }
        *last = *prior;
    }

    /// Whether there is more than chance needs, the last contact having been at `at`.
    pub fn judge(&self, at: Timestamp, rule: &Rule) -> Option<Statistic> {
        // What is not enough to speak of does not have to be measured.
        let since = at.before(HOUR);
        let lately = self.recent.iter().rev().filter(|kept| kept.at >= since);
        if !rule.is_met_by(&lately) {
            return None;
        }
        let (surge, prior) = self.surge.as_ref()?;
        if prior.threshold == NEVER {
            return None;
        }
        rule.judge(surge.mean_run_minutes(), prior)
    }

    /// The contacts since `since`, without those that `explained` picks.
    pub fn since(&self, since: Timestamp, explained: impl Fn(&Sighting) -> bool) -> Vec<Sighting> {
        let mut contacts: Vec<_> = self
            .recent
            .iter()
            .filter(|kept| kept.at >= since && !explained(kept))
            .copied()
            .collect();
        contacts.sort_by_key(|kept| kept.at);
        contacts
    }

    /// The contacts of the last hour before `at`, without those that `explained` picks.
    pub fn of_the_last_hour(
        &self,
        at: Timestamp,
        explained: impl Fn(&Sighting) -> bool,
    ) -> Vec<Sighting> {
        self.since(at.before(HOUR), explained)
    }

    /// Begins anew, because an alarm was raised.
    pub fn renew(&mut self) {
        if let Some((surge, prior)) = &mut self.surge {
            surge.restart(prior);
        }
    }
}

/// How far counts scatter where nothing is known: widely.
const DISPERSION: f64 = 0.5;

/// As long as it takes to know what each port and each client is used to.
const LEARNING_DAYS: f64 = 2.0;

/// The threshold before that.
const NEVER: f64 = f64::MAX;

/// What is usual over all ports, or over all clients: where a new one begins.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    contacts: f64,
    begun: Timestamp,
}

impl Usual {
    /// Nothing is known yet.
    pub const fn new() -> Self {
        Self {
            contacts: 0.0,
            begun: Timestamp::from_micros(0),
        }
    }

    /// Takes in a first contact that has arrived `at` then, and says what is usual among so many subjects.
    /// Clients may be wrong about the time, or lie; how long the fleet has been looked at is not for
    /// them to say.
    pub fn add(&mut self, at: Timestamp, subjects: usize, rule: &Rule) -> Prior {
        /// What is assumed before anything is known: one contact within a week, as if a week had
        /// been looked at.
        const WEEK: f64 = 7.0 * MINUTES_A_DAY;
        if self.begun == Timestamp::default() {
            self.begun = at;
        }
        let minutes = at.since(self.begun).as_secs_f64() / 60.0;
        let prior = Prior {
            mean: (self.contacts + 1.0) / (minutes * subjects.max(1) as f64 + WEEK),
            dispersion: DISPERSION,
            threshold: if minutes < LEARNING_DAYS * MINUTES_A_DAY {
                NEVER
            } else {
                rule.threshold(subjects)
            },
        };
        self.contacts += 1.0;
        prior
    }
}
