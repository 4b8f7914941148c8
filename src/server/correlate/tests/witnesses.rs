//! Stories about who is believed.

use std::net::Ipv4Addr;

use super::*;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// A fleet of hosts, each at an address of its own, each of which a stranger has touched once.
fn fleet(settings: &str, hosts: u8) -> Story {
    let mut story = Story::new(settings);
    for client in 1..=hosts {
        story.at(client, [10, 0, 0, client]);
        story.hit(1, &format!("192.0.2.{client}"), client, 22);
    }
    story.alerts.clear();
    story
}

/// So many places for incidents that one client's flood does not take its share of them.
const ROOMY: &str = "[limits]\nincidents = 16384\n";

impl Story {
    /// A client comes from this address.
    pub fn at(&mut self, client: u8, address: impl Into<IpAddr>) {
        self.client(client);
        self.engine.lives_at(ClientId([client; 16]), address.into());
    }

    /// A client reports so many networks that nobody else sees, three hits of each.
    fn flood(&mut self, second: u64, client: u8, networks: u16) {
        for network in 0..networks {
            let [high, low] = network.to_be_bytes();
            let source = Ipv4Addr::new(50 + client, high, low, 1).to_string();
            self.hits(second, &source, client, 4444, 3);
        }
    }

    /// The last alert about a source.
    fn about(&self, source: &str) -> &Alert {
        let mut alerts = self.alerts.iter().rev();
        let about = |alert: &&Alert| alert.subject.to_string() == source;
        alerts.find(about).unwrap_or_else(|| panic!("{source}"))
    }

    fn scan(&mut self, second: u64, source: &str, client: u8) {
        for port in [22, 80, 3389] {
            self.hit(second, source, client, port);
        }
    }
}

#[test]
fn ten_identities_at_one_address_are_a_single_reporter() {
    let tell = |address: fn(u8) -> [u8; 4]| {
        let mut story = Story::new("");
        for client in 1..=10 {
            story.at(client, address(client));
            story.hit(1, "10.9.9.9", client, 22);
        }
        story.tick(6);
        story.about("10.9.9.9").clone()
    };
    let framed = tell(|_| [203, 0, 113, 7]);
    assert_eq!((framed.severity, framed.confidence), (Severity::High, 40));
    assert_eq!((framed.clients.count, framed.witnesses), (10, 1));
    let notes = ["single reporter", "10 clients at one address report it"];
    assert_eq!(framed.notes[..2], notes);
    let seen = tell(|client| [203, 0, 113, client]);
    assert_eq!((seen.severity, seen.confidence), (Severity::Critical, 95));
    assert_eq!((seen.clients.count, seen.witnesses), (10, 10));
    assert_eq!(seen.notes, [""; 0]);
}

#[test]
fn where_some_share_an_address_the_alert_says_how_many_they_count_as() {
    let mut story = Story::new("");
    for client in 1..=6 {
        story.at(client, [203, 0, 113, client / 3]);
        story.hit(client.into(), SCANNER, client, 22);
    }
    story.tick(20);
    let alert = story.about(SCANNER);
    assert_eq!(alert.witnesses, 3);
    assert_eq!(
        alert.notes,
        ["6 clients report it, but they count as 3 witnesses: some share an address"]
    );
}

#[test]
fn identities_beyond_those_that_are_told_apart_hide_no_witness() {
    let mut story = Story::new("");
    let id = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut id = [9; 16];
        (id[0], id[1]) = (high, low);
        ClientId(id)
    };
    for number in 0..310_u16 {
        let room = story.engine.welcome(id(number), "web", at(0));
        assert_eq!(room, Room::Found);
        let [_, low] = number.to_be_bytes();
        let home = if number < 300 { 7 } else { low };
        story
            .engine
            .lives_at(id(number), [203, 0, 113, home].into());
        for port in 22..26 {
            story.hit_of(id(number), 5, SCANNER, port);
        }
    }
    story.tick(4000);
    let alert = story.about(SCANNER);
    assert_eq!((alert.witnesses, alert.severity), (11, Severity::Critical));
}

#[test]
fn behind_a_nat_that_is_named_those_who_were_there_for_a_day_count_each_by_itself() {
    let mut story = Story::new("nat = [\"203.0.113.7\"]\n");
    for client in 1..=10 {
        story.at(client, [203, 0, 113, 7]);
    }
    let scanned = |story: &mut Story, source: &str, second| {
        (1..=10).for_each(|client| story.hit(second, source, client, 22));
        story.tick(second + 10);
        story.about(source).witnesses
    };
    assert_eq!(scanned(&mut story, "192.0.2.1", 10), 1);
    for client in 1..=6 {
        story.engine.heard(ClientId([client; 16]), at(DAY));
    }
    // The other four are together one.
    assert_eq!(scanned(&mut story, "192.0.2.2", DAY + 10), 7);
}

