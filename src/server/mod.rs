//! The server: listens for clients, correlates what they report, alerts.
//!
//! ```text
//! listen ─┬─ session-1 ─┐
//!         ├─ session-2 ─┼─▶ intake ─ engine ─▶ sink-stdout
//!         └─ session-…  ┘     ▲ │
//!                main ─ tick ─┘ └──▶ store
//! ```

pub mod alert;
pub mod capacity;
pub mod correlate;
pub mod intake;
pub mod listener;
pub mod restore;
pub mod session;
pub mod sink;
pub mod store;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use log::{error, info, warn};
use rustls::ServerConfig;

use crate::clock;
use crate::config::server::{Alerts, Format, ServerSettings};
use crate::database;
use crate::event::Timestamp;
use crate::metrics::ServerMetrics;
use crate::net::listen::listen;
use crate::seldom::Seldom;
use crate::server::alert::Issued;
use crate::server::capacity::{Capacity, NoRoom};
use crate::server::correlate::sources::hash::Secret;
use crate::server::intake::Intake;
use crate::server::restore::{Restored, restore};
use crate::server::session::Context;
use crate::server::session::admission::{Admission, Pace};
use crate::server::session::allowance::{Allowances, Rate};
use crate::server::session::delays::Delays;
use crate::server::session::handshake::Gate;
use crate::server::session::lines::Lines;
use crate::server::session::seats::Seats;
use crate::server::sink::stdout::{Gate as SinkGate, LeftOver, Stdout};
use crate::server::store::StoreError;
use crate::server::store::horizon::Look;
use crate::server::store::orders::What;
use crate::server::store::queue::{Durable, Writer};
use crate::server::store::reader::Reader;
use crate::server::store::record::Change;
use crate::server::store::writer::{self, Work};
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
    /// What hashes of sources depend on; stays the same over restarts.
    pub hashing: Secret,
    /// The state folder, which this process holds.
    pub folder: PathBuf,
}

/// Why a server did not start, or ended.
#[derive(Debug)]
pub enum ServerError {
    /// The limit on open files leaves no room for sessions.
    NoRoom(NoRoom),
    /// The address cannot be listened on.
    Bind(SocketAddr, io::Error),
    /// The store cannot be opened or read.
    Store(StoreError),
    /// A thread could not be started.
    Thread(io::Error),
    /// A thread that should have run for ever has ended.
    ThreadDied(String),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(error) => error.fmt(f),
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Store(error) => write!(f, "cannot open the store: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::ThreadDied(name) => write!(f, "the thread {name} has died"),
        }
    }
}

impl std::error::Error for ServerError {}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    context: Arc<Context>,
    sink: JoinHandle<()>,
    alerts: Arc<Mutex<Alerts>>,
    store: Writer,
    keep: Duration,
    watch: Watch,
}

/// How often the engine is told the time.
const TICK: Duration = Duration::from_millis(200);

/// How often the store is told to forget what is old.
const EXPIRY: Duration = Duration::from_secs(60);

/// How long a stop waits for sessions to finish their exchange.
const STOP: Duration = Duration::from_millis(600);

impl Server {
    /// Listens where the settings say. Nothing is accepted before [`Self::start`].
    pub fn listen(settings: &ServerSettings) -> Result<TcpListener, ServerError> {
        let asked = settings.bind.0;
        listen(asked).map_err(|error| ServerError::Bind(asked, error))
    }

