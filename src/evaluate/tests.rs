//! The stream: what is in it, in which order, how often.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use crate::evaluate::dice::Dice;
use crate::evaluate::fleet::{Choice, Fleet, FleetPlan};
use crate::evaluate::noise::{Aim, FloodPlan, Mistakes, NoisePlan};
use crate::evaluate::run::Run;
use crate::evaluate::scanner::{LATERAL, Origin, RATES, Rate, ScannerPlan, Shape};
use crate::evaluate::score::Judge;
use crate::evaluate::timeline::{BEGIN, Party, Timeline};
use crate::event::{Event, Probe, neighbourhood};

const DAY: Duration = Duration::from_secs(86_400);

const SCANNER: ScannerPlan = ScannerPlan {
    shape: Shape::Block,
    origin: Origin::One,
    rate: Rate {
        name: "100 a day",
        per_second: 100.0 / 86_400.0,
    },
    contacts: 1000,
    twice: 0.0,
};

fn nothing() -> Run {
    Run {
        fleet: FleetPlan {
            clients: 200,
            traps: 5,
            candidates: 48,
            choice: Choice::Drawn,
        },
        lasts: DAY * 30,
        noise: NoisePlan::default(),
        scanners: Vec::new(),
        audits: Vec::new(),
        flood: None,
    }
}

/// Some of everything.
fn mixture(clients: u32, days: u32) -> Run {
    let shapes = Shape::SCANS.iter().cycle();
    let origins = [Origin::One, Origin::Three, Origin::Ipv6, Origin::Member];
    let plans = RATES.iter().zip(shapes.zip(origins.iter().cycle()));
    let mut run = nothing();
    run.fleet.clients = clients;
    run.lasts = DAY * days;
    run.noise = NoisePlan {
        strangers: 50,
        inside: 10,
        monitors: 1,
        cron_jobs: 2,
        ..NoisePlan::default()
    };
    run.scanners = plans
        .map(|(rate, (shape, origin))| ScannerPlan {
            shape: *shape,
            origin: *origin,
            rate: *rate,
            contacts: 40,
            twice: 0.2,
        })
        .collect();
    run.audits = vec![ScannerPlan {
        origin: Origin::Auditor,
        ..SCANNER
    }];
    run.flood = Some(FloodPlan {
        sources: 500,
        probe: Probe::Syn,
        aim: Aim::All,
    });
    run
}

/// The whole stream, and the fleet it is about.
fn stream(run: &Run, seed: u64) -> (Fleet, Vec<(Party, Event)>) {
    let mut dice = Dice::new(seed);
    let fleet = Fleet::draw(&run.fleet, &mut dice.fork());
    let mut timeline = Timeline::new(&fleet, run.lasts);
    run.fill(&fleet, &mut dice, &mut timeline, &mut Judge::default());
    let events = timeline.collect();
    (fleet, events)
}

fn events(run: &Run) -> Vec<(Party, Event)> {
    stream(run, 1).1
}

/// Asserts that a count is what is expected, within five standard deviations of a Poisson count.
fn about(counted: usize, expected: f64) {
    let counted = f64::from(u32::try_from(counted).unwrap());
    let off = (counted - expected).abs();
    assert!(off < 5.0 * expected.sqrt(), "{counted}, not {expected}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another(
        seed: u64,
        clients in 2..60_u32,
        days in 1..5_u32,
    ) {
        let run = mixture(clients, days);
        let first = stream(&run, seed).1;
        prop_assert_eq!(&first, &stream(&run, seed).1);
        prop_assert_ne!(&first, &stream(&run, seed ^ 1).1);
    }

    #[test]
    fn the_stream_is_in_order_and_within_its_time_and_touches_traps_only(
        seed: u64,
        clients in 2..60_u32,
        days in 1..5_u32,
    ) {
        let run = mixture(clients, days);
        let (fleet, events) = stream(&run, seed);
        let traps: BTreeSet<_> = fleet
            .clients
            .iter()
            .flat_map(|client| client.traps.iter().map(|port| (client.id, *port)))
            .collect();
        let mut sequences = BTreeMap::new();
        let mut last = BEGIN;
        for (_, event) in events {
            prop_assert!(last <= event.at && event.at < BEGIN.after(run.lasts));
            last = event.at;
            let sequence = sequences.entry(event.client).or_insert(0);
            *sequence += 1;
            prop_assert_eq!(event.sequence, *sequence);
            prop_assert!(traps.contains(&(event.client, event.hit.trap_port)));
        }
    }
}

