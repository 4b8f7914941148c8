//! Looking ahead: what the next events will need is brought into the cache before they are looked at.
//!
//! An event touches some thirty lines of memory, most of which no cache holds where there are many
//! sources and clients. Waited for one after the other they take longer than all the rest. If nothing
//! depends on what is read, processors wait for many at a time; so for a batch of events everything
//! is read once, subject by subject, and thrown away. What comes of the events is the same.

use crate::event::Event;
use crate::server::alert::{Source, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::by_side::Side;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::sighting::Sighting;

/// Events to look ahead at in one go: so many that the waits overlap, and so few that what was brought
/// is still there when it is needed.
pub const BATCH: usize = 64;

impl Correlator {
    /// Looks ahead at events that come next, at most [`BATCH`] of them. Changes nothing.
    pub fn foresee<'a>(&mut self, events: impl Iterator<Item = &'a Event>) {
        let prospects: Vec<_> = events
            .filter_map(|event| {
                let sighting = Sighting::new(event, self.clients.handle(event.client));
                let name = || self.clients.name(sighting.client);
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
