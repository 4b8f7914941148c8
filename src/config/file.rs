//! Settings files: TOML in, settings or a message that points at the place out.
//!
//! ```text
//! /etc/vft/server.toml:4:1: unknown field `treshold`, expected one of …
//!     treshold = 5
//!     ^~~~~~~~
//! did you mean `threshold`?
//! ```

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::config::ConfigError;
use crate::regular_file;

/// The largest settings file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Every name a setting or a block of settings can have; suggestions come from here.
pub const NAMES: &[&str] = &[
    "alert-format",
    "alerts",
    "allow",
    "bind",
    "burst-gap",
    "candidates",
    "capacity",
    "cert",
    "chain",
    "chance",
    "client-burst",
    "client-rate",
    "client-surge",
    "clients",
    "cloned-client",
    "cool-down",
    "coordinated-scan",
    "correlation",
    "count",
    "days",
    "degraded",
    "detectors",
    "digest",
    "enabled",
    "error",
    "exclude-ports",
    "factor",
    "false-alarms-per-day",
    "first-contact",
    "frequent-client",
    "frequent-port",
    "frequent-source",
    "grace",
    "hammering",
    "handshake",
    "harmless-bursts-per-day",
    "harmless-continuation",
    "heartbeat",
    "incidents",
    "inside",
    "keep",
    "keep-mib",
    "key",
    "lateral-movement",
    "leak",
    "limits",
    "lying-client",
    "memory",
    "min-clients",
    "min-contacts",
    "min-days",
    "min-ports",
    "min-sources",
    "missed",
    "name",
    "nat",
    "network",
    "new-client",
    "new-clients",
    "new-clients-burst",
    "new-clients-per-minute",
    "owner",
    "per-hour",
    "persistent-source",
    "port",
    "port-surge",
    "ports",
    "profile",
    "quiet",
    "reason",
    "recurrence",
    "returning-source",
    "rotate",
    "secret",
    "secret-file",
    "server",
    "server-name",
    "sessions",
    "sessions-per-address",
    "share",
    "silence",
    "silent-client",
    "slow-scan",
    "spool-mib",
    "state-dir",
    "subnet-scan",
    "threshold",
    "unauthenticated",
    "unauthenticated-per-address",
    "until",
    "user",
    "weight",
    "window",
    "windows",
    "within",
];

/// Reads the settings in `asked`; else those in `default` if there is such a file; else the
/// defaults. Says which file it was.
pub fn read<S: DeserializeOwned + Default>(
    asked: Option<&Path>,
    default: &Path,
) -> Result<(S, Option<PathBuf>), ConfigError> {
    let path = asked.unwrap_or(default);
    match load(path) {
        Ok(text) => Ok((parse(&text, path)?, Some(path.to_owned()))),
        Err(error) if asked.is_none() && error.kind() == io::ErrorKind::NotFound => {
            Ok((S::default(), None))
        }
        Err(error) => Err(ConfigError::Unreadable(path.to_owned(), error)),
    }
}

/// The text of a settings file.
pub fn load(path: &Path) -> io::Result<String> {
    regular_file::read(path, MAX_FILE)
}

/// Settings from the text of a file; `path` is for the message.
pub fn parse<S: DeserializeOwned>(text: &str, path: &Path) -> Result<S, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let place = error.span().unwrap_or(0..0);
        ConfigError::Invalid(diagnostic(text, path, &place, error.message()))
    })
}

fn diagnostic(text: &str, path: &Path, place: &Range<usize>, message: &str) -> String {
    let before = text.get(..place.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let line = text
        .get(line_start..)
        .unwrap_or("")
        .lines()
        .next()
        .unwrap_or("");
    // What stands behind `secret` is shown to nobody.
    let line = if is_secret(line) {
        "secret = …"
    } else {
        line
    };
    let number = before.matches('\n').count() + 1;
    let column = before.get(line_start..).unwrap_or("").chars().count();
    let marked = text
        .get(place.clone())
        .unwrap_or("")
        .lines()
        .next()
        .unwrap_or("");
    let message = message.trim_end().replace('\n', "; ");
    let mut out = format!("{}:{number}:{}: {message}", path.display(), column + 1);
    let tildes = "~".repeat(marked.chars().count().saturating_sub(1));
    out += &format!("\n    {line}\n    {}^{tildes}", " ".repeat(column));
    if let Some(name) = suggestion(marked) {
        out += &format!("\ndid you mean `{name}`?");
    }
    out
}

/// Whether a line sets the secret, however it is misspelt.
fn is_secret(line: &str) -> bool {
    let name = line.split('=').next().unwrap_or("").trim();
    name.starts_with("secret") || strsim::jaro_winkler(name, "secret") > 0.85
}

/// The known name that an unknown one was probably meant to be.
fn suggestion(written: &str) -> Option<&'static str> {
    if NAMES.contains(&written) {
        return None;
    }
    let likeness = |name: &&str| strsim::jaro_winkler(written, name);
    let best = NAMES
        .iter()
        .copied()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.85).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::client::ClientSettings;
    use crate::config::server::ServerSettings;

    fn error(text: &str) -> String {
        parse::<ServerSettings>(text, Path::new("server.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_unknown_setting_is_shown_with_the_one_that_was_meant() {
        let text = "[detectors.frequent-port]\ntreshold = 5\n";
        let error = error(text);
        assert!(
            error.starts_with("server.toml:2:1: unknown field `treshold`"),
            "{error}"
        );
        assert!(error.contains("    treshold = 5\n    ^~~~~~~~"), "{error}");
        assert!(error.ends_with("did you mean `threshold`?"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_shown_at_its_place() {
        let error = error("[detectors.frequent-port]\nwindow = \"5\"\n");
        assert!(
            error.starts_with("server.toml:2:10: `5` is not a span of time"),
            "{error}"
        );
    }

    #[test]
    fn every_name_that_is_printed_is_known() {
        let server = toml::to_string(&ServerSettings::default()).unwrap();
        let client = toml::to_string(&ClientSettings::default()).unwrap();
        for line in server.lines().chain(client.lines()) {
            let written = line.split(['=', ' ']).next().unwrap();
            for name in written
                .trim_matches(['[', ']'])
                .split('.')
                .filter(|n| !n.is_empty())
            {
                assert!(NAMES.contains(&name), "{name}");
            }
        }
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn a_secret_is_not_shown() {
        for text in [
            "secret = \"hunter2",
            "secret = hunter2",
            "secret=[\"hunter2\"]",
            "secert = \"hunter2\"",
            "Secret = \"hunter2\"",
            "secret_ = \"hunter2\"",
            "sceret = \"hunter2\"",
        ] {
            assert!(!error(text).contains("hunter2"), "{}", error(text));
        }
    }

    #[test]
    fn no_text_makes_it_panic() {
        for text in [
            "\u{0}",
            "a = \"ü",
            "[[allow]]\nnetwork = \"é\"",
            "=",
            "bind = 1979-05-27",
        ] {
            drop(error(text));
        }
    }
}
