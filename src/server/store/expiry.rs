//! What the store forgets, and when.
//!
//! Numbers follow arrival, so what is old comes first, and is found without an index.

use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::event::Timestamp;
use crate::server::store::record::integer;

/// Rows of a table that expire at once.
const AT_ONCE: i64 = 50_000;

/// A table whose rows are numbered in the order of their arrival.
struct Numbered {
    oldest: &'static str,
    delete: &'static str,
    /// Notes up to which number rows were forgotten, so that it can be told how many are lost if the
    /// store is damaged.
    note: &'static str,
}

const EVENTS: Numbered = Numbered {
    oldest: "SELECT received FROM event ORDER BY number LIMIT 1",
    delete: "DELETE FROM event WHERE received < ?1 AND number IN
             (SELECT number FROM event ORDER BY number LIMIT ?2)",
    note: "INSERT OR REPLACE INTO counter SELECT 'forgotten', coalesce(
             (SELECT min(number) - 1 FROM event),
             (SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)",
};

const ALERTS: Numbered = Numbered {
    oldest: "SELECT time FROM alert ORDER BY number LIMIT 1",
    delete: "DELETE FROM alert WHERE time < ?1 AND number IN
             (SELECT number FROM alert ORDER BY number LIMIT ?2)
             AND number <= (SELECT value FROM counter WHERE name = 'delivered')",
    note: "INSERT OR REPLACE INTO counter SELECT 'forgotten-alerts', coalesce(
             (SELECT min(number) - 1 FROM alert),
             (SELECT value FROM counter WHERE name = 'delivered'), 0)",
};

/// Forgets some of what is older, so that nobody waits long.
pub fn expire(transaction: &Transaction<'_>, before: Timestamp) -> rusqlite::Result<()> {
    let before = integer(before.as_micros());
    for table in [EVENTS, ALERTS] {
        let oldest: Option<i64> = transaction
            .prepare_cached(table.oldest)?
            .query_row([], |row| row.get(0))
            .optional()?;
        if oldest.is_some_and(|oldest| oldest < before) {
            transaction
                .prepare_cached(table.delete)?
                .execute(params![before, AT_ONCE])?;
            transaction.prepare_cached(table.note)?.execute([])?;
        }
    }
    for delete in [
        "DELETE FROM incident WHERE action = 'close' AND last_seen < ?1",
        "DELETE FROM gap WHERE noticed < ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([before])?;
    }
    Ok(())
}
