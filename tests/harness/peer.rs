//! Whoever touches traps, from a source address of choice.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::SOON;

/// Connects to `to` from `from`.
pub fn connect(from: Ipv4Addr, to: impl Into<IpAddr>, port: u16) -> TcpStream {
    try_connect(from, SocketAddr::new(to.into(), port)).unwrap()
}

/// The same, where it may fail.
pub fn try_connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), SOON)?;
    Ok(socket.into())
}
