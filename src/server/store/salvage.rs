//! Carries over what can be read of a damaged store into a fresh one.
//!
//! A damaged page costs what was on it and no more. A row that makes no sense, or does not fit its
//! checksum, is left behind.
//!
//! How far a client has come must not be told wrongly: said too high, the client would forget hits
//! that nobody has; too low, hits could count twice. Where its row is lost or does not fit its
//! checksum, the highest number among those of its hits that fit theirs is taken. No hit that
//! survives lies above it, so none is taken in again; and the client has been told of that number
//! before, so it forgets nothing. Hits that it has delivered and that are lost show as a gap.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params, params_from_iter};

use crate::event::{ClientId, Event, Timestamp};
use crate::server::store::reader::StoredClient;
use crate::server::store::record::{PLAUSIBLE, client_crc, integer, key_crc, unsigned};
use crate::server::store::rows::{self, CLIENT, CLIENT_COLUMNS};
use crate::server::store::walk::{Ends, Table, Walk};

/// Whether an alert was written is not known for those of the last minute, in microseconds, if the
/// counter is lost: they are said again.
const AGAIN: i64 = 60_000_000;

/// Events are read as if they were all of this client: only their checksums matter.
const NOBODY: ClientId = ClientId([0; 16]);

/// What became of the rows of a damaged store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Clients that are there.
    pub clients: u64,
    /// Of these, those whose progress is the highest number among their hits.
    pub uncertain: u64,
    /// Incidents that are there.
    pub incidents: u64,
    /// Alerts that are there.
    pub alerts: u64,
    /// Alerts that are not.
    pub alerts_lost: u64,
    /// Events that are there.
    pub events: u64,
    /// Of these, those whose client is not known any more.
    pub nameless: u64,
    /// Events that are not.
    pub events_lost: u64,
}

/// Carries over all but the oldest events: of these, the newest one in `share`.
pub fn carry_over(
    old: &Connection,
    fresh: &mut Connection,
    share: i64,
    now: Timestamp,
) -> rusqlite::Result<Outcome> {
    let mut salvage = Salvage {
        old,
        outcome: Outcome::default(),
        known: BTreeSet::new(),
        uncertain: BTreeMap::new(),
        last_key: 0,
    };
    let transaction = fresh.transaction()?;
    salvage.clients(&transaction, now)?;
    salvage.copy(&transaction, &Table::of(&transaction, "gap")?.with_rowid())?;
    salvage.copy(&transaction, &Table::of(&transaction, "alert")?)?;
    salvage.copy(&transaction, &Table::of(&transaction, "client_order")?)?;
    salvage.in_order_of_ids(&transaction, "blocked")?;
    salvage.incidents(&transaction)?;
    transaction.commit()?;
    salvage.events(fresh, share)?;
    let transaction = fresh.transaction()?;
    salvage.settle(&transaction)?;
    transaction.commit()?;
    Ok(salvage.outcome)
}

/// What the row of a client is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    All,
    /// It says who it is, and not for certain how far it had come.
    Identity,
    Nothing,
}

struct Salvage<'a> {
    old: &'a Connection,
    outcome: Outcome,
    /// Keys of clients.
    known: BTreeSet<i64>,
    /// Of those whose progress is not known, the highest number among their hits.
    uncertain: BTreeMap<i64, u64>,
    /// The highest key among those of all events.
    last_key: i64,
}

