//! Roll-outs, and those who only look like one.

use super::*;
use crate::clock;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const FIVE_MINUTES: Duration = Duration::from_secs(300);

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

/// As the settings have it.
fn usual() -> Pace {
    Pace::of(&Limits::default())
}

/// A server of a fleet that is older than a day.
fn slow(pace: Pace) -> Admission {
    Admission::new(None, pace)
}

const FOUNDED: Option<Timestamp> = Some(Timestamp::from_micros(0));

fn ask(admission: &Admission, address: IpAddr, now: Instant) -> Result<(), Refusal> {
    admission.admit(address, FOUNDED, at(10 * 86_400), now)
}

fn v4(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
}

/// How long it takes until all of them are in, if they behave as clients do: they wait as told, and
/// on top up to 250 ms, then up to twice as long each time, and 30 s at most.
fn rolled_out(admission: &Admission, addresses: impl Iterator<Item = IpAddr>) -> Duration {
    let mut random = StdRng::seed_from_u64(7);
    let start = clock::monotonic();
    let mut coming: BinaryHeap<_> = addresses
        .map(|address| Reverse((Duration::ZERO, 0_u32, address)))
        .collect();
    let mut last = Duration::ZERO;
    while let Some(Reverse((when, failures, address))) = coming.pop() {
        last = when;
        if let Err(refusal) = ask(admission, address, start + when) {
            let told = Duration::from_millis(refusal.message().retry_after_millis);
            let most = Duration::from_millis(250) * 2_u32.saturating_pow(failures.min(7));
            let jitter = most.min(Duration::from_secs(30)).mul_f64(random.random());
            coming.push(Reverse((when + told + jitter, failures + 1, address)));
        }
    }
    last
}

#[test]
fn ten_thousand_hosts_are_in_within_five_minutes_though_the_fleet_is_old() {
    let took = rolled_out(&slow(usual()), (0..10_000).map(v4));
    assert!(took < FIVE_MINUTES, "{took:?}");
}

#[test]
fn five_hundred_hosts_behind_one_address_are_in_within_five_minutes() {
    let took = rolled_out(&slow(usual()), (0..500).map(|_| v4(1)));
    assert!(took < FIVE_MINUTES, "{took:?}");
}

#[test]
fn who_waits_as_told_is_in_when_it_is_their_turn() {
    let pace = Pace {
        per_minute: 2400.0,
        burst: 1000.0,
    };
    // What is left takes 225 s to earn.
    let took = rolled_out(&slow(pace), (0..10_000).map(v4));
    assert!(took < FIVE_MINUTES, "{took:?}");
    // One address has one token, and another one each second: they must not come at once.
    let pace = Pace {
        per_minute: 1200.0,
        burst: 20.0,
    };
    let took = rolled_out(&slow(pace), (0..20).map(|_| v4(1)));
    assert!(took < Duration::from_secs(45), "{took:?}");
}

/// How many get in within an hour that come from these addresses in turn, a hundred times a second.
fn assault(admission: &Admission, addresses: &[IpAddr]) -> usize {
    let start = clock::monotonic();
    let tries = (0..360_000_u64).zip(addresses.iter().cycle());
    tries
        .filter(|(number, address)| {
            let now = start + Duration::from_millis(10 * *number);
            ask(admission, **address, now).is_ok()
        })
        .count()
}

#[test]
fn who_makes_identities_at_one_address_gets_hardly_more_than_a_nat_would() {
    let admission = slow(usual());
    let got = assault(&admission, &[v4(1)]);
    assert!((600..=961).contains(&got), "{got}");
    assert!(ask(&admission, v4(2), clock::monotonic()).is_ok());
}

#[test]
fn addresses_of_one_ipv6_64_have_one_share() {
    let admission = slow(usual());
    let network: Vec<IpAddr> = (0..1000_u16)
        .map(|host| std::net::Ipv6Addr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, host]).into())
        .collect();
    let got = assault(&admission, &network);
    assert!((600..=961).contains(&got), "{got}");
}

#[test]
fn in_the_first_day_ten_times_as_many_come_in_and_no_more() {
    let admission = Admission::new(None, usual());
    let now = clock::monotonic();
    let young = |address| admission.admit(address, None, at(5), now);
    let got = (0..200_000).filter(|it| young(v4(it % 10_000)).is_ok());
    assert_eq!(got.count(), 120_000);
    let later = admission.admit(v4(1), Some(at(0)), at(86_400), now);
    assert!(later.is_err(), "the day is over, and the bucket empty");
}

#[test]
fn who_is_closed_lets_nobody_in_and_who_raises_the_burst_lets_in_at_once() {
    let tiny = Pace {
        per_minute: 1.0,
        burst: 20.0,
    };
    let admission = Admission::new(Some(NewClients::Closed), tiny);
    let now = clock::monotonic();
    assert_eq!(ask(&admission, v4(1), now), Err(Refusal::NoNewClients));
    admission.reload(Some(NewClients::Slow), tiny);
    assert_eq!(ask(&admission, v4(1), now), Ok(()));
    assert!(matches!(
        ask(&admission, v4(1), now),
        Err(Refusal::NewClient(_))
    ));
    admission.reload(Some(NewClients::Slow), usual());
    assert_eq!(ask(&admission, v4(1), now), Ok(()));
}

#[test]
fn addresses_that_need_not_be_remembered_are_not() {
    let admission = slow(Pace {
        per_minute: 60_000.0,
        burst: 1000.0,
    });
    let start = clock::monotonic();
    for number in 0..100_000 {
        let now = start + Duration::from_millis(number.into());
        let _whatever = ask(&admission, v4(number), now);
    }
    assert!(admission.lock().addresses.len() <= 2 * FEW);
}

proptest! {
    #[test]
    fn whoever_comes_however_no_more_get_in_than_the_settings_say(
        per_minute in 1..5000_u32,
        burst in 20..5000_u32,
        steps in prop::collection::vec((0..2000_u64, 0..40_u32), 1..400)
    ) {
        let pace = Pace { per_minute: per_minute.into(), burst: burst.into() };
        let (admission, start) = (slow(pace), clock::monotonic());
        let (mut now, mut all, mut first) = (start, 0_u32, 0_u32);
        for (millis, address) in steps {
            now += Duration::from_millis(millis);
            match ask(&admission, v4(address), now) {
                Ok(()) => {
                    all += 1;
                    first += u32::from(address == 0);
                }
                Err(refusal) => {
                    let told = Duration::from_millis(refusal.message().retry_after_millis);
                    prop_assert!((SHORTEST..=LONGEST).contains(&told));
                }
            }
            let earned = f64::from(burst) + pace.earned(now - start);
            prop_assert!(f64::from(all) <= earned + 0.001);
            prop_assert!(f64::from(first) <= earned / SHARE + 0.001);
        }
    }
}
