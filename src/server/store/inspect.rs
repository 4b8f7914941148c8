//! Whether a store is whole, as far as that can be told in a second or two.
//!
//! What a server cannot do without (tables, clients and how far they have come) is looked at every
//! time, and a small store from end to end. Damage within the hits of a large one is found when it
//! is met.

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::database::damage;
use crate::server::store::record::{PLAUSIBLE, client_crc, key_crc, unsigned};
use crate::server::store::rows::{self, CLIENT, CLIENT_COLUMNS, EVENT, INCIDENT};

/// A store up to this many bytes is looked at from end to end: a second's work.
const SMALL: u64 = 128 << 20;

/// What must be there for the store to be written and read, by name.
const PARTS: [&str; 13] = [
    "client",
    "client_by_id",
    "client_key",
    "event",
    "gap",
    "alert",
    "alert_by_incident",
    "incident",
    "incident_open",
    "incident_closed",
    "counter",
    "blocked",
    "client_order",
];

/// Fails with what is wrong, if something is.
pub fn inspect(database: &Connection) -> rusqlite::Result<()> {
    parts(database)?;
    let bytes = number(database, "PRAGMA page_count")? * number(database, "PRAGMA page_size")?;
    if bytes <= SMALL {
        verdict(database, "PRAGMA quick_check(1)")?;
        // That does not hold an index against its table.
        verdict(database, "PRAGMA integrity_check(alert)")?;
        verdict(database, "PRAGMA integrity_check(incident)")?;
    } else {
        verdict(database, "PRAGMA quick_check(counter)")?;
    }
    verdict(database, "PRAGMA integrity_check(blocked)")?;
    verdict(database, "PRAGMA integrity_check(client)")?;
    verdict(database, "PRAGMA quick_check(client_key)")?;
    clients(database)?;
    sequences(database)
}

fn parts(database: &Connection) -> rusqlite::Result<()> {
    let mut there = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1")?;
    for part in PARTS {
        if !there.exists([part])? {
            return Err(damage(&format!("{part} is missing")));
        }
    }
    for select in [
        &format!("SELECT {CLIENT}, crc FROM client"),
        &format!("SELECT {EVENT} FROM event"),
        &format!("SELECT {INCIDENT}, opened, action FROM incident"),
        "SELECT number, incident, action, time, text, line FROM alert",
        "SELECT key, id, crc FROM client_key",
        "SELECT client, first, last, noticed FROM gap",
        "SELECT name, value FROM counter",
        "SELECT id, name, since FROM blocked",
        "SELECT number, id, what FROM client_order",
    ] {
        database.prepare(select)?;
    }
    Ok(())
}

fn number(database: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    database
        .query_row(pragma, [], |row| row.get(0))
        .map(unsigned)
}

fn verdict(database: &Connection, check: &str) -> rusqlite::Result<()> {
    let verdict: String = database.query_row(check, [], |row| row.get(0))?;
    match &*verdict {
        "ok" => Ok(()),
        wrong => Err(damage(wrong)),
    }
}

/// What a client is asked for depends on its row, so each must be as it was written.
fn clients(database: &Connection) -> rusqlite::Result<()> {
    let mut select = database.prepare(&format!(
        "SELECT {CLIENT}, client.crc, key, client_key.crc FROM client
         LEFT JOIN client_key USING (key, id)"
    ))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        if rows::sound(vouched_for(row))? != Some(true) {
            return Err(damage("a client's row is not as it was written"));
        }
    }
    Ok(())
}

/// Whether both checksums fit.
fn vouched_for(row: &Row<'_>) -> rusqlite::Result<bool> {
    let client = rows::client(row)?;
    let (crc, key): (i64, _) = (row.get(CLIENT_COLUMNS)?, row.get(CLIENT_COLUMNS + 1)?);
    let other: Option<i64> = row.get(CLIENT_COLUMNS + 2)?;
    Ok(crc == i64::from(client_crc(client.id, client.progress))
        && other == Some(key_crc(key, client.id).into()))
}

/// The next number must be one that can be given.
fn sequences(database: &Connection) -> rusqlite::Result<()> {
    let select = "SELECT max(seq) FROM sqlite_sequence";
    let last: Option<i64> = database
        .query_row(select, [], |row| row.get(0))
        .optional()?
        .flatten();
    let numbers = last.into_iter().chain(last_event(database)?);
    if numbers
        .into_iter()
        .all(|number| (0..PLAUSIBLE).contains(&number))
    {
        Ok(())
    } else {
        Err(damage("a number is out of range"))
    }
}

fn last_event(database: &Connection) -> rusqlite::Result<Option<i64>> {
    database.query_row("SELECT max(number) FROM event", [], |row| row.get(0))
}
