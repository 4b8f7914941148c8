//! What rows of clients may take up: a quarter of the store.
//!
//! Identities are free, so without a bound they would push out everybody's hits and alerts. When
//! they take up more, clients that never reported go, the newest first; then those that were not
//! heard from for longest. A client that is there loses its row only, and gets it back when it
//! reports.

use rusqlite::{Transaction, params};

use crate::server::store::expiry::PAGE;
use crate::server::store::record::{Change, integer, unsigned};

/// One page of so many is for clients.
const SHARE: u64 = 4;

/// How much they take up is counted after so many changes, or after a change of every eighth row if
/// these are more: it is a walk over all of them.
const FEW: u64 = 512;
const EIGHTH: u64 = 8;

const COUNT: &str = "SELECT count(*), coalesce(sum(octet_length(name) + octet_length(version) +
    octet_length(address) + octet_length(trap_ports)), 0) FROM client";

/// What a client takes up beside what is counted, in all three places, in bytes.
const ROW: u64 = 180;

/// Pages are not full: this is on one of them, in bytes.
const FULL: u64 = PAGE / 4 * 3;

const DUE: &str = "SELECT key FROM client
    ORDER BY progress > 0, CASE WHEN progress = 0 THEN -key ELSE last_seen END LIMIT ?1";

/// How much rows of clients take up, as it was last counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientShare {
    counted: Option<Count>,
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    rows: u64,
    pages: u64,
}

impl ClientShare {
    /// Forgets clients that are too many for a store of `pages`, to which `changes` have just been
    /// written. Says how many.
    pub fn keep_to(
        &mut self,
        transaction: &Transaction<'_>,
        pages: u64,
        changes: &[Change],
    ) -> rusqlite::Result<u64> {
        let of_clients = changes.iter().filter(|change| is_of_client(change));
        self.changes += u64::try_from(of_clients.count()).unwrap_or(u64::MAX);
        let old = |it: Count| self.changes >= FEW.max(it.rows / EIGHTH);
        if !self.counted.is_none_or(old) {
            return Ok(0);
        }
        let count = count(transaction)?;
        *self = Self {
            counted: Some(count),
            changes: 0,
        };
        let over = count.pages.saturating_sub(pages / SHARE);
        if over == 0 {
            return Ok(0);
        }
        // A few more than fill the pages that are too many, so that it is not always on the brink.
        let due = (count.rows * over / count.pages.max(1) * 5 / 4).max(1);
        self.counted = None;
        forget(transaction, due.min(count.rows))
    }
}

/// Whether a change may make a client's row longer.
const fn is_of_client(change: &Change) -> bool {
    match change {
        Change::Welcome(_) | Change::Status { .. } => true,
        Change::Farewell(_)
        | Change::Events { .. }
        | Change::Alert(_)
        | Change::Delivered(_)
        | Change::Forget(_)
        | Change::Obeyed { .. } => false,
    }
}

fn count(transaction: &Transaction<'_>) -> rusqlite::Result<Count> {
    let mut count = transaction.prepare_cached(COUNT)?;
    count.query_row([], |row| {
        let (rows, bytes) = (unsigned(row.get(0)?), unsigned(row.get(1)?));
        Ok(Count {
            rows,
            pages: rows.saturating_mul(ROW).saturating_add(bytes) / FULL,
        })
    })
}

fn forget(transaction: &Transaction<'_>, most: u64) -> rusqlite::Result<u64> {
    let mut due = transaction.prepare_cached(DUE)?;
    let due: Vec<i64> = due
        .query_map([integer(most)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for key in &due {
        for delete in [
            "DELETE FROM client WHERE key = ?1",
            "DELETE FROM client_key WHERE key = ?1",
        ] {
            transaction.prepare_cached(delete)?.execute(params![key])?;
        }
    }
    Ok(u64::try_from(due.len()).unwrap_or(u64::MAX))
}
