use std::fs;
use std::net::TcpListener;

use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::harness::process::Finished;
use crate::harness::{Sandbox, has};

/// The command fails with this code and says each of these.
fn assert_fails(finished: &Finished, code: i32, says: &[&str]) {
    assert_eq!(finished.code(), Some(code), "{}", finished.stderr);
    for text in says {
        assert!(
            finished.stderr.contains(text),
            "{text} is not in {}",
            finished.stderr
        );
    }
}

#[test]
fn ssl_without_a_certificate_or_a_key_names_what_is_missing() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = |arguments: &[&str]| sandbox.run(&[&["server"], arguments].concat());
    assert_fails(
        &server(&["--ssl"]),
        2,
        &["vft: cert and key: missing", "--ssl is given", "hint:"],
    );
    assert_fails(
        &server(&["--ssl", "--cert", "cert.pem"]),
        2,
        &["vft: key: missing"],
    );
    assert_fails(
        &server(&["--ssl", "--key", "key.pem"]),
        2,
        &["vft: cert: missing"],
    );
    assert_fails(&server(&["--cert", "cert.pem"]), 2, &["vft: key: missing"]);
}

#[test]
fn files_that_are_no_certificate_and_key_are_named() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    sandbox.file(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
    );
    sandbox.file("empty.pem", "");
    let server = |cert: &str, key: &str| sandbox.run(&["server", "--cert", cert, "--key", key]);
    assert_fails(
        &server("absent.pem", "key.pem"),
        78,
        &["cannot read absent.pem", "No such file"],
    );
    assert_fails(
        &server("garbage.pem", "key.pem"),
        78,
        &["garbage.pem is not PEM"],
    );
    assert_fails(
        &server("empty.pem", "key.pem"),
        78,
        &["empty.pem holds no certificate"],
    );
    assert_fails(
        &server("key.pem", "key.pem"),
        78,
        &["key.pem holds no certificate"],
    );
    assert_fails(
        &server("cert.pem", "cert.pem"),
        78,
        &["cert.pem holds no private key"],
    );
    assert_fails(&server(".", "key.pem"), 78, &["cannot read .:"]);
    let client = sandbox.run(&["client", "--cert", "absent.pem"]);
    assert_fails(&client, 78, &["cannot read absent.pem"]);
    let client = sandbox.run(&["client", "--cert", "key.pem"]);
    assert_fails(
        &client,
        78,
        &["key.pem holds no certificate", "not key.pem"],
    );
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.run(&["cert", "--name", "127.0.0.1", "--out", "other"]);
    let server = sandbox.run(&["server", "--cert", "cert.pem", "--key", "other/key.pem"]);
    assert_fails(
        &server,
        78,
        &["the key does not belong to the certificate", "vft cert"],
    );
}

#[test]
fn a_port_in_use_is_named() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = sandbox.run(&["server", "--bind", &address]);
    assert_fails(
        &server,
        1,
        &[&format!("vft: cannot listen on {address}"), "ss -ltnp"],
    );
}

#[test]
fn values_that_make_no_sense_are_usage_errors() {
    let sandbox = Sandbox::new();
    let client = |arguments: &[&str]| sandbox.run(&[&["client"], arguments].concat());
    assert_fails(
        &client(&["--rotate", "300"]),
        2,
        &["--rotate", "300s, 5m or 7d"],
    );
    assert_fails(
        &client(&["--ports", "ssh"]),
        2,
        &["--ports", "`ssh` is not a port"],
    );
    assert_fails(
        &client(&["--count", "0"]),
        2,
        &["--count", "from 1 to 1024"],
    );
    assert_fails(
        &client(&["--server", "a b"]),
        2,
        &["--server", "vft.example.net:9999"],
    );
    assert_fails(
        &client(&["--ports", "22", "--exclude-ports", "22"]),
        78,
        &["no port is left"],
    );
    assert_fails(&client(&["--flag"]), 2, &["--flag"]);
    assert_fails(
        &sandbox.run(&["server", "--bind", "9999"]),
        2,
        &["--bind", "0.0.0.0:9999"],
    );
    assert_fails(&sandbox.run(&["serve"]), 2, &["serve"]);
    assert_fails(
        &sandbox.run(&["server", "--secret", ""]),
        2,
        &["secret is empty"],
    );
}

