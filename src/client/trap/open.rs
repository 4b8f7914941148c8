//! Binding traps, and what to say when that fails.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::net::listen::listen;

/// Why a port cannot be a trap.
#[derive(Debug)]
pub enum Unfit {
    /// Another program holds it.
    Taken,
    /// Binding it needs a privilege this process has not.
    Forbidden,
    /// Something else.
    Other(SocketAddr, io::Error),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken => f.write_str("another program holds it"),
            Self::Forbidden => f.write_str("binding it needs CAP_NET_BIND_SERVICE"),
            Self::Other(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

/// Listens on `port` at each of `addresses`, or at all of the host's if there are none given. All
/// or nothing: a port that a real service holds at one address is no trap at another.
pub fn open(port: u16, addresses: &[IpAddr]) -> Result<Vec<TcpListener>, Unfit> {
    if addresses.is_empty() {
        return everywhere(port).map(|listener| vec![listener]);
    }
    addresses
        .iter()
        .map(|&address| at(SocketAddr::new(address, port)))
        .collect()
}

/// One socket for IPv6 and IPv4, or for IPv4 alone where the host has no IPv6.
fn everywhere(port: u16) -> Result<TcpListener, Unfit> {
    match at(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
        Err(Unfit::Other(..)) => at(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        result => result,
    }
}

fn at(address: SocketAddr) -> Result<TcpListener, Unfit> {
    listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Unfit::Taken,
        io::ErrorKind::PermissionDenied => Unfit::Forbidden,
        _ => Unfit::Other(address, error),
    })
}
