//! Names of clients, and which of them several bear.

use std::collections::HashMap;

use crate::server::correlate::table::Fast;

/// How many clients bear a name.
#[derive(Debug, Default)]
pub struct Names(HashMap<String, u32, Fast>);

impl Names {
    /// One more client bears this name.
    pub fn add(&mut self, name: &str) {
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    /// A client no longer bears this name.
    pub fn remove(&mut self, name: &str) {
        if let Some(bearers) = self.0.get_mut(name) {
            *bearers -= 1;
            if *bearers == 0 {
                self.0.remove(name);
            }
        }
    }

    /// Whether several clients bear this name.
    pub fn is_shared(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|bearers| *bearers > 1)
    }
}
