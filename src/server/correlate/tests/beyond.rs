//! Stories that no number of hits within minutes would tell.

use proptest::prelude::*;

use crate::config::server::ServerSettings;
use crate::event::ClientId;
use crate::server::alert::{Action, Alert, Detector, Severity, Subject, Zone, json};
use crate::server::correlate::tests::{GIVEN, SCANNER, Story, at};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// The three frequency detectors are off.
const NO_FREQUENCY: &str = "[detectors]\nfrequent-source.enabled = false\n\
                            frequent-port.enabled = false\nfrequent-client.enabled = false\n\
                            silent-client.enabled = false\n";

fn opened(story: &Story) -> Vec<&Alert> {
    let opened = story.alerts.iter().filter(|it| it.action == Action::Open);
    opened
        .filter(|alert| !alert.detector.is_about_health())
        .collect()
}

#[test]
fn a_trap_an_hour_is_a_slow_scan_and_the_same_trap_every_hour_is_none() {
    let mut story = Story::new("");
    for hour in 0..48 {
        story.hit(hour * HOUR + 1800, "198.51.100.7", 1, 8080);
    }
    assert_eq!(opened(&story), [] as [&Alert; 0]);
    for (hour, client) in (100..104).zip(1..) {
        story.hit(hour * HOUR, SCANNER, client, 20 + u16::from(client));
    }
    let opened = opened(&story);
    assert_eq!(opened.len(), 1, "{:?}", story.told());
    assert_eq!(opened[0].detectors, [Detector::SlowScan]);
    assert!(opened[0].first_contacts <= 3, "{}", opened[0].title);
    assert!(opened[0].title.contains("by chance once in"));
}

#[test]
fn neighbours_that_take_turns_are_a_scan_of_their_network() {
    let mut story = Story::new("");
    for turn in 0..9_u8 {
        let source = format!("203.0.113.{}", turn % 3 + 1);
        // Each of them comes every other day, too seldom to stand out.
        let second = u64::from(turn) * 16 * HOUR;
        story.hit(second, &source, 1 + turn, 1000 + u16::from(turn));
    }
    let first = opened(&story)[0];
    assert_eq!(first.subject.to_string(), "203.0.113.0/24");
    assert_eq!(first.detectors, [Detector::SubnetScan]);
    assert!(first.sources.count >= 2);
    let hint = first.allow_hint.clone().unwrap();
    assert!(hint.contains("network = \"203.0.113.0/24\""), "{hint}");
}

#[test]
fn a_host_inside_that_touches_smb_is_told_of_at_once_with_the_way_that_led_to_it() {
    let mut story = Story::new("");
    for client in [1, 2] {
        story.client(client);
        let address = [10, 0, 0, client].into();
        story.engine.lives_at(ClientId([client; 16]), address);
    }
    story.hit(0, SCANNER, 1, 8080);
    assert_eq!(story.told(), [""; 0]);
    story.hit(DAY, "10.0.0.1", 2, 445);
    let alert = opened(&story)[0];
    assert_eq!(alert.detectors, [Detector::LateralMovement]);
    assert_eq!(alert.subject_name.as_deref(), Some("web-1"));
    assert_eq!(alert.severity, Severity::High);
    assert_eq!(alert.zone, Some(Zone::Inside));
    let chain = format!("{SCANNER} → client web-1 → client web-2");
    assert!(alert.notes.contains(&chain), "{:?}", alert.notes);
}

#[test]
fn a_host_inside_that_is_not_of_the_fleet_is_told_of_at_its_second_day_or_at_once_if_wanted() {
    let opened_at = |settings: &str| {
        let mut story = Story::new(settings);
        (1..=3).for_each(|client| story.client(client));
        for (day, client) in (1..=3).enumerate() {
            story.hit(day as u64 * DAY, "10.0.0.99", client, 445);
        }
        let alert = opened(&story)[0];
        assert_eq!(alert.detectors, [Detector::LateralMovement]);
        alert.first_contacts
    };
    assert_eq!(opened_at(""), 2);
    let at_once = "[detectors.lateral-movement]\nfirst-contact = \"inside\"\n";
    assert_eq!(opened_at(at_once), 1);
}

#[test]
fn a_host_that_touches_its_own_traps_moves_nowhere_and_a_stranger_neither() {
    let mut story = Story::new("");
    story.client(1);
    story
        .engine
        .lives_at(ClientId([1; 16]), [10, 0, 0, 1].into());
    story.hit(0, "10.0.0.1", 1, 445);
    story.hit(400, "127.0.0.1", 1, 22);
    story.hit(800, SCANNER, 1, 445);
    assert_eq!(story.told(), [""; 0]);
}