#[test]
fn a_scanner_is_as_fast_as_it_was_asked_to_be() {
    let run = Run {
        scanners: vec![SCANNER; 20],
        ..nothing()
    };
    let mut times = BTreeMap::<_, Vec<_>>::new();
    for (party, event) in events(&run) {
        let Party::Attacker(number) = party else {
            panic!("{party:?}");
        };
        times.entry(number).or_default().push(event.at);
    }
    assert_eq!(times.len(), 20);
    for times in times.values() {
        // It begins where there is time for all, in the mean.
        assert!(times.len() > 900, "{}", times.len());
        let took = times.last().unwrap().since(times[0]).as_secs_f64() / 86_400.0;
        about(times.len() - 1, 100.0 * took);
    }
}

#[test]
fn a_scanner_touches_no_trap_twice() {
    let run = Run {
        scanners: vec![SCANNER],
        ..nothing()
    };
    let events = events(&run);
    let touched: BTreeSet<_> = events
        .iter()
        .map(|(_, event)| (event.client, event.hit.trap_port))
        .collect();
    assert_eq!(touched.len(), events.len());
}

#[test]
fn scanners_go_for_what_their_shape_says() {
    let touched = |shape| {
        let run = Run {
            scanners: vec![ScannerPlan {
                shape,
                rate: RATES[8],
                ..SCANNER
            }],
            ..nothing()
        };
        let events = events(&run);
        let clients: BTreeSet<_> = events.iter().map(|(_, event)| event.client).collect();
        let ports: BTreeSet<_> = events
            .iter()
            .map(|(_, event)| event.hit.trap_port)
            .collect();
        (clients.len(), ports.len())
    };
    assert!(matches!(touched(Shape::Horizontal), (5.., 1)));
    assert!(matches!(touched(Shape::Vertical), (2, 5..=10)));
    assert_eq!(touched(Shape::Block), (200, 48));
    assert_eq!(touched(Shape::Host), (1, 5));
}

#[test]
fn a_client_goes_to_another_one() {
    let run = Run {
        scanners: vec![
            ScannerPlan {
                shape: Shape::Lateral,
                origin: Origin::Member,
                contacts: 1,
                ..SCANNER
            };
            150
        ],
        ..nothing()
    };
    let (fleet, events) = stream(&run, 1);
    assert_eq!(events.len(), 150);
    let mut sources = BTreeSet::new();
    for (_, event) in events {
        let from = fleet
            .clients
            .iter()
            .find(|client| client.address == event.hit.source)
            .unwrap();
        assert_ne!(from.id, event.client);
        assert!(LATERAL.contains(&event.hit.trap_port));
        sources.insert(event.hit.source);
    }
    assert_eq!(sources.len(), 150);
}

#[test]
fn sources_are_as_many_as_the_origin_says() {
    let sources = |origin| {
        let run = Run {
            scanners: vec![ScannerPlan {
                origin,
                contacts: 90,
                ..SCANNER
            }],
            ..nothing()
        };
        let events = events(&run).into_iter();
        let mut hits = BTreeMap::<_, usize>::new();
        for (_, event) in events {
            *hits.entry(neighbourhood(event.hit.source)).or_default() += 1;
        }
        hits
    };
    assert_eq!(sources(Origin::One).len(), 1);
    assert_eq!(sources(Origin::Ipv6).len(), 1);
    assert_eq!(sources(Origin::Many).len(), 90);
    let three = sources(Origin::Three);
    assert_eq!(three.values().copied().collect::<Vec<_>>(), [30, 30, 30]);
    let prefixes: BTreeSet<_> = three
        .keys()
        .map(|source| source.to_string().rsplit_once('.').unwrap().0.to_owned())
        .collect();
    assert_eq!(prefixes.len(), 1);
}

