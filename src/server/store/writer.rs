//! The one thread that writes.
//!
//! It takes all there is in the [queue](crate::server::store::queue), writes it in one transaction,
//! commits, and wakes those who wait. If the disk does not take it, the queue stays as it is and
//! the thread tries again every second; it says so once, and once when it is well again. In the same
//! transactions it [forgets](crate::server::store::expiry) what is too old or too much.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::clock;
use crate::database;
use crate::metrics::ServerMetrics;
use crate::server::store::apply::apply;
use crate::server::store::expiry::{PAGE, Rest};
use crate::server::store::forgetting::Forgetting;
use crate::server::store::queue::{Batch, Otherwise, Reading, Writer};
use crate::server::store::{StoreError, mend, orders, schema};

/// How long to wait before a failed transaction is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How far apart it tries to mend a damaged store: that may take minutes.
const BETWEEN_MENDS: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Well,
    Ailing,
}

/// The writing thread's work.
#[derive(Debug)]
pub struct Work {
    queue: Reading,
    path: PathBuf,
    /// None while it cannot be opened.
    database: Option<Connection>,
    health: Health,
    mended: Option<Instant>,
    /// Whether there is still something to forget.
    rest: Rest,
    forgetting: Forgetting,
    /// The last order that was found.
    last_order: u64,
    metrics: Arc<ServerMetrics>,
}

/// Opens the store at `path`, of at most `bytes`; the work is for a thread of its own. If there is a
/// store that cannot be written because its disk has no room, the work begins without it.
pub fn open(
    path: &Path,
    bytes: u64,
    metrics: Arc<ServerMetrics>,
) -> Result<(Writer, Work), StoreError> {
    let (database, health) = match mend::open(path) {
        Ok(database) => (Some(database), Health::Well),
        Err(StoreError::Database(error))
            if database::is_want_of_room(&error) && schema::open_to_read(path).is_ok() =>
        {
            (None, Health::Well.worsens(&error.into()))
        }
        Err(error) => return Err(error),
    };
    let writer = Writer::default();
    let work = Work {
        queue: writer.reading(),
        path: path.to_owned(),
        database,
        health,
        mended: None,
        // Perhaps its bound was lowered.
        rest: Rest::More,
        forgetting: Forgetting::new(bytes / PAGE, Arc::clone(&metrics)),
        last_order: 0,
        metrics,
    };
    Ok((writer, work))
}

impl Health {
    /// Says that the store cannot be written, if that is news.
    fn worsens(self, error: &StoreError) -> Self {
        if self == Self::Well {
            error!(
                "cannot write the store: {error}; alerting goes on, hits stay with the clients \
                 until it can be written"
            );
        }
        Self::Ailing
    }

    /// Says that the store can be written, if that is news.
    fn improves(self) -> Self {
        if self == Self::Ailing {
            info!("the store can be written again");
        }
        Self::Well
    }
}

impl Work {
    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes until asked to end.
    pub fn run(mut self) {
        while let Some(batch) = self.queue.next(self.otherwise()) {
            self.look_for_orders();
            if batch.is_empty() && self.otherwise() == Otherwise::Idle {
                continue;
            }
            match self.write(&batch) {
                Ok(()) => {
                    self.health = self.health.improves();
                    self.metrics.commits.one();
                    self.queue.done(&batch.changes);
                }
                Err(error) => {
                    self.metrics.store_errors.one();
                    self.health = self.health.worsens(&error);
                    self.queue.put_back(batch.changes);
                    self.mend_now_and_then(&error);
                }
            }
        }
    }

    const fn otherwise(&self) -> Otherwise {
        match (self.health, self.rest) {
            (Health::Ailing, _) => Otherwise::Failed(PAUSE),
            (Health::Well, Rest::More) => Otherwise::Busy,
            (Health::Well, Rest::Nothing) => Otherwise::Idle,
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let database = match &mut self.database {
            Some(database) => database,
            None => self.database.insert(mend::open(&self.path)?),
        };
        // Whoever gives an order writes as well, so a transaction that begins by reading could fail.
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in &batch.changes {
            apply(&transaction, change)?;
        }
        let pass = self.forgetting.pass(&transaction, batch)?;
        transaction.commit()?;
        self.rest = pass.rest;
        self.forgetting.committed(&pass);
        Ok(())
    }

    /// Hands over the orders that were given since it last looked.
    pub fn look_for_orders(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        // What is wrong with the store shows when it is written.
        if let Ok(orders) = orders::pending(database, self.last_order) {
            if let Some(last) = orders.last() {
                self.last_order = last.number;
                self.queue.hand_over(orders);
            }
        }
    }

    /// Mends the store if it is damaged, but not more often than makes sense.
    fn mend_now_and_then(&mut self, error: &StoreError) {
        let StoreError::Database(error) = error else {
            return;
        };
        let now = clock::monotonic();
        let lately = |mended| now.saturating_duration_since(mended) < BETWEEN_MENDS;
        if !database::is_damage(error) || self.mended.is_some_and(lately) {
            return;
        }
        self.mended = Some(now);
        if let Err(error) = self.mend(error) {
            error!("cannot mend the store: {error}");
        }
    }

    /// Mends the store, in which `error` was found.
    pub fn mend(&mut self, error: &rusqlite::Error) -> Result<(), StoreError> {
        if let Some(database) = self.database.take() {
            // What is damaged is not written to any more.
            database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        }
        mend::mend(&self.path, error)?;
        // In the mended one they may be counted anew.
        self.last_order = 0;
        self.database = Some(mend::open(&self.path)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
