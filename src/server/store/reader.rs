//! Reading the store: for a server that starts again, and for the commands that show it.

use std::collections::BTreeSet;
use std::path::Path;

use ipnet::IpNet;
use log::warn;
use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params};

use crate::event::{ClientId, Event, Timestamp};
use crate::server::store::record::{Status, address_bytes, integer, unsigned};
use crate::server::store::rows::{CLIENT, EVENT, EVENT_COLUMNS, INCIDENT};
use crate::server::store::{StoreError, rows, schema};

/// A store that is read.
#[derive(Debug)]
pub struct Reader {
    database: Connection,
}

/// A client as the store has it.
#[derive(Clone, Debug)]
pub struct StoredClient {
    /// Who it is.
    pub id: ClientId,
    /// What people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it last came from.
    pub address: String,
    /// When it first came.
    pub first_seen: Timestamp,
    /// When it was last heard from.
    pub last_seen: Timestamp,
    /// Whether it said that it stops.
    pub farewell: bool,
    /// The last number of its sequence that was taken in.
    pub progress: u64,
    /// Numbers that never arrived.
    pub missing: u64,
    /// Hits that were refused because of their time.
    pub refused: u64,
    /// What it last said of itself.
    pub status: Status,
}

/// A client that is refused.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// Who it is.
    pub id: ClientId,
    /// What it was called when it was blocked.
    pub name: String,
}

/// An incident as the store has it.
#[derive(Clone, Debug)]
pub struct StoredIncident {
    /// Its id.
    pub id: String,
    /// When its first hit happened.
    pub first_seen: Timestamp,
    /// When its last hit happened.
    pub last_seen: Timestamp,
    /// Its last alert, as a line of JSON.
    pub line: String,
    /// How many alerts there were.
    pub alerts: u64,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only from this network.
    pub source: Option<IpNet>,
    /// Only to this trap port.
    pub port: Option<u16>,
    /// Only of the client with this name or id.
    pub client: Option<String>,
    /// Only those that happened at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that happened before this time.
    pub until: Option<Timestamp>,
}

/// Whose hits those are whose client's row is lost.
const NOBODY: ClientId = ClientId([0; 16]);

