//! A server with TLS and a secret, in a folder of its own.

use std::path::Path;

use tempfile::TempDir;

use crate::support::process::Process;

/// The fleet's secret.
pub const SECRET: (&str, &str) = ("VFT_SECRET", "correct horse battery staple");

/// A running server.
pub struct Fleet {
    /// Where everything of it is.
    pub folder: TempDir,
    /// Where the server listens.
    pub endpoint: String,
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
        let (endpoint, server) = serve(folder.path(), "127.0.0.1:0");
        Self {
            folder,
            endpoint,
            server,
        }
    }

    /// Stops the server and returns what it said last.
    pub fn stop(self) -> String {
        self.server.stop()
    }
}

/// Starts a server, with what is in the folder, that listens there; returns where it listens, and
/// its process.
pub fn serve(folder: &Path, bind: &str) -> (String, Process) {
    let arguments = [
        "server",
        "--bind",
        bind,
        "--cert",
        "cert.pem",
        "--key",
        "key.pem",
        "--state-dir",
        "server-state",
        "--config",
        "server.toml",
    ];
    let server = Process::start(vft(), &arguments, &[SECRET], folder);
    let ready = |line: &str| line.contains("ready: listening on");
    let ready = server.err.wait_for(ready).1;
    let endpoint = ready.split_once("listening on ").unwrap().1;
    (endpoint.split_once(' ').unwrap().0.to_owned(), server)
}

/// The program that is measured.
pub fn vft() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vft"))
}
