//! Which ports are traps right now: set by whoever holds the traps, read by whoever reports them.

use std::sync::{Arc, Mutex, PoisonError};

/// The ports that are traps right now. Copies show the same ports.
#[derive(Clone, Debug, Default)]
pub struct OpenPorts(Arc<Mutex<Vec<u16>>>);

impl OpenPorts {
    /// The ports in ascending order.
    pub fn get(&self) -> Vec<u16> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// From now on it is these ports, which come in ascending order.
    pub fn set(&self, ports: Vec<u16>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }
}
