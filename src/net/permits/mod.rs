//! Room for connections that have not proven anything yet.
//!
//! Strangers who hold connections open must not keep clients out, and cost little. There are so
//! many [places] in all and so many for each address. Nobody waits for one: whoever accepts
//! connections goes on at once.
//!
//! A quarter of them is for addresses from which clients came before ([known]), and no stranger
//! from elsewhere can have one of these. There each address is a site for itself; in the others an
//! IPv6 /64 counts as one address.

pub mod known;
pub mod places;

use std::net::{IpAddr, Ipv6Addr, Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clock;
use crate::entropy;
use crate::event::neighbourhood;
use crate::metrics::Counter;
use crate::net::permits::known::KnownAddresses;
use crate::net::permits::places::{Bounds, Origin, Places};

/// One in so many places is kept for addresses that are known.
const KEPT: usize = 4;

/// All places.
#[derive(Clone, Debug)]
pub struct Permits {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    known: KnownAddresses,
    kept: Places<Arc<TcpStream>>,
    open: Places<Arc<TcpStream>>,
}

/// Where a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// Among those that are kept for known addresses.
    Kept,
    /// Among those that are open to everybody.
    Open,
}

/// One connection's place; dropping it makes room.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Mutex<Inner>>,
    side: Side,
    id: u64,
    address: IpAddr,
}

