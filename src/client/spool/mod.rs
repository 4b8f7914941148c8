//! The spool: hits on disk, in their order, until the server has them.
//!
//! It stores opaque records; what is in them is its user's business. One SQLite database,
//! `spool.db` in the state folder, in WAL mode with `synchronous = NORMAL`: a killed process loses
//! nothing, and a power cut what came after the last [`Flusher::flush`]. Beside it lie [notes]: what
//! the database does not take for want of room goes there, and counts as long as it is there.
//!
//! ```text
//! record   number  INTEGER PRIMARY KEY AUTOINCREMENT   counted from 1, never used twice;
//!                                                      `sqlite_sequence` has the last one used
//!          bytes   BLOB                                at most 64 KiB
//!          crc     INTEGER                             CRC-32 of the bytes
//! counter  name    TEXT PRIMARY KEY                    `shift` and a server's id: what to add to
//!          value   INTEGER                             a number for it; `dropped`: hits dropped ever
//! ```
//!
//! `user_version` is 1; a spool of a later version is not touched. A record whose CRC does not fit
//! is skipped and counted. A file that SQLite finds damaged is kept as `spool.db.damaged`, and
//! what can be read of it is carried over.

pub mod notes;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, params};

use crate::client::spool::notes::NotesFile;
use crate::database;

/// The version of the format.
const VERSION: i64 = 1;

/// When the spool is full, this share of its records is dropped at once, oldest first: dropping
/// them one by one would cost a transaction each.
const CHUNK: u64 = 64;

/// Damaged spools that are kept: a host has better things to do with its disk.
const KEPT: u32 = 1;

/// The size of a page, in bytes.
const PAGE: u64 = 4096;

/// The most numbers whose records are deleted in one transaction: on a small disk, one without
/// bound would never fit.
const SLICE: i64 = 1024;

const SCHEMA: &str = "
    BEGIN;
    CREATE TABLE IF NOT EXISTS record (
        number INTEGER PRIMARY KEY AUTOINCREMENT, bytes BLOB NOT NULL, crc INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
    PRAGMA user_version = 1;
    COMMIT;";

/// A spool on disk.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    database: Connection,
    /// Whether there is no file, and the database only stands in for it.
    is_gone: bool,
    /// The most pages it may use.
    pages: u64,
    /// How many records there are.
    count: u64,
    /// The number of the last record that was written, in this process or still there at its start.
    tail: u64,
    /// The last number that was used.
    last: u64,
    notes: NotesFile,
    flusher: Flusher,
}

/// Brings what was appended to the disk itself, past the system's cache.
///
/// It needs no hold on the spool: a disk takes its time, and hits must not wait for it. That is
/// also why it syncs the log and does not ask SQLite for a checkpoint, after which the next
/// append would have to sync the log's new header before anybody could read the record.
#[derive(Clone, Debug)]
pub struct Flusher {
    path: PathBuf,
    log: Option<Arc<File>>,
    notes: Option<Arc<File>>,
}

/// A record with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub number: u64,
    /// Its bytes; `None` if they are damaged.
    pub bytes: Option<Vec<u8>>,
}

/// What was found at opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a spool that is whole.
    Sound,
    /// A damaged file: it is kept under this name, and so many records could be carried over.
    Damaged {
        /// Where the damaged file is kept.
        kept: PathBuf,
        /// Records that could be read.
        saved: u64,
    },
}