    /// Begins to serve. Alerts go to standard output, and to `observer` if there is one.
    pub fn start(
        settings: &ServerSettings,
        credentials: Credentials,
        listener: TcpListener,
        observer: Option<Sender<Arc<Issued>>>,
        stop: Stop,
    ) -> Result<Self, ServerError> {
        let capacity = Capacity::find(&settings.limits).map_err(ServerError::NoRoom)?;
        let asked = settings.bind.0;
        let (address, waker) = listener::address_and_waker(&listener)
            .map_err(|error| ServerError::Bind(asked, error))?;
        let watch = Watch::new(16);
        let metrics = Arc::new(ServerMetrics::default());
        let (writer, work) = open_store(&credentials.folder, settings, &metrics)?;
        let (mut work, mut restored) = begin(work, settings, credentials.hashing)?;
        work.look_for_orders();
        watch
            .spawn("store", move || work.run())
            .map_err(ServerError::Thread)?;
        let left_over = left_over(&mut restored, &writer);
        let (to_stdout, alerts) = bounded(sink::QUEUE);
        let sinks = [Some(to_stdout), observer].into_iter().flatten().collect();
        let shared = Arc::new(Mutex::new(settings.alerts));
        let gate = SinkGate::new(Arc::clone(&shared));
        let sink = Sink::new(settings.alert_format, gate, &metrics, &stop, &writer);
        let sink = sink.start(&watch, left_over, alerts)?;
        let intake = Intake::new(
            restored.correlator,
            restored.durable,
            restored.last_alert,
            sinks,
            writer.clone(),
            metrics,
        )
        .refusing(restored.blocked);
        let permits = capacity.permits(&settings.limits, restored.addresses);
        let context = Arc::new(context(settings, credentials, capacity, intake, stop));
        obey(&writer, &context);
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
            context,
            sink,
            alerts: shared,
            store: writer,
            keep: settings.keep.get(),
            watch,
        })
    }

    /// Runs until told to stop; then lets sessions finish their exchange and says what is still
    /// unsaid, within a second. `reload` is asked now and then for settings that have changed.
    pub fn run(
        self,
        mut reload: impl FnMut() -> Option<ServerSettings>,
    ) -> Result<(), ServerError> {
        let context = self.context;
        let mut shortfalls = Shortfalls::default();
        let mut expiry = clock::monotonic();
        while !context.stop.is_requested() {
            match self.watch.reports().recv_timeout(TICK) {
                Ok(End::Panicked(name) | End::Returned(name)) if !context.stop.is_requested() => {
                    return Err(ServerError::ThreadDied(name));
                }
                Ok(_) | Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => context.intake.tick(clock::wall().into()),
            }
            shortfalls.look(&context, self.store.left_out());
            if clock::monotonic() >= expiry {
                self.store.forget_old(Look {
                    wall: clock::wall().into(),
                    monotonic: clock::monotonic(),
                    keep: self.keep,
                });
                expiry = clock::monotonic() + EXPIRY;
            }
            obey(&self.store, &context);
            if let Some(settings) = reload() {
                context.intake.reload(&settings);
                let pace = Pace::of(&settings.limits);
                context.admission.reload(settings.new_clients, pace);
                *self.alerts.lock().unwrap_or_else(PoisonError::into_inner) = settings.alerts;
                info!(
                    "reloaded: detectors, incidents, alerts, new clients and the allow-list are as \
                     the file says"
                );
            }
        }
        let deadline = clock::monotonic() + STOP;
        wait_until(deadline, || context.seats.count() == 0);
        context.intake.flush(Timestamp::from(clock::wall()));
        let metrics = Arc::clone(&context.metrics);
        // The sink's queue ends when the last session has let go of the intake; if one hangs, the
        // process does not wait for it. The sink tells the store what it has written.
        drop(context);
        wait_until(deadline.max(clock::monotonic() + LAST), || {
            self.sink.is_finished()
        });
        let last = self.store.end();
        let written = self
            .store
            .wait(last, deadline.max(clock::monotonic() + LAST));
        summary(&metrics);
        if written == Durable::NotYet {
            warn!("not everything could be written to the store");
        }
        Ok(())
    }
}

/// Does what operators want done about clients.
fn obey(store: &Writer, context: &Context) {
    for order in store.take_orders() {
        context.intake.obey(order, clock::wall().into());
        match order.what {
            What::Forget | What::Block => context.seats.end(order.client),
            What::Unblock => {}
        }
    }
}

/// For the last alerts and the last transaction.
const LAST: Duration = Duration::from_millis(150);

/// What the server has had to leave out so far.
#[derive(Debug, Default)]
struct Shortfalls {
    dropped: u64,
    unwritten: u64,
    unstored: u64,
    seldom: Seldom,
    seldom_of_store: Seldom,
}

impl Shortfalls {
    /// Says what was left out since the last look.
    fn look(&mut self, context: &Context, unstored: u64) {
        let now = Timestamp::from(clock::wall());
        let dropped = context.metrics.alerts_dropped.get();
        if dropped > self.dropped && self.seldom.line(clock::monotonic()).is_some() {
            let new = dropped - self.dropped;
            error!("{new} alerts were dropped: a sink does not keep up");
            let why = "alerts were dropped, because a sink does not keep up";
            context.intake.fell_short(why.to_owned(), now);
            self.dropped = dropped;
        }
        if unstored > self.unstored && self.seldom_of_store.line(clock::monotonic()).is_some() {
            let new = unstored - self.unstored;
            error!("{new} alerts are not stored: too many wait for the disk");
            self.unstored = unstored;
        }
        // The store says so in the log itself.
        let unwritten = context.metrics.store_errors.get();
        if unwritten > self.unwritten {
            let why = "the store cannot be written: hits stay with the clients until it can";
            context.intake.fell_short(why.to_owned(), now);
            self.unwritten = unwritten;
        }
    }
}

