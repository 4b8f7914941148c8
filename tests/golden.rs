use std::fmt::Debug;

use crate::harness::golden::assert_golden;
use crate::harness::peer::connect;
use crate::harness::process::Line as Output;
use crate::harness::wire::caller::{Caller, hit, now};
use crate::harness::wire::codec::{Coded, decode, dump, encode};
use crate::harness::wire::host::{Host, every};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{Ack, ClientMessage, Heartbeat, Hit, Report, ServerMessage};
use crate::harness::wire::proof::hex;
use crate::harness::{PORTS, Sandbox};

#[test]
fn the_settings_of_an_empty_file() {
    let sandbox = Sandbox::new();
    sandbox.file("empty.toml", "");
    for role in ["server", "client"] {
        let checked = sandbox.run(&["check", "--config", "empty.toml", "--role", role]);
        assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
        assert_golden(&format!("settings/{role}.toml"), &checked.stdout);
    }
}

/// A real process's message with what differs each time replaced, compared with its file.
fn assert_message<M: Coded + Clone + Debug>(name: &str, bytes: &[u8], settle: impl Fn(&mut M)) {
    let mut message: M = decode(bytes).unwrap();
    assert_eq!(encode(&message), bytes, "written in the shortest form");
    settle(&mut message);
    let says = dump::<M>(&encode(&message)).unwrap();
    assert_golden(&format!("wire/{name}.hex"), &says);
}

/// A time that stands for all times.
const TIME: u64 = 1_795_490_000_123_456;

fn settle_client(message: &mut ClientMessage) {
    match message {
        ClientMessage::Hello(hello) => {
            hello.nonce = [0; 32];
            hello.instance = [0; 16];
            "1.2.3".clone_into(&mut hello.version);
        }
        ClientMessage::Proof(proof) => {
            proof.secret = proof.secret.map(|_| [0; 32]);
            proof.identity = [0; 64];
        }
        ClientMessage::Report(report) => {
            report.base = TIME;
            for hit in &mut report.hits {
                hit.source = [127, 0, 0, 1].into();
                hit.source_port = 54_321;
            }
        }
        ClientMessage::Heartbeat(heartbeat) => {
            heartbeat.clock = TIME;
            heartbeat.uptime_millis = 1000;
        }
        ClientMessage::ExtendedHeartbeat(extended) => {
            extended.heartbeat.clock = TIME;
            extended.heartbeat.uptime_millis = 1000;
        }
        ClientMessage::Goodbye => {}
    }
}

fn settle_server(message: &mut ServerMessage) {
    match message {
        ServerMessage::Challenge(challenge) => challenge.nonce = [0; 32],
        ServerMessage::Welcome(welcome) => {
            welcome.secret = welcome.secret.map(|_| [0; 32]);
            welcome.clock = TIME;
        }
        ServerMessage::ExtendedWelcome(extended) => {
            extended.welcome.secret = extended.welcome.secret.map(|_| [0; 32]);
            extended.welcome.clock = TIME;
        }
        ServerMessage::Refused(_) | ServerMessage::Ack(_) | ServerMessage::HeartbeatAck(_) => {}
    }
}

/// Puts a file that a real process keeps into its state folder before it starts.
fn keep(sandbox: &Sandbox, folder: &str, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(sandbox.path(folder)).unwrap();
    sandbox.file(&format!("{folder}/{name}"), &hex(bytes));
}

#[test]
fn the_messages_of_a_real_client() {
    let sandbox = Sandbox::new();
    keep(&sandbox, "client-state-0/client", "identity", &[1; 32]);
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    let greeted = host.greet(&mut line);
    let proof = line.receive_bytes().unwrap();
    host.admit(&mut line, &greeted, &proof, &every(3_600_000, None));
    let heartbeat = line.receive_bytes().unwrap();
    line.send(&ServerMessage::HeartbeatAck(Ack::default()));
    connect(client.address, client.address, PORTS[0]);
    let report = line.receive_bytes().unwrap();
    line.send(&ServerMessage::Ack(Ack::durable(1)));
    client.process.signal(rustix::process::Signal::TERM);
    let goodbye = line.receive_bytes().unwrap();
    for (name, bytes) in [
        ("hello", greeted.said),
        ("proof", proof),
        ("heartbeat", heartbeat),
        ("report", report),
        ("goodbye", goodbye),
    ] {
        assert_message(name, &bytes, settle_client);
    }
}

