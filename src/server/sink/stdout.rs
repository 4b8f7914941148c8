//! Alerts on standard output, a line each, and digests of those that the valve holds.
//!
//! The store remembers up to which number alerts are delivered. While some are held, that is the number
//! before the first of them: a server that dies before their digest is written gives them to the
//! valve again when it starts, and with them those that were written in between.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::error;

use crate::clock;
use crate::config::server::{Alerts, Format};
use crate::event::Timestamp;
use crate::metrics::ServerMetrics;
use crate::server::alert::brief::Brief;
use crate::server::alert::digest::Digest;
use crate::server::alert::valve::{Passage, Valve};
use crate::server::alert::{Issued, json, text};
use crate::shutdown::Stop;

/// How long to wait before a failed write is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How often to look whether a digest is due.
const LOOK: Duration = Duration::from_millis(500);

/// What the sink needs to know.
pub struct Stdout<'a, W, D> {
    /// How alerts are written.
    pub format: Format,
    /// Where.
    pub out: &'a mut W,
    /// Told of the number up to which alerts have been written, on their own or in a digest.
    pub delivered: D,
    /// When to give up on a write that fails.
    pub stop: Stop,
    /// Which alerts are written one by one.
    pub gate: Gate,
    /// What is counted.
    pub metrics: Arc<ServerMetrics>,
}

/// An alert that may not have been written before the server started.
pub struct LeftOver {
    /// Its number.
    pub number: u64,
    /// What it says, for people.
    pub text: String,
    /// The same for programs.
    pub json: String,
}

/// The valve, and what it holds.
pub struct Gate {
    settings: Arc<Mutex<Alerts>>,
    valve: Valve,
    /// The number of the first alert that is held.
    first_held: Option<u64>,
    /// The number of the last alert that came.
    last: u64,
}

impl Gate {
    /// An open one. Whoever changes the settings changes the valve.
    pub fn new(settings: Arc<Mutex<Alerts>>) -> Self {
        let valve = Valve::new(current(&settings));
        Self {
            settings,
            valve,
            first_held: None,
            last: 0,
        }
    }

    fn take(&mut self, brief: &Brief) -> (Option<Digest>, Passage) {
        self.valve.set(current(&self.settings));
        self.valve.take(brief)
    }

    fn due(&mut self, now: Timestamp) -> Option<Digest> {
        self.valve.set(current(&self.settings));
        self.valve.due(now)
    }
}

