//! Brings a spool to the disk itself.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::client::spool::SpoolError;
use crate::database;

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

impl Flusher {
    /// For the spool in this file, which has been written to and so has a log.
    pub fn of(path: &Path) -> Result<Self, SpoolError> {
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

    /// The same with these notes.
    pub fn with(&self, notes: Option<Arc<File>>) -> Self {
        Self {
            notes,
            ..self.clone()
        }
    }

    /// One that has nothing to bring anywhere, and nothing open.
    pub fn released(&self) -> Self {
        Self {
            path: self.path.clone(),
            log: None,
            notes: None,
        }
    }

    /// Returns when all that was appended before is on the disk.
    pub fn flush(&self) -> Result<(), SpoolError> {
        let mut files = self.notes.iter().chain(&self.log);
        let synced = files.try_for_each(|file| file.sync_data());
        synced.map_err(|error| SpoolError::Io(self.path.clone(), error))
    }
}
