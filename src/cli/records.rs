//! Flags of the commands that show what a server has stored.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::config::server::{Format, Network};

/// Examples below the help of `vft alerts`.
pub const ALERTS_EXAMPLES: &str = "\
Examples:
  vft alerts                    all incidents, the latest last
  vft alerts --open             those that are not over
  vft alerts show 7Q2FK9XM      one, with its alerts and its events";

/// Examples below the help of `vft events`.
pub const EVENTS_EXAMPLES: &str = "\
Examples:
  vft events --source 10.20.0.7 --since 24h
  vft events --client web-7 --port 445 --format csv > web-7.csv";

/// Examples below the help of `vft clients`.
pub const CLIENTS_EXAMPLES: &str = "\
Examples:
  vft clients
  vft clients forget web-7      it is gone for good
  vft clients block 3d8ff317220c7c2da95f067a26318eaf
  vft clients --format json | jq -r 'select(.missing > 0) | .name'";

/// Where the server's store is.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// The server's state folder [default: `$STATE_DIRECTORY`, /var/lib/vft, or
    /// ~/.local/state/vft]
    #[arg(long, value_name = "DIR", env = "VFT_STATE_DIR", global = true)]
    pub state_dir: Option<PathBuf>,
}

/// Arguments of `vft alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// What else than to list them.
    #[command(subcommand)]
    pub command: Option<AlertsCommand>,
    /// Only incidents that are not over
    #[arg(long)]
    pub open: bool,
    /// Form of the output: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    pub format: Format,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What `vft alerts` can do beside listing.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Show one incident with its alerts and its events
    Show {
        /// The incident's id, with or without #
        id: String,
    },
}

/// Arguments of `vft clients`.
#[derive(Debug, Args)]
pub struct ClientsArgs {
    /// What else than to list them.
    #[command(subcommand)]
    pub command: Option<ClientsCommand>,
    /// Form of the output: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text", global = true)]
    pub format: Format,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What `vft clients` can do beside listing. A server that runs does it at once, and one that does
/// not when it starts.
#[derive(Debug, Subcommand)]
pub enum ClientsCommand {
    /// Forget a client that is gone for good; its hits stay
    Forget {
        /// The client's name or id
        #[arg(value_name = "NAME|ID")]
        client: String,
    },
    /// End a client's session, and refuse it from now on
    Block {
        /// The client's id
        id: String,
    },
    /// Let a client come again that was blocked
    Unblock {
        /// The client's id
        id: String,
    },
}

/// Arguments of `vft events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only from this address or network, like 10.0.0.0/8
    #[arg(long, value_name = "NETWORK")]
    pub source: Option<Network>,
    /// Only to this trap port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Only of this client, by name or id
    #[arg(long, value_name = "CLIENT")]
    pub client: Option<String>,
    /// Only from this time on: 24h (ago), 2026-11-24, or 2026-11-24T03:12:09Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// No more than so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Form of the output: text, json or csv
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: EventFormat,
    /// Where the store is.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// A form of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// Columns for people.
    Text,
    /// A JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

impl FromStr for EventFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            _ => Err(format!("`{text}` is neither text, json nor csv")),
        }
    }
}

/// A point in time, or how long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At this time, in microseconds since the Unix epoch.
    At(u64),
    /// So long before now.
    Ago(Duration),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ago) = humantime::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let midnight = format!("{text}T00:00:00Z");
        let time: Result<jiff::Timestamp, _> = text.parse().or_else(|_| midnight.parse());
        time.ok()
            .and_then(|time| u64::try_from(time.as_microsecond()).ok())
            .map(Self::At)
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a time; write it like 24h, 2026-11-24 or 2026-11-24T03:12:09Z"
                )
            })
    }
}
