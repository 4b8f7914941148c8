//! What the backlog keeps behind its lock: hits, how far they have come, and how the disk does.

use log::{error, warn};

use crate::client::backlog::Rest;
use crate::client::backlog::health::{Condition, Health};
use crate::client::backlog::numbering::Numbering;
use crate::client::backlog::queue::{Oldest, Queue};
use crate::client::spool::SpoolError;
use crate::clock;
use crate::event::Hit;
use crate::metrics::ClientMetrics;
use crate::seldom::Seldom;

/// The name of the counter of dropped hits in the spool.
pub const DROPPED: &str = "dropped";

/// Everything behind the lock.
#[derive(Debug)]
pub struct Inner {
    pub queue: Queue,
    pub numbering: Numbering,
    pub inflow: Inflow,
    pub health: Health,
    pub overflows: Seldom,
}

/// Whether more hits will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inflow {
    Open,
    Ended,
}

impl Inner {
    /// Whether there are hits to report.
    pub fn has_unsent(&self) -> bool {
        self.len() > 0 && self.queue.last() > self.numbering.done()
    }

    /// Hits that the server does not have on its disk yet.
    pub fn len(&self) -> u64 {
        self.queue.len(self.numbering.acknowledged())
    }

    /// Whether everything is on its disk, and the log says how it is.
    pub fn rest(&self) -> Rest {
        if self.health.condition() == Condition::Well && self.health.is_said() {
            Rest::Settled
        } else {
            Rest::Unsettled
        }
    }

    /// Writes what can be written. The spool is well again when it has taken all of it, or at least
    /// a record to try.
    pub fn write(&mut self, metrics: &ClientMetrics) {
        let (dropped, mut written) = self.queue.write();
        self.count_dropped(dropped, metrics);
        if written.is_ok() && self.health.condition() == Condition::Ailing {
            written = self.queue.spool().settle();
            if written.is_ok() {
                self.health.recovered(clock::monotonic());
            }
        }
        self.note(written);
        if self.queue.held() > 0 {
            let (dropped, noted) = self.queue.hold();
            self.note(noted);
            self.count_overflow(dropped, metrics);
        }
    }

    /// Tries to make the room that is missing; whether there is enough now, writing will tell.
    pub fn make_room(&mut self) {
        let acknowledged = self.numbering.acknowledged();
        let made = self.queue.make_room(acknowledged);
        self.note(made);
    }

    fn count_dropped(&mut self, hits: u64, metrics: &ClientMetrics) {
        if hits > 0 {
            warn!("{hits} hits were dropped: the spool is full (spool-mib)");
            self.add_dropped(hits, metrics);
        }
    }

    fn count_overflow(&mut self, hits: u64, metrics: &ClientMetrics) {
        if hits == 0 {
            return;
        }
        if let Some(left_out) = self.overflows.line(clock::monotonic()) {
            warn!("{hits} hits were dropped: too many wait in memory for the disk{left_out}");
        }
        self.add_dropped(hits, metrics);
    }

    fn add_dropped(&mut self, hits: u64, metrics: &ClientMetrics) {
        metrics.dropped.add(hits);
        let sum = i64::try_from(metrics.dropped.get()).unwrap_or(i64::MAX);
        let written = self.queue.spool().set_counter(DROPPED, sum);
        self.note(written);
    }

    /// The oldest hits that this session has not sent, and the number of the first of them.
    pub fn oldest(
        &mut self,
        most: usize,
        metrics: &ClientMetrics,
    ) -> Result<(u64, Vec<Hit>), SpoolError> {
        loop {
            match self.queue.oldest(self.numbering.done(), most)? {
                Oldest::Hits(first, hits) => return Ok((first, hits)),
                Oldest::Damaged(number) => {
                    error!("a record of the spool is damaged; it is dropped");
                    metrics.dropped.one();
                    self.forget(number);
                }
            }
        }
    }

    /// Forgets all hits up to and including this number.
    pub fn forget(&mut self, up_to: u64) {
        let up_to = self.numbering.forget(up_to);
        let forgotten = self.queue.forget(up_to);
        self.note(forgotten);
    }

    /// Notes what went wrong. That something went well does not mean that hits can be written.
    pub fn note(&mut self, result: Result<(), SpoolError>) {
        if let Err(error) = result {
            self.health.failed(&error, clock::monotonic());
        }
    }
}
