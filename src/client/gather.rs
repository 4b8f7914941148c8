//! Gathers hits: out of the funnel, into the backlog.
//!
//! A hit after quiet goes on at once. In a rush the gatherer looks only every few milliseconds,
//! so that a storm costs a thread wake-up and a transaction every few milliseconds and not one a
//! connection, and alike hits merge.

use std::time::Duration;

use crate::client::backlog::{Backlog, Rest};
use crate::client::trap::funnel::{Poured, Spout};
use crate::clock;
use crate::shutdown::Stop;

/// How long hits gather in a rush. A line of merged hits spans no more than this and the time
/// one gathering takes.
const PAUSE: Duration = Duration::from_millis(2);

/// How long after a hit the disk is told to keep what it was given; a power cut costs no more than
/// this. Not at once, because one touch is seldom the last, and no hit is gathered meanwhile.
const FLUSH: Duration = Duration::from_secs(1);

/// How long to wait for a hit when there is nothing else to do; only bounds one call.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs until all traps are gone and everything they saw is in the backlog.
pub fn run(spout: &Spout, backlog: &Backlog, stop: &Stop) {
    let mut hits = Vec::new();
    // When to flush; not at all while the backlog is settled.
    let mut due = Some(clock::monotonic());
    loop {
        let patience = due.map_or(PATIENCE, |due| {
            due.saturating_duration_since(clock::monotonic())
        });
        let poured = spout.pour(patience, &mut hits);
        let began = clock::monotonic();
        if !hits.is_empty() || due.is_some() {
            backlog.append(&mut hits);
            due = due.or_else(|| Some(began + FLUSH));
        }
        if poured == Poured::All {
            break;
        }
        if due.is_some_and(|due| due <= began) {
            due = match backlog.flush() {
                Rest::Settled => None,
                Rest::Unsettled => Some(clock::monotonic() + FLUSH),
            };
        }
        stop.wait(PAUSE.saturating_sub(clock::since(began)));
    }
    backlog.flush();
    backlog.end();
}
