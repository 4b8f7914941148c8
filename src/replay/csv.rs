//! Events as comma-separated values.
//!
//! The first line names the columns, in any order, each at most once; [`record`] says what they
//! mean, and columns of other names are ignored. A line is a record: a line break within quotes is
//! not read. There are at most 256 columns. What `vft events` writes has these
//! columns, with the client's name as `client` and its id as `client_id`:
//!
//! ```text
//! time,client,source,source_port,trap_port,probe,count,received,sequence,client_id
//! 2026-11-24T03:12:09.123456Z,web-7,192.0.2.7,40000,22,connect,1,2026-11-24T03:12:09.130000Z,17,000102030405060708090a0b0c0d0e0f
//! ```

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::num::{NonZeroU32, NonZeroU64};

use csv_core::{ReadRecordResult, Reader};

use crate::event::{Event, Probe, Timestamp};
use crate::replay::record::{self, Flaw, Record, Who};

/// A column that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    Client,
    Source,
    SourcePort,
    TrapPort,
    Probe,
    Count,
    Received,
    Sequence,
    ClientId,
    ClientName,
}

/// Their names, in the order in which they are declared. The first [`WRITTEN`] are written.
const COLUMNS: [&str; 11] = [
    "time",
    "client",
    "source",
    "source_port",
    "trap_port",
    "probe",
    "count",
    "received",
    "sequence",
    "client_id",
    "client_name",
];

/// How many columns are written.
const WRITTEN: usize = 10;

/// The most columns a file can have.
const MAX_COLUMNS: usize = 256;

/// Where each of [`COLUMNS`] stands in a file, if it does.
type Places = [Option<usize>; COLUMNS.len()];

/// A file whose header has been read.
pub struct Csv {
    reader: Reader,
    places: Places,
    /// How many columns there are.
    width: usize,
    /// The header as it was read.
    header: Vec<u8>,
    /// Columns that are ignored, as they are called.
    ignored: Vec<String>,
    /// The fields of a line, one behind the other, and where each ends.
    fields: Vec<u8>,
    ends: [usize; MAX_COLUMNS + 1],
}

impl fmt::Debug for Csv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Csv")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Csv {
    /// A file that begins with this line, which ends with a line feed.
    pub fn new(header: &[u8]) -> Result<Self, Flaw> {
        let mut csv = Self {
            reader: Reader::new(),
            places: Places::default(),
            width: MAX_COLUMNS,
            header: header.to_vec(),
            ignored: Vec::new(),
            fields: Vec::new(),
            ends: [0; MAX_COLUMNS + 1],
        };
        let (mut places, mut ignored) = (Places::default(), Vec::new());
        let fields = csv.split(header)?;
        for position in 0..fields.ends.len() {
            let name = fields.at(position);
            let column = COLUMNS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name));
            match column.and_then(|column| places.get_mut(column)) {
                Some(Some(_)) => return Err(Flaw::new(&format!("column {name} is there twice"))),
                Some(place) => *place = Some(position),
                None => ignored.push(Flaw::new(name).to_string()),
            }
        }
        let width = fields.ends.len();
        for column in [Column::Time, Column::Source, Column::TrapPort] {
            if !is_there(&places, column) {
                let name = COLUMNS.get(column as usize).copied().unwrap_or_default();
                return Err(Flaw::new(&format!("there is no column `{name}`")));
            }
        }
        let named = [Column::Client, Column::ClientId, Column::ClientName];
        if !named.iter().any(|column| is_there(&places, *column)) {
            return Err(Flaw::new("there is no column `client`"));
        }
        Ok(Self {
            places,
            width,
            ignored,
            ..csv
        })
    }

    /// Columns that are ignored, made printable.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Whether this line is the header once more, as where files were put one behind the other.
    pub fn is_header(&self, line: &[u8]) -> bool {
        self.header == line
    }

    /// What a line says, which ends with a line feed.
    pub fn read(&mut self, line: &[u8]) -> Result<Record<'_>, Flaw> {
        let width = self.width;
        let fields = self.split(line)?;
        if fields.ends.len() > width {
            let count = fields.ends.len();
            let words = format!("it has {count} fields, and there are {width} columns");
            return Err(Flaw::new(&words));
        }
        fields.record()
    }

    /// The fields of a line, which ends with a line feed.
    fn split(&mut self, line: &[u8]) -> Result<Fields<'_>, Flaw> {
        // The reader wants room for more than it writes.
        if self.fields.len() <= line.len() {
            self.fields.resize(line.len() + 1, 0);
        }
        let (result, read, length, count) =
            self.reader
                .read_record(line, &mut self.fields, &mut self.ends);
        if result != ReadRecordResult::Record || read < line.len() {
            self.reader.reset();
            return Err(match result {
                ReadRecordResult::OutputEndsFull => Flaw::new("it has more than 256 fields"),
                ReadRecordResult::InputEmpty => Flaw::new("it has a quote that does not end"),
                _ => Flaw::new("it has a line break within"),
            });
        }
        let text = std::str::from_utf8(self.fields.get(..length).unwrap_or_default())
            .map_err(|_| Flaw::new("it is not UTF-8"))?;
        Ok(Fields {
            places: &self.places,
            text,
            ends: self.ends.get(..count).unwrap_or_default(),
        })
    }
}

