//! Listening sockets with as long a queue as the system allows.
//!
//! `std` asks for a queue of 128. When the queue is full the kernel ignores the peer's SYN, and
//! the peer waits a second or more to try again, so a trap would see a storm as a trickle.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

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

/// Wakes whoever is blocked in `accept` on this listener, for good: `accept` fails from now on.
pub fn wake(listener: &TcpListener) {
    // Linux ends a blocked accept on shutdown. Where a system does not, the process ends without
    // waiting for the thread.
    drop(SockRef::from(listener).shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread::Builder;

    #[test]
    fn a_blocked_accept_can_be_woken() {
        let listener = Arc::new(listen("127.0.0.1:0".parse().unwrap()).unwrap());
        let blocked = Arc::clone(&listener);
        let thread = Builder::new()
            .spawn(move || blocked.accept().is_err())
            .unwrap();
        wake(&listener);
        assert!(thread.join().unwrap());
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
