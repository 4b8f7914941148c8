//! Simulations of keys that see what they are used to, or more, and what must hold for all input.

use super::*;
use crate::server::correlate::statistics::MOST;
use crate::server::correlate::statistics::random::{Random, chance_of_none};
use proptest::prelude::*;

/// `VFT_KEY_MINUTES` asks for more than the few that fit into every run.
fn key_minutes() -> u64 {
    let asked = std::env::var("VFT_KEY_MINUTES");
    asked.map_or(1_000_000, |minutes| {
        minutes.parse().expect("a number of minutes")
    })
}

/// A key as it truly is.
#[derive(Clone, Copy, Debug)]
struct Nature {
    mean: f64,
    dispersion: f64,
    /// By what part of itself the mean swings over a day.
    swing: f64,
}

impl Nature {
    fn mean_at(&self, minute: u64) -> f64 {
        let hour = u32::try_from(minute / 60 % 24).unwrap();
        let phase = (f64::from(hour) - 11.5).abs() / 6.0 - 1.0;
        self.mean * (1.0 - self.swing * phase)
    }

    /// The first minute from `minute` on with contacts, and how many.
    fn next(&self, mut minute: u64, random: &mut Random) -> (u64, u32) {
        loop {
            let mean = self.mean_at(minute);
            let some = 1.0 - chance_of_none(mean, self.dispersion);
            let left = 60 - minute % 60;
            let wait = random.failures(some);
            if wait < left {
                return (minute + wait, random.count(mean, self.dispersion));
            }
            minute += left;
        }
    }
}

/// A key that is watched.
struct Watched {
    nature: Nature,
    prior: Prior,
    surge: Surge,
    minute: u64,
    random: Random,
}

impl Watched {
    fn new(nature: Nature, prior: Prior, seed: u64) -> Self {
        let mut random = Random(seed);
        let start = 29_000_000 + random.failures(0.001);
        let (minute, count) = nature.next(start, &mut random);
        let mut surge = Surge::fresh(minute, &prior);
        surge.add(minute, count, &prior);
        Self {
            nature,
            prior,
            surge,
            minute,
            random,
        }
    }

    /// How many alarms there are in so many minutes.
    fn alarms(&mut self, minutes: u64) -> f64 {
        let end = self.minute + minutes;
        let mut alarms = 0.0;
        loop {
            let (minute, count) = self.nature.next(self.minute + 1, &mut self.random);
            if minute > end {
                self.minute = end;
                return alarms;
            }
            self.surge.add(minute, count, &self.prior);
            self.minute = minute;
            if self.surge.mean_run_minutes() >= self.prior.threshold {
                alarms += 1.0;
                self.surge.restart(&self.prior);
            }
        }
    }
}

const WEEK: u64 = 7 * DAY;

/// Keys of all kinds: from one contact a week to one a minute, that scatter more or less.
fn natures() -> impl Iterator<Item = Nature> {
    let of = |mean: f64| {
        [(0.5, 0.8), (5.0, 0.0)].map(|(dispersion, swing)| Nature {
            mean,
            dispersion,
            swing,
        })
    };
    [1e-4, 1e-3, 1e-2, 0.1, 1.0].into_iter().flat_map(of)
}

/// Watches keys for eight weeks each, after two in which to learn: how many alarms they raise, and
/// how many they may.
fn false_alarms(nature: Nature, threshold: f64) -> (f64, f64) {
    let prior = Prior {
        mean: 0.01,
        dispersion: 1.0,
        threshold,
    };
    let (mut alarms, mut minutes, mut keys) = (0.0, 0, 0);
    while minutes < key_minutes() / 10 {
        keys += 1;
        let mut key = Watched::new(nature, prior, keys);
        key.alarms(2 * WEEK);
        alarms += key.alarms(8 * WEEK);
        minutes += 8 * WEEK;
    }
    let at_rest = f64::from(whole(keys)) * 3300.0;
    (alarms, (f64::from(whole(minutes)) + at_rest) / threshold)
}

#[test]
fn keys_that_see_what_they_are_used_to_raise_no_more_false_alarms_than_promised() {
    let (mut alarms, mut all) = (0.0, 0.0);
    for threshold in [1e4, 1e6] {
        for nature in natures() {
            let (here, allowed) = false_alarms(nature, threshold);
            let part = here / allowed;
            println!("{nature:?}, A = {threshold}: {part:.3} of the bound");
            let chance = 4.0 * allowed.sqrt() + 2.0;
            assert!(here <= allowed + chance, "{here}, {allowed}");
            alarms += here;
            all += allowed;
        }
    }
    assert!(
        alarms > 0.05 * all,
        "{alarms} of {all}: nothing was measured"
    );
}

