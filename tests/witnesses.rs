use std::net::Ipv4Addr;

use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::wire::caller::{Caller, Visit, hit, now, report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::Heartbeat;
use crate::harness::{Client, PORTS, Sandbox, Server};

/// A server that writes JSON, with these settings.
fn server(sandbox: &Sandbox, settings: &str) -> Server {
    sandbox.file("server.toml", settings);
    sandbox.server(&["--config", "server.toml", "--alert-format", "json"])
}

/// An identity of its own for each number.
fn caller(number: u16) -> Caller {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    Caller::of(seed, &format!("by-hand-{number}"))
}

/// A loopback address for each number, which nothing else uses here.
fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 128, 7, number)
}

/// A visit from this address.
fn visit(caller: &Caller, from: Ipv4Addr, server: &Server) -> Visit {
    caller.enter(Line::plain_from(from, &server.address)).0
}

/// The alert about a source that so many clients have seen.
fn told(server: &Server, source: &str, clients: u64) -> Value {
    server
        .alert(|alert| alert["subject"]["value"] == source && alert["clients"]["count"] == clients)
}

#[test]
fn identities_at_one_address_frame_nobody_and_hosts_at_ten_addresses_are_believed() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "");
    let frame = |from: fn(u8) -> u8, first: u16, source: &str| {
        let mut visits: Vec<_> = (1..=10)
            .map(|number| {
                let caller = caller(first + u16::from(number));
                visit(&caller, address(from(number)), &server)
            })
            .collect();
        for visit in &mut visits {
            visit.report(report(1, vec![hit(source, 22)]));
        }
        told(&server, source, 10)
    };
    let framed = frame(|_| 99, 0, "192.0.2.66");
    assert_eq!(framed["severity"], "high", "{framed}");
    assert_eq!(framed["confidence"], 40);
    assert_eq!(framed["witnesses"], 1);
    let notes = framed["notes"].to_string();
    assert!(notes.contains("single reporter"), "{notes}");
    assert!(
        notes.contains("10 clients at one address report it"),
        "{notes}"
    );
    let seen = frame(|number| number, 100, "192.0.2.77");
    assert_eq!(seen["severity"], "critical", "{seen}");
    assert_eq!(
        (&seen["witnesses"], &seen["notes"]),
        (&10.into(), &Value::Array(Vec::new()))
    );
}

#[test]
fn a_flood_from_one_address_does_not_discredit_the_host_that_it_touches() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "");
    let mut fleet: Vec<_> = (1..=20_u8)
        .map(|number| visit(&caller(number.into()), address(100 + number), &server))
        .collect();
    for (visit, number) in fleet.iter_mut().zip(1..) {
        visit.report(report(1, vec![hit(&format!("198.51.100.{number}"), 23)]));
    }
    let strangers = |count| vec![hit("203.0.113.9", 22); count];
    fleet[2].report(report(2, strangers(1000)));
    fleet[2].report(report(1002, strangers(100)));
    told(&server, "203.0.113.9", 1);
    let host = address(105).to_string();
    let scan = [22, 80, 445].map(|port| hit(&host, port));
    fleet[2].report(report(1102, scan.to_vec()));
    let found = told(&server, &host, 1);
    assert_eq!(
        (&found["severity"], &found["confidence"]),
        (&"high".into(), &80.into())
    );
    let lines = server.process.stop().stdout;
    assert!(!lines.contains("lying-client"), "{lines}");
}

#[test]
fn one_heartbeat_that_names_a_port_often_hides_no_coordinated_scan() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "");
    let holds = |port: u16, times: usize| Heartbeat {
        clock: now(),
        traps: vec![port; times],
        ..Heartbeat::default()
    };
    let mut fleet: Vec<_> = (1..=30_u8)
        .map(|number| {
            let mut visit = visit(&caller(number.into()), address(number), &server);
            visit.heartbeat(holds(445, 1));
            visit
        })
        .collect();
    let mut rogue = visit(&caller(999), address(77), &server);
    rogue.heartbeat(holds(445, 1024));
    for (visit, number) in fleet.iter_mut().zip(1..) {
        visit.report(report(1, vec![hit(&format!("198.51.{number}.7"), 445)]));
    }
    let found = server.alert(|alert| {
        let detectors = alert["detectors"].to_string();
        detectors.contains("coordinated-scan") && alert["severity"] == "critical"
    });
    assert_eq!(found["subject"]["value"], "445");
}

#[test]
fn each_client_that_is_killed_is_named_whoever_else_has_come_once() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "[limits]\nheartbeat = \"400ms\"\n");
    for number in 0..300 {
        let _gone = visit(&caller(number), address(99), &server);
    }
    let clients: Vec<Client> = (0..4)
        .map(|_| sandbox.client(&server.address, &[]))
        .collect();
    for client in &clients {
        client.connected();
        // It has reported something, so it is more than somebody who has looked in.
        connect(address(1), client.address, PORTS[0]);
    }
    told(&server, &address(1).to_string(), 4);
    server.alert(|alert| alert["subject"]["kind"] == "fleet" && alert["action"] == "open");
    // One is left.
    let left = clients.into_iter().nth(3).unwrap();
    for number in 0..3 {
        server.alert(|alert| {
            alert["detector"] == "silent-client"
                && alert["subject"]["name"] == format!("host-{number}")
                && alert["severity"] == "medium"
        });
    }
    drop(left);
    server.alert(|alert| {
        alert["detector"] == "silent-client" && alert["subject"]["name"] == "host-3"
    });
}

#[test]
fn names_that_two_clients_bear_are_told_apart_in_lists() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, "");
    let twins = [caller(1), caller(2)].map(|caller| Caller {
        name: "web-7".to_owned(),
        ..caller
    });
    for caller in twins.iter().chain([&caller(3)]) {
        let mut visit = visit(caller, address(1), &server);
        visit.report(report(1, vec![hit("192.0.2.66", 22)]));
    }
    for list in ["clients", "events"] {
        let listed = sandbox.run(&[list, "--state-dir", "server-state"]).stdout;
        for caller in &twins {
            let id = caller.id();
            let name = format!("web-7 ({})", id.split_at(8).0);
            assert!(listed.contains(&name), "{name}: {listed}");
        }
        assert!(listed.contains("by-hand-3 "), "{listed}");
        assert!(!listed.contains("by-hand-3 ("), "{listed}");
    }
}
