use serde_json::Value;

use crate::harness::Sandbox;
use crate::harness::process::Finished;

/// `vft evaluate`, small, with these arguments beside.
fn evaluate(sandbox: &Sandbox, arguments: &[&str]) -> Finished {
    let small = "evaluate --clients 60 --days 3 --scanners 4 --flood 2000";
    let small: Vec<_> = small.split(' ').collect();
    sandbox.run(&[&small, arguments].concat())
}

fn parse(finished: &Finished) -> Value {
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn scanners_are_found_the_sooner_the_faster_they_are() {
    let sandbox = Sandbox::new();
    let arguments = ["--scenario", "slow", "--format", "json"];
    let finished = evaluate(&sandbox, &arguments);
    let report = parse(&finished);
    let part = &report["scenarios"][0]["parts"][0];
    let attackers = part["attackers"].as_array().unwrap();
    let by_rate: Vec<_> = attackers
        .iter()
        .filter(|group| group["by"] == "rate")
        .collect();
    assert_eq!(by_rate.len(), 11);
    for group in &by_rate[5..] {
        assert_eq!(group["attackers"], 4, "{group}");
        // At least one a minute: three within five minutes are not far.
        assert!(group["found"].as_u64().unwrap() >= 3, "{group}");
    }
    let delay = |group: &Value| group["seconds"]["median"].as_f64().unwrap();
    let delays: Vec<_> = by_rate[6..].iter().map(|group| delay(group)).collect();
    assert!(
        delays.windows(2).all(|pair| pair[1] < pair[0]),
        "{delays:?}"
    );

    assert_eq!(evaluate(&sandbox, &arguments).stdout, finished.stdout);
    let other_seed = [&arguments[..], &["--seed", "2"]].concat();
    assert_ne!(evaluate(&sandbox, &other_seed).stdout, finished.stdout);
}

#[test]
fn every_scenario_ends_with_its_targets() {
    let finished = evaluate(&Sandbox::new(), &["--scenario", "all"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    for scenario in [
        "slow",
        "shared",
        "coordinated",
        "lateral",
        "flood",
        "benign",
        "noisy",
    ] {
        assert!(
            finished.stdout.contains(&format!("\n{scenario}: ")),
            "{scenario}: {}",
            finished.stdout
        );
    }
    let tables = finished.stdout.matches("  wanted  measured").count();
    assert_eq!(tables, 9, "{}", finished.stdout);
    let last = finished.stdout.lines().last().unwrap();
    assert!(last.ends_with(" targets met"), "{last}");
    assert!(
        finished.stdout.contains(" MiB resident"),
        "{}",
        finished.stdout
    );
}

/// An engine that is told to expect everybody finds nobody.
#[test]
fn a_missed_target_is_a_failure_if_it_is_asked_to_be() {
    let sandbox = Sandbox::new();
    let everybody = "[[allow]]\nnetwork = \"0.0.0.0/0\"\n[[allow]]\nnetwork = \"::/0\"\n";
    sandbox.file("server.toml", everybody);
    let arguments = ["--scenario", "slow", "--config", "server.toml"];
    let finished = evaluate(&sandbox, &arguments);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(
        finished.stdout.contains("no false alarms"),
        "{}",
        finished.stdout
    );
    let strict = [&arguments[..], &["--strict"]].concat();
    let finished = evaluate(&sandbox, &strict);
    assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("vft: 3 targets missed"),
        "{}",
        finished.stderr
    );
}

#[test]
fn the_delays_can_be_drawn() {
    let sandbox = Sandbox::new();
    let finished = evaluate(&sandbox, &["--scenario", "shared", "--svg", "delay.svg"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let picture = std::fs::read_to_string(sandbox.path("delay.svg")).unwrap();
    assert!(picture.starts_with("<svg xmlns="), "{picture}");
    assert!(picture.ends_with("</svg>\n"), "{picture}");
    for part in [
        "prefers-color-scheme: dark",
        ">1 a second<",
        ">shared: half are found<",
    ] {
        assert!(picture.contains(part), "{part}: {picture}");
    }
    assert!(
        !picture.contains("NaN") && !picture.contains("inf"),
        "{picture}"
    );

    let finished = evaluate(&sandbox, &["--scenario", "benign", "--svg", "delay.svg"]);
    assert_eq!(finished.code(), Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("hint: "), "{}", finished.stderr);
}
