use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::process::{Finished, Line as Output, eventually};
use crate::harness::wire::caller::{Caller, Visit, hit, now, report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{
    ClientMessage, Heartbeat, Reason, Refused, ServerMessage, Welcome,
};
use crate::harness::{Client, SOON, Sandbox, Server};

/// Who makes identities: a number, and what it is called.
fn caller(number: u32, name: &str) -> Caller {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    Caller::of(seed, name)
}

/// A client that comes from an address of choice: it is welcome, or told why not.
fn come(caller: &Caller, from: Ipv4Addr, server: &Server) -> Result<(Visit, Welcome), Refused> {
    let mut line = Line::plain_from(from, &server.address);
    let challenged = caller.greet(&mut line);
    line.send(&ClientMessage::Proof(caller.proof(&challenged)));
    match line.receive() {
        ServerMessage::Welcome(welcome) => Ok((Visit { line }, welcome)),
        ServerMessage::Refused(refused) => Err(refused),
        other => panic!("neither welcome nor refused: {other:?}"),
    }
}

/// What a command says of the server's store.
fn vft(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    sandbox.run(&[arguments, &["--state-dir", "server-state"]].concat())
}

/// What a command says in JSON, an object a line.
fn objects(sandbox: &Sandbox, arguments: &[&str]) -> Vec<Value> {
    let finished = vft(sandbox, &[arguments, &["--format", "json"]].concat());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let lines = finished.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Comes under ever new identities, each with as large a row as there can be; returns how many got in,
/// and what the last one that did not was told.
fn make_identities(tries: u32, from: Ipv4Addr, server: &Server) -> (usize, Refused) {
    let (mut came, mut last) = (0, None);
    for number in 0..tries {
        match come(&caller(number, &format!("x-{number}")), from, server) {
            Ok((mut visit, _)) => {
                came += 1;
                visit.heartbeat(Heartbeat {
                    clock: now(),
                    traps_wanted: 1024,
                    traps: (1..=1024).collect(),
                    ..Heartbeat::default()
                });
            }
            Err(refused) => last = Some(refused),
        }
    }
    (came, last.expect("somebody is put off"))
}

/// Checks that the store has four hits, the scan's incident, and the client that has reported both.
fn assert_intact(sandbox: &Sandbox, honest: &Caller) {
    assert_eq!(objects(sandbox, &["events"]).len(), 4);
    let incidents = objects(sandbox, &["alerts"]);
    let scan = |it: &&Value| it["subject"]["value"] == "192.0.2.66";
    assert_eq!(incidents.iter().filter(scan).count(), 1);
    let clients = objects(sandbox, &["clients"]);
    assert!(clients.iter().any(|it| it["id"] == honest.id()));
}

#[test]
fn who_makes_identities_as_fast_as_they_can_drives_out_nothing_and_is_reported() {
    let sandbox = Sandbox::new();
    // A twentieth of the burst is for one address: 200.
    let settings = "keep-mib = 1\nnew-clients = \"slow\"\n\
                    [limits]\nnew-clients-per-minute = 20\nnew-clients-burst = 4000\n";
    sandbox.file("server.toml", settings);
    let arguments = ["--config", "server.toml", "--alert-format", "json"];
    let server = sandbox.server(&arguments);
    let honest = Caller::new(1);
    let (mut visit, _) = honest.visit(&server.address);
    let scan = [22, 80, 445].map(|port| hit("192.0.2.66", port));
    assert_eq!(visit.report(report(1, scan.to_vec())), 3);
    server.alert(|alert| alert["subject"]["value"] == "192.0.2.66");
    let attacker = sandbox.address(3);
    let (came, last) = make_identities(500, attacker, &server);
    assert!((200..=220).contains(&came), "{came}");
    assert_eq!(last.reason, Reason::TooManySessions);
    assert!(last.text.contains("lets new ones in slowly"), "{last:?}");
    assert!(last.retry_after_millis >= 5000, "{last:?}");
    let alert = server.alert(|alert| alert["detector"] == "new-client");
    assert_eq!(alert["severity"], "medium");
    assert_eq!(alert["subject"]["value"], attacker.to_string());
    // Others are let in meanwhile, and those that are known anyhow.
    assert!(come(&caller(500, "web-9"), sandbox.address(4), &server).is_ok());
    assert_eq!(visit.report(report(4, vec![hit("192.0.2.67", 22)])), 4);
    let log = server.process.lines(|_| true);
    let about = log.iter().filter(|line| line.contains("is not let in"));
    // Of 300 that were put off; the others are counted.
    let lines = about.count();
    assert!((1..=60).contains(&lines), "{lines}");
    assert_intact(&sandbox, &honest);
    let stderr = server.process.stop().stderr;
    assert!(
        stderr.contains("times a new client was put off"),
        "{stderr}"
    );
    let store = sandbox.path("server-state/server/store.db");
    let size = store.metadata().unwrap().len();
    assert!(size <= (1 << 20) * 5 / 4, "{size}");
    let server = sandbox.server(&arguments);
    assert_intact(&sandbox, &honest);
    let (_, welcome) = honest.visit(&server.address);
    assert_eq!(welcome.acknowledged, Some(4));
}

#[test]
fn clients_that_are_put_off_come_again_and_are_in_when_it_is_their_turn() {
    let sandbox = Sandbox::new();
    // One at a time for each address, and the next one 3 s later.
    let settings = "new-clients = \"slow\"\n\
                    [limits]\nnew-clients-per-minute = 400\nnew-clients-burst = 20\n";
    sandbox.file("server.toml", settings);
    let server = sandbox.server(&["--config", "server.toml"]);
    let clients = [(); 3].map(|()| sandbox.client(&server.address, &[]));
    server
        .process
        .wait_for_log(|line| line.contains("is not let in"));
    for client in &clients {
        client.connected();
    }
    let put_off = |client: &&Client| {
        let said =
            |line: &Output| matches!(line, Output::Err(text) if text.contains("its turn in"));
        !client.process.lines(said).is_empty()
    };
    assert!(clients.iter().filter(put_off).count() >= 1);
    eventually(SOON, "all are in the store", || {
        objects(&sandbox, &["clients"]).len() == 3
    });
}

#[test]
fn a_server_remembers_no_more_clients_than_it_is_told_and_those_that_came_last() {
    let sandbox = Sandbox::new();
    sandbox.file("server.toml", "[limits]\nclients = 3\n");
    let server = sandbox.server(&["--config", "server.toml"]);
    let callers = [1, 2, 3, 4, 5].map(|number| caller(number, &format!("web-{number}")));
    for caller in &callers {
        let (mut visit, _) = caller.visit(&server.address);
        assert_eq!(visit.report(report(1, vec![hit("192.0.2.66", 22)])), 1);
        visit.leave();
    }
    let names = || {
        let clients = objects(&sandbox, &["clients"]);
        let name = |client: &Value| client["name"].as_str().unwrap().to_owned();
        clients.iter().map(name).collect::<Vec<_>>()
    };
    eventually(SOON, "the first ones are forgotten", || {
        names() == ["web-3", "web-4", "web-5"]
    });
    server.process.stop();
    sandbox.file("server.toml", "[limits]\nclients = 1\n");
    let server = sandbox.server(&["--config", "server.toml"]);
    eventually(SOON, "there is room for one only", || names() == ["web-5"]);
    assert_eq!(objects(&sandbox, &["events"]).len(), 5, "their hits stay");
    let (_, welcome) = callers[4].visit(&server.address);
    assert_eq!(welcome.acknowledged, Some(1));
}

#[test]
fn a_server_that_is_closed_takes_whom_it_knows_and_nobody_else() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (known, stranger) = (Caller::new(1), Caller::new(2));
    let (visit, _) = known.visit(&server.address);
    visit.leave();
    server.process.stop();
    sandbox.file("server.toml", "new-clients = \"closed\"\n");
    let server = sandbox.server(&["--config", "server.toml"]);
    let address = sandbox.address(1);
    let refused = come(&stranger, address, &server).map(drop).unwrap_err();
    assert!(
        refused.text.contains("takes no new ones"),
        "{}",
        refused.text
    );
    assert!(come(&known, address, &server).is_ok());
}

#[test]
fn a_client_is_blocked_and_unblocked_while_the_server_runs_and_loses_no_hit() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&server.address);
    assert_eq!(visit.report(report(1, vec![hit("192.0.2.66", 22); 2])), 2);
    let id = caller.id();
    let finished = vft(&sandbox, &["clients", "block", &id]);
    assert_eq!(finished.stdout, format!("client {id} is blocked\n"));
    let refused: ServerMessage = visit.line.receive();
    let ServerMessage::Refused(refused) = refused else {
        panic!("{refused:?}");
    };
    assert!(refused.text.contains("is blocked"), "{}", refused.text);
    let again = || come(&caller, sandbox.address(1), &server);
    let refused = again().map(drop).unwrap_err();
    assert!(refused.text.contains("vft clients unblock"), "{refused:?}");
    assert_eq!(refused.retry_after_millis, 60_000);
    assert_eq!(objects(&sandbox, &["clients"])[0]["blocked"], true);
    let listed = vft(&sandbox, &["clients"]).stdout;
    assert!(
        listed.contains(" blocked ") && listed.contains(&id),
        "{listed}"
    );
    let finished = vft(&sandbox, &["clients", "unblock", &id]);
    assert_eq!(finished.stdout, format!("client {id} may come again\n"));
    let (mut visit, welcome) = again().unwrap();
    assert_eq!(welcome.acknowledged, Some(2));
    // What comes twice counts once, and what is new is taken in.
    assert_eq!(visit.report(report(2, vec![hit("192.0.2.66", 22); 2])), 3);
    let client = &objects(&sandbox, &["clients"])[0];
    assert_eq!(
        (&client["blocked"], &client["missing"]),
        (&false.into(), &0.into())
    );
    assert_eq!(objects(&sandbox, &["events"]).len(), 3);
    let finished = vft(&sandbox, &["clients", "unblock", &id]);
    assert_eq!(finished.code(), Some(1));
    assert!(
        finished.stderr.contains("is not blocked"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_block_outlives_a_restart_and_an_order_that_nobody_obeyed_is_obeyed_at_the_next_start() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&server.address);
    assert_eq!(visit.report(report(1, vec![hit("192.0.2.66", 22)])), 1);
    server.process.stop();
    let finished = vft(&sandbox, &["clients", "block", &caller.id()]);
    assert!(
        finished.stdout.contains("starts next"),
        "{}",
        finished.stdout
    );
    for _ in 0..2 {
        let server = sandbox.server(&[]);
        let refused = come(&caller, sandbox.address(1), &server);
        assert!(refused.map(drop).unwrap_err().text.contains("is blocked"));
        server.process.stop();
    }
    let server = sandbox.server(&[]);
    vft(&sandbox, &["clients", "unblock", &caller.id()]);
    let (_, welcome) = come(&caller, sandbox.address(1), &server).unwrap();
    assert_eq!(welcome.acknowledged, Some(1));
}

