//! What the store forgets in each transaction, and what is said of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use rusqlite::{OptionalExtension as _, Transaction};

use crate::clock;
use crate::event::Timestamp;
use crate::metrics::ServerMetrics;
use crate::seldom::Seldom;
use crate::server::store::expiry::{self, Aged, Forgotten, Rest};
use crate::server::store::horizon::{Horizon, Look, NOTABLE};
use crate::server::store::queue::{self, Batch};
use crate::server::store::record::{integer, unsigned};
use crate::server::store::share::ClientShare;

/// Rows that are forgotten at once at least, if there are so many to forget.
pub const SLICE: i64 = 8192;

/// What was forgotten for its age is said this often at most.
const HOUR: Duration = Duration::from_secs(3600);

/// What is forgotten, and what was.
#[derive(Debug)]
pub struct Forgetting {
    /// The most pages that may be used.
    pages: u64,
    /// What time it is; none before the store was read.
    horizon: Option<Horizon>,
    /// What is older than this is to be forgotten.
    before: Option<Timestamp>,
    clients: ClientShare,
    clock: Clock,
    for_room: ForRoom,
    for_age: ForAge,
    metrics: Arc<ServerMetrics>,
}

/// Whether the clock is near what is believed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    Plausible,
    Ahead,
}

/// What was forgotten for want of room since that was last said.
#[derive(Debug, Default)]
struct ForRoom {
    events: u64,
    alerts: u64,
    seldom: Seldom,
    clients: u64,
    seldom_of_clients: Seldom,
}

/// What was forgotten for its age since that was last said.
#[derive(Debug, Default)]
struct ForAge {
    events: u64,
    alerts: u64,
    said: Option<Instant>,
}

/// What one transaction forgets, if it is committed.
#[derive(Debug)]
pub struct Pass {
    aged: Aged,
    for_room: Forgotten,
    clients: u64,
    /// How far the clock is ahead of what is believed, if that was looked at.
    ahead: Option<Duration>,
    oldest: Option<Timestamp>,
    /// Whether there is still something to forget.
    pub rest: Rest,
}

impl Forgetting {
    /// Of a store of at most `pages` pages.
    pub fn new(pages: u64, metrics: Arc<ServerMetrics>) -> Self {
        Self {
            pages,
            horizon: None,
            before: None,
            clients: ClientShare::default(),
            clock: Clock::Plausible,
            for_room: ForRoom::default(),
            for_age: ForAge::default(),
            metrics,
        }
    }

    /// Forgets, in the transaction that has just written the batch, what is too old or too much.
    pub fn pass(&mut self, transaction: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<Pass> {
        let mut ahead = None;
        if let Some(look) = batch.look {
            let believed = self.believe(transaction, look)?;
            self.before = Some(believed.before(look.keep));
            ahead = Some(look.wall.since(believed));
        }
        // Twice as much as there came: so it catches up, and nobody waits much longer.
        let weight = queue::weight(&batch.changes);
        let most = i64::try_from(2 * weight).unwrap_or(i64::MAX).max(SLICE);
        let aged = match self.before {
            Some(before) => expiry::expire(transaction, before, most)?,
            None => Aged::default(),
        };
        let clients = self
            .clients
            .keep_to(transaction, self.pages, &batch.changes)?;
        let for_room = expiry::make_room(transaction, self.pages, most)?;
        Ok(Pass {
            rest: aged.rest.or(for_room.rest),
            aged,
            for_room,
            clients,
            ahead,
            oldest: expiry::oldest_event(transaction)?,
        })
    }

    fn believe(
        &mut self,
        transaction: &Transaction<'_>,
        look: Look,
    ) -> rusqlite::Result<Timestamp> {
        let horizon = match &mut self.horizon {
            Some(horizon) => horizon,
            None => self.horizon.insert(Horizon::new(stored(transaction)?)),
        };
        let believed = horizon.advance(look, expiry::oldest_of_all(transaction)?);
        transaction
            .prepare_cached("INSERT OR REPLACE INTO counter VALUES ('clock', ?1)")?
            .execute([integer(believed.as_micros())])?;
        Ok(believed)
    }

    /// Notes that a pass was committed, and says what it has forgotten.
    pub fn committed(&mut self, pass: &Pass) {
        if pass.aged.rest == Rest::Nothing {
            self.before = None;
        }
        self.metrics.forgotten_hits.add(pass.for_room.events);
        self.metrics.forgotten_alerts.add(pass.for_room.alerts);
        self.metrics.forgotten_clients.add(pass.clients);
        self.metrics.aged_hits.add(pass.aged.events);
        self.metrics.aged_alerts.add(pass.aged.alerts);
        self.for_room.note(pass);
        self.for_age.note(pass.aged, clock::monotonic());
        if let Some(ahead) = pass.ahead {
            self.clock = self.clock.noted(ahead);
        }
    }
}

/// The time that was believed when the store was last written.
fn stored(transaction: &Transaction<'_>) -> rusqlite::Result<Option<Timestamp>> {
    let select = "SELECT value FROM counter WHERE name = 'clock'";
    let stored = transaction.query_row(select, [], |row| row.get(0));
    let stored = stored.optional()?.map(unsigned);
    Ok(stored.map(Timestamp::from_micros))
}

impl Clock {
    /// Says that the clock is far ahead, or no longer, if that is news.
    fn noted(self, ahead: Duration) -> Self {
        match (self, ahead > NOTABLE) {
            (Self::Plausible, true) => {
                let days = ahead.as_secs() / 86_400;
                warn!(
                    "the clock is {days} days ahead of the time that has passed since the store was \
                     last written: is it right? what is older than `keep` is forgotten slowly"
                );
                Self::Ahead
            }
            (Self::Ahead, false) => {
                info!("what is older than `keep` is forgotten by the clock again");
                Self::Plausible
            }
            (same, _) => same,
        }
    }
}

impl ForRoom {
    /// Says what was forgotten, once a minute.
    fn note(&mut self, pass: &Pass) {
        self.events += pass.for_room.events;
        self.alerts += pass.for_room.alerts;
        self.clients += pass.clients;
        let now = clock::monotonic();
        if self.events + self.alerts > 0 && self.seldom.line(now).is_some() {
            let (events, alerts) = (self.events, self.alerts);
            let oldest = pass.oldest.unwrap_or_default();
            warn!(
                "the store is as large as it may be (keep-mib): {events} hits and {alerts} alerts \
                 were forgotten, and the oldest hit is of {oldest} now"
            );
            (self.events, self.alerts) = (0, 0);
        }
        if self.clients > 0 && self.seldom_of_clients.line(now).is_some() {
            warn!(
                "clients take up a quarter of the store (keep-mib), and may not take more: {} were \
                 forgotten, those first that never reported",
                self.clients
            );
            self.clients = 0;
        }
    }
}

impl ForAge {
    /// Says what was forgotten, once an hour.
    fn note(&mut self, aged: Aged, now: Instant) {
        self.events += aged.events;
        self.alerts += aged.alerts;
        let lately = |said: Instant| now.saturating_duration_since(said) < HOUR;
        if self.events + self.alerts == 0 || self.said.is_some_and(lately) {
            return;
        }
        let (events, alerts) = (self.events, self.alerts);
        info!("{events} hits and {alerts} alerts were older than `keep`, and are forgotten");
        *self = Self {
            said: Some(now),
            ..Self::default()
        };
    }
}
