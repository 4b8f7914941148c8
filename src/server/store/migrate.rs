//! From an earlier version of the store to the one of this release.
//!
//! One step for each version, in one transaction for all: a store is of the earlier version or of
//! this one, never in between, whatever is killed. Steps touch no row of `event`, of which there
//! may be a hundred million.

use rusqlite::{Connection, Transaction, params};

use crate::event::ClientId;
use crate::server::store::record::{client_crc, key_crc, trap_bytes, unsigned};
use crate::server::store::schema::{VERSION, witness};

/// Brings a store of version `from` up to date.
pub fn up(database: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for version in from..VERSION {
        match version {
            1 => to_2(&transaction)?,
            2 => to_3(&transaction)?,
            // Nobody has written any other.
            _ => return Err(rusqlite::Error::IntegralValueOutOfRange(0, version)),
        }
    }
    witness(&transaction)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Keys of clients are used once, and stand in a second place. How far a client has come has a
/// checksum, and so do the events that come from now on. Incidents are found by whether they are
/// open.
fn to_2(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE client RENAME TO client_1;
         CREATE TABLE client (
             key INTEGER PRIMARY KEY AUTOINCREMENT,
             id BLOB NOT NULL,
             name TEXT NOT NULL,
             version TEXT NOT NULL,
             address TEXT NOT NULL,
             first_seen INTEGER NOT NULL,
             last_seen INTEGER NOT NULL,
             farewell INTEGER NOT NULL DEFAULT 0,
             progress INTEGER NOT NULL DEFAULT 0,
             missing INTEGER NOT NULL DEFAULT 0,
             dropped INTEGER NOT NULL DEFAULT 0,
             backlog INTEGER NOT NULL DEFAULT 0,
             traps TEXT NOT NULL DEFAULT '',
             traps_wanted INTEGER NOT NULL DEFAULT 0,
             clock_offset INTEGER NOT NULL DEFAULT 0,
             refused INTEGER NOT NULL DEFAULT 0,
             crc INTEGER NOT NULL DEFAULT 0
         );
         INSERT INTO client
             SELECT key, id, name, version, address, first_seen, last_seen, farewell, progress,
             missing, dropped, backlog, traps, traps_wanted, clock_offset, 0, 0 FROM client_1;
         DROP TABLE client_1;
         CREATE UNIQUE INDEX client_by_id ON client (id);
         CREATE TABLE client_key (key INTEGER PRIMARY KEY, id BLOB NOT NULL, crc INTEGER NOT NULL);
         ALTER TABLE event ADD COLUMN crc INTEGER;
         CREATE INDEX incident_open ON incident (last_seen) WHERE action <> 'close';
         CREATE INDEX incident_closed ON incident (last_seen) WHERE action = 'close';
         INSERT INTO counter SELECT 'forgotten', coalesce(min(number), 1) - 1 FROM event;
         INSERT INTO counter SELECT 'forgotten-alerts', coalesce(min(number), 1) - 1 FROM alert;",
    )?;
    let mut clients = transaction.prepare("SELECT key, id, progress FROM client")?;
    let mut rows = clients.query([])?;
    while let Some(row) = rows.next()? {
        let (key, id, progress): (i64, _, i64) = (row.get(0)?, ClientId(row.get(1)?), row.get(2)?);
        transaction
            .prepare_cached("UPDATE client SET crc = ?2 WHERE key = ?1")?
            .execute(params![key, client_crc(id, unsigned(progress))])?;
        transaction
            .prepare_cached("INSERT INTO client_key VALUES (?1, ?2, ?3)")?
            .execute(params![key, id.0, key_crc(key, id)])?;
    }
    Ok(())
}

