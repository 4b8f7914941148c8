//! Least privilege: what a server or a client cannot do any more once everything is open,
//! whoever has started it.
//!
//! 1. [`process::harden`] comes first, before any file is made.
//! 2. The caller opens what needs a privilege: folders, certificates, ports.
//! 3. [`enter`] gives up what is left: the user ([`user`]), and what the process could open
//!    besides ([`rules`]).
//! 4. Only then do threads start. A user and a ruleset hold for one thread, and are handed on to
//!    the threads that it starts.
//!
//! What the kernel has not is left out, and said.

pub mod process;
pub mod rules;
pub mod user;

use std::fmt;
use std::io;

use crate::sandbox::rules::{InForce, Rules};
use crate::sandbox::user::{Account, Keep};

/// Gives up the user, if there is another to become, and what the rules do not allow.
pub fn enter(account: Option<&Account>, keep: Keep, rules: &Rules) -> Result<InForce, Refused> {
    if let Some(account) = account {
        account
            .assume(keep)
            .map_err(|error| Refused::User(account.clone(), error))?;
    }
    process::harden().map_err(Refused::Process)?;
    rules.enforce().map_err(Refused::Rules)
}

/// Why privileges could not be given up.
#[derive(Debug)]
pub enum Refused {
    /// The system does not let the process become that user.
    User(Account, io::Error),
    /// The system refuses what every process may ask for.
    Process(io::Error),
    /// Landlock is there and does not take the rules.
    Rules(landlock::RulesetError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(account, error) => write!(f, "cannot become the user {account}: {error}"),
            Self::Process(error) => write!(f, "cannot give up privileges: {error}"),
            Self::Rules(error) => write!(f, "cannot confine the process by Landlock: {error}"),
        }
    }
}

impl std::error::Error for Refused {}
