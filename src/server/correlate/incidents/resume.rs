//! What a restart does to the open incidents: what is known of them from before it has the last
//! word.

use std::collections::{BTreeMap, BTreeSet};

use crate::server::correlate::dormant::Closed;
use crate::server::correlate::incident::Memory;
use crate::server::correlate::incidents::timers::Timers;
use crate::server::correlate::incidents::{Incidents, Key, Open};

impl Incidents {
    /// Takes up what is known from before a restart: what is not in `memories`, by its id or by
    /// what it is about, is not open. The ids of those that are not here are returned.
    pub fn resume(&mut self, memories: &BTreeMap<String, Memory>) -> Vec<String> {
        let mut lost = BTreeMap::new();
        let known: BTreeSet<_> = self.open.values().map(|it| &it.incident.id).collect();
        for (id, memory) in memories.iter().filter(|(id, _)| !known.contains(id)) {
            lost.insert(memory.key, id);
        }
        for key in self.keys() {
            let Some(Open { incident, .. }) = self.open.get_mut(&key).map(|open| &mut **open)
            else {
                continue;
            };
            if !memories.contains_key(&incident.id) {
                if let Some(id) = lost.remove(&key) {
                    incident.id.clone_from(id);
                }
            }
            if let Some(memory) = memories.get(&incident.id) {
                incident.remember(memory);
            } else if let Some(open) = self.take_out(key) {
                self.turnover.closed += u64::from(open.place.is_some());
            }
        }
        self.touched.clear();
        self.timers = Timers::default();
        for key in self.keys() {
            if let Some(open) = self.open.get_mut(&key) {
                open.wake = None;
                self.timers
                    .schedule(key, &open.incident, &mut open.wake, self.spans.quiet);
            }
        }
        lost.into_values().cloned().collect()
    }

    /// Takes up an incident that was closed before a restart.
    pub fn remember_closed(&mut self, key: Key, closed: Closed) {
        if !self.open.contains_key(&key) {
            self.dormant.put(key, closed);
        }
    }
}