#[test]
fn a_settings_file_is_cited_by_line_and_column() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "a.toml",
        "bind = \"127.0.0.1:0\"\n\n[detectors.frequent-port]\ntreshold = 5\n",
    );
    let server = sandbox.run(&["server", "--config", "a.toml"]);
    assert_fails(
        &server,
        78,
        &[
            "vft: a.toml:4:1: unknown field",
            "^~~~~~~~",
            "did you mean `threshold`?",
        ],
    );
    sandbox.file("b.toml", "[limits]\nheartbeat = 30\n");
    assert_fails(
        &sandbox.run(&["server", "--config", "b.toml"]),
        78,
        &["b.toml:2:13:"],
    );
    assert_fails(
        &sandbox.run(&["server", "--config", "c.toml"]),
        78,
        &["cannot read c.toml"],
    );
}

#[test]
fn a_state_folder_that_is_held_or_cannot_be_used_is_named() {
    let sandbox = Sandbox::new();
    let _holder = sandbox.server(&[]);
    let second = sandbox.run(&[
        "server",
        "--bind",
        "127.0.0.1:0",
        "--state-dir",
        "server-state",
    ]);
    assert_fails(&second, 1, &["another vft process is using", "--state-dir"]);
    sandbox.file("file", "");
    let third = sandbox.run(&["server", "--bind", "127.0.0.1:0", "--state-dir", "file"]);
    assert_fails(
        &third,
        1,
        &["cannot use file/server for state", "--state-dir"],
    );
}

#[test]
fn a_client_without_a_single_trap_says_why() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind((sandbox.address(0), 0)).unwrap();
    let (address, port) = (
        sandbox.address(0).to_string(),
        taken.local_addr().unwrap().port(),
    );
    let client = sandbox.run(&["client", "--bind", &address, "--ports", &port.to_string()]);
    assert_fails(
        &client,
        1,
        &[
            "no port could be made a trap: 1 held by other programs",
            "vft ports",
        ],
    );
}

#[test]
fn a_taken_port_is_skipped_for_another_with_one_line() {
    let sandbox = Sandbox::new();
    let state = ["--state-dir", "state", "--count", "3"];
    let address = sandbox.address(0).to_string();
    let candidates = "[[candidates]]\nport = 20001\nweight = 1\n[[candidates]]\nport = 20002\n\
        weight = 1\n[[candidates]]\nport = 20003\nweight = 1\n[[candidates]]\nport = 20004\nweight = 1\n";
    sandbox.file("client.toml", candidates);
    let base = ["client", "--config", "client.toml", "--bind", &address];
    let client = || sandbox.start(&[&base[..], &state].concat(), &[]);
    let ready = |process: &crate::harness::process::Process| {
        process
            .wait_for_log(|line| line.contains("ready:"))
            .split_once("open: ")
            .unwrap()
            .1
            .to_owned()
    };
    let first = client();
    let ports = ready(&first);
    drop(first);
    let again = client();
    assert_eq!(ready(&again), ports, "a restart keeps the choice");
    drop(again);
    let wanted: u16 = ports.split(' ').next().unwrap().parse().unwrap();
    let _service = TcpListener::bind((sandbox.address(0), wanted)).unwrap();
    let third = client();
    let now = ready(&third);
    assert_eq!(now.split(' ').count(), 3);
    assert!(
        !now.split(' ').any(|port| port == wanted.to_string()),
        "{now}"
    );
    let skipped = third.stop().stderr;
    let line = format!("port {wanted} cannot be a trap: another program holds it");
    assert_eq!(skipped.matches(&line).count(), 1, "{skipped}");
}

#[test]
fn a_server_without_room_for_a_session_ends_and_says_what_to_do() {
    let sandbox = Sandbox::new();
    let with = |open_files: u32| {
        let vft = crate::harness::vft().display();
        let server = "server --bind 127.0.0.1:0 --state-dir state";
        let script = format!("ulimit -n {open_files} && exec {vft} {server}");
        let (bash, folder) = (std::path::Path::new("bash"), sandbox.path(""));
        crate::harness::process::Process::start(bash, &["-c", &script], &[], &folder)
    };
    assert_fails(
        &with(64).finish(),
        1,
        &[
            "vft: the limit of 64 open files leaves no room for a session",
            "hint: raise the limit on open files (ulimit -n",
        ],
    );
    let server = with(128);
    server.wait_for_log(|line| line.contains("room for only 32 sessions"));
    server.listens_at();
}

#[test]
fn a_pipe_that_is_closed_is_no_failure() {
    if !has("head") {
        return;
    }
    let sandbox = Sandbox::new();
    let script = format!(
        "{} completions bash | head -c 1; echo ${{PIPESTATUS[0]}}",
        crate::harness::vft().display()
    );
    let process = crate::harness::process::Process::start(
        std::path::Path::new("bash"),
        &["-c", &script],
        &[],
        &sandbox.path(""),
    );
    let finished = process.finish();
    assert!(
        finished.stdout.trim_end().ends_with('0'),
        "{}",
        finished.stdout
    );
}

