//! Alerts on standard output, a line each.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use log::error;

use crate::config::server::Format;
use crate::server::alert::{Alert, json, text};
use crate::shutdown::Stop;

/// How long to wait before a failed write is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes alerts until there are no more, or nobody reads them any more.
///
/// A full disk is waited for. A closed pipe ends it.
pub fn run(alerts: &Receiver<Arc<Alert>>, format: Format, out: &mut impl Write, stop: &Stop) {
    let mut complained = false;
    for alert in alerts {
        let mut line = match format {
            Format::Text => text::line(&alert),
            Format::Json => json::line(&alert).unwrap_or_else(|error| error.to_string()),
        };
        line.push('\n');
        while let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            if error.kind() == io::ErrorKind::BrokenPipe {
                error!("nobody reads the alerts on standard output any more");
                return;
            }
            if !complained {
                error!("cannot write alerts to standard output: {error}; trying on");
                complained = true;
            }
            if stop.wait(PAUSE) {
                return;
            }
        }
        complained = false;
    }
}
