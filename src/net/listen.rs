//! Listening sockets with as long a queue as the system allows.
//!
//! `std` asks for a queue of 128. When the queue is full the kernel ignores the peer's SYN, and
//! the peer waits a second or more to try again, so a trap would see a storm as a trickle.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;

use socket2::{Domain, Protocol, Socket, Type};

/// What to ask for; Linux cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Binds `address` and listens. An IPv6 wildcard takes IPv4 connections as well.
///
/// Errors are the system's: the address is in use, not ours, or needs a privilege.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Wakes a thread that is blocked in `accept`, by connecting to its listener once.
///
/// That is the one way that loses nothing: connections that wait in the listener's queue come out
/// before this one.
#[derive(Debug)]
pub struct Waker {
    listener: SocketAddr,
    own: OnceLock<SocketAddr>,
}

impl Waker {
    /// A waker for whoever accepts on this listener.
    pub fn new(listener: &TcpListener) -> io::Result<Self> {
        Ok(Self {
            listener: listener.local_addr()?,
            own: OnceLock::new(),
        })
    }

    /// Wakes it. Does not wait: if the queue is full, nobody is blocked.
    pub fn wake(&self) {
        // Whatever fails here, a process that stops does not wait for the thread for long.
        drop(self.connect());
    }

    /// Whether a connection from `peer` is the one that [`Waker::wake`] has made.
    pub fn is_own(&self, peer: SocketAddr) -> bool {
        self.own.get().is_some_and(|own| {
            own.port() == peer.port() && own.ip().to_canonical() == peer.ip().to_canonical()
        })
    }

    fn connect(&self) -> io::Result<()> {
        let address = match self.listener.ip() {
            ip if !ip.is_unspecified() => ip,
            // A wildcard for IPv6 takes IPv4 as well.
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        let socket = Socket::new(
            Domain::for_address((address, 0).into()),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.bind(&SocketAddr::from((address, 0)).into())?;
        if let Some(own) = socket.local_addr()?.as_socket() {
            // Known before the connection is, so that it can be recognised.
            self.own.get_or_init(|| own);
        }
        socket.set_nonblocking(true)?;
        socket.connect(&SocketAddr::from((address, self.listener.port())).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread::Builder;

    #[test]
    fn a_blocked_accept_is_woken_after_what_was_there_before() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = listen(address.parse().unwrap()) else {
                continue;
            };
            let waker = Arc::new(Waker::new(&listener).unwrap());
            let port = listener.local_addr().unwrap().port();
            let second = std::time::Duration::from_secs(1);
            let trap = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let stranger = std::net::TcpStream::connect_timeout(&trap, second).unwrap();
            let in_thread = Arc::clone(&waker);
            let thread = Builder::new()
                .spawn(move || {
                    let mut strangers = 0;
                    while !in_thread.is_own(listener.accept().unwrap().1) {
                        strangers += 1;
                    }
                    strangers
                })
                .unwrap();
            waker.wake();
            assert_eq!(thread.join().unwrap(), 1);
            drop(stranger);
        }
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
