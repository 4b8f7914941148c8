//! What reports must come to, and what was written of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use vft::fuzzing::event::{ClientId, Hit};
use vft::fuzzing::metrics::ServerMetrics;
use vft::fuzzing::store::queue::{Otherwise, Reading};
use vft::fuzzing::store::record::Change;

/// What is written, and how far each client has come in it.
#[derive(Default)]
pub struct Disk(pub Mutex<Written>);

#[derive(Default)]
pub struct Written {
    pub changes: Vec<Change>,
    pub progress: BTreeMap<ClientId, u64>,
}

impl Disk {
    pub fn run(&self, reading: &Reading, failures: u8) {
        let mut left = failures;
        let mut otherwise = Otherwise::Idle;
        while let Some(batch) = reading.next(otherwise) {
            if left > 0 {
                left -= 1;
                reading.put_back(batch.changes);
                otherwise = Otherwise::Failed(Duration::ZERO);
                continue;
            }
            otherwise = Otherwise::Idle;
            let mut written = self.0.lock().unwrap();
            for change in &batch.changes {
                if let Change::Events {
                    client, progress, ..
                } = change
                {
                    written.progress.insert(*client, *progress);
                }
            }
            written.changes.extend(batch.changes.iter().cloned());
            drop(written);
            reading.done(&batch.changes);
        }
    }
}

/// What the reports that were taken must have come to.
#[derive(Default)]
pub struct Expected {
    pub reports: Vec<Taken>,
    pub welcomes: u64,
    pub failed_proofs: u64,
}

/// A report that was sound, and how far its client had come before.
pub struct Taken {
    pub client: ClientId,
    pub before: u64,
    pub first: u64,
    pub hits: Vec<Hit>,
}

impl Expected {
    /// Compares it with what was written, report by report, and with what was counted.
    pub fn compare(&mut self, changes: &[Change], metrics: &ServerMetrics) {
        let (mut reports, mut hits, mut duplicates) = (self.reports.iter(), 0, 0);
        for change in changes {
            let Change::Events { .. } = change else {
                continue;
            };
            let taken = reports.next().expect("events of no report");
            taken.compare(change);
        }
        assert_eq!(reports.count(), 0, "a report was not written");
        for taken in &self.reports {
            let fresh = taken.fresh().count();
            duplicates += taken.hits.len() - fresh;
            hits += taken
                .fresh()
                .map(|(_, hit)| u64::from(hit.count.get()))
                .sum::<u64>();
        }
        assert_eq!(metrics.reports.get(), self.reports.len() as u64);
        assert_eq!(metrics.duplicates.get(), duplicates as u64);
        assert_eq!(metrics.hits.get() + metrics.refused_hits.get(), hits);
        assert_eq!(metrics.sessions.get(), self.welcomes);
        assert_eq!(metrics.failed_proofs.get(), self.failed_proofs);
    }
}

impl Taken {
    pub fn last(&self) -> u64 {
        self.first + self.hits.len() as u64 - 1
    }

    /// The hits that had not come before, with their numbers.
    pub fn fresh(&self) -> impl Iterator<Item = (u64, &Hit)> {
        (self.first..)
            .zip(&self.hits)
            .filter(|(number, _)| *number > self.before)
    }

    pub fn compare(&self, change: &Change) {
        let Change::Events {
            client,
            events,
            progress,
            gap,
            refused,
            now,
            ..
        } = change
        else {
            unreachable!();
        };
        assert_eq!(*client, self.client);
        assert_eq!(*progress, self.before.max(self.last()));
        let next = self.before + 1;
        let missing = (self.before > 0 && self.first > next).then(|| (next, self.first - 1));
        assert_eq!(*gap, missing);
        let mut fresh = self.fresh();
        let mut left_out = 0;
        for event in events {
            let hit = loop {
                let (number, hit) = fresh.next().expect("an event that is no fresh hit");
                if number == event.sequence {
                    break hit;
                }
                left_out += u64::from(hit.count.get());
            };
            assert_eq!((event.hit, event.client), (*hit, self.client));
            assert!(event.at <= now.after(Duration::from_secs(2)));
            assert_eq!(event.received, *now);
        }
        left_out += fresh
            .map(|(_, hit)| u64::from(hit.count.get()))
            .sum::<u64>();
        assert_eq!(*refused, left_out, "a hit is neither taken in nor refused");
    }
}
