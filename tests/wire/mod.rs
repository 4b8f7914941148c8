/// A client written by hand at a real server.
mod by_hand_client;

/// A server written by hand for a real client.
mod by_hand_server;

/// Peers that break the protocol or lie, and what they are told.
mod bad_peers;

/// The examples in docs/protocol.md.
mod document;
