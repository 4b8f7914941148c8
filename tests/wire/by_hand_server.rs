use std::net::{IpAddr, TcpListener};

use crate::harness::peer::connect;
use crate::harness::wire::host::{Host, every, greet_with, next_heartbeat, next_report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{
    Ack, Challenge, ClientMessage, Reason, Refused, Report, ServerMessage, Welcome,
};
use crate::harness::wire::proof;
use crate::harness::{Client, PORTS, Sandbox};

/// An interval that no test waits for.
const NEVER: u64 = 3_600_000;

/// Waits until the client says this of its server in its log.
fn wait_for_complaint(client: &Client, text: &str) {
    client
        .process
        .wait_for_log(|line| line.contains(text) && line.contains("trying on"));
}

/// Reports until so many hits have come, each acknowledged.
fn reports(line: &mut Line, hits: u32) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut seen = 0;
    while seen < hits {
        let report = next_report(line);
        let count = u64::try_from(report.hits.len()).unwrap();
        line.send(&ServerMessage::Ack(Ack::durable(
            report.first_sequence + count - 1,
        )));
        seen += report.hits.iter().map(|hit| hit.count).sum::<u32>();
        reports.push(report);
    }
    assert_eq!(seen, hits);
    reports
}

#[test]
fn a_server_that_hears_conditions_is_told_them_and_every_other_gets_the_heartbeat_of_old() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let _client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    host.welcome_extended(&mut line, &every(NEVER, None));
    let extended = match line.receive() {
        ClientMessage::ExtendedHeartbeat(extended) => extended,
        other => panic!("not an extended heartbeat: {other:?}"),
    };
    assert_eq!(extended.conditions, 0);
    assert_eq!(extended.heartbeat.traps, PORTS);
    drop(line);
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, None));
    assert_eq!(next_heartbeat(&mut line).traps, PORTS);
}

#[test]
fn hits_come_with_source_ports_and_count() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    let hello = host.welcome(&mut line, &every(NEVER, None));
    assert_eq!(hello.name, "host-0");
    assert_eq!(hello.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(hello.capabilities, 1);
    let source = sandbox.address(9);
    let socket = connect(source, client.address, PORTS[1]);
    let port = socket.local_addr().unwrap().port();
    let report = next_report(&mut line);
    assert_eq!((report.first_sequence, report.hits.len()), (1, 1));
    let hit = &report.hits[0];
    assert_eq!((hit.offset, hit.span, hit.count), (0, 0, 1));
    assert_eq!(hit.source, IpAddr::from(source));
    assert_eq!((hit.source_port, hit.trap_port), (port, PORTS[1]));
    assert_eq!(hit.probe, 0);
    line.send(&ServerMessage::Ack(Ack::durable(1)));
    for _ in 0..20 {
        connect(source, client.address, PORTS[2]);
    }
    let reports = reports(&mut line, 20);
    let mut next = 2;
    for report in reports {
        assert_eq!(report.first_sequence, next);
        assert!(report.hits.iter().all(|hit| hit.trap_port == PORTS[2]));
        next += u64::try_from(report.hits.len()).unwrap();
    }
}

#[test]
fn a_client_speaks_the_same_under_tls() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let host = Host::tls(&sandbox.path("cert.pem"), &sandbox.path("key.pem"));
    let client = sandbox.client(&host.address(), &["--cert", "cert.pem"]);
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, None));
    connect(client.address, client.address, PORTS[0]);
    reports(&mut line, 1);
}

#[test]
fn what_was_not_acknowledged_is_sent_again() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    // The server has seen this client before.
    host.welcome(&mut line, &every(NEVER, Some(40)));
    connect(client.address, client.address, PORTS[0]);
    let report = next_report(&mut line);
    assert_eq!(report.first_sequence, 41);
    drop(line);
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, Some(40)));
    assert_eq!(next_report(&mut line), report);
    drop(line);
    // This time it had been taken in; only the acknowledgement was lost.
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, Some(41)));
    connect(client.address, client.address, PORTS[1]);
    let next = next_report(&mut line);
    assert_eq!(
        (next.first_sequence, next.hits[0].trap_port),
        (42, PORTS[1])
    );
    // A server that has lost its memory is told the numbers as they are.
    drop(line);
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, None));
    assert_eq!(next_report(&mut line), next);
}

#[test]
fn heartbeats_come_at_the_interval_that_the_welcome_asks_for() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    host.welcome(&mut line, &every(300, None));
    let beats: [_; 4] = std::array::from_fn(|_| next_heartbeat(&mut line));
    // They come within the harness's patience, which is shorter than the usual interval; and not
    // before their time.
    for pair in beats.windows(2) {
        assert!(
            pair[1].uptime_millis >= pair[0].uptime_millis + 299,
            "{pair:?}"
        );
    }
    let first = &beats[0];
    assert_eq!(first.traps, PORTS);
    assert_eq!(usize::from(first.traps_wanted), PORTS.len());
    assert_eq!((first.hits, first.dropped, first.backlog), (0, 0, 0));
    connect(client.address, client.address, PORTS[0]);
    reports(&mut line, 1);
    assert_eq!(next_heartbeat(&mut line).hits, 1);
}

