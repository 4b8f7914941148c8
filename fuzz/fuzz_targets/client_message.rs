//! What a client says: what decodes encodes and decodes to the same; what is in it is sound or
//! refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::event::Hit;
use vft::fuzzing::frame::MAX_FRAME;
use vft::fuzzing::message::{ClientMessage, MAX_HITS, MAX_TRAPS, Report, decode, encode};

fuzz_target!(|data: &[u8]| {
    let message: ClientMessage = match decode(data) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let bytes = encode(&message).unwrap();
    // Nothing that was said takes more bytes than it did.
    assert!(bytes.len() <= data.len());
    assert_eq!(decode(&bytes).as_ref(), Ok(&message));
    match message {
        ClientMessage::Report(report) => {
            if let Ok(hits) = report.hits() {
                sound(&report, &hits);
            }
        }
        ClientMessage::Heartbeat(heartbeat) => {
            let traps = heartbeat.traps.len();
            assert_eq!(heartbeat.checked().is_ok(), traps <= MAX_TRAPS);
        }
        ClientMessage::ExtendedHeartbeat(extended) => {
            let traps = extended.heartbeat.traps.len();
            assert_eq!(extended.heartbeat.checked().is_ok(), traps <= MAX_TRAPS);
        }
        ClientMessage::Hello(_) | ClientMessage::Proof(_) | ClientMessage::Goodbye => {}
    }
});

fn sound(report: &Report, hits: &[Hit]) {
    assert!((1..=MAX_HITS).contains(&hits.len()));
    assert!(report.first_sequence > 0);
    for hit in hits {
        assert!(hit.first <= hit.last);
        assert_eq!(hit.source, hit.source.to_canonical());
    }
    let again = Report::new(report.first_sequence, hits).unwrap();
    assert!(encode(&ClientMessage::Report(again.clone())).unwrap().len() <= MAX_FRAME);
    // Offsets from the base have a sign, and therefore half the range of times.
    if hits
        .iter()
        .all(|hit| i64::try_from(hit.first.as_micros()).is_ok())
    {
        assert_eq!(again.hits().as_deref(), Ok(hits));
    }
}
