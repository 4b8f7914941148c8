use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::process::{Finished, Process};
use crate::harness::wire::caller::{Caller, hit, now};
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{Hit, Report};
use crate::harness::{Sandbox, vft};

/// A file under tests/data/replay.
fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/replay");
    let path = folder.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A sandbox with these files from tests/data/replay.
fn with(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::new();
    for name in names {
        sandbox.file(name, &data(name));
    }
    sandbox
}

/// `vft replay --format json` with these arguments, which must go well.
fn replay(sandbox: &Sandbox, arguments: &[&str]) -> Replayed {
    let finished = sandbox.run(&[&["replay", "--format", "json"], arguments].concat());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    Replayed::of(&finished)
}

/// What a replay has said.
struct Replayed {
    alerts: Vec<Value>,
    summary: Value,
}

impl Replayed {
    fn of(finished: &Finished) -> Self {
        let alerts = lines_of_json(&finished.stdout);
        let last = finished.stderr.lines().last().unwrap();
        let summary = serde_json::from_str(last).unwrap();
        Self { alerts, summary }
    }
}

fn lines_of_json(text: &str) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(line).collect()
}

/// Each incident with what its last alert says: the subject, the detectors, and the hits.
fn incidents(alerts: &[Value]) -> BTreeMap<String, [String; 3]> {
    let gist = |alert: &Value| {
        let id = alert["incident"].as_str().unwrap().to_owned();
        let what = ["subject", "detectors", "hits"].map(|field| alert[field].to_string());
        (id, what)
    };
    alerts.iter().map(gist).collect()
}

/// Only the three frequency detectors.
const GIVEN: &str = "[detectors]\nslow-scan.enabled = false\nsubnet-scan.enabled = false\n\
                     port-surge.enabled = false\nclient-surge.enabled = false\n";

#[test]
fn each_detector_fires_exactly_on_its_threshold() {
    let sandbox = with(&["thresholds.csv"]);
    sandbox.file("given.toml", GIVEN);
    let replayed = replay(&sandbox, &["--config", "given.toml", "thresholds.csv"]);
    let opened: Vec<_> = replayed
        .alerts
        .iter()
        .filter(|alert| alert["action"] == "open")
        .map(|alert| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&alert["detector"]),
                text(&alert["time"]),
                alert["hits"].as_u64(),
            )
        })
        .collect();
    let expected = [
        ("frequent-source", "2026-11-24T01:05:00.000Z"),
        ("frequent-port", "2026-11-24T03:05:00.000Z"),
        ("frequent-client", "2026-11-24T05:05:00.000Z"),
    ];
    let expected = expected.map(|(name, time)| (name.to_owned(), time.to_owned(), Some(3)));
    assert_eq!(opened, expected);
    let closed = replayed.alerts.iter().filter(|it| it["action"] == "close");
    assert_eq!(closed.count(), 3, "all incidents are over at the end");
    assert_eq!(replayed.summary["events"], 18);
    assert_eq!(replayed.summary["incidents"], 3);
}

#[test]
fn files_of_both_forms_and_standard_input_go_together_in_any_order() {
    let sandbox = with(&["thresholds.csv", "scan.jsonl"]);
    let both = replay(&sandbox, &["scan.jsonl", "thresholds.csv"]);
    let scan = both
        .alerts
        .iter()
        .rfind(|alert| alert["hits"] == 4)
        .unwrap();
    assert_eq!(scan["subject"]["value"], "2001:db8:0:1::/64");
    assert_eq!(scan["ports"]["count"], 3);
    assert_eq!(scan["clients"]["sample"][0]["name"], "a-1");
    let other = replay(&sandbox, &["thresholds.csv", "scan.jsonl"]);
    assert_eq!(both.summary["digest"], other.summary["digest"]);
    // Last line first, but for the header, and the scan's lines in another order as well.
    let script = format!(
        "(head -1 thresholds.csv; tail -n +2 thresholds.csv | tac) | \
         {} replay --format json --buffer 12h - <(shuf scan.jsonl)",
        vft().display()
    );
    let bash = Process::start(Path::new("bash"), &["-c", &script], &[], &sandbox.path(""));
    let shuffled = Replayed::of(&bash.finish());
    assert_eq!(shuffled.summary["late_lines"], 0);
    assert_eq!(shuffled.summary["digest"], both.summary["digest"]);
}

