//! What a client must know and say.

use std::num::NonZeroU32;

use vft::fuzzing::backlog::Backlog;
use vft::fuzzing::event::{Hit, Probe, Timestamp};
use vft::fuzzing::message::{Ack, MAX_HITS, Report};

use crate::input::{MANY, Server};

/// What must be. Hits are counted from 1 in the order in which they came.
#[derive(Default)]
pub struct Model {
    /// How many there are.
    pub total: u64,
    /// Up to here a server has said that they are durable.
    pub gone: u64,
    /// Up to here this session's server has said that it has received them.
    pub sent: u64,
    /// Up to here they were reported in this session.
    pub offered: u64,
    /// Up to here they were ever reported.
    pub given: u64,
    /// What is added for this session's server.
    pub shift: i128,
    /// What was agreed with either.
    pub agreed: [Option<i128>; 2],
}

impl Model {
    pub fn gather(&mut self, backlog: &Backlog, hits: u8) {
        let hits = match hits {
            ..MANY => u64::from(hits % 24),
            MANY.. => MAX_HITS as u64 + 6,
        };
        let last = self.total + hits;
        backlog.append(&mut (self.total + 1..=last).map(hit).collect());
        self.total = last;
    }

    pub fn begin(&mut self) {
        (self.sent, self.offered) = (0, 0);
    }

    /// A server welcomes the client and has come as far as this.
    pub fn welcomed(&mut self, server: Server, known: u64) {
        let known = i128::from(known);
        let agreed = &mut self.agreed[server as usize];
        match *agreed {
            Some(shift) if known - shift <= i128::from(self.given) => {
                self.shift = shift;
                self.gone = self.gone.max(u64::try_from(known - shift).unwrap_or(0));
            }
            _ => {
                // A server that is ahead of all that was ever reported has seen all of that.
                if agreed.is_some() {
                    self.gone = self.gone.max(self.given);
                }
                let oldest = i128::from(self.gone) + 1;
                self.shift = if known == 0 { 0 } else { known + 1 - oldest };
                *agreed = Some(self.shift);
            }
        }
    }

    pub fn acknowledged(&mut self, ack: Ack) {
        let most = self.offered.max(self.gone);
        let here = |number| {
            let number = i128::from(number) - self.shift;
            u64::try_from(number.max(0)).unwrap_or(u64::MAX).min(most)
        };
        let (received, durable) = (here(ack.received), here(ack.durable));
        self.sent = self.sent.max(received);
        self.gone = self.gone.max(durable);
    }

    pub fn reported(&mut self, report: &Report) {
        let first = self.gone.max(self.sent) + 1;
        let last = self.total.min(first + MAX_HITS as u64 - 1);
        let expected: Vec<_> = (first..=last).map(hit).collect();
        let base = Timestamp::from_micros(report.base);
        let said: Vec<_> = report
            .hits
            .iter()
            .map(|record| record.hit(base).unwrap())
            .collect();
        assert_eq!(said, expected);
        assert_eq!(i128::from(report.first_sequence), self.number(first));
        self.offered = last;
        self.given = self.given.max(last);
    }

    /// What a hit's number is for this session's server.
    pub fn number(&self, hit: u64) -> i128 {
        i128::from(hit) + self.shift
    }

    /// The last number that this session's server can know of.
    pub fn last(&self) -> u64 {
        let last = self.offered.max(self.sent).max(self.gone);
        u64::try_from(self.number(last).max(0)).unwrap()
    }
}

pub fn hit(number: u64) -> Hit {
    let time = Timestamp::from_micros(1_795_000_000_000_000 + number);
    Hit {
        first: time,
        last: time,
        source: [192, 0, 2, 1].into(),
        source_port: 40_000,
        trap_port: 22,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    }
}
