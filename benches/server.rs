//! What a server takes in: sessions that report as fast as it acknowledges, with TLS, engine and
//! a durable store, beside SQLite alone on the same disk. And what sessions cost that are held.
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
    pub mod held;
    pub mod process;
    pub mod restart;
    pub mod sessions;
    pub mod sqlite;
    pub mod usage;
}

use std::path::PathBuf;
use std::time::Duration;

use support::arguments;
use support::figures::Figures;
use support::fleet::Fleet;
/// As the tests know it.
use support::harness;
use support::held;
use support::sessions::{Hits, Load, Sessions};
use support::sqlite::{Bare, commits};
use support::usage::{cpu, cpu_of, memory};

/// Hits of a report in batches: as many as a client sends at once.
const BATCH: u32 = 1024;

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
    if crowd > 0 {
        held::measure(crowd, run.span * 5);
    }
}

/// How long to measure.
struct Run {
    rounds: u32,
    span: Duration,
}

/// What a server did in a round.
struct Done {
    load: Load,
    /// CPU time of the server, and of this process.
    used: [Duration; 2],
    /// Transactions of its store.
    commits: u32,
}

/// A server, and sessions with it.
struct Scene {
    fleet: Fleet,
    sessions: Sessions,
}

impl Scene {
    fn start(count: u32) -> Self {
        let fleet = Fleet::start("");
        let sessions = Sessions::enter(&fleet, count);
        Self { fleet, sessions }
    }

    fn store(&self) -> PathBuf {
        let folder = self.fleet.folder.path();
        folder.join("server-state/server/store.db")
    }

    fn round(&mut self, span: Duration, hits: &Hits) -> Done {
        let store = self.store();
        let used = |scene: &Self| [cpu(&scene.fleet.server), cpu_of(std::process::id())];
        let (before, commits_before) = (used(self), commits(&store));
        let load = self.sessions.report(span, hits);
        let after = used(self);
        Done {
            load,
            used: [0, 1].map(|whose| after[whose].saturating_sub(before[whose])),
            commits: commits(&store).wrapping_sub(commits_before),
        }
    }

    /// Ends both, and checks that the server counts as many hits as it has acknowledged.
    fn end(self, hits: u64) {
        let Self { fleet, sessions } = self;
        drop(sessions);
        let said = fleet.stop();
        let whole = format!("stopped: {hits} hits in ");
        assert!(said.contains(&whole), "{said}");
    }
}

impl Run {
    fn measure(&self, count: u32, hits: &Hits) {
        println!("\n{count} sessions, reports of {} hits", hits.count);
        let mut scene = Scene::start(count);
        // The first round warms up, and shows how many hits share a commit; its times do not count.
        let mut all = vec![scene.round(self.span, hits)];
        let each = all[0].load.hits / u64::from(all[0].commits).max(1);
        let bare = scene.fleet.folder.path().join("bare.db");
        let mut bare = Bare::new(&scene.store(), &bare);
        bare.insert(self.span, each.max(1));
        println!(
            "{:>8} {:>9} {:>9} {:>6}   {:>9} {:>9}   {:>9} {:>8}   {:>10}",
            "round",
            "floor/s",
            "vft/s",
            "ratio",
            "server µs",
            "loader µs",
            "commits/s",
            "hits per",
            "server KiB"
        );
        let mut columns = [const { Vec::new() }; 7];
        for round in 1..=self.rounds {
            // In turn, so that neither has the better half of a drift.
            let done = scene.round(self.span, hits);
            let row = row(&done, bare.insert(self.span, each.max(1)));
            let resident = memory(&scene.fleet.server, "VmRSS");
            print(&round.to_string(), row, &resident.to_string());
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
            all.push(done);
        }
        let medians = columns.map(|column| Figures::new(column).percentile(50));
        print("median", medians, "");
        let sum = |what: fn(&Load) -> u64| all.iter().map(|done| what(&done.load)).sum();
        let (taken, bytes): (u64, u64) = (sum(|load| load.hits), sum(|load| load.bytes));
        scene.end(taken);
        println!(
            "{taken} hits; {:.1} bytes each on the wire",
            ratio(bytes, taken)
        );
    }
}

fn row(done: &Done, floor: f64) -> [f64; 7] {
    let (hits, took) = (done.load.hits, done.load.took);
    let rate = per(hits, took);
    let [server, loader] = done.used.map(|used| 1e6 / per(hits, used));
    let commits = u64::from(done.commits);
    [
        floor,
        rate,
        rate / floor,
        server,
        loader,
        per(commits, took),
        ratio(hits, commits),
    ]
}

fn per(count: u64, span: Duration) -> f64 {
    ratio(count, 1) / span.as_secs_f64().max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

fn print(round: &str, row: [f64; 7], memory: &str) {
    let [floor, rate, ratio, server, loader, commits, hits] = row;
    println!(
        "{round:>8} {floor:>9.0} {rate:>9.0} {ratio:>6.2}   {server:>9.2} {loader:>9.2}   \
         {commits:>9.0} {hits:>8.0}   {memory:>10}"
    );
}
