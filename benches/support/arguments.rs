//! What a benchmark was started with.

use std::env::args;

/// Whether to measure. `cargo bench` says so with `--bench`; `cargo test --all-targets` does not,
/// and then a small run shows that the benchmark works.
pub fn is_real() -> bool {
    args().any(|argument| argument == "--bench")
}

/// The number behind `name` on the command line; else `real`, or `small` in a small run.
pub fn number(name: &str, real: u32, small: u32) -> u32 {
    match args().skip_while(|argument| argument != name).nth(1) {
        Some(given) => given
            .parse()
            .unwrap_or_else(|_| panic!("{name} takes a number, not {given}")),
        None if is_real() => real,
        None => small,
    }
}
