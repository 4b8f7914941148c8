//! Lists of ports: `22,80,8000-8010`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most ports a list may hold, and so the most traps of a client.
pub const MAX_PORTS: usize = 1024;

/// A set of ports, none of them 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortList(BTreeSet<u16>);

impl PortList {
    /// Whether the port is in the list.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    /// The ports in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// How many ports are in the list.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> From<[u16; N]> for PortList {
    fn from(ports: [u16; N]) -> Self {
        Self(ports.into())
    }
}

impl FromStr for PortList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ports = BTreeSet::new();
        for item in text.split(',').map(str::trim) {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            match (port(first), port(last)) {
                (Some(first), Some(last)) if first <= last => ports.extend(first..=last),
                _ => {
                    return Err(format!(
                        "`{item}` is not a port (1 to 65535) or a range; write a list like \
                         22,80,8000-8010"
                    ));
                }
            }
        }
        if ports.len() > MAX_PORTS {
            return Err(format!(
                "{} ports, but at most {MAX_PORTS} are allowed",
                ports.len()
            ));
        }
        Ok(Self(ports))
    }
}

fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}

impl TryFrom<String> for PortList {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PortList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, port) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{port}")?;
        }
        Ok(())
    }
}

impl From<PortList> for String {
    fn from(list: PortList) -> Self {
        list.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_and_single_ports_make_one_set() {
        let list: PortList = "80, 22,8000-8002,80".parse().unwrap();
        assert_eq!(list.to_string(), "22,80,8000,8001,8002");
    }

    #[test]
    fn what_is_no_port_is_named() {
        for wrong in ["", "22,", "0", "65536", "9-8", "ssh", "1-2-3", "-5"] {
            let error = wrong.parse::<PortList>().unwrap_err();
            assert!(error.contains("is not a port"), "{wrong}: {error}");
        }
        assert!(
            "1-65535"
                .parse::<PortList>()
                .unwrap_err()
                .contains("at most 1024")
        );
    }

    proptest! {
        #[test]
        fn a_list_survives_being_written(ports in prop::collection::btree_set(1..=u16::MAX, 1..40)) {
            let list = PortList(ports);
            prop_assert_eq!(list.to_string().parse::<PortList>(), Ok(list));
        }
    }
}
