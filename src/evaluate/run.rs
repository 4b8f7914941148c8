//! One run: a fleet, those who touch its traps, and an engine that is to tell them apart.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::server::{Allow, Network, ServerSettings};
use crate::evaluate::address;
use crate::evaluate::dice::Dice;
use crate::evaluate::fleet::{Fleet, FleetPlan};
use crate::evaluate::noise::{Clumsy, Flood, FloodPlan, NoisePlan, Routine};
use crate::evaluate::scanner::{Scanner, ScannerPlan};
use crate::evaluate::score::{Figures, Judge};
use crate::evaluate::timeline::{BEGIN, Generator, Party, Timeline};
use crate::server::correlate::Correlator;

/// What happens in a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// To whom.
    pub fleet: FleetPlan,
    /// For how long.
    pub lasts: Duration,
    /// What means no harm.
    pub noise: NoisePlan,
    /// What does.
    pub scanners: Vec<ScannerPlan>,
    /// Scans that the allow-list covers.
    pub audits: Vec<ScannerPlan>,
    /// What hides it.
    pub flood: Option<FloodPlan>,
}

/// How often the engine is told the time. A server does so several times a second, which would
/// make no difference to what is found.
const TICK: Duration = Duration::from_secs(60);

/// The memory that is in use, in KiB, as far as whoever runs the evaluation can tell. It is asked at
/// the end of a run, when the engine still holds all it has.
pub type Resident<'a> = &'a mut dyn FnMut() -> Option<u64>;

impl Run {
    /// Lets it happen, and says how an engine with these settings has done.
    pub fn play(&self, seed: u64, settings: &ServerSettings, resident: Resident<'_>) -> Figures {
        let mut dice = Dice::new(seed);
        let fleet = Fleet::draw(&self.fleet, &mut dice.fork());
        let (mut timeline, mut judge) = (Timeline::new(&fleet, self.lasts), Judge::default());
        self.fill(&fleet, &mut dice, &mut timeline, &mut judge);
        let mut engine = self.engine(&fleet, settings);
        let (mut alerts, mut tick, end) = (Vec::new(), BEGIN.after(TICK), timeline.end());
        for (party, event) in timeline {
            while tick <= event.at {
                engine.tick(tick, &mut alerts);
                judge.alerts(&mut alerts, tick);
                tick = tick.after(TICK);
            }
            judge.event(party, &event);
            engine.event(&event, &mut alerts);
            judge.alerts(&mut alerts, event.at);
        }
        while tick <= end {
            engine.tick(tick, &mut alerts);
            judge.alerts(&mut alerts, tick);
            tick = tick.after(TICK);
        }
        judge.finish(self.lasts, resident())
    }

    /// An engine that knows the fleet. Nobody sends heartbeats here, so silence means nothing.
    fn engine(&self, fleet: &Fleet, settings: &ServerSettings) -> Correlator {
        let mut settings = settings.clone();
        settings.detectors.silent_client.enabled = false;
        settings.limits.clients = settings.limits.clients.max(fleet.size());
        if !self.audits.is_empty() {
            settings.allow.push(Allow {
                network: Network(IpNet::from(address::auditor())),
                ports: None,
                clients: Vec::new(),
                until: None,
                owner: None,
                reason: None,
            });
        }
        let mut engine = Correlator::new(&settings);
        for client in &fleet.clients {
            let _there_is_room = engine.welcome(client.id, &client.name, BEGIN);
            engine.lives_at(client.id, client.address);
            engine.owns(client.id, &client.traps);
        }
        engine
    }

    /// Puts everybody into the timeline. Each part has dice of its own, so that more of one does
    /// not change another.
    pub fn fill(
        &self,
        fleet: &Fleet,
        dice: &mut Dice,
        timeline: &mut Timeline<'_>,
        judge: &mut Judge,
    ) {
        let (mut noise, mut scanners, mut rest) = (dice.fork(), dice.fork(), dice.fork());
        for (first, clumsy) in Clumsy::all(&self.noise, &mut noise) {
            timeline.add(Party::Noise, first, Generator::Clumsy(clumsy));
        }
        for number in 0..self.noise.monitors.saturating_add(self.noise.cron_jobs) {
            let address = address::routine(number);
            let (party, (first, routine)) = if number < self.noise.monitors {
                (Party::Monitor, Routine::monitor(address, fleet, &mut rest))
            } else {
                (Party::CronJob, Routine::cron_job(address, fleet, &mut rest))
            };
            judge.know(address, party);
            timeline.add(party, first, Generator::Routine(routine));
        }
        if let Some(plan) = self.flood {
            let (first, flood) = Flood::new(plan, self.lasts, fleet, &mut rest);
            timeline.add(Party::Noise, first, Generator::Flood(flood));
        }
        let mut network = 0;
        for plan in &self.scanners {
            let (campaign, scanner) = Scanner::new(plan, network, fleet, &mut scanners);
            network += plan.networks();
            let first = self.beginning(plan, &mut scanners);
            timeline.add(judge.enlist(campaign), first, Generator::Scanner(scanner));
        }
        judge.know(address::auditor(), Party::Allowed);
        for plan in &self.audits {
            let (_, scanner) = Scanner::new(plan, 0, fleet, &mut rest);
            let first = self.beginning(plan, &mut rest);
            timeline.add(Party::Allowed, first, Generator::Scanner(scanner));
        }
    }

    /// When a scanner begins: at any time that leaves it enough to do what it wants to, if there is
    /// one; else within the first tenth.
    fn beginning(&self, plan: &ScannerPlan, dice: &mut Dice) -> Duration {
        let spare = self.lasts.saturating_sub(plan.duration());
        dice.up_to(spare.max(self.lasts / 10))
    }
}
