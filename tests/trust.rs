use crate::harness::certs::{ca_signed, openssl, openssl_without_san};
use crate::harness::peer::connect;
use crate::harness::process::{Line, Process};
use crate::harness::{Client, PORTS, SECRET, Sandbox, Server, has};

/// A server that shows this certificate, and the port it is on.
fn tls_server(sandbox: &Sandbox, cert: &str, key: &str) -> Server {
    sandbox.server(&["--ssl", "--cert", cert, "--key", key])
}

/// Three touches of the client's traps become an alert on the server's standard output.
fn assert_works(server: &Server, client: &Client) {
    client.connected();
    for port in &PORTS[..3] {
        connect(client.address, client.address, *port);
    }
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains(" open")));
}

/// The client's one complaint, after it has had time for several attempts.
fn complaint(client: &Process) -> String {
    client.wait_for_log(|line| line.contains("trying on"))
}

/// Waits until the client has tried at least twice, and checks that it complained once.
fn assert_tries_on(client: &Process) {
    client.wait_for_log(|line| line.contains("DEBUG") && line.contains("127.0.0.1:"));
    assert_eq!(
        client
            .lines(|line| matches!(line, Line::Err(text) if text.contains("trying on")))
            .len(),
        1
    );
}

#[test]
fn a_certificate_made_by_vft_cert_is_trusted() {
    let sandbox = Sandbox::new();
    let made = sandbox.run(&["cert", "--name", "127.0.0.1"]);
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    let server = tls_server(&sandbox, "cert.pem", "key.pem");
    let client = sandbox.client(&server.address, &["--cert", "cert.pem"]);
    assert_works(&server, &client);
    assert!(
        !client
            .process
            .lines(|line| matches!(line, Line::Err(text) if text.contains("(TLS)")))
            .is_empty()
    );
}

#[test]
fn a_certificate_made_by_openssl_req_x509_is_trusted() {
    if !has("openssl") {
        return;
    }
    let sandbox = Sandbox::new();
    let (cert, key) = openssl(&sandbox, "x509", "127.0.0.1");
    let server = tls_server(&sandbox, &cert, &key);
    assert_works(
        &server,
        &sandbox.client(&server.address, &["--cert", &cert]),
    );
}

#[test]
fn a_certificate_without_any_name_is_trusted_as_it_is() {
    if !has("openssl") {
        return;
    }
    let sandbox = Sandbox::new();
    let (cert, key) = openssl_without_san(&sandbox, "plain");
    let server = tls_server(&sandbox, &cert, &key);
    assert_works(
        &server,
        &sandbox.client(&server.address, &["--cert", &cert]),
    );
}

#[test]
fn a_certificate_signed_by_a_ca_is_trusted_through_the_ca_or_the_chain() {
    if !has("openssl") {
        return;
    }
    let sandbox = Sandbox::new();
    let (ca, cert, key) = ca_signed(&sandbox, "127.0.0.1");
    let server = tls_server(&sandbox, &cert, &key);
    assert_works(&server, &sandbox.client(&server.address, &["--cert", &ca]));
    drop(server);
    let read = |name: &str| std::fs::read_to_string(sandbox.path(name)).unwrap();
    sandbox.file("bundle.pem", &(read(&cert) + &read(&ca)));
    let server = tls_server(&sandbox, "bundle.pem", &key);
    assert_works(
        &server,
        &sandbox.client(&server.address, &["--cert", "bundle.pem"]),
    );
}

#[test]
fn another_certificate_is_refused_by_the_client_which_tries_on() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    std::fs::create_dir(sandbox.path("other")).unwrap();
    sandbox.run(&["cert", "--name", "127.0.0.1", "--out", "other"]);
    let server = tls_server(&sandbox, "cert.pem", "key.pem");
    let client = sandbox.client(&server.address, &["--cert", "other/cert.pem", "-v"]);
    let text = complaint(&client.process);
    assert!(
        text.contains("neither the one in --cert nor signed by it"),
        "{text}"
    );
    assert_tries_on(&client.process);
}

#[test]
fn a_certificate_for_another_name_is_refused_unless_the_name_is_given() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "vft.example.net"]);
    let server = tls_server(&sandbox, "cert.pem", "key.pem");
    let client = sandbox.client(&server.address, &["--cert", "cert.pem", "-v"]);
    let text = complaint(&client.process);
    assert!(
        text.contains("is for vft.example.net, not for 127.0.0.1"),
        "{text}"
    );
    assert!(text.contains("--server-name"), "{text}");
    assert_tries_on(&client.process);
    let named = ["--cert", "cert.pem", "--server-name", "vft.example.net"];
    assert_works(&server, &sandbox.client(&server.address, &named));
}

#[test]
fn a_plain_client_is_told_that_the_server_speaks_tls() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = tls_server(&sandbox, "cert.pem", "key.pem");
    let client = sandbox.client(&server.address, &[]);
    let text = complaint(&client.process);
    assert!(
        text.contains("this server speaks TLS: start the client with --cert"),
        "{text}"
    );
}

#[test]
fn a_tls_client_finds_that_the_server_does_not_speak_tls() {
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let server = sandbox.server(&[]);
    let client = sandbox.client(&server.address, &["--cert", "cert.pem"]);
    let text = complaint(&client.process);
    assert!(
        text.contains("it does not speak TLS, is not a vft server"),
        "{text}"
    );
}

#[test]
fn a_wrong_secret_and_a_missing_one_are_told_apart() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let client = |name: &str, secret: Option<&str>| {
        let variables: Vec<_> = secret
            .map(|secret| ("VFT_SECRET", secret))
            .into_iter()
            .collect();
        let bind = sandbox.address(9).to_string();
        sandbox.start(
            &[
                "client",
                "--server",
                &server.address,
                "--state-dir",
                name,
                "--bind",
                &bind,
                "--ports",
                "20022",
            ],
            &variables,
        )
    };
    let text = complaint(&client("a", Some("wrong")));
    assert!(text.contains("the secret is not this server's"), "{text}");
    let text = complaint(&client("b", None));
    assert!(text.contains("requires a secret: set VFT_SECRET"), "{text}");
}

#[test]
fn a_server_that_does_not_know_the_secret_gets_nothing() {
    let sandbox = Sandbox::new();
    let arguments = ["server", "--bind", "127.0.0.1:0", "--state-dir", "open"];
    let process = sandbox.start(&arguments, &[]);
    let address = process.listens_at();
    let client = sandbox.client(&address, &[]);
    let text = complaint(&client.process);
    assert!(
        text.contains("the server does not know the secret"),
        "{text}"
    );
}

#[test]
fn the_secret_shows_in_no_log() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&["-vv"]);
    let client = sandbox.client(&server.address, &["-vv"]);
    assert_works(&server, &client);
    let logs = client.process.stop().stderr + &server.process.stop().stderr;
    assert!(logs.contains("connected to"));
    assert!(!logs.contains(SECRET));
}

#[test]
fn a_client_falls_back_to_its_next_server() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let several = format!("127.0.0.1:1,{}", server.address);
    let client = sandbox.client(&several, &[]);
    assert_works(&server, &client);
}
