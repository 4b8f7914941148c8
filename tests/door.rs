use std::collections::VecDeque;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::peer::try_connect;
use crate::harness::process::{Line as Output, eventually};
use crate::harness::wire::caller::{Caller, now};
use crate::harness::wire::codec::{decode, encode};
use crate::harness::wire::line::{Line, framed, trust};
use crate::harness::wire::message::{ClientMessage, Heartbeat, ServerMessage};
use crate::harness::{Ends, SOON, Sandbox, Server, number};

/// Strangers who connect to a server all the time and hold on.
struct Strangers {
    server: SocketAddr,
    addresses: u32,
    /// Connections a second.
    rate: u32,
    /// How many they hold on to, at most: those of more than a handshake's time.
    held: usize,
    made: AtomicU64,
    over: AtomicBool,
}

impl Strangers {
    fn new(server: &str, addresses: u32, rate: u32) -> Self {
        Self {
            server: server.parse().unwrap(),
            addresses,
            rate,
            held: usize::try_from(number("VFT_STRANGERS_HELD", 5000)).unwrap(),
            made: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    fn crowd(&self) {
        const SLICE: Duration = Duration::from_millis(10);
        let (mut held, began) = (VecDeque::new(), Instant::now());
        while !self.over.load(Ordering::Relaxed) {
            let due = began.elapsed().as_micros() * u128::from(self.rate) / 1_000_000;
            while u128::from(self.made.load(Ordering::Relaxed)) < due {
                held.push_back(self.connect());
                if held.len() > self.held {
                    held.pop_front();
                }
            }
            std::thread::park_timeout(SLICE);
        }
    }

    /// One more connection, from their addresses in turn, which nobody waits for.
    fn connect(&self) -> Option<Socket> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let host = u32::try_from(number % u64::from(self.addresses)).unwrap();
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 200, 0, 1)) + host);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).ok()?;
        socket.bind(&SocketAddr::from((from, 0)).into()).ok()?;
        socket.set_nonblocking(true).ok()?;
        drop(socket.connect(&self.server.into()));
        Some(socket)
    }

    /// Waits until so many seconds' worth of connections were made.
    fn are_there(&self) {
        eventually(Duration::from_secs(60), "strangers are there", || {
            self.made.load(Ordering::Relaxed) > 2 * u64::from(self.rate)
        });
    }
}

/// How long it takes a host that the server has never seen, at an address that it has never seen,
/// to be welcomed. It comes again as a client does, with pauses that double.
fn newcomer(number: u8, server: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> Duration {
    let from = Ipv4Addr::new(127, 201, 0, number);
    let (began, mut pause) = (Instant::now(), Duration::from_millis(125));
    while attempt(number, try_connect(from, server), tls).is_none() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "it never gets in"
        );
        std::thread::park_timeout(pause);
        pause *= 2;
    }
    began.elapsed()
}

fn attempt(
    number: u8,
    socket: std::io::Result<TcpStream>,
    tls: Option<&Arc<ClientConfig>>,
) -> Option<Line> {
    let mut line = match tls {
        None => Line::over(socket.ok()?),
        Some(trust) => Line::try_tls(socket.ok()?, trust).ok()?,
    };
    let caller = Caller::new(number);
    let challenged = caller.try_greet(&mut line).ok()?;
    let proof = ClientMessage::Proof(caller.proof(&challenged));
    line.try_write(&framed(&encode(&proof))).ok()?;
    let answer = line.try_receive_bytes().ok()?;
    matches!(decode(&answer), Ok(ServerMessage::Welcome(_))).then_some(line)
}

