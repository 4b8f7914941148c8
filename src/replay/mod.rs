//! Recorded events through the same engine as live, in the time of the events.
//!
//! ```text
//! file ─ input ─┐
//! file ─ input ─┼─▶ merge ─ order ─┐
//! file ─ …     ─┘                  ├─▶ player ─ engine ─▶ alerts, summary
//! store ───────────────────────────┘      └ pace
//! ```
//!
//! What a file holds is told from its first line: [JSON](json) or [CSV](csv), whose fields are
//! described in [`record`]. [`merge`] says in which order the lines of several files are replayed,
//! Events of a store come in the order of their arrival,
//! as they came when it was live.
//!
//! No clock is read and no file opened here. A replay of the same events under the same settings
//! gives the same alerts, byte for byte.

pub mod clients;
pub mod compare;
pub mod csv;
pub mod input;
pub mod json;
pub mod merge;
pub mod order;
pub mod player;
pub mod record;
pub mod summary;
pub mod time;
