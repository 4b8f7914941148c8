//! That shares hold, whatever comes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::ClientId;
use crate::server::alert::{Severity, Subject};

const BOUND: usize = 48;
const SHARE: usize = 8;
const OUTSIDE: usize = BOUND - BOUND / SHARES;

/// Whose word, of which network, where, how grave, what else, and how many seconds after the one
/// before it.
type Drawn = (u8, u8, bool, u8, u8, u64);

fn witness(number: u8) -> Witness {
    Witness::Client(ClientId([number; 16]))
}

fn network(number: u8) -> Network {
    Network::of([192, 0, number, 0].into())
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + seconds * 1_000_000)
}

fn rank(severity: Severity) -> Rank {
    Rank {
        credence: Credence::Believed,
        severity,
        conduct: Conduct::OfAnybody,
        backing: Backing::Alone,
    }
}

fn place(rank: Rank, whose: u8, of: u8, seconds: u64) -> Place {
    let network = Some(network(of));
    Place::new(rank, witness(whose), network, Zone::Outside, at(seconds))
}

fn key(number: usize) -> Key {
    let number = u16::try_from(number).unwrap();
    Key::Scan(Subject::Port(number))
}

/// Drawn so that some are alike and others differ in one thing only.
fn drawn((whose, of, inside, grave, else_, _): &Drawn, now: u64) -> Place {
    let rank = Rank {
        credence: match else_ % 5 {
            0 => Credence::Doubted,
            _ => Credence::Believed,
        },
        severity: Severity::ALL[usize::from(*grave)],
        conduct: match else_ % 3 {
            0 => Conduct::OfAFleetHost,
            _ => Conduct::OfAnybody,
        },
        backing: match else_ % 2 {
            0 => Backing::Several,
            _ => Backing::Alone,
        },
    };
    let zone = if *inside { Zone::Inside } else { Zone::Outside };
    let network = (*of > 0).then(|| network(*of));
    Place::new(rank, witness(*whose), network, zone, at(now))
}

/// Fills all places with what is as good as this, each of another witness and network.
fn full_of(rank: Rank) -> Places {
    let mut places = Places::new(BOUND);
    for number in 0..OUTSIDE {
        let other = u8::try_from(number).unwrap() + 100;
        let newcomer = place(rank, other, other, 0);
        assert_eq!(places.make_room(&newcomer), Ok(Vec::new()));
        places.take(key(number), &newcomer);
    }
    places
}

#[test]
fn what_is_graver_or_better_witnessed_finds_a_place_at_once() {
    let low = rank(Severity::Low);
    let places = full_of(low);
    let graver = rank(Severity::Medium);
    let witnessed = Rank {
        backing: Backing::Several,
        ..low
    };
    for better in [graver, witnessed] {
        let newcomer = place(better, 1, 1, 1);
        assert_eq!(places.make_room(&newcomer), Ok(vec![key(0)]));
    }
    assert_eq!(places.make_room(&place(low, 1, 1, 1)), Err(Scope::Outside));
}

#[test]
fn between_equals_what_was_quiet_for_ten_minutes_gives_way() {
    let low = rank(Severity::Low);
    let places = full_of(low);
    let newcomer = |seconds| place(low, 1, 1, seconds);
    assert_eq!(places.make_room(&newcomer(600)), Err(Scope::Outside));
    assert_eq!(places.make_room(&newcomer(660)), Ok(vec![key(0)]));
}

#[test]
fn between_equals_the_witness_that_holds_most_gives_way_to_one_that_holds_less() {
    let low = rank(Severity::Low);
    let mut places = Places::new(BOUND);
    for number in 0..OUTSIDE {
        let whose = u8::try_from(number).unwrap() / 7;
        places.take(key(number), &place(low, whose, 100 + whose, 0));
    }
    let newcomer = place(low, 50, 1, 1);
    assert_eq!(places.make_room(&newcomer), Ok(vec![key(0)]));
    let of_one_that_holds_as_much = place(low, 2, 1, 1);
    let refused = places.make_room(&of_one_that_holds_as_much);
    assert_eq!(refused, Err(Scope::Outside));
}

#[test]
fn the_inside_has_room_that_nobody_outside_can_take() {
    let places = full_of(rank(Severity::Critical));
    let newcomer = Place {
        zone: Zone::Inside,
        ..place(rank(Severity::Low), 1, 1, 1)
    };
    assert_eq!(places.make_room(&newcomer), Ok(Vec::new()));
}

