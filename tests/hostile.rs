use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::peer::{connect, try_connect};
use crate::harness::process::{Line as Output, eventually};
use crate::harness::wire::caller::{Caller, hit, now};
use crate::harness::wire::codec::encode;
use crate::harness::wire::line::{Line, framed, trust};
use crate::harness::wire::message::{ClientMessage, Hit, Report, ServerMessage};
use crate::harness::wire::proof::PREAMBLE;
use crate::harness::{Client, Ends, PORTS, SOON, Sandbox, Server, number};

/// Touches whose latency is measured, before the assault and during it.
const TOUCHES: u32 = 40;

/// However fast it was before, this is fast enough for a program that is not optimised, on a machine
/// that is busy with the assault.
const FAST_ENOUGH: Duration = Duration::from_millis(200);

/// What the server may grow by, in bytes: for connections that have proven nothing, of which there
/// are 512 at most; and for each source that it remembers, of which there are 262,144 at most.
const STRANGERS: u64 = 48 << 20;
const SOURCE: u64 = 512;
const SOURCES: u32 = 262_144;

/// Lines the server may log beside one for each client that has proven itself.
const LINES: usize = 15;

/// What is done to the server, all of it at once.
#[derive(Clone, Copy, Debug)]
enum Kind {
    SlowHandshakes,
    Crowd,
    OversizeLengths,
    Garbage,
    ReplayedProofs,
    RelayedProofs,
    Lies,
}

const KINDS: usize = 7;

/// Whoever assaults a server with TLS, each kind from addresses of its own.
struct Assault {
    server: SocketAddr,
    trust: Arc<ClientConfig>,
    crowd: u64,
    lies: u32,
    over: AtomicBool,
    /// How often each kind was done.
    done: [AtomicU64; KINDS],
}

impl Assault {
    fn new(server: &Server, sandbox: &Sandbox) -> Self {
        Self {
            server: server.address.parse().unwrap(),
            trust: trust(&sandbox.path("cert.pem")),
            crowd: number("VFT_CROWD", 1500),
            lies: u32::try_from(number("VFT_LIES", 50_000)).unwrap(),
            over: AtomicBool::new(false),
            done: Default::default(),
        }
    }

    fn address(kind: Kind, number: u64) -> Ipv4Addr {
        let [high, low] = u16::try_from(number % 4096).unwrap().to_be_bytes();
        Ipv4Addr::new(127, 230, (kind as u8) << 4 | high, low)
    }

    /// From the addresses of a kind in turn: of so many.
    fn connect(&self, kind: Kind, number: u64, of: u64) -> io::Result<TcpStream> {
        try_connect(Self::address(kind, number % of), self.server)
    }

    fn tls(&self, kind: Kind, number: u64) -> io::Result<Line> {
        Line::try_tls(self.connect(kind, number, 16)?, &self.trust)
    }

    /// Does something until it is over. That it fails is what the server is for.
    fn repeat(&self, kind: Kind, pause: Duration, mut what: impl FnMut(u64) -> io::Result<()>) {
        for number in 0..1_000_000 {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            drop(what(number));
            self.done[kind as usize].fetch_add(1, Ordering::Relaxed);
            self.pause(pause);
        }
    }

