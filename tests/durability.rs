use rustix::process::Signal;
use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::{Finished, Line, eventually};
use crate::harness::stored;
use crate::harness::wire::caller::{Caller, hit, report};
use crate::harness::wire::message::{Ack, ClientMessage, ServerMessage};
use crate::harness::{Client, PORTS, SOON, Sandbox, Server, has, lift};

#[test]
fn hits_outlive_a_killed_client() {
    let sandbox = Sandbox::new();
    // A server's address on which nobody listens yet.
    let address = sandbox.server(&[]).address;
    let client = sandbox.client(&address, &[]);
    let trap = client.address;
    for port in PORTS {
        connect(trap, trap, port);
    }
    // The heartbeat would say so; without a server the spool's file does.
    eventually(SOON, "five hits in the spool", || {
        spooled(&sandbox) == Some(5)
    });
    client.process.signal(Signal::KILL);
    client.process.finish();
    let server = sandbox.server_at(&address, &[]);
    let again = sandbox.client_again(&address, 0, &[]).process;
    again.wait_for_log(|line| line.contains("5 hits from before wait"));
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains(" 5 hits")));
    again.stop();
    assert!(server.process.stop().stderr.contains("stopped: 5 hits"));
}

/// All alerts of a finished server, as JSON.
fn alerts(finished: &Finished) -> Vec<Value> {
    finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_incident_stays_open_over_a_crash_of_the_server() {
    let sandbox = Sandbox::new();
    let json = ["--alert-format", "json"];
    let server = sandbox.server(&json);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    for port in &PORTS[..3] {
        connect(client.address, client.address, *port);
    }
    let opened = server.alert(|alert| alert["action"] == "open");
    // What was said and heard is on the disk once the client need not keep it.
    eventually(SOON, "an empty spool", || spooled(&sandbox) == Some(0));
    server.process.signal(Signal::KILL);
    server.process.finish();
    let server = sandbox.server_at(&address, &json);
    server
        .process
        .wait_for_log(|line| line.contains("restored 1 clients and 1 open incidents"));
    for port in &PORTS[3..] {
        connect(client.address, client.address, *port);
    }
    let updated = server.alert(|alert| alert["hits"] == 5);
    assert_eq!(updated["action"], "update");
    assert_eq!(updated["incident"], opened["incident"]);
    let again = alerts(&server.process.stop());
    assert!(
        again
            .iter()
            .all(|alert| alert["incident"] == opened["incident"]),
        "{again:?}"
    );
    assert!(
        again
            .iter()
            .filter(|alert| alert["action"] == "open")
            .count()
            <= 1,
        "{again:?}"
    );
}

/// Records in the first client's spool, if it can be read.
fn spooled(sandbox: &Sandbox) -> Option<i64> {
    let spool = sandbox.path("client-state-0/client/spool.db");
    let database = rusqlite::Connection::open(spool).ok()?;
    database
        .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
        .ok()
}

/// Hits in the store.
fn stored(sandbox: &Sandbox) -> i64 {
    stored::hits(&sandbox.path("server-state/server/store.db"))
}

/// A store with three hits of a scanner, which are an incident, and one of somebody else.
struct Archive {
    sandbox: Sandbox,
    server: Server,
    client: Client,
    scanner: String,
    other: String,
    incident: String,
}

impl Archive {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let server = sandbox.server(&["--alert-format", "json"]);
        let client = sandbox.client(&server.address, &[]);
        client.connected();
        let (scanner, other) = (sandbox.address(10), sandbox.address(11));
        for port in &PORTS[..3] {
            connect(scanner, client.address, *port);
        }
        let opened = server.alert(|alert| alert["action"] == "open");
        let incident = opened["incident"].as_str().unwrap().to_owned();
        connect(other, client.address, PORTS[4]);
        eventually(SOON, "four events", || stored(&sandbox) == 4);
        let (scanner, other) = (scanner.to_string(), other.to_string());
        Self {
            sandbox,
            server,
            client,
            scanner,
            other,
            incident,
        }
    }

    /// What a command says of it, while the server runs.
    fn ask(&self, arguments: &[&str]) -> String {
        ask(&self.sandbox, arguments)
    }
}

fn ask(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let finished = sandbox.run(&[arguments, &["--state-dir", "server-state"]].concat());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    finished.stdout
}

