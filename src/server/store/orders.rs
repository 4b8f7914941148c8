//! What an operator wants done about a client: an order in the store.
//!
//! A command writes it, and the server, which alone changes what is stored of clients, obeys within
//! a second or so, or at its next start. Then the order is gone.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::event::ClientId;
use crate::server::store::record::{integer, unsigned};
use crate::server::store::rows::sound;
use crate::server::store::{StoreError, schema};

/// Orders that are read at once.
const MOST: u32 = 256;

/// An order that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its place among all orders.
    pub number: u64,
    /// About whom.
    pub client: ClientId,
    /// What is to be done.
    pub what: What,
}

/// What is to be done about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing is known of it any more; if it comes again, it is a new one.
    Forget,
    /// Its session ends, and it is refused from then on.
    Block,
    /// It may come again.
    Unblock,
}

impl What {
    /// All there are.
    const ALL: [Self; 3] = [Self::Forget, Self::Block, Self::Unblock];

    /// What stands for it in the store, which is the command's name as well.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forget => "forget",
            Self::Block => "block",
            Self::Unblock => "unblock",
        }
    }
}

/// Gives an order to whichever server writes the store at `path`; returns its number.
pub fn give(path: &Path, client: ClientId, what: What) -> Result<u64, StoreError> {
    let database = schema::open_to_read(path)?;
    if database.is_readonly("main")? {
        return Err(StoreError::ReadOnly(path.to_owned()));
    }
    database.pragma_update(None, "query_only", false)?;
    let insert = "INSERT INTO client_order (id, what) VALUES (?1, ?2) RETURNING number";
    let number = database.query_row(insert, params![client.0, what.name()], |row| row.get(0))?;
    Ok(unsigned(number))
}

/// Whether an order was not obeyed yet.
pub fn is_pending(path: &Path, number: u64) -> Result<bool, StoreError> {
    let database = schema::open_to_read(path)?;
    let select = "SELECT 1 FROM client_order WHERE number = ?1";
    let pending: Option<i64> = database
        .query_row(select, [integer(number)], |row| row.get(0))
        .optional()?;
    Ok(pending.is_some())
}

/// The orders behind number `after`, in order. One that makes no sense is left out.
pub fn pending(database: &Connection, after: u64) -> rusqlite::Result<Vec<Order>> {
    let select =
        "SELECT number, id, what FROM client_order WHERE number > ?1 ORDER BY number LIMIT ?2";
    let mut select = database.prepare_cached(select)?;
    let mut rows = select.query(params![integer(after), MOST])?;
    let mut orders = Vec::new();
    while let Some(row) = rows.next()? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
        let Some((number, id, what)) = sound(read())? else {
            continue;
        };
        if let Some(what) = What::ALL.into_iter().find(|it| it.name() == what) {
            let (number, client) = (unsigned(number), ClientId(id));
            orders.push(Order {
                number,
                client,
                what,
            });
        }
    }
    Ok(orders)
}
