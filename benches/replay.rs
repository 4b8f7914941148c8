//! Recorded events through `vft replay`: how many a second, in how much memory, and whether ten
//! times as many take ten times as long.
//!
//! `cargo bench --bench replay [-- [--rounds N] [--events N]]`; `docs/performance.md` says how to
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
    pub mod figures;
}

use std::fs::{File, read_to_string};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use support::arguments;
use support::figures::Figures;

/// Every source is expected, so nothing is correlated: what is left is reading and ordering.
const READING_ONLY: &str = "[[allow]]\nnetwork = \"0.0.0.0/0\"\n";

fn main() {
    let rounds = arguments::number("--rounds", 5, 1);
    let most = arguments::number("--events", 10_000_000, 20_000);
    println!("replay: {rounds} rounds of up to {most} events from CSV, medians");
    let folder = TempDir::new().unwrap();
    let reading = folder.path().join("reading.toml");
    std::fs::write(&reading, READING_ONLY).unwrap();
    let defaults = folder.path().join("defaults.toml");
    std::fs::write(&defaults, "").unwrap();
    println!(
        "\n{:>10} {:>6} {:>12} | {:>12} {:>8} {:>8} | {:>12} {:>8} {:>8} {:>8}",
        "", "", "lines alone", "reading", "", "", "correlating", "", "", ""
    );
    println!(
        "{:>10} {:>6} {:>12} | {:>12} {:>8} {:>8} | {:>12} {:>8} {:>8} {:>8}",
        "events",
        "MiB",
        "lines/s",
        "events/s",
        "µs each",
        "MiB",
        "events/s",
        "µs each",
        "MiB",
        "alerts"
    );
    let mut events = 10_000.min(most);
    while events <= most {
        let file = folder.path().join("events.csv");
        let bytes = record(&file, events);
        // A long file is its own average.
        let rounds = if events > 1_000_000 {
            rounds.min(2)
        } else {
            rounds
        };
        let floor = Figures::new((0..rounds).map(|_| f64::from(events) / lines_alone(&file)));
        let reading = series(&file, &reading, events, rounds);
        let correlating = series(&file, &defaults, events, rounds);
        println!(
            "{events:>10} {:>6.1} {:>12.0} | {reading} | {correlating} {:>8}",
            mebi(bytes),
            floor.percentile(50),
            correlating.alerts,
        );
        events *= 10;
    }
}

/// Medians of several replays, and the most memory of any.
struct Series {
    rate: f64,
    memory: f64,
    alerts: u64,
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, memory) = (self.rate, self.memory);
        write!(f, "{rate:>12.0} {:>8.2} {memory:>8.1}", 1e6 / rate)
    }
}

fn series(file: &Path, settings: &Path, events: u32, rounds: u32) -> Series {
    let replays: Vec<_> = (0..rounds).map(|_| replay(file, settings)).collect();
    for (summary, _) in &replays {
        assert_eq!(summary["events"], events, "every line is an event");
        assert_eq!(
            summary["digest"], replays[0].0["digest"],
            "all say the same"
        );
    }
    let rate = |(summary, _): &(Value, _)| summary["events_a_second"].as_f64().unwrap();
    let memory = replays.iter().map(|(_, kib)| f64::from(*kib) / 1024.0);
    Series {
        rate: Figures::new(replays.iter().map(rate)).percentile(50),
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

/// How many seconds a loop takes that reads lines, counts commas and does nothing else.
fn lines_alone(file: &Path) -> f64 {
    let began = Instant::now();
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
    began.elapsed().as_secs_f64()
}

/// Writes so many events: a hundred a second on 200 clients, one half of them single touches from
/// a million sources, the other by scanners, each of which touches eight traps. Returns the bytes.
fn record(file: &Path, events: u32) -> u64 {
    let mut out = BufWriter::new(File::create(file).unwrap());
    writeln!(out, "time,client,source,source_port,trap_port,probe,count").unwrap();
    let mut dice = Dice(1);
    for number in 0..events {
        let scanner = number % 2 == 0;
        let source = if scanner {
            // Three scanners at a time, one after the other.
            0x000f_0000 + (number / 48) * 3 + number % 3
        } else {
            0x0010_0000 + dice.below(1 << 20)
        };
        let [_, b, c, d] = source.to_be_bytes();
        let millis = u64::from(number) * 10;
        writeln!(
            out,
            "{}.{:03},web-{},10.{b}.{c}.{d},{},{},connect,1",
            1_700_000_000 + millis / 1000,
            millis % 1000,
            dice.below(200),
            1024 + dice.below(60_000),
            [22, 23, 80, 443, 445, 3306, 3389, 8080][dice.below(8) as usize],
        )
        .unwrap();
    }
    out.flush().unwrap();
    std::fs::metadata(file).unwrap().len()
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

fn mebi(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}
