//! What decides which incident gives way to which.

use crate::server::alert::Severity;

/// How well an incident stands up to others: what is lower gives way to what is higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether it can be believed.
    pub credence: Credence,
    /// How much it matters.
    pub severity: Severity,
    /// Whose conduct it is about.
    pub conduct: Conduct,
    /// How many have reported it.
    pub backing: Backing,
}

/// Whether an incident can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credence {
    /// Only a client that is doubted reports it.
    Doubted,
    /// It can.
    Believed,
}

/// Whose conduct an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// Somebody's: any address can be made up.
    OfAnybody,
    /// That of a host of the fleet, of which there are only so many.
    OfAFleetHost,
}

/// How many witnesses have reported an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backing {
    /// One.
    Alone,
    /// Several.
    Several,
}
