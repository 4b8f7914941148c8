//! Hits that the server has not acknowledged yet, with their numbers.
//!
//! They are in the [spool](crate::client::spool) before they are sent, and leave it on
//! acknowledgement. What the disk does not take is held in memory, up to a bound, and written as
//! soon as the disk takes it; meanwhile it is reported from memory, under the numbers that it will
//! have on disk.
//!
//! No number is ever used for two hits. The spool counts on for itself, and [notes], even on a full
//! disk, which numbers were used by hits that it never had. A server's numbers are the spool's
//! plus a shift, which is agreed with each server at the first welcome and kept: a client whose
//! state folder is new may find that a server knows its identity from before, and goes on where
//! that left off.
//!
//! [notes]: crate::client::spool::notes

mod health;
mod held;
mod inner;
mod numbering;
mod queue;
mod record;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::info;

pub use crate::client::backlog::health::Condition;
use crate::client::backlog::health::Health;
use crate::client::backlog::inner::{DROPPED, Inflow, Inner};
use crate::client::backlog::numbering::{Agreement, Numbering};
use crate::client::backlog::queue::Queue;
use crate::client::spool::{Spool, SpoolError};
use crate::event::{ClientId, Hit};
use crate::metrics::ClientMetrics;
use crate::seldom::Seldom;
use crate::wire::message::Ack;

/// The most hits that are held in memory while the disk takes none (merged ones count once).
const HELD: usize = 262_144;

/// The name of the counter of a shift in the spool, which the server's id follows.
const SHIFT: &str = "shift";

/// The queue between whoever gathers hits and whoever reports them.
#[derive(Debug)]
pub struct Backlog {
    metrics: Arc<ClientMetrics>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// What there is to do for whoever reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Hits wait.
    Hits,
    /// Nothing came in time.
    Nothing,
    /// Nothing waits, and nothing will come any more.
    Done,
}

/// Whether everything is where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// All hits are on the disk itself.
    Settled,
    /// Some are not yet; tend to it again within a second.
    Unsettled,
}

impl Backlog {
    /// A backlog with what the spool holds from before.
    pub fn new(spool: Spool, metrics: Arc<ClientMetrics>) -> Result<Self, SpoolError> {
        Self::with_room(spool, metrics, HELD)
    }

    /// The same with room for so many hits in memory.
    fn with_room(
        spool: Spool,
        metrics: Arc<ClientMetrics>,
        room: usize,
    ) -> Result<Self, SpoolError> {
        let dropped = spool.counter(DROPPED)?.unwrap_or(0);
        metrics.dropped.add(u64::try_from(dropped).unwrap_or(0));
        let numbering = Numbering::new(spool.next().saturating_sub(1), spool.forgotten());
        let queue = Queue::new(spool, room);
        let waiting = queue.len(numbering.acknowledged());
        if waiting > 0 {
            info!("{waiting} hits from before wait to be reported");
        }
        let mut inner = Inner {
            queue,
            numbering,
            inflow: Inflow::Open,
            health: Health::new(),
            overflows: Seldom::default(),
        };
        if !inner.queue.spool().is_settled() {
            let settled = inner.queue.spool().settle();
            inner.note(settled);
        }
        Ok(Self {
            metrics,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        })
    }

    /// Appends hits, and returns when they are in the spool or held in memory. When there is no
    /// room the oldest are dropped and counted; their numbers stay unused, so that the server
    /// sees the gap.
    pub fn append(&self, hits: &mut Vec<Hit>) -> Rest {
        let mut inner = self.lock();
        inner.queue.append(hits);
        inner.write(&self.metrics);
        let rest = inner.rest();
        // Whoever is woken wants the lock at once.
        drop(inner);
        self.changed.notify_one();
        rest
    }

    /// Brings what was appended to the disk itself.
    pub fn flush(&self) -> Rest {
        let mut inner = self.lock();
        if inner.health.condition() == Condition::Ailing {
            inner.make_room();
            inner.write(&self.metrics);
        }
        let acknowledged = inner.numbering.acknowledged();
        if inner.queue.has_waste(acknowledged) {
            // It could not forget what was acknowledged; perhaps it can now.
            inner.forget(acknowledged);
        }
        let flusher = inner.queue.spool().flusher();
        // Hits do not wait for the disk.
        drop(inner);
        let flushed = flusher.flush();
        let mut inner = self.lock();
        let is_flushed = flushed.is_ok();
        inner.note(flushed);
        if is_flushed {
            inner.rest()
        } else {
            Rest::Unsettled
        }
    }

    /// Says that no more hits will be appended.
    pub fn end(&self) {
        self.lock().inflow = Inflow::Ended;
        self.changed.notify_one();
    }

    /// Waits up to `patience` for something to do.
    pub fn wait(&self, patience: Duration) -> Work {
        let idle = |inner: &mut Inner| !inner.has_unsent() && inner.inflow == Inflow::Open;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, idle);
        let inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (inner.has_unsent(), inner.inflow) {
            (false, Inflow::Open) => Work::Nothing,
            (false, Inflow::Ended) => Work::Done,
            (true, _) => Work::Hits,
        }
    }

    /// Waits up to `patience` for the last hit to have been appended.
    pub fn settle(&self, patience: Duration) -> Work {
        let open = |inner: &mut Inner| inner.inflow == Inflow::Open;
        drop(self.changed.wait_timeout_while(self.lock(), patience, open));
        self.wait(Duration::ZERO)
    }

    /// The oldest hits, at most `most`, and the number of the first of them. They stay until they
    /// are acknowledged.
    pub fn oldest(&self, most: usize) -> Result<(u64, Vec<Hit>), SpoolError> {
        let mut inner = self.lock();
        let (first, hits) = inner.oldest(most, &self.metrics)?;
        let count = u64::try_from(hits.len()).unwrap_or(u64::MAX);
        Ok((inner.numbering.offer(first, count), hits))
    }

    /// Takes up how far the hits have come: what the server has received is not sent again while
    /// the session lasts, and what is durable there is forgotten here. What was not handed out in
    /// this session is not touched, whatever the server says.
    pub fn acknowledge(&self, ack: Ack) {
        let mut inner = self.lock();
        let before = inner.numbering.acknowledged();
        let acknowledged = inner.numbering.acknowledge(ack);
        if acknowledged > before {
            inner.forget(acknowledged);
        }
    }

    /// Begins a session with the server of this id, which says how far it has come with this
    /// client: `None` means that it knows nothing of it, and the numbers go on as they are.
    pub fn resume(&self, server: &[u8; 16], known: Option<u64>) -> Result<(), SpoolError> {
        let mut inner = self.lock();
        let name = format!("{SHIFT} {}", ClientId(*server));
        let (agreed, known) = (inner.queue.spool().counter(&name)?, known.unwrap_or(0));
        let agreement = inner.numbering.begin(known, agreed);
        let acknowledged = inner.numbering.acknowledged();
        inner.forget(acknowledged);
        if agreement == Agreement::New {
            let first = inner.queue.first(acknowledged)?;
            let shift = inner.numbering.agree(known, first);
            let written = inner.queue.spool().set_counter(&name, shift);
            inner.note(written);
        }
        Ok(())
    }

    /// How many hits wait to be acknowledged (merged ones count once).
    pub fn len(&self) -> u64 {
        self.lock().len()
    }

    /// How many of them are in memory alone, and are lost with the process.
    pub fn held(&self) -> u64 {
        self.lock().queue.held()
    }

    /// Whether the spool can be written.
    pub fn condition(&self) -> Condition {
        self.lock().health.condition()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
