//! What the targets in `fuzz/` reach of the program, which exports nothing but `run` otherwise.
//! Compiled with `--cfg fuzzing` only.

pub use crate::client::reporter::{
    dial, error, handshake as client_handshake, session as client_session,
};
pub use crate::client::{backlog, identity, open_ports, spool};
pub use crate::config::{ConfigError, client, detectors, file, ports, secret, server, value};
pub use crate::net::{link, permits};
pub use crate::server::session::{self as server_session, handshake as server_handshake, refusal};
pub use crate::server::{alert, correlate, intake, restore, store};
pub use crate::wire::{auth, frame, message};

/// What is counted.
pub mod metrics {
    pub use crate::metrics::{ClientMetrics, ServerMetrics};
}

/// What a session needs beside its peer.
pub mod process {
    pub use crate::shutdown::Stop;
    pub use crate::state::StateFolder;
}
/// Files of events.
pub mod replay {
    pub use crate::replay::{csv, input, json, merge, record};
}

/// The words all of them speak in.
pub mod event {
    pub use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
}
