//! The one thread that writes.
//!
//! Whoever has something to write puts it into the queue, which never waits, and may then wait
//! until it is on the disk itself. The thread takes all there is, writes it in one transaction,
//! commits, and wakes those who wait. If the disk does not take it, the queue stays as it is and
//! the thread tries again every second; it says so once, and once when it is well again.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{error, info};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::clock;
use crate::database;
use crate::metrics::ServerMetrics;
use crate::server::store::apply::apply;
use crate::server::store::record::Change;
use crate::server::store::{StoreError, mend, schema};

/// Hits, and changes, that may wait. A session with more waits before it hands anything in.
const ROOM: usize = 262_144;

/// Rows of one transaction: enough to share a flush, few enough to keep who waits waiting briefly.
const MOST: usize = 32_768;

/// How long to wait before a failed transaction is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How far apart it tries to mend a damaged store: that may take minutes.
const BETWEEN_MENDS: Duration = Duration::from_secs(60);

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
    path: PathBuf,
    /// None while it cannot be opened.
    database: Option<Connection>,
    health: Health,
    mended: Option<Instant>,
    metrics: Arc<ServerMetrics>,
}

/// Opens the store at `path`; the work is for a thread of its own. If there is a store that cannot be
/// written because its disk has no room, the work begins without it.
pub fn open(path: &Path, metrics: Arc<ServerMetrics>) -> Result<(Writer, Work), StoreError> {
    let (database, health) = match mend::open(path) {
        Ok(database) => (Some(database), Health::Well),
        Err(StoreError::Database(error))
            if database::is_want_of_room(&error) && schema::open_to_read(path).is_ok() =>
        {
            (None, Health::Well.worsens(&error.into()))
        }
        Err(error) => return Err(error),
    };
    let queue = Arc::new(Queue::default());
    let work = Work {
        queue: Arc::clone(&queue),
        path: path.to_owned(),
        database,
        health,
        mended: None,
        metrics,
    };
    Ok((Writer { queue }, work))
}

impl Health {
    /// Says that the store cannot be written, if that is news.
    fn worsens(self, error: &StoreError) -> Self {
        if self == Self::Well {
            error!(
                "cannot write the store: {error}; alerting goes on, hits stay with the clients \
                 until it can be written"
            );
        }
        Self::Ailing
    }

    /// Says that the store can be written, if that is news.
    fn improves(self) -> Self {
        if self == Self::Ailing {
            info!("the store can be written again");
        }
        Self::Well
    }
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

impl Work {
    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes until asked to end.
    pub fn run(mut self) {
        while let Some(batch) = self.next() {
            match self.write(&batch) {
                Ok(()) => {
                    self.health = self.health.improves();
                    self.done(&batch);
                }
                Err(error) => {
                    self.metrics.store_errors.one();
                    self.health = self.health.worsens(&error);
                    self.put_back(batch);
                    self.mend_now_and_then(&error);
                }
            }
        }
    }

    /// What to write next; `None` when it was asked to end and there is nothing more, or nothing
    /// more that can be written.
    fn next(&self) -> Option<Vec<Change>> {
        let mut inner = self.queue.lock();
        if self.health == Health::Ailing {
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
            weight += change.weight().max(1);
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

    fn write(&mut self, batch: &[Change]) -> Result<(), StoreError> {
        let database = match &mut self.database {
            Some(database) => database,
            None => self.database.insert(mend::open(&self.path)?),
        };
        let transaction = database.transaction()?;
        for change in batch {
            apply(&transaction, change)?;
        }
        Ok(transaction.commit()?)
    }

    /// Mends the store if it is damaged, but not more often than makes sense.
    fn mend_now_and_then(&mut self, error: &StoreError) {
        let StoreError::Database(error) = error else {
            return;
        };
        let now = clock::monotonic();
        let lately = |mended| now.saturating_duration_since(mended) < BETWEEN_MENDS;
        if !database::is_damage(error) || self.mended.is_some_and(lately) {
            return;
        }
        self.mended = Some(now);
        if let Err(error) = self.mend(error) {
            error!("cannot mend the store: {error}");
        }
    }

    /// Mends the store, in which `error` was found.
    pub fn mend(&mut self, error: &rusqlite::Error) -> Result<(), StoreError> {
        if let Some(database) = self.database.take() {
            // What is damaged is not written to any more.
            database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        mend::mend(&self.path, error)?;
        self.database = Some(mend::open(&self.path)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
    use crate::server::store::schema;
    use std::num::NonZeroU32;
    use std::os::unix::fs::FileExt as _;

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

    #[test]
    fn damage_that_is_met_while_running_is_mended_and_nothing_waits_in_vain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let (writer, mut work) = open(&path, Arc::default()).unwrap();
        work.write(&[events(1, 1000)]).unwrap();
        let database = work.database.as_ref().unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        database.query_row(checkpoint, [], |_| Ok(())).unwrap();
        database.execute_batch("PRAGMA shrink_memory").unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        // The last page that holds hits, where the next one would go.
        let full = |page: &usize| bytes[page * 4096] == 0x0d && bytes[page * 4096 + 4] > 20;
        let page = (1..bytes.len() / 4096).rfind(full).unwrap();
        file.write_all_at(&[0xff; 4096], u64::try_from(page).unwrap() * 4096)
            .unwrap();
        std::thread::scope(|threads| {
            threads.spawn(|| work.run());
            let ticket = writer.put(events(1001, 1));
            let deadline = clock::monotonic() + Duration::from_secs(20);
            assert_eq!(writer.wait(ticket, deadline), Durable::Yes);
            writer.end();
        });
        assert!(folder.path().join("store.db.damaged").exists());
        let database = schema::open_to_read(&path).unwrap();
        let count = |select| database.query_row(select, [], |row| row.get::<_, i64>(0));
        let left = count("SELECT count(*) FROM event").unwrap();
        assert!((900..1001).contains(&left), "{left}");
        assert_eq!(count("SELECT progress FROM client"), Ok(1001));
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
