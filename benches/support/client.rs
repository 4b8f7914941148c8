//! Clients of a fleet, with traps at a loopback address of their own.

use std::net::Ipv4Addr;

use crate::support::fleet::{Fleet, SECRET, vft};
use crate::support::process::Process;

impl Fleet {
    /// Starts a client with traps on these ports. It need not be ready yet.
    pub fn client(&self, ports: &str) -> Process {
        let address = address().to_string();
        let arguments = [
            "client",
            "--server",
            &self.endpoint,
            "--cert",
            "cert.pem",
            "--state-dir",
            "client-state",
            "--name",
            "bench",
            "--bind",
            &address,
            "--ports",
            ports,
        ];
        Process::start(vft(), &arguments, &[SECRET], self.folder.path())
    }

    /// The same, with its traps open and in session with the server.
    pub fn connected_client(&self, ports: &str) -> Process {
        let client = self.client(ports);
        client.err.wait_for(|line| line.contains("connected to"));
        client
    }
}

/// Where traps and floors listen: an address in 127.64.0.0/10 that follows from the process's
/// number, so that two benchmarks do not meet.
pub fn address() -> Ipv4Addr {
    let host = std::process::id().wrapping_mul(997) & 0x003f_ffff;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) | host)
}
