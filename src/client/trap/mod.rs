//! Traps: ports that nothing legitimate uses.
//!
//! [`choice`] says which ports, [`open`] binds them, [`set`] holds one thread for each and
//! changes them at a rotation; [`funnel`] carries the hits away.

pub mod choice;
pub mod funnel;
pub mod open;
pub mod set;
