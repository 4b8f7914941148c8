//! Several files in one order.
//!
//! Events come out in the order in which they reached the server. A line that says `received` has
//! reached one then, and such lines of one file are in the order of their arrival as they stand. A
//! line that does not say it counts as received when it happened, and may stand in its file up to
//! the length of the buffer behind a later one. What comes later than that still comes out, and
//! counts as received when it does.
//!
//! All files are open at once, and what is read next is from the one that is least far on. So it
//! does not matter how a recording is cut into files: by day, by client, or not at all.
//!
//! An event without a number gets its time in microseconds as one, or the next that is free.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Event, Timestamp};
use crate::replay::clients::Clients;
use crate::replay::input::{Found, Input};
use crate::replay::order::Order;
use crate::replay::record::Flaw;

/// The most events that wait to be put in order.
const MAX_WAITING: usize = 1_000_000;

/// The most bad lines that are cited.
const MAX_CITED: usize = 10;

/// What becomes of bad lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLines {
    /// They are counted, and the first ones cited.
    Counted,
    /// The first one is an error.
    Refused,
}

/// Why files cannot be read on.
#[derive(Debug)]
pub enum MergeError {
    /// The file at this place cannot be read, or has no form that is known.
    Unreadable(String, io::Error),
    /// The line at this place is bad.
    Bad(String, Flaw),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(place, error) if error.kind() == io::ErrorKind::InvalidData => {
                write!(f, "{place}: {error}")
            }
            Self::Unreadable(place, error) => write!(f, "cannot read {place}: {error}"),
            Self::Bad(place, flaw) => write!(f, "{place}: {flaw}"),
        }
    }
}

impl std::error::Error for MergeError {}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Lines that should hold an event.
    pub lines: u64,
    /// Lines of these that do not.
    pub bad: u64,
    /// The first bad lines: file, number, and why.
    pub cited: Vec<String>,
    /// Columns that are ignored, with their files.
    pub ignored: Vec<String>,
    /// Lines that came later than the buffer is long.
    pub late: u64,
}

/// Files that are read together.
#[derive(Debug)]
pub struct Merge {
    bad_lines: BadLines,
    buffer: Duration,
    files: Vec<File>,
    /// Files that have not ended, by how far they are.
    open: BinaryHeap<Reverse<(Timestamp, usize)>>,
    order: Order<(Event, Rc<str>)>,
    clients: Clients,
    read: Read,
    /// When the last event that came out was received.
    clock: Timestamp,
    /// The last number that was made up.
    number: u64,
}

#[derive(Debug)]
struct File {
    input: Input,
    /// The latest `received` that a line has said.
    arrived: Timestamp,
}

impl Merge {
    /// Reads these files, in which lines may stand up to `buffer` behind later ones. Of clients
    /// `clients` are remembered.
    pub fn new(files: Vec<Input>, buffer: Duration, bad_lines: BadLines, clients: usize) -> Self {
        let open = (0..files.len())
            .map(|index| Reverse((Timestamp::default(), index)))
            .collect();
        let file = |input| File {
            input,
            arrived: Timestamp::default(),
        };
        Self {
            bad_lines,
            buffer,
            files: files.into_iter().map(file).collect(),
            open,
            order: Order::new(MAX_WAITING),
            clients: Clients::new(clients),
            read: Read::default(),
            clock: Timestamp::default(),
            number: 0,
        }
    }

    /// The next event and the name of the client that saw it; `None` when all have come.
    pub fn next(&mut self) -> Result<Option<(Event, Rc<str>)>, MergeError> {
        loop {
            let horizon = match self.open.peek() {
                Some(Reverse((frontier, _))) => frontier.before(self.buffer),
                None => Timestamp::from_micros(u64::MAX),
            };
            if let Some((event, name)) = self.order.pop(horizon) {
                return Ok(Some((self.completed(event), name)));
            }
            if self.open.is_empty() {
                return Ok(None);
            }
            self.read_on()?;
        }
    }

    /// What was read so far.
    pub fn read(&self) -> Read {
        Read {
            late: self.order.late(),
            ..self.read.clone()
        }
    }

    /// Reads one line of the file that is least far on.
    fn read_on(&mut self) -> Result<(), MergeError> {
        let Some(mut least) = self.open.peek_mut() else {
            return Ok(());
        };
        let Reverse((frontier, index)) = &mut *least;
        let Some(file) = self.files.get_mut(*index) else {
            return Ok(());
        };
        let found = file.input.advance();
        let flaw = match found.map_err(|error| unreadable(&file.input, error))? {
            Found::End => {
                note_ignored(&file.input, &mut self.read.ignored);
                PeekMut::pop(least);
                return Ok(());
            }
            Found::TooLong => Flaw::new("it is longer than 64 KiB"),
            Found::Line => match file.input.record() {
                Ok(record) => {
                    let (client, name) = self.clients.find(&record.who);
                    let event = record.event(client);
                    file.arrived = file.arrived.max(event.received);
                    let time = if event.received == NOT_SAID {
                        event.at
                    } else {
                        file.arrived
                    };
                    *frontier = time.max(*frontier);
                    self.read.lines += 1;
                    self.order.push(time, (event, name));
                    return Ok(());
                }
                Err(flaw) => flaw,
            },
        };
        self.read.lines += 1;
        self.read.bad += 1;
        let place = file.input.place();
        if self.bad_lines == BadLines::Refused {
            return Err(MergeError::Bad(place, flaw));
        }
        if self.read.cited.len() < MAX_CITED {
            self.read.cited.push(format!("{place}: {flaw}"));
        }
        Ok(())
    }

    /// The event with what its line did not say.
    fn completed(&mut self, event: Event) -> Event {
        let received = if event.received == NOT_SAID {
            event.at.max(self.clock)
        } else {
            event.received
        };
        self.clock = self.clock.max(received);
        let sequence = match event.sequence {
            0 => {
                self.number = event.at.as_micros().max(self.number.saturating_add(1));
                self.number
            }
            said => said,
        };
        Event {
            sequence,
            received,
            ..event
        }
    }
}

/// When events are received of which the line does not say it.
const NOT_SAID: Timestamp = Timestamp::from_micros(0);

fn unreadable(input: &Input, error: io::Error) -> MergeError {
    let place = match error.kind() {
        io::ErrorKind::InvalidData => input.place(),
        _ => input.name().to_owned(),
    };
    MergeError::Unreadable(place, error)
}

fn note_ignored(input: &Input, ignored: &mut Vec<String>) {
    let columns = input.ignored();
    if !columns.is_empty() && ignored.len() < MAX_CITED {
        ignored.push(format!("{}: {}", input.name(), columns.join(", ")));
    }
}
