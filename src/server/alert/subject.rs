//! Whom or what an incident is about, and where that is.

use std::fmt;
use std::net::IpAddr;

use crate::event::{ClientId, is_link_local, neighbourhood};

/// Whom or what an incident is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Whoever touches traps.
    Source(Source),
    /// A trap port.
    Port(u16),
    /// A client.
    Client(ClientId),
    /// A network of sources.
    Network(Network),
    /// All clients.
    Fleet,
    /// The server itself.
    Server,
}

/// A network as the engine tells networks of sources apart: an IPv4 /24 or an IPv6 /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::from([a, b, c, 0])
            }
            IpAddr::V6(v6) => {
                let [a, b, c, ..] = v6.segments();
                IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
            }
        })
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}/24"),
            IpAddr::V6(v6) => write!(f, "{v6}/48"),
        }
    }
}

/// A source as the engine tells sources apart: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(neighbourhood(address))
    }

    /// Its first address.
    pub const fn address(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) if is_link_local(v6) => v6.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

/// Where a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Among the fleet and its neighbours.
    Inside,
    /// Anywhere else.
    Outside,
}

impl Zone {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// The zone's name in alerts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        }
    }
}

impl Subject {
    /// What kind of subject it is.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Port(_) => "port",
            Self::Client(_) => "client",
            Self::Network(_) => "network",
            Self::Fleet => "fleet",
            Self::Server => "server",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(source) => source.fmt(f),
            Self::Port(port) => port.fmt(f),
            Self::Client(id) => id.fmt(f),
            Self::Network(network) => network.fmt(f),
            Self::Fleet => f.write_str("fleet"),
            Self::Server => f.write_str("server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_64() {
        let name = |text: &str| Source::of(text.parse().unwrap()).to_string();
        assert_eq!(name("192.0.2.7"), "192.0.2.7");
        assert_eq!(name("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(name("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(name("fe80::3"), "fe80::3");
    }
}
