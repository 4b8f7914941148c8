use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustls::ClientConfig;
use serde_json::Value;

use crate::harness::peer::{connect, try_connect};
use crate::harness::process::{Line as Output, eventually};
use crate::harness::wire::caller::{Caller, hit, now};
use crate::harness::wire::codec::{decode, encode};
use crate::harness::wire::line::{Line, framed, trust};
use crate::harness::wire::message::{ClientMessage, Heartbeat, Hit, Report, ServerMessage};
use crate::harness::{Client, Ends, PORTS, SOON, Sandbox, Server, number};

const ROGUES: u8 = 5;

/// Honest clients that are scanned.
const CLIENTS: u32 = 3;

/// The store's bound, in MiB.
const KEEP: u64 = 8;

/// What a store may have beside it, in bytes: its log, and the index of that.
const LOG_OF_THE_STORE: u64 = 64 << 20;

/// What the server may grow by, in KiB: its tables, connections and what waits for the disk.
const GROWTH: u64 = 400 << 10;

/// Lines of the log: so many, and so many more a second.
const LINES: u64 = 100;
const LINES_A_SECOND: u64 = 4;

/// However fast it was without them, this is fast enough on two cores that rogues keep busy.
const FAST_ENOUGH: Duration = Duration::from_secs(5);

/// Someone who owns a host of the fleet, and says whatever the protocol allows as fast as it may.
struct Rogue<'a> {
    number: u8,
    server: SocketAddr,
    trust: Arc<ClientConfig>,
    dice: StdRng,
    over: &'a AtomicBool,
    said: &'a AtomicU64,
}

impl Rogue<'_> {
    fn run(mut self) {
        while !self.over.load(Ordering::Relaxed) {
            // The server may well hang up.
            drop(self.session());
            std::thread::park_timeout(Duration::from_millis(self.dice.random_range(1..20)));
        }
    }

    /// One of its identities, an old one or a new one, comes and talks for a while.
    fn session(&mut self) -> io::Result<()> {
        let mut seed = [self.number; 32];
        seed[..2].copy_from_slice(&self.dice.random_range(0..2000_u16).to_be_bytes());
        let name = ["host-0", "host-1", "db\u{1b}[2J", "web-9"][self.dice.random_range(0..4)];
        let caller = Caller::of(seed, name);
        let address = Ipv4Addr::new(127, 200, self.number, 1);
        let mut line = Line::try_tls(try_connect(address, self.server)?, &self.trust)?;
        let challenged = caller.try_greet(&mut line)?;
        let proof = ClientMessage::Proof(caller.proof(&challenged));
        line.try_write(&framed(&encode(&proof)))?;
        let Ok(ServerMessage::Welcome(welcome)) = decode(&line.try_receive_bytes()?) else {
            return Ok(());
        };
        let mut next = welcome.acknowledged.unwrap_or(0) + 1;
        for _ in 0..self.dice.random_range(0..40) {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let message = self.message(&mut next);
            line.try_write(&framed(&encode(&message)))?;
            line.try_receive_bytes()?;
            self.said.fetch_add(1, Ordering::Relaxed);
        }
        if self.dice.random_range(0..2) == 0 {
            line.try_write(&framed(&encode(&ClientMessage::Goodbye)))?;
        }
        Ok(())
    }

    fn message(&mut self, next: &mut u64) -> ClientMessage {
        if self.dice.random_range(0..4) == 0 {
            let port = self.dice.random_range(1..=u16::MAX);
            return ClientMessage::Heartbeat(Heartbeat {
                clock: now() + self.dice.random_range(0..1000) * 1_000_000,
                uptime_millis: 1,
                backlog: self.dice.random(),
                traps_wanted: 1024,
                traps: vec![port; self.dice.random_range(0..=1024)],
                hits: self.dice.random(),
                dropped: self.dice.random_range(0..3),
            });
        }
        let count = self.dice.random_range(1..=1024);
        let kind = self.dice.random_range(0..6_u8);
        let hits = (0..count).map(|_| self.lie(kind)).collect();
        let first_sequence = *next + u64::from(self.dice.random_range(0..9) == 0);
        *next = first_sequence + count;
        ClientMessage::Report(Report {
            first_sequence,
            base: now() - self.dice.random_range(0..3600) * 1_000_000,
            hits,
        })
    }

    fn lie(&mut self, kind: u8) -> Hit {
        let some = self.dice.random::<u16>();
        let [high, low] = some.to_be_bytes();
        let source: IpAddr = match kind {
            0 => Ipv4Addr::from(self.dice.random::<u32>()).into(),
            1 => Ipv4Addr::new(198, 51, 100, low).into(),
            2 => Ipv6Addr::new(0x2001, 0xdb8, 7, some, 0, 0, 0, 1).into(),
            3 => Ipv4Addr::new(10, 99, high, low).into(),
            4 => scanner(u32::from(low) % 4),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        Hit {
            source,
            count: if low == 0 { u32::MAX } else { 1 },
            ..hit(
                "192.0.2.1",
                if high % 2 == 0 {
                    PORTS[usize::from(low) % 5]
                } else {
                    some.max(1)
                },
            )
        }
    }
}

