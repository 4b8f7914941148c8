//! Where alerts go. Each sink is a thread behind a bounded queue.

pub mod stdout;

/// Alerts a sink's queue holds. The engine speaks of an incident ever more sparsely, so a queue
/// fills only if its sink is stuck.
pub const QUEUE: usize = 4096;
