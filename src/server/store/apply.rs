//! Changes as SQL.

use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::event::{ClientId, Event, Timestamp};
use crate::server::store::orders::{Order, What};
use crate::server::store::record::{
    AlertRecord, Change, Status, Visitor, address_bytes, client_crc, event_crc, integer, key_crc,
    trap_bytes,
};

/// Writes one change as part of a transaction.
pub fn apply(transaction: &Transaction<'_>, change: &Change) -> rusqlite::Result<()> {
    match change {
        Change::Welcome(visitor) => welcome(transaction, visitor)?,
        Change::Status {
            client,
            now,
            status,
        } => {
            describe(transaction, *client, *now, status)?;
        }
        Change::Farewell(client) => {
            transaction
                .prepare_cached("UPDATE client SET farewell = 1 WHERE id = ?1")?
                .execute([client.0])?;
        }
        Change::Events {
            client,
            origin: _,
            events,
            alerts,
            progress,
            gap,
            refused,
            now,
        } => {
            let key = advance(transaction, *client, *progress, *gap, *now)?;
            insert(transaction, key, events)?;
            if *refused > 0 {
                transaction
                    .prepare_cached("UPDATE client SET refused = refused + ?2 WHERE key = ?1")?
                    .execute(params![key, integer(*refused)])?;
            }
            for alert in alerts {
                keep(transaction, alert)?;
            }
        }
        Change::Alert(alert) => keep(transaction, alert)?,
        Change::Forget(clients) => {
            for client in clients {
                forget(transaction, *client)?;
            }
        }
        Change::Obeyed { order, name, now } => obey(transaction, *order, name, *now)?,
        Change::Delivered(number) => {
            transaction
                .prepare_cached(
                    "INSERT INTO counter VALUES ('delivered', ?1) ON CONFLICT (name) DO UPDATE SET
                     value = max(value, ?1)",
                )?
                .execute([integer(*number)])?;
        }
    }
    Ok(())
}

fn welcome(transaction: &Transaction<'_>, visitor: &Visitor) -> rusqlite::Result<()> {
    let known = transaction
        .prepare_cached(
            "UPDATE client SET name = ?2, version = ?3, address = ?4, last_seen = ?5, farewell = 0
             WHERE id = ?1",
        )?
        .execute(params![
            visitor.client.0,
            visitor.name,
            visitor.version,
            visitor.address,
            integer(visitor.now.as_micros())
        ])?;
    if known == 0 {
        introduce(transaction, visitor)?;
    }
    Ok(())
}

/// Makes a row for a client that has none, and returns its key.
fn introduce(transaction: &Transaction<'_>, visitor: &Visitor) -> rusqlite::Result<i64> {
    let client = visitor.client;
    let key = transaction
        .prepare_cached(
            "INSERT INTO client (id, name, version, address, first_seen, last_seen, crc)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) RETURNING key",
        )?
        .query_row(
            params![
                client.0,
                visitor.name,
                visitor.version,
                visitor.address,
                integer(visitor.now.as_micros()),
                client_crc(client, 0)
            ],
            |row| row.get(0),
        )?;
    transaction
        .prepare_cached("INSERT INTO client_key VALUES (?1, ?2, ?3)")?
        .execute(params![key, client.0, key_crc(key, client)])?;
    Ok(key)
}

/// Deletes what is known of a client, but not its hits.
fn forget(transaction: &Transaction<'_>, client: ClientId) -> rusqlite::Result<()> {
    for delete in [
        "DELETE FROM client_key WHERE key = (SELECT key FROM client WHERE id = ?1)",
        "DELETE FROM client WHERE id = ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([client.0])?;
    }
    Ok(())
}

