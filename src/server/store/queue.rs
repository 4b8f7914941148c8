//! The queue between whoever has something to write and the [thread](crate::server::store::writer)
//! that writes.
//!
//! Putting never waits. Whoever wants to know that a change is on the disk itself waits for it, and
//! is woken by the transaction that writes it and by no other: there may be thousands who wait.
//! Signs of life are gathered for half a second, so that those of a large fleet share a flush.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::server::store::horizon::Look;
use crate::server::store::orders::Order;
use crate::server::store::record::Change;
use crate::server::store::room::{ROOM, Reservation, Room};

/// Rows of one transaction: enough to share a flush, few enough to keep who waits waiting briefly.
const MOST: usize = 32_768;

/// How long what can wait is gathered.
const LEISURE: Duration = Duration::from_millis(500);

/// After so long without a change the thread looks for orders all the same.
const IDLE: Duration = Duration::from_millis(500);

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
    /// By this time, what is too old can be forgotten.
    pub look: Option<Look>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.look.is_none()
    }
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
    /// Transactions take turns, so that those who wait for this one and those who wait for the
    /// next are not woken together.
    even: Condvar,
    odd: Condvar,
    /// For those who wait for room.
    room: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Change>,
    room: Room,
    /// Alerts for which there was no room.
    left_out: u64,
    /// How many of those that wait cannot wait long.
    urgent: usize,
    /// How many changes were ever put …
    last: u64,
    /// … taken to be written …
    taken: u64,
    /// … and written.
    durable: u64,
    /// Of the last transaction.
    turn: Turn,
    /// By this time, what is too old can be forgotten.
    look: Option<Look>,
    /// Orders that were found in the store.
    orders: Vec<Order>,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Asked,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    #[default]
    Even,
    Odd,
}

impl Turn {
    const fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
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

