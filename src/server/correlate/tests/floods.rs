//! Stories of those who try to take all places, so that nobody else is heard.

use std::net::IpAddr;

use crate::event::ClientId;
use crate::server::alert::{Action, Alert, Severity, Subject, Zone};
use crate::server::correlate::doubt::Doubt;
use crate::server::correlate::tests::{Story, at};

/// The honest clients that a sweep touches, and those that somebody else owns.
const HOSTS: u8 = 20;
const ROGUES: std::ops::Range<u8> = 101..109;

const INTRUDER: &str = "203.0.113.66";

/// A fleet in which everybody has an address of their own.
fn fleet(settings: &str) -> Story {
    // Places must be shared well even if nobody is doubted.
    let quiet = "[detectors]\nsilent-client.enabled = false\nlying-client.enabled = false\n";
    let mut story = Story::new(&format!("{settings}{quiet}"));
    for client in (1..=HOSTS).chain(ROGUES) {
        story.client(client);
        let home = IpAddr::from([10, 9, 0, client]);
        story.engine.lives_at(ClientId([client; 16]), home);
    }
    story
}

/// Three hits on each of so many sources that a client has made up, on one trap or on three.
fn invent(story: &mut Story, client: u8, sources: impl Iterator<Item = String>, ports: u16) {
    for source in sources {
        for number in 0..3 {
            story.hit(1, &source, client, 22 + number % ports);
        }
    }
}

fn strangers(first: u8) -> impl Iterator<Item = String> {
    (0..4200_u16).map(move |number| {
        let [high, low] = number.to_be_bytes();
        format!("{first}.{}.{low}.7", high + 1)
    })
}

fn neighbours(first: u8) -> impl Iterator<Item = String> {
    (0..4200_u16).map(move |number| {
        let [high, low] = number.to_be_bytes();
        format!("10.{first}.{high}.{low}")
    })
}

/// A sweep over the honest clients, port by port. How severe the alerts about it are, and behind
/// which of its hits each came.
fn sweep(story: &mut Story) -> Vec<(usize, Severity)> {
    let mut told = Vec::new();
    let seen = story.alerts.len();
    let ports = [22, 80, 445, 3389, 8080];
    let hits = ports
        .iter()
        .flat_map(|port| (1..=HOSTS).map(move |client| (*port, client)));
    for (number, (port, client)) in hits.enumerate() {
        story.hit(2 + number as u64 / 20, INTRUDER, client, port);
        told.resize(story.alerts.len() - seen, number);
    }
    let about = |alert: &Alert| alert.subject.to_string() == INTRUDER;
    let alerts = story.alerts[seen..].iter().zip(told);
    let alerts = alerts.filter(|(alert, _)| about(alert));
    alerts
        .map(|(alert, number)| (number, alert.severity))
        .collect()
}

/// A host of the fleet touches another one's trap: how severe that is.
fn lateral_movement(story: &mut Story) -> Option<Severity> {
    let seen = story.alerts.len();
    story.hit(30, "10.9.0.3", 4, 445);
    let opened = story.alerts[seen..].iter();
    let mut opened = opened.filter(|alert| alert.action == Action::Open);
    let alert = opened.find(|alert| alert.subject.to_string() == "10.9.0.3")?;
    assert_eq!(alert.zone, Some(Zone::Inside));
    Some(alert.severity)
}

/// As many are open as were opened and have not ended, and each that ended early says why.
fn assert_that_it_adds_up(story: &Story) {
    let turnover = story.engine.turnover();
    let open = story.engine.incidents.places().taken() as u64;
    let ended = turnover.closed + turnover.displaced;
    assert_eq!(turnover.opened, ended + open, "{turnover:?}");
    let count = |is_meant: fn(&Alert) -> bool| {
        let scans = story
            .alerts
            .iter()
            .filter(|it| !it.detector.is_about_health());
        scans.filter(|alert| is_meant(alert)).count() as u64
    };
    assert_eq!(count(|it| it.action == Action::Open), turnover.opened);
    let early = |alert: &Alert| {
        let early = |note: &String| note.starts_with("closed early: its place was needed for ");
        alert.action == Action::Close && alert.notes.iter().any(early)
    };
    assert_eq!(count(early), turnover.displaced);
}

