//! Reports hits to a server, for as long as there is something to report.
//!
//! One thread, one connection, one exchange at a time. A server that is away, restarts or refuses
//! never ends it: it tries on, with growing pauses, and over several servers in turn.

pub mod backoff;
pub mod dial;
pub mod error;
pub mod handshake;
pub mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::client::backlog::{Backlog, Work};
use crate::client::reporter::backoff::Backoff;
use crate::client::reporter::dial::{Dialled, Dialler, Round};
use crate::client::reporter::error::SessionError;
use crate::client::reporter::session::Session;
use crate::clock;
use crate::shutdown::Stop;

/// A failure that goes on is repeated in the log this often.
const REPEAT: Duration = Duration::from_secs(600);

/// How long the traps may take to hand in their last hits.
const SETTLE: Duration = Duration::from_millis(300);

/// The reporting thread's work.
#[derive(Debug)]
pub struct Reporter {
    /// How to reach the servers.
    pub dialler: Dialler,
    /// What to report.
    pub backlog: Arc<Backlog>,
    /// What each session says of its client.
    pub status: session::Status,
    /// When to stop.
    pub stop: Stop,
    /// Whether the current server has welcomed the client since it was last tried.
    pub answered: Answered,
}

/// Whether a server has welcomed the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answered {
    /// It has.
    Yes,
    /// It has not.
    #[default]
    No,
}

impl Reporter {
    /// Runs until the backlog has ended and is empty, or until told to stop and one last attempt
    /// to deliver has failed.
    pub fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut complaint = Complaint::default();
        loop {
            let last_attempt = self.stop.is_requested();
            if last_attempt && self.backlog.settle(SETTLE) == Work::Done {
                return;
            }
            let Err(error) = self.session(&mut backoff, &mut complaint) else {
                return;
            };
            complaint.make(&self.dialler.server(), &error, clock::monotonic());
            if last_attempt {
                return;
            }
            let round = match std::mem::replace(&mut self.answered, Answered::No) {
                // It was there; let it come back before another is tried.
                Answered::Yes => Round::Over,
                Answered::No => self.dialler.next_server(),
            };
            let pause = match round {
                Round::Going => Duration::ZERO,
                Round::Over => backoff.next(&mut rand::rng()) + error.retry_after(),
            };
            self.stop.wait(pause);
        }
    }

    fn session(
        &mut self,
        backoff: &mut Backoff,
        complaint: &mut Complaint,
    ) -> Result<(), SessionError> {
        let Dialled {
            link,
            server_id,
            welcome,
        } = self.dialler.dial()?;
        info!(
            "connected to {} ({})",
            self.dialler.server(),
            self.dialler.protection()
        );
        *backoff = Backoff::default();
        *complaint = Complaint::default();
        self.answered = Answered::Yes;
        self.dialler.stay();
        let resumed = self
            .backlog
            .resume(&server_id, welcome.welcome.acknowledged);
        resumed.map_err(SessionError::Spool)?;
        Session::new(link, &welcome).run(&self.backlog, &self.status, &self.stop)
    }
}

/// Says each failure once, and again after a while if it goes on.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<(String, Instant)>,
}

impl Complaint {
    fn make(&mut self, server: &str, error: &SessionError, now: Instant) {
        let text = format!("{server}: {error}");
        let repeated = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| *last == text && now.saturating_duration_since(*at) < REPEAT);
        if repeated {
            debug!("{text}");
        } else {
            warn!("{text}; trying on");
            self.last = Some((text, now));
        }
    }
}