fn is_there(places: &Places, column: Column) -> bool {
    matches!(places.get(column as usize), Some(Some(_)))
}

/// The fields of one line.
struct Fields<'a> {
    places: &'a Places,
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    /// The field at a position; empty if there is none.
    fn at(&self, position: usize) -> &'a str {
        let before = position.checked_sub(1).and_then(|it| self.ends.get(it));
        let start = before.copied().unwrap_or(0);
        let end = self.ends.get(position).copied().unwrap_or(start);
        self.text.get(start..end).unwrap_or_default().trim_ascii()
    }

    /// The field in a column; empty if there is none.
    fn of(&self, column: Column) -> &'a str {
        match self.places.get(column as usize) {
            Some(Some(position)) => self.at(*position),
            Some(None) | None => "",
        }
    }

    /// The field in a column, read; `missing` if it is empty.
    fn or<T>(
        &self,
        column: Column,
        missing: T,
        read: impl FnOnce(&str) -> Result<T, Flaw>,
    ) -> Result<T, Flaw> {
        match self.of(column) {
            "" => Ok(missing),
            text => read(text),
        }
    }

    fn record(&self) -> Result<Record<'a>, Flaw> {
        const PORT: &str = "a port";
        let who = Who::new(
            Cow::Borrowed(self.of(Column::Client)),
            Cow::Borrowed(self.of(Column::ClientName)),
            self.of(Column::ClientId),
        )?;
        let sequence = |text: &str| {
            let number: NonZeroU64 = record::number(text, "a number from 1 up")?;
            Ok(number.get())
        };
        Ok(Record {
            who,
            at: record::at(self.of(Column::Time))?,
            received: self.or(Column::Received, Timestamp::default(), record::at)?,
            sequence: self.or(Column::Sequence, 0, sequence)?,
            source: record::source(self.of(Column::Source))?,
            source_port: self.or(Column::SourcePort, 0, |text| record::number(text, PORT))?,
            trap_port: record::number(self.of(Column::TrapPort), PORT)?,
            probe: self.or(Column::Probe, Probe::Connect, record::probe)?,
            count: self.or(Column::Count, NonZeroU32::MIN, |text| {
                record::number(text, "a count from 1 up")
            })?,
        })
    }
}

/// Writes the header.
pub fn write_header(out: &mut impl Write) -> io::Result<()> {
    let names = COLUMNS.iter().take(WRITTEN).copied();
    writeln!(out, "{}", names.collect::<Vec<_>>().join(","))
}

