//! Puts a fresh store in the place of a damaged one.
//!
//! The fresh one is made beside it, as `store.db.new`, and is on the disk before the damaged one is
//! set aside. It says that it is whole by having a version, which it is given last. So whenever the
//! server is killed, the next start either begins anew or goes on from where both were whole.

use std::fs::File;
use std::path::Path;

use log::warn;
use rusqlite::{Connection, OpenFlags};

use crate::clock;
use crate::database;
use crate::server::store::StoreError;
use crate::server::store::salvage::{self, Outcome};
use crate::server::store::schema::{self, VERSION};

/// Damaged stores that are kept.
const KEPT: u32 = 3;

/// If there is no room for all events (after what was set aside before has made some), then for the
/// newest half of them, or a quarter, and so on.
const SHARES: [i64; 8] = [1, 1, 2, 4, 8, 16, 32, 64];

/// Opens the store at `path` for writing. It is made if there is none, and mended first if it is
/// damaged.
pub fn open(path: &Path) -> Result<Connection, StoreError> {
    finish(path)?;
    let absent = !path.exists();
    // To SQLite, a file without a byte is a new one.
    let opened = if path.metadata().is_ok_and(|file| file.len() == 0) {
        Err(database::damage("it is empty").into())
    } else {
        schema::open(path)
    };
    match opened {
        Err(StoreError::Database(error)) if absent => {
            // What there is of it is none.
            drop(database::remove(path));
            Err(StoreError::Unmade(path.to_owned(), error))
        }
        Err(StoreError::Database(error)) if database::is_unusable(&error) => {
            mend(path, &error)?;
            schema::open(path)
        }
        opened => opened,
    }
}

/// Replaces the store at `path`, in which `error` was found.
pub fn mend(path: &Path, error: &rusqlite::Error) -> Result<Outcome, StoreError> {
    let fresh = database::with_suffix(path, ".new");
    let outcome = carry_over(path, &fresh)?;
    swap(path, &fresh)?;
    let Outcome {
        clients,
        uncertain,
        incidents,
        alerts,
        alerts_lost,
        events,
        nameless,
        events_lost,
    } = outcome;
    warn!(
        "the store was damaged ({error}): {events} hits, {alerts} alerts, {incidents} incidents and \
         {clients} clients are saved; {events_lost} hits and {alerts_lost} alerts are lost; it is not \
         certain of {uncertain} clients how far they had come, and of {nameless} hits whose they \
         are; the damaged file is kept as {}",
        database::with_suffix(path, ".damaged").display()
    );
    Ok(outcome)
}

/// Finishes what was begun before the server was killed.
fn finish(path: &Path) -> Result<(), StoreError> {
    let fresh = database::with_suffix(path, ".new");
    if !fresh.exists() {
        return Ok(());
    }
    if is_whole(&fresh) {
        return swap(path, &fresh);
    }
    database::remove(&fresh).map_err(|error| StoreError::Io(fresh, error))
}

fn carry_over(path: &Path, fresh: &Path) -> Result<Outcome, StoreError> {
    let io = |error| StoreError::Io(fresh.to_owned(), error);
    let mut outcome = Ok(Outcome::default());
    for share in SHARES {
        database::remove(fresh).map_err(io)?;
        outcome = fill(path, fresh, share);
        match &outcome {
            Err(error) if database::is_want_of_room(error) => {
                // What is being saved is worth more than what was set aside before.
                database::remove_set_aside(path, KEPT).map_err(io)?;
            }
            Ok(_) | Err(_) => break,
        }
    }
    let outcome = outcome?;
    let sync = || File::open(fresh)?.sync_all();
    sync().map_err(io)?;
    Connection::open(fresh)?.pragma_update(None, "user_version", VERSION)?;
    sync().map_err(io)?;
    Ok(outcome)
}

fn fill(path: &Path, fresh: &Path, share: i64) -> rusqlite::Result<Outcome> {
    let mut database = Connection::open(fresh)?;
    // It counts for nothing before it is complete.
    database.execute_batch(
        "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;",
    )?;
    schema::make_tables(&database)?;
    let now = clock::wall().into();
    match database::open_damaged(path) {
        Ok(old) => salvage::carry_over(&old, &mut database, share, now),
        Err(_) => Ok(Outcome::default()),
    }
}

fn is_whole(fresh: &Path) -> bool {
    let version =
        || -> rusqlite::Result<i64> {
            Connection::open_with_flags(fresh, OpenFlags::SQLITE_OPEN_READ_ONLY)?
                .pragma_query_value(None, "user_version", |row| row.get(0))
        };
    version() == Ok(VERSION)
}

fn swap(path: &Path, fresh: &Path) -> Result<(), StoreError> {
    let swap = || {
        database::set_aside(path, KEPT)?;
        std::fs::rename(fresh, path)?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    swap().map_err(|error| StoreError::Io(path.to_owned(), error))
}

#[cfg(test)]
mod tests;
