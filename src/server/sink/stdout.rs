//! Alerts on standard output, a line each.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use log::error;

use crate::config::server::Format;
use crate::server::alert::{Issued, json, text};
use crate::shutdown::Stop;

/// How long to wait before a failed write is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the sink needs to know.
pub struct Stdout<'a, W, D> {
    /// How alerts are written.
    pub format: Format,
    /// Where.
    pub out: &'a mut W,
    /// Told of each alert's number when it has been written.
    pub delivered: D,
    /// When to give up on a write that fails.
    pub stop: Stop,
}

impl<W: Write, D: Fn(u64)> Stdout<'_, W, D> {
    /// Writes first what was left over, as numbers and lines, and then alerts, until there are no
    /// more, or nobody reads them any more.
    ///
    /// A full disk is waited for. A closed pipe ends it.
    pub fn run(mut self, left_over: Vec<(u64, String)>, alerts: &Receiver<Arc<Issued>>) {
        for (number, line) in left_over {
            if self.write(number, line) == Outcome::GivenUp {
                return;
            }
        }
        for issued in alerts {
            let line = match self.format {
                Format::Text => text::line(&issued.alert),
                Format::Json => json::line(&issued.alert).unwrap_or_else(|error| error.to_string()),
            };
            if self.write(issued.number, line) == Outcome::GivenUp {
                return;
            }
        }
    }

    fn write(&mut self, number: u64, mut line: String) -> Outcome {
        line.push('\n');
        let mut left = line.as_bytes();
        let mut complained = false;
        while let Err(error) = self.write_on(&mut left) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                error!("nobody reads the alerts on standard output any more");
                return Outcome::GivenUp;
            }
            if !std::mem::replace(&mut complained, true) {
                error!("cannot write alerts to standard output: {error}; trying on");
            }
            if self.stop.wait(PAUSE) {
                return Outcome::GivenUp;
            }
        }
        (self.delivered)(number);
        Outcome::Written
    }

    /// Writes what is left, and goes on behind what was written when it is called again.
    fn write_on(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            let written = self.out.write(left)?;
            *left = left.get(written..).unwrap_or_default();
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.out.flush()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Written,
    GivenUp,
}
