//! Hits as detectors see them.

use std::net::IpAddr;

use crate::event::{ClientId, Event, Probe, Timestamp};
use crate::server::correlate::clients::Handle;
use crate::server::correlate::window::Moment;

/// A hit as detectors see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When it happened.
    pub at: Timestamp,
    /// Who touched the trap.
    pub source: IpAddr,
    /// The client whose trap it was.
    pub client: ClientId,
    /// The same, shorter.
    pub handle: Handle,
    /// The trap's port.
    pub port: u16,
    /// How many times.
    pub count: u32,
}

impl Sighting {
    /// An event as detectors see it.
    pub const fn new(event: &Event, handle: Handle) -> Self {
        Self {
            at: event.at,
            source: event.hit.source,
            client: event.client,
            handle,
            port: event.hit.trap_port,
            count: event.hit.count.get(),
        }
    }
}

/// A port of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Trap(u64);

impl Trap {
    /// This port of this client.
    pub const fn new(client: Handle, port: u16) -> Self {
        Self((client.0 as u64) << 16 | port as u64)
    }

    /// As a number that no other trap has.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whose it is.
    pub fn handle(self) -> Handle {
        Handle(u32::try_from(self.0 >> 16).unwrap_or(u32::MAX))
    }

    /// Its port.
    pub fn port(self) -> u16 {
        u16::try_from(self.0 & 0xffff).unwrap_or(0)
    }
}

impl Moment for Sighting {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn trap(&self) -> Trap {
        Trap::new(self.handle, self.port)
    }
}

/// Whether a source has shown that it is there: a bare packet can bear anybody's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It has finished a handshake.
    Connected,
    /// It has not.
    PacketsOnly,
}

impl From<Probe> for Proof {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Connect => Self::Connected,
            Probe::Syn | Probe::Fin | Probe::Null | Probe::Xmas | Probe::Udp => Self::PacketsOnly,
        }
    }
}