#[test]
fn the_messages_of_a_real_server() {
    let sandbox = Sandbox::new();
    let id: Vec<u8> = (0..16).collect();
    keep(&sandbox, "server-state/server", "id", &id);
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let one = |sequence| Report {
        first_sequence: sequence,
        base: now(),
        hits: vec![hit("192.0.2.66", 22)],
    };
    let (mut visit, _) = caller.visit(&server.address);
    visit.line.send(&ClientMessage::Report(one(1042)));
    let ack = visit.line.receive_bytes().unwrap();
    visit
        .line
        .send(&ClientMessage::Heartbeat(Heartbeat::default()));
    let heartbeat_ack = visit.line.receive_bytes().unwrap();
    visit.leave();
    // A second time, because it is known now.
    let mut line = Line::plain(&server.address);
    let challenged = caller.greet(&mut line);
    line.send(&ClientMessage::Proof(caller.proof(&challenged)));
    let welcome = line.receive_bytes().unwrap();
    line.send(&ClientMessage::Report(one(0)));
    let refused = line.receive_bytes().unwrap();
    let challenge = encode(&ServerMessage::Challenge(challenged.challenge));
    for (name, bytes) in [
        ("challenge", challenge),
        ("welcome", welcome),
        ("ack", ack),
        ("heartbeat-ack", heartbeat_ack),
        ("refused", refused),
    ] {
        assert_message(name, &bytes, settle_server);
    }
}

/// What a client reports of four scans, second by second from the first: enough for an alert of
/// each action, about each kind of subject.
fn story() -> Vec<Hit> {
    let mut hits = vec![
        // One source on three ports.
        hit("192.0.2.66", 22),
        hit("192.0.2.66", 80),
        hit("192.0.2.66", 445),
        // Three sources on one port, and on one client.
        hit("198.51.100.1", 3389),
        hit("198.51.100.2", 3389),
        hit("198.51.100.3", 3389),
        // A storm.
        Hit {
            count: 500,
            span: 2000,
            ..hit("2001:db8:0:1::7", 22)
        },
        // News of the client, which are told of after a while.
        hit("2001:db8:0:1::8", 443),
    ];
    for (second, hit) in (0..).zip(&mut hits) {
        hit.offset = second * 1_000_000;
    }
    hits
}

/// The alerts that a real server writes in this format, and when the first hit was.
fn alerts(format: &str) -> (String, i64) {
    let sandbox = Sandbox::new();
    let config = sandbox.file("server.toml", "[incidents]\nquiet = \"6s\"\n");
    let config = config.to_str().unwrap();
    let server = sandbox.server(&["--config", config, "--alert-format", format]);
    let caller = Caller {
        name: "web-7".to_owned(),
        ..Caller::new(1)
    };
    let (mut visit, _) = caller.visit(&server.address);
    let began = now() / 1_000_000 * 1_000_000 - 60_000_000;
    let hits = story();
    let count = u64::try_from(hits.len()).unwrap();
    // All in one report, so that the server's clock stands still between them.
    let up_to = visit.report(Report {
        first_sequence: 1,
        base: began,
        hits,
    });
    assert_eq!(up_to, count);
    // All incidents are over after six seconds, at once.
    let is_close = |line: &Output| matches!(line, Output::Out(line) if line.contains("close"));
    server.process.wait_for(is_close);
    (server.process.stop().stdout, i64::try_from(began).unwrap())
}

/// The line with the text between `before` and `after` replaced.
fn replaced(line: &str, before: &str, after: &str, with: impl Fn(&str) -> String) -> String {
    let (head, rest) = line.split_once(before).unwrap();
    let (text, tail) = rest.split_once(after).unwrap();
    format!("{head}{before}{}{after}{tail}", with(text))
}

#[test]
fn alerts_as_json() {
    let (stdout, began) = alerts("json");
    let mut settled = String::new();
    for line in stdout.lines() {
        let since = |text: &str| {
            let time: jiff::Timestamp = text.parse().unwrap();
            let seconds = (time.as_millisecond() - began / 1000) / 1000;
            let millis = time.subsec_millisecond();
            format!("<start + {seconds}.{millis:03} s>")
        };
        let time = |_: &str| "<time>".to_owned();
        let line = replaced(line, "\"time\":\"", "\"", time);
        let line = replaced(&line, "\"first_seen\":\"", "\"", since);
        let line = replaced(&line, "\"incident\":\"", "\"", |_| "<id>".to_owned());
        let number = |id: &str| format!("<id>-{}", id.split_once('-').unwrap().1);
        let line = replaced(&line, "\"message\":\"", "\"", number);
        settled += &replaced(&line, "\"last_seen\":\"", "\"", since);
        settled.push('\n');
    }
    assert_actions(&settled, "\"action\":\"", "\"");
    assert_golden("alert.json", &settled);
}

#[test]
fn alerts_as_text() {
    let (stdout, _) = alerts("text");
    let mut settled = String::new();
    for line in stdout.lines() {
        let (time, rest) = line.split_once(' ').unwrap();
        let _: jiff::Timestamp = time.parse().unwrap();
        let (what, action) = rest.rsplit_once(' ').unwrap();
        let (what, id) = what.rsplit_once('#').unwrap();
        assert_eq!(id.len(), 8, "{line}");
        settled += &format!("<time> {what}#<id> {action}\n");
    }
    assert_actions(&settled, "#", "\n");
    assert_golden("alert.txt", &settled);
}

/// Checks that there is an alert of each action.
fn assert_actions(alerts: &str, before: &str, after: &str) {
    for action in ["open", "update", "close"] {
        let is_it = |piece: &str| piece.split(after).next().unwrap().ends_with(action);
        assert!(alerts.split(before).skip(1).any(is_it), "{alerts}");
    }
}
