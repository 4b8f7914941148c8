//! Making a connection within a deadline, name look-up included.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::thread::Builder;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};

use crate::clock;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The name could not be looked up.
    Resolve(io::Error),
    /// The name has no address.
    NoAddress,
    /// No address took the connection; this is what the last one said.
    Connect(SocketAddr, io::Error),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "cannot look up the name: {error}"),
            Self::NoAddress => f.write_str("the name has no address"),
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Connects to the first address of `host` that answers, within `budget` in all.
pub fn connect(host: &str, port: u16, budget: Duration) -> Result<TcpStream, ConnectError> {
    let deadline = clock::monotonic() + budget;
    let mut failure = ConnectError::NoAddress;
    let addresses = resolve(host, port, budget).map_err(ConnectError::Resolve)?;
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        // An address that answers nothing must leave time for the next.
        let share = remaining(deadline) / left.max(1);
        left = left.saturating_sub(1);
        if share.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, share) {
            Ok(socket) => {
                // Every message is a whole frame and wants to leave at once.
                drop(socket.set_nodelay(true));
                return Ok(socket);
            }
            Err(error) => failure = ConnectError::Connect(address, error),
        }
    }
    Err(failure)
}

fn remaining(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock::monotonic())
}

/// The system's look-up has no deadline of its own, so it gets a thread and is waited for. An
/// address needs neither.
fn resolve(host: &str, port: u16, budget: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (answer, answers) = bounded(1);
    let host = host.to_owned();
    Builder::new().name("resolve".to_owned()).spawn(move || {
        let found = (host.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect);
        // Nobody listens any more if the deadline has passed.
        drop(answer.send(found));
    })?;
    match answers.recv_timeout(budget) {
        Ok(found) => found,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}
