//! Log lines that peers can cause, by kind: each is kept within bounds by itself.

use std::net::IpAddr;

use crate::clock;
use crate::event::neighbourhood;
use crate::seldom::{LeftOut, Seldom, SharedSeldom};

/// Kinds of log lines that peers can cause.
#[derive(Debug, Default)]
pub struct Lines {
    /// A proof was wrong.
    pub failed_proof: Seldom,
    /// A client that is known was turned away for want of seats.
    pub turned_away: Seldom,
    /// A session could not be started.
    pub not_started: Seldom,
    /// A connection could not be accepted.
    pub not_accepted: Seldom,
    /// A client that has proven itself was refused.
    pub refused: ClientLines,
    /// A newcomer was put off or turned away.
    pub newcomers: ClientLines,
    /// A client that is blocked has come.
    pub blocked: ClientLines,
    /// A client has come.
    pub connected: ClientLines,
    /// A client reports faster than it may.
    pub slowed: ClientLines,
    /// Something is wrong with a client, or right again.
    pub complaints: ClientLines,
    /// A client's clock is off, or right again.
    pub clocks: ClientLines,
}

/// One kind of line about clients.
#[derive(Debug, Default)]
pub struct ClientLines(SharedSeldom);

impl ClientLines {
    /// Whether a line about a client at this address may be written now.
    pub fn line(&self, address: IpAddr) -> Option<LeftOut> {
        self.0.line(neighbourhood(address), clock::monotonic())
    }
}
