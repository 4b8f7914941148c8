//! What a process costs, as the kernel counts it.

use std::fs::read_to_string;
use std::time::Duration;

use crate::support::process::Process;

/// User and system time so far, of all threads, to the hundredth of a second.
pub fn cpu(process: &Process) -> Duration {
    cpu_of(process.id())
}

/// The same of the process with this id.
pub fn cpu_of(id: u32) -> Duration {
    let stat = read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name, in brackets, is the second field and may hold anything; utime and stime are the
    // 14th and the 15th, in ticks of which Linux shows 100 a second whatever the kernel's own are.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory in KiB: `VmRSS` is all of it, `RssAnon` what no other process could share.
pub fn memory(process: &Process, which: &str) -> u32 {
    let status = read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(which)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
