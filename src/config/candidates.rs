//! The ports traps are drawn from, and how likely each is drawn.
//!
//! The list is short on purpose: a scan of h hosts by j ports meets about h·j·k/U traps where
//! each client holds k of U candidates, so the fewer candidates, the sooner a fleet catches a
//! scanner. The weights follow how often scans on the Internet and inside networks ask for a
//! service: those that lateral movement needs (445, 3389, 22, 5985 …) and those that worms and
//! scanners try first (23, 80, 8080, 6379 …) weigh most. They are rounded by hand; their order
//! matters more than their size.

use serde::{Deserialize, Serialize};

/// A port that may become a trap.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Candidate {
    /// The port, not 0.
    #[serde(deserialize_with = "port")]
    pub port: u16,
    /// How likely it is drawn, beside the others' weights: 1 to 1000.
    #[serde(deserialize_with = "weight")]
    pub weight: u16,
}

fn port<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    bounded(deserializer, 65_535)
}

fn weight<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    bounded(deserializer, 1000)
}

fn bounded<'de, D: serde::Deserializer<'de>>(deserializer: D, max: u16) -> Result<u16, D::Error> {
    let value = u64::deserialize(deserializer)?;
    u16::try_from(value)
        .ok()
        .filter(|value| (1..=max).contains(value))
        .ok_or_else(|| {
            serde::de::Error::custom(format!("{value} is out of range: from 1 to {max}"))
        })
}

/// The candidates with their service's name, unless the settings name others.
pub const DEFAULT: [(u16, u16, &str); 48] = [
    (21, 10, "ftp"),
    (22, 20, "ssh"),
    (23, 20, "telnet"),
    (25, 8, "smtp"),
    (53, 5, "domain"),
    (80, 20, "http"),
    (81, 6, "http-alt"),
    (110, 6, "pop3"),
    (111, 5, "sunrpc"),
    (135, 12, "msrpc"),
    (139, 12, "netbios-ssn"),
    (143, 6, "imap"),
    (161, 4, "snmp"),
    (389, 8, "ldap"),
    (443, 15, "https"),
    (445, 20, "microsoft-ds"),
    (502, 4, "modbus"),
    (587, 4, "submission"),
    (636, 4, "ldaps"),
    (873, 4, "rsync"),
    (1080, 5, "socks"),
    (1433, 12, "ms-sql-s"),
    (1521, 8, "oracle"),
    (1723, 4, "pptp"),
    (1883, 5, "mqtt"),
    (2049, 5, "nfs"),
    (2222, 8, "ssh-alt"),
    (2323, 6, "telnet-alt"),
    (2375, 10, "docker"),
    (3306, 15, "mysql"),
    (3389, 20, "ms-wbt-server"),
    (5060, 6, "sip"),
    (5432, 12, "postgresql"),
    (5555, 8, "adb"),
    (5900, 10, "vnc"),
    (5985, 10, "winrm"),
    (5986, 6, "winrm-tls"),
    (6379, 12, "redis"),
    (7001, 5, "weblogic"),
    (8000, 8, "http-alt"),
    (8080, 15, "http-proxy"),
    (8081, 6, "http-alt"),
    (8443, 10, "https-alt"),
    (8888, 8, "http-alt"),
    (9200, 10, "elasticsearch"),
    (10_000, 5, "webmin"),
    (11_211, 8, "memcached"),
    (27_017, 10, "mongodb"),
];

/// [`DEFAULT`] as settings hold it.
pub fn default() -> Vec<Candidate> {
    DEFAULT
        .iter()
        .map(|&(port, weight, _)| Candidate { port, weight })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_in_order_and_none_stands_twice() {
        assert!(DEFAULT.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!((30..=60).contains(&DEFAULT.len()));
    }
}
