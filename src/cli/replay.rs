//! Flags of `vft replay`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::records::StoreArgs;
use crate::config::server::Format;
use crate::config::value::Span;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  vft replay events.csv                     what would have been said of these events
  zcat 2026-*.jsonl.gz | vft replay --format json - | jq .title
  vft replay --stored --compare new.toml    what other settings would have changed";

/// Arguments of `vft replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Files of events, JSON lines or CSV, in any order; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "stored")]
    pub files: Vec<PathBuf>,
    /// Replay the events of a server's store
    #[arg(long, conflicts_with = "files")]
    pub stored: bool,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
    /// Settings file of a server [default: none, so the defaults hold]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Another settings file: show which incidents appear, disappear or change under it
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Form of the output and of the summary: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
    /// Fail at the first line that makes no sense
    #[arg(long)]
    pub strict: bool,
    /// Up to how far a line may stand behind a later one
    #[arg(long, value_name = "SPAN", default_value = "5m")]
    pub buffer: Span,
}
