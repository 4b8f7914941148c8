//! Times as people and programs write them: RFC 3339, or seconds since 1970.

use std::time::Duration;

use crate::event::Timestamp;

/// The last second that is read: 9999-12-30T22:00:00Z. Later ones cannot be written as RFC 3339 in
/// every time zone, so jiff has none.
const LAST: u64 = 253_402_207_200;

/// The time that a text says: RFC 3339 (`2026-11-24T03:12:09.123456Z`, any offset), or seconds
/// since 1970 with or without a fraction (`1795489929.123456`). `None` if it says none, or one
/// before 1970 or after the end of 9999. What is finer than a microsecond is cut off.
pub fn parse(text: &str) -> Option<Timestamp> {
    if text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return unix(text);
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond())
        .ok()
        .map(Timestamp::from_micros)
}

/// Seconds since 1970 as a floating-point number has them, to the microsecond.
pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
    let span = Duration::try_from_secs_f64(seconds).ok()?;
    // Such a number is exact to a quarter of a microsecond only, so it is rounded.
    let span = span.checked_add(Duration::from_nanos(500))?;
    whole(span.as_secs(), u64::from(span.subsec_micros()))
}

fn unix(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut micros = 0;
    let mut unit = 100_000;
    for byte in fraction.bytes() {
        // A second point is no digit.
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        micros += digit * unit;
        unit /= 10;
    }
    whole(seconds.parse().ok()?, micros)
}

fn whole(seconds: u64, micros: u64) -> Option<Timestamp> {
    (seconds <= LAST).then(|| Timestamp::from_micros(seconds * 1_000_000 + micros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(text: &str) -> Option<u64> {
        parse(text).map(Timestamp::as_micros)
    }

    #[test]
    fn both_forms_say_the_same() {
        let expected = Some(1_795_490_000_123_456);
        assert_eq!(micros("2026-11-24T03:13:20.123456Z"), expected);
        assert_eq!(micros("2026-11-24T04:13:20.123456+01:00"), expected);
        assert_eq!(micros("1795490000.123456"), expected);
        assert_eq!(micros("1795490000.1234569"), expected);
        assert_eq!(micros("1795490000"), Some(1_795_490_000_000_000));
        assert_eq!(micros("1795490000."), Some(1_795_490_000_000_000));
        assert_eq!(micros("0"), Some(0));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for wrong in [
            "",
            ".5",
            "1.2.3",
            "-1",
            "1e9",
            "2026-11-24",
            "yesterday",
            "1969-12-31T23:59:59Z",
            // Milliseconds: the year would be 58,864.
            "1795490000123",
            "99999999999999999999999999",
            "\u{661}\u{662}",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
            assert_eq!(from_seconds(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_exactly_is_read_exactly(micros in 0..LAST * 1_000_000) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(parse(&time.exact()), Some(time));
            let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
            prop_assert_eq!(parse(&format!("{seconds}.{rest:06}")), Some(time));
        }

        #[test]
        fn a_number_of_these_centuries_is_exact(micros in 0..4_000_000_000_000_000_u64) {
            let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            let time = from_seconds(text.parse().unwrap());
            prop_assert_eq!(time, Some(Timestamp::from_micros(micros)));
        }
    }
}
