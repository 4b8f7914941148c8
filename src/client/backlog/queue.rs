//! Hits in the order of their numbers: the older ones on disk, those that it does not take in
//! memory.

use crate::client::backlog::held::Held;
use crate::client::backlog::record::{hit, hits_in, to_bytes};
use crate::client::spool::{Spool, SpoolError};
use crate::event::Hit;

/// The most hits that are written in one transaction: on a small disk, one without bound would
/// never fit.
const SLICE: usize = 1024;

/// Hits on disk and in memory.
#[derive(Debug)]
pub struct Queue {
    spool: Spool,
    held: Held,
    /// How many hits the next transaction writes: fewer after one that did not fit.
    slice: usize,
}

/// The oldest hits that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Oldest {
    /// These, the first of which has this number. The numbers of the others follow it.
    Hits(u64, Vec<Hit>),
    /// The record with this number is damaged.
    Damaged(u64),
}

impl Queue {
    /// What is in the spool, and room for so many hits in memory.
    pub const fn new(spool: Spool, room: usize) -> Self {
        Self {
            spool,
            held: Held::new(room),
            slice: SLICE,
        }
    }

    /// The spool, for its counters.
    pub const fn spool(&mut self) -> &mut Spool {
        &mut self.spool
    }

    /// Appends hits, in memory for now.
    pub fn append(&mut self, hits: &mut Vec<Hit>) {
        self.held.append(self.next(), hits);
    }

    /// Writes what is in memory to the spool, in slices; what does not fit stays. Also says how
    /// many hits had to be dropped for it.
    pub fn write(&mut self) -> (u64, Result<(), SpoolError>) {
        let mut dropped = 0;
        while !self.held.is_empty() {
            let (first, hits) = self.held.oldest(0, self.slice);
            // A hit always encodes.
            let records: Vec<_> = hits.iter().flat_map(to_bytes).collect();
            match self.spool.append(first, &records) {
                Ok(records) => {
                    dropped += records.iter().map(hits_in).sum::<u64>();
                    self.held.forget(self.spool.tail());
                    self.slice = self.slice.saturating_mul(2).min(SLICE);
                }
                Err(error) if error.is_want_of_room() && hits.len() > 1 => {
                    self.slice = hits.len() / 2;
                }
                Err(error) => return (dropped, Err(error)),
            }
        }
        (dropped, Ok(()))
    }

    /// Has the numbers of what stays in memory noted, so that no other hit will ever have one of
    /// them, and drops the oldest if there is too much; says how many hits that were.
    pub fn hold(&mut self) -> (u64, Result<(), SpoolError>) {
        let last = self.held.last();
        (self.held.drop_surplus(), self.spool.use_up(last))
    }

    /// The oldest hits with numbers above `after`, at most `most`, as far as their numbers follow
    /// each other without a gap.
    pub fn oldest(&self, after: u64, most: usize) -> Result<Oldest, SpoolError> {
        if self.spool.count() == 0 || self.spool.tail() <= after {
            let (first, hits) = self.held.oldest(after, most);
            return Ok(Oldest::Hits(first, hits));
        }
        let records = self.spool.oldest(after, most)?;
        let Some(first) = records.first().map(|record| record.number) else {
            let (first, hits) = self.held.oldest(after, most);
            return Ok(Oldest::Hits(first, hits));
        };
        let hits: Vec<_> = (first..)
            .zip(&records)
            .take_while(|(number, record)| record.number == *number)
            .map_while(|(_, record)| hit(record))
            .collect();
        Ok(if hits.is_empty() {
            Oldest::Damaged(first)
        } else {
            Oldest::Hits(first, hits)
        })
    }

    /// The number of the oldest hit above `after`; without one, that of the next.
    pub fn first(&self, after: u64) -> Result<u64, SpoolError> {
        let record = self.spool.oldest(after, 1)?;
        Ok(match record.first() {
            Some(record) => record.number,
            None if self.held.is_empty() => self.next(),
            None => self.held.oldest(after, 0).0,
        })
    }

    /// Forgets all hits up to and including this number.
    pub fn forget(&mut self, up_to: u64) -> Result<(), SpoolError> {
        self.held.forget(up_to);
        if self.spool.count() == 0 {
            return Ok(());
        }
        self.spool.forget(up_to)
    }

    /// Whether there is more on the disk than is needed, if all up to `acknowledged` is not.
    pub fn has_waste(&self, acknowledged: u64) -> bool {
        self.spool.count() > self.on_disk(acknowledged)
    }

    /// Makes room for what is in memory: in the spool's log, or if that is not enough and nothing on
    /// the disk is needed behind `acknowledged`, with a fresh spool.
    pub fn make_room(&mut self, acknowledged: u64) -> Result<(), SpoolError> {
        let tidied = self.spool.tidy().and_then(|()| self.spool.settle());
        let is_needed = self.on_disk(acknowledged) > 0;
        match tidied {
            Err(error) if error.is_want_of_room() && !is_needed => self.spool.renew(),
            Err(_) if self.spool.is_gone() => self.spool.renew(),
            tidied => tidied,
        }
    }

    /// How many hits there are with numbers above `after`; in the gaps between them, a number may
    /// be taken for one.
    pub fn len(&self, after: u64) -> u64 {
        self.on_disk(after).saturating_add(self.held.len())
    }

    fn on_disk(&self, after: u64) -> u64 {
        let numbers = self.spool.tail().saturating_sub(after);
        self.spool.count().min(numbers)
    }

    /// How many hits are in memory alone.
    pub fn held(&self) -> u64 {
        self.held.len()
    }

    /// The number of the last hit there is.
    pub fn last(&self) -> u64 {
        if self.held.is_empty() {
            self.spool.tail()
        } else {
            self.held.last()
        }
    }

    fn next(&self) -> u64 {
        let behind_held = self.held.last().saturating_add(1);
        let next = self.spool.next();
        if self.held.is_empty() {
            next
        } else {
            next.max(behind_held)
        }
    }
}
