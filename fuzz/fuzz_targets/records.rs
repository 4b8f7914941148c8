//! Files of events, with NUL, NUL, line feed between them: they are read to their end, events come
//! out in order, and each survives being written in either form.

#![no_main]

use std::io::Cursor;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::event::{Event, Hit, Timestamp};
use vft::fuzzing::replay::csv::{self, Csv};
use vft::fuzzing::replay::input::Input;
use vft::fuzzing::replay::json;
use vft::fuzzing::replay::merge::{BadLines, Merge, MergeError};
use vft::fuzzing::replay::record::{Record, Who};

const BUFFER: Duration = Duration::from_secs(300);

fuzz_target!(|data: &[u8]| {
    let mut merge = merge(data, BadLines::Counted);
    let (mut events, mut last, mut sorted) = (0, Timestamp::default(), true);
    loop {
        match merge.next() {
            Ok(Some((event, name))) => {
                survives(&event, &name);
                sorted &= last <= event.received;
                last = last.max(event.received);
                events += 1;
            }
            Ok(None) => break,
            // A file without a form.
            Err(MergeError::Unreadable(place, error)) => {
                return printable(&format!("{place}: {error}"));
            }
            Err(MergeError::Bad(..)) => panic!("bad lines are counted"),
        }
    }
    let read = merge.read();
    assert_eq!(read.lines, events + read.bad);
    assert!(read.cited.len() <= 10 && read.cited.len() as u64 <= read.bad);
    read.cited.iter().for_each(|line| printable(line));
    read.ignored.iter().for_each(|line| printable(line));
    // Lines that say when they were received keep their order, whatever they say.
    let says_received = data.windows(8).any(|window| {
        let name: &[u8; 8] = window.try_into().unwrap();
        name.eq_ignore_ascii_case(b"received") || window.contains(&b'\\')
    });
    assert!(sorted || says_received, "received in order");
    assert_eq!(refused(data), read.bad > 0);
});

fn merge(data: &[u8], bad_lines: BadLines) -> Merge {
    let text = data.to_vec();
    let mut files = Vec::new();
    let mut rest = &text[..];
    while let Some(end) = rest.windows(3).position(|it| it == b"\0\0\n") {
        files.push(rest[..end].to_vec());
        rest = &rest[end + 3..];
    }
    files.push(rest.to_vec());
    let input = |bytes: Vec<u8>| Input::new("file", Box::new(Cursor::new(bytes)));
    let inputs = files.into_iter().map(input).collect();
    Merge::new(inputs, BUFFER, bad_lines, 4)
}

/// Whether a strict reader refuses a line.
fn refused(data: &[u8]) -> bool {
    let mut merge = merge(data, BadLines::Refused);
    loop {
        match merge.next() {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

fn survives(event: &Event, name: &str) {
    assert!(event.sequence > 0 && event.at <= event.received.max(event.at));
    assert_eq!(event.hit.source, event.hit.source.to_canonical());
    assert!(!name.is_empty());
    printable(name);
    let line = json::line(event, name).unwrap();
    same(&json::read(line.as_bytes()).unwrap(), event, name);
    let (mut header, mut line) = (Vec::new(), Vec::new());
    csv::write_header(&mut header).unwrap();
    csv::write(&mut line, event, name).unwrap();
    same(
        &Csv::new(&header).unwrap().read(&line).unwrap(),
        event,
        name,
    );
}

fn same(record: &Record<'_>, event: &Event, name: &str) {
    let Who::Known(client, known_as) = &record.who else {
        panic!("{record:?} has no id");
    };
    if let Some(known_as) = known_as {
        assert_eq!(known_as.trim(), name.trim());
    }
    let Hit { first, last, .. } = event.hit;
    assert_eq!((first, last), (event.at, event.at));
    assert_eq!(record.event(*client), *event);
}

fn printable(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
