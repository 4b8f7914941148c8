//! What the store forgets: what is too old, and the oldest when it is too large.
//!
//! It does so a slice at a time, so that nobody waits long. Numbers follow arrival, so what is old
//! comes first, and is found without an index. What was used by rows that are gone is used again, so
//! the file grows no further than its bound, but it does not shrink.

use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::event::Timestamp;
use crate::server::store::record::{integer, unsigned};

/// The size of a page, in bytes.
pub const PAGE: u64 = 4096;

/// A page holds so many hits, or fewer.
const HITS: i64 = 64;

/// An alert takes up as much as so many hits, or more.
const ALERT: i64 = 16;

/// A table whose rows are numbered in the order of their arrival.
struct Numbered {
    /// When the oldest row was written.
    oldest: &'static str,
    /// Deletes some of the oldest rows, of those that were written before a time.
    delete: &'static str,
    /// Notes up to which number rows were forgotten, so that it can be told how many are lost if the
    /// store is damaged.
    note: &'static str,
}

const EVENTS: Numbered = Numbered {
    oldest: "SELECT received FROM event ORDER BY number LIMIT 1",
    delete: "DELETE FROM event WHERE received < ?1 AND number < ?2 +
             (SELECT min(number) FROM event)",
    note: "INSERT OR REPLACE INTO counter SELECT 'forgotten', coalesce(
             (SELECT min(number) - 1 FROM event),
             (SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)",
};

/// Those that were not written to standard output yet stay.
const ALERTS: Numbered = Numbered {
    oldest: "SELECT time FROM alert ORDER BY number LIMIT 1",
    delete: "DELETE FROM alert WHERE time < ?1 AND number < ?2 +
             (SELECT min(number) FROM alert)
             AND number <= (SELECT value FROM counter WHERE name = 'delivered')",
    note: "INSERT OR REPLACE INTO counter SELECT 'forgotten-alerts', coalesce(
             (SELECT min(number) - 1 FROM alert),
             (SELECT value FROM counter WHERE name = 'delivered'), 0)",
};

/// Only those that are closed.
const INCIDENTS: &str = "DELETE FROM incident WHERE id IN (SELECT id FROM incident
    WHERE action = 'close' AND last_seen < ?1 ORDER BY last_seen LIMIT ?2)";

const GAPS: &str = "DELETE FROM gap WHERE noticed < ?1 AND rowid IN
    (SELECT rowid FROM gap ORDER BY rowid LIMIT ?2)";

/// Whether there is more to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is not.
    Nothing,
    /// There is.
    More,
}

impl Rest {
    /// Whether there is more of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match self {
            Self::Nothing => other,
            Self::More => self,
        }
    }
}

/// What was forgotten for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// Events.
    pub events: u64,
    /// Alerts, and incidents that are closed.
    pub alerts: u64,
    /// Whether it is still too large.
    pub rest: Rest,
}

/// What was forgotten for its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aged {
    /// Events.
    pub events: u64,
    /// Alerts, and incidents that are closed.
    pub alerts: u64,
    /// Whether there is more.
    pub rest: Rest,
}

impl Default for Aged {
    fn default() -> Self {
        Self {
            events: 0,
            alerts: 0,
            rest: Rest::Nothing,
        }
    }
}

/// Forgets what is older than `before`, at most `most` rows of each table.
pub fn expire(
    transaction: &Transaction<'_>,
    before: Timestamp,
    most: i64,
) -> rusqlite::Result<Aged> {
    let before = integer(before.as_micros());
    let mut aged = Aged::default();
    for (table, gone) in [(EVENTS, &mut aged.events), (ALERTS, &mut aged.alerts)] {
        let is_due = |oldest: Option<i64>| oldest.is_some_and(|oldest| oldest < before);
        if is_due(oldest(transaction, &table)?) {
            *gone = forget(transaction, &table, before, most)?;
            if *gone > 0 && is_due(oldest(transaction, &table)?) {
                aged.rest = Rest::More;
            }
        }
    }
    let incidents = execute(transaction, INCIDENTS, before, most)?;
    let gaps = execute(transaction, GAPS, before, most)?;
    aged.alerts += incidents;
    if incidents.max(gaps) >= unsigned(most) {
        aged.rest = Rest::More;
    }
    Ok(aged)
}

