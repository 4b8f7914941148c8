//! Hits that the server has not acknowledged yet, with their numbers.
//!
//! They are in the [spool](crate::client::spool) before they are sent, and leave it on
//! acknowledgement. While the disk does not take them they are held in memory, up to a bound, and
//! written as soon as it does.
//!
//! The spool numbers its records for itself. A server's numbers are these plus a shift, which is
//! agreed with each server at the first welcome and kept: a client whose state folder is new may
//! find that a server knows its identity from before, and goes on where that left off.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{error, info, warn};

use crate::client::spool::{Record, Spool, SpoolError};
use crate::event::{ClientId, Hit, Timestamp};
use crate::metrics::ClientMetrics;
use crate::wire::message::{Ack, HitRecord, MessageError, decode, encode};

/// The most hits that are held in memory while the disk takes none (merged ones count once).
const HELD: usize = 262_144;

/// Names of the counters in the spool. That of a shift is followed by the server's id.
const SHIFT: &str = "shift";
const DROPPED: &str = "dropped";

/// The queue between whoever gathers hits and whoever reports them.
#[derive(Debug)]
pub struct Backlog {
    metrics: Arc<ClientMetrics>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    spool: Spool,
    /// Hits that the disk does not take.
    held: Vec<Hit>,
    /// The number, in the spool, up to which the server has everything on its disk.
    acknowledged: u64,
    /// The number up to which it has everything in this session.
    sent: u64,
    /// The number up to which hits were handed out in this session.
    offered: u64,
    /// What to add to the spool's numbers for the server of this session.
    shift: i64,
    inflow: Inflow,
    health: Health,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflow {
    Open,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Ailing,
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
        let dropped = spool.counter(DROPPED)?.unwrap_or(0);
        metrics.dropped.add(u64::try_from(dropped).unwrap_or(0));
        if spool.count() > 0 {
            info!("{} hits from before wait to be reported", spool.count());
        }
        let inner = Inner {
            spool,
            held: Vec::new(),
            acknowledged: 0,
            sent: 0,
            offered: 0,
            shift: 0,
            inflow: Inflow::Open,
            health: Health::Well,
        };
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
        inner.held.append(hits);
        inner.write(&self.metrics);
        let rest = if inner.held.is_empty() {
            Rest::Settled
        } else {
            Rest::Unsettled
        };
        // Whoever is woken wants the lock at once.
        drop(inner);
        self.changed.notify_one();
        rest
    }

