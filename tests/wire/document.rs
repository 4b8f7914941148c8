use std::collections::{BTreeMap, BTreeSet};

use crate::harness::wire::codec::{Coded, Reader, decode, dump, encode, unzigzag, varint, zigzag};
use crate::harness::wire::document::{Example, TEXT, examples, rows};
use crate::harness::wire::message::{ClientMessage, Reason, ServerMessage};
use crate::harness::wire::proof;
use crate::harness::{SECRET, Sandbox};

/// The examples whose head begins with this word, with the rest of their heads.
fn of(kind: &str) -> Vec<(String, Example)> {
    let found = examples().into_iter().filter_map(|example| {
        let rest = example.head.strip_prefix(kind)?.to_owned();
        Some((rest, example))
    });
    found.collect()
}

/// Checks that the example is such a message, says of itself what it says, and is written in the
/// shortest form.
fn check<M: Coded + Clone>(kind: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for (name, example) in of(kind) {
        let bytes = example.bytes();
        let says = dump::<M>(&bytes).unwrap_or_else(|wrong| panic!("{}: {wrong}", example.head));
        assert!(says == example.text, "{}\n{says}", example.head);
        let first = says.lines().next().unwrap();
        assert!(first.ends_with(&format!("message = {name}")), "{first}");
        let message: M = decode(&bytes).unwrap();
        assert_eq!(encode(&message), bytes, "{}", example.head);
        seen.insert(name);
    }
    seen
}

#[test]
fn every_message_has_an_example_that_says_what_the_document_says() {
    let client = check::<ClientMessage>("ClientMessage::");
    let all = [
        "ExtendedHeartbeat",
        "Goodbye",
        "Heartbeat",
        "Hello",
        "Proof",
        "Report",
    ];
    assert_eq!(client, all.map(str::to_owned).into());
    let server = check::<ServerMessage>("ServerMessage::");
    let all = [
        "Ack",
        "Challenge",
        "ExtendedWelcome",
        "HeartbeatAck",
        "Refused",
        "Welcome",
    ];
    assert_eq!(server, all.map(str::to_owned).into());
    let heads = examples().into_iter().map(|example| example.head);
    let known = |head: &str| {
        ["ClientMessage::", "ServerMessage::", "value "]
            .iter()
            .any(|kind| head.starts_with(kind))
            || ["preamble", "unsigned", "signed"].contains(&head)
            || head == "frame ServerMessage::Ack"
    };
    for head in heads {
        assert!(known(&head), "no test looks at the example {head}");
    }
}

#[test]
fn the_preamble_and_the_frame_are_as_the_document_says() {
    assert_eq!(of("preamble")[0].1.bytes(), proof::PREAMBLE);
    let (_, frame) = &of("frame ")[0];
    let bytes = frame.bytes();
    let (header, message) = bytes.split_first_chunk().unwrap();
    let length = u32::from_be_bytes(*header);
    assert_eq!(usize::try_from(length).unwrap(), message.len());
    let mut reader = Reader::new(&[]);
    reader.say(header, &format!("length = {length}"));
    let says = reader.into_lines() + &dump::<ServerMessage>(message).unwrap();
    assert!(says == frame.text, "{says}");
}

#[test]
fn numbers_are_written_as_the_document_says() {
    for (bytes, says) in of("unsigned")[0].1.lines() {
        assert_eq!(varint(says.parse().unwrap()), bytes, "{says}");
    }
    for (bytes, says) in of("signed")[0].1.lines() {
        let number = says.parse().unwrap();
        assert_eq!(varint(zigzag(number)), bytes, "{says}");
        assert_eq!(unzigzag(zigzag(number)), number);
    }
}

#[test]
fn the_worked_handshake_adds_up() {
    let first = |head: &str| of(head)[0].1.bytes();
    let value = |name: &str| -> [u8; 32] { first(&format!("value {name}")).try_into().unwrap() };
    let (hello, challenge) = (
        first("ClientMessage::Hello"),
        first("ServerMessage::Challenge"),
    );
    let ClientMessage::Hello(who) = decode(&hello).unwrap() else {
        panic!("not hello")
    };
    let ServerMessage::Challenge(server) = decode(&challenge).unwrap() else {
        panic!("not a challenge")
    };
    let seed = first("value seed").try_into().unwrap();
    assert_eq!(who.public_key, proof::public_key(seed));
    let id = format!("`{}`", proof::client_id(who.public_key));
    assert!(TEXT.contains(&id), "{id}");
    assert!(TEXT.contains(&format!("`{SECRET}`")));
    let k = proof::stretch(SECRET, server.server_id);
    assert_eq!(value("k"), k);

    let plain = proof::transcript(&hello, &challenge, None);
    assert_eq!(first("value T"), plain);
    let ClientMessage::Proof(shown) = decode(&first("ClientMessage::Proof")).unwrap() else {
        panic!("not a proof")
    };
    assert_eq!(shown.secret, Some(proof::of_client(&k, &plain)));
    assert_eq!(shown.identity, proof::of_identity(seed, &plain));
    let ServerMessage::Welcome(welcome) = decode(&first("ServerMessage::Welcome")).unwrap() else {
        panic!("not a welcome")
    };
    assert_eq!(welcome.secret, Some(proof::of_server(&k, &plain)));

    let tls = proof::transcript(&hello, &challenge, Some(value("exporter")));
    assert_eq!(value("T under TLS"), tls);
    assert_eq!(value("Proof.secret under TLS"), proof::of_client(&k, &tls));
    assert_eq!(
        value("Welcome.secret under TLS"),
        proof::of_server(&k, &tls)
    );
    let identity = proof::of_identity(seed, &tls);
    assert_eq!(first("value Proof.identity under TLS"), identity);
}

#[test]
fn the_document_lists_all_reasons_in_the_order_of_their_codes() {
    let listed: Vec<_> = rows("Refusals")
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let all: Vec<_> = (0..)
        .zip(Reason::ALL)
        .map(|(code, reason)| (code.to_string(), format!("`{reason:?}`")))
        .collect();
    assert_eq!(listed, all);
}

#[test]
fn each_message_has_a_table_of_the_fields_that_its_example_has() {
    for example in examples() {
        let Some((_, name)) = example.head.split_once("Message::") else {
            continue;
        };
        if example.head.starts_with("frame") {
            continue;
        }
        let section = TEXT.split_once(&format!("\n### {name}\n")).expect(name).1;
        let section = section.split("\n##").next().unwrap();
        let tabled: Vec<_> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let mut shown = Vec::new();
        for (_, says) in example.lines().skip(1) {
            let field = says.split([' ', ':']).next().unwrap();
            // The ports of a heartbeat stand under their list.
            if !field.is_empty() && field != "trap" && !shown.contains(&field) {
                shown.push(field);
            }
        }
        assert_eq!(tabled, shown, "{}", example.head);
    }
}

#[test]
fn the_limits_are_the_defaults_of_the_settings() {
    let sandbox = Sandbox::new();
    sandbox.file("empty.toml", "");
    let checked = sandbox.run(&["check", "--config", "empty.toml", "--role", "server"]);
    let settings: toml::Table = checked.stdout.parse().unwrap();
    let mut named = BTreeMap::new();
    for row in rows("Limits") {
        if let Some(name) = row[1].strip_prefix("`limits.") {
            named.insert(name.trim_end_matches('`').to_owned(), row[2].to_owned());
        }
    }
    assert!(named.len() >= 6, "{named:?}");
    for (name, default) in named {
        let value = &settings["limits"][&name];
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        assert_eq!(value, default, "limits.{name}");
    }
}
