//! The report as a picture (SVG): how long it takes until scanners are found, and how many of them
//! are, against the rate of their first contacts.
//!
//! Both axes of the upper panel are logarithmic. Two dotted lines show when a scanner makes its
//! second and its sixth first contact in the mean: a detector that needs so many cannot be faster.
//! Colours follow whether the reader prefers light or dark.

use crate::evaluate::figures::Pool;
use crate::evaluate::scanner::{RATES, Rate};
use crate::evaluate::score::Figures;
use crate::evaluate::table::{seconds, share};
use crate::evaluate::{Report, Scored};

/// The picture's size, and where its panels begin and end, in its own units.
const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 620.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 796.0;
const DELAY: Panel = Panel {
    top: 36.0,
    bottom: 416.0,
};
const FOUND: Panel = Panel {
    top: 456.0,
    bottom: 536.0,
};

/// The rates and the delays at the ends of the axes: a second and its inverse, to these powers of
/// ten.
const SLOWEST: f64 = -6.3;
const FASTEST: f64 = 3.3;
const SHORTEST: f64 = -3.3;
const LONGEST: f64 = 7.0;

/// Delays that have a line of their own.
const DELAYS: [(f64, &str); 7] = [
    (0.001, "1 ms"),
    (0.1, "100 ms"),
    (1.0, "1 s"),
    (60.0, "1 min"),
    (3600.0, "1 h"),
    (86_400.0, "1 d"),
    (2_592_000.0, "30 d"),
];

