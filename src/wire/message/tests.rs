//! Messages there and back, at their bounds and beyond.

use super::*;
use proptest::prelude::*;

fn hits() -> impl Strategy<Value = Vec<Hit>> {
    let hit = (
        any::<u32>(),
        any::<u16>(),
        any::<IpAddr>(),
        1..=u32::MAX,
        0..6_u8,
    )
        .prop_map(|(micros, port, source, count, kind)| {
            let first = Timestamp::from_micros(1_700_000_000_000_000 + u64::from(micros));
            Hit {
                first,
                last: Timestamp::from_micros(first.as_micros() + u64::from(port)),
                source: source.to_canonical(),
                source_port: port,
                trap_port: !port,
                probe: Probe::from_code(kind).unwrap(),
                count: NonZeroU32::new(count).unwrap(),
            }
        });
    prop::collection::vec(hit, 1..50)
}

proptest! {
    #[test]
    fn a_report_comes_back_as_it_was(hits in hits(), first in 1..=1_u64 << 60) {
        let report = ClientMessage::Report(Report::new(first, &hits).unwrap());
        let decoded: ClientMessage = decode(&encode(&report).unwrap()).unwrap();
        prop_assert_eq!(&decoded, &report);
        let ClientMessage::Report(decoded) = decoded else { panic!("another message") };
        prop_assert_eq!(decoded.hits().unwrap(), hits);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes: Vec<u8>) {
        if let Ok(message) = decode::<ClientMessage>(&bytes) {
            // What decodes may have been written less tightly, but says the same.
            prop_assert_eq!(decode::<ClientMessage>(&encode(&message).unwrap()), Ok(message));
        }
    }
}

#[test]
fn the_widest_report_fits_a_frame() {
    let hit = HitRecord {
        offset: i64::MIN,
        span: u64::MAX,
        source: Address::V6([0xff; 16]),
        source_port: u16::MAX,
        trap_port: u16::MAX,
        probe: u8::MAX,
        count: u32::MAX,
    };
    let hits = vec![hit; MAX_HITS];
    let report = Report {
        first_sequence: u64::MAX,
        base: u64::MAX,
        hits,
    };
    assert!(encode(&ClientMessage::Report(report)).unwrap().len() <= MAX_FRAME);
}

#[test]
fn an_ordinary_hit_over_ipv4_takes_at_most_28_bytes() {
    let hit = Hit {
        first: Timestamp::from_micros(1_795_490_000_123_456),
        last: Timestamp::from_micros(1_795_490_000_123_456),
        source: "192.0.2.1".parse().unwrap(),
        source_port: 54321,
        trap_port: 8080,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    };
    let one = encode(&Report::new(1, &[hit]).unwrap()).unwrap().len();
    let later = Hit {
        first: hit.first.after(std::time::Duration::from_secs(1)),
        ..hit
    };
    let two = encode(&Report::new(1, &[hit, later]).unwrap())
        .unwrap()
        .len();
    assert!(two - one <= 28, "{}", two - one);
}

#[test]
fn bytes_left_over_are_an_error() {
    let mut bytes = encode(&ServerMessage::Ack(Ack {
        received: 7,
        durable: 7,
    }))
    .unwrap();
    bytes.push(0);
    assert_eq!(
        decode::<ServerMessage>(&bytes),
        Err(MessageError::TrailingBytes(1))
    );
}

#[test]
fn a_vector_that_claims_to_be_huge_is_refused() {
    let mut bytes = vec![2, 1, 0];
    bytes.extend([253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(
        decode::<ClientMessage>(&bytes),
        Err(MessageError::Malformed)
    );
}

#[test]
fn unsound_hits_are_named() {
    let sound = HitRecord {
        offset: 0,
        span: 0,
        source: Address::V4([192, 0, 2, 1]),
        source_port: 1,
        trap_port: 2,
        probe: 0,
        count: 1,
    };
    let report = |hits| Report {
        first_sequence: 1,
        base: 0,
        hits,
    };
    assert_eq!(report(vec![]).hits(), Err(MessageError::HitCount(0)));
    let unknown = HitRecord {
        probe: 6,
        ..sound.clone()
    };
    assert_eq!(
        report(vec![unknown]).hits(),
        Err(MessageError::UnknownProbe(6))
    );
    let long = HitRecord {
        span: MAX_SPAN + 1,
        ..sound.clone()
    };
    let error = report(vec![long]).hits();
    assert_eq!(error, Err(MessageError::Span(MAX_SPAN + 1)));
    let none = HitRecord { count: 0, ..sound };
    assert_eq!(report(vec![none]).hits(), Err(MessageError::ZeroCount));
}

#[test]
fn a_clock_that_is_set_while_hits_merge_makes_no_hit_that_is_refused() {
    let first = Timestamp::from_micros(1_795_490_000_123_456);
    let hit = Hit {
        first,
        last: first.after(std::time::Duration::from_secs(86_400)),
        source: "192.0.2.1".parse().unwrap(),
        source_port: 54321,
        trap_port: 8080,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    };
    let taken = Report::new(1, &[hit]).unwrap().hits().unwrap();
    assert_eq!(taken[0].last.since(first).as_micros(), MAX_SPAN.into());
}
