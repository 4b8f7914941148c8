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
    /// Files that there are.
    pub files: u64,
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
        let read = Read {
            files: u64::try_from(files.len()).unwrap_or(u64::MAX),
            ..Read::default()
        };
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
            read,
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    const BUFFER: Duration = Duration::from_secs(300);

    fn merge(files: &[&str], bad_lines: BadLines) -> Merge {
        let input = |(index, text): (usize, &&str)| {
            let bytes = Cursor::new(text.as_bytes().to_vec());
            Input::new(&format!("file-{index}"), Box::new(bytes))
        };
        let inputs = files.iter().enumerate().map(input).collect();
        Merge::new(inputs, BUFFER, bad_lines, 100)
    }

    /// When events happened, were received, and which trap port they have, and what was read.
    fn all(files: &[&str]) -> (Vec<(u64, u64, u16)>, Read) {
        let mut merge = merge(files, BadLines::Counted);
        let mut events = Vec::new();
        while let Some((event, _)) = merge.next().unwrap() {
            let seconds = |time: Timestamp| time.as_micros() / 1_000_000;
            events.push((
                seconds(event.at),
                seconds(event.received),
                event.hit.trap_port,
            ));
        }
        (events, merge.read())
    }

    fn csv(lines: &[(u64, u16)]) -> String {
        let mut text = "time,client,source,trap_port\n".to_owned();
        for (time, port) in lines {
            text += &format!("{time},web-1,192.0.2.7,{port}\n");
        }
        text
    }

    #[test]
    fn files_that_overlap_are_read_side_by_side() {
        let (first, second) = (
            csv(&[(1000, 1), (9000, 2)]),
            csv(&[(500, 3), (5000, 4), (9000, 5)]),
        );
        let json = r#"{"time":2000,"client":"web-2","source":"192.0.2.7","trap_port":6}"#;
        let (events, read) = all(&[&first, &second, json, "", "\n \n"]);
        let ports: Vec<_> = events.iter().map(|event| event.2).collect();
        assert_eq!(ports, [3, 1, 6, 4, 2, 5]);
        assert_eq!((read.lines, read.bad, read.late), (6, 0, 0));
    }

    #[test]
    fn what_comes_later_than_the_buffer_is_received_when_it_comes() {
        let (events, read) = all(&[&csv(&[(1000, 1), (1400, 2), (900, 3), (1701, 4)])]);
        assert_eq!(
            events,
            [
                (1000, 1000, 1),
                (900, 1000, 3),
                (1400, 1400, 2),
                (1701, 1701, 4)
            ]
        );
        assert_eq!(read.late, 1);
    }

    #[test]
    fn lines_that_say_received_keep_their_order_and_what_they_say() {
        let line = |at: u64, received: u64, port: u16| {
            format!(
                "{{\"time\":{at},\"received\":{received},\"client\":\"web-1\",\
                 \"source\":\"192.0.2.7\",\"trap_port\":{port}}}\n"
            )
        };
        // The second event was a backlog's; before the fourth the server's clock was set back.
        let lines = [
            (50, 50, 1),
            (10, 60, 2),
            (61, 61, 3),
            (59, 59, 4),
            (62, 62, 5),
        ];
        let text: String = lines.iter().map(|(a, r, p)| line(*a, *r, *p)).collect();
        let (events, read) = all(&[&text]);
        assert_eq!(events, lines);
        assert_eq!(read.late, 0);
    }

    #[test]
    fn bad_lines_are_counted_and_the_first_are_cited() {
        let mut text = csv(&[(1, 1)]);
        text += &"nonsense\n".repeat(20);
        text += &format!("{}\n", "x".repeat(200_000));
        text += &csv(&[(2, 2)]);
        let (events, read) = all(&[&text]);
        assert_eq!(events.len(), 2, "a header in between is no bad line");
        assert_eq!((read.lines, read.bad, read.cited.len()), (23, 21, 10));
        assert_eq!(read.cited[0], "file-0:3: there is no client");
        let mut strict = merge(&[&text], BadLines::Refused);
        let error = loop {
            match strict.next() {
                Ok(Some(_)) => {}
                other => break other.unwrap_err().to_string(),
            }
        };
        assert_eq!(error, "file-0:3: there is no client");
    }

    #[test]
    fn a_file_without_a_form_is_an_error_at_its_place() {
        for (text, why) in [
            (
                "\n\nhello\n",
                "file-0:3: neither a JSON object nor the header",
            ),
            ("\u{1f}\u{8b}", "file-0:1: neither"),
            ("[1]", "file-0:1: neither"),
        ] {
            let error = merge(&[text], BadLines::Counted).next().unwrap_err();
            assert!(error.to_string().starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_are_no_part_of_a_line() {
        let text = "\u{feff}time,client,source,trap_port\r\n1,web-1,192.0.2.7,22\r\n\r\n";
        assert_eq!(all(&[text]).0, [(1, 1, 22)]);
    }

    #[test]
    fn numbers_that_are_made_up_follow_from_the_time_and_are_distinct() {
        let text = csv(&[(1, 1), (1, 2), (2, 3)]);
        let mut merge = merge(&[&text], BadLines::Counted);
        let mut numbers = Vec::new();
        while let Some((event, name)) = merge.next().unwrap() {
            assert_eq!(&*name, "web-1");
            numbers.push(event.sequence);
        }
        assert_eq!(numbers, [1_000_000, 1_000_001, 2_000_000]);
    }

    proptest! {
        #[test]
        fn however_events_are_shuffled_within_the_buffer_and_cut_into_files_they_are_the_same(
            gaps in prop::collection::vec((1..100_u64, 0..300_u64, 0..3_usize), 1..100)
        ) {
            let mut time = 1000;
            let mut events = Vec::new();
            for ((gap, delay, file), port) in gaps.into_iter().zip(1..) {
                time += gap;
                events.push((time, delay, file, port));
            }
            let ordered: Vec<_> = events.iter().map(|(time, _, _, port)| (*time, *port)).collect();
            events.sort_by_key(|(time, delay, ..)| time + delay);
            let file = |wanted: usize| {
                let its = events.iter().filter(|(_, _, file, _)| *file == wanted);
                csv(&its.map(|(time, _, _, port)| (*time, *port)).collect::<Vec<_>>())
            };
            let files = [file(0), file(1), file(2)];
            let (shuffled, read) = all(&files.each_ref().map(String::as_str));
            prop_assert_eq!(read.late, 0);
            prop_assert_eq!(shuffled, all(&[&csv(&ordered)]).0);
        }
    }
}
