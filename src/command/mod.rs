//! What each command does: from what was typed to the parts that do it.

mod cert;
mod check;
mod client;
mod clients;
mod completions;
mod confine;
mod doubts;
mod drill;
mod evaluate;
mod ports;
mod progress;
mod records;
mod replay;
mod server;
mod signals;
mod standalone;

use std::io::{self, Write as _};
use std::path::Path;

use log::warn;

use crate::cli::{Cli, Command};
use crate::exit::{Failure, Kind};
use crate::logging;
use crate::state::{Exposure, StateFolder};

/// Runs a command to its end.
pub fn run(cli: Cli) -> Result<(), Failure> {
    logging::start(cli.log.level(), cli.log.log_format);
    match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Client(args) => client::run(args),
        Command::Standalone(args) => standalone::run(args),
        Command::Alerts(args) => records::alerts(&args),
        Command::Events(args) => records::events(&args),
        Command::Clients(args) => clients::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Takes hold of a state folder, and warns if others could get into it.
fn state_folder(path: &Path) -> Result<StateFolder, Failure> {
    let folder = StateFolder::open(path)?;
    let path = path.display();
    match folder.exposure() {
        Exposure::None => {}
        Exposure::Ended(mode) => {
            warn!("{path} was open to others (mode {mode:o}); it is its owner's alone now");
        }
        Exposure::Lasts(mode) => {
            warn!("{path} is open to others (mode {mode:o}), and belongs to somebody else");
        }
    }
    Ok(folder)
}

/// Prints a command's result. A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(
            Kind::Runtime,
            format!("cannot write to standard output: {error}"),
        )),
        Ok(()) => Ok(()),
    }
}
