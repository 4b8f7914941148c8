//! The protocol once more, written by hand from docs/protocol.md: its encoding, its messages, its
//! proofs, a client and a server. Nothing of vft itself is used, so that what both agree on is
//! the protocol and not a common mistake.

pub mod caller;
pub mod codec;
pub mod document;
pub mod host;
pub mod line;
pub mod message;
pub mod proof;
