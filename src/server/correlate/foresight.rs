//! Looking ahead: what the next events will need is brought into the cache before they are looked at.
//!
//! An event touches some thirty lines of memory, most of which no cache holds where there are many
//! sources and clients. Waited for one after the other they take longer than all the rest. If nothing
//! depends on what is read, processors wait for many at a time; so for a batch of events everything
//! is read once, subject by subject, and thrown away. What comes of the events is the same.

use crate::event::Event;
use crate::server::alert::{Alert, Source, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::by_side::Side;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::sighting::Sighting;

/// Events to look ahead at in one go: so many that the waits overlap, and so few that what was brought
/// is still there when it is needed.
pub const BATCH: usize = 64;

impl Correlator {
    /// Takes events in, one after the other, and looks ahead at those that follow.
    pub fn events(&mut self, events: &[Event], alerts: &mut Vec<Alert>) {
        for batch in events.chunks(BATCH) {
            self.foresee(batch.iter());
            for event in batch {
                self.event(event, alerts);
            }
        }
    }

    /// Looks ahead at events that come next, at most [`BATCH`] of them. Changes nothing but
    /// which hashes are remembered.
    pub fn foresee<'a>(&mut self, events: impl Iterator<Item = &'a Event>) {
        let prospects: Vec<_> = events
            .filter_map(|event| {
                let sighting = Sighting::new(event, self.clients.handle(event.client));
                let name = || self.clients.bare_name(sighting.client);
                if !self.allow.is_empty() && self.allow.covers(&sighting, &name()) {
                    return None;
                }
                let zone = self.zone(sighting.source);
                Some((sighting, self.sources.prospect(&sighting, zone)))
            })
            .collect();
        for (_, prospect) in &prospects {
            self.sources.foresee(prospect);
        }
        for (sighting, _) in &prospects {
            self.sides.foresee(sighting.client);
        }
        for (sighting, _) in &prospects {
            self.contacts.foresee(sighting.client);
        }
        for (sighting, _) in &prospects {
            let source = Subject::Source(Source::of(sighting.source));
            for subject in [source, Side::Client.subject(sighting)] {
                self.incidents.foresee(Key::Scan(subject), sighting);
            }
        }
        for (sighting, prospect) in &prospects {
            self.repeats.foresee(sighting, prospect.hash());
        }
        for (_, prospect) in &prospects {
            self.sources.foresee_suspects(prospect);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use crate::config::server::ServerSettings;
    use crate::event::{ClientId, Hit, Probe, Timestamp};

    /// A hit so many microseconds after the one before it, from whom, on which client and port.
    type Step = (u64, u8, u8, u16);

    fn events(steps: &[Step]) -> Vec<Event> {
        let mut micros = 1_795_000_000_000_000;
        let step = |(sequence, (pause, source, client, trap_port)): (u64, &Step)| {
            micros += pause;
            let at = Timestamp::from_micros(micros);
            Event {
                client: ClientId([*client; 16]),
                sequence,
                received: at,
                at,
                hit: Hit {
                    first: at,
                    last: at,
                    source: [192, 0, *source % 4, *source].into(),
                    source_port: 40_000,
                    trap_port: *trap_port,
                    probe: Probe::Connect,
                    count: NonZeroU32::MIN,
                },
            }
        };
        (1..).zip(steps).map(step).collect()
    }

    /// What is said of the events by an engine that gets so many of them at a time, or if none, one
    /// by one without looking ahead.
    fn said(events: &[Event], ahead: usize) -> Vec<Alert> {
        let mut engine = Correlator::new(&ServerSettings::default());
        for client in 0..4 {
            let _room = engine.welcome(ClientId([client; 16]), "web", Timestamp::default());
        }
        let mut alerts = Vec::new();
        if ahead == 0 {
            for event in events {
                engine.event(event, &mut alerts);
            }
        } else {
            for part in events.chunks(ahead) {
                engine.events(part, &mut alerts);
            }
        }
        alerts
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_depends_on_it(
            steps in prop::collection::vec((0..90_000_000_u64, 0..12_u8, 0..6_u8, 20..26_u16), 0..300),
            ahead in 1..=2 * BATCH,
        ) {
            let events = events(&steps);
            let alerts = said(&events, 0);
            prop_assert!(steps.len() < 100 || !alerts.is_empty());
            prop_assert_eq!(said(&events, ahead), alerts);
        }
    }
}
