//! What each command does: from what was typed to the parts that do it.

mod cert;
mod check;
mod client;
mod completions;
mod evaluate;
mod ports;
mod progress;
mod records;
mod replay;
mod server;
mod signals;
mod standalone;

use std::io::{self, Write as _};

use crate::cli::{Cli, Command};
use crate::exit::{Failure, Kind};
use crate::logging;

/// Runs a command to its end.
pub fn run(cli: Cli) -> Result<(), Failure> {
    logging::start(cli.log.level(), cli.log.log_format);
    match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Client(args) => client::run(args),
        Command::Standalone(args) => standalone::run(args),
        Command::Alerts(args) => records::alerts(&args),
        Command::Events(args) => records::events(&args),
        Command::Clients(args) => records::clients(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Cert(args) => cert::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Ports(args) => ports::run(&args),
        Command::Completions(args) => completions::run(&args),
    }
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
