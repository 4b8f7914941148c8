//! The way from the traps to whoever gathers their hits.
//!
//! A bounded channel, and beside it a table for what does not fit: there hits merge by source,
//! trap and probe with their count, so that a flood costs a line and not a line a connection.
//!
//! Nothing stays behind in the table: a trap puts a hit there only while it holds the table's
//! lock and the channel is full, and whoever gathers empties the table each time after the
//! channel. So a hit in the table is always behind one in the channel that is still to be taken.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::event::{Absorbed, Hit, Probe};
use crate::metrics::ClientMetrics;

/// Hits the channel holds: some 50 ms of a storm. They are resident from the start.
pub const CAPACITY: usize = 4096;

/// Lines the table holds. It is emptied every few milliseconds; what is more is counted as
/// dropped.
const MAX_LINES: usize = 65_536;

type Table = HashMap<(IpAddr, u16, Probe), Hit>;

/// The traps' end.
#[derive(Clone, Debug)]
pub struct Funnel {
    hits: Sender<Hit>,
    overflow: Arc<Mutex<Table>>,
    metrics: Arc<ClientMetrics>,
}

/// The gatherer's end.
#[derive(Debug)]
pub struct Spout {
    hits: Receiver<Hit>,
    overflow: Arc<Mutex<Table>>,
}

/// Both ends of a funnel whose channel holds `capacity` hits.
pub fn funnel(capacity: usize, metrics: Arc<ClientMetrics>) -> (Funnel, Spout) {
    let (sender, receiver) = bounded(capacity);
    let overflow = Arc::default();
    let spout = Spout {
        hits: receiver,
        overflow: Arc::clone(&overflow),
    };
    (
        Funnel {
            hits: sender,
            overflow,
            metrics,
        },
        spout,
    )
}

impl Funnel {
    /// Sends a hit on its way; never waits.
    pub fn put(&self, hit: Hit) {
        self.metrics.hits.add(hit.count.get().into());
        if let Err(TrySendError::Full(hit)) = self.hits.try_send(hit) {
            self.put_aside(hit);
        }
    }

    fn put_aside(&self, hit: Hit) {
        let mut table = lock(&self.overflow);
        let Err(TrySendError::Full(hit)) = self.hits.try_send(hit) else {
            return;
        };
        let key = (hit.source, hit.trap_port, hit.probe);
        let full = table.len() >= MAX_LINES;
        let taken = match table.get_mut(&key) {
            Some(line) => line.absorb(&hit),
            None if full => Absorbed::Not,
            None => {
                table.insert(key, hit);
                Absorbed::Whole
            }
        };
        if taken == Absorbed::Not {
            self.metrics.dropped.add(hit.count.get().into());
        }
    }
}

/// What came out of a funnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poured {
    /// Perhaps some hits; there may be more later.
    Some,
    /// All traps are gone, and all their hits have been taken.
    All,
}

impl Spout {
    /// Waits up to `patience` for a hit, and appends all that are there to `hits`, alike ones
    /// merged.
    pub fn pour(&self, patience: Duration, hits: &mut Vec<Hit>) -> Poured {
        let mut merger = Merger::new(hits);
        let poured = match self.hits.recv_timeout(patience) {
            Ok(hit) => {
                merger.take(hit);
                Poured::Some
            }
            Err(RecvTimeoutError::Timeout) => Poured::Some,
            Err(RecvTimeoutError::Disconnected) => Poured::All,
        };
        for hit in self.hits.try_iter().take(CAPACITY) {
            merger.take(hit);
        }
        let mut aside: Vec<_> = lock(&self.overflow).drain().map(|(_, hit)| hit).collect();
        aside.sort_unstable_by_key(|hit| (hit.first, hit.source, hit.trap_port));
        for hit in aside {
            merger.take(hit);
        }
        poured
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Merges alike hits while they are gathered.
struct Merger<'a> {
    hits: &'a mut Vec<Hit>,
    lines: HashMap<(IpAddr, u16, Probe), usize>,
}

impl<'a> Merger<'a> {
    fn new(hits: &'a mut Vec<Hit>) -> Self {
        Self {
            hits,
            lines: HashMap::new(),
        }
    }

    fn take(&mut self, hit: Hit) {
        let line = self.lines.entry((hit.source, hit.trap_port, hit.probe));
        let line = line.or_insert(self.hits.len());
        let absorbed = self
            .hits
            .get_mut(*line)
            .map_or(Absorbed::Not, |into| into.absorb(&hit));
        if absorbed == Absorbed::Not {
            *line = self.hits.len();
            self.hits.push(hit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use std::num::NonZeroU32;

    fn hit(source: u8, micros: u64) -> Hit {
        let at = Timestamp::from_micros(micros);
        Hit {
            first: at,
            last: at,
            source: IpAddr::from([192, 0, 2, source]),
            source_port: 1000,
            trap_port: 22,
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        }
    }

    #[test]
    fn what_does_not_fit_merges_by_source_and_none_is_lost() {
        let metrics = Arc::new(ClientMetrics::default());
        let (funnel, spout) = funnel(2, Arc::clone(&metrics));
        for n in 0..100 {
            funnel.put(hit(u8::from(n % 2 == 0), n));
        }
        let mut hits = Vec::new();
        assert_eq!(spout.pour(Duration::ZERO, &mut hits), Poured::Some);
        let counts: Vec<_> = hits
            .iter()
            .map(|hit| (hit.source, hit.count.get()))
            .collect();
        assert_eq!(
            counts,
            [([192, 0, 2, 1].into(), 50), ([192, 0, 2, 0].into(), 50)]
        );
        assert_eq!(
            (hits[0].first.as_micros(), hits[0].last.as_micros()),
            (0, 98)
        );
        assert_eq!((metrics.hits.get(), metrics.dropped.get()), (100, 0));
    }

    #[test]
    fn the_end_of_the_traps_is_seen_after_their_last_hit() {
        let (funnel, spout) = funnel(2, Arc::default());
        funnel.put(hit(1, 1));
        drop(funnel);
        let mut hits = Vec::new();
        assert_eq!(spout.pour(Duration::ZERO, &mut hits), Poured::Some);
        assert_eq!(hits.len(), 1);
        assert_eq!(spout.pour(Duration::ZERO, &mut hits), Poured::All);
    }

    #[test]
    fn a_count_that_would_overflow_starts_a_new_line() {
        let (funnel, spout) = funnel(2, Arc::default());
        funnel.put(Hit {
            count: NonZeroU32::MAX,
            ..hit(1, 1)
        });
        funnel.put(hit(1, 2));
        let mut hits = Vec::new();
        spout.pour(Duration::ZERO, &mut hits);
        assert_eq!(
            hits.iter().map(|hit| hit.count.get()).collect::<Vec<_>>(),
            [u32::MAX, 1]
        );
    }
}
