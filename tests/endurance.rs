use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::{Finished, eventually};
use crate::harness::{PORTS, SECRET, Sandbox};

/// Hits that a server took in, from what it says when it stops.
fn hits_of(finished: &Finished) -> u64 {
    let line = finished
        .stderr
        .lines()
        .find(|line| line.contains("stopped: "))
        .unwrap();
    line.split_once("stopped: ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// The hits of the last alert of the first incident.
fn hits_told(finished: &Finished) -> u64 {
    let alerts: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let incident = &alerts[0]["incident"];
    let last = alerts
        .iter()
        .rfind(|alert| alert["incident"] == *incident)
        .unwrap();
    last["hits"].as_u64().unwrap()
}

#[test]
fn a_storm_on_one_trap_is_counted_to_the_last_connection() {
    const CONNECTIONS: u32 = 20_000;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let trap = SocketAddr::from((client.address, PORTS[0]));
    let resident = client.process.resident();
    for _ in 0..CONNECTIONS {
        drop(TcpStream::connect(trap).unwrap());
    }
    let grown = client.process.resident().saturating_sub(resident);
    assert!(grown < 8 * 1024, "the client grew by {grown} KiB");
    let client = client.process.stop();
    assert!(
        client
            .stderr
            .contains("20000 hits seen, 0 not delivered, 0 dropped"),
        "{}",
        client.stderr
    );
    let server = server.process.stop();
    assert_eq!(hits_of(&server), u64::from(CONNECTIONS));
    assert_eq!(hits_told(&server), u64::from(CONNECTIONS));
}

#[test]
fn hits_survive_ten_server_restarts_under_load() {
    let sandbox = Sandbox::new();
    // A port that stays the server's over restarts.
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    let (made, over) = (AtomicU32::new(0), AtomicBool::new(false));
    let mut taken_in = 0;
    let server = std::thread::scope(|scope| {
        let mut server = server;
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                connect(client.address, client.address, PORTS[1]);
                made.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(1));
            }
        });
        for _ in 0..10 {
            let before = made.load(Ordering::Relaxed);
            eventually(Duration::from_secs(20), "load goes on", || {
                made.load(Ordering::Relaxed) >= before + 50
            });
            taken_in += hits_of(&server.process.stop());
            server = sandbox.server_at(&address, &[]);
            server
                .process
                .wait_for_log(|line| line.contains("connected, version"));
        }
        over.store(true, Ordering::Relaxed);
        server
    });
    let client = client.process.stop();
    assert!(
        client.stderr.contains("0 not delivered, 0 dropped"),
        "{}",
        client.stderr
    );
    taken_in += hits_of(&server.process.stop());
    assert_eq!(taken_in, u64::from(made.into_inner()));
}

#[test]
fn strangers_at_the_servers_door_do_not_disturb_sessions() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let door: SocketAddr = server.address.parse().unwrap();
    let resident = server.process.resident();
    // From several addresses, so that the bound on all is met and not only the one on each.
    let stranger = |n: u16| {
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(n % 200).unwrap());
        connect(from, door.ip(), door.port())
    };
    let silent: Vec<_> = (0..500).map(stranger).collect();
    let noisy: Vec<_> = (0..500)
        .map(|n| {
            let mut socket = stranger(n);
            // The server may have closed it already.
            drop(socket.write_all(&[u8::try_from(n % 256).unwrap(); 2048]));
            socket
        })
        .collect();
    let touched = Instant::now();
    for port in &PORTS[..3] {
        connect(client.address, client.address, *port);
    }
    server.alert(|alert| alert["action"] == "open");
    assert!(
        touched.elapsed() < Duration::from_secs(5),
        "{:?}",
        touched.elapsed()
    );
    let grown = server.process.resident().saturating_sub(resident);
    assert!(grown < 64 * 1024, "the server grew by {grown} KiB");
    drop((silent, noisy));
    // A client that comes now gets in.
    sandbox.client(&server.address, &[]).connected();
    let finished = server.process.stop();
    assert!(
        finished.stderr.lines().count() < 20,
        "strangers fill the log: {}",
        finished.stderr
    );
}

#[test]
fn both_ends_stop_within_a_second_and_say_what_is_pending() {
    for signal in [Signal::TERM, Signal::INT] {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--alert-format", "json"]);
        let client = sandbox.client(&server.address, &[]);
        client.connected();
        for port in PORTS {
            connect(client.address, client.address, port);
        }
        // A stop takes a second at most by itself; the rest is for a busy machine.
        let began = Instant::now();
        client.process.signal(signal);
        let client = client.process.finish();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "the client took {:?}",
            began.elapsed()
        );
        assert_eq!(client.code(), Some(0), "{}", client.stderr);
        let began = Instant::now();
        server.process.signal(signal);
        let server = server.process.finish();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "the server took {:?}",
            began.elapsed()
        );
        assert_eq!(server.code(), Some(0), "{}", server.stderr);
        assert_eq!(hits_told(&server), 5);
    }
}

#[test]
fn a_client_whose_server_is_away_stops_all_the_same() {
    let sandbox = Sandbox::new();
    let client = sandbox.client("127.0.0.1:1", &[]);
    connect(client.address, client.address, PORTS[0]);
    let began = Instant::now();
    let finished = client.process.stop();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(
        finished.stderr.contains("1 hits seen, 1 not delivered"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_client_that_is_killed_is_reported_silent_and_one_that_stops_as_well() {
    let sandbox = Sandbox::new();
    sandbox.file("server.toml", "[limits]\nheartbeat = \"200ms\"\n");
    let server = sandbox.server(&["--config", "server.toml", "--alert-format", "json"]);
    let killed = sandbox.client(&server.address, &[]);
    let stopped = sandbox.client(&server.address, &[]);
    killed.connected();
    stopped.connected();
    drop(killed);
    stopped.process.stop();
    let silent = |name: &str, severity: &str| {
        server.alert(|alert| {
            alert["detector"] == "silent-client"
                && alert["subject"]["name"] == name
                && alert["severity"] == severity
        })
    };
    silent("host-0", "medium");
    silent("host-1", "informational");
    let bind = sandbox.address(0).to_string();
    let arguments = [
        "client",
        "--server",
        &server.address,
        "--name",
        "host-0",
        "--state-dir",
        "client-state-0",
        "--bind",
        &bind,
        "--ports",
        "20022",
    ];
    let _back = sandbox.start(&arguments, &[("VFT_SECRET", SECRET)]);
    server.alert(|alert| alert["action"] == "close" && alert["subject"]["name"] == "host-0");
}

#[test]
fn traps_rotate() {
    let sandbox = Sandbox::new();
    let address = sandbox.address(0).to_string();
    let candidates: String = (20_100..20_140)
        .map(|port| format!("[[candidates]]\nport = {port}\nweight = 1\n"))
        .collect();
    sandbox.file("client.toml", &candidates);
    let client = sandbox.start(
        &[
            "client",
            "--config",
            "client.toml",
            "--bind",
            &address,
            "--rotate",
            "1s",
            "--state-dir",
            "s",
        ],
        &[],
    );
    let opened = |line: &str| line.split_once("open: ").map(|(_, ports)| ports.to_owned());
    let first = opened(&client.wait_for_log(|line| line.contains("ready:"))).unwrap();
    let second = client.wait_for_log(|line| opened(line).is_some_and(|ports| ports != first));
    let port: u16 = opened(&second)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!((20_100..20_140).contains(&port));
    assert_eq!(client.stop().code(), Some(0));
}
