//! Real vft processes in a folder of their own, and what a test does with them.
//!
//! Nothing here sleeps: every wait is for a line or an end, with a deadline. Traps are on a
//! loopback address that no other test uses, so that tests can run side by side.

pub mod certs;
pub mod golden;
pub mod peer;
pub mod process;
pub mod proxy;
pub mod source;
pub mod stored;
pub mod wire;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::process::{Line, Process};

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(20);

/// The fleet's secret in tests.
pub const SECRET: &str = "correct horse battery staple";

/// Trap ports of tests: high enough to need no privilege, too odd to be in use.
pub const PORTS: [u16; 5] = [20_022, 20_080, 20_445, 21_389, 28_080];

/// A folder and a loopback address for one test.
pub struct Sandbox {
    folder: TempDir,
    address: Ipv4Addr,
    started: AtomicU32,
}

impl Sandbox {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // 127.64.0.0/10, spread by process so that two runs do not meet either.
        let host = (std::process::id().wrapping_mul(997) + number * 16) & 0x003f_ffff;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) | host);
        Self {
            folder: TempDir::new().unwrap(),
            address,
            started: AtomicU32::new(0),
        }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The test's own loopback address, or one of its 15 neighbours.
    pub fn address(&self, neighbour: u8) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address).wrapping_add(neighbour.into()))
    }

    /// `vft` with these arguments, run to its end.
    pub fn run(&self, arguments: &[&str]) -> process::Finished {
        self.start(arguments, &[]).finish()
    }

    /// `vft` with these arguments and environment variables, running.
    pub fn start(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Process {
        Process::start(vft(), arguments, environment, self.folder.path())
    }

    /// A server on a free port, ready, with the secret, and with these arguments beside it.
    pub fn server(&self, arguments: &[&str]) -> Server {
        self.server_at("127.0.0.1:0", arguments)
    }

    /// The same on a given address and port.
    pub fn server_at(&self, bind: &str, arguments: &[&str]) -> Server {
        self.server_in("server-state", bind, arguments)
    }

    /// The same with a state folder of choice.
    pub fn server_in(&self, state: &str, bind: &str, arguments: &[&str]) -> Server {
        let base = ["server", "--bind", bind, "--state-dir", state];
        let arguments = [&base, arguments].concat();
        let process = self.start(&arguments, &[("VFT_SECRET", SECRET)]);
        Server {
            address: process.listens_at(),
            process,
        }
    }

    /// `vft` with these arguments, whose files cannot grow beyond so many KiB until [`lift`] is
    /// called: a disk that is full.
    pub fn confined(&self, kib: u32, arguments: &[&str]) -> Process {
        let script = format!("ulimit -S -f {kib}; exec \"$@\"");
        let program = vft().to_str().unwrap();
        let arguments = [&["-c", &script, "bash", program], arguments].concat();
        let bash = Path::new("bash");
        Process::start(
            bash,
            &arguments,
            &[("VFT_SECRET", SECRET)],
            self.folder.path(),
        )
    }

    /// A client of that server, its traps open, with the secret, and with these arguments beside.
    /// Its traps are on the test's address, the next client's on the next.
    pub fn client(&self, server: &str, arguments: &[&str]) -> Client {
        let number = u8::try_from(self.started.fetch_add(1, Ordering::Relaxed)).unwrap();
        self.start_client(server, number, arguments)
    }

    /// The client with this number, started again.
    pub fn client_again(&self, server: &str, number: u8, arguments: &[&str]) -> Client {
        self.start_client(server, number, arguments)
    }

    fn start_client(&self, server: &str, number: u8, arguments: &[&str]) -> Client {
        let address = self.address(number);
        let (name, state) = (format!("host-{number}"), format!("client-state-{number}"));
        let ports = PORTS.map(|port| port.to_string()).join(",");
        let bind = address.to_string();
        let base = [
            "client",
            "--server",
            server,
            "--name",
            &name,
            "--state-dir",
            &state,
            "--bind",
            &bind,
            "--ports",
            &ports,
        ];
        let arguments = [&base, arguments].concat();
        let process = self.start(&arguments, &[("VFT_SECRET", SECRET)]);
        process.wait_for_log(|line| line.contains("traps open"));
        Client { address, process }
    }
}

/// Lets a confined process's files grow again.
pub fn lift(process: &Process) {
    limit(process, "--fsize=unlimited");
}

/// Lets a confined process write nothing behind the first 4 KiB of a file: a disk that is as full as
/// can be.
pub fn squeeze(process: &Process) {
    limit(process, "--fsize=4096:unlimited");
}

fn limit(process: &Process, limit: &str) {
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &process.id().to_string(), limit])
        .status();
    assert!(limited.unwrap().success());
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: String,
    /// The process.
    pub process: Process,
}

impl Server {
    /// Waits for the first alert that `wanted` picks.
    pub fn alert(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let parse = |line: &str| serde_json::from_str(line).unwrap();
        parse(&self.process.wait_for(|line| match line {
            Line::Out(line) => wanted(&parse(line)),
            Line::Err(_) => false,
        }))
    }
}

/// A running client.
pub struct Client {
    /// Where its traps are.
    pub address: Ipv4Addr,
    /// The process.
    pub process: Process,
}

impl Client {
    /// Waits until it has a session.
    pub fn connected(&self) -> &Self {
        self.process
            .wait_for_log(|line| line.contains("connected to"));
        self
    }
}

/// Says that something is over when it goes, even in a panic.
pub struct Ends<'a>(pub &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether a program that some tests need is installed. On a machine without it these tests say
/// that they were skipped; where `VFT_TEST_TOOLS=required` is set, as in CI, they fail.
pub fn has(tool: &str) -> bool {
    let found = std::process::Command::new(tool)
        .arg("--version")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok();
    let required = std::env::var_os("VFT_TEST_TOOLS").is_some_and(|value| value == "required");
    assert!(found || !required, "{tool} is not installed");
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

/// The number that an environment variable says, for those who want a test longer or otherwise
/// than `usual`.
pub fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} takes a number, not {text}"))
    })
}

/// The program under test.
pub fn vft() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_vft"))
}
