//! Clients in four bytes.

use std::collections::{HashMap, VecDeque};

use crate::event::ClientId;
use crate::server::correlate::table::Fast;

/// A client in four bytes: small numbers, used again some time after a client was forgotten. 0 is
/// nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u32);

impl Handle {
    /// Its place in a list.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }
}

/// Who bears which handle.
#[derive(Debug, Default)]
pub struct Handles {
    bearers: Vec<Option<ClientId>>,
    of: HashMap<ClientId, Handle, Fast>,
    /// In the order in which they became free.
    free: VecDeque<Handle>,
}

/// So many rest before the first of them is used again: what is remembered of a source names its
/// clients by their handles, and must not name another one.
const AT_REST: usize = 16_384;

impl Handles {
    /// A client's handle.
    pub fn of(&self, id: ClientId) -> Handle {
        self.of.get(&id).copied().unwrap_or_default()
    }

    /// Who bears a handle.
    pub fn bearer(&self, handle: Handle) -> Option<ClientId> {
        self.bearers.get(handle.index()).copied().flatten()
    }

    /// Gives a client a handle.
    pub fn give(&mut self, id: ClientId) -> Handle {
        if self.bearers.is_empty() {
            self.bearers.push(None);
        }
        let rested = self.free.len() > AT_REST;
        let handle = rested.then(|| self.free.pop_front()).flatten();
        let handle = handle.unwrap_or_else(|| {
            self.bearers.push(None);
            Handle(u32::try_from(self.bearers.len() - 1).unwrap_or(0))
        });
        if let Some(bearer) = self.bearers.get_mut(handle.index()) {
            *bearer = Some(id);
        }
        self.of.insert(id, handle);
        handle
    }

    /// Takes a handle back, which is free from then on.
    pub fn take(&mut self, handle: Handle) {
        let bearer = self.bearers.get_mut(handle.index());
        if let Some(id) = bearer.and_then(Option::take) {
            self.of.remove(&id);
            self.free.push_back(handle);
        }
    }
}
