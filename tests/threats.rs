use std::collections::BTreeSet;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;

use crate::harness::process::{Line as OutputLine, eventually};
use crate::harness::wire::caller::{Caller, hit, now, report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{
    Ack, Challenge, ClientMessage, Heartbeat, Reason, Refused, Report, ServerMessage,
};
use crate::harness::{PORTS, SECRET, SOON, Sandbox};

#[test]
fn a_trap_says_nothing_and_closes() {
    let sandbox = Sandbox::new();
    let client = sandbox.client("127.0.0.1:1", &[]);
    for port in PORTS {
        Line::plain(&format!("{}:{port}", client.address)).assert_ends();
    }
}

#[test]
fn nothing_older_than_tls_1_3_is_spoken() {
    const PROTOCOL_VERSION: u8 = 70;
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = sandbox.server(&["--cert", "cert.pem", "--key", "key.pem"]);
    let mut line = Line::plain(&server.address);
    line.write(&hello_of_tls_1_2());
    // A fatal alert, in a record of its own.
    assert_eq!(line.read(), [21, 3, 3, 0, 2, 2, PROTOCOL_VERSION]);
    line.assert_ends();
}

/// A `ClientHello` that would do for TLS 1.2: one suite, one curve, one scheme of signatures.
fn hello_of_tls_1_2() -> Vec<u8> {
    let suites = [0, 2, 0xc0, 0x2b];
    let compressions = [1, 0];
    let curves = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 4, 0, 2, 4, 3];
    let extensions = [curves, signatures].concat();
    let version = [3, 3];
    let body = [
        &version[..],
        &[7; 32],
        &[0],
        &suites,
        &compressions,
        &length(&extensions),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0], &length(&body)[..], &body].concat();
    [&[22, 3, 1], &length(&handshake)[..], &handshake].concat()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

#[test]
fn a_client_that_trusts_a_certificate_never_goes_on_in_plain() {
    const TLS_HANDSHAKE: [u8; 1] = [22];
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let _client = sandbox.client(&address, &["--cert", "cert.pem"]);
    for answer in [
        ServerMessage::Challenge(Challenge {
            server_id: [1; 16],
            nonce: [2; 32],
            secret_required: true,
        }),
        ServerMessage::Refused(Refused {
            reason: Reason::Protocol,
            text: "speak plain".to_owned(),
            retry_after_millis: 0,
        }),
    ] {
        let mut line = Line::accept(&listener);
        assert_eq!(line.read(), TLS_HANDSHAKE);
        line.send(&answer);
    }
    // And the next attempt is no other.
    assert_eq!(Line::accept(&listener).read(), TLS_HANDSHAKE);
}

#[test]
fn what_is_on_disk_is_for_its_owner_alone() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let mode = |name: &str| {
        let permissions = sandbox.path(name).metadata().unwrap().permissions();
        permissions.mode() & 0o777
    };
    for folder in [
        "server-state",
        "server-state/server",
        "client-state-0",
        "client-state-0/client",
    ] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
    for file in [
        "server-state/server/id",
        "server-state/server/hashing",
        "server-state/server/store.db",
        "server-state/server/store.db-wal",
        "server-state/server/store.db-shm",
        "client-state-0/client/identity",
        "client-state-0/client/spool.db",
        "client-state-0/client/spool.db-wal",
        "client-state-0/client/spool.db-shm",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    server.process.stop();
    let folder = sandbox.path("server-state/server");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    // As databases were made once.
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        std::fs::set_permissions(folder.join(file), Permissions::from_mode(0o644)).unwrap();
    }
    let server = sandbox.server(&[]);
    assert_eq!(mode("server-state/server"), 0o700);
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(
            mode(&format!("server-state/server/{file}")),
            0o600,
            "{file}"
        );
    }
    let log = server.process.stop().stderr;
    assert!(log.contains("was open to others (mode 755)"), "{log}");
}