/// Why the spool cannot do what it should.
#[derive(Debug)]
pub enum SpoolError {
    /// It was made by a later version of vft.
    Later(PathBuf, i64),
    /// The file cannot be moved away or made.
    Io(PathBuf, io::Error),
    /// SQLite's word on it: often a full disk.
    Database(rusqlite::Error),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(path, version) => write!(
                f,
                "{} has version {version}, of a later release of vft than this one",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SpoolError {}

impl SpoolError {
    /// Whether less might fit.
    pub const fn is_want_of_room(&self) -> bool {
        match self {
            Self::Database(error) => database::is_want_of_room(error),
            Self::Later(..) | Self::Io(..) => false,
        }
    }
}

impl From<rusqlite::Error> for SpoolError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Spool {
    /// Opens the spool in `folder`, of at most `bytes` on disk.
    pub fn open(folder: &Path, bytes: u64) -> Result<(Self, Found), SpoolError> {
        let path = folder.join("spool.db");
        let pages = (bytes / PAGE).max(CHUNK);
        match Self::open_file(&path, pages) {
            Ok(spool) => Ok((spool, Found::Sound)),
            Err(SpoolError::Database(error)) if database::is_unusable(&error) => {
                Self::recover(&path, pages)
            }
            Err(error) => Err(error),
        }
    }

    fn open_file(path: &Path, pages: u64) -> Result<Self, SpoolError> {
        let database = Connection::open(path)?;
        // Nobody else should use it; whoever does for a moment is waited for, but not for long.
        database.busy_timeout(Duration::from_millis(100))?;
        // A statement is compiled once, and not again for each number it is given.
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > VERSION {
            return Err(SpoolError::Later(path.to_owned(), version));
        }
        database.execute_batch(
            "PRAGMA page_size = 4096;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             PRAGMA cache_size = -256;
             PRAGMA journal_size_limit = 1048576;",
        )?;
        let verdict: String = database.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(database::damage(&verdict).into());
        }
        if version < VERSION {
            database.execute_batch(SCHEMA)?;
        }
        let notes = path.with_extension("notes");
        let notes = NotesFile::open(&notes).map_err(|error| SpoolError::Io(notes, error))?;
        let (count, tail) = extent(&database)?;
        Ok(Self {
            path: path.to_owned(),
            is_gone: false,
            pages,
            count,
            tail,
            last: last_number(&database)?.max(tail).max(notes.get().last),
            notes,
            flusher: Flusher::of(path)?,
            database,
        })
    }

    /// Moves a damaged file away and carries over what can be read of it.
    fn recover(path: &Path, pages: u64) -> Result<(Self, Found), SpoolError> {
        let kept = database::set_aside(path, KEPT)
            .map_err(|error| SpoolError::Io(path.to_owned(), error))?;
        let mut spool = Self::open_file(path, pages)?;
        let saved = spool.carry_over(&kept)?;
        Ok((spool, Found::Damaged { kept, saved }))
    }

    fn carry_over(&mut self, kept: &Path) -> Result<u64, SpoolError> {
        let Ok(old) = database::open_damaged(kept) else {
            return Ok(0);
        };
        let transaction = self.database.transaction()?;
        let mut saved = 0;
        if let Ok(mut counters) = old.prepare("SELECT name, value FROM counter") {
            let read = counters.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            });
            for (name, value) in read.into_iter().flatten().map_while(Result::ok) {
                transaction.execute(
                    "INSERT OR REPLACE INTO counter VALUES (?1, ?2)",
                    params![name, value],
                )?;
            }
        }
        if let Ok(mut records) = old.prepare("SELECT number, bytes, crc FROM record") {
            let read = records.query_map([], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, Vec<u8>>(1)?,
                    row.get::<_, i64>(2)?,
                ))
            });
            // Whatever comes before the first page that cannot be read.
            for (number, bytes, crc) in read.into_iter().flatten().map_while(Result::ok) {
                transaction.execute(
                    "INSERT OR IGNORE INTO record VALUES (?1, ?2, ?3)",
                    params![number, bytes, crc],
                )?;
                saved += 1;
            }
        }
        transaction.commit()?;
        (self.count, self.tail) = extent(&self.database)?;
        self.last = self.last.max(last_number(&self.database)?);
        Ok(saved)
    }

    /// Appends records under the numbers from `first` on, all or none. When there is no room, the
    /// oldest are dropped and returned.
    pub fn append(&mut self, first: u64, records: &[Vec<u8>]) -> Result<Vec<Record>, SpoolError> {
        let pages = self.pages;
        let transaction = self.database.transaction()?;
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO record (number, bytes, crc) VALUES (?1, ?2, ?3)")?;
            for (number, bytes) in (first..).zip(records) {
                insert.execute(params![signed(number), bytes, crc32fast::hash(bytes)])?;
            }
        }
        let mut dropped = Vec::new();
        while used(&transaction)? > pages {
            let chunk = drop_oldest(&transaction)?;
            if chunk.is_empty() {
                break;
            }
            dropped.extend(chunk);
        }
        transaction.commit()?;
        self.tail = first.saturating_add(length(records)).saturating_sub(1);
        self.last = self.last.max(self.tail);
        self.count = self
            .count
            .saturating_add(length(records))
            .saturating_sub(length(&dropped));
        Ok(dropped)
    }

    /// Uses all numbers up to this one up, without a record: they are noted.
    pub fn use_up(&mut self, last: u64) -> Result<(), SpoolError> {
        self.last = self.last.max(last);
        let last = self.last;
        self.note(|notes| notes.last = last)
    }

    /// The oldest records with numbers above `after`, at most `most`.
    pub fn oldest(&self, after: u64, most: usize) -> Result<Vec<Record>, SpoolError> {
        let mut select = self.database.prepare_cached(
            "SELECT number, bytes, crc FROM record WHERE number > ?1 ORDER BY number LIMIT ?2",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let records = select
            .query_map([signed(after), most], record)?
            .collect::<Result<_, _>>()?;
        Ok(records)
    }

    /// Forgets all records up to and including this number. If they cannot be deleted, they are
    /// noted, and it fails all the same.
    pub fn forget(&mut self, up_to: u64) -> Result<(), SpoolError> {
        let deleted = self.delete(up_to);
        if deleted.is_err() {
            self.note(|notes| notes.forgotten = notes.forgotten.max(up_to))?;
        }
        deleted
    }

    fn delete(&mut self, up_to: u64) -> Result<(), SpoolError> {
        loop {
            let first: Option<i64> = self
                .database
                .prepare_cached("SELECT min(number) FROM record")?
                .query_row([], |row| row.get(0))?;
            let Some(first) = first.filter(|first| *first <= signed(up_to)) else {
                return Ok(());
            };
            let slice = first.saturating_add(SLICE - 1);
            let gone = self
                .database
                .prepare_cached("DELETE FROM record WHERE number <= ?1")?
                .execute([slice.min(signed(up_to))])?;
            let gone = u64::try_from(gone).unwrap_or(u64::MAX);
            self.count = self.count.saturating_sub(gone);
        }
    }

    /// Whether the database has all that was noted.
    pub fn is_settled(&self) -> bool {
        self.notes.get().is_blank()
    }

    /// Writes a record and takes it back, to see whether the disk takes one, and with it what was
    /// only noted.
    pub fn settle(&mut self) -> Result<(), SpoolError> {
        let noted = self.notes.get().clone();
        if noted.forgotten > 0 {
            self.delete(noted.forgotten)?;
        }
        let transaction = self.database.transaction()?;
        // No record has this number.
        transaction.execute("INSERT INTO record VALUES (0, zeroblob(64), 0)", [])?;
        transaction.execute("DELETE FROM record WHERE number = 0", [])?;
        transaction.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'record'",
            [signed(self.last)],
        )?;
        for (name, value) in &noted.counters {
            transaction.execute(
                "INSERT OR REPLACE INTO counter VALUES (?1, ?2)",
                params![name, value],
            )?;
        }
        transaction.commit()?;
        self.note(|notes| *notes = notes::Notes::default())
    }

    /// Moves what is in the log into the database, so that the log begins anew in the room that it
    /// has.
    pub fn tidy(&self) -> Result<(), SpoolError> {
        let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
        Ok(self.database.query_row(checkpoint, [], |_| Ok(()))?)
    }

    /// Begins a fresh file in the place of one that has no room to be written, or to be emptied, and
    /// of whose records none is needed any more. Its log may take up all the room that there is, and
    /// would for ever. If there is none for a fresh one either, there is no spool for now.
    pub fn renew(&mut self) -> Result<(), SpoolError> {
        let (last, counters) = (self.last, self.counters().unwrap_or_default());
        self.note(|notes| {
            notes.last = last;
            notes.forgotten = 0;
            for (name, value) in counters {
                notes.counters.entry(name).or_insert(value);
            }
        })?;
        self.database = Connection::open_in_memory()?;
        self.database.execute_batch(SCHEMA)?;
        self.database.pragma_update(None, "query_only", true)?;
        (self.count, self.tail, self.is_gone) = (0, 0, true);
        // What is open keeps its room.
        self.flusher.log = None;
        database::remove(&self.path).map_err(|error| SpoolError::Io(self.path.clone(), error))?;
        *self = Self::open_file(&self.path, self.pages)?;
        Ok(())
    }

    /// Whether there was no room to begin a fresh file.
    pub const fn is_gone(&self) -> bool {
        self.is_gone
    }

    fn counters(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        let mut select = self.database.prepare("SELECT name, value FROM counter")?;
        let counters = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        counters.collect()
    }

    fn note(&mut self, change: impl FnOnce(&mut notes::Notes)) -> Result<(), SpoolError> {
        let noted = self.notes.change(change);
        noted.map_err(|error| SpoolError::Io(self.notes.path().to_owned(), error))
    }

    /// The number the next record will have.
    pub const fn next(&self) -> u64 {
        self.last.saturating_add(1)
    }

    /// How many records there are.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The number of the last record, if there is one.
    pub const fn tail(&self) -> u64 {
        self.tail
    }

    /// The number up to which nothing is needed any more, although it is there.
    pub const fn forgotten(&self) -> u64 {
        self.notes.get().forgotten
    }

    /// A counter that stays; `None` if it was never set.
    pub fn counter(&self, name: &str) -> Result<Option<i64>, SpoolError> {
        if let Some(noted) = self.notes.get().counters.get(name) {
            return Ok(Some(*noted));
        }
        let value = self
            .database
            .prepare_cached("SELECT value FROM counter WHERE name = ?1")?
            .query_row([name], |row| row.get(0))
            .optional()?;
        Ok(value)
    }

    /// Sets a counter that stays. If it cannot be written, it is noted, and it fails all the same.
    pub fn set_counter(&mut self, name: &str, value: i64) -> Result<(), SpoolError> {
        let written = self
            .database
            .prepare_cached("INSERT OR REPLACE INTO counter VALUES (?1, ?2)")?
            .execute(params![name, value]);
        // What is noted already would come after it.
        if written.is_err() || self.notes.get().counters.contains_key(name) {
            self.note(|notes| {
                notes.counters.insert(name.to_owned(), value);
            })?;
        }
        written?;
        Ok(())
    }

    /// What brings it to the disk itself.
    pub fn flusher(&self) -> Flusher {
        Flusher {
            notes: (!self.is_settled()).then(|| self.notes.file()),
            ..self.flusher.clone()
        }
    }
}

