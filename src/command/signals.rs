//! SIGTERM and SIGINT ask for a stop; a second one ends the process at once. SIGHUP is noted for
//! whoever reads settings anew. SIGXFSZ, for a file that may not grow any more, ends nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::exit::{Failure, Kind};
use crate::shutdown::Stop;

/// Whether a SIGHUP has come.
#[derive(Clone, Debug, Default)]
pub struct HangUp(Arc<AtomicBool>);

impl HangUp {
    /// Whether one has come since this was last asked.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// From now on the signals do what they should.
pub fn install(stop: &Stop) -> Result<HangUp, Failure> {
    handle(stop).map_err(|error| {
        Failure::new(
            Kind::Runtime,
            format!("cannot install signal handlers: {error}"),
        )
    })
}

/// From now on a file that may not grow any more is as a full disk: whoever writes gets an error.
pub fn outlive_the_limit_on_files() -> io::Result<()> {
    flag::register(Signal::XFSZ.as_raw(), Arc::default()).map(drop)
}

fn handle(stop: &Stop) -> io::Result<HangUp> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal finds the flag down, and puts it up.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stopping))?;
        flag::register(signal, Arc::clone(&stopping))?;
    }
    let hang_up = HangUp::default();
    flag::register(SIGHUP, Arc::clone(&hang_up.0))?;
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let stop = stop.clone();
    Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            stop.request();
        }
    })?;
    Ok(hang_up)
}