/// Sources with one contact each on port 445 of so many clients, chosen by `client`.
fn contacts(client: impl Fn(u8) -> u8) -> Story {
    let mut story = Story::new(NO_FREQUENCY);
    for number in 1..=200 {
        story.client(number);
        story.engine.owns(ClientId([number; 16]), &[445]);
    }
    for number in 0..150_u8 {
        // Each from an IPv6 /48 of its own.
        let source = format!("2001:db8:{number:x}::1");
        let second = u64::from(number) * 300;
        story.hit(second, &source, client(number), 445);
    }
    story
}

#[test]
fn sources_that_never_meet_a_client_twice_share_the_work() {
    let tripped = |story: &Story| {
        let mut detectors = story.alerts.iter().flat_map(|it| it.detectors.clone());
        detectors.any(|it| it == Detector::CoordinatedScan)
    };
    assert!(tripped(&contacts(|number| number + 1)));
    // A multiplication without a carry spreads them, and some meet.
    let independent = |number: u8| number.wrapping_mul(167) % 97 + number % 11 + 1;
    assert!(!tripped(&contacts(independent)));
}

#[test]
fn six_strangers_on_a_quiet_port_are_more_than_usual() {
    let mut story = Story::new(NO_FREQUENCY);
    for day in 0..20_u8 {
        let source = format!("2001:db8:{:x}::1", 0x100 + u16::from(day));
        story.hit(u64::from(day) * DAY, &source, 1 + day % 5, 3389);
    }
    assert_eq!(opened(&story), [] as [&Alert; 0]);
    for number in 0..6_u8 {
        let source = format!("2001:db8:{:x}::1", 0x200 + u16::from(number));
        let second = 30 * DAY + u64::from(number) * 60;
        story.hit(second, &source, 1 + number, 3389);
    }
    let alert = opened(&story)[0];
    assert_eq!(alert.subject, Subject::Port(3389));
    assert_eq!(alert.detectors, [Detector::PortSurge]);
}

/// An incident of a source on two clients, which is over two hours later.
fn over(settings: &str) -> Story {
    let mut story = Story::new(settings);
    for client in [1, 2, 3] {
        story.hit(u64::from(client), SCANNER, client, 22);
    }
    story.tick(2 * HOUR);
    assert_eq!(story.alerts.last().unwrap().action, Action::Close);
    story.alerts.clear();
    story
}

#[test]
fn what_comes_again_soon_goes_on_and_later_recurs_under_the_same_id() {
    let id = {
        let mut story = Story::new(GIVEN);
        for client in [1, 2, 3] {
            story.hit(u64::from(client), SCANNER, client, 22);
        }
        story.alerts[0].incident.clone()
    };
    for (after, action, recurrence) in [
        (2 * HOUR - 600, Action::Update, 0),
        (5 * HOUR, Action::Open, 1),
    ] {
        let mut story = over(GIVEN);
        for second in 0..3 {
            story.hit(after + second, SCANNER, 1, 23);
        }
        let again = &story.alerts[0];
        assert_eq!((&again.incident, again.action), (&id, action));
        assert_eq!(again.recurrence, recurrence);
    }
    let mut story = over(GIVEN);
    for second in 0..3 {
        story.hit(9 * DAY + second, SCANNER, 1, 23);
    }
    assert_ne!(
        story.alerts[0].incident, id,
        "after a week it is another one"
    );
}

#[test]
fn a_scanner_that_was_silent_for_a_week_is_told_of_at_its_first_hit() {
    let after = |silence: u64| {
        let mut story = Story::new("[detectors.silent-client]\nenabled = false\n");
        for hour in 0..5 {
            let trap = 1 + u8::try_from(hour).unwrap();
            story.hit(hour * HOUR, SCANNER, trap, 20 + u16::from(trap));
        }
        story.tick(2 * DAY);
        assert_eq!(story.alerts.last().unwrap().action, Action::Close);
        story.alerts.clear();
        // A trap that it knows: nothing else looks at that.
        story.hit(4 * HOUR + silence, SCANNER, 1, 21);
        story
    };
    assert_eq!(after(6 * DAY).told(), [""; 0]);
    let again = after(8 * DAY);
    assert_eq!(opened(&again)[0].detectors, [Detector::ReturningSource]);
    assert_eq!(opened(&again)[0].hits, 1);
    // Three hits at once are a number that somebody has set; anybody may make them.
    let mut harmless = over(GIVEN);
    harmless.hit(8 * DAY, SCANNER, 9, 8080);
    assert_eq!(harmless.told(), [""; 0]);
}

