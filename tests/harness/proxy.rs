//! A TCP proxy between clients and their server, and no friend of either.
//!
//! What befalls a connection follows from a seed and from how many came before it ([`Plan`]), so a
//! run can be had again: [`seed`] says how. Which connection is whose depends on the machine, so
//! what comes back is what the proxy does, and not to the millisecond when.
//!
//! All of it ends with the proxy: its threads are joined, and every loop is bounded.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{SOON, number};

/// The seed of this run: `VFT_SEED`, or else always the same. It is printed, and shows if the test
/// fails.
pub fn seed() -> u64 {
    let seed = number("VFT_SEED", 2026);
    println!("the same again: VFT_SEED={seed}");
    seed
}

/// What befalls a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every piece is held up for so long.
    Delay(Duration),
    /// The first bytes, so many, go one by one.
    Split(usize),
    /// After so many bytes both ends are closed.
    Cut(usize),
    /// After so many bytes both ends are reset.
    Reset(usize),
    /// After so many bytes what was sent last, so much of it, is sent once more.
    Repeat(usize, usize),
    /// After so many bytes the sender's end is closed, and what it has sent on top of them comes
    /// to the other end only when a later connection has been open for a while.
    Hold(usize),
}

/// What befalls a connection in its two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub to_server: Fault,
    pub to_client: Fault,
}

impl Plan {
    /// A connection that nothing befalls.
    pub const CALM: Self = Self {
        to_server: Fault::None,
        to_client: Fault::None,
    };

    /// That of the connection with this number.
    pub fn draw(seed: u64, number: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ number.rotate_left(32));
        let fault = draw(&mut random);
        match fault {
            Fault::Hold(_) => Self {
                to_server: fault,
                ..Self::CALM
            },
            _ if random.random() => Self {
                to_server: fault,
                ..Self::CALM
            },
            _ => Self {
                to_client: fault,
                ..Self::CALM
            },
        }
    }
}

fn draw(random: &mut StdRng) -> Fault {
    // A handshake has some 2,000 bytes; half of what happens is to happen in it.
    let most = if random.random() { 2000 } else { 6000 };
    let after = random.random_range(0..most);
    match random.random_range(0..8) {
        0 => Fault::None,
        1 => Fault::Delay(Duration::from_millis(random.random_range(1..30))),
        2 => Fault::Split(random.random_range(1..4000)),
        3 => Fault::Cut(after),
        4 => Fault::Reset(after),
        5 => Fault::Repeat(after, random.random_range(1..=REPEATED)),
        _ => Fault::Hold(after),
    }
}

/// A proxy that runs.
pub struct Proxy {
    /// Where clients find it.
    pub address: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    plan: Box<dyn Fn(u64) -> Plan + Send + Sync>,
    calm: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Connections taken so far.
    taken: u64,
    open: BTreeMap<u64, Arc<Ends>>,
    /// What has befallen connections, by kind.
    done: BTreeMap<&'static str, u32>,
    over: bool,
}

/// A connection's two sockets.
struct Ends {
    client: TcpStream,
    server: TcpStream,
    /// Whether it ends in a reset, and not in order.
    reset: AtomicBool,
}

/// More connections than any test makes.
const CONNECTIONS: u64 = 100_000;

/// More pieces than any connection carries.
const PIECES: u32 = 1_000_000;

/// The most that is sent twice.
const REPEATED: usize = 300;

/// How old a later connection must be before what was held comes.
const AGE: Duration = Duration::from_millis(100);

/// How long something is held if no other connection comes.
const HELD: Duration = Duration::from_millis(800);

impl Proxy {
    /// A proxy before the server at `server`, with the plans of a seed.
    pub fn start(server: &str, seed: u64) -> Self {
        Self::with(server, move |number| Plan::draw(seed, number))
    }

    /// The same with plans of choice, by the connections' numbers.
    pub fn with(server: &str, plan: impl Fn(u64) -> Plan + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            server: server.parse().unwrap(),
            plan: Box::new(plan),
            calm: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let in_thread = Arc::clone(&shared);
        let acceptor = Builder::new().spawn(move || in_thread.accept(&listener));
        Self {
            address,
            shared,
            acceptor: Some(acceptor.unwrap()),
        }
    }

    /// Closes all connections there are.
    pub fn cut(&self) {
        for ends in self.shared.lock().open.values() {
            ends.shut();
        }
    }

