//! Settings: file, environment and flags become typed values, valid or not built at all.
//!
//! Each setting is a field of [`server::ServerSettings`] or [`client::ClientSettings`]; their
//! `Default` holds all defaults. A file overrides defaults, and the command line (which reads the
//! environment as well) overrides the file. Single values are checked by the types they are
//! parsed into, so that a bad one is reported at its place; what only shows when two settings are
//! seen together is checked by the settings' own methods.

pub mod candidates;
pub mod client;
pub mod detectors;
pub mod file;
pub mod ports;
pub mod secret;
pub mod server;
pub mod state;
pub mod user;
pub mod value;

use std::fmt;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug)]
pub enum ConfigError {
    /// A file cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// A file says something that makes no sense; the text shows where.
    Invalid(String),
    /// Two settings do not go together, or one lacks another. `culprit` is the setting to look
    /// at, as it is written in a file.
    Conflict {
        /// The setting that is wrong or missing.
        culprit: &'static str,
        /// What is wrong with it.
        why: String,
        /// What to do.
        hint: &'static str,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Invalid(text) => f.write_str(text),
            Self::Conflict { culprit, why, .. } => write!(f, "{culprit}: {why}"),
        }
    }
}

impl std::error::Error for ConfigError {}
