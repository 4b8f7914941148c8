//! Traps: ports that nothing legitimate uses.
//!
//! [`draw`] says which ports, by the order of [`choice`], [`open`] binds them, [`set`] holds one
//! thread for each and changes them at a rotation; [`funnel`] carries the hits away.

pub mod choice;
pub mod draw;
pub mod funnel;
pub mod open;
pub mod set;
