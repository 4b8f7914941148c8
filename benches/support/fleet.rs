//! A server and clients of it, with TLS and a secret, in a folder and at a loopback address of
//! their own.

use std::net::Ipv4Addr;
use std::path::Path;

use tempfile::TempDir;

use crate::support::process::Process;

/// The fleet's secret.
const SECRET: (&str, &str) = ("VFT_SECRET", "correct horse battery staple");

/// A running server.
pub struct Fleet {
    folder: TempDir,
    endpoint: String,
    /// The server's process.
    pub server: Process,
}

impl Fleet {
    /// Starts a server with these settings, and waits until it is ready.
    pub fn start(settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let made = Process::start(vft(), &["cert", "--name", "127.0.0.1"], &[], folder.path());
        made.out.wait_for(|line| line.contains("key.pem"));
        std::fs::write(folder.path().join("server.toml"), settings).unwrap();
        let arguments = [
            "server",
            "--bind",
            "127.0.0.1:0",
            "--cert",
            "cert.pem",
            "--key",
            "key.pem",
            "--state-dir",
            "server-state",
            "--config",
            "server.toml",
        ];
        let server = Process::start(vft(), &arguments, &[SECRET], folder.path());
        let ready = server
            .err
            .wait_for(|line| line.contains("ready: listening on"))
            .1;
        let endpoint = ready.split_once("listening on ").unwrap().1;
        let endpoint = endpoint.split_once(' ').unwrap().0.to_owned();
        Self {
            folder,
            endpoint,
            server,
        }
    }

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

    /// Stops the server and returns what it said last.
    pub fn stop(self) -> String {
        self.server.stop()
    }
}

/// Where traps and floors listen: an address in 127.64.0.0/10 that follows from the process's
/// number, so that two benchmarks do not meet.
pub fn address() -> Ipv4Addr {
    let host = std::process::id().wrapping_mul(997) & 0x003f_ffff;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) | host)
}

/// The program that is measured.
pub fn vft() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vft"))
}
