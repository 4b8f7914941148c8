use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::Signal;

use crate::harness::peer::connect;
use crate::harness::process::{Line, Process};
use crate::harness::{PORTS, SECRET, Sandbox, vft};

#[test]
fn the_drill_sets_everything_up_and_passes() {
    let sandbox = Sandbox::new();
    let finished = sandbox.run(&["standalone", "--drill"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let lines: Vec<_> = finished.stdout.lines().collect();
    assert!(lines[0].ends_with(" open"), "{}", finished.stdout);
    assert!(
        lines[1].contains("[frequent-source frequent-port frequent-client]"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("drill passed: 5 traps touched 15 times"),
        "{}",
        lines[2]
    );
    assert_eq!(lines.len(), 3);
}

#[test]
fn standalone_guards_one_host_until_it_is_told_to_stop() {
    let sandbox = Sandbox::new();
    let address = sandbox.address(0);
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let standalone = sandbox.start(
        &[
            "standalone",
            "--bind",
            &address.to_string(),
            "--ports",
            &ports,
        ],
        &[],
    );
    standalone.wait_for_log(|line| line.contains("connected to"));
    for port in &PORTS[..3] {
        connect(address, address, *port);
    }
    standalone.wait_for(|line| matches!(line, Line::Out(text) if text.contains(" open")));
    assert_eq!(standalone.stop().code(), Some(0));
}

/// The lines that every description of vft begins with, as they stand, but for the port (one that
/// is free) and the server's name (one that resolves here).
#[test]
fn the_quick_start_works_to_the_letter() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "localhost"]);
    std::fs::copy(sandbox.path("cert.pem"), sandbox.path("some-cert.pem")).unwrap();
    std::fs::copy(sandbox.path("key.pem"), sandbox.path("some-key.pem")).unwrap();
    for name in ["vft-server", "vft-client"] {
        symlink(vft(), sandbox.path(name)).unwrap();
    }

    let servers = [
        (
            "vft-server",
            "--bind 0.0.0.0:0 --cert some-cert.pem --key some-key.pem --secret sharedsecret",
        ),
        (
            "vft-server",
            "--secret sharedsecret --ssl --cert ./cert.pem --key ./key.pem --bind 0.0.0.0:0",
        ),
        // As the image runs it, whose entry point is vft.
        (
            "vft",
            "vft-server --bind 0.0.0.0:0 --ssl --cert some-cert.pem --key some-key.pem --secret sharedsecret",
        ),
    ];
    let clients = [
        "--server localhost:PORT --cert some-cert.pem",
        "--cert ./cert.pem --server localhost:PORT",
    ];
    for (program, arguments) in servers {
        let program = if program == "vft" {
            vft().to_owned()
        } else {
            sandbox.path(program)
        };
        let arguments: Vec<_> = arguments.split(' ').collect();
        let server = Process::start(&program, &arguments, &[], &sandbox.path(""));
        let ready = server.wait_for_log(|line| line.contains("ready: listening on"));
        let port = ready
            .split_once("0.0.0.0:")
            .unwrap()
            .1
            .split(' ')
            .next()
            .unwrap();
        for arguments in clients {
            let arguments = arguments.replace("PORT", port);
            let arguments: Vec<_> = arguments.split(' ').collect();
            let variables = [
                ("VFT_SECRET", "sharedsecret"),
                ("VFT_TRAP_BIND", "127.0.0.99"),
            ];
            let client = Process::start(
                &sandbox.path("vft-client"),
                &arguments,
                &variables,
                &sandbox.path(""),
            );
            client.wait_for_log(|line| line.contains("connected to localhost"));
            client.wait_for_log(|line| line.contains("ready: 5 traps open:"));
            assert_eq!(client.stop().code(), Some(0));
        }
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[test]
fn sighup_reloads_thresholds_and_a_bad_file_changes_nothing() {
    let sandbox = Sandbox::new();
    let high = "[detectors.frequent-source]\nthreshold = 100\n[detectors.frequent-client]\nenabled = false\n";
    sandbox.file("server.toml", high);
    let server = sandbox.server(&["--config", "server.toml"]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    sandbox.file("server.toml", "[detectors.frequent-sauce]\n");
    server.process.signal(Signal::HUP);
    let line = server
        .process
        .wait_for_log(|line| line.contains("the old settings stay in force"));
    assert!(line.contains("server.toml:1:12"), "{line}");
    sandbox.file(
        "server.toml",
        "[detectors.frequent-source]\nthreshold = 2\n",
    );
    server.process.signal(Signal::HUP);
    server
        .process
        .wait_for_log(|line| line.contains("reloaded:"));
    connect(client.address, client.address, PORTS[0]);
    connect(client.address, client.address, PORTS[1]);
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains("2 hits")));
    client.process.signal(Signal::HUP);
    assert_eq!(
        client.process.stop().code(),
        Some(0),
        "a client outlives a SIGHUP"
    );
}

#[test]
fn alerts_go_on_when_the_log_is_json() {
    let sandbox = Sandbox::new();
    let finished = sandbox.run(&[
        "standalone",
        "--drill",
        "--log-format",
        "json",
        "--alert-format",
        "json",
    ]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    for line in finished.stderr.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(record["message"].is_string(), "{line}");
    }
}

#[test]
fn a_server_whose_alerts_nobody_reads_ends_with_a_message() {
    let sandbox = Sandbox::new();
    let script = format!(
        "{} standalone --ports 20022,20080,20445 --bind {} | true; echo ${{PIPESTATUS[0]}}",
        vft().display(),
        sandbox.address(0)
    );
    let process = Process::start(Path::new("bash"), &["-c", &script], &[], &sandbox.path(""));
    process.wait_for_log(|line| line.contains("connected to"));
    for port in &PORTS[..3] {
        connect(sandbox.address(0), sandbox.address(0), *port);
    }
    let finished = process.finish();
    assert!(
        finished.stderr.contains("nobody reads the alerts"),
        "{}",
        finished.stderr
    );
    assert_eq!(finished.stdout.trim_end(), "1");
}

#[test]
fn names_that_strangers_choose_reach_no_terminal_as_they_are() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = sandbox.address(0);
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let bind = address.to_string();
    let arguments = [
        "client",
        "--server",
        &server.address,
        "--name",
        "web\u{1b}[31m\u{202e}7",
        "--bind",
        &bind,
        "--ports",
        &ports,
    ];
    let client = sandbox.start(&arguments, &[("VFT_SECRET", SECRET)]);
    client.wait_for_log(|line| line.contains("connected to"));
    for port in &PORTS[..3] {
        connect(address, address, *port);
    }
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains(" open")));
    let finished = server.process.stop();
    let all = finished.stdout + &finished.stderr;
    assert!(all.contains("web\\u{1b}[31m\\u{202e}7"), "{all}");
    assert!(!all.contains(['\u{1b}', '\u{202e}']), "{all}");
}
