//! Hits that the server has not acknowledged yet, with their numbers, in bounded memory.
//!
//! Numbers count from 1 for the client's life. A client that has just started does not know how
//! far it had come; it learns that from the server at its first welcome and numbers its hits then.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Hit;
use crate::metrics::ClientMetrics;

/// The most hits that wait (merged ones count once): some 16 MiB.
pub const CAPACITY: usize = 262_144;

/// The queue between whoever gathers hits and whoever reports them.
#[derive(Debug)]
pub struct Backlog {
    capacity: usize,
    metrics: Arc<ClientMetrics>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    hits: VecDeque<Hit>,
    /// The number of the first of `hits`.
    first: u64,
    numbering: Numbering,
    inflow: Inflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbering {
    Provisional,
    Agreed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inflow {
    Open,
    Ended,
}

impl Inner {
    fn forget(&mut self, up_to: u64) {
        while self.first <= up_to && self.hits.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// What there is to do for whoever reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Hits wait.
    Hits,
    /// Nothing came in time.
    Nothing,
    /// Nothing waits, and nothing will come any more.
    Done,
}

impl Backlog {
    /// Room for `capacity` hits.
    pub fn new(capacity: usize, metrics: Arc<ClientMetrics>) -> Self {
        let inner = Inner {
            hits: VecDeque::new(),
            first: 1,
            numbering: Numbering::Provisional,
            inflow: Inflow::Open,
        };
        Self {
            capacity,
            metrics,
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    /// Appends hits. When there is no room the oldest are dropped and counted; their numbers stay
    /// unused, so that the server sees the gap.
    pub fn append(&self, hits: &mut Vec<Hit>) {
        if hits.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.hits.extend(hits.drain(..));
        while inner.hits.len() > self.capacity {
            if let Some(oldest) = inner.hits.pop_front() {
                inner.first += 1;
                self.metrics.dropped.add(oldest.count.get().into());
            }
        }
        self.changed.notify_one();
    }

    /// Says that no more hits will be appended.
    pub fn end(&self) {
        self.lock().inflow = Inflow::Ended;
        self.changed.notify_one();
    }

    /// Waits up to `patience` for something to do.
    pub fn wait(&self, patience: Duration) -> Work {
        let idle = |inner: &mut Inner| inner.hits.is_empty() && inner.inflow == Inflow::Open;
        let waited = self.changed.wait_timeout_while(self.lock(), patience, idle);
        let inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        match (inner.hits.is_empty(), inner.inflow) {
            (false, _) => Work::Hits,
            (true, Inflow::Open) => Work::Nothing,
            (true, Inflow::Ended) => Work::Done,
        }
    }

    /// Waits up to `patience` for the last hit to have been appended.
    pub fn settle(&self, patience: Duration) -> Work {
        let open = |inner: &mut Inner| inner.inflow == Inflow::Open;
        drop(self.changed.wait_timeout_while(self.lock(), patience, open));
        self.wait(Duration::ZERO)
    }

    /// The oldest `most` hits and the number of the first of them. They stay until they are
    /// acknowledged.
    pub fn oldest(&self, most: usize) -> (u64, Vec<Hit>) {
        let inner = self.lock();
        (inner.first, inner.hits.iter().take(most).copied().collect())
    }

    /// Forgets all hits up to and including this number.
    pub fn acknowledge(&self, up_to: u64) {
        self.lock().forget(up_to);
    }

    /// Takes up the server's word on how far it has come with this client. `None` means that the
    /// server knows nothing of it, and the numbers go on as they are.
    pub fn resume(&self, acknowledged: Option<u64>) {
        let mut inner = self.lock();
        match inner.numbering {
            Numbering::Provisional => {
                inner.first = inner.first.saturating_add(acknowledged.unwrap_or(0));
                inner.numbering = Numbering::Agreed;
            }
            Numbering::Agreed => inner.forget(acknowledged.unwrap_or(0)),
        }
    }

    /// How many hits wait (merged ones count once).
    pub fn len(&self) -> usize {
        self.lock().hits.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Probe, Timestamp};
    use std::num::NonZeroU32;

    fn hit(n: u64) -> Hit {
        Hit {
            first: Timestamp::from_micros(n),
            last: Timestamp::from_micros(n),
            source: [192, 0, 2, 1].into(),
            source_port: 1,
            trap_port: 2,
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        }
    }

    fn backlog(capacity: usize, hits: u64) -> (Backlog, Arc<ClientMetrics>) {
        let metrics = Arc::new(ClientMetrics::default());
        let backlog = Backlog::new(capacity, Arc::clone(&metrics));
        backlog.append(&mut (1..=hits).map(hit).collect());
        (backlog, metrics)
    }

    #[test]
    fn hits_stay_until_they_are_acknowledged() {
        let (backlog, _) = backlog(10, 3);
        backlog.resume(None);
        assert_eq!(backlog.oldest(2), (1, vec![hit(1), hit(2)]));
        backlog.acknowledge(2);
        assert_eq!(backlog.oldest(2), (3, vec![hit(3)]));
        backlog.acknowledge(99);
        assert_eq!(
            (backlog.oldest(2), backlog.wait(Duration::ZERO)),
            ((4, vec![]), Work::Nothing)
        );
    }

    #[test]
    fn a_client_that_starts_again_goes_on_where_the_server_is() {
        let (backlog, _) = backlog(10, 2);
        backlog.resume(Some(40));
        assert_eq!(backlog.oldest(1).0, 41);
    }

    #[test]
    fn later_welcomes_only_acknowledge() {
        let (backlog, _) = backlog(10, 3);
        backlog.resume(None);
        backlog.resume(Some(2));
        assert_eq!(backlog.oldest(9), (3, vec![hit(3)]));
        backlog.resume(None);
        assert_eq!(backlog.oldest(9), (3, vec![hit(3)]));
    }

    #[test]
    fn what_is_dropped_for_want_of_room_is_counted_and_leaves_a_gap() {
        let (backlog, metrics) = backlog(2, 5);
        backlog.resume(Some(10));
        assert_eq!(backlog.oldest(9), (14, vec![hit(4), hit(5)]));
        assert_eq!(metrics.dropped.get(), 3);
    }

    #[test]
    fn the_end_shows_when_all_is_done() {
        let (backlog, _) = backlog(2, 1);
        backlog.end();
        assert_eq!(backlog.wait(Duration::ZERO), Work::Hits);
        backlog.acknowledge(1);
        assert_eq!(backlog.wait(Duration::from_secs(3600)), Work::Done);
    }
}
