//! What stands before a sink: lets an alert pass, or holds it for a digest.
//!
//! An alert is held for one of two reasons. Under the profile `exposed`, what is about a source or a
//! network outside is held, unless it is critical: where the Internet reaches the traps, strangers come
//! by the hundred a day, and nobody reads so many alerts. And under any profile, no more than `per-hour`
//! pass within an hour (the window is half open: what passed exactly an hour ago no longer counts). So
//! that noise does not take the place of what matters, lower severities have only a share of that.
//!
//! What is held is counted, and comes out as a [`Digest`] when `digest` has passed since the first of
//! it. Nothing is lost: what has passed and what is in digests is what was given.
//!
//! The time is that of the alerts and of whoever asks; no clock is read. If it goes back, what lies in
//! the future is taken to have happened just now, so that a clock that was wrong for a moment does not
//! close the valve until it is right again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::server::{Alerts, Profile};
use crate::event::Timestamp;
use crate::server::alert::brief::Brief;
use crate::server::alert::digest::{Digest, Reason};
use crate::server::alert::{Severity, Zone};

/// The valve before one sink.
#[derive(Debug)]
pub struct Valve {
    settings: Alerts,
    now: Timestamp,
    /// When alerts passed within the last hour, ascending. Empty if there is no limit.
    passed: VecDeque<Timestamp>,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    since: Timestamp,
    digest: Digest,
}

/// What becomes of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is to be said now.
    Free,
    /// It is in the next digest.
    Held,
}

const HOUR: Duration = Duration::from_secs(3600);

impl Valve {
    /// A valve that has seen nothing.
    pub const fn new(settings: Alerts) -> Self {
        Self {
            settings,
            now: Timestamp::from_micros(0),
            passed: VecDeque::new(),
            held: None,
        }
    }

    /// Goes on under these settings. What is held stays so until its digest is due.
    pub fn set(&mut self, settings: Alerts) {
        self.settings = settings;
    }

    /// Takes an alert. A digest that is due by then comes first.
    pub fn take(&mut self, brief: &Brief) -> (Option<Digest>, Passage) {
        let due = self.due(brief.time);
        let Some(reason) = self.objection(brief) else {
            if self.settings.per_hour > 0 {
                self.passed.push_back(self.now);
            }
            return (due, Passage::Free);
        };
        let held = self.held.get_or_insert_with(|| Held {
            since: self.now,
            digest: Digest::new(brief),
        });
        held.digest.add(brief, reason);
        (due, Passage::Held)
    }

    /// The digest that is due at `now`, if there is one.
    pub fn due(&mut self, now: Timestamp) -> Option<Digest> {
        self.advance(now);
        let period = self.settings.digest.get();
        let held = self
            .held
            .take_if(|held| self.now.since(held.since) >= period)?;
        // The period may have become shorter.
        let time = held.since.after(period).max(held.digest.to);
        Some(Digest {
            time,
            ..held.digest
        })
    }

    /// A digest of what is still held, because nothing more will come.
    pub fn rest(&mut self) -> Option<Digest> {
        let time = self.now;
        self.held.take().map(|held| Digest {
            time,
            ..held.digest
        })
    }

    /// Whether anything is held.
    pub const fn holds(&self) -> bool {
        self.held.is_some()
    }

    fn advance(&mut self, now: Timestamp) {
        if now < self.now {
            for passed in &mut self.passed {
                *passed = now.min(*passed);
            }
            if let Some(held) = &mut self.held {
                held.since = now.min(held.since);
            }
        }
        self.now = now;
        while self.passed.front().is_some_and(|it| now.since(*it) >= HOUR) {
            self.passed.pop_front();
        }
    }

    /// Why an alert must not pass, if it must not.
    fn objection(&self, brief: &Brief) -> Option<Reason> {
        let exposed = self.settings.profile == Profile::Exposed;
        if exposed && brief.zone == Some(Zone::Outside) && brief.severity < Severity::Critical {
            return Some(Reason::Outside);
        }
        let most = self.settings.per_hour;
        let full = most > 0 && self.passed.len() >= share(brief.severity, most);
        full.then_some(Reason::TooMany)
    }
}

