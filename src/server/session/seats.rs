//! Who is connected.
//!
//! One session for each identity. A client that connects again from the same address takes over
//! from its own former session, whose end the server may not have noticed. From another address
//! it is turned away while the former session shows signs of life: then the host was cloned.

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::ClientId;
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
    address: IpAddr,
    socket: Arc<TcpStream>,
    heard: Arc<AtomicU64>,
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
        client: ClientId,
        address: IpAddr,
        socket: &Arc<TcpStream>,
        live: Duration,
    ) -> Result<Seat<'_>, Refusal> {
        let mut taken = self.lock();
        if let Some(former) = taken.by_client.get(&client) {
            let silence = self
                .now()
                .saturating_sub(former.heard.load(Ordering::Relaxed));
            if former.address != address && Duration::from_millis(silence) < live {
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

    fn socket() -> Arc<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Arc::new(TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap())
    }

    #[test]
    fn a_client_takes_over_from_itself_and_a_clone_does_not() {
        let seats = Seats::new(10);
        let live = Duration::from_secs(60);
        let (home, away) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = seats.take(ID, home, &socket(), live).unwrap();
        let second = seats.take(ID, home, &socket(), live).unwrap();
        assert!(first.is_lost() && !second.is_lost());
        let clone = seats
            .take(ID, away, &socket(), live)
            .map(|seat| seat.number);
        assert_eq!(clone, Err(Refusal::IdentityInUse(home)));
        drop(first);
        assert!(!second.is_lost(), "a lost seat takes nothing along");
        assert!(
            seats.take(ID, away, &socket(), Duration::ZERO).is_ok(),
            "the dead make room"
        );
    }

    #[test]
    fn there_are_no_more_seats_than_there_are() {
        let seats = Seats::new(1);
        let home = "192.0.2.1".parse().unwrap();
        let first = seats.take(ID, home, &socket(), Duration::ZERO).unwrap();
        let other = ClientId([2; 16]);
        let refused = seats
            .take(other, home, &socket(), Duration::ZERO)
            .map(|seat| seat.number);
        assert_eq!(refused, Err(Refusal::TooManySessions));
        drop(first);
        assert!(seats.take(other, home, &socket(), Duration::ZERO).is_ok());
    }
}