impl Permits {
    /// Places within these bounds, and room to know so many `addresses`.
    pub fn new(bounds: Bounds, addresses: usize) -> Self {
        let kept = Bounds {
            total: bounds.total / KEPT,
            ..bounds
        };
        let open = Bounds {
            total: bounds.total - kept.total,
            ..bounds
        };
        let inner = Inner {
            known: KnownAddresses::new(addresses),
            kept: Places::new(kept),
            open: Places::new(open),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Notes that a client has come from an address.
    pub fn note(&self, address: IpAddr) {
        lock(&self.inner).known.note(address.to_canonical());
    }

    /// A place for this connection, at once, or `None`. A connection that has to give way for it
    /// is closed, and counted in `displaced`.
    pub fn admit(
        &self,
        address: IpAddr,
        socket: &Arc<TcpStream>,
        displaced: &Counter,
    ) -> Option<Permit> {
        let address = address.to_canonical();
        let (now, chance) = (clock::monotonic(), u32::from_le_bytes(entropy::random()));
        let mut inner = lock(&self.inner);
        let sides: &[Side] = if inner.known.contains(address) {
            &[Side::Kept, Side::Open]
        } else {
            &[Side::Open]
        };
        sides.iter().find_map(|side| {
            let origin = side.origin(address);
            let places = inner.side(*side);
            let found = places.admit(origin, Arc::clone(socket), now, chance).ok()?;
            if let Some(socket) = found.displaced {
                // Its thread notices at its next read or write, and ends.
                drop(socket.shutdown(Shutdown::Both));
                displaced.one();
            }
            Some(Permit {
                inner: Arc::clone(&self.inner),
                side: *side,
                id: found.id,
                address,
            })
        })
    }
}

impl Permit {
    /// Until this time nobody from the same address can take this place, even if its connection
    /// ends before: who has failed to prove itself cannot cut its wait short by coming again.
    pub fn pin(&self, until: Instant) {
        lock(&self.inner).side(self.side).pin(self.id, until);
    }

    /// Notes that it was a client that came, so that its address is known from now on.
    pub fn proven(&self) {
        lock(&self.inner).known.note(self.address);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let now = clock::monotonic();
        drop(lock(&self.inner).side(self.side).end(self.id, now));
    }
}

impl Inner {
    const fn side(&mut self, side: Side) -> &mut Places<Arc<TcpStream>> {
        match side {
            Side::Kept => &mut self.kept,
            Side::Open => &mut self.open,
        }
    }
}

impl Side {
    fn origin(self, address: IpAddr) -> Origin {
        match self {
            Self::Kept => Origin {
                address,
                site: address,
            },
            Self::Open => Origin {
                address: neighbourhood(address),
                site: site(address),
            },
        }
    }
}

/// What one owner has as a rule: an IPv4 address, or an IPv6 /48 (RFC 6177).
fn site(address: IpAddr) -> IpAddr {
    match neighbourhood(address) {
        IpAddr::V6(v6) if v6.segments().iter().skip(4).all(|segment| *segment == 0) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::from([a, b, c, 0, 0, 0, 0, 0]).into()
        }
        other => other,
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect_timeout(&address, HOUR).unwrap();
        (Arc::new(listener.accept().unwrap().0), near)
    }

    fn permits(total: usize, per_address: usize) -> Permits {
        Permits::new(Bounds { total, per_address }, 8)
    }

    #[test]
    fn an_address_cannot_take_more_than_its_share() {
        let permits = permits(8, 1);
        let (socket, _peer) = pair();
        let displaced = Counter::default();
        let home = "127.0.0.1".parse().unwrap();
        let first = permits.admit(home, &socket, &displaced);
        assert!(first.is_some());
        assert!(permits.admit(home, &socket, &displaced).is_none());
        assert!(
            permits
                .admit("127.0.0.2".parse().unwrap(), &socket, &displaced)
                .is_some()
        );
        drop(first);
        assert!(permits.admit(home, &socket, &displaced).is_some());
    }

    #[test]
    fn a_place_that_is_pinned_is_held_until_its_time_is_up_whoever_hangs_up() {
        let permits = permits(8, 1);
        let displaced = Counter::default();
        let (socket, _peer) = pair();
        let (address, neighbour) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        let permit = permits.admit(address, &socket, &displaced).unwrap();
        permit.pin(clock::monotonic() + HOUR);
        drop(permit);
        assert!(permits.admit(neighbour, &socket, &displaced).is_none());
        assert_eq!(
            Arc::strong_count(&socket),
            1,
            "no descriptor is held with it"
        );
        let elsewhere = "2001:db8:0:1::1".parse().unwrap();
        let permit = permits.admit(elsewhere, &socket, &displaced).unwrap();
        permit.pin(clock::monotonic());
        drop(permit);
        assert!(permits.admit(elsewhere, &socket, &displaced).is_some());
    }

    #[test]
    fn who_gives_way_is_closed_at_once() {
        let permits = permits(4, 8);
        let displaced = Counter::default();
        let (crowd, mut peers): (Vec<_>, Vec<_>) = (0..3).map(|_| pair()).unzip();
        let greedy = [127, 0, 0, 1].into();
        let held: Vec<_> = crowd
            .iter()
            .filter_map(|socket| permits.admit(greedy, socket, &displaced))
            .collect();
        assert_eq!(held.len(), 3, "three of four are open to strangers");
        let (new, _peer) = pair();
        let newcomer = permits.admit([127, 0, 0, 2].into(), &new, &displaced);
        assert!(newcomer.is_some());
        assert_eq!(displaced.get(), 1);
        let oldest = &mut peers[0];
        assert_eq!(oldest.read(&mut [0]).unwrap(), 0, "it is closed");
    }

    #[test]
    fn strangers_cannot_take_what_is_kept_for_addresses_of_clients() {
        let permits = permits(8, 8);
        let displaced = Counter::default();
        let (socket, _peer) = pair();
        let host = |last| IpAddr::from([192, 0, 2, last]);
        let strangers: Vec<_> = (0..200)
            .filter_map(|last| permits.admit(host(last), &socket, &displaced))
            .collect();
        assert_eq!(strangers.len(), 6, "two of eight are kept");
        assert_eq!(displaced.get(), 0);
        let full = permits.admit(host(201), &socket, &displaced);
        assert!(full.is_none());
        permits.note(host(201));
        let client = permits.admit(host(201), &socket, &displaced);
        assert!(client.is_some());
        client.unwrap().proven();
        // What has proven itself is known as well.
        strangers[0].proven();
        assert!(permits.admit(host(0), &socket, &displaced).is_some());
        assert_eq!(displaced.get(), 0);
    }

    #[test]
    fn an_ipv6_site_is_a_48() {
        let of = |address: &str| site(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1::");
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("fe80::1:2"), "fe80::1:2", "its own, on every link");
    }
}