/// Traps take up two bytes each, in a column with another name: what is carried over from a damaged
/// store of version 2 must not take a text for them. Clients can be blocked, and orders be given.
fn to_3(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE client ADD COLUMN trap_ports BLOB NOT NULL DEFAULT x'';
         ALTER TABLE client ADD COLUMN unwritable INTEGER NOT NULL DEFAULT 0;
         CREATE TABLE blocked (
             id BLOB PRIMARY KEY, name TEXT NOT NULL, since INTEGER NOT NULL
         ) WITHOUT ROWID;
         CREATE TABLE client_order (
             number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL, what TEXT NOT NULL
         );",
    )?;
    let mut clients = transaction.prepare("SELECT key, traps FROM client WHERE traps <> ''")?;
    let mut rows = clients.query([])?;
    while let Some(row) = rows.next()? {
        let (key, traps): (i64, String) = (row.get(0)?, row.get(1)?);
        let traps = traps
            .split_whitespace()
            .filter_map(|word| word.parse().ok());
        transaction
            .prepare_cached("UPDATE client SET trap_ports = ?2 WHERE key = ?1")?
            .execute(params![key, trap_bytes(traps)])?;
    }
    drop(rows);
    drop(clients);
    transaction.execute_batch("ALTER TABLE client DROP COLUMN traps")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::event::{Event, Timestamp};
    use crate::server::store::apply::apply;
    use crate::server::store::reader::{More, Reader, Selection, Which};
    use crate::server::store::record::{Change, Visitor};
    use crate::server::store::{StoreError, schema};

    /// A store that a server of version 1 has written: two clients, six hits, one gap, two open
    /// incidents with an alert each.
    fn version_1(folder: &Path) -> PathBuf {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store/version-1.db");
        let path = folder.join("store.db");
        std::fs::copy(golden, &path).unwrap();
        path
    }

    /// What the tables and indexes are called, and of which columns they consist.
    fn shape(database: &Connection) -> Vec<String> {
        let select = "SELECT part.type || ' ' || part.name || ' ' || coalesce(column.name, '') \
             FROM sqlite_schema AS part LEFT JOIN pragma_table_xinfo(part.name) AS column \
             WHERE part.name NOT LIKE 'sqlite_%' ORDER BY 1";
        let mut select = database.prepare(select).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    #[test]
    fn a_store_of_version_1_is_brought_up_to_date_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = version_1(folder.path());
        assert!(matches!(
            Reader::open(&path),
            Err(StoreError::Earlier(_, 1))
        ));
        let migrated = schema::open(&path).unwrap();
        let fresh = schema::open(&folder.path().join("fresh.db")).unwrap();
        assert_eq!(shape(&migrated), shape(&fresh));
        drop(migrated);
        let reader = Reader::open(&path).unwrap();
        let clients = reader.clients().unwrap();
        let known: Vec<_> = clients
            .iter()
            .map(|it| (&*it.name, it.progress, it.missing, it.status.dropped))
            .collect();
        assert_eq!(known, [("web-7", 3, 0, 0), ("web-8", 49, 6, 7)]);
        assert!(clients.iter().all(|it| !it.status.traps.is_empty()));
        let mut events = Vec::new();
        let note = |event: &Event, name: &str| {
            events.push((name.to_owned(), event.sequence, event.hit.trap_port));
            More::Please
        };
        reader.events(&Selection::default(), note).unwrap();
        let event = |name: &str, sequence, port| (name.to_owned(), sequence, port);
        assert_eq!(
            events,
            [
                event("web-7", 1, 22),
                event("web-7", 2, 80),
                event("web-7", 3, 445),
                event("web-8", 41, 22),
                event("web-8", 48, 3306),
                event("web-8", 49, 80)
            ]
        );
        let open = reader.incidents(Which::Open).unwrap();
        let ids: Vec<_> = open.iter().map(|incident| &*incident.id).collect();
        assert_eq!(ids, ["6A8954GY", "32TT0A7N"]);
        assert_eq!(
            (
                reader.last_alert().unwrap(),
                reader.alerts("6A8954GY").unwrap().len()
            ),
            (2, 1)
        );
    }

    /// A store that a server of version 2 has written, with two clients and four hits.
    #[test]
    fn a_store_of_version_2_keeps_the_traps_of_its_clients() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/store/version-2.db");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        std::fs::copy(golden, &path).unwrap();
        let migrated = schema::open(&path).unwrap();
        let fresh = schema::open(&folder.path().join("fresh.db")).unwrap();
        assert_eq!(shape(&migrated), shape(&fresh));
        drop(migrated);
        let reader = Reader::open(&path).unwrap();
        let clients = reader.clients().unwrap();
        let known = clients.iter().map(|it| (&*it.name, it.progress));
        assert_eq!(known.collect::<Vec<_>>(), [("web-7", 3), ("web-8", 1)]);
        let traps = clients.iter().map(|it| &*it.status.traps);
        let expected = [&[20_022, 20_080, 20_445][..], &[20_022, 21_389]];
        assert_eq!(traps.collect::<Vec<_>>(), expected);
        assert!(clients.iter().all(|it| !it.status.unwritable));
        let mut events = 0;
        let count = |_: &Event, _: &str| {
            events += 1;
            More::Please
        };
        reader.events(&Selection::default(), count).unwrap();
        assert_eq!(events, 4);
    }

    #[test]
    fn a_client_that_comes_after_the_migration_gets_a_key_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut database = schema::open(&version_1(folder.path())).unwrap();
        database
            .execute("DELETE FROM client WHERE key = 2", [])
            .unwrap();
        let visitor = Visitor {
            client: ClientId([9; 16]),
            name: "web-9".to_owned(),
            version: String::new(),
            address: "192.0.2.1".to_owned(),
            now: Timestamp::from_micros(1),
        };
        let transaction = database.transaction().unwrap();
        apply(&transaction, &Change::Welcome(visitor)).unwrap();
        transaction.commit().unwrap();
        let key = database.query_row("SELECT max(key) FROM client", [], |row| row.get(0));
        assert_eq!(
            key,
            Ok(3),
            "hits of the one before are not taken for its own"
        );
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = version_1(folder.path());
        // Not to be told apart from the one that the migration makes.
        let database = Connection::open(&path).unwrap();
        database
            .execute("CREATE INDEX incident_open ON incident (last_seen)", [])
            .unwrap();
        let before = shape(&database);
        drop(database);
        assert!(schema::open(&path).is_err());
        let database = Connection::open(&path).unwrap();
        assert_eq!(shape(&database), before);
        let version = database.pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(1));
    }
}
