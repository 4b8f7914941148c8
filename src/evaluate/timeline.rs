//! All generators merged into one stream of events, in order of time.
//!
//! Each generator knows when it touches a trap next, and a heap knows which of them comes first. So
//! the stream is made as it is read: memory grows with the generators and not with the events, and
//! nothing is allocated for an event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::evaluate::dice::Dice;
use crate::evaluate::fleet::{Fleet, Trap};
use crate::evaluate::noise::{Clumsy, Flood, Routine};
use crate::evaluate::scanner::Scanner;
use crate::event::{Event, Hit, Probe, Timestamp};

/// Who touches a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// An attacker: the number of its campaign.
    Attacker(usize),
    /// Somebody who makes a mistake, or is one of a flood.
    Noise,
    /// A monitor that is set up wrong.
    Monitor,
    /// A cron job that is set up wrong.
    CronJob,
    /// The scanner that the allow-list names.
    Allowed,
}

/// One touch of a trap, without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// From where.
    pub source: IpAddr,
    /// From which port.
    pub source_port: u16,
    /// Of which trap.
    pub trap: Trap,
    /// How it is seen.
    pub probe: Probe,
    /// How many times at once.
    pub count: NonZeroU32,
}

/// A touch, and how long until the same generator's next one; none if it was the last.
pub type Next = (Touch, Option<Duration>);

impl Touch {
    /// A single touch.
    pub fn new(source: IpAddr, trap: Trap, probe: Probe, dice: &mut Dice) -> Self {
        Self {
            source,
            // A port of those that systems take for connections they make.
            source_port: u16::try_from(dice.below(28_232))
                .unwrap_or(0)
                .saturating_add(32_768),
            trap,
            probe,
            count: NonZeroU32::MIN,
        }
    }
}

/// Whatever touches traps.
#[derive(Clone, Debug)]
pub enum Generator {
    /// An attacker, or the allowed scanner.
    Scanner(Scanner),
    /// Somebody who makes mistakes.
    Clumsy(Clumsy),
    /// A monitor or a cron job.
    Routine(Routine),
    /// A flood.
    Flood(Flood),
}

impl Generator {
    fn touch(&mut self, fleet: &Fleet) -> Option<Next> {
        match self {
            Self::Scanner(scanner) => scanner.touch(),
            Self::Clumsy(clumsy) => clumsy.touch(fleet),
            Self::Routine(routine) => routine.touch(),
            Self::Flood(flood) => flood.touch(fleet),
        }
    }
}

/// The time at which every evaluation begins: midnight, 1 January 2027, UTC.
pub const BEGIN: Timestamp = Timestamp::from_micros(1_798_761_600_000_000);

/// The stream: an iterator over events and who is behind them.
#[derive(Debug)]
pub struct Timeline<'a> {
    fleet: &'a Fleet,
    end: Timestamp,
    generators: Vec<(Party, Generator)>,
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
    sequences: Vec<u64>,
}

impl<'a> Timeline<'a> {
    /// A stream that nothing is in yet, over so long a time.
    pub fn new(fleet: &'a Fleet, duration: Duration) -> Self {
        Self {
            fleet,
            end: BEGIN.after(duration),
            generators: Vec::new(),
            due: BinaryHeap::new(),
            sequences: vec![0; fleet.clients.len()],
        }
    }

    /// When it ends.
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// Puts in a generator that does something for the first time so long after the beginning.
    pub fn add(&mut self, party: Party, first: Duration, generator: Generator) {
        let first = BEGIN.after(first);
        if first < self.end {
            self.due.push(Reverse((first, self.generators.len())));
            self.generators.push((party, generator));
        }
    }

    fn event(&mut self, at: Timestamp, touch: &Touch) -> Option<Event> {
        let place = usize::try_from(touch.trap.client).ok()?;
        let sequence = self.sequences.get_mut(place)?;
        *sequence += 1;
        Some(Event {
            client: self.fleet.clients.get(place)?.id,
            sequence: *sequence,
            received: at,
            at,
            hit: Hit {
                first: at,
                last: at,
                source: touch.source,
                source_port: touch.source_port,
                trap_port: touch.trap.port,
                probe: touch.probe,
                count: touch.count,
            },
        })
    }
}

impl Iterator for Timeline<'_> {
    type Item = (Party, Event);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut soonest = self.due.peek_mut()?;
            let Reverse((at, number)) = *soonest;
            let (party, generator) = self.generators.get_mut(number)?;
            let party = *party;
            let next = generator.touch(self.fleet);
            let again = next.and_then(|(_, again)| again).map(|gap| at.after(gap));
            match again.filter(|again| *again < self.end) {
                Some(again) => {
                    *soonest = Reverse((again, number));
                    drop(soonest);
                }
                None => {
                    PeekMut::pop(soonest);
                }
            }
            if let Some(event) = next.and_then(|(touch, _)| self.event(at, &touch)) {
                return Some((party, event));
            }
        }
    }
}
