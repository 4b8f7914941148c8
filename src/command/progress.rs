//! A bar on the terminal, for whoever waits.

use std::io::{self, IsTerminal as _, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// How often it is drawn, in frames a second.
const FRAMES: u8 = 5;

/// A bar on standard error, which goes when this is dropped. There is none if that is no terminal, or if standard output is one as
/// well, on which the two would get in each other's way.
#[derive(Debug)]
pub struct Progress(ProgressBar);

/// What else is written while the bar is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Lines on standard output, all along.
    Lines,
    /// Nothing until the end.
    Nothing,
}

impl Progress {
    /// A bar for so many bytes; without a length if nobody knows how many there will be.
    pub fn of_bytes(length: Option<u64>, output: Output) -> Self {
        let template = match length {
            Some(_) => "{wide_bar} {percent:>3} %, {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes}, {bytes_per_sec}",
        };
        Self::new(length, template, output)
    }

    /// A bar that counts events.
    pub fn of_events(output: Output) -> Self {
        Self::new(None, "{spinner} {human_pos} events, {per_sec}", output)
    }

    fn new(length: Option<u64>, template: &str, output: Output) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let collides = output == Output::Lines && io::stdout().is_terminal();
        let target = if dumb || collides || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(FRAMES)
        };
        let bar =
            ProgressBar::with_draw_target(length, target).with_finish(ProgressFinish::AndClear);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// The same reader, which moves the bar on as it is read.
    pub fn watch<R: Read + 'static>(&self, reader: R) -> Box<dyn Read> {
        if self.0.is_hidden() {
            Box::new(reader)
        } else {
            Box::new(self.0.wrap_read(reader))
        }
    }

    /// Moves the bar on by so many.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }
}
