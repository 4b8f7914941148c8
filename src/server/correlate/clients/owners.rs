//! How many clients hold a trap on a port, as far as they have said.

use std::collections::HashMap;

use crate::server::correlate::table::Fast;

/// Counts of clients by trap port.
#[derive(Debug, Default)]
pub struct Owners(HashMap<u16, u64, Fast>);

impl Owners {
    /// One more client holds these traps, each named once.
    pub fn add(&mut self, traps: &[u16]) {
        for port in traps {
            *self.0.entry(*port).or_default() += 1;
        }
    }

    /// A client no longer holds these traps, which it held.
    pub fn remove(&mut self, traps: &[u16]) {
        for port in traps {
            if let Some(owners) = self.0.get_mut(port) {
                *owners -= 1;
                if *owners == 0 {
                    self.0.remove(port);
                }
            }
        }
    }

    /// How many clients hold a trap on this port.
    pub fn of(&self, port: u16) -> u64 {
        self.0.get(&port).copied().unwrap_or(0)
    }
}