fn scanner(number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 241, 0, 0)) + number).into()
}

/// How long it takes until a scan of all traps of the clients is reported as at least high.
fn scan(server: &Server, clients: &[Client], number: u32) -> Duration {
    let source = scanner(number);
    let IpAddr::V4(from) = source else {
        panic!("{source} is of IPv4")
    };
    let seen = server.process.count();
    let began = Instant::now();
    for client in clients {
        for port in PORTS {
            connect(from, client.address, port);
        }
    }
    server.process.wait_behind(seen, |line| {
        let Output::Out(line) = line else {
            return false;
        };
        let alert: Value = serde_json::from_str(line).unwrap();
        let severity = alert["severity"].as_str();
        alert["subject"]["value"] == source.to_string()
            && matches!(severity, Some("high" | "critical"))
    });
    began.elapsed()
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// How long each of a number of scans takes to be reported while rogues talk for so many seconds;
/// and how many messages of theirs were answered.
fn riot(
    server: &Server,
    sandbox: &Sandbox,
    clients: &[Client],
    seconds: u64,
) -> (Vec<Duration>, u64) {
    let (over, said) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    let mut scans = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..ROGUES {
            let rogue = Rogue {
                number,
                server: server.address.parse().unwrap(),
                trust: trust(&sandbox.path("cert.pem")),
                dice: StdRng::seed_from_u64(number.into()),
                over: &over,
                said: &said,
            };
            scope.spawn(move || rogue.run());
        }
        // They must end even if this panics.
        let _over = Ends(&over);
        eventually(SOON, "the rogues talk", || {
            said.load(Ordering::Relaxed) > 200
        });
        for number in 2000.. {
            scans.push(scan(server, clients, number));
            if began.elapsed() >= Duration::from_secs(seconds) {
                break;
            }
            std::thread::park_timeout(Duration::from_secs(1));
        }
    });
    (scans, said.into_inner())
}

#[test]
fn rogue_clients_hide_no_scan_and_fill_neither_store_nor_memory_nor_log() {
    let seconds = number("VFT_ROGUES", 8);
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let config = format!(
        "keep-mib = {KEEP}\nmemory = '32MiB'\ncert = 'cert.pem'\nkey = 'key.pem'\n\
         [limits]\nincidents = 256\nclients = 1000\n"
    );
    sandbox.file("server.toml", &config);
    let server = sandbox.server(&["--config", "server.toml", "--alert-format", "json"]);
    let start = || {
        let client = sandbox.client(&server.address, &["--cert", "cert.pem"]);
        client.connected();
        client
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| start()).collect();
    let quiet = scan(&server, &clients, 1000);
    let resident = server.process.resident();
    let began = Instant::now();
    let (scans, said) = riot(&server, &sandbox, &clients, seconds);
    let took = began.elapsed().as_secs();
    let grown = server.process.resident().saturating_sub(resident);
    let folder = sandbox.path("server-state/server");
    let on_disk: u64 = ["store.db", "store.db-wal", "store.db-shm"]
        .map(|name| size(&folder.join(name)))
        .iter()
        .sum();
    let slowest = scans.iter().max().copied().unwrap_or_default();
    let finished = server.process.stop();
    let lines = u64::try_from(finished.stderr.lines().count()).unwrap();
    println!(
        "{said} messages in {took} s; {} scans reported, the slowest after {slowest:?}, and after \
         {quiet:?} before; grown by {grown} KiB; {on_disk} bytes on disk; {lines} lines",
        scans.len()
    );
    assert!(slowest <= (quiet * 2).max(FAST_ENOUGH), "{slowest:?}");
    assert!(grown < GROWTH, "the server grew by {grown} KiB");
    assert!(
        on_disk > 0 && on_disk < (KEEP << 20) + LOG_OF_THE_STORE,
        "{on_disk} bytes"
    );
    let most = LINES + LINES_A_SECOND * took;
    assert!(lines <= most, "{lines} lines: {}", finished.stderr);
    assert!(!finished.stderr.contains('\u{1b}'), "escapes reach the log");
}
