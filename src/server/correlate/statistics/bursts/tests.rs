//! Simulations of harmless and other sources, and what must hold for all input.

#![expect(clippy::float_cmp, reason = "limits are taken over as they are")]

use super::*;
use crate::server::correlate::statistics::MOST;
use crate::server::correlate::statistics::random::Random;
use proptest::prelude::*;

/// `VFT_SOURCE_DAYS` asks for more than the few that fit into every run.
fn source_days() -> f64 {
    let asked = std::env::var("VFT_SOURCE_DAYS");
    asked.map_or(2e6, |days| days.parse().expect("a number of days"))
}

/// How the rates of sources are spread about their mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    Same,
    Exponential,
}

/// Sources that do what this null says, on average at least.
struct Benign {
    nature: Null,
    spread: Spread,
    model: Model,
    threshold: f64,
    random: Random,
}

/// What one source did.
#[derive(Debug, Default)]
struct Life {
    bursts: u32,
    contacts: u32,
    first: f64,
    end: f64,
    alarms: f64,
}

/// What a simulation found.
#[derive(Debug, Default)]
struct Found {
    days: f64,
    sources: f64,
    alarms: f64,
    calibration: Calibration,
}

impl Benign {
    fn new(nature: Null, threshold: f64) -> Self {
        Self {
            nature,
            spread: Spread::Same,
            model: Model::new(&Null::default()),
            threshold,
            random: Random(1),
        }
    }

    /// Watches a source for so many days, or until it raises an alarm.
    fn watch(&mut self, days: f64) -> Life {
        let rate = match self.spread {
            Spread::Same => self.nature.rate,
            Spread::Exponential => self.nature.rate * self.random.wait(1.0),
        };
        let mut now = self.random.wait(rate);
        let mut life = Life {
            first: now,
            end: days,
            ..Life::default()
        };
        let mut bursts = Bursts::fresh(&self.model);
        let mut burst = 1;
        while now < days {
            life.contacts += 1;
            life.bursts += burst;
            if bursts.chance_days(&self.model) >= self.threshold {
                life.alarms = 1.0;
                life.end = now;
                break;
            }
            let goes_on = self.random.happens(self.nature.continuation);
            burst = u32::from(!goes_on);
            let gap = if goes_on {
                self.random.fraction() * self.nature.gap
            } else {
                self.nature.gap + self.random.wait(rate)
            };
            bursts.contact(gap, &self.model);
            now += gap;
        }
        life
    }

    fn simulate(&mut self, days: f64) -> Found {
        let mut found = Found::default();
        while found.days < days {
            let life = self.watch(200.0);
            found.days += life.end;
            found.sources += 1.0;
            found.alarms += life.alarms;
            if life.contacts > 0 && life.alarms == 0.0 {
                let since = life.end - life.first;
                found.calibration.add(life.bursts, life.contacts, since);
            }
        }
        found
    }
}

impl Found {
    /// How many alarms the theorem allows, and four standard deviations.
    fn bound(&self, threshold: f64) -> f64 {
        let at_rest = 0.8;
        let mean = (self.days + at_rest * self.sources) / threshold;
        mean + 4.0 * mean.sqrt()
    }
}

#[test]
fn harmless_sources_raise_no_more_false_alarms_than_promised() {
    let default = Null::default();
    let longer = Null {
        gap: 600.0 / 86_400.0,
        ..default
    };
    let slower = Null {
        rate: 1.0 / 300.0,
        ..default
    };
    let singly = Null {
        continuation: 0.0,
        ..default
    };
    for (nature, least) in [(default, 0.3), (slower, 0.0), (singly, 0.05)] {
        for threshold in [300.0, 1e3, 1e4] {
            let found = Benign::new(nature, threshold).simulate(source_days());
            let a_day = 1e3 * found.alarms / found.days;
            let allowed = 1e3 / threshold;
            println!("{nature:?}, A = {threshold}: {a_day:.4} of {allowed} a day per 1000");
            assert!(found.alarms <= found.bound(threshold), "{found:?}");
            assert!(a_day >= least * allowed, "{found:?} is far from the bound");
        }
    }
    let mut other_gap = Benign::new(longer, 1e3);
    other_gap.model = Model::new(&longer);
    let found = other_gap.simulate(source_days());
    assert!(found.alarms <= found.bound(1e3), "{found:?}");
}