    /// Waits until there is room for so many hits from this address, until `deadline` at most, and
    /// keeps it. `None` if there is none by then.
    pub fn reserve(&self, origin: IpAddr, hits: usize, deadline: Instant) -> Option<Reservation> {
        let mut inner = self.queue.lock();
        loop {
            if let Some(reservation) = inner.room.reserve(origin, hits) {
                return Some(reservation);
            }
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return None;
            }
            let waited = self.queue.room.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Puts a change into the queue for whose hits room was kept.
    pub fn put_reserved(&self, change: Change, reservation: Reservation) -> Ticket {
        let mut inner = self.queue.lock();
        inner.room.release(reservation);
        self.put_into(&mut inner, change)
    }

    /// Puts a change into the queue; never waits. What can be left out is left out while there is
    /// no room.
    pub fn put(&self, change: Change) -> Ticket {
        self.put_into(&mut self.queue.lock(), change)
    }

    fn put_into(&self, inner: &mut Inner, change: Change) -> Ticket {
        let full = inner.room.is_full() || inner.waiting.len() >= ROOM;
        if full && change.can_be_left_out() {
            return Ticket(inner.last);
        }
        let Inner { room, left_out, .. } = inner;
        let Some(change) = room.take(change, left_out) else {
            return Ticket(inner.last);
        };
        inner.urgent += usize::from(!change.can_wait());
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
            let turn = if ticket.0 <= inner.taken {
                inner.turn
            } else {
                inner.turn.other()
            };
            let waited = self.queue.written(turn).wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Durable::Yes
    }

    /// Lets the thread forget what is too old.
    pub fn forget_old(&self, look: Look) {
        self.queue.lock().look = Some(look);
        self.queue.put.notify_one();
    }

    /// Alerts that are not stored, because there was no room for them, so far.
    pub fn left_out(&self) -> u64 {
        self.queue.lock().left_out
    }

    /// The orders that were found in the store since this was last asked.
    pub fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.queue.lock().orders)
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
    /// What those wait on who wait for the transactions of this turn.
    const fn written(&self, turn: Turn) -> &Condvar {
        match turn {
            Turn::Even => &self.even,
            Turn::Odd => &self.odd,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    /// Hands over orders that were found in the store.
    pub fn hand_over(&self, orders: Vec<Order>) {
        self.queue.lock().orders.extend(orders);
    }

    /// What to do next, which is nothing if there was nothing for a while; none when it was asked
    /// to end and there is nothing more, or nothing more that can be written.
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
            if otherwise == Otherwise::Busy || inner.look.is_some() {
                break;
            }
            let waited = self.queue.put.wait_timeout(inner, IDLE);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            inner = again;
            if timeout.timed_out() {
                break;
            }
        }
        if !inner.waiting.is_empty() {
            let at_leisure = |inner: &mut Inner| inner.urgent == 0 && inner.end == End::Open;
            let waited = self
                .queue
                .put
                .wait_timeout_while(inner, LEISURE, at_leisure);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut batch = Batch {
            changes: Vec::new(),
            look: inner.look.take(),
        };
        let mut weight = 0;
        while let Some(change) = inner.waiting.pop_front() {
            inner.urgent -= usize::from(!change.can_wait());
            weight += change.weight().max(1);
            batch.changes.push(change);
            if weight >= MOST {
                break;
            }
        }
        if !batch.is_empty() {
            inner.taken += count(&batch.changes);
            inner.turn = inner.turn.other();
        }
        Some(batch)
    }

    /// Notes that these changes are on the disk.
    pub fn done(&self, changes: &[Change]) {
        let mut inner = self.queue.lock();
        for change in changes {
            inner.room.give(change);
        }
        inner.durable += count(changes);
        let turn = inner.turn;
        // Whoever is woken wants the lock at once.
        drop(inner);
        self.queue.written(turn).notify_all();
        self.queue.room.notify_all();
    }

    /// Puts changes back that could not be written.
    pub fn put_back(&self, changes: Vec<Change>) {
        let mut inner = self.queue.lock();
        inner.taken = inner.taken.saturating_sub(count(&changes));
        for change in changes.into_iter().rev() {
            inner.urgent += usize::from(!change.can_wait());
            inner.waiting.push_front(change);
        }
        drop(inner);
        // What comes next is not what they took it for.
        self.queue.even.notify_all();
        self.queue.odd.notify_all();
    }
}

/// How many hits changes hold.
pub fn weight(changes: &[Change]) -> usize {
    changes.iter().map(Change::weight).sum()
}

fn count(changes: &[Change]) -> u64 {
    u64::try_from(changes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
    use crate::server::store::record::Status;
    use std::num::NonZeroU32;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::Builder;

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
            origin: [192, 0, 2, 1].into(),
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
        let now = clock::monotonic();
        assert!(writer.reserve([192, 0, 2, 1].into(), 1, now).is_none());
        for _ in 0..1000 {
            writer.put(Change::Delivered(1));
        }
        assert_eq!(writer.queue.lock().waiting.len(), 1);
    }

    /// Waits for a ticket in a thread of its own, for ever if need be, and says when it is durable.
    fn waiting(writer: &Writer, ticket: Ticket) -> Receiver<Durable> {
        let (said, durable) = channel();
        let writer = writer.clone();
        let never = clock::monotonic() + Duration::from_secs(3600);
        let wait = move || said.send(writer.wait(ticket, never)).unwrap();
        Builder::new().spawn(wait).unwrap();
        durable
    }

    #[test]
    fn whoever_waits_is_woken_by_the_transaction_that_they_wait_for() {
        let writer = Writer::default();
        let reading = writer.reading();
        let next = || reading.next(Otherwise::Idle).unwrap().changes;
        let soon = Duration::from_secs(20);
        // Long enough, as a rule, that they do wait.
        let waits = |for_it: &Receiver<Durable>| {
            let heard = for_it.recv_timeout(Duration::from_millis(20));
            assert!(heard.is_err(), "it is not written yet");
        };
        for turn in 1..=4 {
            let ticket = writer.put(Change::Delivered(turn));
            let changes = next();
            let first = waiting(&writer, ticket);
            waits(&first);
            // It is not taken at first, and more is put meanwhile.
            let second = waiting(&writer, writer.put(Change::Delivered(turn)));
            waits(&second);
            reading.put_back(changes);
            let both = next();
            let third = waiting(&writer, writer.put(Change::Delivered(turn)));
            reading.done(&both);
            assert_eq!(first.recv_timeout(soon), Ok(Durable::Yes));
            assert_eq!(second.recv_timeout(soon), Ok(Durable::Yes));
            waits(&third);
            reading.done(&next());
            assert_eq!(third.recv_timeout(soon), Ok(Durable::Yes));
        }
    }

    #[test]
    fn signs_of_life_wait_for_what_comes_soon_and_cannot_wait() {
        let writer = Writer::default();
        let reading = writer.reading();
        let sign = Change::Status {
            client: ClientId([1; 16]),
            now: Timestamp::default(),
            status: Status::default(),
        };
        writer.put(sign.clone());
        let (said, taken) = channel();
        let take = move || said.send(reading.next(Otherwise::Idle).unwrap().changes.len());
        Builder::new().spawn(take).unwrap();
        assert!(taken.recv_timeout(LEISURE / 10).is_err(), "it is gathered");
        writer.put(sign);
        writer.put(Change::Delivered(1));
        assert_eq!(taken.recv_timeout(Duration::from_secs(20)), Ok(3));
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