fn wait_until(deadline: Instant, done: impl Fn() -> bool) {
    while !done() && clock::monotonic() < deadline {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Opens the store.
fn open_store(
    folder: &Path,
    settings: &ServerSettings,
    metrics: &Arc<ServerMetrics>,
) -> Result<(Writer, Work), ServerError> {
    let path = folder.join(store::FILE);
    writer::open(&path, settings.keep_mib.bytes(), Arc::clone(metrics)).map_err(ServerError::Store)
}

/// Reads what the server needs to go on. If the store turns out to be damaged, it is mended first.
fn begin(
    mut work: Work,
    settings: &ServerSettings,
    hashing: Secret,
) -> Result<(Work, Restored), ServerError> {
    let now = Timestamp::from(clock::wall());
    let restored = |work: &Work| restore(&Reader::open(work.path())?, settings, hashing, now);
    let restored = match restored(&work) {
        Err(StoreError::Database(error)) if database::is_damage(&error) => {
            work.mend(&error).map_err(ServerError::Store)?;
            restored(&work)
        }
        restored => restored,
    };
    Ok((work, restored.map_err(ServerError::Store)?))
}

/// Has what follows from a restart written; returns the alerts that may not have been said.
fn left_over(restored: &mut Restored, writer: &Writer) -> Vec<(u64, String, String)> {
    let mut left_over = std::mem::take(&mut restored.undelivered);
    for closing in restored.closing.drain(..) {
        left_over.push((closing.number, closing.text.clone(), closing.line.clone()));
        writer.put(Change::Alert(closing));
    }
    if !restored.forgotten.is_empty() {
        writer.put(Change::Forget(std::mem::take(&mut restored.forgotten)));
    }
    left_over
}

/// The thread that writes alerts to standard output.
struct Sink {
    format: Format,
    gate: SinkGate,
    metrics: Arc<ServerMetrics>,
    stop: Stop,
    store: Writer,
}

impl Sink {
    fn new(
        format: Format,
        gate: SinkGate,
        metrics: &Arc<ServerMetrics>,
        stop: &Stop,
        store: &Writer,
    ) -> Self {
        Self {
            format,
            gate,
            metrics: Arc::clone(metrics),
            stop: stop.clone(),
            store: store.clone(),
        }
    }

    fn start(
        self,
        watch: &Watch,
        undelivered: Vec<(u64, String, String)>,
        alerts: Receiver<Arc<Issued>>,
    ) -> Result<JoinHandle<()>, ServerError> {
        let left_over = undelivered
            .into_iter()
            .map(|(number, text, json)| LeftOver { number, text, json });
        let left_over = left_over.collect();
        let work = move || {
            let delivered = |number| {
                self.store.put(Change::Delivered(number));
            };
            let mut out = io::stdout();
            Stdout {
                format: self.format,
                out: &mut out,
                delivered,
                stop: self.stop,
                gate: self.gate,
                metrics: self.metrics,
            }
            .run(left_over, &alerts);
        };
        watch
            .spawn("sink-stdout", work)
            .map_err(ServerError::Thread)
    }
}

fn context(
    settings: &ServerSettings,
    credentials: Credentials,
    capacity: Capacity,
    intake: Intake,
    stop: Stop,
) -> Context {
    if credentials.tls.is_none() {
        warn!(
            "no --cert and --key: links to clients are neither private nor protected against \
             changes; use this on a trusted network only"
        );
    }
    if credentials.secret.is_none() {
        warn!("no secret: whoever reaches this port can report hits; set VFT_SECRET");
    }
    Context {
        tls: credentials.tls,
        gate: Gate::new(credentials.server_id, credentials.secret),
        delays: Delays::default(),
        allowances: Allowances::new(Rate {
            sustained: settings.limits.client_rate,
            burst: settings.limits.client_burst,
        }),
        admission: Admission::new(settings.new_clients, Pace::of(&settings.limits)),
        seldom: Lines::default(),
        seats: Seats::new(capacity.seats(&settings.limits)),
        metrics: intake.metrics(),
        intake: Arc::new(intake),
        limits: settings.limits,
        stop,
    }
}

fn summary(metrics: &ServerMetrics) {
    info!(
        "stopped: {} hits in {} reports over {} sessions, {} duplicates dropped, {} refused; \
         {} connections, {} rejected, {} times a new client was put off; {} alerts, {} held for {} \
         digests, {} dropped; {} hits and {} alerts forgotten (keep-mib), {} clients, {} hits and {} \
         alerts for their age (keep); {} commits",
        metrics.hits.get(),
        metrics.reports.get(),
        metrics.sessions.get(),
        metrics.duplicates.get(),
        metrics.refused_hits.get(),
        metrics.connections.get(),
        metrics.rejected.get(),
        metrics.refused_newcomers.get(),
        metrics.alerts.get(),
        metrics.alerts_held.get(),
        metrics.digests.get(),
        metrics.alerts_dropped.get(),
        metrics.forgotten_hits.get(),
        metrics.forgotten_alerts.get(),
        metrics.forgotten_clients.get(),
        metrics.aged_hits.get(),
        metrics.aged_alerts.get(),
        metrics.commits.get(),
    );
}
