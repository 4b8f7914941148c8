//! The server: listens for clients, correlates what they report, alerts.
//!
//! ```text
//! listen ─┬─ session-1 ─┐
//!         ├─ session-2 ─┼─▶ intake ─ engine ─▶ sink-stdout
//!         └─ session-…  ┘     ▲
//!                main ─ tick ─┘
//! ```

pub mod alert;
pub mod correlate;
pub mod intake;
pub mod listener;
pub mod session;
pub mod sink;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use log::{info, warn};
use rustls::ServerConfig;

use crate::clock;
use crate::config::server::{Limits, ServerSettings};
use crate::event::Timestamp;
use crate::metrics::ServerMetrics;
use crate::net::listen::{Waker, listen};
use crate::net::permits::Permits;
use crate::server::alert::Alert;
use crate::server::intake::Intake;
use crate::server::session::Context;
use crate::server::session::delays::Delays;
use crate::server::session::handshake::Gate;
use crate::server::session::seats::Seats;
use crate::server::sink::stdout;
use crate::shutdown::Stop;
use crate::threads::{End, Watch};
use crate::wire::auth::SecretKey;

/// What a server needs beside its settings, already read from files.
#[derive(Debug)]
pub struct Credentials {
    /// Stays the same over restarts.
    pub server_id: [u8; 16],
    /// TLS, if it is on.
    pub tls: Option<Arc<ServerConfig>>,
    /// The fleet's secret, stretched for this server.
    pub secret: Option<SecretKey>,
}

/// Why a server did not start, or ended.
#[derive(Debug)]
pub enum ServerError {
    /// The address cannot be listened on.
    Bind(SocketAddr, io::Error),
    /// A thread could not be started.
    Thread(io::Error),
    /// A thread that should have run for ever has ended.
    ThreadDied(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::ThreadDied(name) => write!(f, "the thread {name} has died"),
        }
    }
}

impl std::error::Error for ServerError {}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    context: Arc<Context>,
    sink: JoinHandle<()>,
    watch: Watch,
}

/// How often the engine is told the time.
const TICK: Duration = Duration::from_millis(200);

/// How long a stop waits for sessions to finish their exchange.
const STOP: Duration = Duration::from_millis(800);

/// Descriptors kept for what is not a connection.
const SPARE_DESCRIPTORS: u64 = 64;

impl Server {
    /// Listens and begins to serve. Alerts go to standard output, and to `observer` if there is
    /// one.
    pub fn start(
        settings: &ServerSettings,
        credentials: Credentials,
        observer: Option<Sender<Arc<Alert>>>,
        stop: Stop,
    ) -> Result<Self, ServerError> {
        let asked = settings.bind.0;
        let listener = listen(asked).map_err(|error| ServerError::Bind(asked, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| ServerError::Bind(asked, error))?;
        let waker = Waker::new(&listener).map_err(|error| ServerError::Bind(asked, error))?;
        let watch = Watch::new(16);
        let (to_stdout, alerts) = bounded(sink::QUEUE);
        let (format, sink_stop) = (settings.alert_format, stop.clone());
        let sink = watch
            .spawn("sink-stdout", move || {
                stdout::run(&alerts, format, &mut io::stdout(), &sink_stop);
            })
            .map_err(ServerError::Thread)?;
        let sinks = [Some(to_stdout), observer].into_iter().flatten().collect();
        let context = Arc::new(context(settings, credentials, sinks, stop));
        let limits = &settings.limits;
        let permits = Permits::new(
            limits.unauthenticated.into(),
            limits.unauthenticated_per_address.into(),
        );
        let in_thread = Arc::clone(&context);
        watch
            .spawn("listen", move || {
                listener::run(&listener, waker, &permits, &in_thread);
            })
            .map_err(ServerError::Thread)?;
        let protection = if context.tls.is_some() {
            "TLS"
        } else {
            "plain, not encrypted"
        };
        info!("ready: listening on {address} ({protection})");
        Ok(Self {
            address,
            context,
            sink,
            watch,
        })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until told to stop; then lets sessions finish their exchange and says what is still
    /// unsaid, within a second. `reload` is asked now and then for settings that have changed.
    pub fn run(
        self,
        mut reload: impl FnMut() -> Option<ServerSettings>,
    ) -> Result<(), ServerError> {
        let context = self.context;
        while !context.stop.is_requested() {
            match self.watch.reports().recv_timeout(TICK) {
                Ok(End::Panicked(name) | End::Returned(name)) if !context.stop.is_requested() => {
                    return Err(ServerError::ThreadDied(name));
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => context.intake.tick(clock::wall().into()),
            }
            if let Some(settings) = reload() {
                context.intake.reload(&settings);
                info!("reloaded: detectors, incidents and the allow-list are as the file says");
            }
        }
        let deadline = clock::monotonic() + STOP;
        while context.seats.count() > 0 && clock::monotonic() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        context.intake.flush(Timestamp::from(clock::wall()));
        summary(&context.metrics);
        // The sink's queue ends when the last session has let go of the intake; if one hangs, the
        // process does not wait for it.
        drop(context);
        while !self.sink.is_finished() && clock::monotonic() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn context(
    settings: &ServerSettings,
    credentials: Credentials,
    sinks: Vec<Sender<Arc<Alert>>>,
    stop: Stop,
) -> Context {
    let metrics = Arc::new(ServerMetrics::default());
    if credentials.tls.is_none() {
        warn!(
            "no --cert and --key: links to clients are neither private nor protected against \
             changes; use this on a trusted network only"
        );
    }
    if credentials.secret.is_none() {
        warn!("no secret: whoever reaches this port can report hits; set VFT_SECRET");
    }
    let sessions = sessions(&settings.limits);
    info!("room for {sessions} sessions");
    Context {
        tls: credentials.tls,
        gate: Gate::new(credentials.server_id, credentials.secret),
        delays: Delays::default(),
        seats: Seats::new(sessions),
        intake: Arc::new(Intake::new(settings, sinks, Arc::clone(&metrics))),
        limits: settings.limits,
        metrics,
        stop,
    }
}

/// As many sessions as the settings and the limit on open files allow; raises the latter as far
/// as it goes.
fn sessions(limits: &Limits) -> usize {
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let spare = SPARE_DESCRIPTORS + u64::from(limits.unauthenticated);
    let room = descriptors
        .saturating_sub(spare)
        .min(limits.sessions.into());
    usize::try_from(room).unwrap_or(usize::MAX)
}

fn summary(metrics: &ServerMetrics) {
    info!(
        "stopped: {} hits in {} reports over {} sessions, {} duplicates dropped; {} connections, \
         {} rejected; {} alerts, {} dropped",
        metrics.hits.get(),
        metrics.reports.get(),
        metrics.sessions.get(),
        metrics.duplicates.get(),
        metrics.connections.get(),
        metrics.rejected.get(),
        metrics.alerts.get(),
        metrics.alerts_dropped.get(),
    );
}
