//! What an alert says of an incident in figures, and whether they have changed enough for another.

use crate::server::alert::{Severity, Shape};

/// What makes another alert worth its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist {
    /// Its hits.
    pub hits: u64,
    /// The clients that saw it.
    pub clients: usize,
    /// The witnesses on whose word it rests.
    pub witnesses: usize,
    /// The ports it touched.
    pub ports: usize,
    /// The detectors it tripped.
    pub detectors: usize,
    /// The reasons why vft is out of order, if it is about that.
    pub reasons: usize,
    /// How much it matters.
    pub severity: Severity,
    /// How clients and ports lie.
    pub shape: Option<Shape>,
}

impl Gist {
    /// Whether it has changed enough since this was told, for an incident about new clients.
    pub fn newcomers_matter(&self, told: &Self) -> bool {
        (self.hits > told.hits && self.hits >= told.hits.saturating_mul(2))
            || self.severity > told.severity
    }

    /// The same for any other.
    pub fn matters(&self, told: &Self) -> bool {
        (self.hits > told.hits && self.hits >= told.hits.saturating_mul(4))
            || has_doubled(self.clients, told.clients)
            || has_doubled(self.ports, told.ports)
            || has_doubled(self.witnesses, told.witnesses)
            || self.detectors > told.detectors
            || self.reasons > told.reasons
            || self.severity > told.severity
            || self.shape != told.shape
    }
}

const fn has_doubled(count: usize, told: usize) -> bool {
    count > told && count >= told.saturating_mul(2)
}
