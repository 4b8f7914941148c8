//! Rows as what they stand for. One that makes no sense, which only damage explains, is none.

use std::num::NonZeroU32;

use rusqlite::{Error, Row};

use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
use crate::server::store::reader::{StoredClient, StoredIncident};
use crate::server::store::record::{Status, address, event_crc, traps, unsigned};

/// The columns that make an event.
pub const EVENT: &str = "event.number, event.client, event.sequence, event.received, event.at,
    event.first, event.last, event.source, event.source_port, event.trap_port, event.probe,
    event.count, event.crc";

/// How many they are.
pub const EVENT_COLUMNS: usize = 13;

/// The columns that make a client.
pub const CLIENT: &str =
    "client.id, name, version, address, first_seen, last_seen, farewell, progress,
    missing, trap_ports, traps_wanted, backlog, dropped, clock_offset, refused, unwritable";

/// How many they are.
pub const CLIENT_COLUMNS: usize = 16;

/// The columns that make an incident.
pub const INCIDENT: &str = "id, first_seen, last_seen, line, alerts";

/// What was read of a row, if it makes sense.
pub fn sound<T>(read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..),
        ) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An event from the columns of [`EVENT`].
pub fn event(row: &Row<'_>, client: ClientId) -> rusqlite::Result<Option<Event>> {
    let Some((event, key, crc)) = sound(parts(row, client))?.flatten() else {
        return Ok(None);
    };
    let fits = crc.is_none_or(|crc| crc == i64::from(event_crc(key, &event)));
    Ok(fits.then_some(event))
}

/// An event, its client's key, and its checksum if it has one.
fn parts(row: &Row<'_>, client: ClientId) -> rusqlite::Result<Option<(Event, i64, Option<i64>)>> {
    let source = row.get_ref(7)?.as_blob().map(address);
    let (Ok(Some(source)), Some(probe), Some(count)) = (
        source,
        Probe::from_code(row.get(10)?),
        NonZeroU32::new(row.get(11)?),
    ) else {
        return Ok(None);
    };
    let hit = Hit {
        first: time(row, 5)?,
        last: time(row, 6)?,
        source,
        source_port: row.get(8)?,
        trap_port: row.get(9)?,
        probe,
        count,
    };
    let event = Event {
        client,
        sequence: unsigned(row.get(2)?),
        received: time(row, 3)?,
        at: time(row, 4)?,
        hit,
    };
    Ok(Some((event, row.get(1)?, row.get(12)?)))
}

/// A client from the columns of [`CLIENT`].
pub fn client(row: &Row<'_>) -> rusqlite::Result<StoredClient> {
    Ok(StoredClient {
        id: ClientId(row.get(0)?),
        name: row.get(1)?,
        version: row.get(2)?,
        address: row.get(3)?,
        first_seen: time(row, 4)?,
        last_seen: time(row, 5)?,
        farewell: row.get(6)?,
        progress: unsigned(row.get(7)?),
        missing: unsigned(row.get(8)?),
        refused: unsigned(row.get(14)?),
        status: Status {
            traps: traps(&row.get::<_, Vec<u8>>(9)?),
            traps_wanted: row.get(10)?,
            backlog: unsigned(row.get(11)?),
            dropped: unsigned(row.get(12)?),
            clock_offset: row.get(13)?,
            unwritable: row.get(15)?,
        },
    })
}

/// An incident from the columns of [`INCIDENT`].
pub fn incident(row: &Row<'_>) -> rusqlite::Result<StoredIncident> {
    Ok(StoredIncident {
        id: row.get(0)?,
        first_seen: time(row, 1)?,
        last_seen: time(row, 2)?,
        line: row.get(3)?,
        alerts: unsigned(row.get(4)?),
    })
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_micros(unsigned(row.get(column)?)))
}
