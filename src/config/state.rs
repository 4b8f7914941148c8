//! Where state lives when nobody says.

use std::env;
use std::path::{Path, PathBuf};

/// The state folder: what was asked for, else `$STATE_DIRECTORY` (as systemd sets it), else
/// `/var/lib/vft` for root, else `$XDG_STATE_HOME/vft` or `~/.local/state/vft`.
pub fn folder(asked: Option<&Path>) -> PathBuf {
    if let Some(folder) = asked {
        return folder.to_owned();
    }
    if let Some(first) = variable("STATE_DIRECTORY") {
        // systemd lists several with colons between them.
        return env::split_paths(&first).next().unwrap_or(first);
    }
    match variable("HOME") {
        Some(home) if !rustix::process::geteuid().is_root() => variable("XDG_STATE_HOME")
            .unwrap_or_else(|| home.join(".local/state"))
            .join("vft"),
        _ => PathBuf::from("/var/lib/vft"),
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
