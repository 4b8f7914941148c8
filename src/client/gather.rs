//! Gathers hits: out of the funnel, into the backlog.
//!
//! A hit after quiet goes on at once. In a rush the gatherer looks only every few milliseconds,
//! so that a storm costs a thread wake-up every few milliseconds and not one a connection, and
//! alike hits merge.

use std::time::Duration;

use crate::client::backlog::Backlog;
use crate::client::trap::funnel::{Poured, Spout};
use crate::clock;
use crate::shutdown::Stop;

/// How long hits gather in a rush. A line of merged hits spans no more than this and the time
/// one gathering takes.
const PAUSE: Duration = Duration::from_millis(2);

/// How long to wait for a hit before looking again; only bounds one call.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs until all traps are gone and everything they saw is in the backlog.
pub fn run(spout: &Spout, backlog: &Backlog, stop: &Stop) {
    let mut hits = Vec::new();
    loop {
        let poured = spout.pour(PATIENCE, &mut hits);
        let began = clock::monotonic();
        backlog.append(&mut hits);
        if poured == Poured::All {
            break;
        }
        stop.wait(PAUSE.saturating_sub(began.elapsed()));
    }
    backlog.end();
}
