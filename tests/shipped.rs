use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::harness::Sandbox;
use crate::harness::process::Finished;

/// The example files, and whose settings they are.
const EXAMPLES: [(&str, &str); 2] = [("server.toml", "server"), ("client.toml", "client")];

/// A file of the project.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    let path = path(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn example(name: &str) -> String {
    read(&format!("etc/{name}"))
}

/// The file with the settings in force that stand in it as comments.
fn uncommented(text: &str) -> String {
    text.lines()
        .map(|line| setting_in_comment(line).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// What is a setting and no explanation begins with `#` and no space.
fn setting_in_comment(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .filter(|rest| !rest.is_empty() && !rest.starts_with(' '))
}

/// The names of the settings and blocks of a file.
fn names(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let header = line.trim_start_matches('[').split(']').next().unwrap();
        let named = if line.starts_with('[') {
            header
        } else {
            line.split(" = ").next().unwrap()
        };
        names.extend(
            named
                .split('.')
                .filter(|name| !name.is_empty())
                .map(str::to_owned),
        );
    }
    names
}

/// `NAMES` of src/config/file.rs, from its source.
fn known_names() -> BTreeSet<String> {
    let source = read("src/config/file.rs");
    let list = source
        .split_once("pub const NAMES: &[&str] = &[")
        .unwrap()
        .1;
    let list = list.split_once("];").unwrap().0;
    let names: BTreeSet<_> = list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    assert!(names.len() > 40, "{names:?}");
    names
}

fn check(path: &Path) -> Finished {
    Sandbox::new().run(&["check", "--config", path.to_str().unwrap()])
}

/// What `vft check` prints about settings that are sound, without the line that names the file.
fn in_force(finished: &Finished) -> &str {
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    finished.stdout.split_once('\n').unwrap().1
}

#[test]
fn the_examples_are_sound_and_say_the_defaults() {
    let sandbox = Sandbox::new();
    let empty = sandbox.file("empty.toml", "");
    for (name, role) in EXAMPLES {
        let checked = check(&path("etc").join(name));
        let settings = in_force(&checked);
        assert!(
            checked
                .stdout
                .contains(&format!("is sound; the settings of a {role} in force")),
            "{}",
            checked.stdout
        );
        let arguments = ["check", "--role", role, "--config", empty.to_str().unwrap()];
        assert_eq!(settings, in_force(&sandbox.run(&arguments)), "{name}");
    }
}

#[test]
fn the_examples_are_sound_with_every_setting_in_force() {
    let sandbox = Sandbox::new();
    // The files that the examples name are read, so there must be some.
    sandbox.run(&["cert", "--name", "vft.example.net"]);
    let here = sandbox.path("").display().to_string();
    for (name, role) in EXAMPLES {
        let text = uncommented(&example(name)).replace("/etc/vft/", &here);
        let checked = check(&sandbox.file(name, &text));
        let settings = in_force(&checked);
        assert!(
            checked
                .stdout
                .contains(&format!("the settings of a {role}")),
            "{name}"
        );
        // A secret is printed nowhere.
        let mut expected = names(&text);
        assert!(expected.remove("secret"), "{name}");
        assert_eq!(names(settings), expected, "{name}");
    }
}

#[test]
fn the_examples_name_every_setting() {
    let named: BTreeSet<_> = EXAMPLES
        .iter()
        .flat_map(|(name, _)| names(&uncommented(&example(name))))
        .collect();
    assert_eq!(named, known_names());
}

/// Asserts that a settings file with this text is refused with all of these texts in the message,
/// in which `FILE` stands for its path.
fn refused(text: &str, expected: &[&str]) {
    let sandbox = Sandbox::new();
    let path = sandbox.file("settings.toml", text);
    let finished = check(&path);
    assert_eq!(finished.code(), Some(78), "{text}: {}", finished.stderr);
    assert_eq!(finished.stdout, "", "{text}");
    for part in expected {
        let part = part.replace("FILE", path.to_str().unwrap());
        assert!(
            finished.stderr.contains(&part),
            "{text}: {}",
            finished.stderr
        );
    }
}

#[test]
fn an_unknown_setting_is_refused_at_its_place_with_the_one_that_was_meant() {
    refused(
        "[detectors.frequent-port]\nwindow = \"5m\"\ntreshold = 5\n",
        &[
            "vft: FILE:3:1: unknown field `treshold`",
            "^~~~~~~~",
            "did you mean `threshold`?",
        ],
    );
    refused(
        "count = 5\nexclude-port = \"80\"\n",
        &[
            "vft: FILE:2:1: unknown field `exclude-port`",
            "did you mean `exclude-ports`?",
        ],
    );
}

#[test]
fn a_span_without_a_unit_is_refused_at_its_place() {
    let hint = "write it like 300s, 5m or 7d";
    refused(
        "[limits]\nheartbeat = \"30\"\n",
        &["vft: FILE:2:13: `30` is not a span", hint],
    );
    refused("count = 5\nrotate = 7\n", &["vft: FILE:2:10: "]);
}

#[test]
fn a_value_out_of_range_is_refused_at_its_place() {
    refused(
        "[detectors.frequent-client]\nthreshold = 1001\n",
        &["vft: FILE:2:13: 1001 is out of range: from 1 to 1000"],
    );
    refused(
        "count = 0\n",
        &["vft: FILE:1:9: 0 is out of range: from 1 to 1024"],
    );
    refused(
        "[limits]\nunauthenticated = 65536\n",
        &["vft: FILE:2:19: ", "65536"],
    );
    refused(
        "[incidents]\nquiet = \"11years\"\n",
        &["FILE:2:9: `11years` is out of range"],
    );
    refused(
        "[[candidates]]\nport = 22\nweight = 1001\n",
        &["vft: FILE:3:10: 1001 is out of range: from 1 to 1000"],
    );
    refused(
        "[limits]\nclient-rate = 100\nheartbeat = \"5s\"\n",
        &["vft: limits.client-rate: too low for this limits.heartbeat"],
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    let finished = sandbox.run(&["check", "--config", "nowhere.toml"]);
    assert_eq!(finished.code(), Some(78));
    assert!(
        finished
            .stderr
            .starts_with("vft: cannot read nowhere.toml: "),
        "{}",
        finished.stderr
    );
}

#[test]
fn there_are_completions_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = Sandbox::new().run(&["completions", shell]);
        assert_eq!(finished.code(), Some(0), "{shell}: {}", finished.stderr);
        assert!(
            finished.stdout.contains("standalone"),
            "{shell}: {}",
            finished.stdout
        );
    }
}

