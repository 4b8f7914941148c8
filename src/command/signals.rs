//! SIGTERM and SIGINT ask for a stop. A second one ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::Builder;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::exit::{Failure, Kind};
use crate::shutdown::Stop;

/// From now on these signals ask `stop` to stop.
pub fn stop_on_signals(stop: &Stop) -> Result<(), Failure> {
    install(stop).map_err(|error| {
        Failure::new(
            Kind::Runtime,
            format!("cannot install signal handlers: {error}"),
        )
    })
}

fn install(stop: &Stop) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down, and puts it up.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            stop.request();
        }
    })?;
    Ok(())
}
