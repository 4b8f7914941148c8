//! Recorded events through `vft replay`: how many in a second of one core, in how much memory, and
//! whether ten times as many take ten times as long; beside it the engine alone, with a million
//! sources that come again and again, and with none that does.
//!
//! `cargo bench --bench replay [-- [--rounds N] [--events N]]`; `docs/performance.md` says how to
//! read what it prints.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on says so by panicking"
)]

mod support {
    pub mod arguments;
    pub mod figures;
}

use std::fs::{File, read_to_string};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use support::arguments;
use support::figures::Figures;

/// Every source is expected, so nothing is correlated: what is left is reading and ordering.
const READING_ONLY: &str = "[[allow]]\nnetwork = \"0.0.0.0/0\"\n";

fn main() {
    let rounds = arguments::number("--rounds", 5, 1);
    let most = arguments::number("--events", 10_000_000, 20_000);
    println!("replay: {rounds} rounds of up to {most} events from CSV, by CPU time");
    let folder = TempDir::new().unwrap();
    let reading = folder.path().join("reading.toml");
    std::fs::write(&reading, READING_ONLY).unwrap();
    let defaults = folder.path().join("defaults.toml");
    std::fs::write(&defaults, "").unwrap();
    println!(
        "\n{:>6} {:>10} {:>12} | {:>12} {:>8} | {:>12} {:>8} {:>8} | {:>12}",
        "", "", "lines alone", "reading", "", "correlating", "", "", "engine alone"
    );
    println!(
        "{:>6} {:>10} {:>12} | {:>12} {:>8} | {:>12} {:>8} {:>8} | {:>12}",
        "shape", "events", "lines/s", "events/s", "MiB", "events/s", "MiB", "alerts", "events/s"
    );
    let mut sizes = vec![10_000.min(most)];
    while sizes[sizes.len() - 1] * 10 <= most {
        sizes.push(sizes[sizes.len() - 1] * 10);
    }
    let mixed = sizes.into_iter().map(|events| (Shape::Mixed, events));
    let plain = [Shape::Live, Shape::New].map(|shape| (shape, (most / 10 * 3).max(10_000)));
    for (shape, events) in mixed.chain(plain) {
        let file = folder.path().join("events.csv");
        record(&file, shape, events);
        // A long file is its own average.
        let rounds = if events > 1_000_000 {
            rounds.min(2)
        } else {
            rounds
        };
        let floor = lines_alone(&file, rounds);
        let reading = series(&file, &reading, events, rounds);
        let correlating = series(&file, &defaults, events, rounds);
        println!(
            "{:>6} {events:>10} {:>12.0} | {reading} | {correlating} {:>8} | {:>12.0}",
            format!("{shape:?}").to_lowercase(),
            f64::from(events) / floor,
            correlating.alerts,
            1.0 / (1.0 / correlating.rate - 1.0 / reading.rate),
        );
    }
}

/// What a file holds: so many events, a hundred a second on 200 clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One half single touches by a million hosts of the inside, the other scanners among them, each
    /// of which touches some traps: a great many incidents.
    Mixed,
    /// A million sources outside, each of which comes again and again to the same trap.
    Live,
    /// Each event from a source outside that never comes again.
    New,
}

/// Events in a second of CPU time over several replays, and the most memory of any.
struct Series {
    rate: f64,
    memory: f64,
    alerts: u64,
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, memory) = (self.rate, self.memory);
        write!(f, "{rate:>12.0} {memory:>8.1}")
    }
}

fn series(file: &Path, settings: &Path, events: u32, rounds: u32) -> Series {
    let before = spent(Whose::Childrens);
    let replays: Vec<_> = (0..rounds).map(|_| replay(file, settings)).collect();
    let spent = spent(Whose::Childrens) - before;
    for (summary, _) in &replays {
        assert_eq!(summary["events"], events, "every line is an event");
        assert_eq!(
            summary["digest"], replays[0].0["digest"],
            "all say the same"
        );
    }
    let memory = replays.iter().map(|(_, kib)| f64::from(*kib) / 1024.0);
    Series {
        rate: f64::from(events) * f64::from(rounds) / spent.max(0.01),
        memory: Figures::new(memory).percentile(100),
        alerts: replays[0].0["alerts"].as_u64().unwrap(),
    }
}

