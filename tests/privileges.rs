use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use rustix::process::{Signal, geteuid};

use crate::harness::peer::connect;
use crate::harness::process::{Line, Process, eventually};
use crate::harness::{PORTS, SECRET, SOON, Sandbox};

/// A user that every system has.
const NOBODY: &str = "nobody";

/// Whether the tests can become somebody else; says so if not.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root can become another user");
    }
    is_root
}

/// A sandbox in a folder of this mode.
fn sandbox_of_mode(mode: u32) -> Sandbox {
    let sandbox = Sandbox::new();
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(mode)).unwrap();
    sandbox
}

/// What the kernel says of each thread of a process under this name: `Uid`, `CapEff`, …
fn of_threads(process: &Process, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let values = tasks.map(|task| {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let value = |line: &str| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        };
        let value = status.lines().find_map(value).unwrap();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    });
    let mut values: Vec<_> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn limit_on_cores(process: &Process) -> String {
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let cores = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    cores
        .unwrap()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the kernel confines files, as the process said; says so if not.
fn is_confined(process: &Process) -> bool {
    let said = process.wait_for_log(|line| line.contains("Landlock"));
    let is_confined = said.contains("Landlock confines files");
    if !is_confined {
        println!("SKIPPED: {said}");
    }
    is_confined
}

#[test]
fn whoever_starts_it_it_gains_no_privilege_and_leaves_no_core() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    for process in [&server.process, &client.process] {
        assert_eq!(of_threads(process, "NoNewPrivs"), ["1"]);
        assert_eq!(limit_on_cores(process), "0 0 bytes");
        let has_warned =
            process.lines(|line| matches!(line, Line::Err(line) if line.contains("as root")));
        assert_eq!(
            !has_warned.is_empty(),
            geteuid().is_root(),
            "{has_warned:?}"
        );
    }
}

#[test]
fn root_becomes_the_user_it_is_told_and_goes_on_to_work() {
    if !is_root() {
        return;
    }
    let sandbox = sandbox_of_mode(0o711);
    sandbox.file("server.toml", "user = \"nobody\"\n");
    sandbox.run(&["cert", "--name", "localhost"]);
    let arguments = [
        "--config",
        "server.toml",
        "--cert",
        "cert.pem",
        "--key",
        "key.pem",
    ];
    let server = sandbox.server(&[&arguments[..], &["--alert-format", "json"]].concat());
    let named = server.address.replace("127.0.0.1", "localhost");
    let client = sandbox.client(&named, &["--cert", "cert.pem", "--user", NOBODY]);
    client.connected();
    let nobody = sandbox
        .path("server-state/server/store.db")
        .metadata()
        .unwrap();
    let (uid, gid) = (nobody.uid(), nobody.gid());
    assert_ne!(uid, 0);
    for process in [&server.process, &client.process] {
        for (name, id) in [("Uid", uid), ("Gid", gid)] {
            assert_eq!(of_threads(process, name), [format!("{id} {id} {id} {id}")]);
        }
        assert_eq!(of_threads(process, "Groups"), [gid.to_string()]);
        for name in ["CapEff", "CapPrm", "CapInh"] {
            assert_eq!(of_threads(process, name), ["0000000000000000"], "{name}");
        }
        // What cannot be dumped is root's, even if its process is another's.
        let environment = fs::metadata(format!("/proc/{}/environ", process.id()));
        assert_eq!(environment.unwrap().uid(), 0);
    }
    for _ in 0..3 {
        connect(client.address, client.address, PORTS[0]);
    }
    server.alert(|alert| alert["hits"] == 3);
    server.process.signal(Signal::HUP);
    server
        .process
        .wait_for_log(|line| line.contains("reloaded"));
    // Root reads what is another's, be it there or not, and leaves it usable.
    let alerts = || sandbox.run(&["alerts", "--state-dir", "server-state"]);
    assert!(alerts().stdout.contains("3 hits"));
    server.process.stop();
    assert!(alerts().stdout.contains("3 hits"));
    sandbox.server(&arguments);
}

