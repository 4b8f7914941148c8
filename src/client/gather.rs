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

/// How often the disk is told to keep what it was given, while it is given something; a power cut
/// costs no more than this.
const FLUSH: Duration = Duration::from_secs(1);

/// How long to wait for a hit when there is nothing else to do; only bounds one call.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs until all traps are gone and everything they saw is in the backlog.
pub fn run(spout: &Spout, backlog: &Backlog, stop: &Stop) {
    let mut hits = Vec::new();
    let mut rest = Rest::Unsettled;
    let mut flushed = clock::monotonic();
    loop {
        let patience = match rest {
            Rest::Settled => PATIENCE,
            Rest::Unsettled => FLUSH,
        };
        let poured = spout.pour(patience, &mut hits);
        let began = clock::monotonic();
        if !hits.is_empty() || rest == Rest::Unsettled {
            backlog.append(&mut hits);
            rest = Rest::Unsettled;
        }
        if poured == Poured::All {
            break;
        }
        if rest == Rest::Unsettled && flushed.elapsed() >= FLUSH {
            rest = backlog.flush();
            flushed = clock::monotonic();
        }
        stop.wait(PAUSE.saturating_sub(began.elapsed()));
    }
    backlog.flush();
    backlog.end();
}
