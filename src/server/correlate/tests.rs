//! What the engine says of small stories.

mod beyond;
mod floods;
mod rogues;
mod silence;
mod witnesses;

use std::net::IpAddr;
use std::num::NonZeroU32;

use super::*;
use crate::event::{Hit, Probe};
use crate::server::alert::{Action, Severity, Subject};

/// A fleet and what happens to it, second by second.
pub struct Story {
    engine: Correlator,
    alerts: Vec<Alert>,
    sequence: u64,
}

pub fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + seconds * 1_000_000)
}

impl Story {
    fn new(settings: &str) -> Self {
        let settings: ServerSettings = toml::from_str(settings).unwrap();
        Self {
            engine: Correlator::new(&settings),
            alerts: Vec::new(),
            sequence: 0,
        }
    }

    fn client(&mut self, number: u8) {
        let _room = self
            .engine
            .welcome(ClientId([number; 16]), &format!("web-{number}"), at(0));
    }

    fn hit(&mut self, second: u64, source: &str, client: u8, port: u16) {
        self.hits(second, source, client, port, 1);
    }

    fn late(&mut self, second: u64, late: u64, source: &str, client: u8, port: u16) {
        self.seen(second, late, source, client, port, 1);
    }

    fn hits(&mut self, second: u64, source: &str, client: u8, port: u16, count: u32) {
        self.seen(second, 0, source, client, port, count);
    }

    #[expect(clippy::too_many_arguments, reason = "they read like a sentence")]
    fn seen(&mut self, second: u64, late: u64, source: &str, client: u8, port: u16, count: u32) {
        self.client(client);
        self.touched(ClientId([client; 16]), second, late, source, port, count);
    }

    fn hit_of(&mut self, client: ClientId, second: u64, source: &str, port: u16) {
        self.touched(client, second, 0, source, port, 1);
    }

    #[expect(clippy::too_many_arguments, reason = "they read like a sentence")]
    fn touched(
        &mut self,
        client: ClientId,
        second: u64,
        late: u64,
        source: &str,
        port: u16,
        count: u32,
    ) {
        self.sequence += 1;
        let hit = Hit {
            first: at(second),
            last: at(second),
            source: source.parse::<IpAddr>().unwrap(),
            source_port: 40_000,
            trap_port: port,
            probe: Probe::Connect,
            count: NonZeroU32::new(count).unwrap(),
        };
        let event = Event {
            client,
            sequence: self.sequence,
            received: at(second + late),
            at: at(second),
            hit,
        };
        self.engine.event(&event, &mut self.alerts);
    }

    fn tick(&mut self, second: u64) {
        self.engine.tick(at(second), &mut self.alerts);
    }

    /// `action subject [detectors] hits` of each alert so far.
    fn told(&self) -> Vec<String> {
        let line = |alert: &Alert| {
            let detectors: Vec<_> = alert.detectors.iter().map(|d| d.name()).collect();
            let (action, subject) = (alert.action.name(), alert.subject);
            format!("{action} {subject} {detectors:?} {}", alert.hits).replace('"', "")
        };
        self.alerts.iter().map(line).collect()
    }
}

pub const SCANNER: &str = "192.0.2.66";

/// Only the three frequency detectors.
pub const GIVEN: &str = "[detectors]\nslow-scan.enabled = false\nsubnet-scan.enabled = false\n\
                     port-surge.enabled = false\nclient-surge.enabled = false\n\
                     silent-client.enabled = false\n";

