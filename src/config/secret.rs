//! The fleet's secret, which shows in no log and no printed settings.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

use crate::config::ConfigError;

/// A shared secret: any text that is not empty.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// The longest secret, in bytes.
const MAX_SECRET: usize = 4096;

impl Secret {
    /// The secret in a file, without the line end behind it.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
        text.trim_end_matches(['\r', '\n'])
            .parse()
            .map_err(|why: String| ConfigError::Conflict {
                culprit: "secret-file",
                why: format!("{}: {why}", path.display()),
                hint: "put the secret on the file's only line",
            })
    }

    /// The bytes to stretch.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.len() {
            0 => Err("the secret is empty".to_owned()),
            1..=MAX_SECRET => Ok(Self(text.to_owned())),
            _ => Err(format!("the secret is longer than {MAX_SECRET} bytes")),
        }
    }
}

impl TryFrom<String> for Secret {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
