//! What is in a server's store, read without vft.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use rusqlite::{Connection, Row};
use serde_json::Value;

use crate::harness::SOON;

/// All of a store that tests ask for.
pub struct Stored {
    /// In the order in which they arrived.
    pub events: Vec<Event>,
    /// The last alert of each incident, by its id.
    pub incidents: BTreeMap<String, Value>,
    /// All alerts as lines of JSON, in order.
    pub alerts: Vec<String>,
}

/// A hit as the server has stored it.
#[derive(Clone, Debug)]
pub struct Event {
    /// The name of the client that saw it.
    pub client: String,
    pub sequence: i64,
    /// When it arrived, in microseconds since the Unix epoch.
    pub received: i64,
    /// When it happened.
    pub at: i64,
    pub source: IpAddr,
    pub source_port: u16,
    pub trap_port: u16,
    pub count: u32,
}

impl Stored {
    /// Reads the store at `path`.
    pub fn read(path: &Path) -> Self {
        let database = open(path);
        let events = "SELECT name, sequence, received, at, source, source_port, trap_port, count
             FROM event JOIN client ON client.key = event.client ORDER BY number";
        let incident = |row: &Row<'_>| {
            let line: String = row.get(1)?;
            Ok((row.get(0)?, serde_json::from_str(&line).unwrap()))
        };
        Self {
            events: rows(&database, events, event),
            incidents: rows(&database, "SELECT id, line FROM incident", incident)
                .into_iter()
                .collect(),
            alerts: rows(&database, "SELECT line FROM alert ORDER BY number", |row| {
                row.get(0)
            }),
        }
    }
}

/// How many hits the store at `path` has; merged ones by their count. A store that is being made
/// has none.
pub fn hits(path: &Path) -> i64 {
    let Ok(database) = Connection::open(path) else {
        return 0;
    };
    let select = "SELECT coalesce(sum(count), 0) FROM event";
    let hits = database.query_row(select, [], |row| row.get(0));
    hits.unwrap_or(0)
}

/// Opens a database that others use.
pub fn open(path: &Path) -> Connection {
    let database = Connection::open(path).unwrap();
    database.busy_timeout(SOON).unwrap();
    database
}

fn rows<T>(
    database: &Connection,
    select: &str,
    row: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Vec<T> {
    let mut select = database.prepare(select).unwrap();
    let rows = select.query_map([], row).unwrap();
    rows.map(Result::unwrap).collect()
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let source: Vec<u8> = row.get(4)?;
    let source = match <[u8; 4]>::try_from(&source[..]) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(&source[..]).unwrap().into(),
    };
    Ok(Event {
        client: row.get(0)?,
        sequence: row.get(1)?,
        received: row.get(2)?,
        at: row.get(3)?,
        source,
        source_port: row.get(5)?,
        trap_port: row.get(6)?,
        count: row.get(7)?,
    })
}
