use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::{Process, eventually};
use crate::harness::stored::{self, Stored};
use crate::harness::{PORTS, SOON, Sandbox, has, lift, squeeze};

/// KiB that are as good as no limit.
const PLENTY: u32 = 1 << 20;

/// A client on the sandbox's own address whose disk can be made full.
struct Client<'a> {
    sandbox: &'a Sandbox,
    server: String,
    trap: Ipv4Addr,
    /// Touches so far, each from another address.
    touched: u32,
    process: Process,
}

impl<'a> Client<'a> {
    fn new(sandbox: &'a Sandbox, server: &str, kib: u32) -> Self {
        Self {
            sandbox,
            server: server.to_owned(),
            trap: sandbox.address(0),
            touched: 0,
            process: start(sandbox, server, kib),
        }
    }

    /// Touches its first trap so many times, each from another address.
    fn touch(&mut self, times: u32) {
        for _ in 0..times {
            let source = u32::from(Ipv4Addr::new(127, 210, 0, 1)) + self.touched;
            connect(source.into(), self.trap, PORTS[0]);
            self.touched += 1;
        }
    }

    /// Waits until all touches so far are in the store.
    fn await_all(&self) {
        let store = self.sandbox.path("server-state/server/store.db");
        eventually(SOON * 2, "all hits in the store", || {
            stored::hits(&store) == i64::from(self.touched)
        });
    }

    /// Is killed, and starts again with all the room there is.
    fn killed(mut self) -> Self {
        self.process.kill();
        self.process = start(self.sandbox, &self.server, PLENTY);
        self
    }

    fn connected(&self) -> &Self {
        self.process
            .wait_for_log(|line| line.contains("connected to"));
        self
    }
}

fn start(sandbox: &Sandbox, server: &str, kib: u32) -> Process {
    let (bind, ports) = (
        sandbox.address(0).to_string(),
        PORTS.map(|it| it.to_string()),
    );
    let arguments = [
        "client",
        "--server",
        server,
        "--name",
        "web-3",
        "--state-dir",
        "client-state",
        "--bind",
        &bind,
        "--ports",
        &ports.join(","),
    ];
    let process = sandbox.confined(kib, &arguments);
    process.wait_for_log(|line| line.contains("5 traps open"));
    process
}

/// Each hit that is in the store is there once, and the server misses none.
fn assert_exact(sandbox: &Sandbox, hits: u32) {
    let stored = Stored::read(&sandbox.path("server-state/server/store.db"));
    let sources: BTreeSet<_> = stored.events.iter().map(|event| event.source).collect();
    let numbers: BTreeSet<_> = stored.events.iter().map(|event| event.sequence).collect();
    assert_eq!(sources.len(), usize::try_from(hits).unwrap());
    assert_eq!(
        (stored.events.len(), numbers.len()),
        (sources.len(), sources.len())
    );
    let arguments = ["clients", "--format", "json", "--state-dir", "server-state"];
    let listed: Value = serde_json::from_str(sandbox.run(&arguments).stdout.trim()).unwrap();
    assert_eq!(
        (&listed["missing"], &listed["dropped"]),
        (&0.into(), &0.into())
    );
}

#[test]
fn a_client_whose_disk_is_full_alerts_at_once_and_is_itself_reported_until_there_is_room() {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let client = Client::new(&sandbox, &server.address, PLENTY);
    client.connected();
    squeeze(&client.process);
    let scanner = sandbox.address(9);
    for port in &PORTS[..3] {
        connect(scanner, client.trap, *port);
    }
    let about = |alert: &Value, kind: &str, value: &str| {
        alert["subject"]["kind"] == kind && alert["subject"][value] != Value::Null
    };
    let found = server.alert(|alert| about(alert, "source", "value"));
    assert_eq!(found["subject"]["value"], scanner.to_string());
    let ailing = server.alert(|alert| alert["detector"] == "degraded");
    assert_eq!(ailing["severity"], "medium");
    assert_eq!(ailing["subject"]["name"], "web-3");
    let store = sandbox.path("server-state/server/store.db");
    eventually(SOON, "three hits", || stored::hits(&store) == 3);
    lift(&client.process);
    client
        .process
        .wait_for_log(|line| line.contains("the spool can be written again"));
    let closed = server.alert(|alert| alert["action"] == "close");
    assert_eq!(closed["incident"], ailing["incident"]);
    let log = client.process.stop().stderr;
    for line in ["cannot write the spool", "the spool can be written again"] {
        assert_eq!(log.matches(line).count(), 1, "{log}");
    }
    assert!(
        log.contains("3 hits seen, 0 not delivered, 0 dropped"),
        "{log}"
    );
}