#[test]
fn an_address_for_traps_that_is_given_twice_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file(
        "client.toml",
        "bind = [\"127.0.0.9\", \"127.0.0.8\", \"127.0.0.9\"]\n",
    );
    let says = ["bind: an address stands in the list twice"];
    for arguments in [&["check", "--config"][..], &["client", "--config"]] {
        let finished = sandbox.run(&[arguments, &["client.toml"]].concat());
        assert_fails(&finished, 78, &says);
    }
}

#[test]
fn a_secret_that_can_be_guessed_is_warned_of_and_not_shown() {
    let sandbox = Sandbox::new();
    sandbox.file("vft.toml", "secret = \"Hunter2Secret\"\n");
    for role in ["server", "client"] {
        let checked = sandbox.run(&["check", "--config", "vft.toml", "--role", role]);
        assert_fails(&checked, 0, &["WARN  the secret can be guessed: "]);
        assert!(!checked.stderr.contains("Hunter2"), "{}", checked.stderr);
        let process = sandbox.start(
            &[
                role,
                "--config",
                "vft.toml",
                "--bind",
                BINDS[usize::from(role == "client")],
            ],
            &[("VFT_PORTS", "20022")],
        );
        process.wait_for_log(|line| line.contains("WARN  the secret can be guessed: "));
        process.wait_for_log(|line| line.contains("ready: "));
        assert!(!process.stop().stderr.contains("Hunter2"));
    }
    let good = sandbox.file("secret", "qL0vG8JbX2mZpT5sN7yRcW3k\n");
    sandbox.file("vft.toml", &format!("secret-file = {good:?}\n"));
    let checked = sandbox.run(&["check", "--config", "vft.toml"]);
    assert!(!checked.stderr.contains("WARN"), "{}", checked.stderr);
}

/// Where a server listens, and where a client's traps are.
const BINDS: [&str; 2] = ["127.0.0.1:0", "127.66.0.1"];

#[test]
fn an_entry_that_mutes_everybody_is_warned_of() {
    let sandbox = Sandbox::new();
    let check = |entry: &str| {
        sandbox.file("server.toml", &format!("[[allow]]\nnetwork = {entry}\n"));
        sandbox.run(&["check", "--config", "server.toml"])
    };
    let warning = "mutes every source of IPv";
    for entry in ["\"0.0.0.0/0\"", "\"::/0\"\nreason = \"none\""] {
        assert_fails(&check(entry), 0, &[warning]);
    }
    for entry in [
        "\"10.0.0.0/8\"",
        "\"0.0.0.0/0\"\nports = \"22\"",
        "\"::/0\"\nclients = [\"web-7\"]",
    ] {
        let checked = check(entry);
        assert_fails(&checked, 0, &[]);
        assert!(!checked.stderr.contains(warning), "{}", checked.stderr);
    }
}

#[test]
fn a_settings_file_that_is_no_text_is_not_a_matter_of_permissions() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path("server.toml"), b"keep = \"\xff\"\n").unwrap();
    let finished = sandbox.run(&["server", "--config", "server.toml"]);
    assert_fails(
        &finished,
        78,
        &["valid UTF-8", "hint: save it as UTF-8 text"],
    );
    assert!(
        !finished.stderr.contains("permission"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_pipe_in_the_place_of_a_file_holds_no_start_up() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("state/server")).unwrap();
    for (pipe, code) in [("settings", 78), ("state/server/id", 1)] {
        let path = sandbox.path(pipe);
        mkfifoat(CWD, &path, Mode::RWXU).unwrap();
        let config: &[&str] = match code {
            78 => &["--config", "settings"],
            _ => &["--state-dir", "state"],
        };
        let finished = sandbox.run(&[&["server", "--bind", "127.0.0.1:0"], config].concat());
        assert_fails(&finished, code, &["it is not a regular file", pipe]);
    }
}

#[test]
fn a_database_of_a_later_release_is_not_a_matter_of_room() {
    let sandbox = Sandbox::new();
    for (role, file) in [("server", "store.db"), ("client", "spool.db")] {
        fs::create_dir_all(sandbox.path("state").join(role)).unwrap();
        let database = Connection::open(sandbox.path("state").join(role).join(file)).unwrap();
        database.pragma_update(None, "user_version", 99).unwrap();
        drop(database);
        let arguments = [role, "--bind", BINDS[usize::from(role == "client")]];
        let arguments = [&arguments[..], &["--state-dir", "state"]].concat();
        let finished = sandbox.start(&arguments, &[("VFT_COUNT", "1")]).finish();
        let hint = "hint: use the release that has written it, or a later one";
        assert_fails(&finished, 1, &["later", hint]);
    }
}
