//! `vft evaluate`: how well the detectors do, on fleets that are made up.

use std::fs;
use std::path::Path;

use crate::cli::evaluate::{EvaluateArgs, Which};
use crate::clock;
use crate::command::print;
use crate::config::server::{Format, ServerSettings};
use crate::config::{ConfigError, file};
use crate::evaluate::scenario::{Options, Scenario};
use crate::evaluate::{Report, evaluate, json, plot, table};
use crate::exit::{Failure, Kind};

/// Plays what was asked for, and prints what has come of it.
pub fn run(args: &EvaluateArgs) -> Result<(), Failure> {
    let settings = settings(args.config.as_deref())?;
    let options = Options {
        clients: args.clients,
        traps: args.traps,
        candidates: args.candidates,
        days: args.days,
        scanners: args.scanners,
        flood: args.flood,
        seed: args.seed,
    };
    let scenarios = scenarios(args.scenario);
    if args.svg.is_some() && !scenarios.iter().any(|scenario| scenario.has_rates()) {
        let what = "--svg draws delays against rates, which this scenario is not about";
        return Err(Failure::new(Kind::Usage, what).hint("`--scenario slow` and `shared` are"));
    }
    let mut reports = Vec::new();
    for scenario in scenarios {
        let began = clock::monotonic();
        let mut memory = || (*scenario == Scenario::Flood).then(resident).flatten();
        let report = evaluate(*scenario, &options, &settings, &mut memory);
        let events: u32 = report.parts.iter().map(|part| part.figures.events).sum();
        let took = clock::since(began).as_secs_f64();
        log::info!("{}: {events} events in {took:.1} s", scenario.name());
        reports.push(report);
    }
    print(&match args.format {
        Format::Text => table::text(&reports, &options),
        Format::Json => json::object(&reports, &options),
    })?;
    if let Some(path) = &args.svg {
        fs::write(path, plot::svg(&reports)).map_err(|error| {
            let what = format!("cannot write {}: {error}", path.display());
            Failure::new(Kind::Runtime, what).hint("check the path and its permissions")
        })?;
    }
    if args.strict {
        strict(&reports)
    } else {
        Ok(())
    }
}

fn settings(config: Option<&Path>) -> Result<ServerSettings, Failure> {
    let Some(path) = config else {
        return Ok(ServerSettings::default());
    };
    let text = file::load(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
    let settings: ServerSettings = file::parse(&text, path)?;
    settings.check()?;
    Ok(settings)
}

const fn scenarios(which: Which) -> &'static [Scenario] {
    match which {
        Which::All => &Scenario::ALL,
        Which::Slow => &[Scenario::Slow],
        Which::Shared => &[Scenario::Shared],
        Which::Coordinated => &[Scenario::Coordinated],
        Which::Lateral => &[Scenario::Lateral],
        Which::Flood => &[Scenario::Flood],
        Which::Benign => &[Scenario::Benign],
        Which::Noisy => &[Scenario::Noisy],
    }
}

/// What this process has in memory, in KiB; not known but on Linux. It is of interest where a
/// detector may be made to remember too much, and elsewhere would only make reports differ.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn strict(reports: &[Report]) -> Result<(), Failure> {
    let parts = reports.iter().flat_map(|report| &report.parts);
    let missed = parts
        .flat_map(|part| &part.checks)
        .filter(|check| !check.is_met())
        .count();
    if missed == 0 {
        return Ok(());
    }
    let what = if missed == 1 { "target" } else { "targets" };
    Err(Failure::new(
        Kind::Runtime,
        format!("{missed} {what} missed"),
    ))
}
