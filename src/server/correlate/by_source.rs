//! An event from the side of its source.

use crate::event::Timestamp;
use crate::server::alert::{Alert, Detector, Measure, Rhythm, Source, Statistic, Subject, Zone};
use crate::server::correlate::Correlator;
use crate::server::correlate::clients::Witness;
use crate::server::correlate::degraded::INEXACT;
use crate::server::correlate::incidents::{Finding, Key};
use crate::server::correlate::lateral_movement::{Host, Link};
use crate::server::correlate::severity::Origin;
use crate::server::correlate::sighting::{Proof, Sighting};
use crate::server::correlate::sources::sieve::GENERATION;
use crate::server::correlate::sources::suspect::{Standing, Suspect, Touch};
use crate::server::correlate::sources::tier::Sight;
use crate::server::correlate::sources::{Glass, Novelty};
use crate::server::correlate::window::Moment as _;
use crate::server::correlate::{persistent_source, returning_source};

/// An event as it is looked into.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What was seen.
    pub sighting: Sighting,
    /// On whose word.
    pub witness: Witness,
    /// What it shows of its source.
    pub proof: Proof,
    /// Where its source is.
    pub zone: Zone,
    /// When the server got it.
    pub now: Timestamp,
    /// Whether there is an incident about its source, as far as has been looked.
    pub blamed: Blamed,
}

/// Whether there is an incident about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blamed {
    /// There is.
    Yes,
    /// There is none.
    No,
}

impl Case {
    /// The source.
    pub fn source(&self) -> Source {
        Source::of(self.sighting.source)
    }

    /// What an incident about the source is found by.
    pub fn key(&self) -> Key {
        Key::Scan(Subject::Source(self.source()))
    }
}

impl Correlator {
    /// Looks at an event from the side of its source.
    pub fn see_source(&mut self, case: &mut Case, alerts: &mut Vec<Alert>) -> Sight {
        let sight = self.sources.visit(
            &case.sighting,
            case.zone,
            &Glass {
                rule: &self.rules.source,
                model: match case.zone {
                    Zone::Inside => self.rules.lateral.model(),
                    Zone::Outside => self.rules.slow.model(),
                },
                proof: case.proof,
                witness: case.witness,
                now: case.now,
            },
        );
        let findings = self.judge_source(case, &sight);
        let is_inside = case.zone == Zone::Inside && !self.is_own(&case.sighting);
        if let Some(incident) = self.incidents.get_mut(case.key()) {
            case.blamed = Blamed::Yes;
            incident.receive(&case.sighting, case.now);
            // Whoever touches their own traps first hides no step to another host.
            if is_inside {
                incident.circumstances.origin = Origin::Inside;
            }
        } else {
            // Where there is no place for the first, a graver one may still find one.
            let mut findings = findings.iter();
            findings.any(|finding| self.blame(case, *finding, alerts));
        }
        if !findings.is_empty() {
            for finding in findings {
                self.note(case, finding);
            }
            if self.incidents.is_open(case.key()) {
                case.blamed = Blamed::Yes;
            }
        }
        sight
    }

    /// Adds a finding to the source's incident.
    fn note(&mut self, case: &Case, finding: Statistic) {
        let Some(incident) = self.incidents.get_mut(case.key()) else {
            return;
        };
        let known =
            case.blamed == Blamed::Yes && incident.statistics.contains_key(&finding.detector);
        incident.trip(finding);
        // Each step of a lateral movement is one, and all else is said once.
        if known && finding.detector != Detector::LateralMovement {
            return;
        }
        let remark = self.remark(case, &finding);
        if let (Some(remark), Some(incident)) = (remark, self.incidents.get_mut(case.key())) {
            incident.remark(remark);
        }
    }

    /// What the detectors find about the source; mostly nothing.
    fn judge_source(&mut self, case: &Case, sight: &Sight) -> Vec<Statistic> {
        let mut findings = Vec::new();
        findings.extend(sight.fired);
        let tier = self.sources.tier(case.zone);
        let suspect = sight.place.and_then(|place| tier.get(place));
        match (sight.novelty, suspect) {
            (Novelty::First, Some(suspect)) => {
                findings.extend(self.judge_contact(case, suspect, tier.len()));
            }
            (Novelty::First, None) => findings.extend(self.judge_stranger(case, sight.contacts)),
            (Novelty::Repeat, _) => {
                findings.extend(self.repeats.add(
                    &case.sighting,
                    sight.hash,
                    &self.detectors.hammering,
                ));
            }
        }
        let tier = self.sources.tier_mut(case.zone);
        if let Some(suspect) = sight.place.and_then(|place| tier.get_mut(place)) {
            let settings = self.detectors.persistent_source;
            findings.extend(persistent_source::judge(&mut suspect.days, settings));
        }
        if sight.pause >= self.detectors.returning_source.silence.get() {
            let settings = &self.detectors.returning_source;
            let closed = self.incidents.closed(case.key());
            findings
                .extend(closed.and_then(|closed| {
                    returning_source::judge(closed, case.sighting.at, settings)
                }));
        }
        findings
    }