#[test]
fn lines_that_come_later_than_the_buffer_are_counted() {
    let sandbox = with(&["thresholds.csv"]);
    let text = data("thresholds.csv");
    let (header, rest) = text.split_once('\n').unwrap();
    let backwards: Vec<_> = rest.lines().rev().collect();
    sandbox.file(
        "backwards.csv",
        &format!("{header}\n{}\n", backwards.join("\n")),
    );
    let replayed = replay(&sandbox, &["--buffer", "10m", "backwards.csv"]);
    assert_eq!(replayed.summary["late_lines"], 14);
    assert_eq!(replayed.summary["events"], 18);
}

/// Hits of several scanners, one of which comes within a microsecond of a threshold, and one of a
/// client that was cut off.
fn story() -> Vec<Hit> {
    let at = |micros: i64, source: &str, port: u16| Hit {
        offset: micros,
        ..hit(source, port)
    };
    vec![
        // By milliseconds these would be 300 s apart.
        at(123_900, "192.0.2.1", 21),
        at(150_000_000, "192.0.2.1", 22),
        at(300_123_950, "192.0.2.1", 23),
        // A scan, and one hit of it that comes late.
        at(400_000_001, "2001:db8:0:1::7", 25),
        at(400_000_002, "2001:db8:0:1::8", 80),
        at(400_000_003, "2001:db8:0:1::9", 110),
        at(399_000_000, "2001:db8:0:1::a", 143),
        // Several sources on a port, of which one knocks often.
        at(410_000_000, "198.51.100.1", 3389),
        at(411_000_000, "198.51.100.2", 3389),
        Hit {
            count: 7,
            span: 1000,
            ..at(412_000_000, "198.51.100.3", 3389)
        },
    ]
}

