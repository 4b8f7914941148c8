//! Whoever touches traps, from a source address of choice.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::SOON;

/// Connects to `to` from `from`.
pub fn connect(from: Ipv4Addr, to: impl Into<IpAddr>, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket
        .connect_timeout(&SocketAddr::new(to.into(), port).into(), SOON)
        .unwrap();
    socket.into()
}