    fn judge_contact(&self, case: &Case, suspect: &Suspect, suspects: usize) -> Option<Statistic> {
        match case.zone {
            Zone::Outside => self.rules.slow.judge(suspect, suspects),
            Zone::Inside if self.is_own(&case.sighting) => None,
            Zone::Inside => {
                let touch = self.judge_touch(case);
                touch.or_else(|| self.rules.lateral.judge(suspect, suspects))
            }
        }
    }

    /// A source for which there is no place is judged by the sieve's word.
    fn judge_stranger(&self, case: &Case, contacts: u32) -> Option<Statistic> {
        if case.zone == Zone::Inside && !self.is_own(&case.sighting) {
            if let Some(touch) = self.judge_touch(case) {
                return Some(touch);
            }
        }
        let enabled = self.detectors.slow_scan.enabled;
        (enabled && contacts >= u32::from(INEXACT)).then_some(Statistic {
            detector: Detector::SlowScan,
            measure: Measure::Hits {
                hits: contacts.into(),
                threshold: INEXACT.into(),
                window: GENERATION,
            },
        })
    }

    /// Whether one contact of a host inside is enough.
    fn judge_touch(&self, case: &Case) -> Option<Statistic> {
        let host = if self.clients.is_home(case.sighting.source) {
            Host::OfTheFleet
        } else {
            Host::Unknown
        };
        self.rules.moves.judge(host, case.sighting.port)
    }

    /// Whether a source stands on the very host whose trap it touches.
    fn is_own(&self, sighting: &Sighting) -> bool {
        let source = sighting.source;
        source.is_loopback() || self.clients.is_home_of(sighting.client, source)
    }

    /// Opens an incident about the case's source, with all that is remembered of it that bears on
    /// the finding, if there is a place for it. Whether there was.
    pub fn blame(&mut self, case: &Case, statistic: Statistic, alerts: &mut Vec<Alert>) -> bool {
        let suspect = self.sources.suspect_mut(case.source(), case.zone);
        let since = suspect.as_ref().map(|suspect| suspect.known_since);
        let touches = match (suspect, statistic.detector) {
            (
                Some(suspect),
                Detector::FrequentSource
                | Detector::FrequentPort
                | Detector::FrequentClient
                | Detector::ReturningSource,
            ) => suspect.evidence_for(&self.rules.source, case.sighting.at),
            (Some(suspect), _) => suspect.evidence(),
            (None, _) => vec![Touch::from(&case.sighting)],
        };
        let evidence = self.sightings(&touches);
        let finding = Finding {
            subject: Subject::Source(case.source()),
            statistic,
            evidence: &evidence,
            origin: match case.zone {
                Zone::Outside => Origin::Outside,
                Zone::Inside if self.is_own(&case.sighting) => Origin::Elsewhere,
                Zone::Inside => Origin::Inside,
            },
            source_since: since,
            received: case.now,
        };
        let opened = self.incidents.open(&finding, &self.clients, alerts);
        if opened {
            if let Some(suspect) = self.sources.suspect_mut(case.source(), case.zone) {
                suspect.standing = Standing::Alerted;
            }
        }
        opened
    }

    /// Touches as sightings, in an order that does not depend on which client came first.
    pub fn sightings(&self, touches: &[Touch]) -> Vec<Sighting> {
        let mut sightings: Vec<_> = touches.iter().map(|touch| self.sighting(touch)).collect();
        sightings.sort_by_key(|sighting| (sighting.at, sighting.client, sighting.port));
        sightings
    }

    /// A touch as a sighting. The client may have been forgotten since.
    fn sighting(&self, touch: &Touch) -> Sighting {
        let handle = touch.trap().handle();
        Sighting {
            at: touch.at,
            source: touch.source(),
            client: self.clients.bearer(handle).unwrap_or_default(),
            handle,
            port: touch.trap().port(),
            count: touch.count(),
        }
    }

    /// What a finding has to say in words, beside its figures.
    fn remark(&self, case: &Case, finding: &Statistic) -> Option<String> {
        match finding.measure {
            Measure::Repeats {
                gap,
                rhythm: Rhythm::Regular,
                ..
            } => Some(format!(
                "comes like clockwork, every {:.1} s: a job or a monitor?",
                gap.as_secs_f64()
            )),
            Measure::Hits { .. } if finding.detector == Detector::SlowScan => {
                Some("its contacts are an upper bound: there was no place for it".to_owned())
            }
            _ if finding.detector == Detector::LateralMovement => self.chain(&case.sighting),
            _ => None,
        }
    }

    /// If the source is a client, the way that led to it.
    fn chain(&self, sighting: &Sighting) -> Option<String> {
        let source = self.clients.at(sighting.source)?;
        Some(self.rules.moves.chain(&Link {
            source_name: &self.clients.name(source),
            target_name: &self.clients.name(sighting.client),
            intruder: self.sides.intruder(source),
            at: sighting.at,
        }))
    }
}