fn degraded(story: &Story) -> Vec<&Alert> {
    let alerts = story.alerts.iter();
    alerts.filter(|it| it.subject == Subject::Fleet).collect()
}

/// Whatever somebody does first, a sweep and a lateral movement after it are reported as severely
/// and as early as without.
fn assert_that_others_are_heard(flood: impl Fn(&mut Story)) -> Story {
    let mut undisturbed = fleet("");
    let mut story = fleet("");
    flood(&mut story);
    let (expected, sweep) = (sweep(&mut undisturbed), sweep(&mut story));
    assert_eq!(
        expected,
        [(2, Severity::Critical)],
        "the third hit opens it"
    );
    assert_eq!(sweep, expected);
    let moves = lateral_movement(&mut story);
    assert_eq!(moves, lateral_movement(&mut undisturbed));
    assert_eq!(moves, Some(Severity::High));
    assert_that_it_adds_up(&story);
    story
}

#[test]
fn a_client_that_makes_up_thousands_of_sources_does_not_keep_others_from_being_heard() {
    for ports in [1, 3] {
        let story = assert_that_others_are_heard(|story| {
            invent(story, 101, strangers(45), ports);
        });
        let places = story.engine.incidents.places();
        let (_, most) = places.busiest_witness().unwrap();
        assert_eq!(most, 512, "an eighth of all places");
    }
}

#[test]
fn nor_do_eight_clients_at_eight_addresses() {
    for ports in [1, 3] {
        assert_that_others_are_heard(|story| {
            for (client, first) in ROGUES.zip(45..) {
                invent(story, client, strangers(first).take(600), ports);
                invent(story, client, neighbours(first).take(600), ports);
            }
        });
    }
}

#[test]
fn nor_do_five_clients_that_confirm_each_other() {
    assert_that_others_are_heard(|story| {
        for source in strangers(45).chain(neighbours(45)) {
            for client in 101..106 {
                story.hit(1, &source, client, 22);
            }
        }
    });
}

#[test]
fn nor_does_a_stranger_with_a_network_of_addresses() {
    let story = assert_that_others_are_heard(|story| {
        for number in 0..4300 {
            let source = format!("2001:db8:7:{number:x}::1");
            (0..3).for_each(|_| story.hit(1, &source, 5, 22));
        }
    });
    let (network, most) = story.engine.incidents.places().busiest_network().unwrap();
    assert_eq!(network.to_string(), "2001:db8:7::/48");
    // The trap and its client have an incident each, by the same client's word.
    assert_eq!(most, 510);
}

#[test]
fn scans_of_single_hosts_are_heard_beside_eight_clients_that_make_up_scans_as_grave() {
    let mut story = fleet("");
    // An honest one that is quiet is older than all that is made up.
    (22..25).for_each(|port| story.hit(0, "198.51.100.1", 9, port));
    for (client, first) in ROGUES.zip(45..) {
        invent(&mut story, client, strangers(first).take(600), 3);
        invent(&mut story, client, neighbours(first).take(600), 3);
    }
    for client in 1..=HOSTS {
        let intruder = format!("203.0.{client}.66");
        (22..25).for_each(|port| story.hit(2, &intruder, client, port));
        let last = story.alerts.last().unwrap();
        assert_eq!(last.subject.to_string(), intruder);
        assert_eq!((last.action, last.severity), (Action::Open, Severity::High));
    }
    assert_that_it_adds_up(&story);
}

#[test]
fn hosts_inside_that_are_made_up_do_not_push_a_real_lateral_movement_out() {
    let mut story = fleet("");
    assert_eq!(lateral_movement(&mut story), Some(Severity::High));
    for (client, first) in ROGUES.zip(45..) {
        invent(&mut story, client, neighbours(first).take(600), 3);
    }
    let closed = story.alerts.iter().filter(|it| it.action == Action::Close);
    let mut closed = closed.map(|alert| alert.subject.to_string());
    assert!(closed.all(|subject| subject != "10.9.0.3"));
    story.hit(40, "10.9.0.3", 6, 445);
    story.tick(50);
    let told = story.told();
    let last = told.iter().rfind(|it| it.contains("10.9.0.3 ")).unwrap();
    assert!(last.starts_with("update 10.9.0.3"), "{last}");
}

