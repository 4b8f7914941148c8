//! Who is in doubt, and for how long.

use super::*;
use crate::event::ClientId;

const NOON: Timestamp = Timestamp::from_micros(1_795_003_200_000_000);

fn minute(minute: u64) -> Timestamp {
    NOON.after(Duration::from_secs(60 * minute))
}

/// Reports of witnesses, minute by minute.
struct Fleet(Reports);

impl Fleet {
    /// So many witnesses, each of which has reported something.
    fn of(witnesses: u8) -> Self {
        let mut fleet = Self(Reports::new(Secret::default()));
        (1..=witnesses).for_each(|witness| fleet.idle(witness, NOON));
        fleet
    }

    fn idle(&mut self, witness: u8, now: Timestamp) {
        assert_eq!(self.hit(witness, [192, 0, 2, 1], now), None);
    }

    fn hit(&mut self, witness: u8, source: [u8; 4], now: Timestamp) -> Option<Flood> {
        let witness = Witness::Client(ClientId([witness; 16]));
        let settings = LyingClient::default();
        self.0.add(witness, source.into(), now, &settings)
    }

    /// A witness reports so many networks that nobody else sees; the first and the last finding.
    fn flood(&mut self, witness: u8, networks: u16, now: Timestamp) -> Option<(u16, Flood)> {
        let mut found = None;
        for network in 0..networks {
            let [high, low] = network.to_be_bytes();
            if let Some(flood) = self.hit(witness, [10 + witness, high, low, 7], now) {
                found = Some((found.map_or(network, |(first, _)| first), flood));
            }
        }
        found
    }
}

#[test]
fn one_that_alone_reports_a_thousand_networks_is_found() {
    let mut fleet = Fleet::of(20);
    let (first, flood) = fleet.flood(7, 1200, minute(5)).unwrap();
    // Two networks meet in a cell by chance now and then.
    assert!((999..1020).contains(&first), "{first}");
    assert_eq!(flood.doubt.from, minute(5));
    assert_eq!(flood.doubt.until, minute(65));
}

#[test]
fn hits_of_few_sources_put_nobody_in_doubt_however_many_they_are() {
    let mut fleet = Fleet::of(20);
    for number in 0..100_000_u32 {
        let [.., high, low] = number.to_be_bytes();
        assert_eq!(fleet.hit(7, [198, 51, 100, low], minute(1)), None);
        assert_eq!(fleet.hit(8, [203, 0, high % 200, low], minute(1)), None);
    }
}

#[test]
fn networks_that_another_witness_reports_as_well_are_no_lie() {
    let mut fleet = Fleet::of(20);
    for network in 0..5000_u16 {
        let [high, low] = network.to_be_bytes();
        for witness in [7, 8] {
            let found = fleet.hit(witness, [20, high, low, 1], minute(1));
            assert_eq!(found, None);
        }
    }
}

#[test]
fn a_small_fleet_has_nothing_to_compare_with() {
    assert_eq!(Fleet::of(7).flood(7, 5000, minute(1)), None);
    assert!(Fleet::of(8).flood(7, 5000, minute(1)).is_some());
}

#[test]
fn a_wave_that_meets_all_hosts_alike_puts_none_of_them_in_doubt() {
    let mut fleet = Fleet::of(10);
    for network in 0..3000_u16 {
        let [high, low] = network.to_be_bytes();
        for witness in 1..=10 {
            let found = fleet.hit(witness, [10 + witness, high, low, 1], minute(1));
            assert_eq!(found, None, "{witness}: {network}");
        }
    }
}

#[test]
fn a_host_that_many_strangers_always_touch_is_not_in_doubt_for_it() {
    let mut fleet = Fleet::of(20);
    // 400 networks an hour is what it has seen for two days; 2,000 is a bad hour.
    for hour in 1..=48 {
        (1..=20).for_each(|witness| fleet.idle(witness, minute(60 * hour)));
        assert_eq!(fleet.flood(7, 400, minute(60 * hour)), None);
    }
    (1..=20).for_each(|witness| fleet.idle(witness, minute(60 * 49)));
    assert_eq!(fleet.flood(7, 2000, minute(60 * 49)), None);
}

#[test]
fn a_flood_does_not_excuse_the_next_one() {
    let mut fleet = Fleet::of(20);
    for hour in 0..6 {
        (1..=20).for_each(|witness| fleet.idle(witness, minute(60 * hour)));
        let found = fleet.flood(7, 3000, minute(60 * hour));
        assert!(found.is_some(), "in hour {hour}");
    }
}

#[test]
fn what_is_part_of_no_flood_prolongs_no_doubt() {
    let mut fleet = Fleet::of(20);
    assert!(fleet.flood(7, 1200, minute(5)).is_some());
    // The same sources again, and one that others see: no network is new.
    assert_eq!(fleet.flood(7, 1200, minute(30)), None);
    fleet.idle(7, minute(50));
}
