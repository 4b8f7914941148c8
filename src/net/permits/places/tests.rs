//! What is true of places whoever comes, and small stories of strangers.

use super::*;
use crate::clock;
use proptest::prelude::*;
use std::collections::BTreeMap as Map;

fn host(number: u16) -> Origin {
    let [high, low] = number.to_be_bytes();
    let address = IpAddr::from([10, 0, high, low]);
    let site = address;
    Origin { address, site }
}

fn places(total: usize, per_address: usize) -> Places<u16> {
    Places::new(Bounds { total, per_address })
}

/// The chance with which nobody is refused early.
const LUCK: u32 = u32::MAX;

/// Has so many hosts take so many places each, all at once.
fn crowd(places: &mut Places<u16>, hosts: u16, each: usize, now: Instant) {
    for host_number in 0..hosts {
        for _ in 0..each {
            let found = places.admit(host(host_number), host_number, now, LUCK);
            assert_eq!(found.map(|found| found.displaced), Ok(None));
        }
    }
}

#[test]
fn whoever_has_most_gives_way_at_once() {
    let (mut places, now) = (places(10, 8), clock::monotonic());
    crowd(&mut places, 1, 7, now);
    places.admit(host(1), 1, now, LUCK).unwrap();
    for newcomer in [2, 3, 4, 5, 6] {
        let found = places.admit(host(newcomer), newcomer, now, 0).unwrap();
        let expected = (newcomer > 3).then_some(0);
        assert_eq!(found.displaced, expected, "host {newcomer}");
    }
}

#[test]
fn places_end_up_shared_evenly_whoever_asks_for_more() {
    let (mut places, now) = (places(12, 12), clock::monotonic());
    crowd(&mut places, 1, 12, now);
    for _ in 0..20 {
        for newcomer in [1, 2] {
            drop(places.admit(host(newcomer), newcomer, now, LUCK));
        }
    }
    let shares = [0, 1, 2].map(|number| places.sites.size(host(number).site));
    assert_eq!(shares, [4, 4, 4]);
}

#[test]
fn in_a_rush_of_one_place_each_nobody_is_thrown_out_before_its_grace_is_over() {
    let (mut places, now) = (places(4, 4), clock::monotonic());
    crowd(&mut places, 4, 1, now);
    let soon = now + GRACE / 2;
    assert_eq!(places.admit(host(9), 9, soon, LUCK), Err(9));
    let later = now + GRACE;
    let displaced = |places: &mut Places<u16>, number| {
        let found = places.admit(host(number), number, later, LUCK);
        found.map(|found| found.displaced)
    };
    for oldest in 0..4 {
        assert_eq!(displaced(&mut places, 10 + oldest), Ok(Some(oldest)));
    }
    assert_eq!(displaced(&mut places, 20), Err(20));
}

#[test]
fn an_address_has_its_bound_and_its_own_oldest_gives_way_after_its_grace() {
    let (mut places, now) = (places(10, 2), clock::monotonic());
    crowd(&mut places, 1, 2, now);
    assert_eq!(places.admit(host(0), 7, now + GRACE / 2, LUCK), Err(7));
    let found = places.admit(host(0), 7, now + GRACE, LUCK).unwrap();
    assert_eq!(found.displaced, Some(0));
}

#[test]
fn beyond_half_chance_refuses_those_who_have_their_share_and_nobody_else() {
    // Of 100 places one site has 50 and another 10; each newcomer makes it three.
    let (mut places, now) = (places(100, 100), clock::monotonic());
    crowd(&mut places, 1, 50, now);
    for _ in 0..10 {
        places.admit(host(1), 1, now, LUCK).unwrap();
    }
    // 30 % at half, and at 60 of 100 another fifth of what is left to 100 %: 44 %.
    let at = |percent: u64| u32::try_from((percent << 32) / 100).unwrap();
    assert!(places.drops_early(50, at(43)));
    assert!(!places.drops_early(50, at(45)));
    assert!(!places.drops_early(32, 0), "fewer than a third");
    assert!(!places.drops_early(0, 0));
}

#[test]
fn a_pinned_place_costs_its_address_and_gives_way_to_others() {
    let (mut places, now) = (places(3, 2), clock::monotonic());
    let (before, until) = (now + GRACE * 4, now + GRACE * 5);
    for _ in 0..2 {
        let id = places.admit(host(0), 0, now, LUCK).unwrap().id;
        places.pin(id, until);
    }
    places.admit(host(1), 1, now, LUCK).unwrap();
    let displaced = places.admit(host(2), 2, now, LUCK).unwrap().displaced;
    assert_eq!(displaced, Some(0));
    assert_eq!(places.admit(host(0), 0, before, LUCK), Err(0));
    assert!(places.admit(host(0), 0, until, LUCK).is_ok(), "time is up");
}

#[test]
fn pins_without_connections_are_bounded() {
    let (mut places, now) = (places(8, 8), clock::monotonic());
    for number in 0..1000 {
        let id = places.admit(host(number), number, now, LUCK).unwrap().id;
        places.pin(id, now + GRACE);
        places.end(id, now);
    }
    assert_eq!(places.pins.outliving.len(), 8);
    assert_eq!(places.pins.count.len(), 8);
    places.pins.release(now + GRACE);
    assert!(places.pins.outliving.is_empty() && places.pins.count.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Come(u16, u32),
    Leave(usize),
    Pin(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..30_u16, any::<u32>()).prop_map(|(who, chance)| Step::Come(who, chance)),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Pin),
        1 => (0..1500_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whoever_has_less_than_its_fair_share_gets_a_place_and_keeps_it(
        steps in prop::collection::vec(step(), 1..400)
    ) {
        const TOTAL: usize = 20;
        const EACH: usize = 6;
        let (mut places, mut now) = (places(TOTAL, EACH), clock::monotonic());
        let mut held = Map::<u64, u16>::new();
        for step in steps {
            let pick = |index: usize| held.keys().nth(index % held.len().max(1)).copied();
            match step {
                Step::Come(who, chance) => {
                    let of = |who| held.values().filter(|it| **it == who).count();
                    let mut wanting: Vec<_> = held.values().copied().chain([who]).collect();
                    wanting.sort_unstable();
                    wanting.dedup();
                    let share = TOTAL / wanting.len();
                    let charged = of(who) + places.pins.of(host(who).address);
                    match places.admit(host(who), who, now, chance) {
                        Err(_) => prop_assert!(of(who) >= share || charged >= EACH),
                        Ok(found) => {
                            if let Some(loser) = found.displaced {
                                prop_assert!(of(loser) >= share || loser == who);
                                // The loser's place is one that the core does not hold any more.
                                held.retain(|id, _| places.held.contains_key(id));
                            }
                            held.insert(found.id, who);
                        }
                    }
                }
                Step::Leave(index) => if let Some(id) = pick(index) {
                    prop_assert_eq!(places.end(id, now), held.remove(&id));
                },
                Step::Pin(index) => if let Some(id) = pick(index) {
                    places.pin(id, now + GRACE * 3);
                },
                Step::Wait(millis) => now += Duration::from_millis(millis),
            }
            prop_assert!(held.len() <= TOTAL);
            prop_assert_eq!(places.held.len(), held.len());
            prop_assert!(places.pins.outliving.len() <= TOTAL);
            for number in 0..30 {
                let origin = host(number);
                let count = held.values().filter(|it| **it == number).count();
                prop_assert_eq!(places.sites.size(origin.site), count);
                let charged = places.loose.size(origin.address) + places.pins.of(origin.address);
                prop_assert!((count..=EACH).contains(&charged));
            }
        }
    }
}
