//! Counters, and what each of them counts.
//!
//! Whatever is dropped or refused at a bound is counted here, so that nothing is lost silently.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a client counts; all of it goes to the server with each heartbeat.
#[derive(Debug, Default)]
pub struct ClientMetrics {
    /// Connections the traps have taken.
    pub hits: Counter,
    /// Hits dropped because the backlog was full while the server was away.
    pub dropped: Counter,
    /// `accept` calls that failed.
    pub accept_errors: Counter,
}

/// What a server counts.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    /// Connections accepted, strangers' included.
    pub connections: Counter,
    /// Sessions that passed the handshake.
    pub sessions: Counter,
    /// Connections that ended before they were authenticated, whatever the reason.
    pub rejected: Counter,
    /// Connections that had to give way because too many were not authenticated yet.
    pub displaced: Counter,
    /// Proofs of the secret that were wrong.
    pub failed_proofs: Counter,
    /// Sessions refused or ended at a limit, or because their identity was in use.
    pub refused_sessions: Counter,
    /// Times that an identity was shown by somebody else while its client was connected.
    pub cloned: Counter,
    /// Times that a session had to wait because its client reported faster than it may.
    pub slowed: Counter,
    /// Reports taken in.
    pub reports: Counter,
    /// Hits taken in, merged ones by their count.
    pub hits: Counter,
    /// Hits refused because they lay more than a day ahead of the server's clock.
    pub refused_hits: Counter,
    /// Times that a client's clock was found to be off by more than a day.
    pub far_clocks: Counter,
    /// Hits that had arrived before and were not counted again.
    pub duplicates: Counter,
    /// Transactions the store has committed.
    pub commits: Counter,
    /// Transactions the store could not commit, and tried again.
    pub store_errors: Counter,
    /// Hits the store has forgotten because it was as large as it may be (merged ones count once).
    pub forgotten_hits: Counter,
    /// Alerts and closed incidents, likewise.
    pub forgotten_alerts: Counter,
    /// Hits the store has forgotten because they were older than `keep` (merged ones count once).
    pub aged_hits: Counter,
    /// Alerts and closed incidents, likewise.
    pub aged_alerts: Counter,
    /// Clients the store has forgotten because their rows took up more than their share.
    pub forgotten_clients: Counter,
    /// Times that a client the server did not know was put off or turned away.
    pub refused_newcomers: Counter,
    /// Alerts handed to the sinks.
    pub alerts: Counter,
    /// Alerts that were not written one by one.
    pub alerts_held: Counter,
    /// Digests that were written in their place.
    pub digests: Counter,
    /// Alerts dropped because a sink did not keep up.
    pub alerts_dropped: Counter,
    /// `accept` calls that failed.
    pub accept_errors: Counter,
}
