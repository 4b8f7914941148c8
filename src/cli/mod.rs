//! What was typed. Nothing here decides anything but which command it is.
//!
//! The program goes by several names: as `vft-server` and `vft-client` (by the file name it is
//! called by, through any path or link) it is the command of that name.

pub mod client;
pub mod evaluate;
pub mod records;
pub mod replay;
pub mod secret;
pub mod server;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;
use log::LevelFilter;

use crate::cli::client::ClientArgs;
use crate::cli::evaluate::EvaluateArgs;
use crate::cli::records::{AlertsArgs, ClientsArgs, EventsArgs};
use crate::cli::replay::ReplayArgs;
use crate::cli::server::ServerArgs;
use crate::config::server::Format;

/// Venus Fly Trap: finds connections and scans that evade network and host IDS.
#[derive(Debug, Parser)]
#[command(
    name = "vft",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How to log, for every command.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArgs {
    /// Log more (-v debug, -vv trace)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    verbose: u8,
    /// Log less (-q warnings, -qq errors)
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Logging")]
    quiet: u8,
    /// Form of the log on standard error: text or json
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Logging"
    )]
    pub log_format: Format,
}

impl LogArgs {
    /// The least level to log.
    pub const fn level(self) -> LevelFilter {
        match (self.verbose, self.quiet) {
            (0, 0) => LevelFilter::Info,
            (1, 0) => LevelFilter::Debug,
            (2.., _) => LevelFilter::Trace,
            (_, 1) => LevelFilter::Warn,
            (_, _) => LevelFilter::Error,
        }
    }
}

/// What vft can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Listen for clients, correlate what they report, alert
    #[command(alias = "vft-server", after_help = server::EXAMPLES)]
    Server(ServerArgs),
    /// Hold traps on this host and report what touches them
    #[command(alias = "vft-client", after_help = client::EXAMPLES)]
    Client(ClientArgs),
    /// Server and client in one process, for one host or to try vft out
    #[command(after_help = STANDALONE_EXAMPLES)]
    Standalone(StandaloneArgs),
    /// List incidents, or show one with its evidence
    #[command(after_help = records::ALERTS_EXAMPLES)]
    Alerts(AlertsArgs),
    /// List events by source, port, client and time
    #[command(after_help = records::EVENTS_EXAMPLES)]
    Events(EventsArgs),
    /// List the fleet: who is there, who is silent, what is missing
    #[command(after_help = records::CLIENTS_EXAMPLES)]
    Clients(ClientsArgs),
    /// Measure how well the detectors do, on fleets and attackers that are made up
    #[command(after_help = evaluate::EXAMPLES)]
    Evaluate(EvaluateArgs),
    /// Give recorded events to the engine: what would have been said, under which settings
    #[command(after_help = replay::EXAMPLES)]
    Replay(ReplayArgs),
    /// Make a self-signed certificate and key for --cert and --key
    #[command(after_help = CERT_EXAMPLES)]
    Cert(CertArgs),
    /// Check a settings file and print the settings in force
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// List the candidate trap ports, and which are free here
    #[command(after_help = PORTS_EXAMPLES)]
    Ports(PortsArgs),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
}

const STANDALONE_EXAMPLES: &str = "\
Examples:
  vft standalone --drill        see it work: traps, hits, alerts, and done
  vft standalone                guard this host; alerts on standard output
  vft standalone --alert-format json | jq .title";

const CERT_EXAMPLES: &str = "\
Examples:
  vft cert --name vft.example.net
  vft cert --name vft.example.net --name 192.0.2.7 --out /etc/vft";

const CHECK_EXAMPLES: &str = "\
Examples:
  vft check                     the files in /etc/vft, if there are any
  vft check --config server.toml";

const PORTS_EXAMPLES: &str = "\
Examples:
  vft ports
  vft ports --count 8 --clients 200";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  vft completions bash > /etc/bash_completion.d/vft";

/// Arguments of `vft standalone`.
#[derive(Debug, Args)]
pub struct StandaloneArgs {
    /// Hit the own traps over loopback; exit with 0 if the alerts came, with 1 if not
    #[arg(long)]
    pub drill: bool,
    /// Form of the alerts on standard output: text or json
    #[arg(long, value_name = "FORMAT", env = "VFT_ALERT_FORMAT")]
    pub alert_format: Option<Format>,
    /// Settings file of the server in it [default: /etc/vft/server.toml if there is one]
    #[arg(long, value_name = "FILE", env = "VFT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Which traps to hold.
    #[command(flatten)]
    pub traps: client::TrapArgs,
    /// Folder for what must outlive a restart
    #[arg(long, value_name = "DIR", env = "VFT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
}

/// Arguments of `vft cert`.
#[derive(Debug, Args)]
pub struct CertArgs {
    /// A name or address that clients will use for the server (several times for several)
    #[arg(long, value_name = "HOST", required = true)]
    pub name: Vec<String>,
    /// Where to put cert.pem and key.pem
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
    /// For how many days it is valid
    #[arg(long, value_name = "N", default_value = "825", value_parser = clap::value_parser!(u16).range(1..=36_500))]
    pub days: u16,
    /// Replace files that are there
    #[arg(long)]
    pub force: bool,
}

/// Arguments of `vft check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The file to check [default: those in /etc/vft]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Whose settings they are [default: as the file's settings suggest]
    #[arg(long, value_name = "ROLE")]
    pub role: Option<Role>,
}

/// Whose settings a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

/// Arguments of `vft ports`.
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// Traps a client holds
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub count: u16,
    /// Clients in the fleet
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: u32,
}

/// Arguments of `vft completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Parses the arguments. What clap prints in place of running (an error, help, the version) has
/// been printed when this fails; the code is the one to exit with.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, ExitCode> {
    Cli::try_parse_from(spelt_out(arguments)).map_err(|error| {
        // A closed standard output or standard error leaves nobody to tell.
        drop(error.print());
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// The arguments as if the program had been called `vft`.
fn spelt_out(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let called = arguments.first().map(Path::new).and_then(Path::file_name);
    let command = match called.and_then(|name| name.to_str()) {
        Some("vft-server") => "server",
        Some("vft-client") => "client",
        _ => return arguments,
    };
    arguments.insert(1, command.into());
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn command(line: &str) -> Command {
        parse(line.split(' ').map(OsString::from)).unwrap().command
    }

    #[test]
    fn the_definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_name_decides_through_any_path() {
        assert!(matches!(
            command("/usr/local/bin/vft-server --ssl"),
            Command::Server(_)
        ));
        assert!(matches!(command("./vft-client"), Command::Client(_)));
        assert!(matches!(command("vft vft-server"), Command::Server(_)));
        assert!(matches!(command("vft vft-client"), Command::Client(_)));
        assert!(matches!(
            command("/opt/vft-1.0/bin/vft ports"),
            Command::Ports(_)
        ));
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.starts_with("Examples:"), "{}", command.get_name());
        }
    }
}
