//! A fresh spool in the place of one that is damaged, or that has no room.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::client::spool::SpoolError;
use crate::client::spool::{Found, KEPT, SCHEMA, Spool, extent, last_number};
use crate::database;

impl Spool {
    /// Moves a damaged file away and carries over what can be read of it.
    pub(super) fn recover(path: &Path, pages: u64) -> Result<(Self, Found), SpoolError> {
        let kept = database::set_aside(path, KEPT)
            .map_err(|error| SpoolError::Io(path.to_owned(), error))?;
        let mut spool = Self::open_file(path, pages)?;
        let saved = spool.carry_over(&kept)?;
        Ok((spool, Found::Damaged { kept, saved }))
    }

    pub(super) fn carry_over(&mut self, kept: &Path) -> Result<u64, SpoolError> {
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
        self.flusher = self.flusher.released();
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
}
