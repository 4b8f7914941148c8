//! `degraded`: the engine works, but within bounds that are reached.
//!
//! Told of when the sieve takes more than `error` (1 %) of sources never seen for ones that have
//! made six contacts, or when something had to be left out: histories that found no memory,
//! findings for which there was no place, and what the server itself reports (alerts dropped, a
//! store that cannot be written). What is in force then stands in the alert's notes.
//!
//! Findings that are lost are reported at once and with severity high, with how many they are and
//! who holds the places: somebody may be filling them on purpose. All else is medium.

use crate::config::detectors::Degraded;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::chance::Sight;
use crate::server::correlate::sources::Sources;

/// What is out of order.
#[derive(Clone, Debug, PartialEq)]
pub struct Complaint {
    /// The figure.
    pub statistic: Statistic,
    /// In words.
    pub why: String,
}

/// What was counted at the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Histories that found no memory.
    pub shed: u64,
}

/// A source without a place in the vault is told of after so many contacts, by the sieve's word.
pub const INEXACT: u8 = 6;

/// Looks for what is out of order.
pub fn judge(
    sources: &Sources,
    counts: Counts,
    known: &mut Counts,
    settings: &Degraded,
) -> Vec<Complaint> {
    let before = std::mem::replace(known, counts);
    if !settings.enabled {
        return Vec::new();
    }
    let error = sources
        .inside
        .error(INEXACT)
        .max(sources.outside.error(INEXACT));
    let allowed = settings.error.get();
    let mut complaints = Vec::new();
    if error > allowed {
        complaints.push(complaint(
            error,
            allowed,
            format!(
                "{:.1} % of new sources would be taken for ones that have made {INEXACT} \
                 contacts: raise `memory`",
                error * 100.0
            ),
        ));
    }
    if counts.shed > before.shed {
        let new = counts.shed - before.shed;
        let why = format!("there was no memory for the histories of {new} sources: raise `memory`");
        complaints.push(complaint(new as f64, 0.0, why));
    }
    complaints
}

/// What is out of order if networks cannot be told apart.
pub fn dazzled(sight: Sight, settings: &Degraded) -> Option<Complaint> {
    let why = "a flood of sources: subnet-scan is silent for as long as it shows";
    (settings.enabled && sight == Sight::Dazzled).then(|| complaint(1.0, 0.0, why.to_owned()))
}

const fn complaint(value: f64, threshold: f64, why: String) -> Complaint {
    let measure = Measure::Share { value, threshold };
    let statistic = Statistic {
        detector: Detector::Degraded,
        measure,
    };
    Complaint { statistic, why }
}
