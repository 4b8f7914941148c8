use crate::harness::Sandbox;
use crate::harness::wire::caller::{Caller, hit, now, report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{
    Ack, ClientMessage, Heartbeat, Hit, Reason, Report, ServerMessage,
};

const JSON: [&str; 2] = ["--alert-format", "json"];

/// Three touches by one source, which are an alert.
fn scan(source: &str) -> Vec<Hit> {
    [22, 80, 445]
        .map(|port| hit(source, port))
        .into_iter()
        .collect()
}

#[test]
fn a_whole_session_over_plain_tcp() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let caller = Caller::new(1);
    let before = now();
    let (mut visit, welcome) = caller.visit(&server.address);
    assert!(welcome.secret.is_some());
    assert_eq!(welcome.acknowledged, None);
    assert_eq!(welcome.heartbeat_millis, 30_000);
    assert!((before..=now()).contains(&welcome.clock));
    visit.heartbeat(Heartbeat {
        clock: now(),
        traps_wanted: 3,
        traps: vec![22, 80, 445],
        ..Heartbeat::default()
    });
    assert_eq!(visit.report(report(1, scan("192.0.2.66"))), 3);
    let alert = server.alert(|_| true);
    assert_eq!(alert["action"], "open");
    assert_eq!(alert["subject"]["value"], "192.0.2.66");
    assert_eq!(alert["clients"]["sample"][0]["id"], caller.id());
    assert_eq!(alert["clients"]["sample"][0]["name"], "by-hand-1");
    visit.leave();
    let stderr = server.process.stop().stderr;
    let summary = "stopped: 3 hits in 1 reports over 1 sessions, 0 duplicates dropped";
    assert!(stderr.contains(summary), "{stderr}");
}

#[test]
fn a_whole_session_over_tls_bound_to_its_channel() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let tls = ["--cert", "cert.pem", "--key", "key.pem"];
    let server = sandbox.server(&[&JSON[..], &tls].concat());
    let (mut visit, welcome) = Caller::new(1).visit_tls(&server.address, &sandbox.path("cert.pem"));
    assert_eq!(welcome.acknowledged, None);
    visit.heartbeat(Heartbeat {
        clock: now(),
        ..Heartbeat::default()
    });
    assert_eq!(visit.report(report(1, scan("2001:db8::1"))), 3);
    let alert = server.alert(|_| true);
    assert_eq!(alert["subject"]["value"], "2001:db8::/64");
    visit.leave();
}

#[test]
fn a_server_without_a_secret_asks_for_none_and_proves_none() {
    let sandbox = Sandbox::new();
    let arguments = ["server", "--bind", "127.0.0.1:0", "--state-dir", "open"];
    let server = sandbox.start(&arguments, &[]);
    let ready = server.wait_for_log(|line| line.contains("ready: listening on"));
    let address = ready.split_once("listening on ").unwrap().1;
    let address = address.split(' ').next().unwrap();
    let caller = Caller {
        secret: None,
        ..Caller::new(1)
    };
    let mut line = Line::plain(address);
    let challenged = caller.greet(&mut line);
    assert!(!challenged.challenge.secret_required);
    drop(line);
    let (mut visit, welcome) = caller.visit(address);
    assert_eq!(welcome.secret, None);
    assert_eq!(visit.report(report(1, scan("192.0.2.66"))), 3);
}

#[test]
fn what_comes_twice_is_counted_once() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    let first = report(1, scan("192.0.2.66"));
    assert_eq!(visit.report(first.clone()), 3);
    assert_eq!(visit.report(first), 3);
    // Numbers 3 to 5, of which 3 is known.
    assert_eq!(visit.report(report(3, scan("192.0.2.66"))), 5);
    // Merged hits count as their count.
    let merged = Hit {
        count: 500,
        ..hit("192.0.2.66", 22)
    };
    assert_eq!(visit.report(report(6, vec![merged])), 6);
    visit.leave();
    let stderr = server.process.stop().stderr;
    let summary = "stopped: 505 hits in 4 reports over 1 sessions, 4 duplicates dropped";
    assert!(stderr.contains(summary), "{stderr}");
}

