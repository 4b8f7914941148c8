//! The least that a trap can be: a loop that accepts and closes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::{Signal, set_parent_process_death_signal};
use socket2::{Domain, Protocol, Socket, Type};

use crate::support::client::address;
use crate::support::process::Process;

/// The argument with which a benchmark starts itself anew as a floor.
const FLOOR: &str = "floor";

/// A floor in a process of its own.
pub struct Floor {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Floor {
    /// Starts this benchmark anew as a floor.
    pub fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let at = address().to_string();
        let process = Process::start(&program, &[FLOOR, &at], &[], &std::env::temp_dir());
        let address = process.out.wait_for(|_| true).1.parse().unwrap();
        Self { address, process }
    }
}

/// The address to be a floor at, if this process was started as one.
pub fn wanted() -> Option<Ipv4Addr> {
    let mut arguments = std::env::args().skip(1);
    let is_floor = arguments.next().is_some_and(|argument| argument == FLOOR);
    is_floor.then(|| arguments.next().unwrap().parse().unwrap())
}

/// Accepts and closes until it is killed; `seen` is called after each connection.
pub fn run(address: Ipv4Addr, mut seen: impl FnMut(SocketAddr)) {
    set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.listen(65_535).unwrap();
    let listener = TcpListener::from(socket);
    println!("{}", listener.local_addr().unwrap());
    loop {
        let (connection, peer) = listener.accept().unwrap();
        drop(connection);
        seen(peer);
    }
}
