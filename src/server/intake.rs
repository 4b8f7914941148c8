//! Where sessions hand in what they have heard: the one mutex, and the engine behind it.
//!
//! The lock is taken once a report, and nothing under it waits: alerts go to the sinks' queues
//! with `try_send`, and changes to the store's queue, which always has room for what was let in.
//! Both happen under the lock, so that an incident's update never comes before its opening, and
//! the store has events in the order in which the engine saw them.
//!
//! Alerting does not wait for the disk; the acknowledgement does. While the store cannot be
//! written, hits are taken in and correlated all the same, and acknowledged as received but not
//! as durable, so that clients keep them.

mod fleet;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use log::{info, warn};

use crate::clock;
use crate::config::server::ServerSettings;
use crate::event::{ClientId, Clocks, Event, Hit, Timestamp};
use crate::metrics::ServerMetrics;
use crate::seldom::Seldom;
use crate::server::alert::{Alert, Issued, json, text};
use crate::server::correlate::Correlator;
use crate::server::store::queue::{Durable, Ticket, Writer};
use crate::server::store::record::{AlertRecord, Change, Status};

pub use crate::server::intake::fleet::{Arrival, Familiarity, Unwelcome};

/// The way into the engine.
#[derive(Debug)]
pub struct Intake {
    state: Mutex<State>,
    sinks: Vec<Sender<Arc<Issued>>>,
    store: Writer,
    metrics: Arc<ServerMetrics>,
    gaps: Seldom,
    ahead: Seldom,
    clones: Seldom,
}

#[derive(Debug)]
struct State {
    correlator: Correlator,
    durable: HashMap<ClientId, Arc<AtomicU64>>,
    blocked: BTreeSet<ClientId>,
    /// How far those had come that are blocked, or were and have not come again: their rows stay.
    kept: HashMap<ClientId, u64>,
    last_alert: u64,
}

/// How far one client's hits are on the disk.
#[derive(Clone, Debug)]
pub struct Progress {
    durable: Arc<AtomicU64>,
}

impl Progress {
    /// The last number that is on the disk with all before it; 0 if none is.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Relaxed)
    }
}

/// A report as a session hands it in.
#[derive(Debug)]
pub struct Batch {
    /// Whose it is.
    pub client: ClientId,
    /// Where the client is.
    pub origin: IpAddr,
    /// The number of its first hit.
    pub first_sequence: u64,
    /// Its hits, in their order.
    pub hits: Vec<Hit>,
    /// When it arrived, by the server's clock.
    pub received: Timestamp,
    /// What to add to the client's times, in microseconds.
    pub correction: i64,
}

/// What became of a report.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// The number up to which the client's hits are taken in.
    pub up_to: u64,
    ticket: Ticket,
}

/// Events that lie further in the future than this when they arrive are taken to lie there.
const AHEAD: Duration = Duration::from_secs(2);

/// Hits that lie further in the future than this are refused: that is no clock that is a little
/// wrong, and a time that is made up would be evidence of nothing.
const FAR_AHEAD: Duration = Duration::from_secs(86_400);

/// Hits of a later time are refused, whatever the client's clock says: the year 2255, beyond which
/// not every format can hold a time.
const LATEST: Timestamp = Timestamp::from_micros(1 << 53);

/// How long an acknowledgement waits for the disk before it goes without.
const PATIENCE: Duration = Duration::from_secs(1);