    /// From now on nothing befalls a new connection; those that are open are closed.
    pub fn calm_down(&self) {
        self.shared.calm.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// How many connections there were, and how many have met each kind of fault.
    pub fn done(&self) -> BTreeMap<&'static str, u32> {
        self.shared.lock().done.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        self.cut();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(&self.address));
        drop(self.acceptor.take().unwrap().join());
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut carriers = Vec::new();
        for number in 0..CONNECTIONS {
            let client = listener.accept().unwrap().0;
            if self.lock().over {
                break;
            }
            let shared = Arc::clone(self);
            let carry = move || shared.carry(number, client);
            carriers.push(Builder::new().spawn(carry).unwrap());
        }
        for carrier in carriers {
            drop(carrier.join());
        }
    }

    /// Carries a connection from its first byte to its last.
    fn carry(&self, number: u64, client: TcpStream) {
        // A server that is away shows as a connection that is closed at once.
        let Ok(server) = TcpStream::connect_timeout(&self.server, SOON) else {
            return;
        };
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let ends = Arc::new(Ends {
            client,
            server,
            reset: AtomicBool::new(false),
        });
        {
            let mut state = self.lock();
            if state.over {
                return;
            }
            state.taken += 1;
            *state.done.entry("connection").or_default() += 1;
            state.open.insert(number, Arc::clone(&ends));
        }
        self.changed.notify_all();
        let plan = if self.calm.load(Ordering::SeqCst) {
            Plan::CALM
        } else {
            (self.plan)(number)
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                drop(self.pump(&ends, &ends.client, &ends.server, plan.to_server));
                ends.finish(&ends.server);
            });
            drop(self.pump(&ends, &ends.server, &ends.client, plan.to_client));
            ends.finish(&ends.client);
        });
        self.lock().open.remove(&number);
    }

    /// Carries one direction.
    fn pump(
        &self,
        ends: &Ends,
        mut from: &TcpStream,
        to: &TcpStream,
        mut fault: Fault,
    ) -> io::Result<()> {
        match fault {
            Fault::Delay(_) => self.note("delay"),
            Fault::Split(_) => self.note("split"),
            _ => {}
        }
        let (mut passed, mut last) = (0, Vec::new());
        let mut piece = [0; 4096];
        for _ in 0..PIECES {
            let read = from.read(&mut piece)?;
            let piece = &piece[..read];
            if read == 0 {
                return Ok(());
            }
            let due = fault.after().map_or(usize::MAX, |at| at - passed);
            if due > read {
                pass(&mut fault, to, piece)?;
            } else {
                let (before, behind) = piece.split_at(due);
                send(to, before)?;
                last.extend_from_slice(before);
                self.strike(fault, ends, to, &last)?;
                send(to, behind)?;
                if fault.is_the_end() {
                    return Ok(());
                }
                fault = Fault::None;
            }
            passed += read;
            last.extend_from_slice(piece);
            last.drain(..last.len().saturating_sub(REPEATED));
        }
        Ok(())
    }

    /// Does what is due at a point of the stream, where `last` is what was sent before.
    fn strike(&self, fault: Fault, ends: &Ends, to: &TcpStream, last: &[u8]) -> io::Result<()> {
        match fault {
            Fault::Cut(_) => {
                self.note("cut");
                ends.shut();
            }
            Fault::Reset(_) => {
                self.note("reset");
                ends.reset();
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Fault::Repeat(_, count) => {
                self.note("repeat");
                send(to, &last[last.len().saturating_sub(count)..])?;
            }
            Fault::Hold(_) => {
                self.note("hold");
                drop(ends.client.shutdown(Shutdown::Both));
                self.wait_for_later();
            }
            Fault::None | Fault::Delay(_) | Fault::Split(_) => {}
        }
        Ok(())
    }

    /// Waits until another connection has been taken and is a while old.
    fn wait_for_later(&self) {
        let state = self.lock();
        let taken = state.taken;
        let wait = |until: Duration, state: MutexGuard<'_, State>, taken| {
            let idle = |state: &mut State| state.taken == taken && !state.over;
            let waited = self.changed.wait_timeout_while(state, until, idle);
            drop(waited.unwrap_or_else(PoisonError::into_inner).0);
        };
        wait(HELD, state, taken);
        let began = Instant::now();
        while began.elapsed() < AGE && !self.lock().over {
            std::thread::park_timeout(AGE / 10);
        }
    }

    fn note(&self, kind: &'static str) {
        *self.lock().done.entry(kind).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes a piece on while the point at which something happens is not reached.
fn pass(fault: &mut Fault, to: &TcpStream, piece: &[u8]) -> io::Result<()> {
    match *fault {
        Fault::Delay(span) => {
            std::thread::park_timeout(span);
        }
        Fault::Split(count) => {
            let (one_by_one, rest) = piece.split_at(count.min(piece.len()));
            for byte in one_by_one {
                send(to, &[*byte])?;
            }
            *fault = match count - one_by_one.len() {
                0 => Fault::None,
                left => Fault::Split(left),
            };
            return send(to, rest);
        }
        _ => {}
    }
    send(to, piece)
}

impl Fault {
    /// Where in the stream it happens, if it has one place.
    const fn after(self) -> Option<usize> {
        match self {
            Self::None | Self::Delay(_) | Self::Split(_) => None,
            Self::Cut(after) | Self::Reset(after) | Self::Repeat(after, _) | Self::Hold(after) => {
                Some(after)
            }
        }
    }

    const fn is_the_end(self) -> bool {
        matches!(self, Self::Cut(_) | Self::Reset(_) | Self::Hold(_))
    }
}

impl Ends {
    fn shut(&self) {
        for socket in [&self.client, &self.server] {
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// With a linger of zero, closing the sockets resets the connections. Until then whoever
    /// reads from them is woken, and the far ends are told nothing.
    fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
        for socket in [&self.client, &self.server] {
            drop(socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)));
            drop(socket.shutdown(Shutdown::Read));
        }
    }

    /// However a direction ends, its far end sees that no more comes.
    fn finish(&self, to: &TcpStream) {
        if !self.reset.load(Ordering::SeqCst) {
            drop(to.shutdown(Shutdown::Write));
        }
    }
}

