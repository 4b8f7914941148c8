//! vft from outside: real processes, real sockets, real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on says so by panicking"
)]

mod harness;

/// From a touched trap to an alert.
mod path;
/// Who trusts whom, and what is said when they do not.
mod trust;

/// Mistakes users make, and what they are told.
mod mistakes;

/// Each command, as it is typed.
mod commands;
/// Storms, restarts, strangers, stops.
mod endurance;
/// Detectors measured on fleets that are made up.
mod evaluate;

/// What a process gives up once everything is open.
mod privileges;

/// What traps see, whatever the peer does.
mod traps;

/// Which alerts are said one by one.
mod valve;

/// What outlives kills, full disks and damage.
mod durability;

/// A client whose disk takes nothing.
mod full_disk;

/// Recorded events through the engine.
mod replay;

/// Kills, stops and cuts under load.
mod faults;

/// Hostile peers of a server, all at once.
mod hostile;

/// Strangers and rogues at a server's port.
mod door;

/// Clients and strangers who try to keep the server from hearing others.
mod deafness;
/// Clients that say whatever the protocol allows.
mod rogues;

/// A server that is away while traps are touched.
mod away;

/// What is shipped beside the server and the client: examples of settings, and small commands.
mod shipped;

/// The protocol, spoken by hand with real clients and servers.
mod wire;

/// Who is believed, and who is missed.
mod witnesses;

/// Formats that others rely on, compared with files.
mod golden;

/// What docs/architecture.md says of the source, held against it.
mod layers;

/// Clients that are new, blocked or forgotten.
mod newcomers;

/// What docs/threat-model.md promises and no other test holds.
mod threats;

/// What other documents say of tests and messages, held against the source.
mod documents;
