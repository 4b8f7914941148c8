//! Roll-outs, hosts that are installed anew, and those who make identities for nothing.

use super::*;
use crate::config::server::ServerSettings;
use crate::server::alert::{Action, Alert};

const DAY: u64 = 86_400;

/// A fleet whose first client came at the beginning, and what is said of those that come.
struct Fleet {
    engine: Correlator,
    alerts: Vec<Alert>,
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + second * 1_000_000)
}

fn id(number: u32) -> ClientId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    ClientId(id)
}

fn address(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
}

impl Fleet {
    fn new() -> Self {
        let settings = "[detectors.silent-client]\nenabled = false\n";
        let settings: ServerSettings = toml::from_str(settings).unwrap();
        let mut fleet = Self {
            engine: Correlator::new(&settings),
            alerts: Vec::new(),
        };
        fleet.come(0, 0, "web-0", address(0));
        fleet
    }

    /// A client comes, as the intake hears of it.
    fn come(&mut self, second: u64, number: u32, name: &str, address: IpAddr) {
        let (client, now) = (id(number), at(second));
        let before = self.engine.client(client).map(|it| it.name.clone());
        let _room = self.engine.welcome(client, name, now);
        self.engine.lives_at(client, address);
        self.engine.see_newcomer(&Newcomer {
            client,
            address,
            before: before.as_deref(),
            now,
        });
        self.engine.tick(now, &mut self.alerts);
    }

    /// `action severity subject: title` of each alert so far.
    fn told(&mut self) -> Vec<String> {
        let line = |alert: Alert| {
            let (action, severity) = (alert.action.name(), alert.severity.name());
            format!("{action} {severity} {}: {}", alert.subject, alert.title)
        };
        self.alerts.drain(..).map(line).collect()
    }
}

#[test]
fn in_the_first_day_of_a_fleet_nothing_is_said_of_newcomers() {
    let mut fleet = Fleet::new();
    for number in 1..1000 {
        fleet.come(
            DAY - 1000 + u64::from(number),
            number,
            &format!("web-{number}"),
            address(number),
        );
    }
    assert_eq!(fleet.told(), [""; 0]);
}

#[test]
fn a_newcomer_is_named_and_a_roll_out_of_ten_thousand_is_a_handful_of_lines() {
    let mut fleet = Fleet::new();
    fleet.come(2 * DAY, 1, "web-1", address(1));
    let alert = fleet.alerts[0].clone();
    assert_eq!(alert.notes, ["the latest: web-1"]);
    assert_eq!(fleet.told(), ["open informational fleet: 1 new client"]);
    // 40 a second.
    for number in 2..10_000 {
        let second = 2 * DAY + u64::from(number) / 40;
        fleet.come(second, number, &format!("web-{number}"), address(number));
    }
    fleet.engine.tick(at(3 * DAY), &mut fleet.alerts);
    assert!(fleet.alerts.len() <= 6, "{:?}", fleet.told());
    let last = fleet.alerts.last().unwrap();
    assert_eq!(last.action, Action::Close);
    assert_eq!(last.title, "9999 new clients");
    assert!(
        last.notes[0].ends_with("web-9998, web-9999"),
        "{:?}",
        last.notes
    );
    assert_eq!(last.allow_hint, None);
}

#[test]
fn an_address_that_brings_many_is_medium_even_on_the_first_day() {
    let mut fleet = Fleet::new();
    let nat = address(9);
    for number in 1..=31 {
        fleet.come(100 + u64::from(number), number, &format!("x-{number}"), nat);
    }
    assert_eq!(fleet.told(), [""; 0]);
    fleet.come(200, 32, "x-32", nat);
    assert_eq!(
        fleet.told(),
        ["open medium 10.0.0.9: 32 new clients from this address"]
    );
    for number in 33..600 {
        fleet.come(200, number, &format!("x-{number}"), nat);
    }
    fleet.engine.tick(at(210), &mut fleet.alerts);
    let told = fleet.told();
    assert_eq!(
        told,
        ["update medium 10.0.0.9: 599 new clients from this address"]
    );
}