fn send(mut to: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a server behind a proxy hears of these words, if its first connections meet this
    /// fault, and a second connection is made after the first.
    fn heard(fault: Fault, words: &[u8]) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let plan = move |number| Plan {
            to_server: if number == 0 { fault } else { Fault::None },
            to_client: Fault::None,
        };
        let proxy = Proxy::with(&server, plan);
        let mut client = TcpStream::connect(&proxy.address).unwrap();
        let mut near = listener.accept().unwrap().0;
        near.set_read_timeout(Some(SOON)).unwrap();
        client.write_all(words).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let later = TcpStream::connect(&proxy.address).unwrap();
        let mut heard = Vec::new();
        // A reset is an error, and what came before it may be lost with it.
        drop(near.read_to_end(&mut heard));
        drop((later, proxy));
        heard
    }

    #[test]
    fn what_befalls_a_connection_is_what_its_plan_says() {
        let words = b"Dionaea muscipula";
        for harmless in [
            Fault::None,
            Fault::Delay(Duration::from_millis(2)),
            Fault::Split(5),
            Fault::Split(100),
            Fault::Cut(100),
            Fault::Hold(7),
        ] {
            assert_eq!(heard(harmless, words), words, "{harmless:?}");
        }
        assert_eq!(heard(Fault::Cut(7), words), b"Dionaea");
        assert_eq!(heard(Fault::Cut(0), words), b"");
        assert_eq!(heard(Fault::Repeat(7, 2), words), b"Dionaeaea muscipula");
        assert!(b"Dionaea".starts_with(&heard(Fault::Reset(7), words)));
    }

    #[test]
    fn a_plan_follows_from_its_seed_and_every_fault_is_in_it() {
        let plans = |seed| (0..1000).map(move |number| Plan::draw(seed, number));
        assert!(plans(1).eq(plans(1)) && !plans(1).eq(plans(2)));
        let faults = |plan: Plan| [plan.to_server, plan.to_client];
        let kinds = plans(1).flat_map(faults).map(|fault| match fault {
            Fault::None => 0,
            Fault::Delay(_) => 1,
            Fault::Split(_) => 2,
            Fault::Cut(_) => 3,
            Fault::Reset(_) => 4,
            Fault::Repeat(..) => 5,
            Fault::Hold(_) => 6,
        });
        let kinds: std::collections::BTreeSet<_> = kinds.collect();
        assert_eq!(kinds, (0..7).collect());
    }
}