#[test]
fn incidents_are_listed_and_shown_with_their_evidence() {
    let archive = Archive::new();
    let list = archive.ask(&["alerts"]);
    assert!(list.contains(&archive.incident), "{list}");
    assert!(list.contains("3 hits on 1 client (host-0)"), "{list}");
    let shown = archive.ask(&["alerts", "show", &archive.incident]);
    assert!(
        shown.contains("to mute exactly this") && shown.contains("[[allow]]"),
        "{shown}"
    );
    let evidence = shown
        .lines()
        .filter(|line| line.contains(&archive.scanner) && line.contains('→'));
    assert_eq!(evidence.count(), 3, "{shown}");
    assert!(!shown.contains(&archive.other), "{shown}");
}

#[test]
fn events_are_selected_and_written_in_each_form() {
    let archive = Archive::new();
    let csv = archive.ask(&["events", "--format", "csv", "--source", &archive.scanner]);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "time,client,source,source_port,trap_port,probe,count,received,sequence,client_id"
    );
    assert_eq!(lines.len(), 4, "{csv}");
    assert!(
        lines[1].contains(&format!(",host-0,{},", archive.scanner)),
        "{csv}"
    );
    let port = PORTS[4].to_string();
    let json = archive.ask(&[
        "events", "--format", "json", "--port", &port, "--client", "host-0",
    ]);
    let event: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(
        (&event["source"], &event["count"]),
        (&archive.other.clone().into(), &1.into())
    );
    assert_eq!(archive.ask(&["events", "--until", "2020-01-01"]), "");
    assert_eq!(
        archive
            .ask(&["events", "--since", "1h", "--limit", "2"])
            .lines()
            .count(),
        2
    );
}

#[test]
fn the_fleet_is_listed_while_the_server_runs_and_after() {
    let archive = Archive::new();
    let clients = archive.ask(&["clients"]);
    assert!(
        clients.contains("host-0") && clients.contains("20022 20080"),
        "{clients}"
    );
    let Archive {
        sandbox,
        server,
        client,
        ..
    } = archive;
    client.process.stop();
    server.process.stop();
    let json = ask(&sandbox, &["clients", "--format", "json"]);
    let client: Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(
        (&client["stopped"], &client["missing"]),
        (&true.into(), &0.into())
    );
}

#[test]
fn what_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    let absent = sandbox.run(&["alerts", "--state-dir", "nowhere"]);
    assert_eq!(absent.code(), Some(1));
    let named = "there is no store at nowhere/server/store.db";
    assert!(absent.stderr.contains(named), "{}", absent.stderr);
    drop(sandbox.server(&[]));
    let unknown = sandbox.run(&["alerts", "show", "NOSUCHID", "--state-dir", "server-state"]);
    assert!(
        unknown.stderr.contains("there is no incident #NOSUCHID"),
        "{}",
        unknown.stderr
    );
}

const HITS: u32 = 4000;

/// Touches of one who comes later.
const LATE: u32 = 3;

/// Touches the trap from many sources, so that nothing merges.
fn touch(trap: std::net::Ipv4Addr, times: u32) {
    for number in 0..times {
        let source =
            std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(127, 200, 0, 1)) + number);
        connect(source, trap, PORTS[0]);
    }
}

#[test]
fn a_full_disk_of_the_server_stops_no_alert_and_loses_no_hit() {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let arguments = [
        "server",
        "--bind",
        "127.0.0.1:0",
        "--state-dir",
        "server-state",
    ];
    let server = sandbox.confined(160, &arguments);
    let address = server.listens_at();
    let client = sandbox.client(&address, &[]);
    client.connected();
    touch(client.address, HITS);
    server.wait_for_log(|line| line.contains("cannot write the store"));
    // Somebody comes while it is full, and is told of at once.
    let late = std::net::Ipv4Addr::new(127, 201, 0, 1);
    for _ in 0..LATE {
        connect(late, client.address, PORTS[1]);
    }
    let name = late.to_string();
    let told = |line: &Line| matches!(line, Line::Out(text) if text.contains(&name));
    server.wait_for(told);
    let degraded = |line: &Line| matches!(line, Line::Out(text) if text.contains("[degraded]"));
    server.wait_for(degraded);
    assert!(stored(&sandbox) < i64::from(HITS));
    lift(&server);
    server.wait_for_log(|line| line.contains("the store can be written again"));
    eventually(SOON, "all hits in the store", || {
        stored(&sandbox) == i64::from(HITS + LATE)
    });
    let client = client.process.stop();
    assert!(
        client
            .stderr
            .contains("4003 hits seen, 0 not delivered, 0 dropped"),
        "{}",
        client.stderr
    );
    assert_eq!(
        server
            .stop()
            .stderr
            .matches("cannot write the store")
            .count(),
        1
    );
}

