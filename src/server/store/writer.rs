//! The one thread that writes.
//!
//! Whoever has something to write puts it into the queue, which never waits, and may then wait
//! until it is on the disk itself. The thread takes all there is, writes it in one transaction,
//! commits, and wakes those who wait for it, and nobody else: there may be thousands. Signs of life
//! are gathered for half a second first, so that those of a large fleet share a flush. If the disk
//! does not take it, the queue stays as it is and the thread tries again every second; it says so
//! once, and once when it is well again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, info};
use rusqlite::Connection;

use crate::clock;
use crate::metrics::ServerMetrics;
use crate::server::store::StoreError;
use crate::server::store::apply::apply;
use crate::server::store::record::Change;
use crate::server::store::schema;

/// Hits, and changes, that may wait. A session with more waits before it hands anything in.
const ROOM: usize = 262_144;

/// Rows of one transaction: enough to share a flush, few enough to keep who waits waiting briefly.
const MOST: usize = 32_768;

/// How long what can wait is gathered: a large fleet's heartbeats share a flush of the disk.
const LEISURE: Duration = Duration::from_millis(500);

/// How long to wait before a failed transaction is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The way to the writing thread.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: Arc<Queue>,
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
    weight: usize,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Ailing,
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

/// The writing thread's work.
#[derive(Debug)]
pub struct Work {
    queue: Arc<Queue>,
    database: Connection,
    metrics: Arc<ServerMetrics>,
}

/// Opens the store at `path`; the work is for a thread of its own.
pub fn open(path: &Path, metrics: Arc<ServerMetrics>) -> Result<(Writer, Work), StoreError> {
    let database = schema::open(path)?;
    let queue = Arc::new(Queue::default());
    Ok((
        Writer {
            queue: Arc::clone(&queue),
        },
        Work {
            queue,
            database,
            metrics,
        },
    ))
}

