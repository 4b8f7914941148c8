//! The user to become, as settings name one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name of a user, in bytes (useradd(8)).
const MAX_NAME: usize = 32;

/// A user, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct User(String);

impl User {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number, if it was given by number.
    pub fn uid(&self) -> Option<u32> {
        self.0.parse().ok()
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_usual = |c: char| c.is_ascii_alphanumeric() || "._-$@".contains(c);
        // The kernel takes the highest number to mean «as it is».
        let is_number_too_high = text.chars().all(|c| c.is_ascii_digit())
            && text.parse().map_or(true, |uid: u32| uid == u32::MAX);
        if (1..=MAX_NAME).contains(&text.len()) && text.chars().all(is_usual) && !is_number_too_high
        {
            return Ok(Self(text.to_owned()));
        }
        Err("expected the name or the number of a user, like vft or 998".to_owned())
    }
}

impl TryFrom<String> for User {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<User> for String {
    fn from(user: User) -> Self {
        user.0
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_or_a_number() {
        for good in ["vft", "_vft-1", "998", "DOMAIN.user"] {
            assert!(good.parse::<User>().is_ok(), "{good}");
        }
        for bad in ["", "a:b", "a\nb", "4294967295", "99999999999", "ü"] {
            assert!(bad.parse::<User>().is_err(), "{bad}");
        }
        assert_eq!("998".parse::<User>().unwrap().uid(), Some(998));
        assert_eq!("vft".parse::<User>().unwrap().uid(), None);
    }
}
