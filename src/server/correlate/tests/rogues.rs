//! What rogue clients and strangers do hides no attack.
//!
//! A fleet of honest clients is attacked, once by itself and once more in a mixture of one to five
//! rogue clients, which say whatever they like at any legal rate, and of strangers with any
//! addresses. In the mixture the attack is reported with at least the severity that it has by
//! itself, within twice the time.
//!
//! `VFT_MIXTURES` says how many are tried, `PROPTEST_RNG_SEED` draws other ones.

mod attack;
mod fleet;
mod mischief;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::event::Timestamp;
use crate::server::alert::{Alert, Severity};
use crate::server::correlate::Correlator;
use crate::server::correlate::tests::rogues::attack::Attack;
use crate::server::correlate::tests::rogues::fleet::{Fleet, Step, at};
use crate::server::correlate::tests::rogues::mischief::Mischief;

/// Mixtures that are tried as a rule.
const CASES: u32 = 12;

/// How often the engine is told the time, in seconds.
const TICK: u64 = 5;

/// What the time of an alert is uncertain by: a tick, and the pause before an update.
const LEEWAY: Duration = Duration::from_secs(2 * TICK);

/// Who does what.
#[derive(Clone, Debug)]
struct Mixture {
    seed: u64,
    attack: Attack,
    rogues: Vec<Mischief>,
    strangers: Vec<Mischief>,
}

fn mixture() -> impl Strategy<Value = Mixture> {
    let rogues = prop::collection::vec(mischief::of_a_rogue(), 1..=5);
    let strangers = prop::collection::vec(mischief::of_strangers(), 0..=3);
    (any::<u64>(), attack::any_attack(), rogues, strangers).prop_map(
        |(seed, attack, rogues, strangers)| Mixture {
            seed,
            attack,
            rogues,
            strangers,
        },
    )
}

/// What the engine says of these steps, told the time until the last one is long over.
fn play(fleet: &Fleet, mut steps: Vec<Step>, until: u64) -> (Correlator, Vec<Alert>) {
    steps.sort_by_key(Step::second);
    let mut engine = fleet.engine();
    let mut alerts = Vec::new();
    let mut now = 0;
    for step in steps {
        while now + TICK <= step.second() {
            now += TICK;
            engine.tick(at(now), &mut alerts);
        }
        step.take(&mut engine, &mut alerts);
    }
    while now < until {
        now += TICK;
        engine.tick(at(now), &mut alerts);
    }
    (engine, alerts)
}

/// The greatest severity with which the attack is reported, and when that is first said.
fn reported(attack: &Attack, alerts: &[Alert]) -> Option<(Severity, Timestamp)> {
    let about: Vec<_> = alerts
        .iter()
        .filter(|alert| attack.is_subject_of(alert))
        .collect();
    let severity = about.iter().map(|alert| alert.severity).max()?;
    let first = about.iter().find(|alert| alert.severity == severity)?;
    Some((severity, first.time))
}

fn is_reported_in(mixture: &Mixture) -> Result<(), TestCaseError> {
    let fleet = Fleet::new();
    let mut dice = StdRng::seed_from_u64(mixture.seed);
    let attack = &mixture.attack;
    let (began, ended) = attack.span();
    let mut alone: Vec<_> = fleet.days_work(ended).chain(attack.steps(&fleet)).collect();
    alone.retain(|step| !attack.silences(step));
    let mut mixed = alone.clone();
    for (number, mischief) in (0..).zip(&mixture.rogues) {
        mixed.extend(mischief.steps_of_a_rogue(number, attack, &fleet, &mut dice));
    }
    for mischief in &mixture.strangers {
        mixed.extend(mischief.steps_of_strangers(&fleet, &mut dice));
    }
    let (_, alerts) = play(&fleet, alone, ended + 900);
    let Some((severity, at_first)) = reported(attack, &alerts) else {
        return Err(TestCaseError::fail(format!(
            "{attack:?} is not reported by itself"
        )));
    };
    let took = at_first.since(at(began));
    let in_time = at_first.after(took).after(LEEWAY);
    let (engine, alerts) = play(&fleet, mixed, ended + 900 + took.as_secs());
    let about = alerts.iter().filter(|alert| attack.is_subject_of(alert));
    let said: Vec<_> = about
        .map(|alert| (alert.time, alert.severity, alert.action, &alert.title))
        .collect();
    let found = said
        .iter()
        .any(|(time, said, ..)| *said >= severity && *time <= in_time);
    prop_assert!(
        found,
        "by itself it is {severity:?} at {at_first}; in the mixture, by {in_time}: {said:#?}"
    );
    prop_assert!(engine.incidents.places().taken() <= fleet::INCIDENTS);
    Ok(())
}

#[test]
fn no_mixture_of_rogues_and_strangers_hides_an_attack() {
    let cases = std::env::var("VFT_MIXTURES").map_or(CASES, |it| it.parse().unwrap());
    let mut runner = TestRunner::new(Config {
        cases,
        ..Config::with_source_file(file!())
    });
    let tested = runner.run(&mixture(), |mixture| is_reported_in(&mixture));
    tested.unwrap_or_else(|error| panic!("{error}"));
}