fn current(settings: &Mutex<Alerts>) -> Alerts {
    // Settings are whole, whoever has panicked.
    *settings.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write, D: Fn(u64)> Stdout<'_, W, D> {
    /// Writes first what was left over, and then alerts, until there are no more, or nobody reads
    /// them any more.
    ///
    /// A full disk is waited for. A closed pipe ends it.
    pub fn run(mut self, left_over: Vec<LeftOver>, alerts: &Receiver<Arc<Issued>>) {
        // Whoever does not read any more has been told of by now.
        let _given_up = self.serve(left_over, alerts);
    }

    fn serve(
        &mut self,
        left_over: Vec<LeftOver>,
        alerts: &Receiver<Arc<Issued>>,
    ) -> Result<(), GivenUp> {
        for LeftOver { number, text, json } in left_over {
            let line = match self.format {
                Format::Text => text,
                Format::Json => json.clone(),
            };
            match json::brief(&json) {
                Some(brief) => self.take(number, &brief, || line)?,
                None => self.pass(number, line)?,
            }
        }
        while let Some(issued) = self.next(alerts)? {
            let (alert, format) = (&issued.alert, self.format);
            self.take(issued.number, &Brief::of(alert), || match format {
                Format::Text => text::line(alert),
                Format::Json => json::line(alert).unwrap_or_else(|error| error.to_string()),
            })?;
        }
        let rest = self.gate.valve.rest();
        self.sum_up(rest)
    }

    /// The next alert; `None` if there are no more. Writes digests meanwhile.
    fn next(&mut self, alerts: &Receiver<Arc<Issued>>) -> Result<Option<Arc<Issued>>, GivenUp> {
        while self.gate.valve.holds() {
            match alerts.recv_timeout(LOOK) {
                Ok(issued) => return Ok(Some(issued)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {
                    let due = self.gate.due(clock::wall().into());
                    self.sum_up(due)?;
                }
            }
        }
        Ok(alerts.recv().ok())
    }

    /// Writes an alert, or holds it.
    fn take(
        &mut self,
        number: u64,
        brief: &Brief,
        line: impl FnOnce() -> String,
    ) -> Result<(), GivenUp> {
        let (due, passage) = self.gate.take(brief);
        self.sum_up(due)?;
        match passage {
            Passage::Free => self.pass(number, line()),
            Passage::Held => {
                self.metrics.alerts_held.one();
                self.gate.first_held.get_or_insert(number);
                self.gate.last = number;
                Ok(())
            }
        }
    }

    fn pass(&mut self, number: u64, line: String) -> Result<(), GivenUp> {
        self.write(line)?;
        self.gate.last = number;
        if self.gate.first_held.is_none() {
            (self.delivered)(number);
        }
        Ok(())
    }

    /// Writes a digest, if there is one. With it all that was held is delivered.
    fn sum_up(&mut self, digest: Option<Digest>) -> Result<(), GivenUp> {
        let Some(digest) = digest else { return Ok(()) };
        self.write(match self.format {
            Format::Text => text::digest(&digest),
            Format::Json => json::digest(&digest).unwrap_or_else(|error| error.to_string()),
        })?;
        self.metrics.digests.one();
        self.gate.first_held = None;
        (self.delivered)(self.gate.last);
        Ok(())
    }

    fn write(&mut self, mut line: String) -> Result<(), GivenUp> {
        line.push('\n');
        let mut left = line.as_bytes();
        let mut complained = false;
        while let Err(error) = self.write_on(&mut left) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                error!("nobody reads the alerts on standard output any more");
                return Err(GivenUp);
            }
            if !std::mem::replace(&mut complained, true) {
                error!("cannot write alerts to standard output: {error}; trying on");
            }
            if self.stop.wait(PAUSE) {
                return Err(GivenUp);
            }
        }
        Ok(())
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

/// A line could not be written, and will not be.
#[derive(Debug)]
struct GivenUp;

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    use crossbeam_channel::{Sender, bounded};

    use crate::config::server::Profile;
    use crate::config::value::Span;
    use crate::server::alert::Severity;
    use crate::server::alert::digest::tests::brief;

    #[derive(Clone, Copy, PartialEq)]
    enum Then {
        Die,
        End,
    }

    fn written(alerts: Alerts, severities: &[Severity], then: Then) -> (Vec<String>, Vec<u64>) {
        let (mut out, delivered) = (Vec::new(), RefCell::new(Vec::new()));
        let mut sink = Stdout {
            format: Format::Text,
            out: &mut out,
            delivered: |number| delivered.borrow_mut().push(number),
            stop: Stop::new(),
            gate: Gate::new(Arc::new(Mutex::new(alerts))),
            metrics: Arc::new(ServerMetrics::default()),
        };
        for (number, severity) in (1..).zip(severities) {
            let line = || format!("alert {number}");
            sink.take(number, &brief(number, "a", *severity), line)
                .unwrap();
        }
        if then == Then::End {
            let (_, nothing_more) = bounded(1);
            sink.serve(Vec::new(), &nothing_more).unwrap();
        }
        drop(sink);
        let text = String::from_utf8(out).unwrap();
        (
            text.lines().map(str::to_owned).collect(),
            delivered.into_inner(),
        )
    }

    #[test]
    fn what_is_held_is_delivered_with_its_digest_and_nothing_behind_it_before() {
        let alerts = Alerts {
            per_hour: 5,
            ..Alerts::default()
        };
        let severities = [Severity::Low, Severity::Low, Severity::Low, Severity::High];
        let (lines, delivered) = written(alerts, &severities, Then::Die);
        assert_eq!(lines, ["alert 1", "alert 2", "alert 4"]);
        assert_eq!(delivered, [1, 2]);
        let (lines, delivered) = written(alerts, &severities, Then::End);
        assert_eq!(
            lines[3],
            "1970-01-01T00:00:04Z DIGEST 1 alert held since 1970-01-01T00:00:03Z: 1 open; 1 low  \
             [frequent-source 1]  #a LOW 192.0.2.7  all: vft alerts"
        );
        assert_eq!(delivered, [1, 2, 4]);
    }

    #[test]
    fn a_digest_is_written_when_it_is_due_though_no_alert_comes() {
        let alerts = Alerts {
            profile: Profile::Internal,
            per_hour: 5,
            digest: Span::seconds(1),
        };
        let (sender, receiver) = bounded(1);
        let mut out = UntilDigest {
            text: String::new(),
            sender: Some(sender),
        };
        let mut sink = Stdout {
            format: Format::Json,
            out: &mut out,
            delivered: drop,
            stop: Stop::new(),
            gate: Gate::new(Arc::new(Mutex::new(alerts))),
            metrics: Arc::new(ServerMetrics::default()),
        };
        for number in 1..=3 {
            // The alerts are of 1970, so the digest is due at the first look.
            let low = brief(1, "a", Severity::Low);
            sink.take(number, &low, || "{}".to_owned()).unwrap();
        }
        assert!(sink.next(&receiver).unwrap().is_none());
        let metrics = Arc::clone(&sink.metrics);
        drop(sink);
        assert_eq!((metrics.alerts_held.get(), metrics.digests.get()), (1, 1));
        let end = "\"see\":\"vft alerts\"}\n";
        assert!(out.text.ends_with(end), "{}", out.text);
    }

    /// Ends the alerts when a digest is written.
    struct UntilDigest {
        text: String,
        sender: Option<Sender<Arc<Issued>>>,
    }

    impl Write for UntilDigest {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.text += std::str::from_utf8(bytes).unwrap();
            if self.text.contains("digest") {
                self.sender = None;
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