/// Replays a file, and returns the summary and the most memory that was resident, in KiB.
fn replay(file: &Path, settings: &Path) -> (Value, u32) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vft"))
        .args(["replay", "--format", "json", "--config"])
        .args([settings, file])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        most = peak(&child).unwrap_or(most);
        park_timeout(Duration::from_millis(2));
    }
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{log}");
    (
        serde_json::from_str(log.lines().last().unwrap()).unwrap(),
        most,
    )
}

/// The most memory that a process had resident so far, in KiB; `None` if it has ended.
fn peak(process: &Child) -> Option<u32> {
    let status = read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whose CPU time.
#[derive(Clone, Copy)]
enum Whose {
    /// This program's.
    Own,
    /// That of those it has started, when they have ended.
    Childrens,
}

/// Seconds of user and system time so far, to the hundredth.
fn spent(whose: Whose) -> f64 {
    let stat = read_to_string("/proc/self/stat").unwrap();
    // The name, in brackets, is the second field and may hold anything; utime, stime, cutime and
    // cstime are the 14th and those after it, in ticks of which Linux shows 100 a second.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let first = match whose {
        Whose::Own => 11,
        Whose::Childrens => 13,
    };
    let ticks = fields.skip(first).take(2).map(str::parse::<f64>);
    ticks.map(Result::unwrap).sum::<f64>() / 100.0
}

/// How many seconds of CPU time a loop takes that reads lines, counts commas and does nothing else.
fn lines_alone(file: &Path, rounds: u32) -> f64 {
    let began = spent(Whose::Own);
    for _ in 0..rounds {
        let mut from = BufReader::with_capacity(128 * 1024, File::open(file).unwrap());
        let (mut line, mut commas) = (Vec::new(), 0_u64);
        while from.read_until(b'\n', &mut line).unwrap() > 0 {
            commas += line
                .iter()
                .map(|byte| u64::from(*byte == b','))
                .sum::<u64>();
            line.clear();
        }
        assert!(commas > 0);
    }
    let spent = spent(Whose::Own) - began;
    spent.max(0.01) / f64::from(rounds)
}

/// Writes so many events of a shape.
fn record(file: &Path, shape: Shape, events: u32) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    writeln!(out, "time,client,source,source_port,trap_port,probe,count").unwrap();
    let mut dice = Dice(1);
    for number in 0..events {
        let source = match shape {
            // Three scanners at a time, one after the other.
            Shape::Mixed if number % 2 == 0 => 0x0a0f_0000 + (number / 48) * 3 + number % 3,
            Shape::Mixed => 0x0a10_0000 + dice.below(1 << 20),
            Shape::Live => scattered(dice.below(1_000_000)),
            Shape::New => scattered(number),
        };
        let (client, trap) = match shape {
            Shape::Mixed | Shape::New => (dice.below(200), dice.below(8)),
            Shape::Live => (source % 200, source / 256 % 8),
        };
        let millis = u64::from(number) * 10;
        writeln!(
            out,
            "{}.{:03},web-{client},{},{},{},connect,1",
            1_700_000_000 + millis / 1000,
            millis % 1000,
            Ipv4Addr::from(source),
            1024 + dice.below(60_000),
            [22, 23, 80, 443, 445, 3306, 3389, 8080][trap as usize],
        )
        .unwrap();
    }
    out.flush().unwrap();
}

/// An address of 240.0.0.0/4, which is reserved: the multiplier of Fibonacci hashing (Knuth) spreads
/// them, and no two numbers below 2^28 have the same.
fn scattered(number: u32) -> u32 {
    0xf000_0000 | (number.wrapping_mul(2_654_435_769) & 0x0fff_ffff)
}

/// Numbers that look random and are the same in every run (a linear congruential generator with
/// the multiplier and increment of Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(bound)).unwrap()
    }
}
