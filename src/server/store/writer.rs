//! The one thread that writes.
//!
//! Whoever has something to write puts it into the queue, which never waits, and may then wait
//! until it is on the disk itself. The thread takes all there is, writes it in one transaction,
//! commits, and wakes those who wait. If the disk does not take it, the queue stays as it is and
//! the thread tries again every second; it says so once, and once when it is well again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, info};
use rusqlite::{Connection, Transaction, params};

use crate::clock;
use crate::event::{ClientId, Event, Timestamp};
use crate::metrics::ServerMetrics;
use crate::server::store::StoreError;
use crate::server::store::record::{AlertRecord, Change, Status, address_bytes, integer};
use crate::server::store::schema;

/// Rows that may wait. A session with more waits before it hands anything in.
const ROOM: usize = 262_144;

/// Rows of one transaction: enough to share a flush, few enough to keep who waits waiting briefly.
const MOST: usize = 32_768;

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
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Asked,
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
            let waited = self.queue.written.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Puts a change into the queue; never waits.
    pub fn put(&self, change: Change) -> Ticket {
        let mut inner = self.queue.lock();
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

    /// Asks the thread to write what there is, and to end.
    pub fn end(&self) {
        self.queue.lock().end = End::Asked;
        self.queue.put.notify_one();
    }
}

impl Queue {
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
        let mut batch = Vec::new();
        let mut weight = 0;
        while let Some(change) = inner.waiting.pop_front() {
            weight += change.weight();
            batch.push(change);
            if weight >= MOST {
                break;
            }
        }
        Some(batch)
    }

    fn done(&self, batch: &[Change]) {
        let mut inner = self.queue.lock();
        let weight: usize = batch.iter().map(Change::weight).sum();
        inner.weight = inner.weight.saturating_sub(weight);
        inner.durable += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        self.metrics.commits.one();
        self.queue.written.notify_all();
    }

    fn put_back(&self, batch: Vec<Change>) {
        let mut inner = self.queue.lock();
        for change in batch.into_iter().rev() {
            inner.waiting.push_front(change);
        }
    }

    fn write(&mut self, batch: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.database.transaction()?;
        for change in batch {
            apply(&transaction, change)?;
        }
        transaction.commit()
    }
}

fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Welcome {
            client,
            name,
            version,
            address,
            now,
        } => {
            let now = integer(now.as_micros());
            transaction
                .prepare_cached(
                    "INSERT INTO client (id, name, version, address, first_seen, last_seen)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (id) DO UPDATE SET
                     name = ?2, version = ?3, address = ?4, last_seen = ?5, farewell = 0",
                )?
                .execute(params![client.0, name, version, address.to_string(), now])?;
        }
        Change::Status {
            client,
            now,
            status,
        } => {
            describe(transaction, *client, *now, status)?;
        }
        Change::Lost(incident) => {
            transaction
                .prepare_cached("UPDATE incident SET action = 'close' WHERE id = ?1")?
                .execute([incident])?;
        }
        Change::Farewell(client) => {
            transaction
                .prepare_cached("UPDATE client SET farewell = 1 WHERE id = ?1")?
                .execute([client.0])?;
        }
        Change::Events {
            client,
            events,
            progress,
            gap,
            now,
        } => {
            let key = advance(transaction, *client, *progress, *gap, *now)?;
            insert(transaction, key, events)?;
        }
        Change::Alert(alert) => keep(transaction, alert)?,
        Change::Delivered(number) => {
            transaction
                .prepare_cached(
                    "INSERT INTO counter VALUES ('delivered', ?1) ON CONFLICT (name) DO UPDATE SET
                     value = max(value, ?1)",
                )?
                .execute([integer(*number)])?;
        }
    }
    Ok(())
}

fn describe(
    transaction: &Transaction<'_>,
    client: ClientId,
    now: Timestamp,
    status: &Status,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE client SET last_seen = ?2, traps = ?3, traps_wanted = ?4, backlog = ?5,
             dropped = ?6, clock_offset = ?7 WHERE id = ?1",
        )?
        .execute(params![
            client.0,
            integer(now.as_micros()),
            status.traps,
            status.traps_wanted,
            integer(status.backlog),
            integer(status.dropped),
            status.clock_offset
        ])?;
    Ok(())
}

/// Notes how far a client has come, and returns its key.
fn advance(
    transaction: &Transaction<'_>,
    client: ClientId,
    progress: u64,
    gap: Option<(u64, u64)>,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let (missing, now) = (
        gap.map_or(0, |(first, last)| last - first + 1),
        integer(now.as_micros()),
    );
    let key = transaction
        .prepare_cached(
            "UPDATE client SET last_seen = ?2, progress = ?3, missing = missing + ?4
             WHERE id = ?1 RETURNING key",
        )?
        .query_row(
            params![client.0, now, integer(progress), integer(missing)],
            |row| row.get(0),
        )?;
    if let Some((first, last)) = gap {
        transaction
            .prepare_cached("INSERT INTO gap VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, integer(first), integer(last), now])?;
    }
    Ok(key)
}

fn insert(transaction: &Transaction<'_>, key: i64, events: &[Event]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO event (client, sequence, received, at, first, last, source, source_port,
         trap_port, probe, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    for event in events {
        let hit = &event.hit;
        insert.execute(params![
            key,
            integer(event.sequence),
            integer(event.received.as_micros()),
            integer(event.at.as_micros()),
            integer(hit.first.as_micros()),
            integer(hit.last.as_micros()),
            address_bytes(hit.source),
            hit.source_port,
            hit.trap_port,
            hit.probe.code(),
            hit.count.get()
        ])?;
    }
    Ok(())
}

fn keep(transaction: &Transaction<'_>, alert: &AlertRecord) -> rusqlite::Result<()> {
    let time = integer(alert.time.as_micros());
    transaction
        .prepare_cached("INSERT OR REPLACE INTO alert VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            integer(alert.number),
            alert.incident,
            alert.action,
            time,
            alert.text,
            alert.line
        ])?;
    let (first, last) = (
        integer(alert.first_seen.as_micros()),
        integer(alert.last_seen.as_micros()),
    );
    transaction
        .prepare_cached(
            "INSERT INTO incident VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1) ON CONFLICT (id) DO UPDATE SET
             first_seen = ?3, last_seen = ?4, action = ?5, line = ?6, alerts = alerts + 1",
        )?
        .execute(params![
            alert.incident,
            time,
            first,
            last,
            alert.action,
            alert.line
        ])?;
    Ok(())
}
