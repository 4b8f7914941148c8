//! How many connections the settings and the limit on open files leave room for.

use std::fmt;
use std::net::IpAddr;

use log::{info, warn};

use crate::config::server::Limits;
use crate::net::permits::Permits;
use crate::net::permits::places::Bounds;
use crate::server::session::seating::SeatLimits;

/// Descriptors kept for what is not a connection.
const SPARE_DESCRIPTORS: u64 = 64;

/// Fewer sessions than this are worth a warning.
const FEW: usize = 64;

/// How many connections there can be at once.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    sessions: usize,
    unauthenticated: usize,
}

/// The limit on open files is so low that there is no room for a single session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// The limit.
    pub descriptors: u64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let descriptors = self.descriptors;
        write!(
            f,
            "the limit of {descriptors} open files leaves no room for a session"
        )
    }
}

impl Capacity {
    /// As much as the settings and the limit on open files allow; raises the latter as far as it
    /// goes.
    pub fn find(limits: &Limits) -> Result<Self, NoRoom> {
        let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
        // Where there are few, strangers get a quarter at most.
        let unauthenticated = u64::from(limits.unauthenticated).min(descriptors / 4);
        let sessions = descriptors
            .saturating_sub(SPARE_DESCRIPTORS + unauthenticated)
            .min(limits.sessions.into());
        if sessions == 0 {
            return Err(NoRoom { descriptors });
        }
        let count = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            sessions: count(sessions),
            unauthenticated: count(unauthenticated),
        })
    }

    /// Seats for clients.
    pub fn seats(self, limits: &Limits) -> SeatLimits {
        let total = self.sessions;
        let per_address = limits.sessions_per_address(total);
        if total < FEW {
            warn!("room for only {total} sessions: raise the limit on open files (ulimit -n)");
        } else {
            info!("room for {total} sessions, {per_address} of them for one address");
        }
        SeatLimits { total, per_address }
    }

    /// Places for strangers, some of them for `addresses` from which clients came before.
    pub fn permits(self, limits: &Limits, addresses: Vec<IpAddr>) -> Permits {
        let bounds = Bounds {
            total: self.unauthenticated,
            per_address: limits.unauthenticated_per_address.into(),
        };
        let most = usize::try_from(limits.clients).unwrap_or(usize::MAX);
        let permits = Permits::new(bounds, most);
        for address in addresses {
            permits.note(address);
        }
        permits
    }
}
