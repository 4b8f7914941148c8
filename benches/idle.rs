//! What a client costs while nothing happens: its start, its memory, its CPU, its size.
//!
//! `cargo bench --bench idle [-- [--starts N] [--seconds N]]`; `docs/performance.md` says how to
//! read what it prints.

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
    pub mod process;
    pub mod usage;
}

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::arguments;
use support::figures::Figures;
use support::fleet::{Fleet, vft};
use support::process::Process;
use support::usage::{cpu, memory};

/// As many traps as a client holds unless told otherwise.
const PORTS: &str = "20022,20080,20445,21389,28080";

fn main() {
    let starts = arguments::number("--starts", 30, 2);
    let seconds = arguments::number("--seconds", 20, 1);
    println!(
        "size of the program: {} KiB",
        fs::metadata(vft()).unwrap().len() / 1024
    );
    let fleet = Fleet::start("");
    let millis = Figures::new((0..starts).map(|_| start(&fleet)));
    println!(
        "\nfrom the start of a client to 5 open traps, {starts} starts, in ms: \
         min {:.1}, median {:.1}, p90 {:.1}, max {:.1}",
        millis.percentile(0),
        millis.percentile(50),
        millis.percentile(90),
        millis.percentile(100)
    );
    let client = fleet.connected_client(PORTS);
    let both = [("client", &client), ("server", &fleet.server)];
    // The first heartbeat follows the welcome.
    sleep(Duration::from_secs(1));
    let before = both.map(|(_, process)| (cpu(process), switches(process)));
    sleep(Duration::from_secs(seconds.into()));
    println!(
        "\n{:>8} {:>10} {:>11} {:>15} {:>10}",
        "idle", "KiB", "private KiB", "ms CPU a second", "wake-ups/s"
    );
    for ((name, process), (used, woken)) in both.into_iter().zip(before) {
        let used = cpu(process).saturating_sub(used).as_secs_f64() * 1000.0 / f64::from(seconds);
        let woken = f64::from(switches(process) - woken) / f64::from(seconds);
        let (all, private) = (memory(process, "VmRSS"), memory(process, "RssAnon"));
        println!("{name:>8} {all:>10} {private:>11} {used:>15.1} {woken:>10.1}");
    }
    let seen = client.stop();
    assert!(
        seen.contains("stopped: 0 hits seen, 0 not delivered, 0 dropped"),
        "{seen}"
    );
    let taken = fleet.stop();
    assert!(taken.contains("stopped: 0 hits in 0 reports"), "{taken}");
}

/// Milliseconds until a client has opened all traps.
fn start(fleet: &Fleet) -> f64 {
    let began = Instant::now();
    let client = fleet.client(PORTS);
    let (at, _) = client
        .err
        .wait_for(|line| line.contains("ready: 5 traps open"));
    let took = at.duration_since(began);
    client.err.wait_for(|line| line.contains("connected to"));
    client.stop();
    took.as_secs_f64() * 1000.0
}

/// How often the process's threads have waited for something.
fn switches(process: &Process) -> u32 {
    let threads = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let waited = threads.map(|thread| {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary_ctxt_switches:"));
        line.unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u32>()
            .unwrap()
    });
    waited.sum()
}
