//! Single values that check themselves, in a file as on the command line.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A span of time with a unit: `300s`, `5m`, `1h 30m`, `7d`. From a millisecond to ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(3653 * 86_400);

impl Span {
    /// So many seconds, at least one.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// As the standard library has it.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = humantime::parse_duration(text).map_err(|error| {
            format!("`{text}` is not a span of time ({error}); write it like 300s, 5m or 7d")
        })?;
        if (SHORTEST..=LONGEST).contains(&span) {
            Ok(Self(span))
        } else {
            Err(format!("`{text}` is out of range: from 1ms to 10years"))
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

/// How many hits a detector waits for: 1 to 1000. A detector remembers twice as many a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Threshold(u16);

impl Threshold {
    /// The largest one.
    pub const MAX: u16 = 1000;

    /// `n`, brought into the range.
    pub const fn new(n: u16) -> Self {
        match n {
            0 => Self(1),
            1..=Self::MAX => Self(n),
            _ => Self(Self::MAX),
        }
    }

    /// As a plain number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u64> for Threshold {
    type Error = String;

    fn try_from(n: u64) -> Result<Self, String> {
        match u16::try_from(n) {
            Ok(n @ 1..=Self::MAX) => Ok(Self(n)),
            _ => Err(format!("{n} is out of range: from 1 to {}", Self::MAX)),
        }
    }
}

impl From<Threshold> for u64 {
    fn from(threshold: Threshold) -> Self {
        threshold.0.into()
    }
}

/// Space on a disk in MiB: 1 to 1048576.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Mebibytes(u32);

impl Mebibytes {
    const MAX: u32 = 1 << 20;

    /// `n`, brought into the range.
    pub const fn new(n: u32) -> Self {
        match n {
            0 => Self(1),
            1..=Self::MAX => Self(n),
            _ => Self(Self::MAX),
        }
    }

    /// In bytes.
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl TryFrom<u64> for Mebibytes {
    type Error = String;

    fn try_from(n: u64) -> Result<Self, String> {
        match u32::try_from(n) {
            Ok(n @ 1..=Self::MAX) => Ok(Self(n)),
            _ => Err(format!("{n} is out of range: from 1 to {}", Self::MAX)),
        }
    }
}

impl From<Mebibytes> for u64 {
    fn from(size: Mebibytes) -> Self {
        size.0.into()
    }
}

/// A positive number that need not be whole: from a billionth to a billion.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize, Serialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Positive(f64);

impl Positive {
    /// `number`, brought into the range.
    pub const fn new(number: f64) -> Self {
        Self(number.clamp(1e-9, 1e9))
    }

    /// As a plain number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Positive {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if (1e-9..=1e9).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{number} is out of range: from 1e-9 to 1e9"))
        }
    }
}

impl From<Positive> for f64 {
    fn from(positive: Positive) -> Self {
        positive.0
    }
}

/// An amount of memory: `256MiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u32);

impl Size {
    /// So many MiB.
    pub const fn mib(mib: u32) -> Self {
        Self(mib)
    }

    /// In MiB.
    pub const fn as_mib(self) -> u32 {
        self.0
    }

    /// In bytes.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0)
            .unwrap_or(usize::MAX)
            .saturating_mul(1 << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an amount of memory; write it like 256MiB or 2GiB");
        let (digits, scale) = match (text.strip_suffix("MiB"), text.strip_suffix("GiB")) {
            (Some(digits), _) => (digits, 1),
            (_, Some(digits)) => (digits, 1024),
            (None, None) => return Err(wrong()),
        };
        let number: u32 = digits.trim().parse().map_err(|_| wrong())?;
        number.checked_mul(scale).map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        format!("{}MiB", size.0)
    }
}

/// An address and port to listen on: `0.0.0.0:9999`, `[::]:9999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bind(pub SocketAddr);

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| {
            format!("`{text}` is not an address with a port; write it like 0.0.0.0:9999")
        })
    }
}

impl TryFrom<String> for Bind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bind> for String {
    fn from(bind: Bind) -> Self {
        bind.0.to_string()
    }
}

/// A server to report to: `vft.example.net:9999`, `192.0.2.7:9999`, `[2001:db8::7]:9999`. Without
/// a port it is 9999.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The port servers listen on unless told otherwise.
pub const DEFAULT_PORT: u16 = 9999;

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a server; write it like vft.example.net:9999");
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Ok(Self {
                host: address.to_string(),
                port: DEFAULT_PORT,
            });
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(wrong()),
                port => Ok(Self {
                    host: address.ip().to_string(),
                    port,
                }),
            };
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
            None => (text, DEFAULT_PORT),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) || port == 0 {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for Endpoint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_a_unit() {
        assert_eq!(
            "5m".parse::<Span>().unwrap().get(),
            Duration::from_secs(300)
        );
        let error = "300".parse::<Span>().unwrap_err();
        assert!(error.contains("300s, 5m or 7d"), "{error}");
        assert!("0s".parse::<Span>().is_err());
        assert!("11years".parse::<Span>().is_err());
    }

    #[test]
    fn a_server_is_a_name_or_an_address_with_or_without_a_port() {
        let parse = |text: &str| {
            text.parse::<Endpoint>()
                .map(|endpoint| endpoint.to_string())
        };
        assert_eq!(parse("vft.example.net:1"), Ok("vft.example.net:1".into()));
        assert_eq!(parse("vft.example.net"), Ok("vft.example.net:9999".into()));
        assert_eq!(parse("192.0.2.7"), Ok("192.0.2.7:9999".into()));
        assert_eq!(parse("::1"), Ok("[::1]:9999".into()));
        assert_eq!(parse("[::1]:80"), Ok("[::1]:80".into()));
        for wrong in [
            "",
            ":9999",
            "host:port",
            "host:0",
            "192.0.2.7:0",
            "[::1]:0",
            "a b:1",
            "https://host:1",
            "host:70000",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_amount_of_memory_needs_a_unit() {
        assert_eq!("256MiB".parse(), Ok(Size::mib(256)));
        assert_eq!("2 GiB".parse(), Ok(Size::mib(2048)));
        for wrong in ["256", "MiB", "-1MiB", "5000000GiB", "1.5GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_threshold_has_bounds() {
        assert!(Threshold::try_from(0).is_err());
        assert_eq!(Threshold::try_from(1000).map(Threshold::get), Ok(1000));
        assert!(Threshold::try_from(1001).is_err());
    }
}
