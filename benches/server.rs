//! What a server takes in: sessions that report as fast as it acknowledges, with TLS, engine and
//! a durable store, beside SQLite alone on the same disk.
//!
//! `cargo bench --bench server [-- [--rounds N] [--seconds N] [--sessions N] [--crowd N]]`;
//! `docs/performance.md` says how to read what it prints.

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
    pub mod figures;
    pub mod fleet;
    pub mod harness;
    pub mod process;
    pub mod sessions;
    pub mod sqlite;
    pub mod usage;
}

use std::time::Duration;

use support::arguments;
use support::figures::Figures;
use support::fleet::Fleet;
/// As the tests know it.
use support::harness;
use support::sessions::{Hits, Load, Sessions};
use support::sqlite::Bare;
use support::usage::{cpu, cpu_of, memory};

/// Hits of a report in batches: as many as a client sends at once.
const BATCH: u32 = 1024;

/// Threads of the loader.
const THREADS: u32 = 8;

fn main() {
    let run = Run {
        rounds: arguments::number("--rounds", 5, 1),
        span: Duration::from_secs(arguments::number("--seconds", 4, 1).into()),
    };
    let sessions = arguments::number("--sessions", 64, 8);
    let crowd = arguments::number("--crowd", 10_000, 40);
    println!("server: hits that it takes in, beside rows that SQLite alone inserts");
    for (count, hits) in [(sessions, BATCH), (crowd, 1)] {
        if count > 0 {
            run.measure(count, &Hits::new(hits));
        }
    }
}

/// How long to measure.
struct Run {
    rounds: u32,
    span: Duration,
}

/// A server, and sessions with it.
struct Scene {
    fleet: Fleet,
    sessions: Sessions,
}

/// What a server did from its start to its end.
struct Summary {
    hits: u64,
    commits: u64,
}

impl Scene {
    fn start(count: u32) -> Self {
        let fleet = Fleet::start("");
        let sessions = Sessions::enter(
            fleet.endpoint.parse().unwrap(),
            &fleet.folder.path().join("cert.pem"),
            count,
            THREADS,
        );
        Self { fleet, sessions }
    }

    /// Ends both, and checks that the server counts as many hits as it has acknowledged.
    fn end(self, loads: &[Load]) -> Summary {
        let Self { fleet, sessions } = self;
        drop(sessions);
        let said = fleet.stop();
        let hits = loads.iter().map(|load| load.hits).sum();
        assert!(
            said.contains(&format!("stopped: {hits} hits in ")),
            "{said}"
        );
        let words: Vec<_> = said.split_whitespace().collect();
        let commits = words.windows(2).find(|pair| pair[1] == "commits").unwrap();
        Summary {
            hits,
            commits: commits[0].parse().unwrap(),
        }
    }
}

impl Run {
    fn measure(&self, count: u32, hits: &Hits) {
        println!("\n{count} sessions, reports of {} hits", hits.count);
        // A first server shows what it takes to let them in, a second how many hits share a commit.
        let without = Scene::start(count).end(&[]).commits;
        let mut scene = Scene::start(count);
        let load = scene.sessions.report(self.span, hits);
        let each = scene.end(&[load]).shared(without);
        let mut scene = Scene::start(count);
        let loads = self.rounds(&mut scene, hits, each);
        let bytes = loads.iter().map(|load| load.bytes).sum();
        let took = loads.iter().map(|load| load.took).sum();
        let summary = scene.end(&loads);
        println!(
            "{} hits; {:.1} bytes each on the wire; {:.0} commits a second of {} hits each",
            summary.hits,
            ratio(bytes, summary.hits),
            per(summary.commits.saturating_sub(without), took),
            summary.shared(without)
        );
    }

    /// Measures the server and SQLite alone, with so many rows in a transaction, in turn.
    fn rounds(&self, scene: &mut Scene, hits: &Hits, each: u64) -> Vec<Load> {
        let folder = scene.fleet.folder.path();
        let store = folder.join("server-state/server/store.db");
        let mut bare = Bare::new(&store, &folder.join("bare.db"));
        // The first round warms up; its hits count, its times do not.
        let mut loads = vec![scene.sessions.report(self.span, hits)];
        bare.insert(self.span, each);
        println!(
            "{:>8} {:>9} {:>9} {:>6}   {:>9} {:>9}   {:>10}",
            "round", "floor/s", "vft/s", "ratio", "server µs", "loader µs", "server KiB"
        );
        let mut all = [const { Vec::new() }; 5];
        for round in 1..=self.rounds {
            let used = || [cpu(&scene.fleet.server), cpu_of(std::process::id())];
            let before = used();
            let load = scene.sessions.report(self.span, hits);
            let after = used();
            let floor = bare.insert(self.span, each);
            let rate = per(load.hits, load.took);
            let micros = |i: usize| 1e6 / per(load.hits, after[i].saturating_sub(before[i]));
            let row = [floor, rate, rate / floor, micros(0), micros(1)];
            let resident = memory(&scene.fleet.server, "VmRSS");
            print(&round.to_string(), row, &resident.to_string());
            for (column, value) in all.iter_mut().zip(row) {
                column.push(value);
            }
            loads.push(load);
        }
        let medians = all.map(|column| Figures::new(column).percentile(50));
        print("median", medians, "");
        loads
    }
}

impl Summary {
    /// Hits that shared a commit, in the mean, when so many commits had other reasons.
    fn shared(&self, without: u64) -> u64 {
        let commits = self.commits.saturating_sub(without).max(1);
        (self.hits / commits).max(1)
    }
}

fn per(count: u64, span: Duration) -> f64 {
    ratio(count, 1) / span.as_secs_f64().max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn print(round: &str, row: [f64; 5], memory: &str) {
    let [floor, rate, ratio, server, loader] = row;
    println!(
        "{round:>8} {floor:>9.0} {rate:>9.0} {ratio:>6.2}   {server:>9.2} {loader:>9.2}   \
         {memory:>10}"
    );
}