#[test]
fn findings_that_are_lost_are_reported_at_once_with_who_holds_the_places() {
    let mut story = fleet("");
    invent(&mut story, 101, strangers(45), 1);
    let at_once = degraded(&story);
    assert_eq!(at_once.len(), 1);
    assert_eq!(
        (at_once[0].severity, at_once[0].time),
        (Severity::High, at(1))
    );
    assert_eq!(
        at_once[0].title,
        "3 findings opened no incident, for want of a place: reports of web-101 at 10.9.0.101 \
         hold 512 of 4096 places; 512 is the most that one of them can hold (`limits.incidents`)"
    );
    story.tick(6);
    let lost = story.engine.turnover().unopened;
    let since = &degraded(&story)[1].title;
    let expected = format!(
        "{} findings opened no incident since the last alert",
        lost - 3
    );
    assert!(since.starts_with(&expected), "{since}");
}

#[test]
fn what_only_a_doubted_client_reports_gives_way_to_anything() {
    let mut story = fleet("[limits]\nincidents = 16\n");
    invent(&mut story, 101, strangers(45).take(8), 3);
    let touch = |story: &mut Story, client: u8| {
        story.hits(2, &format!("198.51.{client}.1"), client, 22, 3);
    };
    (1..=6).for_each(|client| touch(&mut story, client));
    touch(&mut story, 7);
    let told = story.told().len();
    assert_eq!(story.engine.turnover().displaced, 0);
    let witness = story.engine.clients.witness(ClientId([101; 16]));
    let (from, until) = (at(0), at(3600));
    story.engine.incidents.doubt(witness, Doubt { from, until });
    touch(&mut story, 8);
    let told = &story.told()[told..];
    assert!(told[0].starts_with("close 45."), "{told:?}");
    assert!(told[1].starts_with("open 198.51.8.1"), "{told:?}");
    let notes = &story.alerts.iter().rfind(|it| it.action == Action::Close);
    let notes = &notes.unwrap().notes;
    let why = "closed early: its place was needed for 198.51.8.1";
    assert!(notes.iter().any(|note| note == why), "{notes:?}");
    assert_that_it_adds_up(&story);
}

/// Four sources touch one port of a client each, and before each of them something else happens. At
/// which of them an incident about the port opens.
fn port_alarm(story: &mut Story, before: impl Fn(&mut Story, u8)) -> Option<u8> {
    (1..=4).find(|number| {
        before(story, *number);
        let seen = story.alerts.len();
        let source = format!("198.51.{number}.1");
        story.hit(10 + 2 * u64::from(*number), &source, *number, 3389);
        let opened =
            |alert: &Alert| alert.subject == Subject::Port(3389) && alert.action == Action::Open;
        story.alerts[seen..].iter().any(opened)
    })
}

#[test]
fn clients_that_make_up_ports_do_not_drive_the_history_of_a_real_port_out() {
    let undisturbed = port_alarm(&mut fleet(""), |_, _| {});
    assert_eq!(undisturbed, Some(3));
    let mut story = fleet("");
    // They name the real port first, so that it is theirs.
    for client in 101..106 {
        story.hit(1, "45.1.1.1", client, 3389);
    }
    let disturbed = port_alarm(&mut story, |story, number| {
        let second = 10 + 2 * u64::from(number);
        for port in 4000..8200 {
            for client in 101..106_u8 {
                let made_up = port + 4200 * u16::from(client - 101) + u16::from(number);
                story.hit(second, "45.1.1.1", client, made_up);
            }
        }
    });
    assert_eq!(disturbed, undisturbed);
}

#[test]
fn identities_at_one_address_share_one_quota_of_new_sources() {
    let mut story = fleet("memory = \"16MiB\"\n");
    for client in 102..109 {
        let home = IpAddr::from([10, 9, 0, 101]);
        story.engine.lives_at(ClientId([client; 16]), home);
    }
    for (client, first) in ROGUES.zip(45..) {
        for source in strangers(first) {
            story.hit(1, &source, client, 22);
        }
    }
    let (sources, networks) = (
        &story.engine.sources.outside,
        &story.engine.sources.networks,
    );
    assert_eq!(sources.len(), sources.capacity() / 8);
    assert_eq!(networks.len(), networks.capacity() / 8);
}
