//! Stories about who is missed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::event::Clocks;
use crate::server::correlate::silent_client::{ALONE, IN_ALL};

/// A client that was there for a day, at an address of its own.
fn established(story: &mut Story, number: u8) {
    story.at(number, [10, 0, 0, number]);
    story.engine.heard(ClientId([number; 16]), at(86_400));
}

/// Identities that have come once, from one address.
fn passers_by(story: &mut Story, count: u16, second: u64) {
    for number in 0..count {
        let id = passer_by(number);
        let _room = story
            .engine
            .welcome(id, &format!("rogue-{number}"), at(second));
        story.engine.lives_at(id, [203, 0, 113, 7].into());
    }
}

fn passer_by(number: u16) -> ClientId {
    let [high, low] = number.to_be_bytes();
    ClientId([high, low, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13])
}

impl Story {
    /// Ticks every second, with heartbeats of these clients.
    fn pass(&mut self, seconds: std::ops::Range<u64>, alive: &[u8]) {
        for second in seconds {
            for number in alive {
                self.engine.heard(ClientId([*number; 16]), at(second));
            }
            self.tick(second);
        }
    }

    /// The names in alerts about silence that were said from this second on.
    fn named(&self, since: u64) -> BTreeSet<String> {
        let alerts = self.alerts.iter().filter(|alert| {
            alert.detector == Detector::SilentClient
                && alert.action != Action::Close
                && alert.time >= at(since)
        });
        let names = alerts.flat_map(|alert| &alert.clients.sample);
        names.map(|(client, _)| client.name.clone()).collect()
    }
}

