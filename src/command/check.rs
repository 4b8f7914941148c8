//! `vft check`: reads settings as the program would, and prints those in force.

use std::path::Path;

use serde::Serialize;

use crate::cli::{CheckArgs, Role};
use crate::command::{client, confine, doubts, print, server};
use crate::config::client::ClientSettings;
use crate::config::server::{ServerSettings, Tls};
use crate::config::{ConfigError, file};
use crate::exit::{Failure, Kind};

/// Checks the file that was named, or those in their default places.
pub fn run(args: &CheckArgs) -> Result<(), Failure> {
    files(args)?;
    confine::say_what_can_be();
    Ok(())
}

fn files(args: &CheckArgs) -> Result<(), Failure> {
    if let Some(path) = &args.config {
        let text =
            file::load(path).map_err(|error| ConfigError::Unreadable(path.clone(), error))?;
        return check(&text, path, args.role.unwrap_or_else(|| guess(&text, path)));
    }
    for (role, path) in [
        (Role::Server, server::DEFAULT_CONFIG),
        (Role::Client, client::DEFAULT_CONFIG),
    ] {
        let path = Path::new(path);
        if args.role.is_some_and(|asked| asked != role) {
            continue;
        }
        match file::load(path) {
            Ok(text) => check(&text, path, role)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                print(&format!("# {} is not there: defaults\n", path.display()))?;
                check("", path, role)?;
            }
            Err(error) => return Err(ConfigError::Unreadable(path.to_owned(), error).into()),
        }
    }
    Ok(())
}

fn check(text: &str, path: &Path, role: Role) -> Result<(), Failure> {
    match role {
        Role::Server => {
            let settings: ServerSettings = file::parse(text, path)?;
            settings.check()?;
            confine::check_user(settings.user.as_ref())?;
            if let Some(pair) = settings.tls(Tls::IfConfigured)? {
                server::serve(&pair)?;
            }
            doubts::warn_of_secret(settings.shared_secret()?.as_ref());
            doubts::warn_of_muted(&settings);
            show(&settings, path, "server")
        }
        Role::Client => {
            let settings: ClientSettings = file::parse(text, path)?;
            settings.check()?;
            confine::check_user(settings.user.as_ref())?;
            client::trusted(&settings)?;
            doubts::warn_of_secret(settings.shared_secret()?.as_ref());
            show(&settings, path, "client")
        }
    }
}

fn show(settings: &impl Serialize, path: &Path, role: &str) -> Result<(), Failure> {
    let text = toml::to_string(settings)
        .map_err(|error| Failure::new(Kind::Runtime, format!("cannot print: {error}")))?;
    print(&format!(
        "# {} is sound; the settings of a {role} in force:\n{text}",
        path.display()
    ))
}

/// Whose settings these are: whoever's they can be. If they can be both's or nobody's, a client's
/// if they say something only a client can be told.
fn guess(text: &str, path: &Path) -> Role {
    const CLIENT_ONLY: [&str; 9] = [
        "server",
        "server-name",
        "name",
        "ports",
        "count",
        "exclude-ports",
        "rotate",
        "spool-mib",
        "candidates",
    ];
    let server = file::parse::<ServerSettings>(text, path).is_ok();
    let client = file::parse::<ClientSettings>(text, path).is_ok();
    let table: toml::Table = text.parse().unwrap_or_default();
    match (server, client) {
        (true, false) => Role::Server,
        (false, true) => Role::Client,
        _ if CLIENT_ONLY.iter().any(|name| table.contains_key(*name)) => Role::Client,
        _ => Role::Server,
    }
}
