//! Why there is no session, sorted by whose fault it is and said so that it can be mended.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use crate::client::spool::SpoolError;
use crate::net::connect::ConnectError;
use crate::sanitize;
use crate::wire::frame::FrameError;
use crate::wire::message::{MessageError, Refused};

/// Why a session did not come about, or ended.
#[derive(Debug)]
pub enum SessionError {
    /// No connection.
    Connect(ConnectError),
    /// No TLS.
    Tls(io::Error),
    /// The server speaks TLS and this client was not told to.
    ServerSpeaksTls,
    /// Whoever answered does not speak the protocol.
    NotAServer,
    /// The server refused, and said why.
    Refused(Refused),
    /// The server did not prove that it knows the secret.
    ServerUnproven,
    /// The server answered with something that does not belong here.
    Unexpected(&'static str),
    /// The server's message makes no sense.
    Message(MessageError),
    /// The server closed the connection.
    Closed,
    /// The connection failed.
    Io(io::Error),
    /// The client's own spool cannot be read or written.
    Spool(SpoolError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::Tls(error) => tls_failure(error, f),
            Self::ServerSpeaksTls => f.write_str("the server speaks TLS: pass --cert"),
            Self::NotAServer => f.write_str("whatever answers there is not a vft server"),
            Self::Refused(refused) => {
                write!(
                    f,
                    "the server refused: {}",
                    sanitize::line(&refused.text, MAX_TEXT)
                )
            }
            Self::ServerUnproven => f.write_str(
                "the server does not know the secret that this client has; \
                 it may not be the server it seems to be",
            ),
            Self::Unexpected(expected) => {
                write!(
                    f,
                    "the server did not answer with {expected}; it broke the protocol"
                )
            }
            Self::Message(error) => write!(f, "the server sent {error}"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                f.write_str("the server did not answer in time")
            }
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Spool(error) => write!(f, "this client's spool cannot be read: {error}"),
        }
    }
}

impl Error for SessionError {}

const MAX_TEXT: usize = 512;

/// The longest pause a server can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

impl SessionError {
    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Refused(refused) => {
                Duration::from_millis(refused.retry_after_millis).min(MAX_RETRY_AFTER)
            }
            _ => Duration::ZERO,
        }
    }
}

impl From<FrameError> for SessionError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Closed => Self::Closed,
            FrameError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            FrameError::Io(error) => Self::Io(error),
            // A TLS record: alert (21) or handshake (22), version 3.x, in place of a length.
            FrameError::TooLong { length, .. } if matches!(length >> 16, 0x1503 | 0x1603) => {
                Self::ServerSpeaksTls
            }
            FrameError::TooLong { .. } => Self::NotAServer,
        }
    }
}

impl From<MessageError> for SessionError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn tls_failure(error: &io::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => certificate_failure(why, f),
        Some(rustls::Error::InvalidMessage(_)) => {
            f.write_str("the server does not speak TLS, or is not a vft server")
        }
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
            f.write_str("the server does not speak TLS 1.3; it is not a vft server")
        }
        Some(other) => write!(f, "cannot set up TLS: {other}"),
        None if closed_early(error) => f.write_str(
            "the server closed the connection before TLS was set up: it does not speak TLS, \
             is not a vft server, or is too busy",
        ),
        None if error.kind() == io::ErrorKind::TimedOut => {
            f.write_str("the server did not set up TLS in time")
        }
        None => write!(f, "cannot set up TLS: {error}"),
    }
}

fn closed_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

fn certificate_failure(why: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match why {
        // A bad signature is that of a certificate which bears the same name as the trusted one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => f.write_str(
            "the server's certificate is neither the one in --cert nor signed by it: \
             copy the server's certificate, or its CA's, to this host",
        ),
        CertificateError::NotValidForName => {
            f.write_str("the server's certificate is for another name: pass it with --server-name")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names = sanitize::line(&presented.join(", "), MAX_TEXT);
            write!(
                f,
                "the server's certificate is for {names}, not for {}: \
                 pass one of its names with --server-name",
                sanitize::line(&expected.to_str(), MAX_TEXT)
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            f.write_str("the server's certificate has expired: `vft cert` makes a new one")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            f.write_str("the server's certificate is not valid yet: check the clocks")
        }
        other => write!(f, "the server's certificate cannot be trusted: {other}"),
    }
}