impl Intake {
    /// An engine as it was restored, whose alerts go to `sinks`. `durable` says how far each
    /// known client's hits are on the disk, `last_alert` which number the last alert had.
    pub fn new(
        correlator: Correlator,
        durable: impl IntoIterator<Item = (ClientId, u64)>,
        last_alert: u64,
        sinks: Vec<Sender<Arc<Issued>>>,
        store: Writer,
        metrics: Arc<ServerMetrics>,
    ) -> Self {
        let durable = durable
            .into_iter()
            .map(|(id, up_to)| (id, Arc::new(up_to.into())))
            .collect();
        let state = Mutex::new(State {
            correlator,
            durable,
            blocked: BTreeSet::new(),
            kept: HashMap::new(),
            last_alert,
        });
        Self {
            state,
            sinks,
            store,
            metrics,
            gaps: Seldom::default(),
            ahead: Seldom::default(),
            clones: Seldom::default(),
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> Arc<ServerMetrics> {
        Arc::clone(&self.metrics)
    }

    /// What people call a client: with the beginning of its id while others bear its name as well.
    pub fn client_name(&self, client: ClientId) -> String {
        self.lock().correlator.client_name(client)
    }

    /// Notes a sign of life of a client.
    pub fn heartbeat(&self, client: ClientId, now: Timestamp, status: Status) {
        let mut state = self.lock();
        state.correlator.heard(client, steady());
        state.correlator.owns(client, &status.traps);
        if status.unwritable {
            state.correlator.spool_fails(client, now);
        } else {
            state.correlator.spool_works(client, now);
        }
        self.store.put(Change::Status {
            client,
            now,
            status,
        });
    }

    /// Notes that a client stops on purpose.
    pub fn farewell(&self, client: ClientId) {
        let mut state = self.lock();
        state.correlator.farewell(client);
        self.store.put(Change::Farewell(client));
    }

    /// Notes that somebody at `address` has shown a client's identity while that client is connected:
    /// its state folder was cloned, or its key stolen.
    pub fn cloned(&self, client: ClientId, address: IpAddr, now: Timestamp) {
        self.metrics.cloned.one();
        let mut state = self.lock();
        state.correlator.cloned(client, now);
        let name = state.correlator.client_name(client);
        drop(state);
        if let Some(left_out) = self.clones.line(clock::monotonic()) {
            warn!(
                "client {name}: somebody at {address} has its identity as well: was its state \
                 folder cloned, or its key stolen?{left_out}"
            );
        }
    }

    /// Notes that something had to be left out.
    pub fn fell_short(&self, why: String, now: Timestamp) {
        self.lock().correlator.fell_short(why, now);
    }

    /// Takes a report in, once. Waits for room in the store's queue first; if there is none in
    /// time, nothing is taken in.
    pub fn report(&self, batch: &Batch) -> Option<Receipt> {
        let deadline = clock::monotonic() + PATIENCE;
        let room = self
            .store
            .reserve(batch.origin, batch.hits.len(), deadline)?;
        let mut state = self.lock();
        let fresh = state
            .correlator
            .advance(batch.client, batch.first_sequence, batch.hits.len());
        state.correlator.heard(batch.client, steady());
        let (events, refused) = fresh_events(batch, fresh.duplicates);
        let mut alerts = Vec::new();
        state.correlator.events(&events, &mut alerts);
        let hits = events
            .iter()
            .map(|event| u64::from(event.hit.count.get()))
            .sum();
        let gap = fresh.gap.clone().map(|gap| (*gap.start(), *gap.end()));
        let alerts = self.issue(&mut state, alerts);
        let events = Change::Events {
            client: batch.client,
            origin: batch.origin,
            events,
            alerts,
            progress: fresh.up_to,
            gap,
            refused,
            now: batch.received,
        };
        let ticket = self.store.put_reserved(events, room);
        let complaint =
            (gap.is_some() || refused > 0).then(|| state.correlator.client_name(batch.client));
        drop(state);
        self.metrics.reports.one();
        self.metrics.hits.add(hits);
        self.metrics
            .duplicates
            .add(u64::try_from(fresh.duplicates).unwrap_or(u64::MAX));
        self.metrics.refused_hits.add(refused);
        if let Some(name) = complaint {
            self.complain(&name, gap, refused);
        }
        Some(Receipt {
            up_to: fresh.up_to,
            ticket,
        })
    }

    /// Says what is wrong with a client's hits.
    fn complain(&self, name: &str, gap: Option<(u64, u64)>, refused: u64) {
        if let Some((first, last)) = gap {
            if let Some(left_out) = self.gaps.line(clock::monotonic()) {
                warn!("client {name}: hits {first}–{last} never arrived{left_out}");
            }
        }
        if refused > 0 {
            if let Some(left_out) = self.ahead.line(clock::monotonic()) {
                warn!(
                    "client {name}: {refused} hits are refused: they lie more than a day ahead of \
                     the server's clock{left_out}"
                );
            }
        }
    }

    /// Waits for a report to be on the disk, for a second at most, and notes how far it is.
    pub fn settle(&self, receipt: Receipt, progress: &Progress) {
        self.note(receipt, progress, clock::monotonic() + PATIENCE);
    }

    /// Notes how far a report is on the disk by now.
    pub fn check(&self, receipt: Receipt, progress: &Progress) {
        self.note(receipt, progress, clock::monotonic());
    }

    fn note(&self, receipt: Receipt, progress: &Progress, deadline: Instant) {
        if self.store.wait(receipt.ticket, deadline) == Durable::Yes {
            progress.durable.fetch_max(receipt.up_to, Ordering::Relaxed);
        }
    }

    /// Takes up what may change while running: detectors, incidents, the allow-list.
    pub fn reload(&self, settings: &ServerSettings) {
        self.lock().correlator.reload(settings);
    }

    /// Does what is due at `now`.
    pub fn tick(&self, now: Timestamp) {
        let mut state = self.lock();
        let mut alerts = Vec::new();
        let clocks = Clocks {
            wall: now,
            steady: steady(),
        };
        state.correlator.lapse(clocks.steady);
        self.forget(&mut state);
        state.correlator.tick(clocks, &mut alerts);
        let records = self.issue(&mut state, alerts);
        self.keep(records);
    }

    /// Says everything that is still unsaid, and what the allow-list has hidden.
    pub fn flush(&self, now: Timestamp) {
        let mut state = self.lock();
        let mut alerts = Vec::new();
        state.correlator.flush(now, &mut alerts);
        let records = self.issue(&mut state, alerts);
        self.keep(records);
        let hidden: Vec<_> = state
            .correlator
            .allow_list()
            .iter()
            .filter(|(_, hidden)| *hidden > 0)
            .map(|(entry, hidden)| (entry.network.0, hidden))
            .collect();
        let displaced = state.correlator.sources_displaced();
        let incidents = state.correlator.turnover();
        drop(state);
        for (network, hidden) in hidden {
            info!("the allow-list entry for {network} has hidden {hidden} hits");
        }
        if displaced > 0 {
            info!("{displaced} sources gave way to stronger ones for want of memory (`memory`)");
        }
        if incidents.displaced + incidents.unopened > 0 {
            info!(
                "{} incidents were closed early and {} findings opened none, for want of a place \
                 (`limits.incidents`)",
                incidents.displaced, incidents.unopened
            );
        }
    }

    /// Numbers alerts, hands them to the sinks, and returns what is to be kept of them.
    fn issue(&self, state: &mut State, alerts: Vec<Alert>) -> Vec<AlertRecord> {
        let mut records = Vec::with_capacity(alerts.len());
        for alert in alerts {
            state.last_alert += 1;
            self.metrics.alerts.one();
            records.push(record(state.last_alert, &alert));
            let issued = Arc::new(Issued {
                number: state.last_alert,
                alert,
            });
            for sink in &self.sinks {
                match sink.try_send(Arc::clone(&issued)) {
                    Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                    Err(TrySendError::Full(_)) => self.metrics.alerts_dropped.one(),
                }
            }
        }
        records
    }

    fn keep(&self, records: Vec<AlertRecord>) {
        for record in records {
            self.store.put(Change::Alert(record));
        }
    }

    /// Panics if a thread has panicked in the engine: what it holds can no longer be trusted, and
    /// the process must end for its supervisor to start it anew.
    #[expect(
        clippy::expect_used,
        reason = "a poisoned engine ends the process on purpose"
    )]
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("a thread has panicked in the correlation engine")
    }
}