#[test]
fn a_name_that_two_clients_bear_is_shown_with_their_ids() {
    let mut story = Story::new("");
    story.scan(1, SCANNER, 7);
    assert!(story.about(SCANNER).title.contains("(web-7)"));
    let namesake = ClientId([0xab; 16]);
    let _room = story.engine.welcome(namesake, "web-7", at(2));
    story.hit(3, SCANNER, 7, 445);
    story.tick(10);
    let title = &story.about(SCANNER).title;
    assert!(title.contains("(web-7 (07070707))"), "{title}");
    assert_eq!(story.engine.client_name(namesake), "web-7 (abababab)");
    // It goes by another name, and nobody is in the way any more.
    let _room = story.engine.welcome(namesake, "web-8", at(11));
    assert_eq!(story.engine.client_name(ClientId([7; 16])), "web-7");
}

#[test]
fn a_stranger_who_connects_a_thousand_times_discredits_no_host() {
    let mut story = fleet("", 20);
    story.hits(100, "198.51.100.9", 3, 22, 600);
    story.hits(200, "198.51.100.9", 3, 22, 600);
    story.scan(300, "10.0.0.5", 3);
    let found = story.about("10.0.0.5");
    assert_eq!(found.severity, Severity::High);
    assert_eq!(found.notes[0], "single reporter");
    let lying = |alert: &Alert| alert.detector == Detector::LyingClient;
    assert!(!story.alerts.iter().any(lying), "{:?}", story.told());
}

#[test]
fn what_is_part_of_a_flood_is_low_and_nothing_else_is() {
    let mut story = fleet(ROOMY, 20);
    // One that was there before the flood.
    story.hit(10, "198.51.100.1", 7, 80);
    story.flood(MINUTE, 7, 1100);
    let liar = story.about(&ClientId([7; 16]).to_string());
    assert_eq!(
        (liar.detector, liar.severity),
        (Detector::LyingClient, Severity::Medium)
    );
    assert!(
        liar.title.starts_with("reports 1000 networks or more"),
        "{}",
        liar.title
    );
    for (number, client) in [(2, 7), (1, 7), (3, 8)] {
        story.scan(2 * MINUTE, &format!("198.51.100.{number}"), client);
    }
    story.scan(2 * MINUTE, "10.0.0.5", 7);
    story.tick(2 * MINUTE + 10);
    let severity = |story: &Story, source: &str| {
        let found = story.about(source);
        (found.severity, found.confidence)
    };
    let (low, high) = ((Severity::Low, 20), (Severity::High, 80));
    assert_eq!(severity(&story, "198.51.100.2"), low);
    let notes = &story.about("198.51.100.2").notes;
    let until = at(MINUTE + HOUR).to_string();
    assert!(
        notes[1].starts_with("in doubt") && notes[1].contains(&until),
        "{notes:?}"
    );
    // Known from before, seen by another host, on a host of the fleet.
    for source in ["198.51.100.1", "198.51.100.3", "10.0.0.5"] {
        assert_eq!(severity(&story, source), high, "{source}");
    }
    // A second witness confirms it.
    story.hit(3 * MINUTE, "198.51.100.2", 8, 22);
    story.tick(4 * MINUTE);
    assert_eq!(severity(&story, "198.51.100.2").0, Severity::Critical);
}

#[test]
fn a_doubt_ends_an_hour_after_the_flood_and_makes_no_lie_true() {
    let mut story = fleet(ROOMY, 20);
    story.flood(MINUTE, 7, 1100);
    story.scan(2 * MINUTE, "198.51.100.2", 7);
    let later = 2 * MINUTE + HOUR + 1;
    story.hit(later, "198.51.100.2", 7, 445);
    story.scan(later, "198.51.100.4", 7);
    story.tick(later + 10 * MINUTE);
    assert_eq!(story.about("198.51.100.2").severity, Severity::Low);
    assert_eq!(story.about("198.51.100.4").severity, Severity::High);
}