/// The same with R for counts that are Poisson's, more or less.
#[test]
fn an_alarm_for_poisson_counts_would_not_hold() {
    let nature = Nature {
        mean: 1.0,
        dispersion: 0.5,
        swing: 0.0,
    };
    let mut random = Random(4);
    let mut alarms = |dispersion: f64| {
        let measures = RATIOS.map(|ratio| Measure::new(ratio, nature.mean, dispersion));
        let (mut runs, mut alarms) = ([0.0; RATIOS.len()], 0.0);
        let mut minute = 0;
        while minute < 100_000 {
            let (next, count) = nature.next(minute + 1, &mut random);
            for (run, measure) in runs.iter_mut().zip(measures) {
                let rested = measure.silence(f64::from(whole(next - minute - 1)));
                *run = measure.counted(rested.of(*run), count);
            }
            minute = next;
            if mean(runs) >= 1e5 {
                (runs, alarms) = ([0.0; RATIOS.len()], alarms + 1.0);
            }
        }
        alarms
    };
    let (right, wrong) = (alarms(0.5), alarms(50.0));
    println!("{right} alarms in 100,000 minutes, and {wrong} if taken for Poisson's");
    assert!(right <= 5.0, "{right}");
    assert!(wrong > 200.0, "{wrong}");
}

fn known(mean: f64) -> Watched {
    let prior = Prior {
        mean,
        dispersion: 1.0,
        threshold: threshold_minutes(1000.0, 0.1),
    };
    let nature = Nature {
        mean,
        dispersion: 1.0,
        swing: 0.0,
    };
    let mut key = Watched::new(nature, prior, 5);
    key.alarms(6 * WEEK);
    key
}

#[test]
fn what_is_to_be_found_is_found_soon() {
    for (mean, times, most) in [
        (1e-3, 20.0, 10),
        (1e-2, 20.0, 11),
        (0.1, 20.0, 16),
        (1.0, 20.0, 70),
        (0.1, 5.0, 30),
    ] {
        let mut key = known(mean);
        key.surge.restart(&key.prior);
        let start = key.surge;
        let mut found: Vec<_> = (0..200)
            .map(|seed| {
                let surging = Nature {
                    mean: mean * times,
                    ..key.nature
                };
                (key.surge, key.random) = (start, Random(seed));
                let (mut minute, mut contacts) = (key.minute, 0);
                while key.surge.mean_run_minutes() < key.prior.threshold {
                    let (next, count) = surging.next(minute + 1, &mut key.random);
                    key.surge.add(next, count, &key.prior);
                    (minute, contacts) = (next, contacts + count);
                }
                (contacts, minute - key.minute)
            })
            .collect();
        found.sort_unstable();
        let (contacts, minutes) = found[100];
        println!("{mean} a minute, {times} times as much: {contacts} contacts, {minutes} minutes");
        assert!(contacts <= most, "{contacts}");
    }
}

#[test]
fn a_day_of_surge_is_not_learned() {
    let mut key = known(0.1);
    let before = key.surge.expected(key.minute);
    key.nature.mean = 2.0;
    assert!(key.alarms(DAY) > 10.0);
    key.nature.mean = 0.1;
    key.alarms(DAY);
    let after = key.surge.expected(key.minute);
    assert!(after < 1.15 * before, "{before} {after}");
}

#[test]
fn what_lasts_becomes_the_custom() {
    let mut key = known(0.1);
    key.nature.mean = 0.5;
    let week: Vec<_> = (0..8).map(|_| key.alarms(WEEK)).collect();
    println!("alarms a week: {week:?}");
    assert!(week[0] > 5.0 && week[6] + week[7] < 2.0, "{week:?}");
    let mean = key.surge.expected(key.minute);
    assert!((0.35..0.7).contains(&mean), "{mean}");
}

#[test]
fn hours_are_told_apart() {
    let mut key = known(0.1);
    key.nature.swing = 0.8;
    key.alarms(8 * WEEK);
    for hour in [0, 6, 12, 18] {
        let minute = key.minute / DAY * DAY + hour * 60;
        let (found, true_mean) = (key.surge.expected(minute), key.nature.mean_at(minute));
        let part = found / true_mean;
        assert!((0.6..2.0).contains(&part), "{hour}: {found}, {true_mean}");
    }
}

/// What a key has seen: after so many minutes, so many contacts.
fn history(longest: u64) -> impl Strategy<Value = Vec<(u64, u32)>> {
    let gap = prop_oneof![4 => 0..3_u64, 4 => 0..200_u64, 1 => 0..longest];
    let count = prop_oneof![Just(1_u32), 0..5_u32, 0..500_u32];
    prop::collection::vec((gap, count), 1..40)
}