#[test]
fn the_ports_are_listed_with_what_they_catch() {
    let finished = Sandbox::new().run(&["ports", "--count", "8", "--clients", "200"]);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    for line in [
        "445    microsoft-ds ",
        " candidates, 8 traps on each of 200 clients",
        "n = 20 ",
    ] {
        assert!(
            finished.stdout.contains(line),
            "{line}: {}",
            finished.stdout
        );
    }
}

#[test]
fn a_certificate_is_made_with_a_private_key_and_never_replaced_unasked() {
    let sandbox = Sandbox::new();
    let make = ["cert", "--name", "vft.example.net", "--name", "192.0.2.7"];
    let finished = sandbox.run(&make);
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    let mode = |name| sandbox.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(
        format!("{:o} {:o}", mode("key.pem"), mode("cert.pem")),
        "600 644"
    );

    let elsewhere = ["cert", "--name", "vft.example.net", "--out", "new/folder"];
    assert_eq!(sandbox.run(&elsewhere).code(), Some(0), "folders are made");
    assert!(sandbox.path("new/folder/key.pem").exists());

    let text = |name| std::fs::read_to_string(sandbox.path(name)).unwrap();
    let (key, cert) = (text("key.pem"), text("cert.pem"));
    assert!(
        key.contains("PRIVATE KEY") && cert.contains("CERTIFICATE"),
        "{key}{cert}"
    );
    let finished = sandbox.run(&make);
    assert_eq!(finished.code(), Some(1), "{}", finished.stdout);
    assert!(
        finished.stderr.contains("cert.pem is there already"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("hint: --force replaces it"),
        "{}",
        finished.stderr
    );
    assert_eq!(
        (key.as_str(), cert.as_str()),
        (&*text("key.pem"), &*text("cert.pem"))
    );

    let finished = sandbox.run(&[&make[..], &["--force"]].concat());
    assert_eq!(finished.code(), Some(0), "{}", finished.stderr);
    assert!(text("key.pem") != key && text("cert.pem") != cert);
    assert_eq!(
        format!("{:o} {:o}", mode("key.pem"), mode("cert.pem")),
        "600 644"
    );
}

#[test]
fn a_name_that_no_certificate_can_have_is_refused() {
    let sandbox = Sandbox::new();
    let finished = sandbox.run(&["cert", "--name", "bücher.example"]);
    assert_eq!(finished.code(), Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("bücher.example"),
        "{}",
        finished.stderr
    );
    assert!(
        finished.stderr.contains("hint: --name takes host names"),
        "{}",
        finished.stderr
    );
    let finished = sandbox.run(&["cert"]);
    assert_eq!(finished.code(), Some(2), "{}", finished.stderr);
    assert!(!sandbox.path("cert.pem").exists() && !sandbox.path("key.pem").exists());
}
