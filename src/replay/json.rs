//! Events as JSON, an object a line. [`record`] says what the fields mean; others are ignored.
//!
//! ```text
//! {"time":"2026-11-24T03:12:09.123456Z","received":"2026-11-24T03:12:09.130000Z",
//!  "client":"000102030405060708090a0b0c0d0e0f","client_name":"web-7","sequence":17,
//!  "source":"192.0.2.7","source_port":40000,"trap_port":22,"probe":"connect","count":1}
//! ```
//!
//! Times may be numbers as well: seconds since 1970. `vft events` writes all of these fields.

use std::borrow::Cow;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::{Event, Probe, Timestamp};
use crate::replay::record::{self, Flaw, Record, Who};
use crate::replay::time;

/// What a line says.
pub fn read(line: &[u8]) -> Result<Record<'_>, Flaw> {
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(Flaw::new("it is not a JSON object"));
    }
    let line: Line<'_> = serde_json::from_slice(line.trim_ascii_end()).map_err(|error| {
        let words = error.to_string();
        // Which line it is, whoever reads a file knows better.
        let words = match words.rsplit_once(" at line 1 column ") {
            Some((why, column)) => format!("{why} (column {column})"),
            None => words,
        };
        Flaw::new(&words)
    })?;
    Ok(Record {
        who: Who::new(line.client, line.client_name, &line.client_id)?,
        at: line.time.0,
        received: line.received.unwrap_or_default().0,
        sequence: line.sequence.map_or(0, NonZeroU64::get),
        source: record::source(&line.source)?,
        source_port: line.source_port.unwrap_or(0),
        trap_port: line.trap_port,
        probe: match line.probe.as_ref() {
            "" => Probe::Connect,
            name => record::probe(name)?,
        },
        count: line.count.unwrap_or(NonZeroU32::MIN),
    })
}

/// An event, seen by a client of this name, as a line without its end.
pub fn line(event: &Event, name: &str) -> Result<String, serde_json::Error> {
    let hit = &event.hit;
    serde_json::to_string(&Line {
        time: Time(event.at),
        received: Some(Time(event.received)),
        client: event.client.to_string().into(),
        client_name: name.into(),
        client_id: "".into(),
        sequence: NonZeroU64::new(event.sequence),
        source: hit.source.to_string().into(),
        source_port: Some(hit.source_port),
        trap_port: hit.trap_port,
        probe: hit.probe.name().into(),
        count: Some(hit.count),
    })
}

#[derive(Deserialize, Serialize)]
struct Line<'a> {
    time: Time,
    received: Option<Time>,
    #[serde(borrow, default)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    client_name: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing)]
    client_id: Cow<'a, str>,
    sequence: Option<NonZeroU64>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    source_port: Option<u16>,
    trap_port: u16,
    #[serde(borrow, default)]
    probe: Cow<'a, str>,
    count: Option<NonZeroU32>,
}

/// A time, written as RFC 3339 to the microsecond.
#[derive(Clone, Copy, Default)]
struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.exact())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time, in RFC 3339 or as seconds since 1970")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        record::at(text).map(Time).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Time, E> {
        self.visit_str(&seconds.to_string())
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Time, E> {
        let time = time::from_seconds(seconds);
        time.map(Time)
            .ok_or_else(|| E::custom(format!("{seconds:e} is not a number of seconds since 1970")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::record::tests::event;
    use proptest::prelude::*;

    const LEAST: &str = r#""client":"web-7","source":"192.0.2.7","trap_port":22"#;

    #[test]
    fn four_fields_are_enough_and_unknown_ones_are_ignored() {
        let record = |time: &str| {
            let line = format!("{{\"time\":{time},{LEAST},\"note\":[{{}}]}}");
            let record = read(line.as_bytes()).unwrap();
            assert_eq!(record.who, Who::Named("web-7".into()));
            (record.at.as_micros(), record.count.get())
        };
        let expected = (1_795_490_000_500_000, 1);
        assert_eq!(record("\"2026-11-24T03:13:20.5Z\""), expected);
        assert_eq!(record("\"1795490000.5\""), expected);
        assert_eq!(record("1795490000.5"), expected);
        assert_eq!(record("1795490000"), (1_795_490_000_000_000, 1));
    }

    #[test]
    fn a_bad_line_says_why() {
        for (line, why) in [
            ("{".to_owned(), "EOF while parsing an object (column 1)"),
            (format!("{{{LEAST}}}"), "missing field `time`"),
            (format!("{{\"time\":-1,{LEAST}}}"), "a time"),
            (format!("{{\"time\":1e300,{LEAST}}}"), "seconds since 1970"),
            (
                format!("{{\"time\":\"soon\",{LEAST}}}"),
                "`soon` is not a time",
            ),
            (
                format!("{{\"time\":0,\"probe\":\"ping\",{LEAST}}}"),
                "`ping` is not connect",
            ),
            (format!("{{\"time\":0,\"count\":0,{LEAST}}}"), "nonzero"),
            (
                format!("{{\"time\":0,\"source_port\":65536,{LEAST}}}"),
                "65536",
            ),
            (format!("{{\"time\":0,{LEAST},{LEAST}}}"), "duplicate field"),
            (
                format!("{{\"time\":0,{LEAST}}} {{}}"),
                "trailing characters",
            ),
            ("[0,\"\",\"\",\"\",1]".to_owned(), "not a JSON object"),
            (
                "{\"time\":0,\"source\":\"192.0.2.7\",\"trap_port\":1}".to_owned(),
                "no client",
            ),
            (format!("{{\"x\":{}", "[".repeat(60_000)), "EOF"),
        ] {
            let flaw = read(line.as_bytes()).unwrap_err().to_string();
            assert!(flaw.contains(why), "{line:.100}: {flaw}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(event in event(), name in "\\PC{1,20}") {
            let line = line(&event, &name).unwrap();
            let record = read(line.as_bytes()).unwrap();
            let Who::Known(client, read) = &record.who else {
                panic!("{record:?}");
            };
            prop_assert_eq!(record.event(*client), event);
            prop_assert_eq!(read.as_deref(), Some(&*name).filter(|name| !name.trim().is_empty()));
        }

        #[test]
        fn no_bytes_make_it_panic(line in any::<Vec<u8>>()) {
            drop(read(&line));
            drop(read(&[b"{", &line[..]].concat()));
        }
    }
}
