use std::time::Instant;

use crate::harness::wire::caller::{Caller, hit, report};
use crate::harness::wire::codec::{encode, varint};
use crate::harness::wire::host::Host;
use crate::harness::wire::line::Line;
use crate::harness::wire::message::{
    Ack, ClientMessage, Heartbeat, Hit, Proof, Reason, Refused, Report, ServerMessage,
};
use crate::harness::wire::proof;
use crate::harness::{Sandbox, Server};

/// A line on which nothing has been said yet.
fn fresh(server: &Server) -> Line {
    Line::plain(&server.address)
}

/// A line on which the preamble has been said.
fn begun(server: &Server) -> Line {
    let mut line = fresh(server);
    line.write(&proof::PREAMBLE);
    line
}

/// A line on which the caller is in.
fn inside(server: &Server) -> Line {
    Caller::new(1).visit(&server.address).0.line
}

/// What the server says to a proof made by `caller`.
fn answer_to_proof(caller: &Caller, mut line: Line) -> Refused {
    let challenged = caller.greet(&mut line);
    line.send(&ClientMessage::Proof(caller.proof(&challenged)));
    line.refused()
}

#[test]
fn another_version_is_told_which_one_is_spoken() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    for version in [0, 2, 255] {
        let mut line = fresh(&server);
        line.write(&[b'V', b'F', b'T', version, 0, 0, 0, 0]);
        let text = format!(
            "this server speaks version 1 of the protocol, and the client version {version}: \
             bring both to the same release of vft"
        );
        let refused = line.assert_refused(Reason::Version, &text);
        assert_eq!(refused.retry_after_millis, 5000);
    }
}

#[test]
fn whoever_does_not_speak_the_protocol_is_told_so() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    for opening in [
        b"GET / HT",
        b"VFT\x01\0\0\0\x01",
        b"vft\x01\0\0\0\0",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut line = fresh(&server);
        line.write(opening);
        line.assert_refused(Reason::Protocol, "not a vft client");
    }
}

#[test]
fn before_the_welcome_a_frame_has_1024_bytes_at_most() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let empty = encode(&ClientMessage::Hello(caller.hello()));
    // The length of a longer name takes two bytes more.
    let room = 1024 - empty.len() + caller.name.len() - 2;
    let named = |length| Caller {
        name: "n".repeat(length),
        ..Caller::new(1)
    };
    let longest = named(room);
    assert_eq!(encode(&ClientMessage::Hello(longest.hello())).len(), 1024);
    longest.greet(&mut fresh(&server));
    let mut line = begun(&server);
    line.write(&1025_u32.to_be_bytes());
    line.assert_refused(Reason::Protocol, "a frame was longer than allowed");
    // The second message is bounded as well.
    let mut line = fresh(&server);
    caller.greet(&mut line);
    line.write(&u32::MAX.to_be_bytes());
    line.assert_refused(Reason::Protocol, "a frame was longer than allowed");
}

#[test]
fn after_the_welcome_a_frame_has_65536_bytes_at_most() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let mut line = inside(&server);
    line.write(&65_537_u32.to_be_bytes());
    line.assert_refused(Reason::Protocol, "a frame was longer than allowed");
    let mut line = inside(&server);
    line.send_bytes(&vec![0xff; 65_536]);
    line.assert_refused(Reason::Protocol, "a message that does not decode");
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let hello = encode(&ClientMessage::Hello(Caller::new(1).hello()));
    let malformed = "a message that does not decode";
    for (message, text) in [
        (vec![], malformed),
        (vec![5], malformed),
        (vec![255], malformed),
        (hello[..hello.len() - 1].to_vec(), malformed),
        (
            [&hello[..], &[0]].concat(),
            "a message with 1 bytes left over",
        ),
        (
            [&hello[..], &[9; 7]].concat(),
            "a message with 7 bytes left over",
        ),
    ] {
        let mut line = begun(&server);
        line.send_bytes(&message);
        let refused = line.assert_refused(Reason::Protocol, text);
        assert_eq!(refused.retry_after_millis, 5000);
    }
    let mut line = inside(&server);
    line.send_bytes(&[4, 0]);
    line.assert_refused(Reason::Protocol, "a message with 1 bytes left over");
    // A report that claims 2⁶³ − 1 hits, and has none.
    let huge = [&[2, 1, 0][..], &varint(u64::MAX >> 1)].concat();
    let mut line = inside(&server);
    line.send_bytes(&huge);
    line.assert_refused(Reason::Protocol, malformed);
}