const STYLE: &str = "\
<style>
svg { background: #ffffff; color: #1c1c1c; font: 12px system-ui, sans-serif; }
text { fill: currentColor; }
.grid { stroke: currentColor; stroke-opacity: 0.15; }
.frame { stroke: currentColor; fill: none; stroke-opacity: 0.6; }
.guide { stroke: currentColor; stroke-opacity: 0.5; stroke-dasharray: 1 4; }
.line { fill: none; stroke-width: 2; }
.p95 { fill: none; stroke-width: 1.2; stroke-dasharray: 5 4; }
.s0 { stroke: #0063a6; } .f0 { fill: #0063a6; }
.s1 { stroke: #c04a00; } .f1 { fill: #c04a00; }
@media (prefers-color-scheme: dark) {
svg { background: #16181c; color: #e4e4e4; }
.s0 { stroke: #6bb8f0; } .f0 { fill: #6bb8f0; }
.s1 { stroke: #f0a04a; } .f1 { fill: #f0a04a; }
}
</style>
";

#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    bottom: f64,
}

/// The scanners of one scenario, rate by rate.
struct Series {
    name: &'static str,
    points: Vec<(Rate, Pool)>,
}

/// The picture, of those scenarios that have scanners of each rate.
pub fn svg(reports: &[Report]) -> String {
    let mut series = Vec::new();
    for report in reports.iter().filter(|report| report.scenario.has_rates()) {
        let parts = report.parts.iter();
        series.extend(parts.map(|part| Series::new(report.scenario.name(), part)));
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Delay until scanners are found, against their rate</title>\n{STYLE}"
    );
    out += &axes();
    out += &guide(2.0, "2nd contact, in the mean");
    out += &guide(6.0, "6th contact, in the mean");
    for (number, series) in series.iter().enumerate() {
        out += &series.draw(number);
    }
    out + &legend(&series) + "</svg>\n"
}

impl Series {
    fn new(name: &'static str, part: &Scored) -> Self {
        let pools = RATES.iter().map(|rate| (*rate, pool(&part.figures, *rate)));
        Self {
            name,
            points: pools.filter(|(_, pool)| pool.attackers > 0).collect(),
        }
    }

    fn draw(&self, number: usize) -> String {
        let delays = |delay: fn(&Pool) -> Option<f64>| {
            self.path(|pool| delay(pool).map(|delay| DELAY.at(delay.log10(), SHORTEST, LONGEST)))
        };
        let found = self.path(|pool| pool.share().map(|share| FOUND.at(share, 0.0, 1.0)));
        let mut out = format!(
            "<path class=\"line s{number}\" d=\"{}\"/>\n<path class=\"p95 s{number}\" d=\"{}\"/>\n\
             <path class=\"line s{number}\" d=\"{found}\"/>\n",
            delays(|pool| pool.seconds.median),
            delays(|pool| pool.seconds.p95),
        );
        for (rate, pool) in &self.points {
            let Some(median) = pool.seconds.median else {
                continue;
            };
            let p95 = pool.seconds.p95.map_or_else(|| "never".to_owned(), seconds);
            out += &format!(
                "<circle class=\"f{number}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}, {}: {} \
                 found, half of all within {}, 95 % within {p95}</title></circle>\n",
                across(rate.per_second),
                DELAY.at(median.log10(), SHORTEST, LONGEST),
                self.name,
                rate.name,
                share(pool),
                seconds(median),
            );
        }
        out
    }

    /// A line through what there is, with gaps where there is nothing.
    fn path(&self, height: impl Fn(&Pool) -> Option<f64>) -> String {
        let (mut path, mut pen) = (String::new(), 'M');
        for (rate, pool) in &self.points {
            match height(pool) {
                Some(y) => {
                    path += &format!("{pen}{:.1} {y:.1}", across(rate.per_second));
                    pen = 'L';
                }
                None => pen = 'M',
            }
        }
        path
    }
}

impl Panel {
    /// How far down a value lies, if `least` lies at the bottom and `most` at the top.
    fn at(self, value: f64, least: f64, most: f64) -> f64 {
        let share = ((value - least) / (most - least)).clamp(0.0, 1.0);
        self.bottom - share * (self.bottom - self.top)
    }

    fn frame(self) -> String {
        format!(
            "<rect class=\"frame\" x=\"{LEFT}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
            self.top,
            RIGHT - LEFT,
            self.bottom - self.top
        )
    }
}

fn pool(figures: &Figures, rate: Rate) -> Pool {
    figures.pool(|outcome| outcome.campaign.rate == rate)
}

/// How far to the right a rate lies.
fn across(per_second: f64) -> f64 {
    let share = (per_second.log10() - SLOWEST) / (FASTEST - SLOWEST);
    LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
}

fn axes() -> String {
    let mut out = DELAY.frame() + &FOUND.frame();
    for (delay, name) in DELAYS {
        let y = DELAY.at(delay.log10(), SHORTEST, LONGEST);
        out += &line("grid", (LEFT, y), (RIGHT, y));
        out += &label((LEFT - 8.0, y + 4.0), "end", name);
    }
    for (share, name) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
        let y = FOUND.at(share, 0.0, 1.0);
        out += &line("grid", (LEFT, y), (RIGHT, y));
        out += &label((LEFT - 8.0, y + 4.0), "end", name);
    }
    for (place, rate) in RATES.iter().enumerate() {
        let x = across(rate.per_second);
        for panel in [DELAY, FOUND] {
            out += &line("grid", (x, panel.top), (x, panel.bottom));
        }
        // On two levels, or they would run into each other.
        let y = FOUND.bottom + if place % 2 == 0 { 18.0 } else { 34.0 };
        out += &label((x, y), "middle", rate.name);
    }
    for (x, y, anchor, text) in [
        (
            LEFT.midpoint(RIGHT),
            HEIGHT - 14.0,
            "middle",
            "first contacts of a scanner",
        ),
        (
            LEFT,
            DELAY.top - 8.0,
            "start",
            "delay from the first hit to the alert",
        ),
        (LEFT, FOUND.top - 8.0, "start", "share found"),
    ] {
        out += &label((x, y), anchor, text);
    }
    out
}

/// When a scanner makes a certain contact in the mean: its first one starts the clock.
fn guide(contact: f64, name: &str) -> String {
    let point = |rate: &Rate| {
        let delay = (contact - 1.0) / rate.per_second;
        (
            across(rate.per_second),
            DELAY.at(delay.log10(), SHORTEST, LONGEST),
        )
    };
    let [slowest, .., fastest] = RATES.map(|rate| point(&rate));
    let beside = (slowest.0 + 8.0, slowest.1);
    line("guide", slowest, fastest) + &label(beside, "start", name)
}

fn legend(series: &[Series]) -> String {
    let mut out = String::new();
    let mut y = DELAY.top + 22.0;
    for (number, series) in series.iter().enumerate() {
        for (class, what) in [("line", "half are found"), ("p95", "95 % are found")] {
            out += &line(
                &format!("{class} s{number}"),
                (RIGHT - 220.0, y),
                (RIGHT - 184.0, y),
            );
            let text = format!("{}: {what}", series.name);
            out += &label((RIGHT - 176.0, y + 4.0), "start", &text);
            y += 20.0;
        }
    }
    out
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>\n")
}

fn label((x, y): (f64, f64), anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>\n")
}
