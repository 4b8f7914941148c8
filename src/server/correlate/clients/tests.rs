//! What the engine knows of its clients.

use std::collections::BTreeSet;

use super::*;
use proptest::prelude::*;

const ID: ClientId = ClientId([1; 16]);

fn clients() -> Clients {
    let mut clients = Clients::new(2, Duration::ZERO);
    let _room = clients.welcome(ID, "web-1", Timestamp::default());
    clients
}

#[test]
fn of_several_clients_at_one_address_none_is_named() {
    let mut clients = clients();
    let (other, nat) = (ClientId([2; 16]), IpAddr::from([192, 0, 2, 1]));
    let _room = clients.welcome(other, "web-2", Timestamp::default());
    clients.lives_at(ID, nat);
    assert_eq!(clients.at(nat), Some(ID));
    clients.lives_at(other, nat);
    assert_eq!(clients.at(nat), None);
    assert!(clients.is_home(nat) && clients.is_home_of(other, nat));
    clients.lives_at(ID, [192, 0, 2, 2].into());
    assert_eq!(clients.at(nat), Some(other));
    assert!(!clients.is_home_of(ID, nat));
}

#[test]
fn clients_at_one_address_are_one_witness() {
    let mut clients = clients();
    let other = ClientId([2; 16]);
    let _room = clients.welcome(other, "web-2", Timestamp::default());
    assert_eq!(clients.witness(ID), Witness::Client(ID));
    clients.lives_at(ID, "2001:db8::1".parse().unwrap());
    clients.lives_at(other, "2001:db8::2".parse().unwrap());
    assert_eq!(clients.witness(ID), clients.witness(other));
    clients.lives_at(other, [192, 0, 2, 1].into());
    assert_ne!(clients.witness(ID), clients.witness(other));
}

#[test]
fn what_came_twice_is_not_new() {
    let mut clients = clients();
    assert_eq!(
        clients.advance(ID, 1, 3),
        Fresh {
            duplicates: 0,
            gap: None,
            up_to: 3
        }
    );
    assert_eq!(
        clients.advance(ID, 1, 3),
        Fresh {
            duplicates: 3,
            gap: None,
            up_to: 3
        }
    );
    assert_eq!(
        clients.advance(ID, 2, 4),
        Fresh {
            duplicates: 2,
            gap: None,
            up_to: 5
        }
    );
}

#[test]
fn what_never_came_is_a_gap() {
    let mut clients = clients();
    assert_eq!(clients.advance(ID, 41, 1).gap, None);
    assert_eq!(clients.advance(ID, 45, 1).gap, Some(42..=44));
    assert_eq!(clients.get(ID).unwrap().missing, 3);
}

#[test]
fn the_client_not_heard_from_for_longest_is_forgotten_first() {
    let mut clients = clients();
    let _room = clients.welcome(ClientId([2; 16]), "web-2", Timestamp::from_micros(2));
    let _room = clients.welcome(ClientId([3; 16]), "web-3", Timestamp::from_micros(3));
    assert!(clients.get(ID).is_none());
}

#[test]
fn a_client_that_has_reported_outlives_those_that_have_not_however_long_it_is_away() {
    let second = |second: u64| Timestamp::from_micros(second * 1_000_000);
    let id = |number: u16| {
        let [high, low] = number.to_be_bytes();
        ClientId([high, low, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    };
    let mut clients = Clients::new(10, Duration::from_secs(90));
    let _room = clients.welcome(ID, "web-1", second(0));
    clients.advance(ID, 1, 1);
    for number in 0..1000 {
        let now = second(100 * u64::from(number));
        assert_eq!(clients.welcome(id(number), "rogue", now), Room::Found);
    }
    assert_eq!(clients.len(), 10);
    assert!(clients.get(ID).is_some());
    // Those not heard from for longest went first.
    assert!((991..1000).all(|number| clients.get(id(number)).is_some()));
}

#[test]
fn nobody_who_is_there_is_forgotten() {
    let mut clients = Clients::new(2, Duration::from_secs(90));
    let second = |second: u64| Timestamp::from_micros(second * 1_000_000);
    let (a, b, c) = (ID, ClientId([2; 16]), ClientId([3; 16]));
    let _room = clients.welcome(a, "web-1", second(0));
    let _room = clients.welcome(b, "web-2", second(50));
    assert_eq!(clients.welcome(c, "web-3", second(90)), Room::None);
    clients.heard(a, second(100));
    assert_eq!(clients.welcome(c, "web-3", second(150)), Room::Found);
    assert!(clients.get(a).is_some() && clients.get(b).is_none());
    // One that said goodbye goes at once.
    clients.farewell(a);
    assert_eq!(clients.welcome(b, "web-2", second(151)), Room::Found);
    assert!(clients.get(a).is_none());
}

proptest! {
    #[test]
    fn however_reports_overlap_each_number_is_new_once(
        reports in prop::collection::vec((0..20_u64, 1..10_usize), 1..40)
    ) {
        let mut clients = clients();
        let mut taken = BTreeSet::new();
        let mut sent = 1;
        for (back, count) in reports {
            let first = sent - back.min(sent - 1);
            let fresh = clients.advance(ID, first, count);
            for number in first + fresh.duplicates as u64..first + count as u64 {
                prop_assert!(taken.insert(number), "{number} was new twice");
            }
            sent = sent.max(first + count as u64);
            prop_assert_eq!(fresh.up_to, sent - 1);
        }
        prop_assert_eq!(taken.len() as u64, sent - 1);
    }
}
