//! When each open incident has to be looked at next.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::Key;

/// A time for each incident at which it has to be looked at, or earlier.
#[derive(Debug, Default)]
pub struct Timers(BTreeSet<(Timestamp, Key)>);

impl Timers {
    /// What is due by `now`, the earliest first.
    pub fn pop(&mut self, now: Timestamp) -> Option<(Timestamp, Key)> {
        let (due, _) = self.0.first()?;
        if *due > now {
            return None;
        }
        self.0.pop_first()
    }

    /// Forgets an incident's time.
    pub fn cancel(&mut self, key: Key, wake: Option<Timestamp>) {
        if let Some(wake) = wake {
            self.0.remove(&(wake, key));
        }
    }

    /// Sees to it that an incident is looked at when it has to be.
    pub fn schedule(
        &mut self,
        key: Key,
        incident: &Incident,
        wake: &mut Option<Timestamp>,
        quiet: Duration,
    ) {
        // To be woken too early costs little; an end that moves away with each hit stays put.
        if wake.is_some_and(|known| known <= incident.not_before(quiet)) {
            return;
        }
        let end = ends(key, incident, quiet);
        let Some(next) = end.into_iter().chain(incident.next_update()).min() else {
            return;
        };
        if wake.is_some_and(|known| known <= next) {
            return;
        }
        let former = wake.replace(next);
        self.cancel(key, former);
        self.0.insert((next, key));
    }
}

/// When an incident is over, if that is a matter of time.
pub fn ends(key: Key, incident: &Incident, quiet: Duration) -> Option<Timestamp> {
    match key {
        Key::Scan(_) | Key::Health(..) => Some(incident.ends(quiet)),
        Key::Silence(_) => None,
    }
}
