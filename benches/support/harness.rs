//! The protocol as the tests write it by hand, for a loader that is not vft.

use std::time::Duration;

#[path = "../../tests/harness/peer.rs"]
pub mod peer;
#[expect(dead_code, reason = "a loader does not need all of it")]
#[path = "../../tests/harness/wire/mod.rs"]
pub mod wire;

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(30);

/// The fleet's secret.
pub const SECRET: &str = "correct horse battery staple";
