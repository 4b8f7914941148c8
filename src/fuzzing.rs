//! What the targets in `fuzz/` reach of the program, which exports nothing but `run` otherwise.
//! Compiled with `--cfg fuzzing` only.

pub use crate::client::backlog;
pub use crate::client::reporter::{error, handshake as client_handshake};
pub use crate::client::spool;
pub use crate::config::{ConfigError, client, detectors, file, ports, secret, server, value};
pub use crate::server::alert;
pub use crate::server::correlate;
pub use crate::server::session::{handshake as server_handshake, refusal};
pub use crate::server::store;
pub use crate::wire::{auth, frame, message};

/// Files of events.
pub mod replay {
    pub use crate::replay::{csv, input, json, merge, record};
}

/// The words all of them speak in.
pub mod event {
    pub use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
}
