//! How far hits have come, and which numbers a server knows them by.
//!
//! All numbers are the spool's, but for those that come from a server or go to one.

use crate::wire::message::Ack;

/// How far hits have come, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    /// Up to here a server has everything on its disk.
    acknowledged: u64,
    /// Up to here the server of this session has everything.
    sent: u64,
    /// Up to here hits were handed out in this session.
    offered: u64,
    /// Up to here hits were handed out ever, as far as is known.
    given: u64,
    /// What to add to a number for the server of this session.
    shift: i64,
}

/// What a server's numbers mean that has just welcomed the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The shift that was agreed with it before still fits.
    Kept,
    /// There is none that fits: what it does not have begins behind what it has.
    New,
}

impl Numbering {
    /// Before the first session. The last number that was used in an earlier process is `last`,
    /// and nothing is needed any more up to `acknowledged`.
    pub const fn new(last: u64, acknowledged: u64) -> Self {
        Self {
            acknowledged,
            sent: 0,
            offered: 0,
            given: last,
            shift: 0,
        }
    }

    /// Up to here everything can be forgotten.
    pub const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Up to here nothing has to be sent in this session.
    pub fn done(&self) -> u64 {
        self.acknowledged.max(self.sent)
    }

    /// Notes that `hits` hits from this number on are handed out; returns the number as the server
    /// knows it.
    pub fn offer(&mut self, first: u64, hits: u64) -> u64 {
        self.offered = first.saturating_add(hits).saturating_sub(1);
        self.given = self.given.max(self.offered);
        shifted(first, self.shift)
    }

    /// Takes up how far the server says that hits have come, and returns up to where they can be
    /// forgotten. What was not handed out in this session is not touched, whatever it says.
    pub fn acknowledge(&mut self, ack: Ack) -> u64 {
        let offered = self.offered.max(self.acknowledged);
        let (received, durable) = (self.here(ack.received), self.here(ack.durable));
        self.sent = self.sent.max(received.min(offered));
        self.forget(durable.min(offered))
    }

    /// Notes that everything up to this number can be forgotten; returns up to where that is.
    pub fn forget(&mut self, up_to: u64) -> u64 {
        self.acknowledged = self.acknowledged.max(up_to);
        self.acknowledged
    }

    /// Begins a session with a server that has come to `known`, 0 if it does not know the client.
    /// `agreed` is the shift that was agreed with it. What it has is forgotten.
    ///
    /// A server that is ahead of all numbers that were ever handed out has seen a later state of
    /// this spool, which was put back since. So it has all that was handed out before, too, and
    /// what has come since has never been sent.
    pub fn begin(&mut self, known: u64, agreed: Option<i64>) -> Agreement {
        (self.sent, self.offered) = (0, 0);
        let Some(shift) = agreed else {
            return Agreement::New;
        };
        self.shift = shift;
        let here = self.here(known);
        self.forget(here.min(self.given));
        if here <= self.given {
            Agreement::Kept
        } else {
            Agreement::New
        }
    }

    /// Agrees with a server that has come to `known` that the hit with the number `first` comes
    /// behind it. One that does not know the client is given the numbers as they are.
    pub fn agree(&mut self, known: u64, first: u64) -> i64 {
        self.shift = match known {
            0 => 0,
            _ => difference(known.saturating_add(1), first),
        };
        self.shift
    }

    /// A server's number, as the spool knows it.
    fn here(&self, number: u64) -> u64 {
        shifted(number, self.shift.saturating_neg())
    }
}

fn shifted(number: u64, by: i64) -> u64 {
    number.saturating_add_signed(by)
}

fn difference(a: u64, b: u64) -> i64 {
    let signed = |number| i64::try_from(number).unwrap_or(i64::MAX);
    signed(a).saturating_sub(signed(b))
}