/// Does what an order says, which is gone then. Whoever is blocked keeps their row: that they come
/// again some day must not make a hit count twice.
fn obey(
    transaction: &Transaction<'_>,
    order: Order,
    name: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let client = order.client;
    match order.what {
        What::Forget => forget(transaction, client)?,
        What::Block => {
            let insert = "INSERT OR IGNORE INTO blocked VALUES (?1, ?2, ?3)";
            let now = integer(now.as_micros());
            transaction.execute(insert, params![client.0, name, now])?;
        }
        What::Unblock => {
            transaction.execute("DELETE FROM blocked WHERE id = ?1", [client.0])?;
        }
    }
    let done = "DELETE FROM client_order WHERE number = ?1";
    transaction.execute(done, [integer(order.number)]).map(drop)
}

fn describe(
    transaction: &Transaction<'_>,
    client: ClientId,
    now: Timestamp,
    status: &Status,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE client SET last_seen = ?2, trap_ports = ?3, traps_wanted = ?4, backlog = ?5,
             dropped = ?6, clock_offset = ?7, unwritable = ?8 WHERE id = ?1",
        )?
        .execute(params![
            client.0,
            integer(now.as_micros()),
            trap_bytes(status.traps.iter().copied()),
            status.traps_wanted,
            integer(status.backlog),
            integer(status.dropped),
            status.clock_offset,
            status.unwritable
        ])?;
    Ok(())
}

/// Notes how far a client has come, and returns its key.
fn advance(
    transaction: &Transaction<'_>,
    client: ClientId,
    progress: u64,
    gap: Option<(u64, u64)>,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let missing = gap.map_or(0, |(first, last)| last - first + 1);
    let key = match key(transaction, client)? {
        Some(key) => key,
        // Its welcome was left out, for want of room in the queue.
        None => introduce(transaction, &Visitor::unknown(client, now))?,
    };
    let now = integer(now.as_micros());
    transaction
        .prepare_cached(
            "UPDATE client SET last_seen = ?2, progress = ?3, missing = missing + ?4, crc = ?5
             WHERE key = ?1",
        )?
        .execute(params![
            key,
            now,
            integer(progress),
            integer(missing),
            client_crc(client, progress)
        ])?;
    if let Some((first, last)) = gap {
        transaction
            .prepare_cached("INSERT INTO gap VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, integer(first), integer(last), now])?;
    }
    Ok(key)
}

fn key(transaction: &Transaction<'_>, client: ClientId) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT key FROM client WHERE id = ?1")?
        .query_row([client.0], |row| row.get(0))
        .optional()
}

fn insert(transaction: &Transaction<'_>, key: i64, events: &[Event]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO event (client, sequence, received, at, first, last, source, source_port,
         trap_port, probe, count, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    for event in events {
        let hit = &event.hit;
        insert.execute(params![
            key,
            integer(event.sequence),
            integer(event.received.as_micros()),
            integer(event.at.as_micros()),
            integer(hit.first.as_micros()),
            integer(hit.last.as_micros()),
            address_bytes(hit.source),
            hit.source_port,
            hit.trap_port,
            hit.probe.code(),
            hit.count.get(),
            event_crc(key, event)
        ])?;
    }
    Ok(())
}

fn keep(transaction: &Transaction<'_>, alert: &AlertRecord) -> rusqlite::Result<()> {
    let time = integer(alert.time.as_micros());
    transaction
        .prepare_cached("INSERT OR REPLACE INTO alert VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            integer(alert.number),
            alert.incident,
            alert.action,
            time,
            alert.text,
            alert.line
        ])?;
    let (first, last) = (
        integer(alert.first_seen.as_micros()),
        integer(alert.last_seen.as_micros()),
    );
    transaction
        .prepare_cached(
            "INSERT INTO incident VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1) ON CONFLICT (id) DO UPDATE SET
             first_seen = ?3, last_seen = ?4, action = ?5, line = ?6, alerts = alerts + 1",
        )?
        .execute(params![
            alert.incident,
            time,
            first,
            last,
            alert.action,
            alert.line
        ])?;
    Ok(())
}
