//! Where sources are: inside or outside.
//!
//! Inside is what the fleet calls its own: the addresses its clients come from, private networks
//! (RFC 1918, RFC 4193), shared and link-local addresses (RFC 6598, RFC 3927, RFC 4291), loopback,
//! and the networks that the settings name. Who touches traps from inside is a host that was broken
//! into, or one that does something nobody knows of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::config::server::Network;

/// The networks that are inside.
#[derive(Debug)]
pub struct Zones(Networks);

impl Zones {
    /// The private networks and these.
    pub fn new(inside: &[Network]) -> Self {
        let named = inside.iter().map(|network| network.0);
        Self(Networks::new(private().into_iter().chain(named)))
    }

    /// Whether an address is in one of the networks.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.0.hold(address)
    }
}

/// Networks, each as its address and its mask: every event is held against all of them.
#[derive(Debug, Default)]
pub struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// These networks.
    pub fn new(networks: impl Iterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.netmask().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.netmask().to_bits())),
            }
        }
        Self { v4, v6 }
    }

    /// Whether an address is in one of them.
    pub fn hold(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                self.v4.iter().any(|(net, mask)| bits & mask == *net)
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                self.v6.iter().any(|(net, mask)| bits & mask == *net)
            }
        }
    }
}

fn private() -> [IpNet; 9] {
    let v4 = |a, b, bits| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), bits));
    let v6 = |head, bits| {
        IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(head, 0, 0, 0, 0, 0, 0, 0),
            bits,
        ))
    };
    [
        v4(10, 0, 8),
        v4(172, 16, 12),
        v4(192, 168, 16),
        v4(100, 64, 10),
        v4(169, 254, 16),
        v4(127, 0, 8),
        v6(0xfc00, 7),
        v6(0xfe80, 10),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_and_named_networks_are_inside() {
        let zones = Zones::new(&["203.0.113.0/24".parse().unwrap()]);
        let holds = |text: &str| zones.holds(text.parse().unwrap());
        for inside in [
            "10.1.2.3",
            "172.31.0.1",
            "192.168.7.7",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::1",
            "203.0.113.9",
        ] {
            assert!(holds(inside), "{inside}");
        }
        for outside in [
            "192.0.2.1",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "203.0.112.9",
        ] {
            assert!(!holds(outside), "{outside}");
        }
    }
}
