use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::peer::connect;
use crate::harness::process::{Line, Process};
use crate::harness::{PORTS, SECRET, SOON, Sandbox};

const JSON: [&str; 2] = ["--alert-format", "json"];

#[test]
fn a_peer_that_resets_at_once_is_a_hit_with_its_address() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let source = sandbox.address(12);
    for _ in 0..100 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        // Closing with unsent linger of zero sends a reset.
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket
            .connect_timeout(&SocketAddr::from((client.address, PORTS[0])).into(), SOON)
            .unwrap();
    }
    let alert = server.alert(|alert| alert["hits"] == 100);
    assert_eq!(alert["subject"]["value"], source.to_string());
}

#[test]
fn traps_are_on_ipv4_and_ipv6_by_default() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: this host has no IPv6");
        return;
    }
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let arguments = [
        "client",
        "--server",
        &server.address,
        "--ports",
        "20555-20557",
        "--state-dir",
        "state",
    ];
    let client = sandbox.start(&arguments, &[("VFT_SECRET", SECRET)]);
    client.wait_for_log(|line| line.contains("ready: 3 traps open: 20555 20556 20557"));
    client.wait_for_log(|line| line.contains("connected to"));
    for port in 20_555..20_558 {
        connect(sandbox.address(1), sandbox.address(0), port);
        let over_ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        std::net::TcpStream::connect_timeout(&over_ipv6, SOON).unwrap();
    }
    let subject = |value: &str| server.alert(|alert| alert["subject"]["value"] == value);
    subject(&sandbox.address(1).to_string());
    subject("::/64");
}

#[test]
fn a_peer_that_sends_and_never_closes_holds_nothing_up() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&JSON);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let mut held: Vec<_> = (0..200)
        .map(|_| connect(client.address, client.address, PORTS[0]))
        .collect();
    for socket in &mut held {
        // The trap may have closed it already, which is all the better.
        drop(std::io::Write::write_all(socket, &[0x16; 512]));
    }
    server.alert(|alert| alert["hits"] == 200);
}

#[test]
fn a_client_with_fewer_traps_than_asked_goes_on_and_says_so() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let _service = TcpListener::bind((sandbox.address(0), PORTS[1])).unwrap();
    let client = sandbox.client(&server.address, &[]);
    client
        .process
        .wait_for_log(|line| line.contains("4 of 5 traps are open"));
    server
        .process
        .wait_for_log(|line| line.contains("client host-0: only 4 of 5 traps are open"));
    connect(client.address, client.address, PORTS[0]);
}

#[test]
fn each_trap_has_a_thread_with_its_name() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let client = sandbox.client(&server.address, &[]);
    client.connected();
    let threads = |process: &Process| -> Vec<String> {
        std::fs::read_dir(format!("/proc/{}/task", process.id()))
            .unwrap()
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap())
            .map(|name| name.trim().to_owned())
            .collect()
    };
    let names = threads(&client.process);
    for name in PORTS
        .map(|port| format!("trap-{port}"))
        .iter()
        .chain([&"gather".to_owned(), &"report".to_owned()])
    {
        assert_eq!(
            names.iter().filter(|there| *there == name).count(),
            1,
            "{name} in {names:?}"
        );
    }
    let names = threads(&server.process);
    assert!(
        names.contains(&"listen".to_owned())
            && names.iter().any(|name| name.starts_with("session-")),
        "{names:?}"
    );
}

#[test]
fn the_port_that_is_hit_while_the_server_is_away_is_reported_when_it_is_back() {
    let sandbox = Sandbox::new();
    let server = sandbox.server(&[]);
    let address = server.address.clone();
    let client = sandbox.client(&address, &[]);
    client.connected();
    drop(server);
    for port in PORTS {
        connect(client.address, client.address, port);
    }
    let server = sandbox.server_at(&address, &[]);
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains("ports 20022")));
}
