//! Touches that mean no harm.
//!
//! | who | does |
//! |---|---|
//! | a stranger, or another host inside | a mistake now and then: a touch, and with a chance of a quarter another within two minutes, and so on |
//! | a monitor | asks after the same few traps every minute: somebody has set it up wrong |
//! | a cron job | touches the same trap every 10 minutes or every hour |
//! | a flood | a great many sources, each with one touch |

use std::net::IpAddr;
use std::time::Duration;

use crate::evaluate::address;
use crate::evaluate::dice::Dice;
use crate::evaluate::fleet::{Fleet, Trap};
use crate::evaluate::timeline::{Next, Touch};
use crate::event::Probe;

/// How much of it there is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NoisePlan {
    /// Strangers from outside that make mistakes.
    pub strangers: u32,
    /// Hosts inside, beside the fleet, that make mistakes.
    pub inside: u32,
    /// How often each of them begins to, in the mean.
    pub mistakes: Mistakes,
    /// Monitors, inside.
    pub monitors: u32,
    /// Cron jobs, inside.
    pub cron_jobs: u32,
}

/// How often a source makes mistakes: so often a day, drawn for each source from `least` to
/// `most`, each as likely as the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mistakes {
    /// The least.
    pub least: f64,
    /// The most.
    pub most: f64,
}

impl Default for Mistakes {
    /// Once in 30 days in the mean: from half as often to half as often again.
    fn default() -> Self {
        Self {
            least: 0.5 / 30.0,
            most: 1.5 / 30.0,
        }
    }
}

/// The chance that a mistake is followed by another one, and within how long.
const AGAIN: f64 = 0.25;
const SOON: Duration = Duration::from_secs(120);

/// A second and a day.
const SECOND: Duration = Duration::from_secs(1);
const DAY: f64 = 86_400.0;

/// A source that makes mistakes.
#[derive(Clone, Debug)]
pub struct Clumsy {
    address: IpAddr,
    per_second: f64,
    dice: Dice,
}

impl Clumsy {
    /// All of this plan, each with the time until it begins.
    pub fn all<'a>(
        plan: &'a NoisePlan,
        dice: &'a mut Dice,
    ) -> impl Iterator<Item = (Duration, Self)> + 'a {
        let strangers = (0..plan.strangers).map(address::stranger);
        let hosts = (0..plan.inside).map(address::inside);
        strangers.chain(hosts).map(|address| {
            let Mistakes { least, most } = plan.mistakes;
            let mut dice = dice.fork();
            let per_second = (least + (most - least) * dice.unit()) / DAY;
            let first = dice.wait(per_second);
            let clumsy = Self {
                address,
                per_second,
                dice,
            };
            (first, clumsy)
        })
    }

    /// What it does next, and how long until it does something again.
    pub fn touch(&mut self, fleet: &Fleet) -> Option<Next> {
        let trap = self.dice.pick(&fleet.traps)?;
        let again = if self.dice.unit() < AGAIN {
            self.dice.up_to(SOON)
        } else {
            self.dice.wait(self.per_second)
        };
        let touch = Touch::new(self.address, trap, Probe::Connect, &mut self.dice);
        Some((touch, Some(again)))
    }
}

/// A host inside that touches the same traps for ever.
#[derive(Clone, Debug)]
pub struct Routine {
    address: IpAddr,
    traps: Vec<Trap>,
    at: usize,
    every: Duration,
    dice: Dice,
}

impl Routine {
    /// A monitor at this address: three traps on one port, every minute.
    pub fn monitor(address: IpAddr, fleet: &Fleet, dice: &mut Dice) -> (Duration, Self) {
        let mut dice = dice.fork();
        let port = dice.pick(&fleet.traps).map_or(0, |trap| trap.port);
        let traps = dice.sample(fleet.on_port(port), 3);
        Self::new(address, traps, Duration::from_secs(60), dice)
    }

    /// A cron job at this address: one trap, every ten minutes or every hour.
    pub fn cron_job(address: IpAddr, fleet: &Fleet, dice: &mut Dice) -> (Duration, Self) {
        let mut dice = dice.fork();
        let minutes = dice.pick(&[10, 60]).unwrap_or(60);
        let traps = dice.sample(&fleet.traps, 1);
        Self::new(address, traps, Duration::from_secs(60 * minutes), dice)
    }

    fn new(address: IpAddr, traps: Vec<Trap>, every: Duration, mut dice: Dice) -> (Duration, Self) {
        let first = dice.up_to(every);
        let routine = Self {
            address,
            traps,
            at: 0,
            every,
            dice,
        };
        (first, routine)
    }

    /// What it does next, and how long until it does something again: its traps a second apart,
    /// and then nothing until the next round, which begins up to a second late.
    pub fn touch(&mut self) -> Option<Next> {
        let trap = *self.traps.get(self.at)?;
        self.at = (self.at + 1) % self.traps.len();
        let again = match self.at {
            0 => self.every.saturating_add(self.dice.up_to(SECOND)),
            _ => SECOND,
        };
        let touch = Touch::new(self.address, trap, Probe::Connect, &mut self.dice);
        Some((touch, Some(again)))
    }
}

/// What a flood is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodPlan {
    /// So many sources, each of which touches one trap once, without knowing of the others.
    pub sources: u32,
    /// How its touches are seen.
    pub probe: Probe,
    /// Which traps it touches.
    pub aim: Aim,
}

/// Which traps a flood touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// All.
    All,
    /// Those on the port that most clients hold.
    OnePort,
}

/// A flood: sources that come and go, in even mixture over the whole time.
#[derive(Clone, Debug)]
pub struct Flood {
    plan: FloodPlan,
    port: u16,
    per_second: f64,
    number: u32,
    dice: Dice,
}

impl Flood {
    /// A flood that lasts for so long, and the time until it begins.
    pub fn new(
        plan: FloodPlan,
        lasts: Duration,
        fleet: &Fleet,
        dice: &mut Dice,
    ) -> (Duration, Self) {
        let mut flood = Self {
            plan,
            port: fleet.commonest_port(),
            per_second: f64::from(plan.sources) / lasts.as_secs_f64(),
            number: 0,
            dice: dice.fork(),
        };
        (flood.dice.wait(flood.per_second), flood)
    }

    /// What it does next, and how long until it does something again.
    pub fn touch(&mut self, fleet: &Fleet) -> Option<Next> {
        let trap = self.dice.pick(match self.plan.aim {
            Aim::All => &fleet.traps,
            Aim::OnePort => fleet.on_port(self.port),
        })?;
        let source = address::flood(self.number);
        self.number = self.number.checked_add(1)?;
        let touch = Touch::new(source, trap, self.plan.probe, &mut self.dice);
        let left = self.number < self.plan.sources;
        Some((touch, left.then(|| self.dice.wait(self.per_second))))
    }
}
