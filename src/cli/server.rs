//! Flags of `vft server`.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::secret::SecretArgs;
use crate::config::ConfigError;
use crate::config::server::{Format, ServerSettings, Tls};
use crate::config::user::User;
use crate::config::value::Bind;

/// Examples below the help.
pub const EXAMPLES: &str = "\
Examples:
  VFT_SECRET=sharedsecret vft server --cert cert.pem --key key.pem
  vft server --secret-file /etc/vft/secret --cert cert.pem --key key.pem --alert-format json";

/// What can be said to a server on the command line.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Address and port to listen on [default: 0.0.0.0:9999]
    #[arg(long, value_name = "ADDRESS:PORT", env = "VFT_BIND")]
    bind: Option<Bind>,
    /// Demand TLS; --cert and --key turn it on by themselves as well
    #[arg(long)]
    ssl: bool,
    /// PEM file with the server's certificate and its chain
    #[arg(long, value_name = "FILE", env = "VFT_CERT")]
    cert: Option<PathBuf>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE", env = "VFT_KEY")]
    key: Option<PathBuf>,
    /// Which secret.
    #[command(flatten)]
    secret: SecretArgs,
    /// Form of the alerts on standard output: text or json [default: text]
    #[arg(long, value_name = "FORMAT", env = "VFT_ALERT_FORMAT")]
    alert_format: Option<Format>,
    /// Folder for what must outlive a restart [default: $`STATE_DIRECTORY`, /var/lib/vft, or
    /// ~/.local/state/vft]
    #[arg(long, value_name = "DIR", env = "VFT_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// User to become once everything is open, if root starts it, by name or number
    #[arg(long, value_name = "USER", env = "VFT_USER")]
    user: Option<User>,
    /// Settings file [default: /etc/vft/server.toml if there is one]
    #[arg(long, value_name = "FILE", env = "VFT_CONFIG")]
    config: Option<PathBuf>,
}

impl ServerArgs {
    /// The user that was named on the command line.
    pub const fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The settings file that was named.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Whether TLS was asked for by name.
    pub const fn tls(&self) -> Tls {
        if self.ssl {
            Tls::Demanded
        } else {
            Tls::IfConfigured
        }
    }

    /// Whether anything about TLS was said on the command line.
    pub const fn speaks_of_tls(&self) -> bool {
        self.ssl || self.cert.is_some() || self.key.is_some()
    }

    /// Puts what was typed over what a file says.
    pub fn apply(&self, settings: &mut ServerSettings) -> Result<(), ConfigError> {
        if let Some(bind) = self.bind {
            settings.bind = bind;
        }
        if self.user.is_some() {
            settings.user.clone_from(&self.user);
        }
        if let Some(format) = self.alert_format {
            settings.alert_format = format;
        }
        self.secret
            .apply(&mut settings.secret, &mut settings.secret_file)?;
        for (typed, setting) in [
            (&self.cert, &mut settings.cert),
            (&self.key, &mut settings.key),
            (&self.state_dir, &mut settings.state_dir),
        ] {
            if typed.is_some() {
                setting.clone_from(typed);
            }
        }
        Ok(())
    }
}
