//! The queue between whoever has something to write and the [thread](crate::server::store::writer)
//! that writes.
//!
//! Putting never waits. Whoever wants to know that a change is on the disk itself waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::Timestamp;
use crate::server::store::record::Change;

/// Hits, and changes, that may wait. A session with more waits before it hands anything in.
const ROOM: usize = 262_144;

/// Rows of one transaction: enough to share a flush, few enough to keep who waits waiting briefly.
const MOST: usize = 32_768;

/// The way to the writing thread.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    queue: Arc<Queue>,
}

/// The writing thread's end of it.
#[derive(Debug)]
pub struct Reading {
    queue: Arc<Queue>,
}

/// What is to be done in one transaction.
#[derive(Debug, Default)]
pub struct Batch {
    /// Changes in their order.
    pub changes: Vec<Change>,
    /// What is older than this can be forgotten.
    pub before: Option<Timestamp>,
}

/// Whether there is something to do without a change, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// There is not: wait for a change.
    Idle,
    /// There is.
    Busy,
    /// The last transaction has failed: wait so long, then try again.
    Failed(Duration),
}

#[derive(Debug, Default)]
struct Queue {
    inner: Mutex<Inner>,
    put: Condvar,
    written: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Change>,
    weight: usize,
    /// How many changes were ever put …
    last: u64,
    /// … and written.
    durable: u64,
    /// What is older than this can be forgotten.
    before: Option<Timestamp>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Asked,
}

/// A change's place in the queue; in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Whether something is on the disk itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// It is.
    Yes,
    /// It is not yet.
    NotYet,
}

impl Writer {
    /// The thread's end of the queue.
    pub fn reading(&self) -> Reading {
        Reading {
            queue: Arc::clone(&self.queue),
        }
    }

    /// Waits until there is room, until `deadline` at most; says whether there is.
    pub fn wait_for_room(&self, deadline: Instant) -> bool {
        let mut inner = self.queue.lock();
        while inner.weight >= ROOM {
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return false;
            }
            let waited = self.queue.written.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Puts a change into the queue; never waits. What can be left out is left out while there is
    /// no room: it comes again.
    pub fn put(&self, change: Change) -> Ticket {
        let mut inner = self.queue.lock();
        let full = inner.weight >= ROOM || inner.waiting.len() >= ROOM;
        if full && change.comes_again() {
            return Ticket(inner.last);
        }
        inner.weight += change.weight();
        inner.waiting.push_back(change);
        inner.last += 1;
        self.queue.put.notify_one();
        Ticket(inner.last)
    }

    /// Waits until the change with this ticket and all before it are on the disk, until
    /// `deadline` at most.
    pub fn wait(&self, ticket: Ticket, deadline: Instant) -> Durable {
        let mut inner = self.queue.lock();
        while inner.durable < ticket.0 {
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return Durable::NotYet;
            }
            let waited = self.queue.written.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Durable::Yes
    }

    /// Lets the thread forget what is older than `before`.
    pub fn forget_before(&self, before: Timestamp) {
        self.queue.lock().before = Some(before);
        self.queue.put.notify_one();
    }

    /// Asks the thread to write what there is, and to end; the ticket is that of the last change.
    pub fn end(&self) -> Ticket {
        let mut inner = self.queue.lock();
        inner.end = End::Asked;
        self.queue.put.notify_one();
        Ticket(inner.last)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// What to do next; none when it was asked to end and there is nothing more, or nothing more
    /// that can be written.
    pub fn next(&self, otherwise: Otherwise) -> Option<Batch> {
        let mut inner = self.queue.lock();
        if let Otherwise::Failed(pause) = otherwise {
            if inner.end == End::Asked {
                return None;
            }
            let idle = |inner: &mut Inner| inner.end == End::Open;
            let waited = self.queue.put.wait_timeout_while(inner, pause, idle);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while inner.waiting.is_empty() {
            if inner.end == End::Asked {
                return None;
            }
            if otherwise == Otherwise::Busy || inner.before.is_some() {
                break;
            }
            let waited = self.queue.put.wait(inner);
            inner = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Batch {
            changes: Vec::new(),
            before: inner.before.take(),
        };
        let mut weight = 0;
        while let Some(change) = inner.waiting.pop_front() {
            weight += change.weight().max(1);
            batch.changes.push(change);
            if weight >= MOST {
                break;
            }
        }
        Some(batch)
    }

    /// Notes that these changes are on the disk.
    pub fn done(&self, changes: &[Change]) {
        let mut inner = self.queue.lock();
        inner.weight = inner.weight.saturating_sub(weight(changes));
        inner.durable += u64::try_from(changes.len()).unwrap_or(u64::MAX);
        self.queue.written.notify_all();
    }

    /// Puts changes back that could not be written.
    pub fn put_back(&self, changes: Vec<Change>) {
        let mut inner = self.queue.lock();
        for change in changes.into_iter().rev() {
            inner.waiting.push_front(change);
        }
    }
}

/// How many hits changes hold.
pub fn weight(changes: &[Change]) -> usize {
    changes.iter().map(Change::weight).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Hit, Probe};
    use std::num::NonZeroU32;

    fn events(count: usize) -> Change {
        let event = Event {
            client: ClientId([1; 16]),
            sequence: 1,
            received: Timestamp::default(),
            at: Timestamp::default(),
            hit: Hit {
                first: Timestamp::default(),
                last: Timestamp::default(),
                source: [192, 0, 2, 1].into(),
                source_port: 1,
                trap_port: 22,
                probe: Probe::Connect,
                count: NonZeroU32::MIN,
            },
        };
        Change::Events {
            client: event.client,
            events: vec![event; count],
            alerts: Vec::new(),
            progress: 1,
            gap: None,
            refused: 0,
            now: Timestamp::default(),
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_does_not_fill_the_memory() {
        let writer = Writer::default();
        writer.put(events(ROOM));
        assert!(!writer.wait_for_room(clock::monotonic()));
        for _ in 0..1000 {
            writer.put(Change::Delivered(1));
        }
        assert_eq!(writer.queue.lock().waiting.len(), 1);
    }

    #[test]
    fn what_could_not_be_written_comes_again_in_its_order_and_is_durable_when_it_was() {
        let (writer, now) = (Writer::default(), clock::monotonic());
        let reading = writer.reading();
        let tickets = [1, 2, 3].map(|number| writer.put(Change::Delivered(number)));
        let durable = || tickets.map(|ticket| writer.wait(ticket, now));
        let batch = reading.next(Otherwise::Idle).unwrap();
        reading.put_back(batch.changes);
        assert_eq!(durable(), [Durable::NotYet; 3]);
        let changes = reading.next(Otherwise::Busy).unwrap().changes;
        let numbers = changes.iter().map(|change| match change {
            Change::Delivered(number) => *number,
            other => panic!("{other:?}"),
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2, 3]);
        reading.done(&changes[..2]);
        assert_eq!(durable(), [Durable::Yes, Durable::Yes, Durable::NotYet]);
    }

    #[test]
    fn whoever_writes_is_told_to_end_once_all_is_written_or_nothing_can_be() {
        let writer = Writer::default();
        let reading = writer.reading();
        writer.put(Change::Delivered(1));
        writer.end();
        let pause = Duration::ZERO;
        assert!(reading.next(Otherwise::Failed(pause)).is_none());
        assert_eq!(
            reading.next(Otherwise::Busy).map(|it| it.changes.len()),
            Some(1)
        );
        assert!(reading.next(Otherwise::Busy).is_none());
    }
}
