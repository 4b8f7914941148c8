//! Where sessions hand in what they have heard: the one mutex, and the engine behind it.
//!
//! The lock is taken once a report, and nothing under it waits: alerts go to the sinks' queues
//! with `try_send`. They go there under the lock, because otherwise two sessions could put an
//! incident's update before its opening.

use std::sync::{Arc, Mutex, MutexGuard};

use crossbeam_channel::{Sender, TrySendError};
use log::{error, info, warn};

use crate::config::server::ServerSettings;
use crate::event::{ClientId, Event, Hit, Timestamp};
use crate::metrics::ServerMetrics;
use crate::server::alert::Alert;
use crate::server::correlate::Correlator;

/// The way into the engine.
#[derive(Debug)]
pub struct Intake {
    correlator: Mutex<Correlator>,
    sinks: Vec<Sender<Arc<Alert>>>,
    metrics: Arc<ServerMetrics>,
}

/// A report as a session hands it in.
#[derive(Debug)]
pub struct Batch {
    /// Whose it is.
    pub client: ClientId,
    /// The number of its first hit.
    pub first_sequence: u64,
    /// Its hits, in their order.
    pub hits: Vec<Hit>,
    /// When it arrived, by the server's clock.
    pub received: Timestamp,
    /// What to add to the client's times, in microseconds.
    pub correction: i64,
}

/// Events may not lie further in the future than this when they arrive.
const AHEAD: std::time::Duration = std::time::Duration::from_secs(2);

impl Intake {
    /// An engine without memory, whose alerts go to `sinks`.
    pub fn new(
        settings: &ServerSettings,
        sinks: Vec<Sender<Arc<Alert>>>,
        metrics: Arc<ServerMetrics>,
    ) -> Self {
        Self {
            correlator: Mutex::new(Correlator::new(settings)),
            sinks,
            metrics,
        }
    }

    /// Notes that a client has come; returns the last number of its sequence that was taken in.
    pub fn welcome(&self, client: ClientId, name: &str, now: Timestamp) -> Option<u64> {
        self.lock().welcome(client, name, now)
    }

    /// Notes a sign of life of a client.
    pub fn heartbeat(&self, client: ClientId, now: Timestamp) {
        self.lock().heard(client, now);
    }

    /// Notes that a client stops on purpose.
    pub fn farewell(&self, client: ClientId) {
        self.lock().farewell(client);
    }

    /// Takes a report in, once; returns the number up to which the client's hits are in.
    pub fn report(&self, batch: &Batch) -> u64 {
        let mut correlator = self.lock();
        let fresh = correlator.advance(batch.client, batch.first_sequence, batch.hits.len());
        correlator.heard(batch.client, batch.received);
        let mut alerts = Vec::new();
        let mut hits = 0_u64;
        // The hits come first: a range asked for one number more than there are hits would step
        // past the last one there is.
        for (hit, sequence) in batch
            .hits
            .iter()
            .zip(batch.first_sequence..)
            .skip(fresh.duplicates)
        {
            hits = hits.saturating_add(hit.count.get().into());
            let at = hit
                .first
                .shifted(batch.correction)
                .min(batch.received.after(AHEAD));
            let (client, received) = (batch.client, batch.received);
            let event = Event {
                client,
                sequence,
                received,
                at,
                hit: *hit,
            };
            correlator.event(&event, &mut alerts);
        }
        self.send(alerts);
        let name = fresh
            .gap
            .as_ref()
            .map(|_| correlator.client_name(batch.client));
        drop(correlator);
        self.metrics.reports.one();
        self.metrics.hits.add(hits);
        self.metrics
            .duplicates
            .add(u64::try_from(fresh.duplicates).unwrap_or(u64::MAX));
        if let (Some(gap), Some(name)) = (fresh.gap, name) {
            warn!(
                "client {name}: hits {}–{} never arrived",
                gap.start(),
                gap.end()
            );
        }
        fresh.up_to
    }

    /// Takes up what may change while running: detectors, incidents, the allow-list.
    pub fn reload(&self, settings: &ServerSettings) {
        self.lock().reload(settings);
    }

    /// Does what is due at `now`.
    pub fn tick(&self, now: Timestamp) {
        let mut correlator = self.lock();
        let mut alerts = Vec::new();
        correlator.tick(now, &mut alerts);
        self.send(alerts);
    }

    /// Says everything that is still unsaid, and what the allow-list has hidden.
    pub fn flush(&self, now: Timestamp) {
        let mut correlator = self.lock();
        let mut alerts = Vec::new();
        correlator.flush(now, &mut alerts);
        self.send(alerts);
        for (entry, hidden) in correlator
            .allow_list()
            .iter()
            .filter(|(_, hidden)| *hidden > 0)
        {
            info!(
                "the allow-list entry for {} has hidden {hidden} hits",
                entry.network.0
            );
        }
        if correlator.sources_forgotten() > 0 {
            let forgotten = correlator.sources_forgotten();
            info!("{forgotten} sources were forgotten for want of room (limits.sources)");
        }
    }

    fn send(&self, alerts: Vec<Alert>) {
        for alert in alerts.into_iter().map(Arc::new) {
            self.metrics.alerts.one();
            for sink in &self.sinks {
                match sink.try_send(Arc::clone(&alert)) {
                    Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                    Err(TrySendError::Full(_)) => {
                        self.metrics.alerts_dropped.one();
                        error!(
                            "an alert of incident #{} was dropped: its sink does not keep up",
                            alert.incident
                        );
                    }
                }
            }
        }
    }

    /// Panics if a thread has panicked in the engine: what it holds can no longer be trusted, and
    /// the process must end for its supervisor to start it anew.
    #[expect(
        clippy::expect_used,
        reason = "a poisoned engine ends the process on purpose"
    )]
    fn lock(&self) -> MutexGuard<'_, Correlator> {
        self.correlator
            .lock()
            .expect("a thread has panicked in the correlation engine")
    }
}
