//! Listening sockets with as long a queue as the system allows.
//!
//! `std` asks for a queue of 128. When the queue is full the kernel ignores the peer's SYN, and
//! the peer waits a second or more to try again, so a trap would see a storm as a trickle.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// Wakes a thread that is blocked in `accept`, without losing what waits in the queue.
#[derive(Debug)]
pub struct Waker {
    /// The same socket under another descriptor.
    listener: TcpListener,
}

impl Waker {
    /// A waker for whoever accepts on this listener.
    pub fn new(listener: &TcpListener) -> io::Result<Self> {
        Ok(Self {
            listener: listener.try_clone()?,
        })
    }

    /// From now on `accept` gives out what is in the queue, and then fails instead of waiting.
    ///
    /// A socket that is shut down wakes whoever waits on it, but forgets its queue. Nobody waits
    /// while something is in the queue, so it is shut down only if there is nothing.
    pub fn wake(&self) {
        // Whatever fails here, a process that stops does not wait for the thread for long.
        if self.listener.set_nonblocking(true).is_ok() && self.is_queue_empty() {
            drop(SockRef::from(&self.listener).shutdown(Shutdown::Both));
        }
    }

    fn is_queue_empty(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpStream};
    use std::thread::{Builder, JoinHandle};
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// How many connections a thread accepts before its listener's waker ends that.
    fn accepted(listener: TcpListener) -> JoinHandle<u32> {
        let accept = move || {
            let mut accepted = 0;
            while listener.accept().is_ok() {
                accepted += 1;
            }
            accepted
        };
        Builder::new().spawn(accept).unwrap()
    }

    #[test]
    fn a_blocked_accept_is_woken() {
        for address in ["127.0.0.1:0", "[::]:0"] {
            let Ok(listener) = listen(address.parse().unwrap()) else {
                continue;
            };
            let waker = Waker::new(&listener).unwrap();
            let port = listener.local_addr().unwrap().port();
            let trap = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let thread = accepted(listener);
            let mut stranger = TcpStream::connect_timeout(&trap, SECOND).unwrap();
            // The connection is closed once it has been accepted, and then the thread blocks.
            stranger.set_read_timeout(Some(SECOND)).unwrap();
            assert_eq!(stranger.read(&mut [0]).unwrap(), 0);
            waker.wake();
            assert_eq!(thread.join().unwrap(), 1);
        }
    }

    #[test]
    fn what_waits_in_the_queue_comes_out_before_the_end() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let waker = Waker::new(&listener).unwrap();
        let trap = listener.local_addr().unwrap();
        let strangers = [(); 3].map(|()| TcpStream::connect_timeout(&trap, SECOND).unwrap());
        waker.wake();
        assert_eq!(accepted(listener).join().unwrap(), 3);
        drop(strangers);
    }

    #[test]
    fn a_taken_port_is_refused() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
