//! The tables, and how a database gets them.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::server::store::StoreError;

/// The version of the format.
pub const VERSION: i64 = 1;

const TABLES: &str = "
BEGIN;
CREATE TABLE IF NOT EXISTS client (
    key INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    address TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    farewell INTEGER NOT NULL DEFAULT 0,
    progress INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    backlog INTEGER NOT NULL DEFAULT 0,
    traps TEXT NOT NULL DEFAULT '',
    traps_wanted INTEGER NOT NULL DEFAULT 0,
    clock_offset INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    client INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    received INTEGER NOT NULL,
    at INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    source BLOB NOT NULL,
    source_port INTEGER NOT NULL,
    trap_port INTEGER NOT NULL,
    probe INTEGER NOT NULL,
    count INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS gap (
    client INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, noticed INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS alert (
    number INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    action TEXT NOT NULL,
    time INTEGER NOT NULL,
    text TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS alert_by_incident ON alert (incident, number);
CREATE TABLE IF NOT EXISTS incident (
    id TEXT PRIMARY KEY,
    opened INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    action TEXT NOT NULL,
    line TEXT NOT NULL,
    alerts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
COMMIT;
";

/// Opens a store for writing, making it if there is none.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let database = Connection::open(path)?;
    database.busy_timeout(Duration::from_secs(5))?;
    check_version(&database, path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -8192;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    database.execute_batch(TABLES)?;
    Ok(database)
}

/// Opens a store that is there for reading, while a server may be writing it.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Absent(path.to_owned()));
    }
    let database = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    database.busy_timeout(Duration::from_secs(5))?;
    check_version(&database, path)?;
    database.pragma_update(None, "query_only", true)?;
    Ok(database)
}

fn check_version(database: &Connection, path: &Path) -> Result<(), StoreError> {
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        return Err(StoreError::Later(path.to_owned(), version));
    }
    Ok(())
}