#[test]
fn a_client_is_forgotten_by_its_name_if_only_one_has_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let [first, second, third] =
        [(1, "web-7"), (2, "web-7"), (3, "db-1")].map(|(number, name)| caller(number, name));
    for caller in [&first, &second, &third] {
        let (mut visit, _) = caller.visit(&server.address);
        assert_eq!(visit.report(report(1, vec![hit("192.0.2.66", 22)])), 1);
        visit.leave();
    }
    let ids = if first.id() < second.id() {
        format!("{}, {}", first.id(), second.id())
    } else {
        format!("{}, {}", second.id(), first.id())
    };
    let both = format!("2 clients have the name `web-7`: {ids}");
    assert_refused(&sandbox, ["forget", "web-7"], 1, &both);
    assert_refused(
        &sandbox,
        ["forget", "nobody"],
        1,
        "there is no client `nobody`",
    );
    assert_refused(&sandbox, ["block", "web-7"], 2, "is not a client's id");
    for (who, caller) in [("db-1", &third), (&*first.id(), &first)] {
        let finished = vft(&sandbox, &["clients", "forget", who]);
        let done = format!("client {} is forgotten\n", caller.id());
        assert_eq!(finished.stdout, done);
    }
    let left = objects(&sandbox, &["clients"]);
    assert_eq!((left.len(), &left[0]["id"]), (1, &second.id().into()));
    assert_eq!(objects(&sandbox, &["events"]).len(), 3, "its hits stay");
    let (_, welcome) = third.visit(&server.address);
    assert_eq!(welcome.acknowledged, None, "it is a new one");
}