/// Sources more active than the null in force, all alike or not. Those that raise an alarm teach
/// nothing, so it takes a few rounds.
#[test]
fn calibration_brings_the_false_alarms_back_within_their_bound() {
    let default = Null::default();
    let active = Null {
        rate: 1.0 / 8.0,
        continuation: 0.5,
        ..default
    };
    for (nature, spread, threshold) in [
        (active, Spread::Same, 1e3),
        (default, Spread::Exponential, 1e4),
        (default, Spread::Exponential, 1e5),
    ] {
        let simulate = |null: &Null| {
            let mut benign = Benign::new(nature, threshold);
            (benign.spread, benign.model) = (spread, Model::new(null));
            benign.simulate(source_days() / 2.0)
        };
        let mut found = simulate(&default);
        assert!(found.alarms > 1.5 * found.bound(threshold), "{found:?}");
        for _ in 0..3 {
            let part = threshold * found.alarms / found.days;
            println!("{spread:?}, A = {threshold}: {part:.2} of the bound");
            found = simulate(&found.calibration.null(&default, Null::MAX_RATE));
        }
        let part = threshold * found.alarms / found.days;
        println!("{spread:?}, A = {threshold}: {part:.2} of the bound");
        assert!(found.alarms <= found.bound(threshold), "{found:?}");
    }
}

/// Contacts until an alarm at 10,000 days, of many sources; `gap` makes the next gap.
fn delays(gap: impl FnMut(u32, &mut Random) -> f64) -> Vec<u32> {
    delays_at(1e4, gap)
}

/// The same at another threshold.
fn delays_at(threshold: f64, mut gap: impl FnMut(u32, &mut Random) -> f64) -> Vec<u32> {
    let model = Model::new(&Null::default());
    let mut random = Random(2);
    let mut delay = || {
        let mut bursts = Bursts::fresh(&model);
        let mut contacts = 1;
        while bursts.chance_days(&model) < threshold {
            bursts.contact(gap(contacts, &mut random), &model);
            contacts += 1;
        }
        contacts
    };
    let mut delays: Vec<_> = (0..2000).map(|_| delay()).collect();
    delays.sort_unstable();
    delays
}

#[test]
fn what_is_to_be_found_is_found_after_a_few_contacts() {
    let hourly = delays(|_, random| random.wait(24.0));
    let daily = delays(|_, random| random.wait(1.0));
    let sweep = delays(|_, _| 1e-5);
    let pairs_twice_a_day = delays(|contacts, random| match contacts % 2 {
        1 => 1e-5,
        _ => random.wait(2.0),
    });
    let triples_a_day = delays(|contacts, random| match contacts % 3 {
        0 => random.wait(1.0),
        _ => 1e-5,
    });
    let on_the_hour = delays(|_, _| 1.0 / 24.0);
    for (name, delays, most) in [
        ("one an hour, at random", hourly, 4),
        ("one an hour, on the hour", on_the_hour, 3),
        ("one a day, at random", daily, 6),
        ("a sweep", sweep, 6),
        ("two, twice a day", pairs_twice_a_day, 7),
        ("three, once a day", triples_a_day, 9),
    ] {
        let mean = f64::from(delays.iter().sum::<u32>()) / 2000.0;
        println!("{name}: {mean:.2} contacts, at 95 % {}", delays[1900]);
        assert!(delays[1000] <= most, "{name}: {} contacts", delays[1000]);
    }
}

#[test]
fn the_more_often_a_source_comes_the_fewer_contacts_it_takes() {
    for threshold in [1e3, 1e4] {
        for traps in [1, 2, 3] {
            let mut before = f64::MAX;
            for rate in [0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0, 96.0] {
                let delays = delays_at(threshold, |contacts, random| match contacts % traps {
                    0 => Null::default().gap + random.wait(rate),
                    _ => 1e-5,
                });
                let mean = f64::from(delays.iter().sum::<u32>()) / 2000.0;
                println!("A = {threshold}, {rate} a day, {traps} at a time: {mean:.1} contacts");
                assert!(mean <= before + 0.1, "{mean}, {before}");
                before = mean;
            }
        }
    }
}

