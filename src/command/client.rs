//! `vft client`.

use std::path::Path;

use log::{error, info};
use rustls::pki_types::ServerName;

use crate::cli::client::ClientArgs;
use crate::client::identity::Identity;
use crate::client::reporter::dial::Server;
use crate::client::spool::{Found, Spool};
use crate::client::{ClientError, Credentials, Opened};
use crate::command::server::warn_of_expiry;
use crate::command::{confine, doubts, signals, state_folder};
use crate::config::client::ClientSettings;
use crate::config::{file, state};
use crate::exit::{Failure, Kind};
use crate::net::tls::{self, Trusting};
use crate::shutdown::Stop;
use crate::state::StateFolder;

/// The settings file that is read if none is named.
pub const DEFAULT_CONFIG: &str = "/etc/vft/client.toml";

/// Runs until told to stop.
pub fn run(args: ClientArgs) -> Result<(), Failure> {
    confine::harden()?;
    let (mut settings, file): (ClientSettings, _) =
        file::read(args.config(), Path::new(DEFAULT_CONFIG))?;
    if let Some(path) = file {
        info!("settings from {}", path.display());
    }
    let typed_user = args.user().cloned();
    args.apply(&mut settings)?;
    settings.check()?;
    let account = confine::account(typed_user.as_ref(), settings.user.as_ref())?;
    let secret = settings.shared_secret()?;
    doubts::warn_of_secret(secret.as_ref());
    let tls = trusted(&settings)?;
    let servers = servers(&settings)?;
    let folder = state_folder(&state::folder(settings.state_dir.as_deref()).join("client"))?;
    let credentials = Credentials {
        servers,
        tls: tls.map(|trusting| trusting.config),
        secret,
        identity: Identity::keep(&folder)?,
    };
    let stop = Stop::new();
    let spool_bytes = settings.spool_mib.bytes();
    let opened = Opened::new(settings, credentials, stop.clone())?;
    let rules = confine::client(&folder, opened.servers(), opened.later_ports());
    confine::enter(account.as_ref(), &folder, &rules)?;
    confine::warn_of_root();
    // A client reads its settings once; a SIGHUP only must not end it.
    let _hang_up = signals::install(&stop)?;
    opened.start(spool(&folder, spool_bytes)?)?.run()?;
    drop(folder);
    Ok(())
}

/// Opens the spool, of at most so many bytes, and says what was lost if it is damaged.
pub fn spool(folder: &StateFolder, bytes: u64) -> Result<Spool, Failure> {
    let opened = Spool::open(folder.path(), bytes);
    let (spool, found) = opened.map_err(ClientError::Spool)?;
    if let Found::Damaged { kept, saved } = found {
        let kept = kept.display();
        error!("the spool was damaged: {saved} hits are saved; the damaged file is kept as {kept}");
    }
    Ok(spool)
}

/// Whom `--cert` trusts; `None` without it.
pub fn trusted(settings: &ClientSettings) -> Result<Option<Trusting>, Failure> {
    let Some(cert) = &settings.cert else {
        return Ok(None);
    };
    let trusting = tls::trust(cert).map_err(|error| {
        Failure::new(
            Kind::Config,
            format!("cannot trust what --cert names: {error}"),
        )
        .hint("copy the server's certificate (cert.pem, not key.pem), or its CA's, here")
    })?;
    for summary in &trusting.summaries {
        warn_of_expiry(summary, &format!("a certificate in {}", cert.display()));
    }
    Ok(Some(trusting))
}

/// The servers, with the names to look for in their certificates.
pub fn servers(settings: &ClientSettings) -> Result<Vec<Server>, Failure> {
    let named = |endpoint: &crate::config::value::Endpoint| {
        let name = settings
            .server_name
            .as_ref()
            .unwrap_or(&endpoint.host)
            .clone();
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            Failure::new(
                Kind::Config,
                format!("`{name}` cannot be a certificate's name"),
            )
            .hint("write a host name or an address in --server or --server-name")
        })?;
        Ok(Server {
            endpoint: endpoint.clone(),
            name,
        })
    };
    settings.server.iter().map(named).collect()
}
