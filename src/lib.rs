//! Venus Fly Trap: finds connections and scans that evade network and host IDS.
//!
//! Follow one touch of a trap through the system:
//!
//! 1. On a host of the fleet a [`client`] holds [traps](client::trap). A thread accepts the
//!    connection, closes it at once, and puts a [`Hit`](event::Hit) into the
//!    [funnel](client::trap::funnel).
//! 2. The [gatherer](client::gather) takes it out, merged with its like in a rush, and appends it
//!    to the [backlog](client::backlog), where it waits until it is acknowledged.
//! 3. The [reporter](client::reporter) sends it in a [report](wire::message::Report) over
//!    [TLS](net::tls) to a [`server`].
//! 4. There a [session](server::session) hands it to the [intake](server::intake), which makes it
//!    an [`Event`](event::Event) and, under the one lock there is, gives it to the
//!    [engine](server::correlate).
//! 5. The engine looks at it from the sides of its source, its port and its client, and finds
//!    that an [incident](server::correlate::incident) has begun. It says so in an
//!    [`Alert`](server::alert::Alert).
//! 6. The alert goes to the [sinks](server::sink).
//!
//! [`replay`] gives recorded events to the same engine, without a server.
//!
//! [`cli`] says what can be typed, [`config`] what can be set, and [`command`] brings both
//! together with the parts above. `docs/architecture.md` says which module may use which.

mod cli;
mod client;
mod clock;
mod command;
mod config;
mod database;
mod entropy;
mod evaluate;
mod event;
mod exit;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod logging;
mod metrics;
mod net;
mod regular_file;
mod replay;
mod sandbox;
mod sanitize;
mod seldom;
mod server;
mod shutdown;
mod state;
mod threads;
mod wire;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the program with these arguments, of which the first is the name it was called by.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match cli::parse(arguments) {
        Ok(cli) => match command::run(cli) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        Err(code) => code,
    }
}