/// Writes an event, seen by a client of this name, as a line.
pub fn write(out: &mut impl Write, event: &Event, name: &str) -> io::Result<()> {
    let hit = &event.hit;
    let fields: [String; WRITTEN] = [
        event.at.exact(),
        name.to_owned(),
        hit.source.to_string(),
        hit.source_port.to_string(),
        hit.trap_port.to_string(),
        hit.probe.name().to_owned(),
        hit.count.to_string(),
        event.received.exact(),
        event.sequence.to_string(),
        event.client.to_string(),
    ];
    let mut record = csv::Writer::from_writer(out);
    record.write_record(fields)?;
    record.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClientId;
    use crate::replay::record::tests::event;
    use proptest::prelude::*;

    fn csv(header: &str) -> Result<Csv, Flaw> {
        Csv::new(format!("{header}\n").as_bytes())
    }

    fn flaw(csv: &mut Csv, line: &str) -> String {
        let line = format!("{line}\n");
        csv.read(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let mut csv = csv("Probe, trap_port,note,source,client,time").unwrap();
        assert_eq!(csv.ignored(), ["note"]);
        let record = csv
            .read(b"syn, 22,\"a, b\",192.0.2.7,web-7,1795490000.5\n")
            .unwrap();
        assert_eq!(
            record,
            Record {
                who: Who::Named("web-7".into()),
                at: Timestamp::from_micros(1_795_490_000_500_000),
                received: Timestamp::default(),
                sequence: 0,
                source: [192, 0, 2, 7].into(),
                source_port: 0,
                trap_port: 22,
                probe: Probe::Syn,
                count: NonZeroU32::MIN,
            }
        );
    }

    #[test]
    fn a_header_lacks_nothing_and_says_nothing_twice() {
        for (header, missing) in [
            ("client,source,trap_port", "no column `time`"),
            ("time,client,trap_port", "no column `source`"),
            ("time,client,source", "no column `trap_port`"),
            ("time,source,trap_port", "no column `client`"),
            (
                "time,client,source,trap_port,TIME",
                "column TIME is there twice",
            ),
            ("hello", "no column `time`"),
            ("\"", "a quote that does not end"),
        ] {
            let flaw = csv(header).unwrap_err().to_string();
            assert!(flaw.contains(missing), "{header}: {flaw}");
        }
        assert!(csv(&"x,".repeat(300)).is_err());
        assert!(csv("time,client_id,source,trap_port").is_ok());
    }

    #[test]
    fn a_bad_line_says_why_and_the_next_is_read() {
        let mut csv = csv("time,client,source,source_port,trap_port,probe,count").unwrap();
        for (line, why) in [
            ("0,,192.0.2.7,1,22,syn,1", "there is no client"),
            ("soon,web,192.0.2.7,1,22,syn,1", "`soon` is not a time"),
            (",web,192.0.2.7,1,22,syn,1", "`` is not a time"),
            (
                "0,web,192.0.2.700,1,22,syn,1",
                "`192.0.2.700` is not an address",
            ),
            ("0,web,192.0.2.7,65536,22,syn,1", "`65536` is not a port"),
            ("0,web,192.0.2.7,1,,syn,1", "`` is not a port"),
            ("0,web,192.0.2.7,1,22,ping,1", "`ping` is not connect, syn,"),
            ("0,web,192.0.2.7,1,22,syn,0", "`0` is not a count"),
            ("0,web,192.0.2.7,1,22,syn,1,", "it has 8 fields"),
            ("0,web,\"192.0.2.7,1,22,syn,1", "a quote that does not end"),
            ("0,web\r0,web", "a line break within"),
        ] {
            let flaw = flaw(&mut csv, line);
            assert!(flaw.contains(why), "{line}: {flaw}");
            assert!(csv.read(b"0,web,192.0.2.7,1,22,syn,1\n").is_ok());
            assert!(csv.read(b"0,web,192.0.2.7,,22\n").is_ok());
        }
        let text = flaw(&mut csv, &",".repeat(1000));
        assert_eq!(text, "it has more than 256 fields");
        assert!(csv.read(b"\xff,\xff,,,\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(event in event(), name in "[a-z\",\\\\ ]{1,20}[a-z]") {
            let (mut header, mut line) = (Vec::new(), Vec::new());
            write_header(&mut header).unwrap();
            write(&mut line, &event, &name).unwrap();
            let mut csv = Csv::new(&header).unwrap();
            let record = csv.read(&line).unwrap();
            let Who::Known(client, Some(read)) = &record.who else {
                panic!("{record:?}");
            };
            prop_assert_eq!(record.event(*client), event);
            prop_assert_eq!(read.trim(), name.trim());
        }

        #[test]
        fn no_bytes_make_it_panic(header in any::<Vec<u8>>(), lines in any::<Vec<Vec<u8>>>()) {
            drop(Csv::new(&header));
            let mut csv = csv("time,client,source,trap_port").unwrap();
            for line in lines {
                drop(csv.read(&line));
            }
        }
    }

    #[test]
    fn an_id_in_the_place_of_a_name_is_an_id() {
        let mut csv = csv("time,client,source,trap_port").unwrap();
        let record = csv.read(b"0,07070707070707070707070707070707,192.0.2.7,22\n");
        let who = record.unwrap().who;
        assert_eq!(who, Who::Known(ClientId([7; 16]), None));
    }
}
