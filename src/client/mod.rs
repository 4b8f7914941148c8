//! The client: holds traps and reports what touches them.
//!
//! ```text
//! trap-22 ┐
//! trap-80 ┼─ funnel ─▶ gather ─ backlog ─▶ report ─ TLS ─▶ server
//! trap-…  ┘
//! ```

pub mod backlog;
pub mod gather;
pub mod host;
pub mod identity;
pub mod open_ports;
pub mod reporter;
pub mod spool;
pub mod trap;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use log::{info, warn};
use rustls::ClientConfig;

use crate::client::backlog::Backlog;
use crate::client::identity::Identity;
use crate::client::reporter::dial::{Dialler, Me, Server, warn_of_plain};
use crate::client::reporter::session::Status;
use crate::client::reporter::{Answered, Reporter};
use crate::client::spool::{Spool, SpoolError};
use crate::client::trap::choice;
use crate::client::trap::funnel::{self, funnel};
use crate::client::trap::set::{Outcome, TrapSet};
use crate::clock;
use crate::config::client::ClientSettings;
use crate::config::secret::Secret;
use crate::config::value::Span;
use crate::entropy;
use crate::event::Timestamp;
use crate::metrics::ClientMetrics;
use crate::shutdown::Stop;
use crate::threads::{End, Watch};

/// What a client needs beside its settings, already read from files.
#[derive(Debug)]
pub struct Credentials {
    /// The servers, with the names their certificates must be for.
    pub servers: Vec<Server>,
    /// Whom to trust; without it the link is plain.
    pub tls: Option<Arc<ClientConfig>>,
    /// The fleet's secret.
    pub secret: Option<Secret>,
    /// Who this client is.
    pub identity: Identity,
}

/// Why a client did not start, or ended.
#[derive(Debug)]
pub enum ClientError {
    /// Not one port could be made a trap.
    NoTraps(Outcome),
    /// The spool cannot be opened or read.
    Spool(SpoolError),
    /// A thread could not be started.
    Thread(io::Error),
    /// A thread that should have run for ever has ended.
    ThreadDied(String),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTraps(outcome) => {
                write!(
                    f,
                    "no port could be made a trap: {} held by other programs, {} need a privilege",
                    outcome.taken.len(),
                    outcome.forbidden.len()
                )?;
                match &outcome.failed {
                    Some((port, why)) => write!(f, "; {port}: {why}"),
                    None => Ok(()),
                }
            }
            Self::Spool(error) => write!(f, "cannot open the spool: {error}"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::ThreadDied(name) => write!(f, "the thread {name} has died"),
        }
    }
}

impl std::error::Error for ClientError {}

/// A client whose traps are open.
#[derive(Debug)]
pub struct Client {
    settings: ClientSettings,
    seed: [u8; 32],
    traps: TrapSet,
    watch: Watch,
    stop: Stop,
    metrics: Arc<ClientMetrics>,
    backlog: Arc<Backlog>,
}

/// How long a stop may take.
const STOP: Duration = Duration::from_millis(900);

/// How often ports that could not be bound are tried again.
const RETRY: Duration = Duration::from_secs(3600);

/// Names of the threads without which a client is none.
const GATHER: &str = "gather";
const REPORT: &str = "report";

impl Client {
    /// Opens the traps and begins to report. `settings` must have passed their check.
    pub fn start(
        settings: ClientSettings,
        credentials: Credentials,
        spool: Spool,
        stop: Stop,
    ) -> Result<Self, ClientError> {
        let metrics = Arc::new(ClientMetrics::default());
        let sockets = usize::from(wanted(&settings)) * settings.bind.len().max(1);
        // Twice, because at a rotation both the old traps and the new ones are there.
        let watch = Watch::new(2 * sockets + 64);
        let (funnel, spout) = funnel(funnel::CAPACITY, Arc::clone(&metrics));
        let backlog = Backlog::new(spool, Arc::clone(&metrics));
        let backlog = Arc::new(backlog.map_err(ClientError::Spool)?);
        let seed = *credentials.identity.seed();
        let traps = TrapSet::new(
            settings.bind.clone(),
            funnel,
            Arc::clone(&metrics),
            stop.clone(),
        );
        let status = Status {
            started: clock::monotonic(),
            traps: traps.open_ports().clone(),
            traps_wanted: wanted(&settings),
            metrics: Arc::clone(&metrics),
        };
        let backlog_in = Arc::clone(&backlog);
        let mut client = Self {
            settings,
            seed,
            traps,
            watch,
            stop,
            metrics,
            backlog,
        };
        client.draw_traps()?;
        let stop = client.stop.clone();
        client
            .watch
            .spawn(GATHER, move || gather::run(&spout, &backlog_in, &stop))
            .map_err(ClientError::Thread)?;
        client.start_reporting(credentials, status)?;
        Ok(client)
    }