#[test]
fn a_port_named_often_has_one_owner_and_a_coordinated_scan_stays_one() {
    let mut story = Story::new("");
    for client in 1..=120 {
        story.at(client, [10, 0, 1, client]);
        story.engine.owns(ClientId([client; 16]), &[445]);
    }
    story.at(200, [10, 0, 1, 200]);
    story.engine.owns(ClientId([200; 16]), &[445; 1024]);
    for number in 0..100_u8 {
        let source = format!("198.51.{number}.1");
        story.hit(10 * DAY + u64::from(number) * 30, &source, number + 1, 445);
    }
    let coordinated = |alert: &&Alert| alert.detectors.contains(&Detector::CoordinatedScan);
    let found = story.alerts.iter().rfind(coordinated).unwrap();
    assert_eq!(found.severity, Severity::Critical);
}

#[test]
fn lies_that_are_dated_back_are_part_of_the_flood_as_well() {
    let mut story = fleet(ROOMY, 20);
    story.flood(3 * HOUR, 7, 1100);
    for port in [22, 80, 3389] {
        story.late(2 * HOUR, HOUR + MINUTE, "198.51.100.2", 7, port);
    }
    assert_eq!(story.about("198.51.100.2").severity, Severity::Low);
}

#[test]
fn whoever_was_quiet_until_the_next_hour_is_found_as_well() {
    let mut story = fleet(ROOMY, 20);
    story.flood(HOUR + MINUTE, 7, 1100);
    let liar = story.about(&ClientId([7; 16]).to_string());
    assert_eq!(liar.detector, Detector::LyingClient);
}

#[test]
fn whoever_touches_their_own_traps_first_hides_no_step_to_another_host() {
    // So many that four hosts are less than a tenth of them.
    let mut story = fleet("", 60);
    let own = |story: &mut Story, second| {
        for port in [22, 80, 445] {
            story.hit(second, "10.0.0.1", 1, port);
        }
        story.tick(second);
    };
    for second in [100, 106, 172] {
        own(&mut story, second);
    }
    story.alerts.clear();
    for (second, client) in (180..).zip(2..=4) {
        story.hit(second, "10.0.0.1", client, 445);
    }
    story.tick(190);
    let found = story.about("10.0.0.1");
    assert_eq!(found.severity, Severity::Critical);
    assert!(found.time <= at(190), "{}", found.time);
    assert!(found.detectors.contains(&Detector::LateralMovement));
}

#[test]
fn what_one_address_has_said_of_a_source_beforehand_does_not_hold_back_what_others_say() {
    let mut story = fleet("", 100);
    for rogue in 101..=140 {
        story.at(rogue, [10, 0, 1, 1]);
        for port in 1..=20 {
            story.hits(100, SCANNER, rogue, port, u32::MAX / 4);
        }
    }
    for second in [105, 170, 200] {
        story.tick(second);
    }
    let before = story.about(SCANNER);
    assert_eq!((before.severity, before.witnesses), (Severity::High, 1));
    story.alerts.clear();
    for client in 1..=5 {
        story.hit(210 + u64::from(client), SCANNER, client, 22);
    }
    story.tick(220);
    assert_eq!(story.about(SCANNER).witnesses, 6);
}

#[test]
fn clients_that_nobody_knows_any_more_are_nobodys_witnesses() {
    let mut story = fleet("", 20);
    for client in 1..=8 {
        story.hit(100, SCANNER, client, 22);
    }
    story.tick(110);
    assert_eq!(story.about(SCANNER).witnesses, 8);
    // A server that starts again, after they were blocked.
    let mut story = Story::new("");
    for client in 1..=8_u8 {
        story.hit_of(ClientId([client; 16]), 100, SCANNER, 22);
    }
    story.tick(110);
    let found = story.about(SCANNER);
    assert_eq!((found.severity, found.witnesses), (Severity::High, 0));
}

#[test]
fn evidence_of_a_client_that_was_forgotten_is_not_taken_for_that_of_the_next_one() {
    let mut story = fleet("", 8);
    story.hit(100, SCANNER, 1, 22);
    story.engine.forget(ClientId([1; 16]));
    story.at(77, [10, 0, 0, 77]);
    story.hit(101, SCANNER, 2, 22);
    story.hit(102, SCANNER, 2, 80);
    let found = story.about(SCANNER);
    let names: Vec<_> = found
        .clients
        .sample
        .iter()
        .map(|(it, _)| &it.name)
        .collect();
    assert!(!names.contains(&&"web-77".to_owned()), "{names:?}");
    assert_eq!(found.witnesses, 1);
}
