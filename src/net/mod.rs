//! Sockets and TLS: everything that touches the network below the protocol.

pub mod accept;
pub mod certificate;
pub mod connect;
pub mod link;
pub mod listen;
pub mod pem;
pub mod permits;
pub mod tls;
