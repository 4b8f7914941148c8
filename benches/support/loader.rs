//! Whoever storms a trap: connections as fast as they can be made.
//!
//! Each comes from a loopback address and a port of the loader's choosing, so that ports do not
//! run out. A loader holds a bounded number of connections open and closes the oldest only when
//! its peer has closed it. So the queue of the listening socket never overflows, which would hold
//! the loader up for a second, and a connection that was counted was taken by the peer.

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

/// What a storm looks like.
#[derive(Clone, Copy)]
pub struct Storm {
    /// Threads that connect.
    pub loaders: u16,
    /// Addresses that the connections come from, in turn.
    pub sources: u16,
    /// Connections in all.
    pub connections: u32,
}

/// Connections a loader holds open. Two loaders stay below the 4,096 that the kernel queues.
const OPEN: usize = 1024;

/// Ports that the loaders use, where few servers listen.
const PORTS: std::ops::Range<u16> = 10_000..60_000;

/// No storm takes longer, or it hangs.
const PATIENCE: Duration = Duration::from_secs(300);

impl Storm {
    /// Storms `target`, and returns how long it took until the last connection was closed.
    pub fn rage(self, target: SocketAddr) -> Duration {
        let (sender, done) = channel();
        let began = Instant::now();
        for number in 0..self.loaders {
            let sender = sender.clone();
            let work = move || {
                self.load(number, target);
                sender.send(()).unwrap();
            };
            Builder::new().spawn(work).unwrap();
        }
        for _ in 0..self.loaders {
            let left = PATIENCE.saturating_sub(began.elapsed());
            done.recv_timeout(left)
                .expect("a loader has died, or the storm hangs");
        }
        began.elapsed()
    }

    fn load(self, number: u16, target: SocketAddr) {
        let loaders = u32::from(self.loaders);
        let own =
            self.connections / loaders + u32::from(u32::from(number) < self.connections % loaders);
        let mut origins = self.origins(number);
        let mut open = VecDeque::with_capacity(OPEN);
        for _ in 0..own {
            if open.len() == OPEN {
                open.drain(..1).for_each(finish);
            }
            open.push_back(connect(&mut origins, target));
        }
        open.into_iter().for_each(finish);
    }

    /// Addresses and ports to connect from, over and over; no two loaders have one in common.
    fn origins(self, number: u16) -> impl Iterator<Item = SocketAddr> {
        let ports = PORTS.skip(number.into()).step_by(self.loaders.into());
        let origins = ports.flat_map(move |port| {
            (1..=self.sources).map(move |host| SocketAddr::from((source(host), port)))
        });
        origins.cycle()
    }
}

fn source(host: u16) -> Ipv4Addr {
    let [high, low] = host.to_be_bytes();
    Ipv4Addr::new(127, 32, high, low)
}

fn connect(origins: &mut impl Iterator<Item = SocketAddr>, target: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    // What is reset on closing leaves no TIME_WAIT behind, and the port is free again.
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    // Somebody else may hold a port.
    let bound = origins
        .take(100)
        .any(|origin| socket.bind(&origin.into()).is_ok());
    assert!(bound, "no port to connect from is free");
    socket.connect(&target.into()).unwrap();
    socket.into()
}

/// Waits until the peer has closed the connection.
fn finish(mut connection: TcpStream) {
    assert_eq!(connection.read(&mut [0]).unwrap(), 0, "a trap says nothing");
}
