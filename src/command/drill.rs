//! `vft standalone --drill`: a client's own traps are touched, and the alert is waited for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use log::info;
use tempfile::TempDir;

use crate::clock;
use crate::exit::{Failure, Kind};
use crate::sandbox::rules::Rules;
use crate::server::alert::Issued;

/// How long the drill waits for its alert.
const PATIENCE: Duration = Duration::from_secs(15);

/// What only a drill has: a folder that goes with it.
pub struct Drill {
    scratch: TempDir,
}

impl Drill {
    /// One with an empty folder.
    pub fn new() -> Result<Self, Failure> {
        let scratch = scratch()?;
        Ok(Self { scratch })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Lets it remove its folder and touch the traps as well.
    pub fn allow(&self, mut rules: Rules, traps: &[u16]) -> Rules {
        rules.write.push(self.scratch.path().to_owned());
        rules
            .clear
            .extend(self.scratch.path().parent().map(Path::to_owned));
        rules.connect.extend(traps);
        rules
    }
}

/// A folder that is removed when it is dropped.
pub fn scratch() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(|error| {
        Failure::new(
            Kind::Runtime,
            format!("cannot make a temporary folder: {error}"),
        )
        .hint("point TMPDIR at a folder you can write to")
    })
}

/// Touches every trap once over loopback and waits for the alert that says so.
pub fn touch(
    ports: &[u16],
    bind: &[IpAddr],
    alerts: &Receiver<Arc<Issued>>,
) -> Result<String, Failure> {
    let address = bind
        .first()
        .copied()
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let began = clock::monotonic();
    // Three rounds, so that each port, too, is touched three times.
    for _ in 0..3 {
        for &port in ports {
            let trap = SocketAddr::new(address, port);
            TcpStream::connect_timeout(&trap, Duration::from_secs(2)).map_err(|error| {
                Failure::new(
                    Kind::Runtime,
                    format!("the drill cannot reach its trap: {error}"),
                )
            })?;
        }
    }
    let expected = u64::try_from(3 * ports.len()).unwrap_or(u64::MAX);
    info!("drill: touched {} traps three times each", ports.len());
    let deadline = began + PATIENCE;
    let mut first = None;
    while let Ok(issued) = alerts.recv_deadline(deadline) {
        first.get_or_insert_with(|| clock::since(began));
        if issued.alert.hits >= expected {
            return Ok(format!(
                "drill passed: {} traps touched {expected} times, first alert after {} ms, all \
                 hits in the alert after {:.1} s\n",
                ports.len(),
                first.unwrap_or_default().as_millis(),
                clock::since(began).as_secs_f64(),
            ));
        }
    }
    Err(
        Failure::new(Kind::Runtime, "drill failed: the alert did not come")
            .hint("run it again with -v and look for what went wrong on the way"),
    )
}
