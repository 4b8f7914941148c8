//! How well the engine does: labelled fleets made up from a seed, an engine that does not see the
//! labels, and a score.
//!
//! A [scenario](scenario::Scenario) is a few [runs](run::Run). Each draws a [fleet](fleet::Fleet),
//! and puts [those who make mistakes](noise) and [those who attack](scanner) into a
//! [timeline](timeline::Timeline), which is a stream of events. The engine takes them in, and the
//! [judge](score::Judge), who knows who is who, keeps the score. [Targets](target) say what it
//! should be.
//!
//! All of it is a function of the seed, the options and the engine's settings.

pub mod address;
pub mod dice;
pub mod figures;
pub mod fleet;
pub mod json;
pub mod noise;
pub mod plot;
pub mod run;
pub mod scanner;
pub mod scenario;
pub mod score;
pub mod table;
pub mod target;
pub mod timeline;

use crate::config::server::ServerSettings;
use crate::evaluate::dice::Dice;
use crate::evaluate::run::Resident;
use crate::evaluate::scenario::{Options, Part, Scenario};
use crate::evaluate::score::Figures;
use crate::evaluate::target::Wanted;

/// What has come of a scenario.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which.
    pub scenario: Scenario,
    /// Its parts.
    pub parts: Vec<Scored>,
}

/// What has come of one part of it.
#[derive(Clone, Debug)]
pub struct Scored {
    /// What it was.
    pub title: String,
    /// How many runs it took.
    pub runs: usize,
    /// The figures of all of them.
    pub figures: Figures,
    /// How they compare with what they should be.
    pub checks: Vec<Check>,
}

/// A figure beside what it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What it is.
    pub what: String,
    /// What it should be.
    pub wanted: Wanted,
    /// What it is; `None` if it never came about.
    pub measured: Option<f64>,
}

impl Check {
    /// Whether it is as it should be.
    pub fn is_met(&self) -> bool {
        self.wanted.is_met(self.measured)
    }
}

/// Plays a scenario with an engine of these settings.
pub fn evaluate(
    scenario: Scenario,
    options: &Options,
    settings: &ServerSettings,
    resident: Resident<'_>,
) -> Report {
    let mut dice = Dice::new(options.seed);
    let mut score = |part: Part| {
        let mut figures = Figures::default();
        for run in &part.runs {
            figures.absorb(run.play(dice.bits(), settings, &mut *resident));
        }
        let goals = part.goals.into_iter().map(|goal| Check {
            measured: (goal.measure)(&figures),
            what: goal.what,
            wanted: goal.wanted,
        });
        let checks = goals.chain(target::bounds(&figures));
        Scored {
            title: part.title,
            runs: part.runs.len(),
            checks: checks.collect(),
            figures,
        }
    };
    let parts = scenario.parts(options).into_iter();
    Report {
        scenario,
        parts: parts.map(&mut score).collect(),
    }
}

#[cfg(test)]
mod tests;