    fn pause(&self, span: Duration) {
        let began = Instant::now();
        while began.elapsed() < span && !self.over.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Many handshakes at once, each at a byte a second: of TLS, and of the protocol under it.
    fn slow_handshakes(&self) {
        // A record with a ClientHello of 512 bytes begins so.
        let hello = [22, 3, 1, 2, 0, 1, 0, 1];
        self.repeat(Kind::SlowHandshakes, Duration::ZERO, |round| {
            let number = |each: u64| round * 64 + each;
            let raw = (0..48).map(|it| self.connect(Kind::SlowHandshakes, number(it), 4096));
            let raw: Vec<_> = raw.filter_map(Result::ok).collect();
            let under_tls = (48..64).map(|it| self.tls(Kind::SlowHandshakes, number(it)));
            let mut under_tls: Vec<_> = under_tls.filter_map(Result::ok).collect();
            for (of_tls, of_ours) in hello.iter().zip(PREAMBLE) {
                for mut socket in &raw {
                    drop(socket.write(&[*of_tls]));
                }
                for line in &mut under_tls {
                    drop(line.try_write(&[of_ours]));
                }
                self.pause(Duration::from_secs(1));
            }
            Ok(())
        });
    }

    /// So many connections at once that say nothing, a part of them anew twice a second.
    fn crowd(&self) {
        let mut crowd = VecDeque::new();
        let mut number = 0;
        self.repeat(Kind::Crowd, Duration::from_millis(500), |round| {
            let gone = if round == 0 { 0 } else { self.crowd / 10 };
            drop(crowd.drain(..usize::try_from(gone).unwrap()));
            for _ in 0..if round == 0 { self.crowd } else { gone } {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
                let from = SocketAddr::from((Self::address(Kind::Crowd, number), 0));
                socket.bind(&from.into())?;
                // Nobody waits for the server to take it.
                socket.set_nonblocking(true)?;
                drop(socket.connect(&self.server.into()));
                crowd.push_back(socket);
                number += 1;
            }
            Ok(())
        });
    }

    /// Frames that are too long: before the welcome and, from one who knows the secret, after it.
    fn oversize_lengths(&self) {
        self.repeat(Kind::OversizeLengths, Duration::from_millis(50), |number| {
            let mut line = self.tls(Kind::OversizeLengths, number)?;
            line.try_write(&PREAMBLE)?;
            line.try_write(&u32::MAX.to_be_bytes())?;
            line.try_receive_bytes()?;
            let mut line = self.inside(Kind::OversizeLengths, number)?;
            line.try_write(&65_537_u32.to_be_bytes())?;
            line.try_receive_bytes().map(drop)
        });
    }

    /// A frame of noise from one who knows the secret.
    fn garbage(&self) {
        let mut random = StdRng::seed_from_u64(1);
        self.repeat(Kind::Garbage, Duration::from_millis(50), |number| {
            let mut line = self.inside(Kind::Garbage, number)?;
            let mut noise = vec![0; random.random_range(1..65_536)];
            random.fill(&mut noise[..]);
            line.try_write(&framed(&noise))?;
            line.try_receive_bytes().map(drop)
        });
    }

    /// A proof that was good once, shown again.
    fn replayed_proofs(&self) {
        let caller = Caller::new(Kind::ReplayedProofs as u8);
        let mut recorded = None;
        self.repeat(Kind::ReplayedProofs, Duration::from_millis(50), |number| {
            let mut line = self.tls(Kind::ReplayedProofs, number)?;
            let challenged = caller.try_greet(&mut line)?;
            let good = || encode(&ClientMessage::Proof(caller.proof(&challenged)));
            let proof = recorded.get_or_insert_with(good);
            line.try_write(&framed(proof))
        });
    }

    /// A proof made for another TLS connection, as a man in the middle would pass it on.
    fn relayed_proofs(&self) {
        let caller = Caller::new(Kind::RelayedProofs as u8);
        self.repeat(Kind::RelayedProofs, Duration::from_millis(50), |number| {
            let near = self.tls(Kind::RelayedProofs, number)?;
            let mut far = self.tls(Kind::RelayedProofs, number)?;
            far.binding = near.binding;
            let challenged = caller.try_greet(&mut far)?;
            let proof = ClientMessage::Proof(caller.proof(&challenged));
            far.try_write(&framed(&encode(&proof)))
        });
    }

    /// A client that was touched from everywhere, if one believes it.
    fn lies(&self, mut line: Line) {
        const AT_ONCE: u32 = 1024;
        let everywhere = u32::from(Ipv4Addr::new(10, 0, 0, 0));
        for first in (0..self.lies).step_by(1024) {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let report = ClientMessage::Report(Report {
                first_sequence: u64::from(first) + 1,
                base: now(),
                hits: (first..first + AT_ONCE)
                    .map(|number| lie(everywhere + number))
                    .collect(),
            });
            line.send(&report);
            line.receive::<ServerMessage>();
            self.done[Kind::Lies as usize].fetch_add(AT_ONCE.into(), Ordering::Relaxed);
        }
    }

    /// A line on which somebody who knows the secret is in.
    fn inside(&self, kind: Kind, number: u64) -> io::Result<Line> {
        let caller = Caller::new(kind as u8);
        let mut line = self.tls(kind, number)?;
        let challenged = caller.try_greet(&mut line)?;
        let proof = ClientMessage::Proof(caller.proof(&challenged));
        line.try_write(&framed(&encode(&proof)))?;
        line.try_receive_bytes()?;
        Ok(line)
    }

    /// How often each kind was done.
    fn done(&self) -> [u64; KINDS] {
        self.done
            .each_ref()
            .map(|done| done.load(Ordering::Relaxed))
    }
}

fn lie(source: u32) -> Hit {
    Hit {
        source: IpAddr::V4(source.into()),
        ..hit("10.0.0.0", 4444)
    }
}

/// From the touch that is one too many to the alert about its source, in the median.
fn latency(server: &Server, client: &Client, from: u32) -> Duration {
    let mut latencies: Vec<_> = (from..from + TOUCHES)
        .map(|number| {
            let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 240, 0, 0)) + number);
            for port in &PORTS[..2] {
                connect(source, client.address, *port);
            }
            let subject = format!("\"value\":\"{source}\"");
            let about = |line: &Output| matches!(line, Output::Out(it) if it.contains(&subject));
            let seen = server.process.count();
            let began = Instant::now();
            connect(source, client.address, PORTS[2]);
            server.process.wait_behind(seen, about);
            let took = began.elapsed();
            std::thread::park_timeout(Duration::from_millis(20));
            took
        })
        .collect();
    latencies.sort();
    latencies[latencies.len() / 2]
}