#[test]
fn an_address_that_has_many_clients_may_bring_as_many_more() {
    let mut fleet = Fleet::new();
    let nat = address(9);
    for number in 1..=100 {
        fleet.come(100, number, &format!("x-{number}"), nat);
    }
    fleet.engine.tick(at(DAY / 2), &mut fleet.alerts);
    fleet.alerts.clear();
    for number in 101..=199 {
        fleet.come(DAY / 2, number, &format!("x-{number}"), nat);
    }
    fleet.engine.tick(at(DAY / 2 + 60), &mut fleet.alerts);
    assert_eq!(fleet.told(), [""; 0]);
    fleet.come(DAY / 2 + 61, 200, "x-200", nat);
    fleet.come(DAY / 2 + 61, 201, "x-201", nat);
    assert_eq!(fleet.told().len(), 1);
}

#[test]
fn slowly_made_identities_are_no_flood() {
    let mut fleet = Fleet::new();
    for number in 1..500 {
        let second = u64::from(number) * 130;
        fleet.come(second, number, &format!("x-{number}"), address(9));
    }
    assert_eq!(fleet.told(), [""; 0]);
}

#[test]
fn who_takes_the_name_of_a_client_that_is_there_is_medium_from_the_first_minute_on() {
    let mut fleet = Fleet::new();
    fleet.come(10, 1, "web-7", address(1));
    fleet.come(60, 2, "web-7", address(2));
    let alert = fleet.alerts[0].clone();
    let other = format!(
        "client {} at 10.0.0.1 has this name, too, and is there",
        id(1)
    );
    assert_eq!(alert.notes, [other]);
    assert_eq!(alert.subject, Subject::Client(id(2)));
    assert_eq!(alert.severity, Severity::Medium);
    fleet.alerts.clear();
    // That it comes again is no news, and that it changes its name is.
    fleet.come(61, 2, "web-7", address(2));
    fleet.come(62, 3, "db-1", address(3));
    assert_eq!(fleet.told(), [""; 0]);
    fleet.come(63, 3, "web-7", address(3));
    assert_eq!(fleet.alerts.len(), 1);
}

#[test]
fn a_host_that_was_installed_anew_and_a_second_client_on_one_host_are_informational() {
    let mut fleet = Fleet::new();
    fleet.come(2 * DAY, 1, "web-7", address(1));
    fleet.engine.tick(at(2 * DAY + 7200), &mut fleet.alerts);
    fleet.alerts.clear();
    fleet.come(3 * DAY, 2, "web-7", address(1));
    let told = fleet.told();
    assert!(
        told.iter().all(|line| line.contains("informational")),
        "{told:?}"
    );
    let subject = Subject::Client(id(2));
    let of_name =
        format!("open informational {subject}: a new client has the name of one that is not there");
    assert!(told.contains(&of_name), "{told:?}");
    fleet.come(3 * DAY + 5, 3, "web-7", address(1));
    let told = fleet.told();
    assert!(told.iter().all(|line| !line.contains("medium")), "{told:?}");
}

#[test]
fn who_takes_one_name_a_thousand_times_makes_few_alerts() {
    let mut fleet = Fleet::new();
    for number in 1..1000 {
        fleet.come(60, number, "web-0", address(number));
    }
    assert_eq!(fleet.told().len(), SINGLE);
}

#[test]
fn names_of_clients_that_are_forgotten_do_not_pile_up() {
    let mut fleet = Fleet::new();
    for number in 1..10_000 {
        fleet.come(60, number, &format!("x-{number}"), address(number));
        fleet.engine.forget(id(number));
    }
    assert!(fleet.engine.newcomers.names.len() <= IN_VAIN + 10);
}

#[test]
fn switched_off_it_says_nothing() {
    let mut fleet = Fleet::new();
    fleet.engine.detectors.new_client.enabled = false;
    for number in 1..100 {
        fleet.come(3 * DAY, number, "web-0", address(9));
    }
    assert_eq!(fleet.told(), [""; 0]);
}