/// The time by which signs of life are measured.
fn steady() -> Timestamp {
    clock::steady().into()
}

/// The events that are new, and how many hits are refused because of their time.
fn fresh_events(batch: &Batch, duplicates: usize) -> (Vec<Event>, u64) {
    // In this order, the number after the last is never asked for: there may be none.
    let numbered = batch
        .hits
        .iter()
        .zip(batch.first_sequence..)
        .skip(duplicates);
    let event = |(hit, sequence): (&Hit, u64)| Event {
        client: batch.client,
        sequence,
        received: batch.received,
        at: hit
            .first
            .shifted(batch.correction)
            .min(batch.received.after(AHEAD)),
        hit: *hit,
    };
    let horizon = batch.received.after(FAR_AHEAD);
    let (taken, refused): (Vec<_>, Vec<_>) = numbered
        .partition(|(hit, _)| hit.first.shifted(batch.correction) <= horizon && hit.last <= LATEST);
    let refused = refused.iter().map(|(hit, _)| u64::from(hit.count.get()));
    (taken.into_iter().map(event).collect(), refused.sum())
}

fn record(number: u64, alert: &Alert) -> AlertRecord {
    AlertRecord {
        number,
        incident: alert.incident.clone(),
        action: alert.action.name(),
        time: alert.time,
        first_seen: alert.first_seen,
        last_seen: alert.last_seen,
        text: text::line(alert),
        // An alert holds nothing that JSON cannot.
        line: json::line(alert).unwrap_or_default(),
    }
}