/// How many alerts may have passed within an hour for one of this severity to pass.
fn share(severity: Severity, most: u16) -> usize {
    let fifths = match severity {
        Severity::Informational | Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    };
    usize::from(most) * fifths / 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use crate::config::value::Span;
    use crate::server::alert::digest::tests::brief;
    use crate::server::alert::{Action, Detector};

    fn settings(profile: Profile, per_hour: u16) -> Alerts {
        Alerts {
            profile,
            per_hour,
            digest: Span::seconds(600),
        }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    /// How many of `count` alerts of this severity pass one after the other.
    fn passing(valve: &mut Valve, count: u64, severity: Severity) -> usize {
        let free = |n: &u64| valve.take(&brief(*n, "a", severity)).1 == Passage::Free;
        (0..count).filter(free).count()
    }

    #[test]
    fn without_a_limit_all_pass() {
        let mut valve = Valve::new(Alerts::default());
        assert_eq!(passing(&mut valve, 1000, Severity::Informational), 1000);
        assert_eq!((valve.rest(), valve.passed.len()), (None, 0));
    }

    #[test]
    fn noise_leaves_room_for_what_matters() {
        let mut valve = Valve::new(settings(Profile::Internal, 20));
        let severities = Severity::ALL;
        let passed = severities.map(|severity| passing(&mut valve, 100, severity));
        assert_eq!(passed, [8, 0, 4, 4, 4]);
        assert_eq!(passing(&mut valve, 100, Severity::Critical), 0);
    }

    #[test]
    fn an_hour_later_there_is_room_again() {
        let mut valve = Valve::new(settings(Profile::Internal, 5));
        let critical = |second| brief(second, "a", Severity::Critical);
        for second in 0..5 {
            assert_eq!(valve.take(&critical(second)).1, Passage::Free);
        }
        assert_eq!(valve.take(&critical(3599)).1, Passage::Held);
        assert_eq!(valve.take(&critical(3600)).1, Passage::Free);
        assert_eq!(valve.take(&critical(3600)).1, Passage::Held);
    }

    #[test]
    fn a_digest_is_due_its_period_after_the_first_of_it() {
        let mut valve = Valve::new(settings(Profile::Internal, 5));
        passing(&mut valve, 4, Severity::Low);
        assert_eq!(valve.due(at(601)), None);
        let digest = valve.due(at(602)).unwrap();
        assert_eq!((digest.time, digest.alerts), (at(602), 2));
        assert_eq!((digest.from, digest.to), (at(2), at(3)));
        assert!(!valve.holds());
        valve.take(&brief(700, "a", Severity::Low));
        assert_eq!(valve.rest().unwrap().time, at(700));
    }

    #[test]
    fn a_digest_that_is_due_comes_before_the_next_alert() {
        let mut valve = Valve::new(settings(Profile::Internal, 5));
        passing(&mut valve, 3, Severity::Low);
        let (digest, _) = valve.take(&brief(9000, "a", Severity::Low));
        assert_eq!(digest.unwrap().time, at(602));
    }

    #[test]
    fn exposed_holds_what_is_outside_and_not_critical() {
        let mut valve = Valve::new(settings(Profile::Exposed, 0));
        let mut take = |zone, severity| {
            let brief = Brief {
                zone,
                ..brief(0, "a", severity)
            };
            valve.take(&brief).1
        };
        assert_eq!(take(Some(Zone::Outside), Severity::High), Passage::Held);
        assert_eq!(take(Some(Zone::Outside), Severity::Critical), Passage::Free);
        assert_eq!(take(Some(Zone::Inside), Severity::Low), Passage::Free);
        assert_eq!(take(None, Severity::Low), Passage::Free);
    }

    #[test]
    fn a_clock_that_was_ahead_for_a_moment_does_not_close_it_for_long() {
        let mut valve = Valve::new(settings(Profile::Internal, 5));
        let far = 1_000_000_000;
        for second in far..far + 6 {
            valve.take(&brief(second, "a", Severity::Critical));
        }
        assert_eq!(
            valve.take(&brief(0, "a", Severity::Critical)).1,
            Passage::Held
        );
        assert_eq!(valve.due(at(600)).unwrap().alerts, 2);
        assert_eq!(
            valve.take(&brief(3600, "a", Severity::Critical)).1,
            Passage::Free
        );
    }

    #[test]
    fn other_settings_hold_from_the_next_alert_on() {
        let mut valve = Valve::new(settings(Profile::Internal, 5));
        passing(&mut valve, 3, Severity::Low);
        valve.set(settings(Profile::Internal, 0));
        assert_eq!(valve.take(&brief(5, "a", Severity::Low)).1, Passage::Free);
        assert_eq!(valve.rest().unwrap().alerts, 1);
    }

    prop_compose! {
        fn any_brief()(
            pause in prop_oneof![0..60_u64, 0..4000_u64],
            severity in prop::sample::select(Severity::ALL.to_vec()),
            detector in prop::sample::select(Detector::ALL.to_vec()),
            action in prop::sample::select(Action::ALL.to_vec()),
            zone in prop::sample::select(vec![None, Some(Zone::Inside), Some(Zone::Outside)]),
            incident in 0..9_u8,
        ) -> (u64, Brief) {
            let id = incident.to_string();
            (pause, Brief { action, detector, zone, ..brief(0, &id, severity) })
        }
    }

    fn sum<T: Ord + Copy>(into: &mut BTreeMap<T, u64>, counts: &BTreeMap<T, u64>) {
        for (each, count) in counts {
            *into.entry(*each).or_default() += count;
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_never_do_too_many_pass(
            briefs in prop::collection::vec(any_brief(), 1..200),
            per_hour in prop_oneof![Just(0_u16), 5..30_u16],
            exposed: bool,
        ) {
            let profile = if exposed { Profile::Exposed } else { Profile::Internal };
            let mut valve = Valve::new(settings(profile, per_hour));
            let (mut now, mut passed, mut digests) = (0, Vec::new(), Vec::new());
            let (mut given, mut found) = (BTreeMap::new(), BTreeMap::new());
            for (pause, mut brief) in briefs.clone() {
                now += pause;
                brief.time = at(now);
                *given.entry(brief.detector).or_default() += 1;
                let (digest, passage) = valve.take(&brief);
                digests.extend(digest);
                if passage == Passage::Free {
                    sum(&mut found, &BTreeMap::from([(brief.detector, 1)]));
                    passed.push(now);
                    let held = exposed && brief.zone == Some(Zone::Outside);
                    prop_assert!(!held || brief.severity == Severity::Critical);
                }
            }
            digests.extend(valve.rest());
            for digest in &digests {
                sum(&mut found, &digest.by_detector);
                prop_assert_eq!(digest.by_reason.values().sum::<u64>(), digest.alerts);
                prop_assert_eq!(digest.by_action.values().sum::<u64>(), digest.alerts);
                prop_assert_eq!(digest.by_severity.values().sum::<u64>(), digest.alerts);
                let gravest = digest.gravest.iter().map(|it| it.severity).max();
                prop_assert!(gravest.is_some() && digest.gravest.len() <= 5);
                prop_assert!(digest.from <= digest.to && digest.to <= digest.time);
            }
            prop_assert_eq!(&found, &given);
            let held: u64 = digests.iter().map(|it| it.alerts).sum();
            prop_assert_eq!(held + passed.len() as u64, briefs.len() as u64);
            for first in &passed {
                let within = |at: &&u64| (*first..first + 3600).contains(*at);
                let count = passed.iter().filter(within).count();
                prop_assert!(per_hour == 0 || count <= per_hour.into());
            }
        }
    }
}