#[test]
fn a_second_connection_goes_on_where_the_first_was() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let (mut visit, _) = caller.visit(&server.address);
    // Where a client begins is its own affair.
    assert_eq!(visit.report(report(1041, scan("192.0.2.66"))), 1043);
    visit.leave();
    let (mut visit, welcome) = caller.visit(&server.address);
    assert_eq!(welcome.acknowledged, Some(1043));
    assert_eq!(visit.report(report(1050, scan("192.0.2.66"))), 1052);
    let (_, other) = Caller::new(2).visit(&server.address);
    assert_eq!(other.acknowledged, None);
    let gap = "client by-hand-1: hits 1044–1049 never arrived";
    server.process.wait_for_log(|line| line.contains(gap));
}

#[test]
fn a_session_that_says_nothing_is_ended_after_three_heartbeats() {
    let sandbox = Sandbox::new();
    let config = sandbox.file("server.toml", "[limits]\nheartbeat = \"500ms\"\n");
    let server = sandbox.server(&["--config", config.to_str().unwrap()]);
    let (mut visit, welcome) = Caller::new(1).visit(&server.address);
    assert_eq!(welcome.heartbeat_millis, 500);
    visit.heartbeat(Heartbeat::default());
    visit.line.assert_ends();
}

#[test]
fn a_session_is_told_when_the_server_stops() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    visit.heartbeat(Heartbeat::default());
    let stopped = server.process.stop();
    assert_eq!(stopped.code(), Some(0), "{}", stopped.stderr);
    let text = "the server is shutting down";
    let refused = visit.line.assert_refused(Reason::ShuttingDown, text);
    assert_eq!(refused.retry_after_millis, 0);
}

#[test]
fn a_client_takes_over_from_itself_and_a_clone_is_turned_away() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let (home, away) = (sandbox.address(1), sandbox.address(2));
    let (mut first, _) = caller.enter(Line::plain_from(home, &server.address));
    let (mut second, _) = caller.enter(Line::plain_from(home, &server.address));
    let text = "the same client has connected anew";
    first.line.assert_refused(Reason::Superseded, text);
    // A copy of its state folder, started on another host or behind the same address.
    let copy = Caller {
        instance: 8,
        ..caller
    };
    for address in [away, home] {
        let mut line = Line::plain_from(address, &server.address);
        let challenged = copy.greet(&mut line);
        line.send(&ClientMessage::Proof(copy.proof(&challenged)));
        let refused = line.refused();
        assert_eq!(refused.reason, Reason::IdentityInUse);
        let text = format!(
            "this identity is already connected from {home}; if the host was cloned, delete the \
             file `identity` in its state folder"
        );
        assert_eq!((refused.text, refused.retry_after_millis), (text, 10_000));
    }
    second.heartbeat(Heartbeat::default());
    let cloned = format!("client by-hand-1: somebody at {away} has its identity as well");
    server.process.wait_for_log(|line| line.contains(&cloned));
    let refused = format!("client by-hand-1 at {home} is refused: this identity is already");
    server.process.wait_for_log(|line| line.contains(&refused));
    let stderr = server.process.stop().stderr;
    assert_eq!(
        stderr.matches("has its identity as well").count(),
        1,
        "{stderr}"
    );
}

#[test]
fn there_are_as_many_sessions_as_the_settings_say() {
    let sandbox = Sandbox::new();
    let config = sandbox.file("server.toml", "[limits]\nsessions = 1\n");
    let server = sandbox.server(&["--config", config.to_str().unwrap()]);
    let (first, _) = Caller::new(1).visit(&server.address);
    let caller = Caller::new(2);
    let mut line = Line::plain(&server.address);
    let challenged = caller.greet(&mut line);
    line.send(&ClientMessage::Proof(caller.proof(&challenged)));
    let text = "the server holds as many sessions as it may: raise limits.sessions or its limit \
                on open files";
    let refused = line.assert_refused(Reason::TooManySessions, text);
    assert_eq!(refused.retry_after_millis, 10_000);
    first.leave();
}

