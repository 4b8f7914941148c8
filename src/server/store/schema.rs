//! The tables, and how a database gets them.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::database::{self, damage};
use crate::server::store::inspect::inspect;
use crate::server::store::{StoreError, migrate};

/// The version of the format.
pub const VERSION: i64 = 3;

/// All of a store that holds nothing yet.
const TABLES: &str = "
CREATE TABLE client (
    key INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL,
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
    traps_wanted INTEGER NOT NULL DEFAULT 0,
    clock_offset INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    crc INTEGER NOT NULL DEFAULT 0,
    trap_ports BLOB NOT NULL DEFAULT x'',
    unwritable INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX client_by_id ON client (id);
CREATE TABLE client_key (key INTEGER PRIMARY KEY, id BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE event (
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
    count INTEGER NOT NULL,
    crc INTEGER
);
CREATE TABLE gap (
    client INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, noticed INTEGER NOT NULL
);
CREATE TABLE alert (
    number INTEGER PRIMARY KEY,
    incident TEXT NOT NULL,
    action TEXT NOT NULL,
    time INTEGER NOT NULL,
    text TEXT NOT NULL,
    line TEXT NOT NULL
);
CREATE INDEX alert_by_incident ON alert (incident, number);
CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    opened INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    action TEXT NOT NULL,
    line TEXT NOT NULL,
    alerts INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX incident_open ON incident (last_seen) WHERE action <> 'close';
CREATE INDEX incident_closed ON incident (last_seen) WHERE action = 'close';
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE blocked (
    id BLOB PRIMARY KEY, name TEXT NOT NULL, since INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE client_order (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, what TEXT NOT NULL
);
";

/// Opens a store for writing, making it if there is none, and bringing it up to date if it is of
/// an earlier version.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut database = Connection::open(path)?;
    if database.is_readonly("main")? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    database.busy_timeout(Duration::from_secs(5))?;
    let version = version(&database, path)?;
    database.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA cache_size = -8192;
         PRAGMA temp_store = MEMORY;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    match version {
        VERSION => {}
        0 => create(&mut database)?,
        earlier => migrate::up(&mut database, earlier)?,
    }
    inspect(&database)?;
    Ok(database)
}

/// Opens a store that is there for reading, while a server may be writing it.
pub fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        return Err(StoreError::Absent(path.to_owned()));
    }
    match read(path, "NORMAL") {
        // Readers and writer share an index of the log, for which there is no room. Who is alone
        // has it in memory.
        Err(StoreError::Database(error)) if database::is_want_of_room(&error) => {
            read(path, "EXCLUSIVE")
        }
        opened => opened,
    }
}

fn read(path: &Path, locking: &str) -> Result<Connection, StoreError> {
    let database = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    database.busy_timeout(Duration::from_secs(5))?;
    database.pragma_update(None, "locking_mode", locking)?;
    // Nothing that is sorted is put on a disk that may be full.
    database.pragma_update(None, "temp_store", "MEMORY")?;
    if locking == "EXCLUSIVE" {
        database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    }
    let version = version(&database, path)?;
    if version < VERSION {
        return Err(StoreError::Earlier(path.to_owned(), version));
    }
    database.pragma_update(None, "query_only", true)?;
    Ok(database)
}

/// Makes the tables, all or none.
fn create(database: &mut Connection) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    make_tables(&transaction)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Makes the tables of a store that has no version yet.
pub fn make_tables(database: &Connection) -> rusqlite::Result<()> {
    database.execute_batch(TABLES)?;
    witness(database)
}

/// Notes the version a second time, so that damage to one is not taken for a later release.
pub fn witness(database: &Connection) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO counter VALUES ('version', ?1)";
    database.execute(insert, [VERSION]).map(drop)
}

/// The version of a store, 0 if there is nothing in it.
fn version(database: &Connection, path: &Path) -> Result<i64, StoreError> {
    let version = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if (0..=VERSION).contains(&version) {
        return Ok(version);
    }
    let witness = "SELECT value FROM counter WHERE name = 'version'";
    match database.query_row(witness, [], |row| row.get::<_, i64>(0)) {
        Ok(other) if other != version => Err(damage("its version is damaged").into()),
        Ok(_) | Err(_) => Err(StoreError::Later(path.to_owned(), version)),
    }
}
