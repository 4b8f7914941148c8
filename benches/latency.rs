//! From a touched trap to the alert on the server's standard output, beside the same touch on a
//! bare accept loop that writes a line.
//!
//! `cargo bench --bench latency [-- --touches N]`; `docs/performance.md` says how to read what it
//! prints.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on says so by panicking"
)]

mod support {
    pub mod arguments;
    pub mod client;
    pub mod figures;
    pub mod fleet;
    pub mod floor;
    pub mod process;
    pub mod usage;
}

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use support::arguments;
use support::client::address;
use support::figures::Figures;
use support::fleet::Fleet;
use support::floor::{self, Floor};
use support::process::Lines;
use support::usage::{cpu, memory};

/// The trap's port.
const PORT: u16 = 20_022;

/// Each touch comes from an address of its own, and the first one of an address raises an alert.
const SETTINGS: &str = "
[detectors.frequent-source]
threshold = 1
[detectors.frequent-port]
enabled = false
[detectors.frequent-client]
enabled = false
";

/// What is touched, and when.
struct Series {
    touches: u32,
    /// Before each touch.
    quiet: Duration,
    /// The first address to touch from.
    from: Ipv4Addr,
}

fn main() {
    if let Some(address) = floor::wanted() {
        floor::run(address, |peer| println!("{}", peer.ip()));
        return;
    }
    let touches = arguments::number("--touches", 1000, 20);
    // The server closes incidents early beyond 4,096, and that is not what is measured.
    assert!((1..=4000).contains(&touches), "--touches takes 1 to 4000");
    println!("latency: from a touch to the line about it, in µs");
    // In a rush a hit also waits for what is done for the one before: gathered for two
    // milliseconds, and acknowledged when it is on the server's disk.
    measure(&Series {
        touches: touches.div_ceil(2),
        quiet: Duration::from_millis(1),
        from: Ipv4Addr::new(127, 48, 0, 1),
    });
    // The quiet that the target speaks of: all that is done.
    measure(&Series {
        touches,
        quiet: Duration::from_millis(20),
        from: Ipv4Addr::new(127, 49, 0, 1),
    });
    // After more than a second the spool is at rest and the processors have gone to sleep.
    measure(&Series {
        touches: touches.div_ceil(25),
        quiet: Duration::from_millis(1500),
        from: Ipv4Addr::new(127, 50, 0, 1),
    });
}

fn measure(series: &Series) {
    let (touches, quiet) = (series.touches, series.quiet);
    let fleet = Fleet::start(SETTINGS);
    let client = fleet.connected_client(&PORT.to_string());
    let floor = Floor::start();
    let trap = SocketAddr::from((address(), PORT));
    let used = || [cpu(&client), cpu(&fleet.server)];
    let before = used();
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    for number in 0..touches {
        let from = Ipv4Addr::from(u32::from(series.from) + number);
        sleep(quiet);
        bare.push(touch(from, floor.address, &floor.process.out));
        sleep(quiet);
        whole.push(touch(from, trap, &fleet.server.out));
    }
    let after = used();
    println!(
        "\n{touches} touches after {quiet:?} of quiet\n\
         {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "min", "median", "p90", "p99", "max"
    );
    print("floor", bare);
    print("vft", whole);
    let each =
        |i: usize| after[i].saturating_sub(before[i]).as_secs_f64() * 1e6 / f64::from(touches);
    println!(
        "CPU a touch: client {:.0}, server {:.0}; resident: client {} KiB, server {} KiB",
        each(0),
        each(1),
        memory(&client, "VmRSS"),
        memory(&fleet.server, "VmRSS")
    );
    let seen = client.stop();
    assert!(
        seen.contains(&format!(
            "stopped: {touches} hits seen, 0 not delivered, 0 dropped"
        )),
        "{seen}"
    );
    let taken = fleet.stop();
    assert!(
        taken.contains(&format!("stopped: {touches} hits in {touches} reports")),
        "{taken}"
    );
}

/// Microseconds from before the connection is made until a line names where it came from.
fn touch(from: Ipv4Addr, to: SocketAddr, lines: &Lines) -> f64 {
    let name = from.to_string();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    let began = Instant::now();
    socket.connect(&to.into()).unwrap();
    let (at, _) = lines.wait_for(|line| line.split_whitespace().any(|word| word == name));
    drop(TcpStream::from(socket));
    at.duration_since(began).as_secs_f64() * 1e6
}

fn print(what: &str, micros: Vec<f64>) {
    let figures = Figures::new(micros);
    let [min, median, p90, p99, max] = [0, 50, 90, 99, 100].map(|part| figures.percentile(part));
    println!("{what:>8} {min:>8.0} {median:>8.0} {p90:>8.0} {p99:>8.0} {max:>8.0}");
}