#[test]
fn the_secret_shows_in_no_settings_that_are_printed() {
    let sandbox = Sandbox::new();
    sandbox.file("vft.toml", &format!("secret = \"{SECRET}\"\n"));
    for role in ["server", "client"] {
        let finished = sandbox.run(&["check", "--config", "vft.toml", "--role", role]);
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        let said = finished.stdout + &finished.stderr;
        assert!(said.contains("is sound"), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

#[test]
fn whoever_takes_a_name_is_not_whose_name_it_is() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let namesakes = [1, 2].map(|number| Caller {
        name: "web-7".to_owned(),
        ..Caller::new(number)
    });
    for caller in &namesakes {
        let (mut visit, _) = caller.visit(&server.address);
        assert_eq!(visit.report(report(1, vec![hit("192.0.2.66", 22)])), 1);
        visit.leave();
    }
    let arguments = ["--format", "json", "--state-dir", "server-state"];
    let finished = sandbox.run(&[&["clients"], &arguments[..]].concat());
    let listed: BTreeSet<_> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|client| client["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, namesakes.iter().map(Caller::id).collect());
}

/// The store is locked here as if its disk took nothing.
#[test]
fn while_the_store_takes_nothing_alerts_come_and_hits_stay_with_the_client() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    let store = Connection::open(sandbox.path("server-state/server/store.db")).unwrap();
    store.busy_timeout(SOON).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let hits = [22, 80, 445].map(|port| hit("192.0.2.66", port));
    let scan = ClientMessage::Report(report(1, hits.to_vec()));
    let mut answer = || {
        visit.line.send(&scan);
        visit.line.receive::<ServerMessage>()
    };
    let taken_in = Ack {
        received: 3,
        durable: 0,
    };
    assert_eq!(answer(), ServerMessage::Ack(taken_in));
    server.alert(|alert| alert["subject"]["value"] == "192.0.2.66");
    store.execute_batch("ROLLBACK").unwrap();
    eventually(SOON, "the hits are on the disk", || {
        answer() == ServerMessage::Ack(Ack::durable(3))
    });
    let stderr = server.process.stop().stderr;
    assert!(stderr.contains("stopped: 3 hits in"), "{stderr}");
}

/// The store is locked here as if its disk took nothing.
#[test]
fn while_the_store_takes_nothing_one_address_does_not_fill_its_queue_alone() {
    const GREEDY: u8 = 40;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let store = Connection::open(sandbox.path("server-state/server/store.db")).unwrap();
    store.busy_timeout(SOON).unwrap();
    store.execute_batch("BEGIN IMMEDIATE").unwrap();
    let full = |first| report(first, vec![hit("192.0.2.99", 22); 1024]);
    let fill = |number| {
        let line = Line::plain_from(sandbox.address(1), &server.address);
        let (mut visit, _) = Caller::new(number).enter(line);
        let mut first = 1;
        loop {
            visit.line.send(&ClientMessage::Report(full(first)));
            first += 1024;
            match visit.line.receive() {
                ServerMessage::Ack(ack) => assert_eq!(ack.durable, 0),
                ServerMessage::Refused(refused) => break refused.reason,
                other => panic!("{other:?}"),
            }
        }
    };
    std::thread::scope(|threads| {
        for number in 0..GREEDY {
            let fill = &fill;
            threads.spawn(move || assert_eq!(fill(number), Reason::StoreFull));
        }
    });
    let line = Line::plain_from(sandbox.address(2), &server.address);
    let (mut visit, _) = Caller::new(GREEDY).enter(line);
    let scan = [22, 80, 445].map(|port| hit("192.0.2.66", port));
    assert_eq!(visit.take_in(report(1, scan.to_vec())).received, 3);
    server.alert(|alert| alert["subject"]["value"] == "192.0.2.66");
}

/// A day in microseconds.
const DAY: u64 = 86_400_000_000;

/// What `vft clients` knows of the only client.
fn the_client(sandbox: &Sandbox) -> Value {
    let arguments = ["clients", "--format", "json", "--state-dir", "server-state"];
    serde_json::from_str(sandbox.run(&arguments).stdout.trim()).unwrap()
}

#[test]
fn hits_of_the_day_after_tomorrow_are_refused_and_counted_and_not_asked_for_again() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&server.address);
    let ahead = |by| i64::try_from(by).unwrap();
    let mut hits = vec![hit("192.0.2.66", 22); 4];
    hits[0].offset = ahead(2 * DAY);
    hits[1].offset = ahead(DAY / 2);
    hits[3].offset = ahead(2 * DAY);
    hits[3].count = 5;
    assert_eq!(visit.report(report(1, hits)), 4);
    let said = server
        .process
        .wait_for_log(|line| line.contains("more than a day ahead"));
    assert!(
        said.contains("client by-hand-1: 6 hits are refused"),
        "{said}"
    );
    let client = the_client(&sandbox);
    assert_eq!(
        (&client["refused"], &client["missing"]),
        (&6.into(), &0.into())
    );
    assert_eq!(client["progress"], 4);
    let arguments = ["events", "--format", "json", "--state-dir", "server-state"];
    let events = sandbox.run(&arguments).stdout;
    let numbers: Vec<_> = events
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| event["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 3]);
    drop(visit);
    let (_, welcome) = caller.visit(&server.address);
    assert_eq!(welcome.acknowledged, Some(4));
    let stderr = server.process.stop().stderr;
    assert!(
        stderr.contains("0 duplicates dropped, 6 refused"),
        "{stderr}"
    );
}

#[test]
fn a_client_whose_clock_is_days_off_is_flagged_and_its_hits_have_the_servers_time() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    let before = now();
    visit.heartbeat(Heartbeat {
        clock: before + 3 * DAY,
        ..Heartbeat::default()
    });
    let said = server
        .process
        .wait_for_log(|line| line.contains("its clock is -259"));
    assert!(said.contains("WARN"), "{said}");
    let theirs = Report {
        base: before + 3 * DAY,
        ..report(1, vec![hit("192.0.2.66", 22)])
    };
    assert_eq!(visit.report(theirs), 1);
    let client = the_client(&sandbox);
    assert_eq!(client["refused"], 0);
    let offset = client["clock_offset_seconds"].as_i64().unwrap();
    assert!((-259_200..-259_000).contains(&offset), "{offset}");
    let store = Connection::open(sandbox.path("server-state/server/store.db")).unwrap();
    let at: i64 = store
        .query_row("SELECT at FROM event", [], |row| row.get(0))
        .unwrap();
    let at = u64::try_from(at).unwrap();
    assert!((before..=now()).contains(&at), "{at} {before}");
}

