//! A storm of connections on one trap, beside the same storm on a bare accept loop.
//!
//! `cargo bench --bench storm [-- [--rounds N] [--connections N]]`; `docs/performance.md` says how
//! to read what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
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
    pub mod loader;
    pub mod process;
    pub mod usage;
}

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::arguments;
use support::client::address;
use support::figures::Figures;
use support::fleet::Fleet;
use support::floor::{self, Floor};
use support::loader::Storm;
use support::process::{Process, SOON};
use support::usage::{cpu, memory};

/// The trap's port.
const PORT: u16 = 20_445;

fn main() {
    if let Some(address) = floor::wanted() {
        floor::run(address, |_| ());
        return;
    }
    let rounds = arguments::number("--rounds", 10, 1);
    let connections = arguments::number("--connections", 100_000, 2000);
    println!(
        "storm: {rounds} rounds of {connections} connections on a bare accept loop and a trap"
    );
    // With 2,048 sources hardly two hits of one gathering merge, and the server still has room for
    // an incident of each.
    let storms = [(1, 1), (1, 64), (1, 2048), (2, 1), (2, 64), (2, 2048)];
    for (loaders, sources) in storms
        .into_iter()
        .take(if arguments::is_real() { 6 } else { 1 })
    {
        storm(
            Storm {
                loaders,
                sources,
                connections,
            },
            rounds,
        );
    }
}

/// What a storm did to one of the two.
struct Strain {
    rate: f64,
    micros: f64,
}

/// Here one client has all the hits of a fleet, round after round.
const SETTINGS: &str = "[limits]\nclient-rate = 16777216\nclient-burst = 16777216\n";

fn storm(storm: Storm, rounds: u32) {
    let fleet = Fleet::start(SETTINGS);
    let client = fleet.connected_client(&PORT.to_string());
    let floor = Floor::start();
    let trap = SocketAddr::from((address(), PORT));
    println!("\n{} loader(s), {} source(s)", storm.loaders, storm.sources);
    println!(
        "{:>8} {:>9} {:>9} {:>6}   {:>9} {:>9} {:>9}   {:>10}",
        "round", "floor/s", "vft/s", "ratio", "floor µs", "client µs", "server µs", "client KiB"
    );
    // The first round warms up; its hits count, its times do not.
    drop(endure(storm, floor.address, &[&floor.process]));
    let server = &fleet.server;
    drop(endure(storm, trap, &[&client, server]));
    println!("{:>8} {:>70}", "warm-up", memory(&client, "VmRSS"));
    let mut all = [const { Vec::new() }; 6];
    for round in 1..=rounds {
        let bare = || endure(storm, floor.address, &[&floor.process]);
        let whole = || endure(storm, trap, &[&client, server]);
        // In turn, so that neither has the better half of a drift.
        let (bare, whole) = if round % 2 == 0 {
            let whole = whole();
            (bare(), whole)
        } else {
            (bare(), whole())
        };
        let row = [
            bare[0].rate,
            whole[0].rate,
            whole[0].rate / bare[0].rate,
            bare[0].micros,
            whole[0].micros,
            whole[1].micros,
        ];
        all.iter_mut()
            .zip(row)
            .for_each(|(column, value)| column.push(value));
        print(
            &round.to_string(),
            row,
            &memory(&client, "VmRSS").to_string(),
        );
    }
    print(
        "median",
        all.map(|column| Figures::new(column).percentile(50)),
        "",
    );
    drop(floor);
    account(
        fleet,
        client,
        u64::from(storm.connections) * u64::from(rounds + 1),
    );
}

fn print(round: &str, row: [f64; 6], memory: &str) {
    let [
        bare,
        whole,
        ratio,
        bare_micros,
        client_micros,
        server_micros,
    ] = row;
    println!(
        "{round:>8} {bare:>9.0} {whole:>9.0} {ratio:>6.2}   {bare_micros:>9.2} {client_micros:>9.2} \
         {server_micros:>9.2}   {memory:>10}"
    );
}

/// One storm, and what it cost each of these processes until they were calm again.
fn endure(storm: Storm, target: SocketAddr, processes: &[&Process]) -> Vec<Strain> {
    let before: Vec<_> = processes.iter().map(|process| cpu(process)).collect();
    let took = storm.rage(target);
    calm(processes);
    let hits = f64::from(storm.connections);
    let used = processes
        .iter()
        .zip(before)
        .map(|(process, before)| cpu(process).saturating_sub(before));
    used.map(|used| Strain {
        rate: hits / took.as_secs_f64(),
        micros: used.as_secs_f64() * 1e6 / hits,
    })
    .collect()
}

/// Waits until the processes use no CPU to speak of.
fn calm(processes: &[&Process]) {
    let deadline = Instant::now() + SOON;
    let used = || {
        processes
            .iter()
            .map(|process| cpu(process))
            .sum::<Duration>()
    };
    let mut last = used();
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = used();
        if now.saturating_sub(last) <= Duration::from_millis(10) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the storm has passed and there is no calm"
        );
        last = now;
    }
}

/// Stops both, and checks that every connection was counted on both sides.
fn account(fleet: Fleet, client: Process, made: u64) {
    let (seen, taken) = (client.stop(), fleet.stop());
    println!(
        "{made} connections; client: {}; server: {}",
        last_words(&seen),
        last_words(&taken)
    );
    let whole = format!("stopped: {made} hits seen, 0 not delivered, 0 dropped");
    assert!(seen.contains(&whole), "{seen}");
    assert!(
        taken.contains(&format!("stopped: {made} hits in")),
        "{taken}"
    );
}

fn last_words(log: &str) -> &str {
    log.lines()
        .find_map(|line| line.split_once("stopped: "))
        .map_or("nothing", |(_, words)| words)
}