/// Bursts begin so often, and go on with a chance of a quarter within two minutes.
#[test]
fn mistakes_come_as_often_as_they_should_and_in_bursts() {
    let run = Run {
        noise: NoisePlan {
            strangers: 3000,
            mistakes: Mistakes {
                least: 1.0 / 30.0,
                most: 1.0 / 30.0,
            },
            ..NoisePlan::default()
        },
        ..nothing()
    };
    let mut last = BTreeMap::new();
    let (mut bursts, mut more) = (0, 0);
    for (_, event) in events(&run) {
        match last.insert(event.hit.source, event.at) {
            Some(last) if event.at.since(last) <= Duration::from_secs(120) => more += 1,
            _ => bursts += 1,
        }
    }
    about(bursts, 3000.0);
    about(more, 1000.0);
}

#[test]
fn what_is_set_up_wrong_goes_on_for_ever() {
    let run = Run {
        noise: NoisePlan {
            monitors: 1,
            cron_jobs: 4,
            ..NoisePlan::default()
        },
        lasts: DAY,
        ..nothing()
    };
    let mut triples = BTreeMap::<_, usize>::new();
    for (party, event) in events(&run) {
        let triple = (
            event.hit.source,
            event.client,
            event.hit.trap_port,
            party == Party::Monitor,
        );
        *triples.entry(triple).or_default() += 1;
    }
    let monitors = triples.iter().filter(|(triple, _)| triple.3);
    assert!(monitors.clone().count() <= 3);
    assert!(monitors.map(|(_, hits)| hits).all(|hits| *hits > 1300));
    let jobs = triples.iter().filter(|(triple, _)| !triple.3);
    assert_eq!(jobs.clone().count(), 4);
    assert!(
        jobs.map(|(_, hits)| hits)
            .all(|hits| matches!(hits, 23..=25 | 142..=145))
    );
}

#[test]
fn a_flood_is_of_sources_that_come_once_each() {
    let flood = |aim| {
        let run = Run {
            flood: Some(FloodPlan {
                sources: 20_000,
                probe: Probe::Syn,
                aim,
            }),
            lasts: DAY,
            ..nothing()
        };
        events(&run)
    };
    let events = flood(Aim::All);
    about(events.len(), 20_000.0);
    let sources: BTreeSet<_> = events.iter().map(|(_, event)| event.hit.source).collect();
    assert_eq!(sources.len(), events.len());
    assert!(
        events
            .iter()
            .all(|(_, event)| event.hit.probe == Probe::Syn)
    );
    let half = events.partition_point(|(_, event)| event.at < BEGIN.after(DAY / 2));
    about(half, 10_000.0);
    let ports = flood(Aim::OnePort);
    let ports: BTreeSet<_> = ports.iter().map(|(_, event)| event.hit.trap_port).collect();
    assert_eq!(ports.len(), 1);
}

/// What is measured about scanners must not depend on who else is about.
#[test]
fn more_noise_does_not_change_the_scanners() {
    let scanners = |strangers| {
        let run = Run {
            scanners: vec![SCANNER; 2],
            noise: NoisePlan {
                strangers,
                ..NoisePlan::default()
            },
            ..nothing()
        };
        let events = events(&run).into_iter();
        let theirs = events.filter(|(party, _)| matches!(party, Party::Attacker(_)));
        theirs
            .map(|(_, event)| (event.at, event.hit.source, event.client))
            .collect::<Vec<_>>()
    };
    assert_eq!(scanners(0), scanners(500));
}
