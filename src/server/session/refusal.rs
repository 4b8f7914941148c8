//! Why a peer is turned away, and what it is told.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::wire::frame::VERSION;
use crate::wire::message::{MessageError, Reason, Refused};

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The peer speaks the protocol without TLS, and TLS is on.
    TlsRequired,
    /// The peer speaks TLS, and TLS is off. It cannot be told.
    PlainRequired,
    /// The peer speaks this version of the protocol.
    Version(u8),
    /// The peer does not speak the protocol.
    NotAClient,
    /// A frame was too long.
    Frame,
    /// A message makes no sense.
    Message(MessageError),
    /// A message came when it was not its turn.
    OutOfTurn,
    /// A secret is required and none was proven.
    SecretMissing,
    /// The proof of the secret is wrong.
    SecretWrong,
    /// The proof of the identity is wrong.
    IdentityUnproven,
    /// The identity is a key that anybody can sign with.
    IdentityWeak,
    /// A client with this identity is connected from this address.
    IdentityInUse(IpAddr),
    /// There is no room for another session.
    TooManySessions,
    /// There is no room for another session from the same address.
    TooManySessionsHere,
    /// As many clients are remembered as may be, and all of them are there.
    TooManyClients,
    /// The server does not know the client, and new ones are let in slowly: it is to wait so long.
    NewClient(Duration),
    /// The server does not know the client, and takes no new ones.
    NoNewClients,
    /// An operator has blocked the client.
    Blocked,
    /// The store's queue is full, because the disk takes nothing.
    StoreFull,
    /// The same client has connected anew.
    Superseded,
    /// The server stops.
    ShuttingDown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TlsRequired => f.write_str("this server speaks TLS: start the client with --cert"),
            Self::PlainRequired => {
                f.write_str("this server does not speak TLS: give it --cert and --key")
            }
            Self::Version(version) => write!(
                f,
                "this server speaks version {VERSION} of the protocol, and the client version \
                 {version}: bring both to the same release of vft"
            ),
            Self::NotAClient => f.write_str("not a vft client"),
            Self::Frame => f.write_str("a frame was longer than allowed"),
            Self::Message(error) => error.fmt(f),
            Self::OutOfTurn => f.write_str("a message out of turn"),
            Self::SecretMissing => f.write_str(
                "this server requires a secret: set VFT_SECRET or --secret-file on the client",
            ),
            Self::SecretWrong => f.write_str(
                "the secret is not this server's: compare VFT_SECRET or --secret-file on both sides",
            ),
            Self::IdentityUnproven => f.write_str("the identity was not proven"),
            Self::IdentityWeak => f.write_str(
                "this identity's key is of small order, so that anybody could have it: delete the \
                 file `identity` in the client's state folder",
            ),
            Self::IdentityInUse(address) => write!(
                f,
                "this identity is already connected from {address}; if the host was cloned, \
                 delete the file `identity` in its state folder"
            ),
            Self::TooManySessions => f.write_str(
                "the server holds as many sessions as it may: raise limits.sessions or its limit \
                 on open files",
            ),
            Self::TooManySessionsHere => f.write_str(
                "the server holds as many sessions from this address as it may: raise \
                 limits.sessions-per-address",
            ),
            Self::TooManyClients => f.write_str(
                "the server remembers as many clients as it may: raise limits.clients",
            ),
            Self::NewClient(wait) => write!(
                f,
                "the server does not know this client yet, and lets new ones in slowly \
                 (limits.new-clients-burst): it is its turn in {} s",
                wait.as_secs()
            ),
            Self::NoNewClients => f.write_str(
                "the server does not know this client, and takes no new ones (new-clients)",
            ),
            Self::Blocked => f.write_str(
                "this client is blocked on the server: `vft clients unblock` there lets it in again",
            ),
            Self::StoreFull => f.write_str(
                "the server cannot write its store, and its queue is full: free space on its disk",
            ),
            Self::Superseded => f.write_str("the same client has connected anew"),
            Self::ShuttingDown => f.write_str("the server is shutting down"),
        }
    }
}

impl Refusal {
    /// What the peer is told.
    pub fn message(&self) -> Refused {
        let retry_after = match self {
            Self::ShuttingDown | Self::Superseded => Duration::ZERO,
            Self::TooManySessions
            | Self::TooManySessionsHere
            | Self::TooManyClients
            | Self::StoreFull
            | Self::IdentityInUse(_) => Duration::from_secs(10),
            Self::NewClient(wait) => *wait,
            Self::NoNewClients | Self::Blocked => Duration::from_secs(60),
            _ => Duration::from_secs(5),
        };
        Refused {
            reason: self.reason(),
            text: self.to_string(),
            retry_after_millis: u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
        }
    }

    const fn reason(&self) -> Reason {
        match self {
            Self::TlsRequired => Reason::TlsRequired,
            Self::Version(_) => Reason::Version,
            Self::SecretMissing => Reason::SecretMissing,
            Self::SecretWrong => Reason::SecretWrong,
            Self::IdentityUnproven | Self::IdentityWeak => Reason::IdentityUnproven,
            Self::IdentityInUse(_) => Reason::IdentityInUse,
            Self::TooManySessions
            | Self::TooManySessionsHere
            | Self::TooManyClients
            | Self::NewClient(_)
            | Self::NoNewClients
            | Self::Blocked => Reason::TooManySessions,
            Self::ShuttingDown => Reason::ShuttingDown,
            Self::Superseded => Reason::Superseded,
            Self::StoreFull => Reason::StoreFull,
            Self::PlainRequired
            | Self::NotAClient
            | Self::Frame
            | Self::Message(_)
            | Self::OutOfTurn => Reason::Protocol,
        }
    }
}
