//! `lying-client`: a client whose reports are out of all proportion.
//!
//! Whoever owns one client host can have it report whatever hits it likes. So a client is told of
//! that reports, within an hour, `factor` (10) times what all but one in a hundred clients
//! reported in the hour before, or that brings more than `share` (1/8) of all sources new within
//! the hour. It may also be honest and under attack; either way what it alone reports is then not
//! taken for more than low, for as long as the server runs.
//!
//! An hour must have brought a thousand hits or new sources of the client before it counts, and
//! there must be eight clients that report anything: else there is nothing to compare it with.

use std::collections::HashMap;

use crate::config::detectors::LyingClient;
use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Statistic};
use crate::server::correlate::clients::Handle;
use crate::server::correlate::table::Fast;

/// What clients have reported within the hour.
#[derive(Debug, Default)]
pub struct Reports {
    hour: u64,
    of: HashMap<Handle, Report, Fast>,
    new_sources: u64,
    /// What all but one in a hundred clients stayed below in the hour before.
    usual: u64,
    reporters: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Report {
    hits: u64,
    new_sources: u64,
}

/// A client that reports less in an hour is not looked at.
const MANY: u64 = 1000;

/// So many clients must have reported something.
const COMPANY: usize = 8;

/// Whether a hit's source is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceIs {
    /// It was seen for the first time.
    New,
    /// It was seen before.
    Known,
}

impl Reports {
    /// Takes in hits of a client at `now`; says so if it reports too much.
    pub fn add(
        &mut self,
        client: Handle,
        hits: u32,
        source: SourceIs,
        now: Timestamp,
        settings: &LyingClient,
    ) -> Option<Statistic> {
        self.turn(now);
        let report = self.of.entry(client).or_default();
        report.hits = report.hits.saturating_add(hits.into());
        if source == SourceIs::New {
            report.new_sources += 1;
            self.new_sources += 1;
        }
        let report = *report;
        if !settings.enabled || self.reporters.max(self.of.len()) < COMPANY {
            return None;
        }
        self.loud(report, settings)
            .or_else(|| self.inventive(report, settings))
    }

    fn loud(&self, report: Report, settings: &LyingClient) -> Option<Statistic> {
        let usual = self.usual.max(MANY / 10);
        let threshold = settings.factor.get() * usual as f64;
        let value = report.hits as f64;
        (value > threshold && report.hits >= MANY).then_some(found(value, threshold))
    }

    fn inventive(&self, report: Report, settings: &LyingClient) -> Option<Statistic> {
        let value = report.new_sources as f64 / self.new_sources.max(1) as f64;
        let threshold = settings.share.get();
        // Where few clients report, each of them has a large share.
        let fair = 4.0 / self.of.len().max(1) as f64;
        (value > threshold.max(fair) && report.new_sources >= MANY)
            .then_some(found(value, threshold))
    }

    fn turn(&mut self, now: Timestamp) {
        let hour = now.as_micros() / 3_600_000_000;
        if hour == self.hour {
            return;
        }
        self.hour = hour;
        let mut hits: Vec<_> = self.of.values().map(|report| report.hits).collect();
        hits.sort_unstable();
        let above = hits.len() / 100;
        let place = hits.len().saturating_sub(above.saturating_add(1));
        self.usual = hits.get(place).copied().unwrap_or(0);
        self.reporters = hits.len();
        self.of.clear();
        self.new_sources = 0;
    }
}

const fn found(value: f64, threshold: f64) -> Statistic {
    Statistic {
        detector: Detector::LyingClient,
        measure: Measure::Share { value, threshold },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_000_000);

    fn add(reports: &mut Reports, client: u32, hits: u32, source: SourceIs) -> Option<Statistic> {
        reports.add(Handle(client), hits, source, NOW, &LyingClient::default())
    }

    #[test]
    fn one_that_reports_ten_times_as_much_as_the_others_is_found() {
        let mut reports = Reports::default();
        for client in 1..=20 {
            assert_eq!(add(&mut reports, client, 90, SourceIs::Known), None);
        }
        assert_eq!(add(&mut reports, 7, 900, SourceIs::Known), None);
        assert!(add(&mut reports, 7, 11, SourceIs::Known).is_some());
    }

    #[test]
    fn one_that_brings_most_new_sources_is_found() {
        let mut reports = Reports::default();
        for client in 1..=40 {
            for _ in 0..50 {
                let _early = add(&mut reports, client, 1, SourceIs::New);
            }
        }
        let liar = (0..2000).find(|_| add(&mut reports, 9, 0, SourceIs::New).is_some());
        assert!(liar.is_some_and(|number| number >= 900), "{liar:?}");
    }

    #[test]
    fn a_small_fleet_has_nothing_to_compare_with() {
        let mut reports = Reports::default();
        for client in 1..=7 {
            assert_eq!(add(&mut reports, client, 1_000_000, SourceIs::New), None);
        }
    }
}
