use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::wire::caller::{Caller, Visit, hit, report};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::Hit;
use crate::harness::{Client, PORTS, Sandbox, Server};

const JSON: [&str; 2] = ["--alert-format", "json"];

/// Where the attacker's client is; the honest ones are at 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 231, 0, 1);

/// As soon as an alert comes on a machine that does other things as well.
const USUAL: Duration = Duration::from_secs(5);

/// A client that the attacker owns.
fn rogue(server: &Server) -> Visit {
    let line = Line::plain_from(ELSEWHERE, &server.address);
    Caller::of([66; 32], "owned").enter(line).0
}

/// Reports hits, as many at once as a report may have.
fn tell(rogue: &mut Visit, hits: &[Hit]) {
    let mut first = 1;
    for hits in hits.chunks(1024) {
        rogue.report(report(first, hits.to_vec()));
        first += u64::try_from(hits.len()).unwrap();
    }
}

fn about(alert: &Value, subject: &str) -> bool {
    alert["action"] == "open" && alert["subject"]["value"] == subject
}

/// A stranger touches the traps of all clients, port by port. What is said of that, and when.
fn sweep(sandbox: &Sandbox, server: &Server, clients: &[Client]) -> (Value, Duration) {
    let intruder = sandbox.address(15);
    let began = Instant::now();
    for port in PORTS {
        for client in clients {
            connect(intruder, client.address, port);
        }
    }
    let alert = server.alert(|alert| about(alert, &intruder.to_string()));
    (alert, began.elapsed())
}

#[test]
fn a_client_that_makes_up_thousands_of_sources_does_not_make_the_server_deaf() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let clients: Vec<_> = (0..4)
        .map(|_| sandbox.client(&server.address, &[]))
        .collect();
    for client in &clients {
        client.connected();
    }
    let mut rogue = rogue(&server);
    let sources = (0..4200_u32).map(|number| Ipv4Addr::from(0x2d00_0000 + number * 256));
    let lies: Vec<_> = sources
        .flat_map(|source| [22, 80, 445].map(|port| hit(&source.to_string(), port)))
        .collect();
    tell(&mut rogue, &lies);
    let (alert, took) = sweep(&sandbox, &server, &clients);
    assert!(took < USUAL, "{took:?}");
    assert_eq!(alert["severity"], "high");
    let degraded = server.alert(|alert| alert["detector"] == "degraded");
    assert_eq!(degraded["severity"], "high");
    let title = degraded["title"].as_str().unwrap();
    // Two addresses have half of the places each.
    let attacker = "reports of owned at 127.231.0.1 hold 2048 of 4096 places";
    assert!(title.contains(attacker), "{title}");
}

#[test]
fn clients_that_make_up_ports_do_not_hide_what_happens_on_a_real_one() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let clients: Vec<_> = (0..3)
        .map(|_| sandbox.client(&server.address, &[]))
        .collect();
    let mut rogue = rogue(&server);
    let mut first = 1;
    for (source, client) in (10..).zip(&clients) {
        client.connected();
        connect(sandbox.address(source), client.address, PORTS[2]);
        for ports in 30..35_u16 {
            let ports = (0..1000).map(|port| ports * 1000 + port);
            let lies = ports.map(|port| hit("192.0.2.66", port)).collect();
            rogue.report(report(first, lies));
            first += 1000;
        }
    }
    let port = PORTS[2].to_string();
    let alert = server.alert(|alert| about(alert, &port));
    assert_eq!(alert["detector"], "frequent-port");
    assert_eq!(alert["sources"]["count"], 3);
}
