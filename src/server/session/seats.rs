//! Who is connected.
//!
//! One session for each identity. A client that connects again takes over from its own former
//! session, whose end the server may not have noticed. Another start of a client with the same
//! identity, from wherever, is turned away while the former one's connection is open and shows
//! signs of life: then the state folder was copied, and two clients would number their hits alike.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::ClientId;
use crate::net::link::has_closed;
use crate::server::session::refusal::Refusal;

/// All sessions.
#[derive(Debug)]
pub struct Seats {
    bound: usize,
    started: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    by_client: HashMap<ClientId, Occupant>,
}

#[derive(Debug)]
struct Occupant {
    number: u64,
    instance: [u8; 16],
    address: IpAddr,
    socket: Arc<TcpStream>,
    heard: Arc<AtomicU64>,
}

/// A client that wants a seat.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer {
    /// Who it is.
    pub client: ClientId,
    /// Which start of it.
    pub instance: [u8; 16],
    /// Where it comes from.
    pub address: IpAddr,
}

/// A session's place; dropping it makes room.
#[derive(Debug)]
pub struct Seat<'a> {
    seats: &'a Seats,
    client: ClientId,
    address: IpAddr,
    number: u64,
    heard: Arc<AtomicU64>,
}

impl Seats {
    /// Room for `bound` sessions.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            started: clock::monotonic(),
            taken: Mutex::default(),
        }
    }

    /// A seat for a client that has proven who it is. A former session counts as alive if it was
    /// heard from within `live`.
    pub fn take(
        &self,
        newcomer: Newcomer,
        socket: &Arc<TcpStream>,
        live: Duration,
    ) -> Result<Seat<'_>, Refusal> {
        let Newcomer {
            client,
            instance,
            address,
        } = newcomer;
        let mut taken = self.lock();
        if let Some(former) = taken.by_client.get(&client) {
            let silence = self
                .now()
                .saturating_sub(former.heard.load(Ordering::Relaxed));
            let alive = Duration::from_millis(silence) < live && !has_closed(&former.socket);
            if former.instance != instance && alive {
                return Err(Refusal::IdentityInUse(former.address));
            }
            drop(former.socket.shutdown(Shutdown::Read));
        } else if taken.by_client.len() >= self.bound {
            return Err(Refusal::TooManySessions);
        }
        let number = taken.next;
        taken.next += 1;
        let heard = Arc::new(AtomicU64::new(self.now()));
        let socket = Arc::clone(socket);
        let occupant = Occupant {
            number,
            instance,
            address,
            socket,
            heard: Arc::clone(&heard),
        };
        taken.by_client.insert(client, occupant);
        Ok(Seat {
            seats: self,
            client,
            address,
            number,
            heard,
        })
    }

    /// Ends a client's session, if it has one.
    pub fn end(&self, client: ClientId) {
        if let Some(occupant) = self.lock().by_client.remove(&client) {
            drop(occupant.socket.shutdown(Shutdown::Read));
        }
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.lock().by_client.len()
    }

    /// Milliseconds since the server started.
    fn now(&self) -> u64 {
        let since = clock::monotonic().saturating_duration_since(self.started);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Where the client came from.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Notes a sign of life.
    pub fn heard(&self) {
        self.heard.store(self.seats.now(), Ordering::Relaxed);
    }

    /// Whether another session of the same client has taken over.
    pub fn is_lost(&self) -> bool {
        let taken = self.seats.lock();
        taken
            .by_client
            .get(&self.client)
            .is_none_or(|now| now.number != self.number)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if taken
            .by_client
            .get(&self.client)
            .is_some_and(|now| now.number == self.number)
        {
            taken.by_client.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const ID: ClientId = ClientId([1; 16]);

    fn newcomer(client: ClientId, instance: u8) -> Newcomer {
        Newcomer {
            client,
            instance: [instance; 16],
            address: [192, 0, 2, 1].into(),
        }
    }

    /// Both ends of a connection.
    fn connection() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let far = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        (Arc::new(listener.accept().unwrap().0), far)
    }

    #[test]
    fn a_client_takes_over_from_itself_and_a_clone_does_not() {
        let seats = Seats::new(10);
        let live = Duration::from_secs(60);
        let ((old, _far), (socket, far)) = (connection(), connection());
        let first = seats.take(newcomer(ID, 1), &old, live).unwrap();
        let second = seats.take(newcomer(ID, 1), &socket, live).unwrap();
        assert!(first.is_lost() && !second.is_lost());
        let clone = |live| {
            seats
                .take(newcomer(ID, 2), &socket, live)
                .map(|seat| seat.number)
        };
        assert_eq!(
            clone(live),
            Err(Refusal::IdentityInUse([192, 0, 2, 1].into()))
        );
        drop(first);
        assert!(!second.is_lost(), "a lost seat takes nothing along");
        drop(far);
        assert!(clone(live).is_ok(), "those who have closed make room");
        drop(second);
        let ((old, _far), (socket, _other)) = (connection(), connection());
        let _former = seats.take(newcomer(ID, 1), &old, live).unwrap();
        let newer = seats.take(newcomer(ID, 2), &socket, Duration::ZERO);
        assert!(newer.is_ok(), "and so do those not heard from");
    }

    #[test]
    fn there_are_no_more_seats_than_there_are() {
        let seats = Seats::new(1);
        let (socket, _far) = connection();
        let first = seats
            .take(newcomer(ID, 1), &socket, Duration::ZERO)
            .unwrap();
        let other = || {
            let other = newcomer(ClientId([2; 16]), 1);
            seats
                .take(other, &socket, Duration::ZERO)
                .map(|seat| seat.number)
        };
        assert_eq!(other(), Err(Refusal::TooManySessions));
        drop(first);
        assert!(other().is_ok());
    }
}
