//! What a server or a client gives up once everything is open: worked out from its settings, done,
//! and said.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use log::{info, warn};

use crate::command::signals;
use crate::config::user::User;
use crate::config::value::Endpoint;
use crate::exit::{Failure, Kind};
use crate::sandbox::rules::{InForce, Rules};
use crate::sandbox::user::{Account, Keep, is_root};
use crate::sandbox::{self, process};
use crate::state::StateFolder;

/// The port of name servers, which are asked over TCP when an answer is long.
const DNS: u16 = 53;

/// Ports below this one need a privilege, unless the system is set up otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// What names are looked up with: settings, which programs replace while the client runs, so that
/// only their folders stay the same, and the libraries that the settings name.
const LOOK_UP: [&str; 7] = [
    "/etc",
    "/run/systemd/resolve",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/usr/lib",
    "/lib",
    "/lib64",
];

/// Protects the process itself. Before any file is made.
pub fn harden() -> Result<(), Failure> {
    signals::outlive_the_limit_on_files()
        .and_then(|()| process::harden())
        .map_err(|error| Failure::new(Kind::Runtime, format!("cannot give up privileges: {error}")))
}

/// The account to become: of the user who was typed, else of the one that the settings name. `None`
/// if there is none, or if it is the one that runs this.
pub fn account(typed: Option<&User>, user: Option<&User>) -> Result<Option<Account>, Failure> {
    let find = |user: &User| {
        let account = Account::find(user)?;
        Ok(account.is_another()?.then_some(account))
    };
    if let Some(typed) = typed {
        return find(typed).map_err(Failure::of_the_command_line);
    }
    user.map_or(Ok(None), find)
}

/// Checks that there is the user that the settings name, whoever asks.
pub fn check_user(user: Option<&User>) -> Result<(), Failure> {
    user.map_or(Ok(()), |user| Ok(Account::find(user).map(drop)?))
}

/// What a server may still open: its state, and its settings, in case they are read anew.
pub fn server(folder: &StateFolder, settings: &Path) -> Rules {
    Rules {
        write: vec![folder.path().to_owned()],
        read: folders_of(settings),
        ..Rules::default()
    }
}

/// What a client may still open: its state, the ports that become traps later on, and the way to
/// its servers.
pub fn client(folder: &StateFolder, servers: &[Endpoint], later: Vec<u16>) -> Rules {
    let mut rules = Rules {
        write: vec![folder.path().to_owned()],
        bind: later,
        connect: servers.iter().map(|server| server.port).collect(),
        ..Rules::default()
    };
    let is_name = |server: &Endpoint| server.host.parse::<IpAddr>().is_err();
    if servers.iter().any(is_name) {
        rules.read = LOOK_UP.map(PathBuf::from).to_vec();
        // On some systems it is a link to a folder of another name.
        let resolver = fs::canonicalize("/etc/resolv.conf").ok();
        rules.read.extend(
            resolver
                .as_deref()
                .and_then(Path::parent)
                .map(Path::to_owned),
        );
        rules.connect.push(DNS);
    }
    rules
}

/// Gives up everything else, for this thread and those it will start.
pub fn enter(
    account: Option<&Account>,
    folder: &StateFolder,
    rules: &Rules,
) -> Result<(), Failure> {
    let keep = if rules.bind.iter().any(|&port| port < FIRST_FREE_PORT) {
        Keep::BindService
    } else {
        Keep::Nothing
    };
    if let Some(account) = account {
        let unusable = |error| unusable(folder, account, &error);
        account
            .own(folder.path(), folder.made())
            .map_err(unusable)?;
    }
    let in_force = sandbox::enter(account, keep, rules)
        .map_err(|refused| Failure::new(Kind::Runtime, refused))?;
    if let Some(account) = account {
        folder
            .is_usable()
            .map_err(|error| unusable(folder, account, &error))?;
        info!("running as {account} from here on, {keep}");
    }
    say(in_force, rules);
    Ok(())
}

/// Says what this kernel can confine a server or a client to.
pub fn say_what_can_be() {
    // On a thread of its own, which alone is confined.
    let tried = Builder::new().spawn(|| Rules::default().enforce());
    if let Some(Ok(Ok(in_force))) = tried.ok().map(JoinHandle::join) {
        info!("{in_force}");
    }
}

/// Warns of a process that stays root.
pub fn warn_of_root() {
    if is_root() {
        warn!("running as root: name a user without privileges with --user, or as `user`");
    }
}

fn say(in_force: InForce, rules: &Rules) {
    let write = listed(&rules.write);
    let read = match rules.read.as_slice() {
        [] => String::new(),
        read => format!(", read below {}", listed(read)),
    };
    match in_force {
        InForce::Nothing => info!("{in_force}"),
        InForce::Files => info!("{in_force}: this process can write below {write}{read}"),
        InForce::FilesAndPorts => info!(
            "{in_force}: this process can write below {write}{read}, listen on {}, connect to {}",
            ports(&rules.bind),
            ports(&rules.connect)
        ),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(" ")
}

fn ports(ports: &[u16]) -> String {
    match ports {
        [] => "no further port".to_owned(),
        [port] => format!("port {port}"),
        ports => format!("{} ports", ports.len()),
    }
}

/// The folders in which a settings file lies: as it is named, and where a link leads to. It is the
/// folder that stays the same when a file is replaced.
fn folders_of(settings: &Path) -> Vec<PathBuf> {
    let named = Some(settings.to_owned());
    let mut folders: Vec<_> = [named, fs::canonicalize(settings).ok()]
        .iter()
        .flatten()
        .filter_map(|path| path.parent())
        // A name without a folder lies in the one that the process is in.
        .filter_map(|folder| fs::canonicalize(Path::new(".").join(folder)).ok())
        .collect();
    folders.dedup();
    folders
}

fn unusable(folder: &StateFolder, account: &Account, error: &std::io::Error) -> Failure {
    let path = folder.path();
    let state = path.parent().unwrap_or(path).display();
    Failure::new(
        Kind::Runtime,
        format!("{account} cannot use {} for state: {error}", path.display()),
    )
    .hint(format!(
        "`chown -R {account} {state}`, and let {account} through the folders above it"
    ))
}
