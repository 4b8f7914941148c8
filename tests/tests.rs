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

/// What is shipped beside the server and the client: examples of settings, and small commands.
mod shipped;
