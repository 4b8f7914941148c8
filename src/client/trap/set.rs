//! The traps a client holds: one thread for each listening socket.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;

use log::{info, warn};

use crate::client::open_ports::OpenPorts;
use crate::client::trap::funnel::Funnel;
use crate::client::trap::open::{Unfit, open};
use crate::clock;
use crate::event::{Hit, Probe, Timestamp};
use crate::metrics::ClientMetrics;
use crate::net::accept::{Remedy, remedy};
use crate::net::listen::Waker;
use crate::seldom::Seldom;
use crate::shutdown::{Registration, Stop};
use crate::threads::Watch;

/// All traps of a client.
#[derive(Debug)]
pub struct TrapSet {
    addresses: Vec<IpAddr>,
    funnel: Funnel,
    metrics: Arc<ClientMetrics>,
    stop: Stop,
    traps: BTreeMap<u16, Trap>,
    open: OpenPorts,
}

/// How a change of the traps went.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Ports another program holds.
    pub taken: Vec<u16>,
    /// Ports that need a privilege.
    pub forbidden: Vec<u16>,
    /// Ports that failed otherwise, with the last reason.
    pub failed: Option<(u16, String)>,
}

#[derive(Debug)]
struct Trap {
    /// Those that no thread accepts on yet.
    listeners: Vec<TcpListener>,
    stop: Stop,
    _with_the_process: Registration,
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.stop.request();
    }
}

impl TrapSet {
    /// No traps yet; they will be at `addresses`, or at all of the host's if there are none.
    pub fn new(
        addresses: Vec<IpAddr>,
        funnel: Funnel,
        metrics: Arc<ClientMetrics>,
        stop: Stop,
    ) -> Self {
        let (traps, open) = (BTreeMap::new(), OpenPorts::default());
        Self {
            addresses,
            funnel,
            metrics,
            stop,
            traps,
            open,
        }
    }

    /// The ports that are traps right now.
    pub const fn open_ports(&self) -> &OpenPorts {
        &self.open
    }

    /// Makes the first `count` ports of `order` that can be bound the traps, and closes the
    /// others. Traps that stay are not touched. New ones only listen, until [`Self::guard`].
    pub fn bind(&mut self, order: impl IntoIterator<Item = u16>, count: usize) -> Outcome {
        let mut outcome = Outcome::default();
        let mut traps = BTreeMap::new();
        for port in order {
            if traps.len() == count {
                break;
            }
            if let Some(kept) = self.traps.remove(&port) {
                traps.insert(port, kept);
                continue;
            }
            match open(port, &self.addresses) {
                Ok(listeners) => {
                    traps.insert(port, Trap::new(listeners, &self.stop));
                }
                Err(unfit) => outcome.note(port, &unfit),
            }
        }
        self.traps = traps;
        self.open.set(self.traps.keys().copied().collect());
        outcome
    }

    /// Starts a thread for each listener that has none.
    ///
    /// Errors are the system's: no thread, or no descriptor.
    pub fn guard(&mut self, watch: &Watch) -> io::Result<()> {
        for (&port, trap) in &mut self.traps {
            for listener in trap.listeners.drain(..) {
                let waker = Waker::new(&listener)?;
                let guard = Guard {
                    listener,
                    port,
                    stop: trap.stop.clone(),
                    funnel: self.funnel.clone(),
                    metrics: Arc::clone(&self.metrics),
                };
                drop(watch.spawn(&format!("trap-{port}"), move || guard.run(waker))?);
            }
        }
        Ok(())
    }
}

impl Trap {
    /// A trap that closes with the process, if not before.
    fn new(listeners: Vec<TcpListener>, process: &Stop) -> Self {
        let stop = Stop::new();
        let follower = stop.clone();
        Self {
            listeners,
            stop,
            _with_the_process: process.on_request(move || follower.request()),
        }
    }
}

impl Outcome {
    fn note(&mut self, port: u16, unfit: &Unfit) {
        info!("port {port} cannot be a trap: {unfit}");
        match unfit {
            Unfit::Taken => self.taken.push(port),
            Unfit::Forbidden => self.forbidden.push(port),
            Unfit::Other(..) => self.failed = Some((port, unfit.to_string())),
        }
    }
}

/// The longest queue a listener can have.
const QUEUE: u32 = 65_535;

/// One listening socket and the thread on it.
struct Guard {
    listener: TcpListener,
    port: u16,
    stop: Stop,
    funnel: Funnel,
    metrics: Arc<ClientMetrics>,
}

impl Guard {
    fn run(self, waker: Waker) {
        let _wake = self.stop.on_request(move || waker.wake());
        let seldom = Seldom::default();
        while !self.stop.is_requested() {
            match self.listener.accept() {
                Ok((connection, peer)) => self.catch(connection, peer),
                Err(_) if self.stop.is_requested() => break,
                Err(error) => {
                    self.metrics.accept_errors.one();
                    if let Remedy::Wait(span) = remedy(&error) {
                        if let Some(left_out) = seldom.line(clock::monotonic()) {
                            let port = self.port;
                            warn!("trap {port}: cannot accept: {error}; trying on{left_out}");
                        }
                        self.stop.wait(span);
                    }
                }
            }
        }
        self.empty_queue();
    }

    /// Whoever was connected before the trap closes is a hit as well.
    fn empty_queue(&self) {
        if self.listener.set_nonblocking(true).is_ok() {
            // Those who come while the queue is emptied are not waited for.
            for _ in 0..QUEUE {
                let Ok((connection, peer)) = self.listener.accept() else {
                    return;
                };
                self.catch(connection, peer);
            }
        }
    }

    fn catch(&self, connection: TcpStream, peer: SocketAddr) {
        drop(connection);
        let now = Timestamp::from(clock::wall());
        self.funnel.put(Hit {
            first: now,
            last: now,
            source: peer.ip().to_canonical(),
            source_port: peer.port(),
            trap_port: self.port,
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        });
    }
}