#[test]
fn a_client_is_heard_whatever_hostile_peers_do_all_at_once() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let tls = ["--cert", "cert.pem", "--key", "key.pem"];
    let server = sandbox.server(&[&tls[..], &["--alert-format", "json"]].concat());
    let client = sandbox.client(&server.address, &tls[..2]);
    client.connected();
    let before = latency(&server, &client, 0);
    let resident = server.process.resident();
    let assault = Assault::new(&server, &sandbox);
    let liar = assault.inside(Kind::Lies, 0).unwrap();
    let (during, newcomer) = std::thread::scope(|scope| {
        scope.spawn(|| assault.slow_handshakes());
        scope.spawn(|| assault.crowd());
        scope.spawn(|| assault.oversize_lengths());
        scope.spawn(|| assault.garbage());
        scope.spawn(|| assault.replayed_proofs());
        scope.spawn(|| assault.relayed_proofs());
        scope.spawn(|| assault.lies(liar));
        // They must end even if this panics.
        let _over = Ends(&assault.over);
        eventually(SOON, "the assault is under way", || {
            assault.done()[1..].iter().all(|done| *done > 0)
        });
        let during = latency(&server, &client, TOUCHES);
        let began = Instant::now();
        let newcomer = sandbox.client(&server.address, &tls[..2]);
        newcomer.connected();
        let newcomer = began.elapsed();
        eventually(SOON * 30, "all lies are told", || {
            assault.done()[Kind::Lies as usize] >= assault.lies.into()
        });
        (during, newcomer)
    });
    let grown = server.process.resident().saturating_sub(resident);
    let finished = server.process.stop();
    let lines = finished.stderr.lines();
    let lines = lines
        .filter(|line| !line.contains("connected, version"))
        .count();
    println!(
        "before {before:?}, during {during:?}; a newcomer was in after {newcomer:?}; grown by \
         {grown} KiB; {lines} lines; done {:?}",
        assault.done()
    );
    assert!(
        during <= (before * 3).max(FAST_ENOUGH),
        "{during:?}, and {before:?} before"
    );
    let bound = STRANGERS + SOURCE * u64::from(assault.lies.min(SOURCES));
    assert!(grown * 1024 < bound, "the server grew by {grown} KiB");
    assert!(lines < LINES, "strangers fill the log: {}", finished.stderr);
}
