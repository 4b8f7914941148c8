use rustix::process::Signal;
use serde_json::Value;

use crate::harness::process::Finished;
use crate::harness::wire::caller::{Caller, Visit, hit, report};
use crate::harness::{Sandbox, Server};

const EXPOSED: &str = "[alerts]\nprofile = \"exposed\"\n";
const STRANGER: &str = "192.0.2.66";
const NEIGHBOUR: &str = "10.0.0.66";

fn server(sandbox: &Sandbox, settings: &str) -> Server {
    sandbox.file("server.toml", settings);
    sandbox.server(&["--config", "server.toml", "--alert-format", "json"])
}

/// Reports that somebody has touched three traps, and waits until that is on the server's disk.
fn touch(visit: &mut Visit, first_sequence: u64, source: &str) {
    let hits = [22, 80, 445].map(|port| hit(source, port)).to_vec();
    let up_to = visit.report(report(first_sequence, hits));
    assert_eq!(up_to, first_sequence + 2);
}

fn is_about(alert: &Value, source: &str) -> bool {
    alert["subject"]["value"] == source
}

/// The digests of a finished server, and how many alerts it has written one by one.
fn digests(finished: &Finished) -> (Vec<Value>, usize) {
    let lines = finished.stdout.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (digests, alerts): (Vec<_>, Vec<_>) = lines.partition(|line| line["action"] == "digest");
    (digests, alerts.len())
}

#[test]
fn where_the_internet_reaches_the_traps_strangers_come_in_a_digest_and_neighbours_at_once() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, &format!("{EXPOSED}digest = \"1s\"\n"));
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    touch(&mut visit, 1, STRANGER);
    touch(&mut visit, 4, NEIGHBOUR);
    let alert = server.alert(|alert| alert["action"] == "open");
    assert!(is_about(&alert, NEIGHBOUR), "{alert}");
    let digest = server.alert(|alert| alert["action"] == "digest");
    assert!(is_about(&digest["gravest"][0], STRANGER), "{digest}");
    assert_eq!(digest["gravest"][0]["subject"]["zone"], "outside");
    assert_eq!(digest["by_detector"]["frequent-source"], digest["alerts"]);
    assert_eq!(digest["by_reason"]["outside"], digest["alerts"]);
    let finished = server.process.stop();
    let (digests, _) = digests(&finished);
    let held: u64 = digests
        .iter()
        .map(|it| it["alerts"].as_u64().unwrap())
        .sum();
    let says = format!("{held} held for {} digests", digests.len());
    assert!(
        finished.stderr.contains(&says),
        "{says}: {}",
        finished.stderr
    );
    let stored = sandbox.run(&["alerts", "--state-dir", "server-state"]);
    assert!(stored.stdout.contains(STRANGER), "{}", stored.stdout);
}

#[test]
fn what_a_killed_server_held_is_in_the_first_digest_of_the_next() {
    let sandbox = Sandbox::new();
    let first = server(&sandbox, EXPOSED);
    let (mut visit, _) = Caller::new(1).visit(&first.address);
    touch(&mut visit, 1, STRANGER);
    first.process.signal(Signal::KILL);
    let finished = first.process.finish();
    assert_eq!(finished.stdout, "");
    let finished = server(&sandbox, EXPOSED).process.stop();
    let (said, alone) = digests(&finished);
    assert_eq!((said.len(), alone), (1, 0), "{}", finished.stdout);
    assert!(is_about(&said[0]["gravest"][0], STRANGER), "{}", said[0]);
    assert_eq!(said[0]["by_action"]["open"], 1);
    let finished = server(&sandbox, EXPOSED).process.stop();
    assert_eq!(finished.stdout, "", "it is not said again");
}

#[test]
fn a_reload_changes_what_is_held_from_then_on() {
    let sandbox = Sandbox::new();
    let server = server(&sandbox, EXPOSED);
    let (mut visit, _) = Caller::new(1).visit(&server.address);
    touch(&mut visit, 1, STRANGER);
    sandbox.file("server.toml", "");
    server.process.signal(Signal::HUP);
    server
        .process
        .wait_for_log(|line| line.contains("reloaded:"));
    let other = "198.51.100.66";
    touch(&mut visit, 4, other);
    server.alert(|alert| is_about(alert, other) && alert["action"] == "open");
    let (said, _) = digests(&server.process.stop());
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["by_action"]["open"], 1);
}

#[test]
fn a_replay_holds_what_a_server_would_and_its_digest_is_of_all_alerts() {
    let sandbox = Sandbox::new();
    sandbox.file("exposed.toml", EXPOSED);
    let mut events = "time,client,source,trap_port\n".to_owned();
    for second in 0..300 {
        let source = if second % 2 == 0 { STRANGER } else { NEIGHBOUR };
        events += &format!("{},web-{},{source},22\n", second * 400, second % 3);
    }
    sandbox.file("events.csv", &events);
    let replay = |arguments: &[&str]| {
        let finished = sandbox.run(&[&["replay", "--format", "json"], arguments].concat());
        let summary = finished.stderr.lines().last().unwrap();
        let summary: Value = serde_json::from_str(summary).unwrap();
        (digests(&finished), summary)
    };
    let ((none, all), open) = replay(&["events.csv"]);
    let ((some, passed), exposed) = replay(&["--config", "exposed.toml", "events.csv"]);
    assert_eq!((none.len(), &open["held"]), (0, &0.into()));
    assert_eq!(open["digest"], exposed["digest"]);
    let held: u64 = some.iter().map(|it| it["alerts"].as_u64().unwrap()).sum();
    assert!(held > 0 && passed > 0, "{exposed}");
    assert_eq!(held + passed as u64, all as u64);
    assert_eq!(exposed["held"], held);
    assert_eq!(exposed["digests"], some.len());
}
