//! Flags of `vft evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::server::Format;

/// Examples below the help of `vft evaluate`.
pub const EXAMPLES: &str = "\
Examples:
  vft evaluate                  all scenarios, as tables, in a few minutes
  vft evaluate --scenario slow --svg delay.svg
  vft evaluate --scenario benign --config server.toml --clients 2000
  vft evaluate --flood 100000 --strict --format json | jq '.scenarios[].parts[].targets[]'";

/// Arguments of `vft evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// Clients in the fleet
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(2..=20_000))]
    pub clients: u32,
    /// Traps a client holds
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub traps: u16,
    /// Candidates that they are drawn from
    #[arg(long, value_name = "N", default_value = "48", value_parser = clap::value_parser!(u16).range(1..=30_000))]
    pub candidates: u16,
    /// Days that pass
    #[arg(long, value_name = "N", default_value = "30", value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// What all that is random follows from
    #[arg(long, value_name = "N", default_value = "1")]
    pub seed: u64,
    /// What happens
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub scenario: Which,
    /// Scanners of each rate
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub scanners: u32,
    /// Sources of the flood
    #[arg(long, value_name = "N", default_value = "10000000", value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    pub flood: u32,
    /// Form of the report: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Where to draw the delay until scanners are found against their rate
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Settings file of the server whose detectors are evaluated [default: the defaults]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Exit with 1 if a target is missed
    #[arg(long)]
    pub strict: bool,
}

/// What happens in an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// All of these, one after the other
    All,
    /// Single scanners, from one first contact a week to a thousand a second
    Slow,
    /// Three sources of one network that share the work
    Shared,
    /// Hundreds of sources with one contact each
    Coordinated,
    /// A client of the fleet that touches another
    Lateral,
    /// Slow attackers in a flood of sources
    Flood,
    /// Nobody attacks
    Benign,
    /// Everything at once
    Noisy,
}