proptest! {
    #[test]
    fn resting_in_one_go_is_resting_step_by_step(
        before in prop::collection::vec(0.0..20.0_f64, 0..8),
        days in 0.01..60.0_f64,
        steps in 1..200_u32,
    ) {
        let model = Model::new(&Null::default());
        let mut bursts = Bursts::fresh(&model);
        for gap in before {
            bursts.contact(gap, &model);
        }
        let mut stepwise = bursts;
        for (run, terms) in stepwise.runs.iter_mut().zip(&model.terms) {
            *run *= terms.ended;
            for _ in 0..steps {
                *run = terms.rested(*run, days / f64::from(steps));
            }
        }
        let (now, rested) = (stepwise.chance_days(&model), bursts.chance_days_after(days, &model));
        prop_assert!((now - rested).abs() <= 1e-9 * rested, "{} {}", now, rested);
        for (run, terms) in stepwise.runs.iter_mut().zip(&model.terms) {
            *run *= terms.ratio;
        }
        bursts.contact(days, &model);
        let (now, at_once) = (stepwise.chance_days(&model), bursts.chance_days(&model));
        prop_assert!((now - at_once).abs() <= 1e-9 * at_once, "{} {}", now, at_once);
    }

    #[test]
    fn no_input_makes_nonsense(
        null in any::<[u64; 3]>(),
        runs in any::<[u64; 5]>(),
        gaps in prop::collection::vec(any::<u64>(), 0..20),
        counts in any::<(u32, u32)>(),
    ) {
        let float = f64::from_bits;
        let sane = |figure: f64| (0.0..=MOST).contains(&figure);
        let null = Null {
            rate: float(null[0]),
            continuation: float(null[1]),
            gap: float(null[2]),
        };
        let model = Model::new(&null);
        let sum: f64 = model.terms.iter().map(|terms| terms.weight).sum();
        prop_assert!((sum - 1.0).abs() < 1e-12);
        let mut bursts = Bursts { runs: runs.map(float) };
        prop_assert!(sane(bursts.chance_days(&model)));
                let mut calibration = Calibration::default();
        for gap in gaps.into_iter().map(float) {
            bursts.contact(gap, &model);
            prop_assert!(bursts.runs.into_iter().all(sane));
            prop_assert!(sane(bursts.chance_days(&model)));
            prop_assert!(sane(bursts.chance_days_after(gap, &model)));
            prop_assert!(sane(threshold(gap, -gap, gap)));
            calibration.add(counts.0, counts.1, gap);
        }
        let learned = calibration.null(&null, Null::MAX_RATE);
        prop_assert_eq!(learned, learned.sound());
    }

    #[test]
    fn an_earlier_contact_never_makes_a_source_less_suspect(
        gap in 0.002..10.0_f64, earlier in 0.1..1.0_f64,
    ) {
        let model = Model::new(&Null::default());
        let after = |gap: f64| {
            let mut bursts = Bursts::fresh(&model);
            bursts.contact(gap, &model);
            bursts.chance_days(&model)
        };
        let sooner = (gap * earlier).max(0.0015);
        prop_assert!(after(sooner) >= after(gap));
    }
}

#[test]
fn what_comes_late_is_of_the_same_burst() {
    let model = Model::new(&Null::default());
    let mut late = Bursts::fresh(&model);
    let mut within = late;
    late.contact(-3.0, &model);
    within.contact(0.0, &model);
    assert_eq!(late, within);
}

#[test]
fn the_first_contact_stands_for_the_month_it_took() {
    let model = Model::new(&Null::default());
    let first = Bursts::fresh(&model).chance_days(&model);
    assert!((30.0..32.0).contains(&first), "{first}");
    let silent = Bursts::fresh(&model).chance_days_after(1e6, &model);
    assert!(silent < 0.8, "{silent}");
}

#[test]
fn an_alternative_that_is_hardly_different_has_no_weight() {
    let busy = Null {
        rate: 0.4,
        ..Null::default()
    };
    let model = Model::new(&busy);
    assert_eq!(model.terms[0], Terms::NOTHING);
    assert_eq!(model.terms[3], Terms::NOTHING);
    assert!((model.terms[1].weight - 0.17 / 0.71).abs() < 1e-12);
    assert_eq!(Bursts::fresh(&model).runs[0], 0.0);
}

#[test]
fn the_threshold_shares_the_budget_out() {
    assert!((threshold(3000.0, 0.3, 1e3) - 1e4).abs() < 1e-6);
    assert_eq!(threshold(10.0, 0.3, 1e3), 1e3);
    assert_eq!(threshold(f64::NAN, f64::NAN, f64::NAN), 1.0);
    assert!((threshold(1e9, 0.0, 1e3) / 1e29 - 1.0).abs() < 1e-12);
    assert_eq!(threshold(f64::INFINITY, 0.3, 1e3), MOST);
}

#[test]
fn the_null_moves_with_the_evidence_and_within_its_limits() {
    let default = Null::default();
    assert_eq!(
        Calibration::default().null(&default, Null::MAX_RATE),
        default
    );

    let mut quiet = Calibration::default();
    (0..1000).for_each(|_| quiet.add(1, 1, 300.0));
    assert_eq!(quiet.null(&default, Null::MAX_RATE), default, "never below");

    let mut weekly = Calibration::default();
    (0..1000).for_each(|_| weekly.add(11, 22, 100.0));
    let learned = weekly.null(&default, Null::MAX_RATE);
    assert!((learned.rate - 0.1).abs() < 0.002, "{learned:?}");
    assert!((learned.continuation - 0.5).abs() < 0.01, "{learned:?}");

    let mut busy = Calibration::default();
    (0..1000).for_each(|_| busy.add(100, u32::MAX, 10.0));
    assert_eq!(busy.null(&default, Null::MAX_RATE).rate, Null::MAX_RATE);
    assert_eq!(
        busy.null(&default, Null::MAX_RATE).continuation,
        Null::MAX_CONTINUATION
    );

    let mut few = Calibration::default();
    few.add(5, 10, 60.0);
    assert!(
        few.null(&default, Null::MAX_RATE).rate < 0.07,
        "five bursts prove little"
    );
}