/// What strangers do, and how long clients of both kinds then take to get in: hosts that were never
/// seen, each from an address of its own, and real processes.
fn besieged(
    addresses: u32,
    rate: u32,
    tls: &[&str],
    clients: u8,
) -> (Vec<Duration>, Vec<Duration>) {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = sandbox.server(tls);
    let trust = (!tls.is_empty()).then(|| trust(&sandbox.path("cert.pem")));
    let strangers = Strangers::new(&server.address, addresses, rate);
    std::thread::scope(|scope| {
        scope.spawn(|| strangers.crowd());
        // They must end even if this panics.
        let _over = Ends(&strangers.over);
        strangers.are_there();
        let callers =
            (1..=clients).map(|number| newcomer(number, strangers.server, trust.as_ref()));
        let callers: Vec<_> = callers.collect();
        let real = (0..clients).map(|_| {
            let began = Instant::now();
            let client = sandbox.client(&server.address, tls.get(..2).unwrap_or_default());
            client.connected();
            began.elapsed()
        });
        let real: Vec<_> = real.collect();
        println!(
            "{} strangers' connections in all",
            strangers.made.load(Ordering::Relaxed)
        );
        (callers, real)
    })
}

/// How long it takes 95 of 100, and the slowest.
fn slowest(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort();
    (
        took[(took.len() * 95).div_ceil(100) - 1],
        *took.last().unwrap(),
    )
}

#[test]
fn after_a_wrong_proof_nothing_is_read() {
    // More than any socket's buffers hold.
    const FLOOD: usize = 64 << 20;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.parse().unwrap();
    let guess = Caller {
        secret: Some("correct house".to_owned()),
        ..Caller::new(1)
    };
    let wrong = |socket: &TcpStream| {
        let mut line = Line::over(socket.try_clone().unwrap());
        let challenged = guess.greet(&mut line);
        line.send(&ClientMessage::Proof(guess.proof(&challenged)));
    };
    let connect = || try_connect(Ipv4Addr::LOCALHOST, address).unwrap();
    // Each failure makes the next one's wait twice as long: the fifth waits for 16 s.
    let before: Vec<_> = (0..4).map(|_| connect()).collect();
    before.iter().for_each(wrong);
    let mut flood = connect();
    wrong(&flood);
    let stalls = Duration::from_millis(500);
    flood.set_write_timeout(Some(stalls)).unwrap();
    let mut sent = 0;
    let stalled = loop {
        match flood.write(&[0; 8192]) {
            Ok(bytes) => sent += bytes,
            Err(error) => break error.kind(),
        }
        assert!(sent < FLOOD, "the server reads on");
    };
    assert_eq!(stalled, ErrorKind::WouldBlock, "after {sent} bytes");
    // Whoever knows the secret does not wait.
    Caller::new(1).visit(&server.address).0.leave();
}

#[test]
fn clients_get_in_within_seconds_however_many_connections_strangers_hold() {
    const TLS: [&str; 4] = ["--cert", "cert.pem", "--key", "key.pem"];
    let addresses = u32::try_from(number("VFT_STRANGERS", 200)).unwrap();
    let rate = u32::try_from(number("VFT_STRANGERS_RATE", 1000)).unwrap();
    let clients = u8::try_from(number("VFT_NEWCOMERS", 4)).unwrap();
    for tls in [&TLS[..], &[]] {
        let (callers, real) = besieged(addresses, rate, tls, clients);
        let (callers, real) = (slowest(callers), slowest(real));
        println!(
            "{addresses} addresses, {rate}/s, {tls:?}: 95 % within {:?} and {:?}, all within \
             {:?} and {:?}",
            callers.0, real.0, callers.1, real.1
        );
        let soon = Duration::from_secs(5);
        assert!(callers.0 < soon && real.0 < soon, "{callers:?} {real:?}");
    }
}

/// A rogue that knows the secret and sits on seats: one for each of its identities, from addresses
/// of its own.
struct Rogue {
    server: SocketAddr,
    sits: Vec<(u8, Line)>,
}

impl Rogue {
    /// Tries to take a seat for each of these identities, from this address.
    fn take(&mut self, numbers: impl IntoIterator<Item = u8>, host: u8) {
        let from = Ipv4Addr::new(127, 202, 0, host);
        for number in numbers {
            if self.sits.iter().all(|(sits, _)| *sits != number) {
                let line = attempt(number, try_connect(from, self.server), None);
                self.sits.extend(line.map(|line| (number, line)));
            }
        }
    }