/// Checks that `vft clients` with these arguments fails, and what it says.
fn assert_refused(sandbox: &Sandbox, arguments: [&str; 2], code: i32, said: &str) {
    let finished = vft(sandbox, &[&["clients"], &arguments[..]].concat());
    assert_eq!(finished.code(), Some(code), "{}", finished.stderr);
    assert!(finished.stderr.contains(said), "{}", finished.stderr);
}

#[test]
fn who_takes_the_name_of_a_client_that_is_there_is_reported() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let (_visit, _) = come(&caller(1, "web-7"), sandbox.address(1), &server).unwrap();
    let thief = caller(2, "web-7");
    let (_thief, _) = come(&thief, sandbox.address(2), &server).unwrap();
    let alert = server.alert(|alert| alert["detector"] == "new-client");
    assert_eq!(alert["severity"], "medium");
    assert_eq!(alert["subject"]["value"], thief.id());
    let note = alert["notes"][0].as_str().unwrap();
    assert!(note.contains(&caller(1, "").id()), "{note}");
}

#[test]
fn a_roll_out_is_in_at_once_and_no_line_is_said_of_it() {
    const HOSTS: u8 = 60;
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let began = Instant::now();
    let mut visits = Vec::new();
    for host in 0..HOSTS {
        let address = Ipv4Addr::new(127, 140, 0, host + 1);
        let caller = caller(host.into(), &format!("web-{host}"));
        visits.push(come(&caller, address, &server).unwrap());
    }
    assert!(began.elapsed() < SOON + Duration::from_secs(40));
    eventually(SOON, "all are in the store", || {
        objects(&sandbox, &["clients"]).len() == usize::from(HOSTS)
    });
    drop(visits);
    let finished = server.process.stop();
    assert_eq!(finished.stdout, "");
}
