//! Witnesses whose word is in doubt, and what that lowers.
//!
//! A doubt is about a flood: it begins with it, and ends an hour after the last report that was a
//! part of it. What it lowers is only what may be a part of it: an incident about a source that was
//! first seen during the flood, and that nobody else reports. It never lowers what hosts of the
//! inside do. An incident that was lowered stays so until somebody else reports it too: the end
//! of a doubt does not make the lies true.

use std::collections::BTreeMap;

use crate::event::Timestamp;
use crate::server::alert::Detector;
use crate::server::correlate::clients::Witness;
use crate::server::correlate::incident::Incident;
use crate::server::correlate::severity::{Credit, Origin};

/// When a witness is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// When the flood began.
    pub from: Timestamp,
    /// When the doubt ends, if the flood does not go on.
    pub until: Timestamp,
}

/// Who is in doubt.
#[derive(Debug, Default)]
pub struct Doubts(BTreeMap<Witness, Doubt>);

/// So many are remembered at once. One hour's reports put no more than 65 in doubt.
const MOST: usize = 1024;

impl Doubts {
    /// Puts a witness in doubt, or keeps it there. Whether the doubt is a new one.
    pub fn insert(&mut self, witness: Witness, doubt: Doubt) -> bool {
        if let Some(known) = self.0.get_mut(&witness) {
            // A flood that goes on began when it did.
            if doubt.from <= known.until {
                known.until = known.until.max(doubt.until);
                return false;
            }
            *known = doubt;
            return true;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, known| doubt.from <= known.until);
        }
        let has_room = self.0.len() < MOST;
        if has_room {
            self.0.insert(witness, doubt);
        }
        has_room
    }

    /// Whether an incident can be believed.
    pub fn credit(&self, incident: &Incident) -> Credit {
        let circumstances = &incident.circumstances;
        let moves = incident.statistics.contains_key(&Detector::LateralMovement);
        if moves || circumstances.origin == Origin::Inside {
            return Credit::Full;
        }
        let Some(witness) = incident.testimony.only() else {
            return Credit::Full;
        };
        if let Credit::Doubtful { .. } = circumstances.credit {
            return circumstances.credit;
        }
        let since = circumstances.source_since.unwrap_or(incident.first_seen);
        match self.0.get(&witness) {
            Some(doubt) if doubt.from <= since && since <= doubt.until => {
                Credit::Doubtful { until: doubt.until }
            }
            Some(_) | None => Credit::Full,
        }
    }
}
