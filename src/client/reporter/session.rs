//! A session after its handshake: reports and heartbeats, one exchange at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::backlog::{Backlog, Condition, Work};
use crate::client::open_ports::OpenPorts;
use crate::client::reporter::error::SessionError;
use crate::client::reporter::handshake::unexpected;
use crate::clock;
use crate::event::Timestamp;
use crate::metrics::ClientMetrics;
use crate::net::link::Link;
use crate::shutdown::Stop;
use crate::wire::frame::{self, MAX_FRAME};
use crate::wire::message::{
    ClientMessage, ExtendedHeartbeat, ExtendedWelcome, Heartbeat, MAX_HITS, MAX_TRAPS, Report,
    ServerMessage, capability, condition, decode, encode,
};

/// For the answer to a report or a heartbeat.
const ANSWER: Duration = Duration::from_secs(30);

/// For what a server says before it closes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often an idle session looks whether the server is still there.
const GLANCE: Duration = Duration::from_secs(3);

/// What is read for the heartbeats.
#[derive(Debug)]
pub struct Status {
    /// When the client started.
    pub started: Instant,
    /// The traps there are.
    pub traps: OpenPorts,
    /// The traps there should be.
    pub traps_wanted: u16,
    /// What is counted.
    pub metrics: Arc<ClientMetrics>,
}

/// A connection on which both sides have proven themselves.
#[derive(Debug)]
pub struct Session {
    link: Link,
    heartbeat: Duration,
    /// Whether the server wants to hear what is wrong with its client.
    hears_conditions: bool,
    /// What the last heartbeat said of that, and when it did.
    told: Option<(Condition, Instant)>,
    answer: Vec<u8>,
}

impl Session {
    /// A session on a fresh link.
    pub fn new(link: Link, welcome: &ExtendedWelcome) -> Self {
        let millis = welcome.welcome.heartbeat_millis;
        Self {
            link,
            heartbeat: Duration::from_millis(millis.clamp(100, 3_600_000)),
            hears_conditions: welcome.capabilities & capability::CONDITIONS != 0,
            told: None,
            answer: Vec::new(),
        }
    }

    /// Runs until everything is delivered and nothing more will come; fails if the link does.
    pub fn run(
        mut self,
        backlog: &Backlog,
        status: &Status,
        stop: &Stop,
    ) -> Result<(), SessionError> {
        let mut due = clock::monotonic();
        loop {
            let now = clock::monotonic();
            let is_due = now >= due || self.has_news(backlog, now);
            if is_due && !stop.is_requested() {
                self.heartbeat(backlog, status)?;
                // What is received but not durable is asked after soon.
                let lagging = backlog.len() > 0 && backlog.wait(Duration::ZERO) == Work::Nothing;
                due = now
                    + if lagging {
                        self.heartbeat.min(GLANCE)
                    } else {
                        self.heartbeat
                    };
            }
            // A client that stops sends no heartbeats, and only waits for the last hits.
            let patience = if stop.is_requested() {
                GLANCE
            } else {
                due.saturating_duration_since(now).min(GLANCE)
            };
            match backlog.wait(patience) {
                Work::Hits => self.report(backlog)?,
                Work::Nothing if self.link.is_broken() => return Err(self.last_words()),
                Work::Nothing => {}
                Work::Done => {
                    if backlog.len() > 0 {
                        // Perhaps the server's disk has taken by now what it had received.
                        self.heartbeat(backlog, status)?;
                    }
                    self.say(&ClientMessage::Goodbye)?;
                    self.link.close();
                    return Ok(());
                }
            }
        }
    }

    /// Whether the server should hear of its client's condition before the next heartbeat is due.
    fn has_news(&self, backlog: &Backlog, now: Instant) -> bool {
        let (condition, hears) = (backlog.condition(), self.hears_conditions);
        self.told.is_some_and(|(told, at)| {
            hears && told != condition && now.saturating_duration_since(at) >= GLANCE
        })
    }

    /// What a server has said unasked before it closed.
    fn last_words(&mut self) -> SessionError {
        self.link.set_deadline(clock::monotonic() + LAST_WORDS);
        match self.hear() {
            Ok(message) => unexpected(message, "silence"),
            Err(error) => error,
        }
    }

    fn report(&mut self, backlog: &Backlog) -> Result<(), SessionError> {
        let (first, hits) = backlog.oldest(MAX_HITS).map_err(SessionError::Spool)?;
        let Some(report) = Report::new(first, &hits) else {
            return Ok(());
        };
        self.say(&ClientMessage::Report(report))?;
        match self.hear()? {
            ServerMessage::Ack(ack) => {
                backlog.acknowledge(ack);
                Ok(())
            }
            other => Err(unexpected(other, "an acknowledgement")),
        }
    }

    fn heartbeat(&mut self, backlog: &Backlog, status: &Status) -> Result<(), SessionError> {
        let mut traps = status.traps.get();
        traps.truncate(MAX_TRAPS);
        let uptime = clock::monotonic().saturating_duration_since(status.started);
        let condition = backlog.condition();
        let heartbeat = Heartbeat {
            clock: Timestamp::from(clock::wall()).as_micros(),
            uptime_millis: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            backlog: backlog.len(),
            traps_wanted: status.traps_wanted,
            traps,
            hits: status.metrics.hits.get(),
            dropped: status.metrics.dropped.get(),
        };
        self.say(&if self.hears_conditions {
            ClientMessage::ExtendedHeartbeat(ExtendedHeartbeat {
                heartbeat,
                conditions: conditions(condition),
            })
        } else {
            ClientMessage::Heartbeat(heartbeat)
        })?;
        self.told = Some((condition, clock::monotonic()));
        match self.hear()? {
            ServerMessage::HeartbeatAck(ack) => {
                backlog.acknowledge(ack);
                Ok(())
            }
            other => Err(unexpected(other, "the heartbeat's acknowledgement")),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), SessionError> {
        self.link.set_deadline(clock::monotonic() + ANSWER);
        Ok(frame::write(&mut self.link, &encode(message)?)?)
    }

    fn hear(&mut self) -> Result<ServerMessage, SessionError> {
        frame::read(&mut self.link, MAX_FRAME, &mut self.answer)?;
        Ok(decode(&self.answer)?)
    }
}

const fn conditions(spool: Condition) -> u64 {
    match spool {
        Condition::Well => 0,
        Condition::Ailing => condition::SPOOL,
    }
}