/// If more than `pages` are used, forgets what is oldest, at most `most` rows: hits, as long as they
/// take up more than a quarter of the room; then alerts, then incidents that are closed, and hits
/// again if there is nothing else.
pub fn make_room(
    transaction: &Transaction<'_>,
    pages: u64,
    most: i64,
) -> rusqlite::Result<Forgotten> {
    let mut forgotten = Forgotten {
        events: 0,
        alerts: 0,
        rest: Rest::Nothing,
    };
    let over = integer(used(transaction)?.saturating_sub(pages));
    if over == 0 {
        return Ok(forgotten);
    }
    let few = over.min(most / ALERT).max(1);
    let many = over.saturating_mul(HITS).min(most);
    if events(transaction)? > pages / 4 {
        forgotten.events = forget_hits(transaction, many)?;
    } else {
        forgotten.alerts = forget(transaction, &ALERTS, i64::MAX, few)?;
        if forgotten.alerts == 0 {
            forgotten.alerts = execute(transaction, INCIDENTS, i64::MAX, few)?;
        }
        if forgotten.alerts == 0 {
            forgotten.events = forget_hits(transaction, many)?;
        }
    }
    if forgotten.events + forgotten.alerts > 0 && used(transaction)? > pages {
        forgotten.rest = Rest::More;
    }
    Ok(forgotten)
}

/// Forgets hits, and the gaps that were noticed before those that are left.
fn forget_hits(transaction: &Transaction<'_>, most: i64) -> rusqlite::Result<u64> {
    let gone = forget(transaction, &EVENTS, i64::MAX, most)?;
    let oldest = oldest(transaction, &EVENTS)?.unwrap_or(i64::MAX);
    let gaps = execute(transaction, GAPS, oldest, most)?;
    Ok(if gone == 0 { gaps } else { gone })
}

/// When the oldest event that is left arrived.
pub fn oldest_event(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let oldest = oldest(transaction, &EVENTS)?;
    Ok(oldest.map(|oldest| Timestamp::from_micros(unsigned(oldest))))
}

/// When the oldest row was written of all that age forgets, if there is one.
pub fn oldest_of_all(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let selects = [
        EVENTS.oldest,
        ALERTS.oldest,
        "SELECT last_seen FROM incident WHERE action = 'close' ORDER BY last_seen LIMIT 1",
        "SELECT noticed FROM gap ORDER BY rowid LIMIT 1",
    ];
    let mut oldest = None;
    for select in selects {
        let mut select = transaction.prepare_cached(select)?;
        let found: Option<i64> = select.query_row([], |row| row.get(0)).optional()?;
        oldest = oldest.into_iter().chain(found).min();
    }
    Ok(oldest.map(|oldest| Timestamp::from_micros(unsigned(oldest))))
}

fn oldest(transaction: &Transaction<'_>, table: &Numbered) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached(table.oldest)?
        .query_row([], |row| row.get(0))
        .optional()
}

fn forget(
    transaction: &Transaction<'_>,
    table: &Numbered,
    before: i64,
    most: i64,
) -> rusqlite::Result<u64> {
    let gone = execute(transaction, table.delete, before, most)?;
    if gone > 0 {
        transaction.prepare_cached(table.note)?.execute([])?;
    }
    Ok(gone)
}

fn execute(
    transaction: &Transaction<'_>,
    delete: &str,
    before: i64,
    most: i64,
) -> rusqlite::Result<u64> {
    let gone = transaction
        .prepare_cached(delete)?
        .execute(params![before, most])?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

/// Pages in use.
fn used(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let [all, free] = ["PRAGMA page_count", "PRAGMA freelist_count"].map(|pragma| {
        let mut ask = transaction.prepare_cached(pragma)?;
        ask.query_row([], |row| row.get(0)).map(unsigned)
    });
    Ok(all?.saturating_sub(free?))
}

/// Pages that events take up, about.
fn events(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let select = "SELECT coalesce((SELECT max(number) FROM event) -
        (SELECT min(number) FROM event), 0)";
    let count = transaction
        .prepare_cached(select)?
        .query_row([], |row| row.get(0).map(unsigned))?;
    Ok(count / unsigned(HITS))
}