#[test]
fn a_full_disk_of_the_client_loses_no_hit() {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    // Away, so that hits stay.
    drop(server);
    let (trap, port) = (sandbox.address(0), PORTS[0].to_string());
    let bind = trap.to_string();
    let arguments = [
        "client",
        "--server",
        &address,
        "--state-dir",
        "state",
        "--bind",
        &bind,
        "--ports",
        &port,
    ];
    let client = sandbox.confined(160, &arguments);
    client.wait_for_log(|line| line.contains("1 trap open"));
    touch(trap, HITS);
    client.wait_for_log(|line| line.contains("cannot write the spool"));
    lift(&client);
    client.wait_for_log(|line| line.contains("the spool can be written again"));
    let server = sandbox.server_at(&address, &[]);
    eventually(SOON * 2, "all hits in the store", || {
        stored(&sandbox) == i64::from(HITS)
    });
    let client = client.stop();
    assert!(
        client
            .stderr
            .contains("4000 hits seen, 0 not delivered, 0 dropped"),
        "{}",
        client.stderr
    );
    server.process.stop();
}

#[test]
fn an_incident_that_begins_anew_after_a_restart_keeps_its_id() {
    let sandbox = Sandbox::new();
    let quiet = "[incidents]\nquiet = \"1s\"\ncool-down = \"1ms\"\n";
    let config = sandbox.file("server.toml", quiet);
    let arguments = [
        "--alert-format",
        "json",
        "--config",
        config.to_str().unwrap(),
    ];
    let server = sandbox.server(&arguments);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    let storm = || {
        for port in &PORTS[..3] {
            connect(client.address, client.address, *port);
        }
    };
    storm();
    let closed = server.alert(|alert| alert["action"] == "close");
    server.process.stop();
    let server = sandbox.server_at(&address, &arguments);
    storm();
    let opened = server.alert(|alert| alert["action"] == "open");
    assert_eq!(opened["incident"], closed["incident"]);
    assert_eq!(opened["recurrence"], 1);
}

#[test]
fn what_a_full_spool_drops_is_told_to_the_last_hit_on_both_sides() {
    const FLOOD: u32 = 40_000;
    let sandbox = Sandbox::new();
    sandbox.file("client.toml", "spool-mib = 1\n");
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let client = sandbox.client(&address, &["--config", "client.toml"]);
    client.connected();
    // From here on the server knows where the client's numbers are.
    touch(client.address, 1);
    eventually(SOON, "the first hit", || stored(&sandbox) == 1);
    server.process.stop();
    touch(client.address, FLOOD);
    client
        .process
        .wait_for_log(|line| line.contains("hits were dropped: the spool is full"));
    let server = sandbox.server_at(&address, &[]);
    // The next heartbeat may be half a minute away, but there is one in the beginning.
    eventually(SOON * 2, "an empty spool", || spooled(&sandbox) == Some(0));
    let clients = ask(&sandbox, &["clients", "--format", "json"]);
    let listed: Value = serde_json::from_str(clients.trim()).unwrap();
    let lost = listed["missing"].as_u64().unwrap();
    assert!(lost > 0 && lost < u64::from(FLOOD), "{listed}");
    assert_eq!(listed["dropped"], lost, "{listed}");
    let kept = u64::try_from(stored(&sandbox)).unwrap();
    assert_eq!(kept + lost, u64::from(FLOOD) + 1);
    let client = client.process.stop().stderr;
    let told = format!(
        "stopped: {} hits seen, 0 not delivered, {lost} dropped",
        FLOOD + 1
    );
    assert!(client.contains(&told), "{client}");
    let server = server.process.stop().stderr;
    let gap = format!("hits 2–{} never arrived", lost + 1);
    assert!(server.contains(&gap), "{server}");
}