    /// Brings what was appended to the disk itself.
    pub fn flush(&self) -> Rest {
        let mut inner = self.lock();
        if inner.spool.count() > inner.kept() {
            // It could not forget what was acknowledged; perhaps it can now.
            let acknowledged = inner.acknowledged;
            inner.forget(acknowledged);
        }
        let flusher = inner.spool.flusher();
        // Hits do not wait for the disk.
        drop(inner);
        let flushed = flusher.flush();
        let mut inner = self.lock();
        inner.note(&flushed);
        if flushed.is_ok() && inner.held.is_empty() {
            Rest::Settled
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
        let idle = |inner: &mut Inner| inner.waiting() == 0 && inner.inflow == Inflow::Open;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, idle);
        let inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (inner.waiting(), inner.inflow) {
            (0, Inflow::Open) => Work::Nothing,
            (0, Inflow::Ended) => Work::Done,
            (_, _) => Work::Hits,
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
        inner.offered = first.saturating_add(length(&hits)).saturating_sub(1);
        Ok((shifted(first, inner.shift), hits))
    }

    /// Takes up how far the hits have come: what the server has received is not sent again while
    /// the session lasts, and what is durable there is forgotten here. What was not handed out in
    /// this session is not touched, whatever the server says.
    pub fn acknowledge(&self, ack: Ack) {
        let mut inner = self.lock();
        let (shift, offered) = (inner.shift, inner.offered.max(inner.acknowledged));
        let here = |number| shifted(number, shift.saturating_neg()).min(offered);
        inner.sent = inner.sent.max(here(ack.received));
        inner.forget(here(ack.durable));
    }

    /// Begins a session with the server of this id, which says how far it has come with this
    /// client: `None` means that it knows nothing of it, and the numbers go on as they are.
    pub fn resume(&self, server: &[u8; 16], known: Option<u64>) -> Result<(), SpoolError> {
        let mut inner = self.lock();
        (inner.sent, inner.offered) = (0, 0);
        let name = format!("{SHIFT} {}", ClientId(*server));
        let (agreed, known) = (inner.spool.counter(&name)?, known.unwrap_or(0));
        let next = inner.spool.next();
        if let Some(shift) = agreed.filter(|shift| shifted(known, shift.saturating_neg()) < next) {
            inner.shift = shift;
            inner.forget(shifted(known, shift.saturating_neg()));
            return Ok(());
        }
        // Either nothing was agreed yet, or the server is ahead of this spool, which then has
        // been lost or put back: what it holds comes after what the server has.
        let first = inner
            .spool
            .oldest(inner.acknowledged, 1)?
            .first()
            .map_or(next, |it| it.number);
        inner.shift = if known == 0 {
            0
        } else {
            difference(known.saturating_add(1), first)
        };
        let shift = inner.shift;
        let written = inner.spool.set_counter(&name, shift);
        inner.note(&written);
        Ok(())
    }

    /// How many hits wait to be acknowledged (merged ones count once).
    pub fn len(&self) -> u64 {
        self.lock().kept()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Hits that can be reported. Those held in memory have no number yet, and wait their turn.
    fn waiting(&self) -> u64 {
        let unsent = self
            .spool
            .next()
            .saturating_sub(1)
            .saturating_sub(self.sent);
        self.kept().min(unsent)
    }

    /// Hits that the server does not have on its disk yet.
    fn kept(&self) -> u64 {
        let unacknowledged = self
            .spool
            .next()
            .saturating_sub(1)
            .saturating_sub(self.acknowledged);
        self.spool.count().min(unacknowledged)
    }

    fn write(&mut self, metrics: &ClientMetrics) {
        if self.held.is_empty() {
            return;
        }
        let records: Result<Vec<_>, _> = self.held.iter().map(to_bytes).collect();
        // A hit always encodes.
        let Ok(records) = records else { return };
        let written = self.spool.append(&records);
        self.note(&written);
        if let Ok(dropped) = written {
            self.held.clear();
            self.count_dropped(dropped.iter().map(hits_in).sum(), metrics);
        } else {
            let surplus = self.held.len().saturating_sub(HELD);
            let dropped = self.held.drain(..surplus);
            metrics
                .dropped
                .add(dropped.map(|hit| u64::from(hit.count.get())).sum());
        }
    }

    fn count_dropped(&mut self, hits: u64, metrics: &ClientMetrics) {
        if hits == 0 {
            return;
        }
        metrics.dropped.add(hits);
        warn!("{hits} hits were dropped: the spool is full (spool-mib)");
        let sum = i64::try_from(metrics.dropped.get()).unwrap_or(i64::MAX);
        let written = self.spool.set_counter(DROPPED, sum);
        self.note(&written);
    }

    fn oldest(
        &mut self,
        most: usize,
        metrics: &ClientMetrics,
    ) -> Result<(u64, Vec<Hit>), SpoolError> {
        loop {
            let records = self.spool.oldest(self.acknowledged.max(self.sent), most)?;
            let Some(first) = records.first().map(|record| record.number) else {
                return Ok((self.spool.next(), Vec::new()));
            };
            // Numbers in a report follow each other without a gap.
            let hits: Vec<_> = (first..)
                .zip(&records)
                .take_while(|(number, record)| record.number == *number)
                .map_while(|(_, record)| hit(record))
                .collect();
            if !hits.is_empty() {
                return Ok((first, hits));
            }
            error!("a record of the spool is damaged; it is dropped");
            metrics.dropped.one();
            self.forget(first);
        }
    }

    fn forget(&mut self, up_to: u64) {
        self.acknowledged = self.acknowledged.max(up_to);
        let forgotten = self.spool.forget(up_to);
        self.note(&forgotten);
    }

    /// Says when the spool falls ill and when it is well again.
    fn note<T>(&mut self, result: &Result<T, SpoolError>) {
        match (result, self.health) {
            (Err(error), Health::Well) => {
                error!("cannot write the spool: {error}; hits are kept in memory meanwhile");
                self.health = Health::Ailing;
            }
            (Ok(_), Health::Ailing) => {
                info!("the spool can be written again");
                self.health = Health::Well;
            }
            (Ok(_), Health::Well) | (Err(_), Health::Ailing) => {}
        }
    }
}

/// A record is a hit as the wire has it, its time counted from the epoch.
fn to_bytes(hit: &Hit) -> Result<Vec<u8>, MessageError> {
    encode(&HitRecord::new(hit, Timestamp::default()))
}

fn hit(record: &Record) -> Option<Hit> {
    let wire: HitRecord = decode(record.bytes.as_ref()?).ok()?;
    wire.hit(Timestamp::default()).ok()
}

fn hits_in(record: &Record) -> u64 {
    hit(record).map_or(1, |hit| hit.count.get().into())
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn shifted(number: u64, by: i64) -> u64 {
    number.saturating_add_signed(by)
}

fn difference(a: u64, b: u64) -> i64 {
    let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}

#[cfg(test)]
mod tests;