#[test]
fn a_health_check_that_was_forgotten_is_said_to_come_like_clockwork_once() {
    let mut story = Story::new(NO_FREQUENCY);
    for second in 0..400 {
        story.hit(second, SCANNER, 1, 8080);
    }
    story.tick(4000);
    let last = story.alerts.last().unwrap();
    assert_eq!(last.detectors, [Detector::Hammering]);
    assert_eq!(last.severity, Severity::Low);
    let clockwork = last.notes.iter().filter(|note| note.contains("clockwork"));
    assert_eq!(clockwork.count(), 1, "{:?}", last.notes);
}

#[test]
fn what_was_reported_late_says_so() {
    let mut story = Story::new(GIVEN);
    for second in 0..3 {
        story.late(second, 7200, SCANNER, 1, 22);
    }
    let notes = &story.alerts[0].notes;
    assert!(
        notes.iter().any(|note| note.starts_with("late: ")),
        "{notes:?}"
    );
    assert_eq!(story.alerts[0].first_seen, at(0));
}

#[test]
fn separate_incidents_blame_no_source_for_a_surge() {
    let settings = format!("[incidents]\ncorrelation = \"separate\"\n{NO_FREQUENCY}");
    let mut story = Story::new(&settings);
    story.hit(0, "198.51.100.7", 1, 22);
    for number in 0..6_u8 {
        story.hit(10 * DAY + u64::from(number), SCANNER, 1 + number, 3389);
    }
    let port = Subject::Port(3389);
    let about_it = opened(&story).iter().any(|it| it.subject == port);
    assert!(about_it, "{:?}", story.told());
}

#[test]
fn windows_that_change_are_looked_at_from_then_on() {
    let with = |windows: &str| -> ServerSettings {
        let text = format!("{NO_FREQUENCY}coordinated-scan.windows = {windows}\n");
        toml::from_str(&text).unwrap()
    };
    let mut story = contacts(|_| 1);
    story.alerts.clear();
    story.engine.reload(&with("[\"2days\"]"));
    for number in 0..120_u8 {
        let source = format!("2001:db8:{:x}::1", 0x1000 + u16::from(number));
        story.hit(10 * DAY + u64::from(number) * 300, &source, number + 1, 445);
    }
    let mut detectors = story.alerts.iter().flat_map(|it| it.detectors.clone());
    assert!(detectors.any(|it| it == Detector::CoordinatedScan));
}

#[test]
fn clients_for_which_there_is_no_room_are_not_accused_for_each_other() {
    let mut story = Story::new(&format!("{GIVEN}[limits]\nclients = 8\n"));
    for client in 1..=60 {
        story.hits(1, SCANNER, client, 22, 1000);
    }
    let accused = story
        .alerts
        .iter()
        .filter(|it| it.detector == Detector::LyingClient);
    assert_eq!(accused.count(), 0, "{:?}", story.told());
}

/// The alerts of a story in which the engine is told the time every so many seconds; 0 for never.
fn told(hits: &[(u64, u8, u8, u8)], every: u64) -> Vec<String> {
    let mut story = Story::new("[detectors.silent-client]\nenabled = false\n");
    (0..5).for_each(|client| story.client(client));
    let mut now = 0;
    for (gap, source, client, port) in hits {
        let next = now + gap;
        let ticks = (now..next).filter(|second| every > 0 && second % every == 0);
        ticks.for_each(|second| story.tick(second));
        now = next;
        let source = format!("192.0.{source}.1");
        story.hit(now, &source, *client, 20 + u16::from(*port));
    }
    story.tick(now + 30 * DAY);
    let line = |alert: &Alert| json::line(alert).unwrap();
    story.alerts.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However often the engine is told the time, the same hits give the same alerts, to the byte.
    #[test]
    fn ticks_decide_nothing(
        hits in prop::collection::vec(
            (prop_oneof![0..5_u64, 0..400_u64, 3000..9000_u64], 0..4_u8, 0..5_u8, 0..4_u8),
            1..60,
        ),
        every in 1..100_u64,
    ) {
        prop_assert_eq!(told(&hits, every), told(&hits, 0));
    }
}