impl Flusher {
    /// For the spool in this file, which has been written to and so has a log.
    fn of(path: &Path) -> Result<Self, SpoolError> {
        let path = database::with_suffix(path, "-wal");
        // SQLite keeps no locks on the log, so opening and closing it takes none away.
        match File::options().write(true).open(&path) {
            Ok(log) => Ok(Self {
                path,
                log: Some(Arc::new(log)),
                notes: None,
            }),
            Err(error) => Err(SpoolError::Io(path, error)),
        }
    }

    /// Returns when all that was appended before is on the disk.
    pub fn flush(&self) -> Result<(), SpoolError> {
        let mut files = self.notes.iter().chain(&self.log);
        let synced = files.try_for_each(|file| file.sync_data());
        synced.map_err(|error| SpoolError::Io(self.path.clone(), error))
    }
}

fn record(row: &rusqlite::Row<'_>) -> rusqlite::Result<Record> {
    let (number, bytes, crc) = (
        row.get(0)?,
        row.get::<_, Vec<u8>>(1)?,
        row.get::<_, i64>(2)?,
    );
    let sound = i64::from(crc32fast::hash(&bytes)) == crc;
    Ok(Record {
        number: positive(number),
        bytes: sound.then_some(bytes),
    })
}

/// How many records there are, and the number of the last one.
fn extent(database: &Connection) -> rusqlite::Result<(u64, u64)> {
    let extent = "SELECT count(*), coalesce(max(number), 0) FROM record";
    database.query_row(extent, [], |row| {
        Ok((positive(row.get(0)?), positive(row.get(1)?)))
    })
}

/// The number of the last record there ever was, 0 if there was none.
fn last_number(database: &Connection) -> rusqlite::Result<u64> {
    let last: Option<i64> = database
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'record'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(last.map_or(0, positive))
}

/// Pages in use.
fn used(database: &Connection) -> rusqlite::Result<u64> {
    let ask = |pragma: &str| -> rusqlite::Result<u64> {
        database
            .prepare_cached(pragma)?
            .query_row([], |row| row.get(0))
            .map(positive)
    };
    Ok(ask("PRAGMA page_count")?.saturating_sub(ask("PRAGMA freelist_count")?))
}

fn drop_oldest(database: &Connection) -> rusqlite::Result<Vec<Record>> {
    let count: i64 = database.query_row("SELECT count(*) FROM record", [], |row| row.get(0))?;
    let chunk = (positive(count) / CHUNK).max(1);
    let mut delete = database.prepare_cached(
        "DELETE FROM record WHERE number IN (SELECT number FROM record ORDER BY number LIMIT ?1)
         RETURNING number, bytes, crc",
    )?;
    let chunk = i64::try_from(chunk).unwrap_or(i64::MAX);
    delete.query_map([chunk], record)?.collect()
}

fn length<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn positive(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[cfg(test)]
pub mod tests;
