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
use crate::client::trap::draw;
use crate::client::trap::funnel::{self, Spout, funnel};
use crate::client::trap::set::{Outcome, TrapSet};
use crate::clock;
use crate::config::client::ClientSettings;
use crate::config::secret::Secret;
use crate::config::value::Endpoint;
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

/// A client whose traps are open, but have no threads yet, so that what holds for the process can
/// still be settled.
#[derive(Debug)]
pub struct Opened {
    settings: ClientSettings,
    credentials: Credentials,
    traps: TrapSet,
    spout: Spout,
    metrics: Arc<ClientMetrics>,
    stop: Stop,
}

/// A client that reports what touches its traps.
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

impl Opened {
    /// Opens the traps. `settings` must have passed their check.
    pub fn new(
        settings: ClientSettings,
        credentials: Credentials,
        stop: Stop,
    ) -> Result<Self, ClientError> {
        let metrics = Arc::new(ClientMetrics::default());
        let (funnel, spout) = funnel(funnel::CAPACITY, Arc::clone(&metrics));
        let addresses = settings.bind.clone();
        let mut traps = TrapSet::new(addresses, funnel, Arc::clone(&metrics), stop.clone());
        draw_traps(&mut traps, &settings, credentials.identity.seed())?;
        Ok(Self {
            settings,
            credentials,
            traps,
            spout,
            metrics,
            stop,
        })
    }

    /// The trap ports, in ascending order.
    pub fn ports(&self) -> Vec<u16> {
        self.traps.open_ports().get()
    }

    /// The servers it will report to.
    pub fn servers(&self) -> &[Endpoint] {
        &self.settings.server
    }

    /// The ports that may have to be opened later: all that can be traps, if there is a rotation
    /// or some could not be opened; else none.
    pub fn later_ports(&self) -> Vec<u16> {
        let open = self.traps.open_ports().get().len();
        let missing = open < usize::from(draw::wanted(&self.settings));
        if missing || draw::rotation(&self.settings).is_some() {
            draw::eligible(&self.settings).collect()
        } else {
            Vec::new()
        }
    }

    /// Begins to take in what touches the traps, and to report it.
    pub fn start(self, spool: Spool) -> Result<Client, ClientError> {
        let Self {
            settings,
            credentials,
            traps,
            spout,
            metrics,
            stop,
        } = self;
        let backlog = Backlog::new(spool, Arc::clone(&metrics)).map_err(ClientError::Spool)?;
        let sockets = usize::from(draw::wanted(&settings)) * settings.bind.len().max(1);
        let mut client = Client {
            seed: *credentials.identity.seed(),
            settings,
            traps,
            // Twice, because at a rotation both the old traps and the new ones are there.
            watch: Watch::new(2 * sockets + 64),
            stop,
            metrics,
            backlog: Arc::new(backlog),
        };
        client.guard_traps()?;
        let (backlog, stop) = (Arc::clone(&client.backlog), client.stop.clone());
        client
            .watch
            .spawn(GATHER, move || gather::run(&spout, &backlog, &stop))
            .map_err(ClientError::Thread)?;
        client.start_reporting(credentials)?;
        Ok(client)
    }
}

impl Client {
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

    /// Opens the traps of this period, and closes the others.
    fn draw_traps(&mut self) -> Result<(), ClientError> {
        let before = self.ports();
        draw_traps(&mut self.traps, &self.settings, &self.seed)?;
        if self.ports() == before {
            return Ok(());
        }
        self.guard_traps()
    }

    /// Gives new traps their threads, and says which ports are traps now.
    fn guard_traps(&mut self) -> Result<(), ClientError> {
        self.traps.guard(&self.watch).map_err(ClientError::Thread)?;
        let (ports, wanted) = (self.ports(), usize::from(draw::wanted(&self.settings)));
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
        let now = Timestamp::from(clock::wall());
        draw::rotation(&self.settings)
            .map_or(RETRY, |every| choice::until_next(now, every).min(RETRY))
    }

    fn start_reporting(&self, credentials: Credentials) -> Result<(), ClientError> {
        if credentials.tls.is_none() {
            warn_of_plain();
        }
        let status = Status {
            started: clock::monotonic(),
            traps: self.traps.open_ports().clone(),
            traps_wanted: draw::wanted(&self.settings),
            metrics: Arc::clone(&self.metrics),
        };
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

fn draw_traps(
    traps: &mut TrapSet,
    settings: &ClientSettings,
    seed: &[u8; 32],
) -> Result<(), ClientError> {
    let outcome = draw::draw(traps, settings, seed, clock::wall().into());
    if traps.open_ports().get().is_empty() {
        return Err(ClientError::NoTraps(outcome));
    }
    Ok(())
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
