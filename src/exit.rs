//! How a command fails: an exit code, what went wrong, and what to do.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | it went well |
//! | 1 | it failed while running |
//! | 2 | the command line makes no sense |
//! | 78 | the configuration makes no sense (`EX_CONFIG`) |

use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::client::ClientError;
use crate::client::spool::SpoolError;
use crate::config::ConfigError;
use crate::database;
use crate::sandbox::user::UserError;
use crate::server::ServerError;
use crate::server::store::StoreError;
use crate::state::StateError;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    what: String,
    hint: Option<String>,
}

/// What is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something outside, while running.
    Runtime,
    /// The command line.
    Usage,
    /// The configuration, or a file it names.
    Config,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, what: impl Display) -> Self {
        Self {
            kind,
            what: what.to_string(),
            hint: None,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The same failure, with the command line at fault.
    #[must_use]
    pub fn of_the_command_line(self) -> Self {
        Self {
            kind: Kind::Usage,
            ..self
        }
    }

    /// Says what went wrong on standard error.
    pub fn report(&self) -> ExitCode {
        let mut text = format!("vft: {}\n", self.what);
        if let Some(hint) = &self.hint {
            text.push_str("hint: ");
            text.push_str(hint);
            text.push('\n');
        }
        // Without standard error there is nobody to tell.
        drop(io::stderr().write_all(text.as_bytes()));
        ExitCode::from(match self.kind {
            Kind::Runtime => 1,
            Kind::Usage => 2,
            Kind::Config => 78,
        })
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self::new(Kind::Config, &error);
        match error {
            ConfigError::Conflict { hint, .. } => failure.hint(hint),
            ConfigError::Unreadable(_, error) if error.kind() == io::ErrorKind::InvalidData => {
                failure.hint("save it as UTF-8 text")
            }
            ConfigError::Unreadable(..) => failure.hint("check the path and its permissions"),
            ConfigError::Invalid(_) => failure,
        }
    }
}

impl From<UserError> for Failure {
    fn from(error: UserError) -> Self {
        Self::new(Kind::Config, &error).hint(error.hint())
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        Self::new(Kind::Runtime, &error).hint(error.hint())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::new(Kind::Runtime, format!("cannot read the store: {error}"));
        match error {
            StoreError::Absent(_) => {
                failure.hint("name the server's state folder with --state-dir")
            }
            StoreError::Earlier(..) => {
                failure.hint("start the server of this release, which brings it up to date")
            }
            StoreError::Later(..) => {
                failure.hint("use the release that has written it, or a later one")
            }
            StoreError::Database(error) if database::is_damage(&error) => {
                failure.hint("start the server, which mends its store")
            }
            StoreError::ReadOnly(_)
            | StoreError::Unmade(..)
            | StoreError::Io(..)
            | StoreError::Database(_) => failure,
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let failure = Self::new(Kind::Runtime, &error);
        match error {
            ServerError::NoRoom(_) => {
                failure.hint("raise the limit on open files (ulimit -n, LimitNOFILE of systemd)")
            }
            ServerError::Bind(..) => failure
                .hint("see who holds the port with `ss -ltnp`, or listen elsewhere with --bind"),
            ServerError::Store(StoreError::Later(..)) => {
                failure.hint("use the release that has written it, or a later one")
            }
            ServerError::Store(_) => failure.hint(
                "see that the state folder is writable and its disk is not full, or name another \
                 with --state-dir",
            ),
            ServerError::Thread(_) => failure.hint("raise the limit on threads (ulimit -u)"),
            ServerError::ThreadDied(_) => failure,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let failure = Self::new(Kind::Runtime, &error);
        match error {
            ClientError::NoTraps(_) => failure.hint(
                "grant CAP_NET_BIND_SERVICE, or name free ports from 1024 up with --ports; \
                 `vft ports` shows which are free here",
            ),
            ClientError::Spool(SpoolError::Later(..)) => {
                failure.hint("use the release that has written it, or a later one")
            }
            ClientError::Spool(_) => failure.hint(
                "see that the state folder is writable and its disk is not full, or name another \
                 with --state-dir",
            ),
            ClientError::Thread(_) => failure.hint("raise the limit on threads (ulimit -u)"),
            ClientError::ThreadDied(_) => failure,
        }
    }
}