#[test]
fn an_interval_is_brought_within_bounds() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let _client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    host.welcome(&mut line, &every(0, None));
    let beats: [_; 3] = std::array::from_fn(|_| next_heartbeat(&mut line));
    for pair in beats.windows(2) {
        assert!(
            pair[1].uptime_millis >= pair[0].uptime_millis + 99,
            "{pair:?}"
        );
    }
}

#[test]
fn a_client_that_stops_delivers_says_goodbye_and_closes() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    host.welcome(&mut line, &every(NEVER, None));
    let first = next_heartbeat(&mut line);
    assert_eq!(first.hits, 0);
    client.process.signal(rustix::process::Signal::TERM);
    let last: ClientMessage = line.receive();
    assert_eq!(last, ClientMessage::Goodbye);
    line.assert_ends();
    assert_eq!(client.process.finish().code(), Some(0));
}

#[test]
fn a_server_that_proves_nothing_gets_no_hits() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    connect(client.address, client.address, PORTS[0]);
    for forged in [None, Some([1; 32])] {
        let mut line = host.accept();
        host.greet(&mut line);
        let _proof: ClientMessage = line.receive();
        line.send(&ServerMessage::Welcome(Welcome {
            secret: forged,
            ..every(NEVER, None)
        }));
        line.assert_ends();
    }
    wait_for_complaint(&client, "the server does not know the secret");
}

#[test]
fn a_server_that_echoes_the_clients_own_proof_gets_no_hits() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    let greeted = host.greet(&mut line);
    let _proof: ClientMessage = line.receive();
    line.send(&ServerMessage::Welcome(Welcome {
        secret: Some(proof::of_client(&host.stretched(), &greeted.transcript)),
        ..every(NEVER, None)
    }));
    line.assert_ends();
    wait_for_complaint(&client, "the server does not know the secret");
}

#[test]
fn a_server_that_asks_for_no_secret_gets_not_even_a_proof() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    greet_with(
        &mut line,
        Challenge {
            server_id: host.id,
            nonce: [5; 32],
            secret_required: false,
        },
    );
    line.assert_ends();
    wait_for_complaint(&client, "the server does not know the secret");
}

#[test]
fn a_refusal_is_shown_and_its_pause_is_kept() {
    let sandbox = Sandbox::new();
    let host = Host::plain();
    let client = sandbox.client(&host.address(), &[]);
    let mut line = host.accept();
    host.greet(&mut line);
    line.send(&ServerMessage::Refused(Refused {
        reason: Reason::TooManySessions,
        text: "come back \u{1b}[31mlater".to_owned(),
        retry_after_millis: 1500,
    }));
    let refused = std::time::Instant::now();
    wait_for_complaint(&client, "the server refused: come back \\u{1b}[31mlater");
    let mut line = host.accept();
    assert!(refused.elapsed().as_millis() >= 1500);
    host.welcome(&mut line, &every(NEVER, None));
    client.connected();
}

#[test]
fn whatever_else_answers_is_named() {
    let sandbox = Sandbox::new();
    for (answer, text) in [
        (&b"HTTP/1.1 400 Bad Request"[..], "is not a vft server"),
        (
            &[21, 3, 3, 0, 2, 2, 70],
            "the server speaks TLS: pass --cert",
        ),
        (&[0, 0, 0, 1, 9], "a message that does not decode"),
        (
            &[0, 0, 0, 4, 4, 0, 0, 0],
            "a message with 1 bytes left over",
        ),
        (
            &[0, 0, 0, 3, 4, 0, 0],
            "the server did not answer with a challenge",
        ),
        (&[], "the server closed the connection"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = sandbox.client(&address, &[]);
        let mut line = Line::accept(&listener);
        assert_eq!(line.read(), proof::PREAMBLE);
        line.receive_bytes().unwrap();
        line.write(answer);
        drop(line);
        wait_for_complaint(&client, text);
    }
}

#[test]
fn the_next_server_is_tried_at_once_when_one_refuses() {
    let sandbox = Sandbox::new();
    let (first, second) = (Host::plain(), Host::plain());
    let both = format!("{},{}", first.address(), second.address());
    let client = sandbox.client(&both, &[]);
    let mut line = first.accept();
    first.greet(&mut line);
    line.send(&ServerMessage::Refused(Refused {
        reason: Reason::ShuttingDown,
        text: "the server is shutting down".to_owned(),
        retry_after_millis: 300_000,
    }));
    let mut line = second.accept();
    second.welcome(&mut line, &every(NEVER, None));
    connect(client.address, client.address, PORTS[0]);
    reports(&mut line, 1);
}