impl Salvage<'_> {
    /// Copies what can be read of a table whose keys are numbers.
    fn copy(&self, fresh: &Transaction<'_>, table: &Table) -> rusqlite::Result<()> {
        let mut insert = fresh.prepare(&table.insert())?;
        let Some(mut walk) = Walk::new(self.old, table, 0) else {
            return Ok(());
        };
        while let Some(page) = walk.next(|row| table.values(row)) {
            for values in page {
                insert.execute(params_from_iter(values))?;
            }
        }
        Ok(())
    }

    /// Clients, which stand in two tables: with what is known of them, and with their keys alone.
    fn clients(&mut self, fresh: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
        self.copy(fresh, &Table::of(fresh, "client")?)?;
        self.copy(fresh, &Table::of(fresh, "client_key")?)?;
        let certain = certain(fresh)?;
        for (key, worth) in self.weigh(fresh, &certain)? {
            match worth {
                Worth::All => self.known.insert(key),
                Worth::Identity => {
                    self.uncertain.insert(key, 0);
                    self.known.insert(key)
                }
                Worth::Nothing => {
                    fresh.execute("DELETE FROM client WHERE key = ?1", [key])?;
                    false
                }
            };
        }
        let mut stand_in = fresh.prepare(
            "INSERT OR IGNORE INTO client (key, id, name, version, address, first_seen, last_seen)
             VALUES (?1, ?2, ?3, '', '', ?4, ?4)",
        )?;
        for (key, id) in certain {
            let (name, now) = (id.to_string(), integer(now.as_micros()));
            if !self.known.contains(&key) && stand_in.execute(params![key, id.0, name, now])? > 0 {
                self.known.insert(key);
                self.uncertain.insert(key, 0);
            }
        }
        Ok(())
    }

    /// What each client's row is worth.
    fn weigh(
        &self,
        fresh: &Transaction<'_>,
        certain: &BTreeMap<i64, ClientId>,
    ) -> rusqlite::Result<Vec<(i64, Worth)>> {
        // Version 1 had no checksums.
        let vouched = self.old.prepare("SELECT crc FROM client").is_ok();
        let mut select = fresh.prepare(&format!("SELECT {CLIENT}, crc, key FROM client"))?;
        let mut rows = select.query([])?;
        let mut worth = Vec::new();
        while let Some(row) = rows.next()? {
            let (crc, key): (i64, _) = (row.get(CLIENT_COLUMNS)?, row.get(CLIENT_COLUMNS + 1)?);
            let client = rows::sound(rows::client(row))?;
            let fits = |it: &StoredClient| crc == i64::from(client_crc(it.id, it.progress));
            let other = certain.get(&key);
            worth.push(match client {
                Some(it) if other.is_some_and(|other| *other != it.id) => (key, Worth::Nothing),
                Some(it) if !vouched || fits(&it) => (key, Worth::All),
                Some(_) if other.is_some() => (key, Worth::Identity),
                Some(_) | None => (key, Worth::Nothing),
            });
        }
        Ok(worth)
    }

    /// Copies what can be read of a table whose key is an id.
    fn in_order_of_ids(&self, fresh: &Transaction<'_>, name: &'static str) -> rusqlite::Result<()> {
        let table = Table::of(fresh, name)?;
        let mut insert = fresh.prepare(&table.insert())?;
        if let Some(select) = table.select(self.old) {
            let mut ends = Ends::new(self.old, &select, "id");
            while let Some(page) = ends.next(|row| table.values(row)) {
                for values in page {
                    insert.execute(params_from_iter(values))?;
                }
            }
        }
        Ok(())
    }

    /// Incidents; one whose row is lost, but not its alerts, is made of these.
    fn incidents(&self, fresh: &Transaction<'_>) -> rusqlite::Result<()> {
        self.in_order_of_ids(fresh, "incident")?;
        fresh.execute_batch(
            "INSERT INTO incident
             SELECT last.incident, told.first, told.first, told.last, last.action, last.line, told.count
             FROM (SELECT max(number) AS number, min(time) AS first, max(time) AS last,
                   count(*) AS count FROM alert GROUP BY incident) AS told
             JOIN alert AS last USING (number)
             WHERE last.incident NOT IN (SELECT id FROM incident)",
        )
    }

    fn events(&mut self, fresh: &mut Connection, share: i64) -> rusqlite::Result<()> {
        let table = Table::of(fresh, "event")?;
        let insert = table.insert();
        let (first, last) = self.range("event");
        let after = if share > 1 {
            last - (last - first) / share
        } else {
            0
        };
        let Some(mut walk) = Walk::new(self.old, &table, after) else {
            return Ok(());
        };
        let decode = |row: &Row<'_>| {
            let (values, event) = (table.values(row)?, rows::event(row, NOBODY)?);
            Ok(values.zip(event))
        };
        while let Some(page) = walk.next(decode) {
            let transaction = fresh.transaction()?;
            let mut insert = transaction.prepare_cached(&insert)?;
            for (values, event) in page {
                self.note(&values, &event);
                insert.execute(params_from_iter(values))?;
            }
            drop(insert);
            transaction.commit()?;
        }
        Ok(())
    }

    /// Notes what an event says of its client.
    fn note(&mut self, values: &[Value], event: &Event) {
        let Some(Value::Integer(key)) = values.get(1) else {
            return;
        };
        self.last_key = self.last_key.max(*key);
        if !self.known.contains(key) {
            self.outcome.nameless += 1;
        }
        // Only of one that fits its checksum is it certain that its number is not too high.
        if let (Some(progress), Some(Value::Integer(_))) =
            (self.uncertain.get_mut(key), values.last())
        {
            *progress = event.sequence.max(*progress);
        }
    }

    /// The first and the last number of a table, as far as the old store says.
    fn range(&self, table: &str) -> (i64, i64) {
        let number = |select: &str| {
            let number = self.old.query_row(select, [], |row| row.get(0)).ok()?;
            Some(number).filter(|number| (0..PLAUSIBLE).contains(number))
        };
        let first = number(&format!("SELECT min(number) FROM {table} NOT INDEXED"));
        let last = number(&format!("SELECT max(number) FROM {table} NOT INDEXED"));
        let given = format!("SELECT seq FROM sqlite_sequence WHERE name = '{table}'");
        let last = last.or_else(|| number(&given));
        (first.unwrap_or(0), last.unwrap_or(0))
    }

    /// A counter of the old store, if it can be read; one that was never set is 0.
    fn counter(&self, name: &str) -> Option<i64> {
        let select = "SELECT value FROM counter WHERE name = ?1";
        let value = self.old.query_row(select, [name], |row| row.get(0));
        let value = value.optional().ok()?.unwrap_or(0);
        (0..PLAUSIBLE).contains(&value).then_some(value)
    }

    /// Writes what follows from all that was carried over, and counts it.
    fn settle(&mut self, fresh: &Transaction<'_>) -> rusqlite::Result<()> {
        self.progress(fresh)?;
        let delivered = self.counter("delivered");
        let before_last = "SELECT coalesce(max(number), 0) FROM alert
            WHERE time < (SELECT max(time) FROM alert) - ?1";
        let delivered = match delivered {
            Some(delivered) => delivered,
            None => fresh.query_row(before_last, [AGAIN], |row| row.get(0))?,
        };
        set_counter(fresh, "delivered", delivered)?;
        let sequence = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
        let (_, last) = self.range("event");
        for (name, least) in [("client", self.last_key), ("event", last)] {
            let raised = fresh.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
                params![name, least],
            )?;
            if raised == 0 {
                fresh.execute(sequence, params![name, least])?;
            }
        }
        let count = |table: &str| {
            let select = format!("SELECT count(*) FROM {table}");
            fresh.query_row(&select, [], |row| row.get(0)).map(unsigned)
        };
        self.outcome.clients = count("client")?;
        self.outcome.uncertain = length(self.uncertain.len());
        self.outcome.incidents = count("incident")?;
        (self.outcome.events, self.outcome.events_lost) =
            self.missed(fresh, "event", "forgotten", last)?;
        (self.outcome.alerts, self.outcome.alerts_lost) =
            self.missed(fresh, "alert", "forgotten-alerts", delivered)?;
        Ok(())
    }

    /// How many rows of a table are there, and how many are not. Their numbers follow each other,
    /// up to `last` at least; those up to the counter were forgotten before.
    fn missed(
        &self,
        fresh: &Transaction<'_>,
        table: &str,
        counter: &str,
        last: i64,
    ) -> rusqlite::Result<(u64, u64)> {
        let select = format!("SELECT count(*), min(number), max(number) FROM {table}");
        let (count, first, highest): (i64, Option<i64>, Option<i64>) =
            fresh.query_row(&select, [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let before_first = first.map_or(last, |first| first - 1);
        let forgotten = self.counter(counter).unwrap_or(before_first);
        set_counter(fresh, counter, forgotten)?;
        let last = highest.map_or(last, |highest| highest.max(last));
        Ok((unsigned(count), unsigned(last - forgotten - count)))
    }

    /// Writes how far clients have come where that is not known, and vouches for all.
    fn progress(&self, fresh: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut select = fresh.prepare("SELECT id, progress FROM client WHERE key = ?1")?;
        let mut update =
            fresh.prepare("UPDATE client SET progress = ?2, crc = ?3 WHERE key = ?1")?;
        let mut again = fresh.prepare("INSERT INTO client_key VALUES (?1, ?2, ?3)")?;
        fresh.execute("DELETE FROM client_key", [])?;
        for key in &self.known {
            let (id, progress) = select.query_row([key], |row| {
                Ok((ClientId(row.get(0)?), unsigned(row.get(1)?)))
            })?;
            let progress = self.uncertain.get(key).copied().unwrap_or(progress);
            update.execute(params![key, integer(progress), client_crc(id, progress)])?;
            again.execute(params![key, id.0, key_crc(*key, id)])?;
        }
        Ok(())
    }
}

/// Clients by their keys, where the checksum fits.
fn certain(fresh: &Transaction<'_>) -> rusqlite::Result<BTreeMap<i64, ClientId>> {
    let mut select = fresh.prepare("SELECT key, id, crc FROM client_key")?;
    let mut rows = select.query([])?;
    let mut certain = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let read = row.get(1).map(ClientId);
        let (key, crc): (i64, i64) = (row.get(0)?, row.get(2)?);
        let id = rows::sound(read)?.filter(|id| i64::from(key_crc(key, *id)) == crc);
        certain.extend(id.map(|id| (key, id)));
    }
    Ok(certain)
}

fn set_counter(fresh: &Transaction<'_>, name: &str, value: i64) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO counter VALUES (?1, ?2)";
    fresh.execute(insert, params![name, value]).map(drop)
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