impl Reader {
    /// Opens the store at `path`, which a server may be writing.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            database: schema::open_to_read(path)?,
        })
    }

    /// All clients, by name.
    pub fn clients(&self) -> Result<Vec<StoredClient>, StoreError> {
        let select = format!("SELECT {CLIENT} FROM client ORDER BY name, key");
        let mut select = self.database.prepare(&select)?;
        Ok(sound(select.query([])?, rows::client)?)
    }

    /// Names that several clients bear.
    pub fn shared_names(&self) -> Result<BTreeSet<String>, StoreError> {
        let shared = "SELECT name FROM client GROUP BY name HAVING count(*) > 1";
        let mut select = self.database.prepare(shared)?;
        Ok(sound(select.query([])?, |row| row.get(0))?
            .into_iter()
            .collect())
    }

    /// Clients that are blocked, by name.
    pub fn blocked(&self) -> Result<Vec<Blocked>, StoreError> {
        let select = "SELECT id, name FROM blocked ORDER BY name, id";
        let blocked = |row: &Row<'_>| {
            Ok(Blocked {
                id: ClientId(row.get(0)?),
                name: row.get(1)?,
            })
        };
        let mut select = self.database.prepare(select)?;
        Ok(sound(select.query([])?, blocked)?)
    }

    /// Incidents, lately updated ones last; only those that are not closed if so asked.
    pub fn incidents(&self, which: Which) -> Result<Vec<StoredIncident>, StoreError> {
        let mut select = self.database.prepare(&format!(
            "SELECT {INCIDENT} FROM incident WHERE ?1 OR action <> 'close' ORDER BY last_seen, id",
        ))?;
        let all = which == Which::All;
        Ok(sound(select.query([all])?, rows::incident)?)
    }

    /// Hands the incidents that are closed, those with the latest hits first and `most` of them at
    /// most, to `take`. Only those with a hit at `since` or later.
    pub fn closed_incidents(
        &self,
        since: Timestamp,
        most: u64,
        mut take: impl FnMut(&StoredIncident),
    ) -> Result<(), StoreError> {
        let mut select = self.database.prepare(&format!(
            "SELECT {INCIDENT} FROM incident WHERE action = 'close' AND last_seen >= ?1
             ORDER BY last_seen DESC, id LIMIT ?2",
        ))?;
        let bounds = params![integer(since.as_micros()), integer(most)];
        let mut rows = select.query(bounds)?;
        while let Some(row) = rows.next()? {
            if let Some(incident) = rows::sound(rows::incident(row))? {
                take(&incident);
            }
        }
        Ok(())
    }

    /// The incident with this id.
    pub fn incident(&self, id: &str) -> Result<Option<StoredIncident>, StoreError> {
        let select = format!("SELECT {INCIDENT} FROM incident WHERE id = ?1");
        let mut select = self.database.prepare(&select)?;
        Ok(sound(select.query([id])?, rows::incident)?.pop())
    }

    /// The alerts of an incident, as lines of JSON, in order.
    pub fn alerts(&self, incident: &str) -> Result<Vec<String>, StoreError> {
        let mut select = self
            .database
            .prepare("SELECT line FROM alert WHERE incident = ?1 ORDER BY number")?;
        Ok(sound(select.query([incident])?, |row| row.get(0))?)
    }

    /// The last alert of an incident, as a line of text.
    pub fn last_words(&self, incident: &str) -> Result<Option<String>, StoreError> {
        let select = "SELECT text FROM alert WHERE incident = ?1 ORDER BY number DESC LIMIT 1";
        Ok(self
            .database
            .query_row(select, [incident], |row| row.get(0))
            .optional()?)
    }

    /// The number of the last alert, 0 if there was none.
    pub fn last_alert(&self) -> Result<u64, StoreError> {
        let last: Option<i64> = self.database.query_row(
            "SELECT max(coalesce((SELECT max(number) FROM alert), 0),
             coalesce((SELECT value FROM counter WHERE name = 'delivered'), 0))",
            [],
            |row| row.get(0),
        )?;
        Ok(last.map_or(0, unsigned))
    }

    /// Alerts that were not written to standard output as far as is known, as numbers and lines
    /// of text and of JSON.
    pub fn undelivered(&self) -> Result<Vec<(u64, String, String)>, StoreError> {
        let mut select = self.database.prepare(
            "SELECT number, text, line FROM alert WHERE number >
             coalesce((SELECT value FROM counter WHERE name = 'delivered'), 0) ORDER BY number",
        )?;
        let alert = |row: &Row<'_>| Ok((unsigned(row.get(0)?), row.get(1)?, row.get(2)?));
        Ok(sound(select.query([])?, alert)?)
    }

    /// Hands the events that arrived at `since` or later to `take`, in the order of arrival; only
    /// the last ones if they are more than `most`.
    pub fn arrived_since(
        &self,
        since: Timestamp,
        most: u64,
        mut take: impl FnMut(Event),
    ) -> Result<(), StoreError> {
        let last: i64 =
            self.database
                .query_row("SELECT coalesce(max(number), 0) FROM event", [], |row| {
                    row.get(0)
                })?;
        let enough = last.saturating_sub(integer(most));
        let first = self.first_arrived_since(since)?.max(enough);
        let select = events("WHERE number >= ?1 ORDER BY number");
        let mut select = self.database.prepare(&select)?;
        let mut rows = select.query([first])?;
        let mut senseless = 0_u64;
        while let Some(row) = rows.next()? {
            match rows::sound(named(row))?.flatten() {
                Some((event, _)) => take(event),
                None => senseless += 1,
            }
        }
        complain(senseless);
        Ok(())
    }

    /// Hands the events of the selection and their clients' names to `take`, in the order of
    /// arrival, until it has had enough.
    pub fn events(
        &self,
        selection: &Selection,
        mut take: impl FnMut(&Event, &str) -> More,
    ) -> Result<(), StoreError> {
        let (mut after, mut senseless) = (0, 0);
        loop {
            // A page at a time: whoever reads slowly must not keep the writer's log from shrinking.
            let page = self.page(selection, after)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            after = *last;
            for (_, event) in page {
                let Some((event, name)) = event else {
                    senseless += 1;
                    continue;
                };
                if take(&event, &name) == More::Enough {
                    return Ok(());
                }
            }
        }
        complain(senseless);
        Ok(())
    }

    /// The next rows with their numbers, and what they stand for if they make sense.
    fn page(
        &self,
        selection: &Selection,
        after: i64,
    ) -> Result<Vec<(i64, Option<Named>)>, StoreError> {
        let mut select = self.database.prepare_cached(&events(
            "WHERE (?1 IS NULL OR source BETWEEN ?1 AND ?6 AND length(source) = length(?1))
             AND (?2 IS NULL OR trap_port = ?2)
             AND (?3 IS NULL OR name = ?3 OR lower(hex(id)) = ?3)
             AND (?4 IS NULL OR at >= ?4) AND (?5 IS NULL OR at < ?5) AND number > ?7
             ORDER BY number LIMIT 4096",
        ))?;
        let micros = |time: Timestamp| integer(time.as_micros());
        let mut rows = select.query(params![
            selection
                .source
                .map(|network| address_bytes(network.network())),
            selection.port,
            selection.client,
            selection.since.map(micros),
            selection.until.map(micros),
            selection
                .source
                .map(|network| address_bytes(network.broadcast())),
            after,
        ])?;
        let mut page = Vec::new();
        while let Some(row) = rows.next()? {
            page.push((row.get(0)?, rows::sound(named(row))?.flatten()));
        }
        Ok(page)
    }

    /// The number of the first event that arrived at `since` or later. Numbers follow arrival, so
    /// it is found by halving, without an index.
    fn first_arrived_since(&self, since: Timestamp) -> Result<i64, StoreError> {
        let bounds = "SELECT coalesce(min(number), 1), coalesce(max(number), 0) + 1 FROM event";
        let (mut low, mut high): (i64, i64) = self
            .database
            .query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut arrival = self
            .database
            .prepare("SELECT received FROM event WHERE number >= ?1 ORDER BY number LIMIT 1")?;
        while low < high {
            let middle = low + (high - low) / 2;
            let received: i64 = arrival.query_row([middle], |row| row.get(0))?;
            if received >= integer(since.as_micros()) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(low)
    }
}

/// Which incidents to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All there are.
    All,
    /// Those that are not closed.
    Open,
}

/// Whether whoever reads wants to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// It does.
    Please,
    /// It does not.
    Enough,
}

/// A statement that selects events, each with its client's id and name if these are known.
fn events(which: &str) -> String {
    format!(
        "SELECT {EVENT}, client.id, client.name FROM event
         LEFT JOIN client ON client.key = event.client {which}"
    )
}

/// Says what was left out.
fn complain(senseless: u64) {
    if senseless > 0 {
        warn!("{senseless} hits in the store are damaged and left out");
    }
}

/// An event with its client's name.
type Named = (Event, String);

fn named(row: &Row<'_>) -> rusqlite::Result<Option<Named>> {
    let who = (row.get(EVENT_COLUMNS)?, row.get(EVENT_COLUMNS + 1)?);
    let (id, name) = match who {
        (Some(id), Some(name)) => (ClientId(id), name),
        (_, _) => (NOBODY, "?".to_owned()),
    };
    Ok(rows::event(row, id)?.map(|event| (event, name)))
}

/// The rows that make sense.
fn sound<T>(
    mut rows: Rows<'_>,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(rows::sound(read(row))?);
    }
    Ok(found)
}
