//! Who gets which address, so that nobody's address is somebody else's, and none is a real one's.
//!
//! | who | where |
//! |---|---|
//! | the fleet | 10.0.0.0/8 |
//! | monitors and cron jobs inside | 172.16.0.0/13 |
//! | other hosts inside that touch a trap by mistake | 172.24.0.0/13 |
//! | strangers that touch a trap by mistake | 240.0.0.0/8 |
//! | attackers | 244.0.0.0/8, each with a /24 of its own, and `2001:db8::/32`, each with a /48 |
//! | a flood | 248.0.0.0/5 |
//!
//! 240.0.0.0/4 is reserved (RFC 1112), so there is room for as many strangers from outside as a
//! flood takes, and no address is anybody's. More than fit a network begin anew at its first address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::evaluate::dice::Dice;

/// Where a client is.
pub fn member(number: u32) -> IpAddr {
    within(0x0a00_0000, 24, number.wrapping_add(1))
}

/// Where a monitor or a cron job is.
pub fn routine(number: u32) -> IpAddr {
    within(0xac10_0000, 19, scattered(number, 19))
}

/// Where the scanner is that the allow-list names.
pub fn auditor() -> IpAddr {
    within(0xac10_0000, 19, u32::MAX)
}

/// Where another host inside is.
pub fn inside(number: u32) -> IpAddr {
    within(0xac18_0000, 19, scattered(number, 19))
}

/// Where a stranger is that touches a trap by mistake.
pub fn stranger(number: u32) -> IpAddr {
    within(0xf000_0000, 24, scattered(number, 24))
}

/// Where a source of a flood is.
pub fn flood(number: u32) -> IpAddr {
    within(0xf800_0000, 27, scattered(number, 27))
}

/// One of the addresses of an attackers' /24.
pub fn attacker(network: u32, host: u8) -> IpAddr {
    let network = scattered(network, 16) << 8;
    within(0xf400_0000, 24, network | u32::from(host))
}

/// An attacker's /64.
pub fn attacker_v6(network: u32) -> IpAddr {
    let prefix = 0x2001_0db8_u128 << 96 | u128::from(scattered(network, 16)) << 80;
    Ipv6Addr::from(prefix).into()
}

/// The address that a source shows this time: an IPv6 one changes within its /64.
pub fn shown(source: IpAddr, dice: &mut Dice) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(prefix) => Ipv6Addr::from(u128::from(prefix) | u128::from(dice.bits())).into(),
    }
}

fn within(network: u32, bits: u32, number: u32) -> IpAddr {
    Ipv4Addr::from(network | number & mask(bits)).into()
}

const fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

/// Neighbours in number are no neighbours in the network. Multiplying by an odd number loses
/// nothing modulo a power of two; this one is 2³² divided by the golden ratio.
const fn scattered(number: u32, bits: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1) & mask(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn nobody_has_somebody_elses_address() {
        let mut all = BTreeSet::new();
        for number in 0..10_000 {
            for address in [member, routine, inside, stranger, flood, attacker_v6] {
                assert!(all.insert(address(number)), "{number}");
            }
            for host in 0..3 {
                assert!(all.insert(attacker(number, host)), "{number}");
            }
        }
    }

    #[test]
    fn an_ipv6_source_stays_in_its_64() {
        let mut dice = Dice::new(1);
        let (first, second) = (
            shown(attacker_v6(7), &mut dice),
            shown(attacker_v6(7), &mut dice),
        );
        assert_ne!(first, second);
        assert_eq!(
            crate::event::neighbourhood(first),
            crate::event::neighbourhood(second)
        );
        assert_eq!(
            shown(attacker(7, 1), &mut dice).to_string(),
            attacker(7, 1).to_string()
        );
    }
}
