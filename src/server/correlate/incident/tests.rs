//! When something is said of an incident, when it ends, and what it is called.

use super::*;
use crate::server::correlate::clients::Handle;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn sighting(seconds: u64, client: u8, port: u16) -> Sighting {
    Sighting {
        at: at(seconds),
        source: [192, 0, 2, 1].into(),
        client: ClientId([client; 16]),
        port,
        count: 1,
        handle: Handle(1),
    }
}

fn incident() -> Incident {
    let subject = Subject::Port(22);
    Incident::new(Detector::FrequentPort, subject, b"mark", at(0))
}

#[test]
fn a_burst_is_told_at_once_and_whole_after_five_seconds_and_then_ever_more_sparsely() {
    let mut incident = incident();
    let mut told = Vec::new();
    for second in 0..7200 {
        incident.add(&sighting(second, 1, 22));
        if incident.due(at(second)) != Say::Nothing {
            told.push((second, incident.hits));
            incident.told(at(second));
        }
    }
    assert_eq!(told, [(0, 1), (5, 6), (65, 66), (665, 666), (2663, 2664)]);
}

#[test]
fn that_it_has_become_graver_is_said_within_five_seconds_however_often_it_was_told_of() {
    let mut incident = incident();
    for second in 0..3000 {
        incident.add(&sighting(second, 1, 22));
        if incident.due(at(second)) != Say::Nothing {
            incident.told(at(second));
        }
    }
    assert_eq!(incident.severity(), Severity::Low);
    incident.add(&sighting(3000, 2, 22));
    assert_eq!(incident.severity(), Severity::High);
    assert_eq!(incident.next_update(), Some(at(2663).after(FIRST_PAUSE)));
    assert_eq!(incident.due(at(3000)), Say::Update);
    incident.told(at(3000));
    incident.add(&sighting(3001, 2, 23));
    assert_eq!(incident.due(at(3590)), Say::Nothing, "it is no graver");
}

#[test]
fn slow_incidents_stay_open_longer_but_not_for_ever() {
    let quiet = Duration::from_secs(3600);
    let mut fast = incident();
    fast.add(&sighting(0, 1, 22));
    fast.add(&sighting(10, 1, 22));
    assert_eq!(fast.ends(quiet), at(3610));
    let mut slow = fast.clone();
    slow.add(&sighting(7210, 1, 22));
    assert_eq!(slow.ends(quiet), at(7210 + 3605 * 4));
    let mut slowest = fast;
    slowest.add(&sighting(90 * 86_400, 1, 22));
    assert_eq!(slowest.ends(quiet), at(97 * 86_400));
}

#[test]
fn an_id_follows_from_detector_subject_and_first_event() {
    let id = |mark: &[u8]| id(Detector::FrequentPort, Subject::Port(22), mark);
    assert_eq!(id(b"a"), id(b"a"));
    assert_ne!(id(b"a"), id(b"b"));
    assert_eq!(id(b"a").len(), 8);
}
