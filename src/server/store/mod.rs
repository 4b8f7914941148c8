//! The store: every event, client and alert the server has seen, on disk.
//!
//! One SQLite database, `store.db` in the state folder, in WAL mode with `synchronous = FULL`:
//! what is committed outlives a power cut. One [writer] thread commits for everybody: while one
//! commit is on its way the next gathers in the [queue], so many sessions share one flush of the disk. Anybody
//! may read it while the server runs.
//!
//! ```text
//! client   key (used once), id (16 bytes), name, version, address, first_seen, last_seen,
//!          farewell (0 or 1), progress (last number of its sequence), missing, dropped, backlog,
//!          traps_wanted, clock_offset, refused, crc (of id and progress), trap_ports (2 bytes
//!          each), unwritable (0 or 1: it cannot write its spool)
//! client_key  key, id, crc (of both): once more, because without it hits would be nobody's
//! event    number (order of arrival), client (key), sequence, received, at, first, last,
//!          source (4 or 16 bytes), source_port, trap_port, probe (as on the wire), count, crc (of
//!          all but the number; none if version 1 has written it)
//! gap      client (key), first, last, noticed
//! alert    number, incident, action, time, text (as standard output has it), line (JSON)
//! incident id, opened, first_seen, last_seen, action, line (JSON of its last alert), alerts
//! counter  name, value: `delivered` (last alert written to standard output), `forgotten` and
//!          `forgotten-alerts` (last event, and last alert, that was forgotten), `version` (once
//!          more), `clock` (what time was [believed](horizon) when something was last forgotten)
//! blocked  id, name (when it was blocked), since: clients that are refused
//! client_order  number, id, what (forget, block, unblock): orders of an operator, until they are obeyed
//! ```
//!
//! Times are microseconds since the Unix epoch, UTC. `user_version` is [`schema::VERSION`]; a
//! store of an earlier version is [brought up to date](migrate), one of a later version is not
//! touched. A damaged one is [mended](mend).

pub mod apply;
pub mod expiry;
pub mod forgetting;
pub mod horizon;
pub mod inspect;
pub mod mend;
pub mod migrate;
pub mod orders;
pub mod queue;
pub mod reader;
pub mod record;
pub mod room;
pub mod rows;
pub mod salvage;
pub mod schema;
pub mod share;
pub mod walk;
pub mod writer;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::database;

/// The name of the file in the state folder.
pub const FILE: &str = "store.db";

/// Why the store cannot do what it should.
#[derive(Debug)]
pub enum StoreError {
    /// It was made by a later version of vft.
    Later(PathBuf, i64),
    /// It was made by an earlier version of vft, and cannot be read before it is brought up to date.
    Earlier(PathBuf, i64),
    /// There is no store.
    Absent(PathBuf),
    /// The user that runs vft may not write it.
    ReadOnly(PathBuf),
    /// There is no store, and none can be made.
    Unmade(PathBuf, rusqlite::Error),
    /// A file cannot be moved away or made.
    Io(PathBuf, io::Error),
    /// SQLite's word on it: often a full disk.
    Database(rusqlite::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Later(path, version) => write!(
                f,
                "{} has version {version}, of a later release of vft than this one",
                path.display()
            ),
            Self::Earlier(path, version) => write!(
                f,
                "{} has version {version}, of an earlier release of vft than this one",
                path.display()
            ),
            Self::Absent(path) => write!(f, "there is no store at {}", path.display()),
            Self::ReadOnly(path) => {
                write!(f, "{} cannot be written by this user", path.display())
            }
            Self::Unmade(path, error) => write!(
                f,
                "there is none, and none can be made at {}: {error}",
                path.display()
            ),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Database(error) if database::is_want_of_room(error) => {
                write!(f, "{error} (is its disk full?)")
            }
            Self::Database(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}