const CALM: Prior = Prior {
    mean: 0.02,
    dispersion: 2.0,
    threshold: MOST,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// But for the seven digits that means are kept with.
    #[test]
    fn silence_in_one_go_is_silence_minute_by_minute(
        history in history(4 * DAY), start in 0..10 * DAY,
    ) {
        let mut at_once = Surge::fresh(start, &CALM);
        let mut stepwise = at_once;
        let mut now = start;
        for (gap, count) in history {
            for minute in now..now + gap {
                stepwise.add(minute, 0, &CALM);
            }
            now += gap;
            at_once.add(now, count, &CALM);
            stepwise.add(now, count, &CALM);
            let (a, b) = (at_once.mean_run_minutes(), stepwise.mean_run_minutes());
            prop_assert!((a - b).abs() <= 1e-4 * a, "{a} {b}");
        }
    }

    #[test]
    fn nothing_raises_a_mean_by_more_than_a_tenth_a_day(
        history in history(2 * DAY), calm in any::<bool>(), factor in 1..1000_u32,
    ) {
        let prior = Prior { threshold: if calm { MOST } else { 1e5 }, ..CALM };
        let mut key = Surge::fresh(0, &prior);
        (0..10 * DAY).step_by(50).for_each(|minute| key.add(minute, 1, &prior));
        let mut now = 10 * DAY;
        let (mut day, mut before) = (10, [0; 24].map(|_| f64::MAX));
        for (gap, count) in history.into_iter().cycle().take(300) {
            now += gap;
            key.add(now, count.saturating_mul(factor), &prior);
            if now / DAY == day || count == 0 {
                continue;
            }
            let passed = i32::try_from(now / DAY - day).unwrap();
            day = now / DAY;
            for (hour, before) in (0..).zip(&mut before) {
                let mean = key.expected(day * DAY + hour * 60);
                prop_assert!(mean <= *before * 1.1_f64.powi(passed) * (1.0 + 1e-6));
                *before = mean;
            }
        }
    }

    #[test]
    fn contacts_one_by_one_are_contacts_together(history in history(DAY)) {
        let mut together = Surge::fresh(0, &CALM);
        let mut singly = together;
        let mut now = 0;
        for (gap, count) in history {
            now += gap;
            together.add(now, count + 1, &CALM);
            (0..=count).for_each(|_| singly.add(now, 1, &CALM));
            prop_assert_eq!(together, singly);
        }
    }

    #[test]
    fn no_input_makes_nonsense(
        prior in any::<[u64; 3]>(),
        times in prop::collection::vec((any::<u64>(), any::<u32>()), 1..20),
        runs in any::<[u64; 4]>(),
    ) {
        let [mean, dispersion, threshold] = prior.map(f64::from_bits);
        let prior = Prior { mean, dispersion, threshold };
        let sane = |figure: f64| (0.0..=MOST).contains(&figure);
        let mut surge = Surge::fresh(times[0].0, &prior);
        for (minute, count) in times {
            surge.add(minute, count, &prior);
            prop_assert!(sane(surge.mean_run_minutes()), "{surge:?}");
            prop_assert!(sane(surge.expected(minute)));
            surge.add(minute.saturating_add(DAY), count, &prior);
            surge.runs = runs.map(f64::from_bits);
            prop_assert!(sane(surge.mean_run_minutes()), "{surge:?}");
            prop_assert!(sane(threshold_minutes(mean, dispersion)));
            surge.restart(&prior);
            prop_assert!(surge.runs.into_iter().all(sane));
        }
    }
}

#[test]
fn what_comes_late_counts_in_the_current_minute() {
    let mut late = Surge::fresh(1000, &CALM);
    let mut in_order = late;
    late.add(1005, 1, &CALM);
    late.add(900, 2, &CALM);
    in_order.add(1005, 3, &CALM);
    assert_eq!(late, in_order);
}

#[test]
fn within_a_minute_every_contact_raises_suspicion() {
    let mut key = Surge::fresh(1000, &CALM);
    let mut before = key.mean_run_minutes();
    for _ in 0..20 {
        key.add(1000, 1, &CALM);
        assert!(key.mean_run_minutes() > before);
        before = key.mean_run_minutes();
    }
    key.restart(&CALM);
    assert!(key.mean_run_minutes() < 100.0);
}

#[test]
fn a_key_is_small() {
    assert!(size_of::<Surge>() < 450, "{}", size_of::<Surge>());
}

#[test]
fn the_threshold_shares_the_budget_out() {
    assert!((threshold_minutes(1000.0, 0.1) / 1.44e7 - 1.0).abs() < 1e-12);
    assert!(threshold_minutes(f64::NAN, f64::NAN) >= 1.0);
    assert!(threshold_minutes(1e30, 0.0) <= MOST);
}
