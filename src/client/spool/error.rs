//! Why the spool cannot do what it should.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::database;

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