#[test]
fn an_incident_that_cannot_go_on_after_a_restart_is_closed_with_a_note() {
    let sandbox = Sandbox::new();
    let json = ["--alert-format", "json"];
    let server = sandbox.server(&json);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    for port in &PORTS[..3] {
        connect(client.address, client.address, *port);
    }
    let opened = server.alert(|alert| alert["action"] == "open");
    client.process.stop();
    server.process.stop();
    // As if they had expired.
    let store = sandbox.path("server-state/server/store.db");
    let database = rusqlite::Connection::open(store).unwrap();
    database.execute("DELETE FROM event", []).unwrap();
    let server = sandbox.server_at(&address, &json);
    let closed = server.alert(|alert| alert["action"] == "close");
    assert_eq!(closed["incident"], opened["incident"]);
    let note = "the server was started anew and could not go on with it";
    assert_eq!(closed["notes"][0], note);
    // An alert does not wait for the disk.
    eventually(SOON, "the end is in the store", || {
        ask(&sandbox, &["alerts"]).contains(" close ")
    });
    server.process.stop();
    let again = sandbox.server_at(&address, &json).process.stop();
    assert_eq!(again.stdout, "", "it is said once");
}

/// The place of each page of a database that holds rows of a table.
fn leaves(bytes: &[u8]) -> Vec<usize> {
    let pages = (4096..bytes.len()).step_by(4096);
    pages.filter(|place| bytes[*place] == 0x0d).collect()
}

#[test]
fn a_damaged_store_is_mended_at_the_start_and_the_server_says_what_is_lost() {
    const REPORTED: u64 = 2000;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&address);
    for first in (1..REPORTED).step_by(1000) {
        let hits = vec![hit("192.0.2.66", 22); 1000];
        assert_eq!(visit.report(report(first, hits)), first + 999);
    }
    server.process.signal(Signal::KILL);
    server.process.finish();
    let store = sandbox.path("server-state/server/store.db");
    let database = rusqlite::Connection::open(&store).unwrap();
    let rows = "SELECT max(number) FROM event";
    let rows: i64 = database.query_row(rows, [], |row| row.get(0)).unwrap();
    drop(database);
    let mut bytes = std::fs::read(&store).unwrap();
    // Somewhere among the hits.
    let place = leaves(&bytes)[leaves(&bytes).len() / 2];
    bytes[place..place + 4096].fill(0x5a);
    std::fs::write(&store, bytes).unwrap();
    let server = sandbox.server_at(&address, &[]);
    let said = server
        .process
        .wait_for_log(|line| line.contains("the store was damaged"));
    assert!(
        said.contains("WARN") && said.contains("1 clients are saved"),
        "{said}"
    );
    let saved = stored(&sandbox);
    let sum = format!("{saved} hits, ");
    let lost = format!("; {} hits and 0 alerts are lost", rows - saved);
    assert!(said.contains(&sum) && said.contains(&lost), "{said}");
    assert!((rows - 200..rows).contains(&saved), "{said}");
    // It knows how far the client had come: what is sent again counts once, and nothing is missed.
    let (mut visit, welcome) = caller.visit(&address);
    assert_eq!(welcome.acknowledged, Some(REPORTED));
    assert_eq!(
        visit.report(report(1999, vec![hit("192.0.2.66", 22); 3])),
        2001
    );
    assert_eq!(stored(&sandbox), saved + 1);
    let finished = server.process.stop();
    assert!(
        !finished.stderr.contains("never arrived"),
        "{}",
        finished.stderr
    );
    assert!(
        sandbox
            .path("server-state/server/store.db.damaged")
            .exists()
    );
}

#[test]
fn a_store_that_is_no_database_any_more_does_not_stop_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    server.process.stop();
    let store = sandbox.path("server-state/server/store.db");
    // Nothing of it is left in the log, either.
    let database = rusqlite::Connection::open(&store).unwrap();
    database.execute("VACUUM", []).unwrap();
    drop(database);
    std::fs::write(&store, "what once was a store".repeat(1000)).unwrap();
    let server = sandbox.server_at(&address, &[]);
    server
        .process
        .wait_for_log(|line| line.contains("the store was damaged") && line.contains(": 0 hits"));
    connect(client.address, client.address, PORTS[0]);
    eventually(SOON * 2, "the hit is in the store", || {
        stored(&sandbox) == 1
    });
    client.process.stop();
    assert_eq!(server.process.stop().code(), Some(0));
}

