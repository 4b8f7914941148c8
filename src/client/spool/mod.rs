//! The spool: hits on disk, in their order, until the server has them.
//!
//! It stores opaque records; what is in them is its user's business. One SQLite database,
//! `spool.db` in the state folder, in WAL mode with `synchronous = NORMAL`: a killed process loses
//! nothing, and a power cut what came after the last [`Flusher::flush`]. Beside it lie [notes]:
//! what the database does not take for want of room goes there, and counts as long as it is there.
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

mod error;
mod flusher;
pub mod notes;
mod recover;
mod settle;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _, params};

pub use crate::client::spool::error::SpoolError;
use crate::client::spool::flusher::Flusher;
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
             PRAGMA temp_store = MEMORY;
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

    /// What brings it to the disk itself.
    pub fn flusher(&self) -> Flusher {
        let notes = (!self.is_settled()).then(|| self.notes.file());
        self.flusher.with(notes)
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