    /// The same again and again until it has so many seats: those of who was there before are freed
    /// in their own time.
    fn take_all(&mut self, count: usize, mut take: impl FnMut(&mut Self)) {
        eventually(SOON, "all seats that it can have are taken", || {
            take(self);
            self.sits.len() == count
        });
    }
}

#[test]
fn a_client_gets_its_seat_back_whoever_sits_on_all_of_them() {
    let sandbox = Sandbox::new();
    let limits = "[limits]\nsessions = 8\nsessions-per-address = 6\n";
    sandbox.file("server.toml", limits);
    let server = sandbox.server(&["--config", "server.toml", "--alert-format", "json"]);
    let comes_and_is_killed = |number: Option<u8>| {
        let client = match number {
            None => sandbox.client(&server.address, &[]),
            Some(number) => sandbox.client_again(&server.address, number, &[]),
        };
        client.connected();
    };
    comes_and_is_killed(None);
    let mut rogue = Rogue {
        server: server.address.parse().unwrap(),
        sits: Vec::new(),
    };
    rogue.take([20], 1);
    rogue.sits.clear();
    // Of identities that are new, one address has its share, and all have seven in eight.
    rogue.take_all(6, |rogue| rogue.take(0..6, 1));
    rogue.take(6..12, 1);
    assert_eq!(rogue.sits.len(), 6);
    rogue.take_all(7, |rogue| rogue.take([30], 2));
    rogue.take(31..40, 2);
    assert_eq!(rogue.sits.len(), 7);
    comes_and_is_killed(Some(0));
    // What has been there is known. Now two addresses share all seats.
    rogue.sits.clear();
    rogue.take_all(8, |rogue| {
        rogue.take(0..4, 1);
        rogue.take([4, 5, 20, 30], 2);
    });
    comes_and_is_killed(Some(0));
    let alert = server.alert(|alert| alert["detector"] == "degraded");
    let notes = alert["notes"].to_string();
    // Of those that are turned away one may have left by the time that they are counted.
    for why in [
        "clients that are known are turned away, because ",
        " of 8 sessions are taken",
    ] {
        assert!(notes.contains(why), "{alert}");
    }
    assert!(notes.contains("of them from 127.202.0."), "{alert}");
}

/// Lines of the log so far that have this in them.
fn lines(server: &Server, text: &str) -> usize {
    let about = |line: &Output| matches!(line, Output::Err(line) if line.contains(text));
    server.process.lines(about).len()
}

#[test]
fn an_identity_that_comes_again_and_again_fills_no_log_and_silences_nobody() {
    const VISITS: usize = 400;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let visit = |number: u8, from: Ipv4Addr| {
        let caller = Caller::new(number);
        let (mut visit, _) = caller.enter(Line::plain_from(from, &server.address));
        visit.heartbeat(Heartbeat {
            clock: now() - 4 * 86_400_000_000,
            traps_wanted: 5,
            ..Heartbeat::default()
        });
    };
    let began = Instant::now();
    for _ in 0..VISITS {
        visit(1, Ipv4Addr::new(127, 203, 0, 1));
    }
    // Of each kind 30 at once, and one a second.
    let most = 31 + usize::try_from(began.elapsed().as_secs()).unwrap();
    visit(2, Ipv4Addr::new(127, 203, 0, 2));
    for line in ["connected, version", "its clock is", "of 5 traps are open"] {
        server
            .process
            .wait_for_log(|it| it.contains("by-hand-2") && it.contains(line));
        let about_one = lines(&server, "by-hand-1") - lines(&server, "is refused");
        assert!(
            about_one <= 3 * most,
            "{about_one} lines, {most} of each kind"
        );
        assert!(lines(&server, line) <= most + 1, "{line}");
    }
    let left_out = "lines like this were left out before";
    assert!(most >= VISITS || lines(&server, left_out) >= 3);
}