/// A server that starts on a disk without room, over a store with three hits of `caller`.
fn starts_on_a_full_disk(prepare: impl Fn(&rusqlite::Connection)) {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&address);
    let scan = |first| {
        report(
            first,
            [22, 80, 445].map(|port| hit("192.0.2.66", port)).to_vec(),
        )
    };
    assert_eq!(visit.report(scan(1)), 3);
    server.process.stop();
    prepare(&rusqlite::Connection::open(sandbox.path("server-state/server/store.db")).unwrap());
    let arguments = ["server", "--bind", &address, "--state-dir", "server-state"];
    // Not a byte more than there is.
    let server = sandbox.confined(0, &arguments);
    server.listens_at();
    let (mut visit, welcome) = caller.visit(&address);
    assert_eq!(welcome.acknowledged, Some(3), "what it has it knows");
    let mut answer = |first| {
        visit.line.send(&ClientMessage::Report(scan(first)));
        visit.line.receive::<ServerMessage>()
    };
    let taken_in = Ack {
        received: 6,
        durable: 3,
    };
    assert_eq!(answer(4), ServerMessage::Ack(taken_in));
    server.wait_for_log(|line| line.contains("cannot write the store"));
    server.wait_for(|line| matches!(line, Line::Out(alert) if alert.contains(" 6 hits")));
    lift(&server);
    server.wait_for_log(|line| line.contains("the store can be written again"));
    eventually(SOON, "the hits are on the disk", || {
        answer(4) == ServerMessage::Ack(Ack::durable(6))
    });
    let stderr = server.stop().stderr;
    assert_eq!(
        stderr.matches("cannot write the store").count(),
        1,
        "{stderr}"
    );
    assert_eq!(stored(&sandbox), 6);
}

#[test]
fn a_server_starts_on_a_full_disk_and_goes_on_when_there_is_room() {
    starts_on_a_full_disk(|_| ());
}

#[test]
fn a_server_starts_on_a_full_disk_without_the_files_beside_its_store() {
    starts_on_a_full_disk(|store| {
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        store.query_row(checkpoint, [], |_| Ok(())).unwrap();
    });
}

#[test]
fn where_no_store_can_be_made_the_server_says_so_and_ends() {
    if !has("prlimit") {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.server(&[]).process.stop();
    for file in ["store.db", "store.db-wal", "store.db-shm"] {
        drop(std::fs::remove_file(
            sandbox.path(&format!("server-state/server/{file}")),
        ));
    }
    let arguments = [
        "server",
        "--bind",
        "127.0.0.1:0",
        "--state-dir",
        "server-state",
    ];
    for _ in 0..2 {
        let finished = sandbox.confined(0, &arguments).finish();
        assert_eq!(finished.code(), Some(1), "{}", finished.stderr);
        let said = "cannot open the store: there is none, and none can be made at server-state";
        assert!(finished.stderr.contains(said), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("its disk is not full"),
            "{}",
            finished.stderr
        );
    }
    drop(sandbox.server(&[]));
}

#[test]
fn a_store_that_is_as_large_as_it_may_be_says_what_it_has_forgotten() {
    const REPORTED: u64 = 40_000;
    let sandbox = Sandbox::new();
    sandbox.file("server.toml", "keep-mib = 1\n");
    let server = sandbox.server(&["--config", "server.toml"]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    for first in (1..REPORTED).step_by(1000) {
        let hits = vec![hit("192.0.2.66", 22); 1000];
        assert_eq!(visit.report(report(first, hits)), first + 999);
    }
    server
        .process
        .wait_for_log(|line| line.contains("the store is as large as it may be (keep-mib): "));
    let stderr = server.process.stop().stderr;
    let left = stored(&sandbox);
    assert!((5000..15_000).contains(&left), "{left}");
    let forgotten = REPORTED - u64::try_from(left).unwrap();
    let summary = format!("; {forgotten} hits and 0 alerts forgotten (keep-mib)");
    assert!(stderr.contains(&summary), "{summary}: {stderr}");
    let lines = stderr.matches("as large as it may be").count();
    assert_eq!(lines, 1, "{stderr}");
    // The incident of which these hits were is there.
    assert!(ask(&sandbox, &["alerts"]).contains("192.0.2.66"));
}
