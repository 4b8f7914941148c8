//! Who is connected.
//!
//! One session for each identity. A client that connects again takes over from its own former
//! session, whose end the server may not have noticed. Another start of a client with the same
//! identity, from wherever, is turned away while the former one's connection is open and shows
//! signs of life: then the state folder was copied, and two clients would number their hits alike.
//!
//! Whether there is room for one more, and who gives way, is decided in
//! [`seating`](crate::server::session::seating).

use std::collections::HashMap;
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::event::{ClientId, is_link_local};
use crate::net::link::has_closed;
use crate::server::session::refusal::Refusal;
use crate::server::session::seating::{Full, Holder, SeatLimits, Seating, Standing};

/// All sessions.
#[derive(Debug)]
pub struct Seats {
    limits: SeatLimits,
    started: Instant,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    next: u64,
    by_client: HashMap<ClientId, Occupant>,
    by_number: HashMap<u64, ClientId>,
    seating: Seating,
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
    /// Whether the server knew it before.
    pub standing: Standing,
}

/// A session's place; dropping it makes room.
#[derive(Debug)]
pub struct Seat<'a> {
    seats: &'a Seats,
    newcomer: Newcomer,
    number: u64,
    heard: Arc<AtomicU64>,
}

impl Seats {
    /// Room for so many sessions.
    pub fn new(limits: SeatLimits) -> Self {
        let taken = Taken {
            next: 0,
            by_client: HashMap::new(),
            by_number: HashMap::new(),
            seating: Seating::new(limits),
        };
        Self {
            limits,
            started: clock::monotonic(),
            taken: Mutex::new(taken),
        }
    }

    /// A seat for a client that has proven who it is. A former session counts as alive if it was
    /// heard from within `live`. A session that gives way for it is woken, and finds its seat
    /// [lost](Seat::lost).
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
            standing,
        } = newcomer;
        let mut taken = self.lock();
        let mut former_number = None;
        if let Some(former) = taken.by_client.get(&client) {
            let silence = self
                .now()
                .saturating_sub(former.heard.load(Ordering::Relaxed));
            let alive = Duration::from_millis(silence) < live && !has_closed(&former.socket);
            if former.instance != instance && alive {
                return Err(Refusal::IdentityInUse(former.address));
            }
            former_number = Some(former.number);
        }
        let number = taken.next;
        let holder = Holder::new(address, standing);
        let loser = taken.seating.take(number, holder, former_number);
        let loser = loser.map_err(|full| match full {
            Full::Address => Refusal::TooManySessionsHere,
            Full::Server => Refusal::TooManySessions,
        })?;
        taken.next += 1;
        for number in [former_number, loser].into_iter().flatten() {
            taken.vacate(number);
        }
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
        taken.by_number.insert(number, client);
        Ok(Seat {
            seats: self,
            newcomer,
            number,
            heard,
        })
    }

    /// Ends a client's session, if it has one.
    pub fn end(&self, client: ClientId) {
        let mut taken = self.lock();
        let number = taken.by_client.get(&client).map(|now| now.number);
        if let Some(number) = number {
            taken.vacate(number);
            taken.seating.leave(number);
        }
    }

    /// How many sessions there are.
    pub fn count(&self) -> usize {
        self.lock().by_client.len()
    }

    /// How the seats are taken, in words: how many, and who has most of them.
    pub fn shares(&self) -> String {
        let (taken, SeatLimits { total, per_address }) = (self.lock(), self.limits);
        let count = taken.seating.count();
        let most = taken.seating.most().map_or_else(String::new, |most| {
            let (size, address) = (most.size, neighbours(most.name));
            format!(", {size} of them from {address} (of {per_address} that one address may have)")
        });
        format!("{count} of {total} sessions are taken{most}")
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

/// An address that stands for its neighbourhood, as people write that.
fn neighbours(address: IpAddr) -> String {
    match address {
        IpAddr::V6(v6) if !is_link_local(v6) => format!("{v6}/64"),
        other => other.to_string(),
    }
}

impl Taken {
    /// Ends the session that has this seat: its thread notices at its next read.
    fn vacate(&mut self, number: u64) {
        let client = self.by_number.remove(&number);
        let occupant = client.and_then(|client| self.by_client.remove(&client));
        if let Some(occupant) = occupant {
            drop(occupant.socket.shutdown(Shutdown::Read));
        }
    }
}

impl Seat<'_> {
    /// Whose it is.
    pub const fn newcomer(&self) -> &Newcomer {
        &self.newcomer
    }

    /// Notes a sign of life.
    pub fn heard(&self) {
        self.heard.store(self.seats.now(), Ordering::Relaxed);
    }

    /// Why the session must end, if it must: another one of the same client has taken over, or it had
    /// to give way, or an operator has [ended](Seats::end) it.
    pub fn lost(&self) -> Option<Refusal> {
        let taken = self.seats.lock();
        match taken.by_client.get(&self.newcomer.client) {
            Some(now) if now.number == self.number => None,
            Some(_) => Some(Refusal::Superseded),
            None => Some(Refusal::TooManySessions),
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut taken = self.seats.lock();
        if taken.by_number.remove(&self.number).is_some() {
            taken.by_client.remove(&self.newcomer.client);
            taken.seating.leave(self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    const ID: ClientId = ClientId([1; 16]);

    fn newcomer(client: ClientId, instance: u8) -> Newcomer {
        Newcomer {
            client,
            instance: [instance; 16],
            address: [192, 0, 2, 1].into(),
            standing: Standing::New,
        }
    }

    fn seats(total: usize) -> Seats {
        Seats::new(SeatLimits {
            total,
            per_address: total,
        })
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
        let seats = seats(10);
        let live = Duration::from_secs(60);
        let ((old, _far), (socket, far)) = (connection(), connection());
        let first = seats.take(newcomer(ID, 1), &old, live).unwrap();
        let second = seats.take(newcomer(ID, 1), &socket, live).unwrap();
        assert_eq!(first.lost(), Some(Refusal::Superseded));
        assert_eq!(second.lost(), None);
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
        assert_eq!(second.lost(), None, "a lost seat takes nothing along");
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
        let seats = seats(1);
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

    #[test]
    fn a_session_that_gives_way_is_woken_and_takes_nothing_along() {
        let seats = seats(1);
        let ((old, mut far), (socket, _other)) = (connection(), connection());
        let new = seats.take(newcomer(ID, 1), &old, Duration::ZERO).unwrap();
        let known = Newcomer {
            standing: Standing::Known,
            ..newcomer(ClientId([2; 16]), 1)
        };
        let known = seats.take(known, &socket, Duration::ZERO).unwrap();
        assert_eq!(new.lost(), Some(Refusal::TooManySessions));
        assert_eq!((&*old).read(&mut [0]).unwrap(), 0, "it is woken");
        far.write_all(b"!").unwrap();
        drop(new);
        assert_eq!((known.lost(), seats.count()), (None, 1));
        let shares = "1 of 1 sessions are taken, 1 of them from 192.0.2.1 \
                      (of 1 that one address may have)";
        assert_eq!(seats.shares(), shares);
    }
}
