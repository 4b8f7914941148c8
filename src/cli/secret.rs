//! Where the secret comes from: flags first, then the environment.

use std::env;
use std::path::PathBuf;

use clap::Args;

use crate::config::ConfigError;
use crate::config::secret::Secret;

/// Flags for the secret, the same for server and client.
#[derive(Clone, Debug, Args)]
pub struct SecretArgs {
    /// The fleet's secret; it shows in `ps`, so prefer --secret-file or the environment
    #[arg(long, value_name = "SECRET", conflicts_with = "secret_file")]
    secret: Option<Secret>,
    /// File whose only line is the secret [env: `VFT_SECRET`, `VFT_SECRET_FILE`]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl SecretArgs {
    /// Puts the secret that was given here over the one a file of settings gives.
    pub fn apply(
        &self,
        secret: &mut Option<Secret>,
        file: &mut Option<PathBuf>,
    ) -> Result<(), ConfigError> {
        let given = if self.secret.is_some() || self.secret_file.is_some() {
            (self.secret.clone(), self.secret_file.clone())
        } else if let Some(text) = variable("VFT_SECRET") {
            (
                Some(text.parse().map_err(|why| invalid("VFT_SECRET", why))?),
                None,
            )
        } else if let Some(path) = variable("VFT_SECRET_FILE") {
            (None, Some(path.into()))
        } else {
            return Ok(());
        };
        (*secret, *file) = given;
        Ok(())
    }
}

/// A variable that is set to something. One that is empty counts as not set, as programs that
/// start others often leave it.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

const fn invalid(culprit: &'static str, why: String) -> ConfigError {
    ConfigError::Conflict {
        culprit,
        why,
        hint: "set the variable to the secret",
    }
}