    /// The trap ports, in ascending order.
    pub fn ports(&self) -> Vec<u16> {
        self.traps.open_ports().get()
    }

    /// Runs until told to stop; then closes the traps and delivers what is pending, for at most
    /// a second.
    pub fn run(mut self) -> Result<(), ClientError> {
        while !self.stop.is_requested() {
            match self.watch.reports().recv_timeout(self.until_rotation()) {
                Ok(End::Panicked(name)) => return Err(ClientError::ThreadDied(name)),
                Ok(End::Returned(name)) if !self.stop.is_requested() && is_vital(&name) => {
                    return Err(ClientError::ThreadDied(name));
                }
                Ok(End::Returned(_)) | Err(RecvTimeoutError::Disconnected) => {}
                Err(RecvTimeoutError::Timeout) => self.draw_traps()?,
            }
        }
        let deadline = clock::monotonic() + STOP;
        let Self {
            traps,
            watch,
            metrics,
            backlog,
            ..
        } = self;
        // Closing the traps drops the funnel's last sender, which ends the gatherer, which ends
        // the backlog, which ends the reporter.
        drop(traps);
        await_reporter(&watch, deadline);
        if backlog.held() > 0 {
            let held = backlog.held();
            warn!("{held} hits that are not delivered are lost: the spool cannot be written");
        }
        let (hits, dropped) = (metrics.hits.get(), metrics.dropped.get());
        info!(
            "stopped: {hits} hits seen, {} not delivered, {dropped} dropped",
            backlog.len()
        );
        Ok(())
    }

    fn draw_traps(&mut self) -> Result<(), ClientError> {
        let settings = &self.settings;
        let now = Timestamp::from(clock::wall());
        let period = choice::period(now, settings.rotate.map(Span::get));
        let order = match &settings.ports {
            Some(ports) => ports.iter().collect(),
            None => choice::order(&settings.candidates, &self.seed, period),
        };
        let order = order
            .into_iter()
            .filter(|port| !is_excluded(settings, *port));
        let wanted = usize::from(wanted(settings));
        let before = self.ports();
        let outcome = self
            .traps
            .hold(order, wanted, &self.watch)
            .map_err(ClientError::Thread)?;
        let ports = self.ports();
        if ports.is_empty() {
            return Err(ClientError::NoTraps(outcome));
        }
        if ports == before {
            return Ok(());
        }
        if ports.len() < wanted {
            warn!(
                "{} of {wanted} traps are open; going on with these",
                ports.len()
            );
        }
        let list: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let traps = if ports.len() == 1 { "trap" } else { "traps" };
        info!("ready: {} {traps} open: {}", ports.len(), list.join(" "));
        Ok(())
    }

    /// How long to the next time the traps are drawn: at a rotation, and every hour in case a
    /// port that was taken has become free.
    fn until_rotation(&self) -> Duration {
        let rotates = self
            .settings
            .rotate
            .filter(|_| self.settings.ports.is_none());
        let now = Timestamp::from(clock::wall());
        rotates.map_or(RETRY, |every| {
            choice::until_next(now, every.get()).min(RETRY)
        })
    }

    fn start_reporting(&self, credentials: Credentials, status: Status) -> Result<(), ClientError> {
        if credentials.tls.is_none() {
            warn_of_plain();
        }
        let name = self.settings.name.clone().unwrap_or_else(host::name);
        let me = Me {
            name,
            instance: entropy::random(),
        };
        let Credentials {
            servers,
            tls,
            secret,
            identity,
        } = credentials;
        let reporter = Reporter {
            dialler: Dialler::new(servers, tls, secret, identity, me),
            backlog: Arc::clone(&self.backlog),
            status,
            stop: self.stop.clone(),
            answered: Answered::No,
        };
        let started = self.watch.spawn(REPORT, move || reporter.run());
        started.map(drop).map_err(ClientError::Thread)
    }
}

fn wanted(settings: &ClientSettings) -> u16 {
    match &settings.ports {
        Some(ports) => {
            let left = ports
                .iter()
                .filter(|port| !is_excluded(settings, *port))
                .count();
            u16::try_from(left).unwrap_or(u16::MAX)
        }
        None => settings.count.get(),
    }
}

fn is_excluded(settings: &ClientSettings, port: u16) -> bool {
    settings
        .exclude_ports
        .as_ref()
        .is_some_and(|excluded| excluded.contains(port))
}

fn is_vital(thread: &str) -> bool {
    matches!(thread, GATHER | REPORT)
}

fn await_reporter(watch: &Watch, deadline: Instant) {
    while let Ok(End::Returned(name) | End::Panicked(name)) =
        watch.reports().recv_deadline(deadline)
    {
        if name == REPORT {
            return;
        }
    }
}