impl Writer {
    /// Waits until there is room, until `deadline` at most; says whether there is.
    pub fn wait_for_room(&self, deadline: Instant) -> bool {
        let mut inner = self.queue.lock();
        while inner.weight >= ROOM {
            let left = deadline.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return false;
            }
            let waited = self.queue.room.wait_timeout(inner, left);
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

impl Work {
    /// Writes until asked to end.
    pub fn run(mut self) {
        let mut health = Health::Well;
        while let Some(batch) = self.next(health) {
            match self.write(&batch) {
                Ok(()) => {
                    if std::mem::replace(&mut health, Health::Well) == Health::Ailing {
                        info!("the store can be written again");
                    }
                    self.done(&batch);
                }
                Err(error) => {
                    self.metrics.store_errors.one();
                    if std::mem::replace(&mut health, Health::Ailing) == Health::Well {
                        error!(
                            "cannot write the store: {error}; alerting goes on, hits stay with \
                             the clients until it can be written"
                        );
                    }
                    self.put_back(batch);
                }
            }
        }
    }

    /// What to write next; `None` when it was asked to end and there is nothing more, or nothing
    /// more that can be written.
    fn next(&self, health: Health) -> Option<Vec<Change>> {
        let mut inner = self.queue.lock();
        if health == Health::Ailing {
            if inner.end == End::Asked {
                return None;
            }
            let idle = |inner: &mut Inner| inner.end == End::Open;
            let waited = self.queue.put.wait_timeout_while(inner, PAUSE, idle);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        while inner.waiting.is_empty() {
            if inner.end == End::Asked {
                return None;
            }
            inner = self
                .queue
                .put
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let at_leisure = |inner: &mut Inner| inner.urgent == 0 && inner.end == End::Open;
        let waited = self
            .queue
            .put
            .wait_timeout_while(inner, LEISURE, at_leisure);
        inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        let mut batch = Vec::new();
        let mut weight = 0;
        while let Some(change) = inner.waiting.pop_front() {
            inner.urgent -= usize::from(!change.can_wait());
            weight += change.weight().max(1);
            batch.push(change);
            if weight >= MOST {
                break;
            }
        }
        inner.taken += count(&batch);
        inner.turn = inner.turn.other();
        Some(batch)
    }

    fn done(&self, batch: &[Change]) {
        let mut inner = self.queue.lock();
        let weight: usize = batch.iter().map(Change::weight).sum();
        inner.weight = inner.weight.saturating_sub(weight);
        inner.durable += count(batch);
        let turn = inner.turn;
        // Whoever is woken wants the lock at once.
        drop(inner);
        self.metrics.commits.one();
        self.queue.written(turn).notify_all();
        self.queue.room.notify_all();
    }

    fn put_back(&self, batch: Vec<Change>) {
        let mut inner = self.queue.lock();
        inner.taken = inner.taken.saturating_sub(count(&batch));
        for change in batch.into_iter().rev() {
            inner.urgent += usize::from(!change.can_wait());
            inner.waiting.push_front(change);
        }
        drop(inner);
        // What comes next is not what they took it for.
        self.queue.even.notify_all();
        self.queue.odd.notify_all();
    }

    fn write(&mut self, batch: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for change in batch {
            apply(&transaction, change)?;
        }
        transaction.commit()
    }
}

fn count(batch: &[Change]) -> u64 {
    u64::try_from(batch.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
    use crate::server::store::record::Status;
    use std::num::NonZeroU32;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::Builder;

    const ID: ClientId = ClientId([1; 16]);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn events(first: u64, count: u64) -> Change {
        let event = |sequence| Event {
            client: ID,
            sequence,
            received: at(sequence),
            at: at(sequence),
            hit: Hit {
                first: at(sequence),
                last: at(sequence),
                source: [192, 0, 2, 1].into(),
                source_port: 1,
                trap_port: 22,
                probe: Probe::Connect,
                count: NonZeroU32::MIN,
            },
        };
        let last = first + count - 1;
        let events = (first..=last).map(event).collect();
        Change::Events {
            client: ID,
            events,
            alerts: Vec::new(),
            progress: last,
            gap: None,
            now: at(last),
        }
    }

    /// Puts the changes, lets the work be done, and returns what the query says.
    fn after(changes: Vec<Change>, query: &str) -> i64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (writer, work) = open(&path, Arc::default()).unwrap();
        let tickets: Vec<_> = changes
            .into_iter()
            .map(|change| writer.put(change))
            .collect();
        writer.end();
        work.run();
        let now = clock::monotonic();
        assert!(
            tickets
                .iter()
                .all(|ticket| writer.wait(*ticket, now) == Durable::Yes)
        );
        let database = schema::open_to_read(&path).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn events_of_a_client_nobody_has_introduced_are_kept() {
        assert_eq!(
            after(vec![events(1, 3)], "SELECT count(*) FROM event JOIN client"),
            3
        );
    }

    #[test]
    fn what_is_old_is_forgotten_and_the_rest_stays() {
        let changes = || vec![events(1, 100), Change::Expire(at(41))];
        assert_eq!(after(changes(), "SELECT min(sequence) FROM event"), 41);
        assert_eq!(after(changes(), "SELECT progress FROM client"), 100);
    }

    /// Waits for a ticket in a thread of its own, for ever if need be, and says when it is durable.
    fn waiting(writer: &Writer, ticket: Ticket) -> Receiver<Durable> {
        let (said, durable) = channel();
        let (writer, never) = (
            writer.clone(),
            clock::monotonic() + Duration::from_secs(3600),
        );
        let wait = move || said.send(writer.wait(ticket, never)).unwrap();
        Builder::new().spawn(wait).unwrap();
        durable
    }

    #[test]
    fn whoever_waits_is_woken_by_the_transaction_that_they_wait_for() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut work) = open(&folder.path().join("store.db"), Arc::default()).unwrap();
        let soon = Duration::from_secs(20);
        // Long enough, as a rule, that they do wait.
        let waits = |for_it: &Receiver<Durable>| {
            let heard = for_it.recv_timeout(Duration::from_millis(20));
            assert!(heard.is_err(), "it is not written yet");
        };
        for turn in 1..=4 {
            let ticket = writer.put(Change::Delivered(turn));
            let batch = work.next(Health::Well).unwrap();
            let first = waiting(&writer, ticket);
            waits(&first);
            // It is not taken at first, and more is put meanwhile.
            let second = waiting(&writer, writer.put(Change::Delivered(turn)));
            waits(&second);
            work.put_back(batch);
            let both = work.next(Health::Well).unwrap();
            let third = waiting(&writer, writer.put(Change::Delivered(turn)));
            work.write(&both).unwrap();
            work.done(&both);
            assert_eq!(first.recv_timeout(soon), Ok(Durable::Yes));
            assert_eq!(second.recv_timeout(soon), Ok(Durable::Yes));
            waits(&third);
            let last = work.next(Health::Well).unwrap();
            work.done(&last);
            assert_eq!(third.recv_timeout(soon), Ok(Durable::Yes));
        }
    }

    #[test]
    fn signs_of_life_share_a_transaction_with_what_comes_soon_and_cannot_wait() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::<ServerMetrics>::default();
        let (writer, work) = open(&folder.path().join("store.db"), Arc::clone(&metrics)).unwrap();
        let thread = Builder::new().spawn(move || work.run()).unwrap();
        for second in 0..20 {
            writer.put(Change::Status {
                client: ID,
                now: at(second),
                status: Status::default(),
            });
            // Long enough for a transaction of its own.
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let hits = writer.put(events(1, 1));
        let soon = clock::monotonic() + Duration::from_secs(20);
        assert_eq!(writer.wait(hits, soon), Durable::Yes);
        // On a busy machine 20 times 5 ms may be more than what is waited for.
        assert!(metrics.commits.get() < 10, "{}", metrics.commits.get());
        writer.end();
        thread.join().unwrap();
    }

    #[test]
    fn a_disk_that_takes_nothing_does_not_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, _work) = open(&folder.path().join("store.db"), Arc::default()).unwrap();
        writer.put(events(1, u64::try_from(ROOM).unwrap()));
        assert!(!writer.wait_for_room(clock::monotonic()));
        for _ in 0..1000 {
            writer.put(Change::Delivered(1));
        }
        assert_eq!(writer.queue.lock().waiting.len(), 1);
    }
}