#[test]
fn what_is_doubted_gives_way_to_anything_and_makes_nothing_give_way() {
    let doubted = Rank {
        credence: Credence::Doubted,
        ..rank(Severity::Critical)
    };
    let low = rank(Severity::Low);
    let newcomer = |rank| place(rank, 1, 1, 10_000);
    let full = full_of(doubted);
    assert_eq!(full.make_room(&newcomer(low)), Ok(vec![key(0)]));
    let full = full_of(rank(Severity::Informational));
    assert_eq!(full.make_room(&newcomer(doubted)), Err(Scope::Outside));
}

#[test]
fn who_would_need_room_in_two_shares_displaces_one_for_both_if_one_is_in_both() {
    let low = rank(Severity::Low);
    let mut places = Places::new(BOUND);
    for number in 0..SHARE {
        places.take(key(number), &place(low, 1, 1, 0));
    }
    let newcomer = place(rank(Severity::High), 1, 1, 1);
    assert_eq!(places.make_room(&newcomer), Ok(vec![key(0)]));
    // Another network fills up, by what others report.
    for number in SHARE..2 * SHARE {
        places.take(key(number), &place(low, 2, 2, 0));
    }
    let newcomer = place(rank(Severity::High), 1, 2, 1);
    let both = Ok(vec![key(0), key(SHARE)]);
    assert_eq!(places.make_room(&newcomer), both);
}

#[test]
fn the_witnesses_of_a_small_fleet_share_all_places_among_them() {
    let share = |witnesses| {
        let mut places = Places::new(4096);
        places.share_among(witnesses);
        places.share_of_witness()
    };
    let shares = [0, 1, 2, 3, 8, 1000].map(share);
    assert_eq!(shares, [4096, 4096, 2048, 1365, 512, 512]);
}

/// The places, and who holds them as anybody can count.
struct Model {
    places: Places,
    held: BTreeMap<Key, Place>,
}

impl Model {
    fn count(&self, is_meant: impl Fn(&Place) -> bool) -> usize {
        self.held.values().filter(|it| is_meant(it)).count()
    }

    fn assert_that_shares_hold(&self) {
        let Self { places, held } = self;
        assert_eq!(places.taken(), held.len());
        assert!(held.len() <= BOUND);
        assert!(self.count(|it| it.zone == Zone::Outside) <= OUTSIDE);
        for number in 0..8 {
            let of_witness = self.count(|it| it.holder == witness(number));
            assert_eq!(places.held_by(witness(number)), of_witness);
            assert!(of_witness <= SHARE);
            let of_network = self.count(|it| it.network == Some(network(number)));
            assert_eq!(places.networks.count(network(number)), of_network);
            assert!(of_network <= SHARE);
        }
        for (key, place) in held {
            let entry = (place.rank, (place.heard, *key));
            assert!(places.room(place.zone).taken.contains(&entry));
        }
    }

    fn come(&mut self, key: Key, newcomer: Place) {
        match self.places.make_room(&newcomer) {
            Ok(leaving) => {
                for gone in leaving {
                    let former = self.held.remove(&gone).unwrap();
                    assert!(former.rank <= newcomer.rank, "{former:?} for {newcomer:?}");
                    assert_eq!(newcomer.rank.credence, Credence::Believed);
                    self.places.leave(gone, &former);
                }
                self.places.take(key, &newcomer);
                self.held.insert(key, newcomer);
            }
            Err(scope) => {
                let is_in = |it: &&Place| match scope {
                    Scope::Witness(witness) => it.holder == witness,
                    Scope::Network(network) => it.network == Some(network),
                    Scope::Outside => it.zone == Zone::Outside,
                    Scope::All => true,
                };
                let least = self.held.values().filter(is_in).map(|it| it.rank).min();
                let doubted = newcomer.rank.credence == Credence::Doubted;
                assert!(doubted || least >= Some(newcomer.rank), "{newcomer:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_comes_shares_hold_and_nothing_gives_way_to_what_is_less(
        findings in prop::collection::vec(
            (0..8_u8, 0..8_u8, any::<bool>(), 0..5_u8, any::<u8>(), 0..90_u64),
            0..400,
        ),
    ) {
        let places = Places::new(BOUND);
        let mut model = Model { places, held: BTreeMap::new() };
        let mut now = 0;
        for (number, finding) in findings.iter().enumerate() {
            now += finding.5;
            model.come(key(number), drawn(finding, now));
            // One that is open changes now and then, and one in ten ends.
            let known = model.held.keys().nth(usize::from(finding.4) % BOUND).copied();
            if let Some(known) = known {
                let place = model.held.get_mut(&known).unwrap();
                let rank = drawn(finding, now).rank;
                model.places.update(known, place, rank, at(now));
                if number % 10 == 0 {
                    let place = model.held.remove(&known).unwrap();
                    model.places.leave(known, &place);
                }
            }
            model.assert_that_shares_hold();
        }
    }
}
