//! `vft server`.

use std::path::Path;

use log::{error, info, warn};

use crate::cli::server::ServerArgs;
use crate::clock;
use crate::command::{confine, doubts, signals, state_folder};
use crate::config::file;
use crate::config::server::{CertAndKey, ServerSettings};
use crate::config::state;
use crate::entropy;
use crate::event::Timestamp;
use crate::exit::{Failure, Kind};
use crate::net::certificate::Summary;
use crate::net::pem::PemError;
use crate::net::tls::{self, Served, TlsError};
use crate::server::correlate::sources::hash::Secret;
use crate::server::{Credentials, Server};
use crate::shutdown::Stop;
use crate::wire::auth::SecretKey;

/// The settings file that is read if none is named.
pub const DEFAULT_CONFIG: &str = "/etc/vft/server.toml";

/// The file in the state folder with what hashes of sources depend on.
pub const HASHING: &str = "hashing";

/// Runs until told to stop.
pub fn run(args: &ServerArgs) -> Result<(), Failure> {
    confine::harden()?;
    let settings = settings(args)?;
    let account = confine::account(args.user(), settings.user.as_ref())?;
    let tls = served(args, &settings)?;
    let secret = settings.shared_secret()?;
    doubts::warn_of_secret(secret.as_ref());
    let folder = state_folder(&state::folder(settings.state_dir.as_deref()).join("server"))?;
    let server_id = folder.keep("id", entropy::random)?;
    let credentials = Credentials {
        folder: folder.path().to_owned(),
        hashing: Secret(folder.keep(HASHING, entropy::random)?),
        server_id,
        tls: tls.map(|served| served.config),
        secret: secret.map(|secret| SecretKey::derive(secret.bytes(), &server_id)),
    };
    let listener = Server::listen(&settings)?;
    let file = args.config().unwrap_or_else(|| Path::new(DEFAULT_CONFIG));
    confine::enter(account.as_ref(), &folder, &confine::server(&folder, file))?;
    confine::warn_of_root();
    let stop = Stop::new();
    let hang_up = signals::install(&stop)?;
    let server = Server::start(&settings, credentials, listener, None, stop)?;
    server.run(|| if hang_up.take() { reread(args) } else { None })?;
    drop(folder);
    Ok(())
}

/// What the file says, with what was typed put over it.
fn settings(args: &ServerArgs) -> Result<ServerSettings, Failure> {
    let (mut settings, file): (ServerSettings, _) =
        file::read(args.config(), Path::new(DEFAULT_CONFIG))?;
    if let Some(path) = file {
        info!("settings from {}", path.display());
    }
    args.apply(&mut settings)?;
    settings.check()?;
    doubts::warn_of_muted(&settings);
    Ok(settings)
}

/// The settings anew, or nothing if they make no sense any more.
fn reread(args: &ServerArgs) -> Option<ServerSettings> {
    match settings(args) {
        Ok(settings) => Some(settings),
        Err(failure) => {
            error!("the old settings stay in force: {failure}");
            None
        }
    }
}

/// Reads the certificate and the key that the settings name.
fn served(args: &ServerArgs, settings: &ServerSettings) -> Result<Option<Served>, Failure> {
    let pair = settings.tls(args.tls()).map_err(|error| {
        let failure = Failure::from(error);
        if args.speaks_of_tls() {
            failure.of_the_command_line()
        } else {
            failure
        }
    })?;
    let Some(pair) = pair else { return Ok(None) };
    let served = serve(&pair)?;
    if let Some(summary) = &served.summary {
        warn_of_expiry(summary, "the certificate");
    }
    Ok(Some(served))
}

/// What a certificate and a key on disk give, or what is wrong with them.
pub fn serve(pair: &CertAndKey<'_>) -> Result<Served, Failure> {
    tls::serve(pair.cert, pair.key).map_err(|error| {
        let files = format!("{} and {}", pair.cert.display(), pair.key.display());
        let hint = match &error {
            TlsError::Pem(PemError::Unreadable(..)) => {
                "the user that runs vft must be able to read both (in the image: user 10001)"
            }
            TlsError::Pem(_) | TlsError::KeyMismatch | TlsError::Unsupported(_) => {
                "`vft cert --name HOST` makes a certificate and a key that fit"
            }
        };
        Failure::new(
            Kind::Config,
            format!("cannot serve TLS with {files}: {error}"),
        )
        .hint(hint)
    })
}

/// Warns if a certificate has expired or will within two weeks.
pub fn warn_of_expiry(summary: &Summary, which: &str) {
    let now = i64::try_from(Timestamp::from(clock::wall()).as_micros() / 1_000_000);
    let left = summary.not_after.saturating_sub(now.unwrap_or(0));
    match left {
        ..0 => warn!("{which} has expired; `vft cert` makes a new one"),
        0..TWO_WEEKS => warn!("{which} expires in {} days", left / 86_400),
        _ => {}
    }
}

const TWO_WEEKS: i64 = 14 * 86_400;