#[test]
fn a_client_that_reports_faster_than_it_may_waits_and_nobody_else_does() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "server.toml",
        "[limits]\nclient-rate = 1000\nclient-burst = 1024\n",
    );
    let server = sandbox.server(&["--config", "server.toml"]);
    let (hasty, patient) = (Caller::new(1), Caller::new(2));
    let (mut fast, _) = hasty.visit(&server.address);
    let (mut slow, _) = patient.visit(&server.address);
    let full = |first| report(first, vec![hit("192.0.2.66", 22); 1024]);
    let began = Instant::now();
    // A burst, and as much again, which is answered and then waited for.
    assert_eq!(fast.report(full(1)), 1024);
    assert_eq!(fast.report(full(1025)), 2048);
    fast.line.send(&ClientMessage::Report(full(2049)));
    // Meanwhile.
    assert_eq!(slow.report(report(1, vec![hit("192.0.2.77", 22)])), 1);
    server.process.wait_for_log(|line| {
        line.contains("client by-hand-1 reports more than limits.client-rate")
    });
    // To connect anew does not help.
    drop(fast);
    let (mut fast, welcome) = hasty.visit(&server.address);
    let first = welcome.acknowledged.unwrap() + 1;
    assert_eq!(fast.report(full(first)), first + 1023);
    assert!(began.elapsed() >= Duration::from_secs(1), "it was earned");
    let earlier = |line: &OutputLine| matches!(line, OutputLine::Err(text) if text.contains("by-hand-2 reports"));
    assert!(server.process.lines(earlier).is_empty());
    let last = if first == 2049 { 3072 } else { 4096 };
    assert_eq!(
        fast.report(report(last + 1, vec![hit("192.0.2.66", 22)])),
        last + 1
    );
    let summary = format!("stopped: {} hits in ", last + 2);
    let stderr = server.process.stop().stderr;
    assert!(stderr.contains(&summary), "{stderr}");
}