#[test]
fn a_client_that_rotates_keeps_one_capability() {
    if !is_root() {
        return;
    }
    let sandbox = sandbox_of_mode(0o711);
    let address = sandbox.address(0).to_string();
    let arguments = [
        "client",
        "--server",
        "127.0.0.1:1",
        "--bind",
        &address,
        "--user",
        NOBODY,
    ];
    let client = sandbox.start(
        &[&arguments[..], &["--state-dir", "state", "--rotate", "1s"]].concat(),
        &[("VFT_SECRET", SECRET)],
    );
    let ready = |line: &str| line.contains("ready: 5 traps open");
    client.wait_for_log(ready);
    eventually(SOON, "it rotates", || {
        client
            .lines(|line| matches!(line, Line::Err(line) if ready(line)))
            .len()
            >= 2
    });
    // CAP_NET_BIND_SERVICE
    assert_eq!(of_threads(&client, "CapEff"), ["0000000000000400"]);
    assert_eq!(of_threads(&client, "CapPrm"), ["0000000000000400"]);
}

#[test]
fn settings_are_read_anew_from_their_folder_and_from_nowhere_else() {
    let sandbox = Sandbox::new();
    for folder in ["etc", "elsewhere"] {
        fs::create_dir(sandbox.path(folder)).unwrap();
    }
    let settings = sandbox.file("etc/server.toml", "keep = \"1day\"\n");
    let foreign = sandbox.file("elsewhere/server.toml", "keep = \"2days\"\n");
    let server = sandbox.server(&["--config", "etc/server.toml"]);
    // As editors and tools for configuration do it.
    let replaced = sandbox.file("etc/server.toml.new", "keep = \"3days\"\n");
    fs::rename(replaced, &settings).unwrap();
    server.process.signal(Signal::HUP);
    server
        .process
        .wait_for_log(|line| line.contains("reloaded"));
    if !is_confined(&server.process) {
        return;
    }
    fs::remove_file(&settings).unwrap();
    symlink(&foreign, &settings).unwrap();
    server.process.signal(Signal::HUP);
    let kept = server
        .process
        .wait_for_log(|line| line.contains("the old settings stay in force"));
    assert!(kept.contains("Permission denied"), "{kept}");
}

#[test]
fn a_folder_that_the_user_cannot_use_is_named_with_what_to_do() {
    if !is_root() {
        return;
    }
    let sandbox = sandbox_of_mode(0o700);
    let server = sandbox.run(&["server", "--bind", "127.0.0.1:0", "--user", NOBODY]);
    assert_eq!(server.code(), Some(1), "{}", server.stderr);
    assert!(
        server.stderr.contains("nobody cannot use"),
        "{}",
        server.stderr
    );
    assert!(
        server.stderr.contains("hint: `chown -R nobody "),
        "{}",
        server.stderr
    );
}

#[test]
fn a_user_who_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file("vft.toml", "user = \"no-such-user\"\n");
    for role in ["server", "client"] {
        let typed = sandbox.run(&[role, "--user", "no-such-user"]);
        assert_eq!(typed.code(), Some(2), "{}", typed.stderr);
        let set = sandbox.run(&[role, "--config", "vft.toml"]);
        assert_eq!(set.code(), Some(78), "{}", set.stderr);
        let checked = sandbox.run(&["check", "--config", "vft.toml", "--role", role]);
        assert_eq!(checked.code(), Some(78), "{}", checked.stderr);
        for finished in [typed, set, checked] {
            assert!(
                finished.stderr.contains("no user `no-such-user`"),
                "{}",
                finished.stderr
            );
        }
    }
}

#[test]
fn a_check_says_what_this_kernel_can_confine() {
    let sandbox = Sandbox::new();
    sandbox.file("server.toml", "user = \"nobody\"\n");
    let checked = sandbox.run(&["check", "--config", "server.toml"]);
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
    assert!(
        checked.stdout.contains("user = \"nobody\""),
        "{}",
        checked.stdout
    );
    let server = sandbox.server(&[]);
    let said = server
        .process
        .wait_for_log(|line| line.contains("Landlock"));
    let said = said.split_once("INFO  ").unwrap().1;
    let what = said.split(": this process").next().unwrap();
    assert!(checked.stderr.contains(what), "{}", checked.stderr);
}
