//! Room for connections that have not proven anything yet.
//!
//! Strangers who hold connections open must not keep clients out, and cost little. There are so
//! many places in all and so many for each address (an IPv6 /64 counts as one). When all are taken, the oldest gives way once
//! it has had [`GRACE`] to finish; before that the newcomer waits, so that in a rush of honest
//! clients nobody is thrown out a moment before it would have been done.

use std::collections::VecDeque;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::neighbourhood;
use crate::metrics::Counter;

/// How long a connection keeps its place whatever the rush.
pub const GRACE: Duration = Duration::from_secs(1);

/// All places.
#[derive(Clone, Debug)]
pub struct Permits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    total: usize,
    per_address: usize,
    held: Mutex<Held>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    oldest_first: VecDeque<Place>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    address: IpAddr,
    since: Instant,
    /// None once the connection is over and only its place is still held.
    socket: Option<Arc<TcpStream>>,
    hold: Hold,
}

/// Whether others from the same address can take the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Loose,
    /// Not before this time, not even when the connection is over.
    Pinned(Instant),
}

/// One connection's place; dropping it makes room.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    id: u64,
}

impl Permits {
    /// Places for `total` connections at once, of which `per_address` for one address.
    pub fn new(total: usize, per_address: usize) -> Self {
        let inner = Inner {
            total: total.max(1),
            per_address: per_address.max(1),
            held: Mutex::default(),
            freed: Condvar::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// A place for this connection, waiting up to [`GRACE`] for one. `None` means that its
    /// address has all the places it may have. Connections that had to give way are counted in
    /// `displaced`.
    pub fn admit(
        &self,
        address: IpAddr,
        socket: &Arc<TcpStream>,
        displaced: &Counter,
    ) -> Option<Permit> {
        let address = neighbourhood(address);
        let mut held = self.inner.lock();
        held.release(clock::monotonic());
        if held.of(address).count() >= self.inner.per_address {
            let oldest = held.of(address).find(|place| place.hold == Hold::Loose)?;
            if clock::since(oldest.since) < GRACE {
                return None;
            }
            let id = oldest.id;
            held.displace(id, displaced);
        }
        while held.oldest_first.len() >= self.inner.total {
            let Some(oldest) = held.oldest_first.front() else {
                break;
            };
            let (id, age) = (oldest.id, clock::since(oldest.since));
            if age < GRACE {
                let waited = self
                    .inner
                    .freed
                    .wait_timeout(held, GRACE.saturating_sub(age));
                held = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                held.displace(id, displaced);
            }
        }
        let id = held.next;
        held.next += 1;
        let socket = Arc::clone(socket);
        held.oldest_first.push_back(Place {
            id,
            address,
            since: clock::monotonic(),
            socket: Some(socket),
            hold: Hold::Loose,
        });
        Some(Permit {
            inner: Arc::clone(&self.inner),
            id,
        })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn of(&self, address: IpAddr) -> impl Iterator<Item = &Place> {
        self.oldest_first
            .iter()
            .filter(move |place| place.address == address)
    }

    fn place(&mut self, id: u64) -> Option<&mut Place> {
        self.oldest_first.iter_mut().find(|place| place.id == id)
    }

    /// Gives back the places whose connections are over and whose time is up.
    fn release(&mut self, now: Instant) {
        self.oldest_first.retain(|place| match place.hold {
            Hold::Pinned(until) => place.socket.is_some() || until > now,
            Hold::Loose => true,
        });
    }

    fn remove(&mut self, id: u64) -> Option<Place> {
        let index = self.oldest_first.iter().position(|place| place.id == id)?;
        self.oldest_first.remove(index)
    }

    fn displace(&mut self, id: u64, displaced: &Counter) {
        if let Some(place) = self.remove(id) {
            if let Some(socket) = place.socket {
                // Its thread notices at its next read or write, and ends.
                drop(socket.shutdown(Shutdown::Both));
            }
            displaced.one();
        }
    }
}

impl Permit {
    /// Until this time nobody from the same address can take this place, even if its connection
    /// ends before: who has failed to prove itself cannot cut its wait short by coming again.
    pub fn pin(&self, until: Instant) {
        let mut held = self.inner.lock();
        if let Some(place) = held.place(self.id) {
            place.hold = Hold::Pinned(until);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.inner.lock();
        match held.place(self.id) {
            Some(Place {
                hold: Hold::Pinned(until),
                socket,
                ..
            }) if *until > clock::monotonic() => {
                *socket = None;
            }
            Some(_) => {
                held.remove(self.id);
                self.inner.freed.notify_one();
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::TcpListener;

    fn pair() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = TcpStream::connect_timeout(&address, GRACE).unwrap();
        (Arc::new(listener.accept().unwrap().0), near)
    }

    #[test]
    fn an_address_cannot_take_more_than_its_share() {
        let permits = Permits::new(8, 1);
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
        let permits = Permits::new(8, 1);
        let displaced = Counter::default();
        let (socket, _peer) = pair();
        let (address, neighbour) = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        let permit = permits.admit(address, &socket, &displaced).unwrap();
        permit.pin(clock::monotonic() + GRACE * 3600);
        drop(permit);
        assert!(permits.admit(neighbour, &socket, &displaced).is_none());
        assert_eq!(
            Arc::strong_count(&socket),
            1,
            "no descriptor is held with it"
        );
        permits
            .inner
            .lock()
            .release(clock::monotonic() + GRACE * 3601);
        let permit = permits.admit(neighbour, &socket, &displaced).unwrap();
        permit.pin(clock::monotonic());
        drop(permit);
        assert!(permits.admit(neighbour, &socket, &displaced).is_some());
    }

    #[test]
    fn when_all_places_are_taken_the_oldest_gives_way_after_its_grace() {
        let permits = Permits::new(1, 1);
        let displaced = Counter::default();
        let (old, mut old_peer) = pair();
        let (new, _new_peer) = pair();
        let _kept = permits
            .admit("127.0.0.1".parse().unwrap(), &old, &displaced)
            .unwrap();
        let began = clock::monotonic();
        assert!(
            permits
                .admit("127.0.0.2".parse().unwrap(), &new, &displaced)
                .is_some()
        );
        assert!(clock::since(began) >= GRACE.mul_f32(0.9));
        assert_eq!(displaced.get(), 1);
        assert_eq!(
            old_peer.read(&mut [0]).unwrap(),
            0,
            "the displaced connection is closed"
        );
    }
}
