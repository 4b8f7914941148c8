use rustix::process::Signal;

use crate::harness::peer::connect;
use crate::harness::process::Line;
use crate::harness::{PORTS, SECRET, Sandbox};

#[test]
fn hits_outlive_a_killed_client() {
    let sandbox = Sandbox::new();
    // A server's address on which nobody listens yet.
    let address = sandbox.server(&[]).address;
    let client = sandbox.client(&address, &[]);
    let trap = client.address;
    for port in PORTS {
        connect(trap, trap, port);
    }
    // The heartbeat would say so; without a server the spool's file does.
    let spool = sandbox.path("client-state-0/client/spool.db");
    crate::harness::process::eventually(crate::harness::SOON, "five hits in the spool", || {
        let database = rusqlite::Connection::open(&spool).unwrap();
        let count = "SELECT count(*) FROM record";
        database
            .query_row(count, [], |row| row.get::<_, i64>(0))
            .is_ok_and(|count| count == 5)
    });
    client.process.signal(Signal::KILL);
    client.process.finish();
    let server = sandbox.server_at(&address, &[]);
    let bind = trap.to_string();
    let arguments = [
        "client",
        "--server",
        &address,
        "--state-dir",
        "client-state-0",
        "--bind",
        &bind,
        "--ports",
        "20022",
    ];
    let again = sandbox.start(&arguments, &[("VFT_SECRET", SECRET)]);
    again.wait_for_log(|line| line.contains("5 hits from before wait"));
    server
        .process
        .wait_for(|line| matches!(line, Line::Out(text) if text.contains(" 5 hits")));
    again.stop();
    assert!(server.process.stop().stderr.contains("stopped: 5 hits"));
}
