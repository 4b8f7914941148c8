//! The fleet's secret, which shows in no log and no printed settings.

use std::collections::BTreeSet;
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

/// Fewer characters than this can be tried one by one, even random ones of a keyboard's letters,
/// if somebody has a proof to try them with.
const SHORT: usize = 16;

/// A text with fewer different characters follows a pattern: 16 random hexadecimal digits have ten
/// on average, and fewer than six once in 28,000 times.
const FEW: usize = 6;

/// What lists of passwords begin with, and what documents show.
const WELL_KNOWN: [&str; 12] = [
    "password", "passwort", "secret", "changeme", "letmein", "qwerty", "qwertz", "123456",
    "abcdef", "admin", "default", "example",
];

/// Why a secret could be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// It is short.
    Short,
    /// It has few different characters.
    Monotonous,
    /// It is, or is little more than, a well-known word.
    WellKnown,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "it has fewer than {SHORT} characters"),
            Self::Monotonous => write!(f, "it has fewer than {FEW} different characters"),
            Self::WellKnown => f.write_str("it contains a well-known word"),
        }
    }
}

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

    /// Why it could be guessed, if that shows.
    pub fn weakness(&self) -> Option<Weakness> {
        let characters = self.0.chars().count();
        let distinct: BTreeSet<_> = self.0.chars().collect();
        let plain = self.0.to_lowercase();
        if WELL_KNOWN.iter().any(|word| plain.contains(word)) && characters < 2 * SHORT {
            Some(Weakness::WellKnown)
        } else if characters < SHORT {
            Some(Weakness::Short)
        } else if distinct.len() < FEW {
            Some(Weakness::Monotonous)
        } else {
            None
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_can_be_guessed_shows() {
        let weakness = |text: &str| text.parse::<Secret>().unwrap().weakness();
        for text in ["sharedsecret", "Password1", "correct-Secret-2026"] {
            assert_eq!(weakness(text), Some(Weakness::WellKnown), "{text}");
        }
        assert_eq!(weakness("k7#Vq9!zLp2@xW"), Some(Weakness::Short));
        assert_eq!(weakness("xyxyxyxyxyxyxyxyxy"), Some(Weakness::Monotonous));
        for text in [
            "correct horse battery staple",
            "9d3c0b5e7a1f4826",
            "qL0vG8JbX2mZpT5sN7yRcW3k",
            "a long sentence about a secret that nobody else writes down",
        ] {
            assert_eq!(weakness(text), None, "{text}");
        }
    }
}