#[test]
fn a_report_must_be_sound() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let one = || hit("192.0.2.66", 22);
    let unknown = Hit { probe: 6, ..one() };
    let none = Hit { count: 0, ..one() };
    let overflow = "a report whose numbers overflow";
    for (report, text) in [
        (report(1, vec![unknown]), "a hit with the unknown probe 6"),
        (report(1, vec![none]), "a hit with a count of 0"),
        (report(1, vec![]), "a report of 0 hits, not 1 to 1024"),
        (
            report(1, vec![one(); 1025]),
            "a report of 1025 hits, not 1 to 1024",
        ),
        (report(0, vec![one()]), overflow),
        (report(u64::MAX, vec![one()]), overflow),
    ] {
        let mut line = inside(&server);
        line.send(&ClientMessage::Report(report));
        line.assert_refused(Reason::Protocol, text);
    }
    let stderr = server.process.stop().stderr;
    assert!(stderr.contains("stopped: 0 hits in 0 reports"), "{stderr}");
}

#[test]
fn a_heartbeat_must_be_sound() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let mut line = inside(&server);
    line.send(&ClientMessage::Heartbeat(Heartbeat {
        traps: vec![22; 1025],
        ..Heartbeat::default()
    }));
    let text = "a heartbeat of 1025 traps, more than 1024";
    line.assert_refused(Reason::Protocol, text);
}

#[test]
fn messages_have_their_turns() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let text = "a message out of turn";
    let hello = ClientMessage::Hello(caller.hello());
    let sound = ClientMessage::Report(report(1, vec![hit("192.0.2.66", 22)]));
    for first in [&sound, &ClientMessage::Goodbye] {
        let mut line = begun(&server);
        line.send(first);
        line.assert_refused(Reason::Protocol, text);
    }
    for second in [&hello, &sound] {
        let mut line = fresh(&server);
        caller.greet(&mut line);
        line.send(second);
        line.assert_refused(Reason::Protocol, text);
    }
    let mut line = inside(&server);
    line.send(&hello);
    line.assert_refused(Reason::Protocol, text);
}

#[test]
fn a_secret_that_is_wrong_or_missing_is_refused_and_guessing_is_slow() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let with = |secret: Option<&str>| Caller {
        secret: secret.map(str::to_owned),
        ..Caller::new(1)
    };
    let missing = answer_to_proof(&with(None), fresh(&server));
    assert_eq!(missing.reason, Reason::SecretMissing);
    let text = "this server requires a secret: set VFT_SECRET or --secret-file on the client";
    assert_eq!(missing.text, text);
    let guess = with(Some("correct house"));
    let text = "the secret is not this server's: compare VFT_SECRET or --secret-file on both sides";
    for pause in [1, 2] {
        let began = Instant::now();
        let wrong = answer_to_proof(&guess, fresh(&server));
        assert_eq!(
            (wrong.reason, wrong.text.as_str()),
            (Reason::SecretWrong, text)
        );
        assert!(began.elapsed().as_secs() >= pause);
    }
    // Whoever knows it does not wait, not even at the same address.
    drop(inside(&server));
    let stderr = server.process.stop().stderr;
    assert!(stderr.contains("over 1 sessions"), "{stderr}");
}

#[test]
fn nobody_gets_in_under_a_key_it_does_not_hold() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let victim = Caller::new(1);
    let liar = Caller {
        claims: victim.claims,
        ..Caller::new(2)
    };
    let refused = answer_to_proof(&liar, fresh(&server));
    assert_eq!(refused.reason, Reason::IdentityUnproven);
    assert_eq!(refused.text, "the identity was not proven");
    // Nor with a signature for another handshake.
    let mut line = fresh(&server);
    let mut challenged = victim.greet(&mut line);
    challenged.transcript[0] ^= 1;
    let stale = victim.proof(&challenged);
    challenged.transcript[0] ^= 1;
    let mixed = Proof {
        identity: stale.identity,
        ..victim.proof(&challenged)
    };
    line.send(&ClientMessage::Proof(mixed));
    assert_eq!(line.refused().reason, Reason::IdentityUnproven);
}