#[test]
fn identities_that_came_once_hide_no_clients_death() {
    let mut story = Story::new("");
    (1..=10).for_each(|number| established(&mut story, number));
    let start = 86_400;
    passers_by(&mut story, 300, start);
    story.pass(start..start + 700, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    story.alerts.clear();
    let alive = [1, 2, 3, 4, 5];
    story.pass(start + 700..start + 792, &alive);
    let expected: BTreeSet<_> = (6..=10).map(|number| format!("web-{number}")).collect();
    assert_eq!(story.named(start + 700), expected);
    let subjects = story.alerts.iter().map(|alert| alert.subject);
    let subjects: BTreeSet<_> = subjects.map(|subject| subject.to_string()).collect();
    assert_eq!(subjects.len(), 5, "{:?}", story.told());
    assert!(!subjects.contains("fleet"));
}

#[test]
fn rogues_that_have_reported_take_only_their_own_addresss_places() {
    let mut story = Story::new("");
    (1..=3).for_each(|number| established(&mut story, number));
    let start = 86_400;
    passers_by(&mut story, 300, start);
    for number in 0..300 {
        story.engine.advance(passer_by(number), 1, 1);
    }
    story.pass(start..start + 200, &[1, 2, 3]);
    let alone = |alert: &&Alert| matches!(alert.subject, Subject::Client(_));
    assert_eq!(story.alerts.iter().filter(alone).count(), ALONE);
    story.pass(start + 200..start + 300, &[1, 2]);
    let silent = story.alerts.last().unwrap();
    assert_eq!(silent.subject, Subject::Client(ClientId([3; 16])));
}

#[test]
fn many_silent_clients_share_one_incident() {
    let mut story = Story::new("");
    (1..=100).for_each(|number| story.client(number));
    (0..=200).for_each(|second| story.tick(second));
    let opened = story
        .alerts
        .iter()
        .filter(|alert| alert.action == Action::Open)
        .count();
    assert_eq!(opened, ALONE + 1);
    assert!(story.alerts.len() < 20, "{}", story.alerts.len());
    let fleet = story
        .alerts
        .iter()
        .rfind(|alert| alert.subject == Subject::Fleet)
        .unwrap();
    assert_eq!(fleet.clients.count, 95);
}

#[test]
fn a_silent_fleet_is_not_told_of_over_and_over() {
    let mut story = Story::new("");
    (1..=20).for_each(|number| story.client(number));
    (0..=7200).for_each(|second| story.tick(second));
    let fleet = story
        .alerts
        .iter()
        .filter(|alert| alert.subject == Subject::Fleet)
        .count();
    assert!(fleet <= 2, "{:?}", story.told());
}

#[test]
fn clients_stopped_on_purpose_do_not_hide_one_that_vanished() {
    let mut story = Story::new("");
    (1..=6).for_each(|number| story.client(number));
    (1..=5).for_each(|number| story.engine.farewell(ClientId([number; 16])));
    (0..=100).for_each(|second| story.tick(second));
    let vanished = story
        .alerts
        .iter()
        .find(|alert| alert.subject_name.as_deref() == Some("web-6"));
    assert_eq!(vanished.unwrap().severity, Severity::Medium);
}

#[test]
fn in_an_outage_few_have_an_incident_and_the_others_are_counted_and_named() {
    let mut story = Story::new("");
    (1..=60).for_each(|number| established(&mut story, number));
    let start = 86_400;
    story.pass(start..start + 95, &[]);
    let alone = |alert: &&Alert| matches!(alert.subject, Subject::Client(_));
    assert_eq!(story.alerts.iter().filter(alone).count(), IN_ALL);
    let shared = |story: &Story| {
        let mut alerts = story.alerts.iter();
        alerts
            .rfind(|alert| alert.subject == Subject::Fleet)
            .unwrap()
            .clone()
    };
    let first = shared(&story);
    assert_eq!(first.clients.count, 40);
    assert!(
        first.title.starts_with("40 clients not heard from"),
        "{}",
        first.title
    );
    assert!(
        first.title.ends_with("and 24 more: vft clients"),
        "{}",
        first.title
    );
    // One more, when that is long known: it is named within ten minutes.
    established(&mut story, 77);
    story.engine.heard(ClientId([77; 16]), at(start + 2000));
    story.pass(start + 2000..start + 2000 + 700, &[]);
    let later = shared(&story);
    assert!(
        later.title.ends_with("newly silent: web-77"),
        "{}",
        later.title
    );
    assert_eq!(later.clients.count, 41);
}

#[test]
fn the_count_of_the_silent_has_no_upper_bound_and_one_for_one_is_news() {
    let mut story = Story::new("");
    established(&mut story, 1);
    let start = 86_400;
    passers_by(&mut story, 1000, start);
    for number in 0..1000 {
        story.engine.advance(passer_by(number), 1, 1);
    }
    story.pass(start..start + 2000, &[1]);
    let last = |story: &Story| {
        let mut alerts = story.alerts.iter();
        alerts
            .rfind(|alert| alert.subject == Subject::Fleet)
            .unwrap()
            .clone()
    };
    assert_eq!(last(&story).clients.count, 995);
    // One comes back in the moment in which another falls silent: the number is the same as in the
    // last message, the name is new.
    let later = start + 2000;
    story.engine.heard(passer_by(500), at(later));
    story.pass(later..later + 91, &[1]);
    assert_eq!(last(&story).clients.count, 994);
    story.engine.heard(passer_by(600), at(later + 91));
    story.pass(later + 91..later + 100, &[1]);
    let news = last(&story);
    assert_eq!(news.clients.count, 994);
    let named = "newly silent: rogue-500";
    assert!(news.title.ends_with(named), "{}", news.title);
}

#[test]
fn a_clock_that_is_set_back_hides_no_silence_and_one_set_ahead_makes_none() {
    for step in [-3600_i64, 2 * 365 * 86_400] {
        let mut story = Story::new("");
        story.client(7);
        let clocks = |second: u64| Clocks {
            wall: at(second).shifted(step * 1_000_000),
            steady: at(second),
        };
        for second in 0..95 {
            story.engine.heard(ClientId([7; 16]), at(second));
            story.engine.tick(clocks(second), &mut story.alerts);
        }
        assert_eq!(story.told(), [""; 0]);
        for second in 95..186 {
            story.engine.tick(clocks(second), &mut story.alerts);
        }
        assert_eq!(story.alerts.len(), 1, "{step}");
        // What it says is the time of day.
        let since = at(94).shifted(step * 1_000_000).to_string();
        assert!(
            story.alerts[0].title.contains(&since),
            "{}",
            story.alerts[0].title
        );
    }
}

#[test]
fn a_suspended_server_calls_nobody_back_who_was_silent() {
    let mut story = Story::new("");
    established(&mut story, 7);
    established(&mut story, 8);
    let start = 86_400;
    story.pass(start..start + 100, &[8]);
    story.pass(start + 9000..start + 9080, &[]);
    let actions: Vec<_> = story.alerts.iter().map(|alert| alert.action).collect();
    assert_eq!(actions, [Action::Open], "{:?}", story.told());
}

#[test]
fn whoever_was_silent_for_a_day_owns_no_trap_until_it_is_back() {
    let mut story = Story::new("");
    let id = ClientId([7; 16]);
    established(&mut story, 7);
    established(&mut story, 8);
    story.engine.owns(id, &[445, 22, 445]);
    story.engine.owns(ClientId([8; 16]), &[445]);
    let start = 86_400;
    assert_eq!(story.engine.clients.owners(445), 2);
    for hour in 0..=25 {
        story
            .engine
            .heard(ClientId([8; 16]), at(start + hour * 3600));
        story
            .engine
            .tick(at(start + hour * 3600), &mut story.alerts);
        story
            .engine
            .tick(at(start + hour * 3600 + 1), &mut story.alerts);
        story.pass(start + hour * 3600 + 1..start + hour * 3600 + 100, &[8]);
    }
    assert_eq!(story.engine.clients.owners(445), 1);
    assert_eq!(story.engine.clients.owners(22), 0);
    story.engine.heard(id, at(start + 26 * 3600));
    assert_eq!(story.engine.clients.owners(445), 2);
    story.engine.owns(id, &[22]);
    assert_eq!(story.engine.clients.owners(445), 1);
}

/// A client's life: where it is, whether it reports, and when it goes and comes back.
type Life = (u8, bool, u64, u64);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_silent_are_those_who_are_named(
        lives in prop::collection::vec((0..6_u8, any::<bool>(), 0..900_u64, 0..900_u64), 1..=20),
        rogues in 0..300_u16,
    ) {
        let mut story = Story::new("");
        let start = 86_400;
        passers_by(&mut story, rogues, start);
        let numbered: BTreeMap<u8, Life> = (1..).zip(lives).collect();
        for (number, (home, reports, ..)) in &numbered {
            story.at(*number, [10, 0, 0, *home]);
            if *reports {
                story.engine.advance(ClientId([*number; 16]), 1, 1);
            } else {
                story.engine.heard(ClientId([*number; 16]), at(start));
            }
        }
        let gone = |(_, _, from, for_so_long): &Life| *from..from + for_so_long;
        for second in 0..1000 {
            for (number, life) in &numbered {
                if !gone(life).contains(&second) {
                    story.engine.heard(ClientId([*number; 16]), at(start + second));
                }
            }
            story.tick(start + second);
        }
        // All who are gone for good by now are silent at the end, and all others are not.
        let dead: Vec<_> = numbered.iter().filter(|(_, life)| gone(life).end > 1000).collect();
        for second in 1000..2000 {
            for (number, life) in &numbered {
                if gone(life).end <= 1000 {
                    story.engine.heard(ClientId([*number; 16]), at(start + second));
                }
            }
            story.tick(start + second);
        }
        for (number, (_, _, from, _)) in &dead {
            let name = format!("web-{number}");
            prop_assert!(story.named(start + from).contains(&name), "{}: {:?}", name, story.told());
        }
        for (number, (_, _, from, for_so_long)) in &numbered {
            if *for_so_long <= 90 {
                let name = format!("web-{number}");
                prop_assert!(!story.named(0).contains(&name), "{} at {}", name, from);
            }
        }
    }
}

#[test]
fn a_new_reason_why_the_server_falls_short_is_said_at_once_however_often_others_were() {
    let mut story = Story::new("");
    for (second, reason) in [(0, "a"), (10, "b"), (20, "c"), (30, "d")] {
        story.engine.fell_short(reason.to_owned(), at(second));
        story.tick(second + 5);
        let last = story.alerts.last().unwrap();
        assert!(last.notes.contains(&reason.to_owned()), "{:?}", last.notes);
    }
    // And what is no news is not said again.
    story.alerts.clear();
    for second in 36..3000 {
        story.engine.fell_short("d".to_owned(), at(second));
        story.tick(second);
    }
    assert_eq!(story.told(), [""; 0]);
}