/// What becomes of a client whose disk was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It is killed while the disk is full.
    Killed,
    /// It is killed after there was room again.
    LiftedAndKilled,
}

fn counts_each_hit_once(then: Then) {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let mut client = Client::new(&sandbox, &address, PLENTY);
    client.connected();
    client.touch(20);
    client.await_all();
    squeeze(&client.process);
    client.touch(30);
    client.await_all();
    client
        .process
        .wait_for_log(|line| line.contains("cannot write the spool"));
    if then == Then::LiftedAndKilled {
        lift(&client.process);
        client
            .process
            .wait_for_log(|line| line.contains("the spool can be written again"));
        client.touch(5);
        client.await_all();
    }
    // Nobody is there when it starts again, and it is killed once more.
    server.process.stop();
    let mut client = client.killed();
    client.touch(7);
    let spool = sandbox.path("client-state/client/spool.db");
    let count = || {
        let spool = rusqlite::Connection::open(&spool).ok()?;
        let count = "SELECT count(*) FROM record WHERE number > 0";
        spool.query_row(count, [], |row| row.get::<_, i64>(0)).ok()
    };
    eventually(SOON, "seven hits in the spool", || count() == Some(7));
    let mut client = client.killed();
    let server = sandbox.server_at(&address, &[]);
    client.connected();
    client.touch(3);
    client.await_all();
    assert_exact(&sandbox, client.touched);
    let log = client.process.stop().stderr;
    assert!(log.contains("0 not delivered, 0 dropped"), "{log}");
    assert!(!server.process.stop().stderr.contains("never arrived"));
}

#[test]
fn what_was_reported_from_memory_counts_once_after_a_kill_on_a_full_disk() {
    counts_each_hit_once(Then::Killed);
}

#[test]
fn what_was_reported_from_memory_counts_once_after_a_kill_once_there_was_room() {
    counts_each_hit_once(Then::LiftedAndKilled);
}

#[test]
fn on_a_small_disk_everything_flows_again_once_the_server_is_back() {
    const HITS: u32 = 4000;
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    server.process.stop();
    let mut client = Client::new(&sandbox, &address, 160);
    client.touch(HITS);
    client
        .process
        .wait_for_log(|line| line.contains("cannot write the spool"));
    let server = sandbox.server_at(&address, &[]);
    client.await_all();
    // It goes on, and so it does after a kill.
    client.touch(10);
    client.await_all();
    client
        .process
        .wait_for_log(|line| line.contains("the spool can be written again"));
    client.process.signal(Signal::KILL);
    client.process = start(&sandbox, &address, 160);
    client.touch(10);
    client.await_all();
    assert_exact(&sandbox, HITS + 20);
    let log = client.process.stop().stderr;
    assert!(
        log.contains("10 hits seen, 0 not delivered, 0 dropped"),
        "{log}"
    );
    server.process.stop();
}

#[test]
fn a_stop_says_what_is_lost_with_the_memory_of_a_client_on_a_full_disk() {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let mut client = Client::new(&sandbox, &address, PLENTY);
    client.connected();
    client.touch(4);
    client.await_all();
    server.process.stop();
    client.touch(6);
    squeeze(&client.process);
    client.touch(50);
    client
        .process
        .wait_for_log(|line| line.contains("cannot write the spool"));
    let log = client.process.stop().stderr;
    assert!(
        log.contains("60 hits seen, 56 not delivered, 0 dropped"),
        "{log}"
    );
    let lost = log
        .lines()
        .find(|line| line.contains("are lost: the spool cannot be written"))
        .unwrap();
    let lost = lost.split(" hits that").next().unwrap();
    let lost: i64 = lost.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((50..=56).contains(&lost), "{lost}");
    // Those that are lost are missed.
    let server = sandbox.server_at(&address, &[]);
    let client = start(&sandbox, &address, PLENTY);
    connect(sandbox.address(8), sandbox.address(0), PORTS[0]);
    let store = sandbox.path("server-state/server/store.db");
    eventually(SOON, "all that is left", || {
        stored::hits(&store) == 61 - lost
    });
    let arguments = ["clients", "--format", "json", "--state-dir", "server-state"];
    let listed: Value = serde_json::from_str(sandbox.run(&arguments).stdout.trim()).unwrap();
    assert_eq!(listed["missing"], lost);
    client.stop();
    server.process.stop();
}