#[test]
fn an_identity_that_anybody_could_have_is_refused() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let mut claims = [0; 32];
    claims[0] = 1;
    let anybody = Caller {
        claims,
        ..Caller::new(2)
    };
    let mut line = begun(&server);
    line.send(&ClientMessage::Hello(anybody.hello()));
    let refused = line.refused();
    assert_eq!(refused.reason, Reason::IdentityUnproven);
    assert!(refused.text.contains("of small order"), "{refused:?}");
}

#[test]
fn a_proof_is_worth_nothing_on_another_connection() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let caller = Caller::new(1);
    let mut line = fresh(&server);
    let challenged = caller.greet(&mut line);
    let recorded = ClientMessage::Proof(caller.proof(&challenged));
    line.send(&recorded);
    assert!(matches!(line.receive(), ServerMessage::Welcome(_)));
    let mut line = fresh(&server);
    caller.greet(&mut line);
    line.send(&recorded);
    assert_eq!(line.refused().reason, Reason::SecretWrong);
}

/// What a man in the middle gets who has a certificate that the client trusts, and passes on
/// word for word what a real client and a real server say.
#[test]
fn a_man_in_the_middle_cannot_pass_a_proof_on() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let tls = ["--cert", "cert.pem", "--key", "key.pem"];
    let server = sandbox.server(&tls);
    let middle = Host::tls(&sandbox.path("cert.pem"), &sandbox.path("key.pem"));
    let client = sandbox.client(&middle.address(), &["--cert", "cert.pem"]);
    let mut near = middle.accept();
    let mut far = Line::tls(&server.address, &sandbox.path("cert.pem"));
    assert_ne!(near.binding, far.binding);
    far.write(&near.read::<8>());
    far.send_bytes(&near.receive_bytes().unwrap());
    near.send_bytes(&far.receive_bytes().unwrap());
    far.send_bytes(&near.receive_bytes().unwrap());
    let refused = far.refused();
    assert_eq!(refused.reason, Reason::SecretWrong);
    near.send(&ServerMessage::Refused(refused));
    client
        .process
        .wait_for_log(|line| line.contains("the secret is not this server's"));
}

#[test]
fn a_plain_client_hears_from_a_tls_server_in_plain() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = sandbox.server(&["--cert", "cert.pem", "--key", "key.pem"]);
    let mut line = begun(&server);
    let text = "this server speaks TLS: start the client with --cert";
    line.assert_refused(Reason::TlsRequired, text);
}

#[test]
fn a_tls_client_hears_nothing_from_a_plain_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let mut line = fresh(&server);
    line.write(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]);
    line.assert_ends();
}

#[test]
fn a_handshake_that_takes_too_long_is_ended() {
    let sandbox = Sandbox::new();
    let config = sandbox.file("server.toml", "[limits]\nhandshake = \"1s\"\n");
    let server = sandbox.server(&["--config", config.to_str().unwrap()]);
    fresh(&server).assert_ends();
    begun(&server).assert_ends();
    let mut line = fresh(&server);
    Caller::new(1).greet(&mut line);
    line.assert_ends();
}

#[test]
fn numbers_may_be_written_wider_than_they_need() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let mut line = inside(&server);
    let tight = encode(&ClientMessage::Report(Report {
        first_sequence: 7,
        base: 0,
        hits: vec![hit("192.0.2.66", 22)],
    }));
    let wide = [&[252, 2, 0, 0, 0, 253, 7, 0, 0, 0, 0, 0, 0, 0], &tight[2..]].concat();
    line.send_bytes(&wide);
    let answer: ServerMessage = line.receive();
    assert_eq!(answer, ServerMessage::Ack(Ack::durable(7)));
    // A marker that is wider than the field is not a number.
    let mut line = inside(&server);
    line.send_bytes(&[253, 4, 0, 0, 0, 0, 0, 0, 0]);
    line.assert_refused(Reason::Protocol, "a message that does not decode");
}