#[test]
fn a_vertical_scan_of_one_client_is_one_incident_of_its_source() {
    let mut story = Story::new(GIVEN);
    for (second, port) in [22, 80, 445, 3389, 8080].into_iter().enumerate() {
        story.hit(second as u64, SCANNER, 7, port);
    }
    story.tick(10);
    story.tick(3700);
    assert_eq!(
        story.told(),
        [
            "open 192.0.2.66 [frequent-source, frequent-client] 3",
            "update 192.0.2.66 [frequent-source, frequent-client] 5",
            "close 192.0.2.66 [frequent-source, frequent-client] 5",
        ]
    );
    let last = story.alerts.last().unwrap();
    assert_eq!(last.severity, Severity::High);
    assert_eq!(
        last.title,
        "5 hits on 1 client (web-7), ports 22 80 445 3389 8080, over 4s"
    );
    assert_eq!(last.notes, ["single reporter"]);
    let ids: Vec<_> = story.alerts.iter().map(|alert| &alert.incident).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_horizontal_scan_names_all_its_clients() {
    let mut story = Story::new("");
    for client in 1..=4 {
        story.hit(client.into(), SCANNER, client, 22);
    }
    story.tick(30);
    let last = story.alerts.last().unwrap();
    assert_eq!(
        story.told(),
        [
            "open 192.0.2.66 [frequent-source, frequent-port] 3",
            "update 192.0.2.66 [frequent-source, frequent-port] 4",
        ]
    );
    assert_eq!(last.clients.count, 4);
    assert!(
        last.title.contains("4 clients (web-1 web-2 web-3 web-4)"),
        "{}",
        last.title
    );
}

#[test]
fn three_sources_on_one_port_blame_no_source() {
    let mut story = Story::new("");
    for number in 1..=3_u8 {
        story.hit(number.into(), &format!("192.0.2.{number}"), number, 3389);
    }
    assert_eq!(story.told(), ["open 3389 [frequent-port] 3"]);
    assert_eq!(story.alerts[0].sources.count, 3);
    assert_eq!(story.alerts[0].allow_hint, None);
}

#[test]
fn three_sources_on_one_client_are_that_clients_incident() {
    let mut story = Story::new("");
    for number in 1..=3_u8 {
        story.hit(
            number.into(),
            &format!("192.0.2.{number}"),
            7,
            1000 + u16::from(number),
        );
    }
    let id = ClientId([7; 16]).to_string();
    assert_eq!(story.told(), [format!("open {id} [frequent-client] 3")]);
    assert_eq!(story.alerts[0].subject_name.as_deref(), Some("web-7"));
}

#[test]
fn thresholds_are_exact_at_both_ends() {
    let mut story = Story::new(GIVEN);
    story.hit(0, SCANNER, 1, 22);
    story.hit(1, SCANNER, 2, 23);
    story.hit(301, SCANNER, 3, 24);
    assert_eq!(story.told(), [""; 0]);
    story.hit(301, SCANNER, 4, 25);
    assert_eq!(story.told(), ["open 192.0.2.66 [frequent-source] 4"]);

    let mut story = Story::new(GIVEN);
    story.hit(0, SCANNER, 1, 22);
    story.hit(1, SCANNER, 2, 23);
    story.hit(300, SCANNER, 3, 24);
    assert_eq!(story.told(), ["open 192.0.2.66 [frequent-source] 3"]);
}

#[test]
fn a_merged_hit_counts_as_its_count() {
    let mut story = Story::new("");
    story.hits(0, SCANNER, 1, 22, 500);
    assert_eq!(
        story.told(),
        ["open 192.0.2.66 [frequent-source, frequent-port, frequent-client] 500"]
    );
    assert_eq!(story.alerts[0].severity, Severity::Low);
}

#[test]
fn a_merged_hit_drives_no_evidence_out() {
    let mut story = Story::new("");
    story.hit(0, SCANNER, 1, 22);
    story.hit(1, SCANNER, 2, 80);
    story.hits(2, SCANNER, 3, 445, 500);
    assert_eq!(
        story.told(),
        ["open 192.0.2.66 [frequent-source, frequent-port, frequent-client] 502"]
    );
    let alert = &story.alerts[0];
    assert_eq!((alert.ports.count, alert.clients.count), (3, 3));
    assert_eq!(alert.severity, Severity::High);
}

#[test]
fn separate_correlation_gives_each_detector_its_own_incident() {
    let mut story = Story::new("[incidents]\ncorrelation = \"separate\"");
    for second in 0..3 {
        story.hit(second, SCANNER, 7, 22);
    }
    let id = ClientId([7; 16]).to_string();
    assert_eq!(
        story.told(),
        [
            "open 192.0.2.66 [frequent-source] 3".to_owned(),
            "open 22 [frequent-port] 3".to_owned(),
            format!("open {id} [frequent-client] 3"),
        ]
    );
}

#[test]
fn a_source_that_fills_a_port_alarm_is_blamed_even_if_its_own_rule_is_off() {
    let mut story = Story::new("[detectors.frequent-source]\nenabled = false");
    for client in 1..=3 {
        story.hit(client.into(), SCANNER, client, 22);
    }
    assert_eq!(story.told(), ["open 192.0.2.66 [frequent-port] 3"]);
}

#[test]
fn what_a_scanner_does_hides_nobody_else() {
    let mut story = Story::new("");
    for second in 0..100 {
        story.hit(second, SCANNER, 1, 22);
    }
    for number in 1..=3_u8 {
        story.hit(100, &format!("198.51.100.{number}"), number + 1, 22);
    }
    let told = story.told();
    assert!(
        told.contains(&"open 22 [frequent-port] 3".to_owned()),
        "{told:?}"
    );
}

#[test]
fn rules_may_ask_for_distinct_clients_and_ports() {
    let mut story = Story::new(
        "[detectors.frequent-source]\nmin-clients = 2\nmin-ports = 2\n\
         [detectors.frequent-port]\nenabled = false\n[detectors.frequent-client]\nenabled = false",
    );
    for second in 0..10 {
        story.hit(second, SCANNER, 1, 22);
    }
    story.hit(10, SCANNER, 2, 22);
    assert_eq!(story.told(), [""; 0]);
    story.hit(11, SCANNER, 1, 23);
    assert_eq!(story.told().len(), 1);
}

#[test]
fn neighbours_in_an_ipv6_64_are_one_source() {
    let mut story = Story::new("");
    for host in 1..=3 {
        story.hit(host, &format!("2001:db8:0:1::{host}"), 1, 22);
    }
    let told = story.told();
    assert!(told[0].starts_with("open 2001:db8:0:1::/64"), "{told:?}");
    assert_eq!(story.alerts[0].sources.count, 3);
}

#[test]
fn what_is_allowed_raises_nothing_and_is_counted() {
    let mut story = Story::new("[[allow]]\nnetwork = \"192.0.2.66\"\nports = \"22\"");
    for second in 0..5 {
        story.hit(second, SCANNER, 1, 22);
    }
    assert_eq!(story.told(), [""; 0]);
    assert_eq!(
        story
            .engine
            .allow_list()
            .iter()
            .map(|(_, n)| n)
            .sum::<u64>(),
        5
    );
}

#[test]
fn the_allow_hint_mutes_exactly_the_incident() {
    let mut story = Story::new("");
    for (second, port) in [22, 80, 445].into_iter().enumerate() {
        story.hit(second as u64, SCANNER, 7, port);
    }
    let hint = story.alerts[0].allow_hint.clone().unwrap();
    let mut muted = Story::new(&hint);
    for (second, port) in [22, 80, 445].into_iter().enumerate() {
        muted.hit(second as u64, SCANNER, 7, port);
    }
    assert_eq!(muted.told(), [""; 0]);
    muted.hits(9, SCANNER, 7, 8080, 3);
    assert_eq!(muted.told().len(), 1, "another port is not muted");
}

#[test]
fn a_client_that_falls_silent_is_reported_until_it_is_back() {
    let mut story = Story::new("");
    story.client(7);
    for second in 0..=90 {
        story.tick(second);
    }
    assert_eq!(story.told(), [""; 0]);
    story.tick(91);
    story.engine.heard(ClientId([7; 16]), at(92));
    story.tick(92);
    let actions: Vec<_> = story.alerts.iter().map(|alert| alert.action).collect();
    assert_eq!(actions, [Action::Open, Action::Close]);
    let open = &story.alerts[0];
    assert_eq!(open.subject_name.as_deref(), Some("web-7"));
    assert!(
        open.title.starts_with("not heard from since 2026-"),
        "{}",
        open.title
    );
}

#[test]
fn a_server_that_was_suspended_calls_nobody_silent() {
    let mut story = Story::new("");
    story.client(7);
    story.tick(1);
    story.tick(4000);
    story.tick(4060);
    assert_eq!(story.told(), [""; 0]);
}

#[test]
fn calm_incidents_give_way_when_there_are_too_many_and_busy_ones_do_not() {
    let mut story = Story::new("[limits]\nincidents = 2\n");
    for number in 1..=3_u8 {
        let source = format!("192.0.2.{number}");
        story.hits(number.into(), &source, number, number.into(), 3);
    }
    let closed = |story: &Story| {
        let closed = story.alerts.iter().filter(|it| it.action == Action::Close);
        closed.map(|it| it.subject.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(closed(&story), [""; 0]);
    story.hits(500, "192.0.2.2", 2, 2, 1);
    story.hits(700, "192.0.2.3", 3, 3, 3);
    assert_eq!(closed(&story), ["192.0.2.1"]);
    let told = story.told();
    assert!(
        told.last().unwrap().starts_with("open 192.0.2.3"),
        "{told:?}"
    );
}

#[test]
fn a_backlog_is_exact_within_itself() {
    let mut story = Story::new("");
    story.hit(10_000, SCANNER, 9, 22);
    for (second, client) in (0..5).zip(1..=5) {
        story.late(second, 10_001, SCANNER, client, 1000 + u16::from(client));
    }
    let told = story.told();
    assert!(
        told.contains(&"open 192.0.2.66 [frequent-source] 3".to_owned()),
        "{told:?}"
    );
}

#[test]
fn late_hits_do_not_open_and_close_in_turn() {
    let mut story = Story::new("");
    for second in 0..10 {
        story.late(second, 20_000, SCANNER, 1, 22);
        story.tick(second + 20_000);
    }
    story
        .alerts
        .retain(|alert| alert.detector != Detector::SilentClient);
    let opened = story
        .alerts
        .iter()
        .filter(|alert| alert.action == Action::Open)
        .count();
    let closed = story
        .alerts
        .iter()
        .filter(|alert| alert.action == Action::Close)
        .count();
    assert_eq!((opened, closed), (1, 0), "{:?}", story.told());
}

#[test]
fn a_scanner_that_moves_on_to_another_host_is_told_of_again() {
    let mut story = Story::new("");
    for second in 0..5 {
        story.hit(second, SCANNER, 1, 1000 + u16::try_from(second).unwrap());
    }
    story.tick(10);
    for second in 100..105 {
        story.hit(second, SCANNER, 2, 900 + u16::try_from(second).unwrap());
    }
    story.tick(106);
    assert_eq!(
        story.alerts.last().unwrap().clients.count,
        2,
        "{:?}",
        story.told()
    );
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let mut story = Story::new("");
    for second in 10_000..10_003 {
        story.hit(second, SCANNER, 1, 22);
    }
    for second in 0..5 {
        story.hit(second, SCANNER, 2, 23);
    }
    assert_eq!(
        story.alerts.last().unwrap().clients.count,
        2,
        "{:?}",
        story.told()
    );
}
