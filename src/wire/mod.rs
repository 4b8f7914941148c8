//! The protocol between client and server, as bytes: no sockets, no clocks.
//!
//! A connection, plain or inside TLS 1.3, begins with the client's [preamble](frame::PREAMBLE).
//! Everything after it is [frames](frame): a length and one [message]. A session goes
//!
//! ```text
//! C → S  Hello      public key, nonce, name, version, boot id
//! S → C  Challenge  server id, nonce, whether a secret is required
//! C → S  Proof      of the secret, if required, and of the public key
//! S → C  Welcome    the server's proof of the secret, where to go on in the sequence, limits
//! C → S  Report     hits, numbered            S → C  Ack           up to which number
//! C → S  Heartbeat  clock, traps, counters    S → C  HeartbeatAck
//! C → S  Goodbye    the client stops
//! ```
//!
//! The client speaks and the server answers, one exchange at a time. In place of any answer the
//! server may send `Refused`, which ends the connection and tells the operator what to do.
//! [`auth`] says what is proven and how. `docs/protocol.md` describes all of it for people who
//! write a client or server of their own.

pub mod auth;
pub mod frame;
pub mod message;
