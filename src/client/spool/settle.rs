//! What the disk should have: in the database, or if that cannot be written, in the notes, from
//! where it comes into the database later.

use rusqlite::{OptionalExtension as _, params};

use crate::client::spool::notes::Notes;
use crate::client::spool::{Spool, SpoolError, signed};

/// The most numbers whose records are deleted in one transaction: on a small disk, one without
/// bound would never fit.
const SLICE: i64 = 1024;

impl Spool {
    /// Uses all numbers up to this one up, without a record: they are noted.
    pub fn use_up(&mut self, last: u64) -> Result<(), SpoolError> {
        self.last = self.last.max(last);
        let last = self.last;
        self.note(|notes| notes.last = last)
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
        self.note(|notes| *notes = Notes::default())
    }

    /// Moves what is in the log into the database, so that the log begins anew in the room that it
    /// has.
    pub fn tidy(&self) -> Result<(), SpoolError> {
        let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
        Ok(self.database.query_row(checkpoint, [], |_| Ok(()))?)
    }

    /// Changes what is noted.
    pub(super) fn note(&mut self, change: impl FnOnce(&mut Notes)) -> Result<(), SpoolError> {
        let noted = self.notes.change(change);
        noted.map_err(|error| SpoolError::Io(self.notes.path().to_owned(), error))
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
}