#[test]
fn the_longest_legal_messages_are_taken() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller {
        name: "é".repeat(420),
        ..Caller::new(1)
    };
    let (mut visit, _) = caller.visit(&server.address);
    let widest = Hit {
        offset: i64::MIN,
        span: 3_600_000_000,
        source: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
        source_port: u16::MAX,
        trap_port: u16::MAX,
        probe: 5,
        count: u32::MAX,
    };
    let first_sequence = (1 << 62) - 1024;
    let up_to = visit.report(Report {
        first_sequence,
        base: u64::MAX,
        hits: vec![widest; 1024],
    });
    assert_eq!(up_to, (1 << 62) - 1);
    visit.heartbeat(Heartbeat {
        clock: now(),
        traps_wanted: 1024,
        traps: vec![u16::MAX; 1024],
        ..Heartbeat::default()
    });
    let cut = format!("client {}… (", "é".repeat(64));
    server.process.wait_for_log(|line| line.contains(&cut));
}

#[test]
fn a_client_that_says_that_it_cannot_write_its_spool_is_reported_until_it_can() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let mut caller = Caller::new(1);
    // What later releases can do besides is nobody's business.
    caller.capabilities = u64::MAX;
    let (mut visit, _) = caller.visit(&server.address);
    visit.extended_heartbeat(Heartbeat::default(), 0);
    visit.extended_heartbeat(Heartbeat::default(), u64::MAX - 1);
    visit.extended_heartbeat(Heartbeat::default(), 1);
    let opened = server.alert(|alert| alert["detector"] == "degraded");
    assert_eq!(opened["action"], "open");
    assert_eq!(opened["severity"], "medium");
    assert_eq!(opened["subject"]["kind"], "client");
    assert_eq!(opened["subject"]["value"], caller.id());
    assert_eq!(
        opened["title"],
        "cannot write its spool; hits wait in its memory"
    );
    visit.extended_heartbeat(Heartbeat::default(), 0);
    let closed = server.alert(|alert| alert["action"] == "close");
    assert_eq!(closed["incident"], opened["incident"]);
    visit.leave();
    server.process.stop();
}

#[test]
fn no_number_is_too_large_or_too_small_for_the_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    let mut first_sequence = 1;
    for clock in [0, 1, u64::MAX - 1, u64::MAX] {
        visit.heartbeat(Heartbeat {
            clock,
            uptime_millis: clock,
            backlog: clock,
            traps_wanted: u16::MAX,
            traps: vec![],
            hits: clock,
            dropped: clock,
        });
        for base in [0, 1, now(), u64::MAX] {
            let mut hits = Vec::new();
            for offset in [i64::MIN, -1, 0, 1, i64::MAX] {
                for (span, count) in [(0, 1), (1, u32::MAX), (3_600_000_000, u32::MAX)] {
                    hits.push(Hit {
                        offset,
                        span,
                        count,
                        ..hit("192.0.2.66", 22)
                    });
                    hits.push(Hit {
                        offset,
                        count,
                        ..hit("2001:db8::1", 0)
                    });
                }
            }
            let last = first_sequence + hits.len() as u64 - 1;
            let up_to = visit.report(Report {
                first_sequence,
                base,
                hits,
            });
            assert_eq!(up_to, last);
            // Numbers leap as well.
            first_sequence = last.saturating_mul(3);
        }
    }
    visit.leave();
    assert_eq!(server.process.stop().code(), Some(0));
}

#[test]
fn a_wrong_clock_is_corrected_once_a_heartbeat_has_shown_it() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    let hour = 3_600_000_000;
    let began = now();
    visit.heartbeat(Heartbeat {
        clock: now() - hour,
        ..Heartbeat::default()
    });
    visit.report(Report {
        base: now() - hour,
        ..report(1, scan("192.0.2.66"))
    });
    let alert = server.alert(|_| true);
    let seen: jiff::Timestamp = alert["first_seen"].as_str().unwrap().parse().unwrap();
    let off = i128::from(seen.as_microsecond()) - i128::from(began);
    assert!(off.abs() < 20_000_000, "off by {off} µs");
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    // The next question before the answer to the last: not what a client should do, but sound.
    for sequence in [1, 4] {
        visit
            .line
            .send(&ClientMessage::Report(report(sequence, scan("192.0.2.66"))));
    }
    visit
        .line
        .send(&ClientMessage::Heartbeat(Heartbeat::default()));
    let answers: [ServerMessage; 3] = std::array::from_fn(|_| visit.line.receive());
    let expected = [
        ServerMessage::Ack(Ack::durable(3)),
        ServerMessage::Ack(Ack::durable(6)),
        ServerMessage::HeartbeatAck(Ack::durable(6)),
    ];
    assert_eq!(answers, expected);
}