#[test]
fn a_replay_of_what_a_server_has_stored_gives_the_incidents_that_there_were() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["--alert-format", "json"]);
    let base = now() - 500_000_000;
    // Names that are awkward in either form, and two clients with the same one.
    for (number, name) in [(1, "a \"name\", with\u{1b}[2J"), (2, "twin"), (3, "twin")] {
        let caller = Caller {
            name: name.to_owned(),
            ..Caller::new(number)
        };
        // Each from an address of its own: what replays of files know nothing of must not matter.
        let home = Line::plain_from(sandbox.address(number), &server.address);
        let (mut visit, _) = caller.enter(home);
        let hits = story();
        let half = hits.len() / 2;
        for (first, hits) in [(1, &hits[..half]), (1 + half as u64, &hits[half..])] {
            visit.report(Report {
                first_sequence: first,
                base,
                hits: hits.to_vec(),
            });
        }
        visit.leave();
    }
    let live = incidents(&lines_of_json(&server.process.stop().stdout));
    assert!(live.len() >= 3, "{live:#?}");
    let state = ["--state-dir", "server-state"];
    let stored = replay(&sandbox, &[&["--stored"], &state[..]].concat());
    assert_eq!(incidents(&stored.alerts), live);
    assert_eq!(stored.summary["events"], 30);
    assert_eq!(stored.summary["lines"], Value::Null);
    let digests = ["json", "csv"].map(|format| {
        let events = sandbox.run(&[&["events", "--format", format], &state[..]].concat());
        sandbox.file(format, &events.stdout);
        let replayed = replay(&sandbox, &["--strict", format]);
        assert_eq!(incidents(&replayed.alerts), live, "{format}");
        assert_eq!(replayed.summary["late_lines"], 0);
        replayed.summary["digest"].clone()
    });
    // The store knows from the beginning that two clients bear one name; files do not.
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn other_settings_can_be_tried_and_compared() {
    let sandbox = with(&["thresholds.csv", "scan.jsonl"]);
    let files = ["thresholds.csv", "scan.jsonl"];
    sandbox.file(
        "new.toml",
        "[detectors.frequent-port]\nthreshold = 4\n\
         [detectors.frequent-client]\nwindow = \"6m\"\n",
    );
    let tried = replay(&sandbox, &[&["--config", "new.toml"], &files[..]].concat());
    let by_detector = |replayed: &Replayed, detector: &str| {
        let opened = replayed.alerts.iter().filter(|it| it["action"] == "open");
        opened.filter(|it| it["detector"] == detector).count()
    };
    assert_eq!(by_detector(&tried, "frequent-port"), 0);
    assert_eq!(by_detector(&tried, "frequent-client"), 2);

    let compared = replay(&sandbox, &[&["--compare", "new.toml"], &files[..]].concat());
    let changes: Vec<_> = compared
        .alerts
        .iter()
        .map(|change| change["change"].as_str().unwrap())
        .collect();
    assert_eq!(changes, ["disappears", "appears"]);
    let (gone, new) = (&compared.alerts[0], &compared.alerts[1]);
    assert_eq!(gone["before"]["subject"]["value"], "110");
    assert_eq!(
        (&gone["after"], &new["before"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(new["after"]["name"], "f");
    let summary = &compared.summary;
    let counts = ["same", "appear", "disappear", "change"].map(|name| summary[name].as_u64());
    assert_eq!(counts, [6, 1, 1, 0].map(Some));
    assert_eq!(summary["second"]["digest"], tried.summary["digest"]);

    let text = sandbox.run(&[&["replay", "--compare", "new.toml"], &files[..]].concat());
    assert!(
        text.stdout.starts_with("- 2026-11-24T03:00:00Z"),
        "{}",
        text.stdout
    );
    assert!(
        text.stdout.contains("\n+ 2026-11-24T06:00:00Z"),
        "{}",
        text.stdout
    );
    let last = "incidents: 6 same, 1 new, 1 gone, 0 changed";
    assert_eq!(text.stderr.lines().last(), Some(last));
}

#[test]
fn lines_that_make_no_sense_are_counted_and_cited_or_refused() {
    let sandbox = with(&["thresholds.csv"]);
    let text = data("thresholds.csv").replace("192.0.2.2", "192.0.2.2.2");
    sandbox.file("bad.csv", &text);
    let replayed = sandbox.run(&["replay", "bad.csv"]);
    assert_eq!(replayed.code(), Some(0), "{}", replayed.stderr);
    let cited = "WARN  bad.csv:5: `192.0.2.2.2` is not an address";
    assert!(replayed.stderr.contains(cited), "{}", replayed.stderr);
    assert!(replayed.stderr.contains("18 lines of 1 file; 3 were bad"));
    let strict = sandbox.run(&["replay", "--strict", "bad.csv"]);
    assert_eq!(strict.code(), Some(1));
    let last = strict.stderr.lines().last().unwrap();
    assert_eq!(last, "vft: bad.csv:5: `192.0.2.2.2` is not an address");
    sandbox.file("worse.csv", "time,client,source,trap_port\n1,2\n3,4\n");
    let none = sandbox.run(&["replay", "worse.csv"]);
    assert_eq!(none.code(), Some(1));
    let last = none.stderr.lines().last().unwrap();
    assert_eq!(last, "vft: none of 2 lines makes sense");
}

#[test]
fn what_comes_before_a_line_that_ends_a_replay_is_said() {
    let sandbox = Sandbox::new();
    let mut text = "time,client,source,trap_port\n".to_owned();
    for second in [1000, 1001, 1002, 9000] {
        writeln!(text, "{second},web-1,192.0.2.7,22").unwrap();
    }
    sandbox.file("ends.csv", &(text + "nonsense\n"));
    let strict = sandbox.run(&["replay", "--strict", "--format", "json", "ends.csv"]);
    assert_eq!(strict.code(), Some(1));
    let alert: Value = serde_json::from_str(strict.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&alert["action"], &alert["hits"]),
        (&json!("open"), &json!(3))
    );
}

#[test]
fn hostile_files_are_read_to_their_end_and_reach_no_terminal() {
    let sandbox = Sandbox::new();
    let mut bytes = b"time,client,source,trap_port,\x1b[2Jcolumn\n".to_vec();
    for line in [
        &b"0,\x1b]0;owned\x07,192.0.2.1,22,"[..],
        b"0,\x1b]0;owned\x07,192.0.2.1,22,",
        b"0,\x1b]0;owned\x07,192.0.2.1,22,",
        b"9999-12-30T00:00:00.999999Z,\xe2\x80\xae,192.0.2.1,22,",
        b"\x1b[2J,a,192.0.2.1,22,",
        b"1,a,\"192.0.2.1,22,",
        b"1,a,fe80::1%eth0,22,",
        b"\xff\xfe,a,192.0.2.1,22,",
        b"\0\0\0\0",
        b"1,a,192.0.2.1,-1,",
    ] {
        bytes.extend([line, b"\n"].concat());
    }
    bytes.extend(vec![b'x'; 1 << 20]);
    bytes.extend(b"\n1,");
    bytes.extend(vec![b'y'; 60_000]);
    bytes.extend(b",192.0.2.1,22,\n");
    std::fs::write(sandbox.path("hostile\u{1b}[31m.csv"), bytes).unwrap();
    let json = "{\"time\":0,\"client\":\"a\u{200b}\",\"source\":\"192.0.2.1\",\"trap_port\":22}\n\
                {\"time\":0,\"client\":\"\\u001b[2J\",\"source\":\"192.0.2.1\",\"trap_port\":22}\n\
                {\"\\u001b[2J\n{\"time\":\"\\u001b[2J\"}\n";
    sandbox.file("hostile.jsonl", json);
    let files = ["hostile\u{1b}[31m.csv", "hostile.jsonl"];
    for arguments in [&[][..], &["--compare", "new.toml"]] {
        sandbox.file("new.toml", "[detectors.frequent-port]\nenabled = false\n");
        let finished = sandbox.run(&[&["replay"], arguments, &files[..]].concat());
        assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
        assert!(
            finished.stderr.contains("16 lines of 2 files; 9 were bad"),
            "{}",
            finished.stderr
        );
        let said = finished.stdout + &finished.stderr;
        let moves = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c);
        assert!(!said.contains(moves), "{said}");
        assert!(said.len() < 20_000, "{}", said.len());
    }
}

#[test]
fn what_cannot_be_replayed_is_named_with_a_code() {
    let sandbox = with(&["thresholds.csv"]);
    sandbox.file("bad.toml", "[detectors.frequent-prot]\n");
    sandbox.file("letter.txt", "Dear all,\n");
    std::fs::write(sandbox.path("events.csv.gz"), b"\x1f\x8b\x08\0\0\0\0\0").unwrap();
    for (arguments, code, says) in [
        (&[][..], 2, "<FILE>..."),
        (&["--stored", "thresholds.csv"], 2, "cannot be used with"),
        (&["--buffer", "5", "thresholds.csv"], 2, "300s, 5m or 7d"),
        (&["absent.csv"], 1, "cannot read absent.csv"),
        (&["."], 1, "cannot read ."),
        (
            &["letter.txt"],
            1,
            "letter.txt:1: neither a JSON object nor the header",
        ),
        (&["events.csv.gz"], 1, "pipe it through zcat"),
        (
            &["--stored", "--state-dir", "absent"],
            1,
            "there is no store",
        ),
        (
            &["--config", "bad.toml", "thresholds.csv"],
            78,
            "bad.toml:1:12",
        ),
        (
            &["--compare", "absent.toml", "thresholds.csv"],
            78,
            "absent.toml",
        ),
    ] {
        let finished = sandbox.run(&[&["replay"], arguments].concat());
        assert_eq!(
            finished.code(),
            Some(code),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert!(
            finished.stderr.contains(says),
            "{arguments:?}: {}",
            finished.stderr
        );
        assert_eq!(finished.stdout, "");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_well() {
    let sandbox = Sandbox::new();
    let mut text = "time,client,source,trap_port\n".to_owned();
    for event in 0..30_000 {
        let source = format!("10.0.{}.{}", event / 3 / 250, event / 3 % 250);
        text += &format!("{event},web-{},{source},{event}\n", event % 3);
    }
    let path: PathBuf = sandbox.file("many.csv", &text);
    let script = format!(
        "{} replay -q {} | head -1; echo ${{PIPESTATUS[0]}}",
        vft().display(),
        path.display()
    );
    let bash = Process::start(Path::new("bash"), &["-c", &script], &[], &sandbox.path(""));
    let finished = bash.finish();
    assert_eq!(finished.stdout.lines().count(), 2, "{}", finished.stdout);
    assert_eq!(finished.stdout.lines().last(), Some("0"));
    assert_eq!(finished.stderr, "", "-q wants no summary");
}
