use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::Line;
use crate::harness::{PORTS, Sandbox, has};

const JSON: [&str; 2] = ["--alert-format", "json"];

fn is(alert: &Value, field: &str, value: &str) -> bool {
    alert[field] == value
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

#[test]
fn a_port_hit_by_three_sources_on_three_clients_blames_no_source() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let clients: Vec<_> = (0..3)
        .map(|_| sandbox.client(&server.address, &[]))
        .collect();
    for (source, client) in (10..).zip(&clients) {
        client.connected();
        connect(sandbox.address(source), client.address, PORTS[2]);
    }
    let alert = server.alert(|alert| is(alert, "action", "open"));
    assert_eq!(alert["detector"], "frequent-port");
    assert_eq!(alert["subject"]["kind"], "port");
    assert_eq!(alert["subject"]["value"], PORTS[2].to_string());
    assert_eq!(alert["sources"]["count"], 3);
    let finished = server.process.stop();
    let opened = finished
        .stdout
        .lines()
        .filter(|line| line.contains("\"open\""))
        .count();
    assert_eq!(opened, 1, "{}", finished.stdout);
}

/// Scans the hosts' trap ports as a stranger would.
fn nmap(hosts: &[String]) {
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let output = Command::new("nmap")
        .args(["-sT", "-Pn", "-n", "-p", &ports])
        .args(hosts)
        .output()
        .expect("nmap is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        report.matches("/tcp open").count(),
        PORTS.len() * hosts.len(),
        "{report}"
    );
}

#[test]
fn nmap_over_four_clients_is_one_incident_that_names_all() {
    if !has("nmap") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let clients: Vec<_> = (0..4)
        .map(|_| sandbox.client(&server.address, &[]))
        .collect();
    let hosts: Vec<_> = clients
        .iter()
        .map(|client| client.connected().address.to_string())
        .collect();
    nmap(&hosts);
    let alert = server.alert(|alert| alert["hits"] == 20);
    assert_eq!(alert["subject"]["kind"], "source");
    assert_eq!(alert["clients"]["count"], 4);
    assert_eq!(alert["ports"]["count"], 5);
    assert_eq!(alert["shape"], "block");
    assert_eq!(
        names(&alert["detectors"]),
        BTreeSet::from(["frequent-source", "frequent-port", "frequent-client"])
    );
    let finished = server.process.stop();
    let incidents: BTreeSet<_> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["incident"].to_string())
        .collect();
    assert_eq!(incidents.len(), 1, "{}", finished.stdout);
    assert!(
        finished.stderr.contains("stopped: 20 hits"),
        "{}",
        finished.stderr
    );
}

#[test]
fn nmap_over_one_client_is_one_line_that_names_source_ports_and_detectors() {
    if !has("nmap") {
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    // One client with traps on three addresses, so that each port is touched three times.
    let addresses: Vec<_> = (1..=3).map(|n| sandbox.address(n).to_string()).collect();
    let bind: Vec<_> = addresses
        .iter()
        .flat_map(|address| ["--bind", address])
        .collect();
    let client = sandbox.client(&server.address, &bind);
    client.connected();
    nmap(&addresses);
    let line = server.process.wait_for(|line| {
        matches!(line, Line::Out(text) if text.ends_with("update") && text.contains("15 hits"))
    });
    assert!(line.contains(" HIGH   127."), "{line}");
    assert!(
        line.contains("on 1 client (host-0), ports 20022 20080 20445 21389 28080"),
        "{line}"
    );
    assert!(
        line.contains("[frequent-source frequent-port frequent-client]"),
        "{line}"
    );
    let opened = server
        .process
        .lines(|line| matches!(line, Line::Out(text) if text.ends_with(" open")));
    assert_eq!(opened.len(), 1, "{opened:?}");
}
