//! A process whose output is kept line by line, and which never outlives its test.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::SOON;

/// A line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// On standard output.
    Out(String),
    /// On standard error.
    Err(String),
}

#[derive(Default)]
struct Output {
    lines: Mutex<(Vec<Line>, usize)>,
    changed: Condvar,
}

/// A running process.
pub struct Process {
    child: Child,
    output: Arc<Output>,
}

/// A process that has ended.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        folder: &Path,
    ) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder)
            .env("STATE_DIRECTORY", folder.join("state"))
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let output = Arc::new(Output::default());
        output.read(child.stdout.take().unwrap(), Line::Out);
        output.read(child.stderr.take().unwrap(), Line::Err);
        Self { child, output }
    }

    /// Waits for the first line, from the start of the process, that `wanted` picks; returns its
    /// text.
    pub fn wait_for(&self, wanted: impl Fn(&Line) -> bool) -> String {
        self.wait_behind(0, wanted)
    }

    /// The same for lines behind the first `seen`.
    pub fn wait_behind(&self, mut seen: usize, wanted: impl Fn(&Line) -> bool) -> String {
        let deadline = Instant::now() + SOON;
        let mut lines = self.output.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.0[seen..].iter().find(|line| wanted(line)) {
                let (Line::Out(text) | Line::Err(text)) = line;
                return text.clone();
            }
            seen = lines.0.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = lines.1 == 2;
            assert!(
                !ended && !left.is_zero(),
                "the line did not come; there was {:#?}",
                lines.0
            );
            lines = self.output.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// The same for a line of the log.
    pub fn wait_for_log(&self, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_for(|line| matches!(line, Line::Err(text) if wanted(text)))
    }

    /// Where a server says that it listens.
    pub fn listens_at(&self) -> String {
        let ready = self.wait_for_log(|line| line.contains("ready: listening on"));
        let address = ready.split_once("listening on ").unwrap().1;
        address.split(' ').next().unwrap().to_owned()
    }

    /// All lines so far that `wanted` picks.
    pub fn lines(&self, wanted: impl Fn(&Line) -> bool) -> Vec<String> {
        let lines = self.output.lines.lock().unwrap();
        let text = |line: &Line| match line {
            Line::Out(text) | Line::Err(text) => text.clone(),
        };
        lines
            .0
            .iter()
            .filter(|line| wanted(line))
            .map(text)
            .collect()
    }

    /// How many lines there are so far.
    pub fn count(&self) -> usize {
        self.output.lines.lock().unwrap().0.len()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Asks the process to stop and waits for its end.
    pub fn stop(self) -> Finished {
        self.signal(Signal::TERM);
        self.finish()
    }

    /// Kills the process; it is gone when this returns.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end of the process.
    pub fn finish(mut self) -> Finished {
        let deadline = Instant::now() + SOON;
        let mut lines = self.output.lines.lock().unwrap();
        while lines.1 < 2 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "the process does not end; it said {:#?}",
                lines.0
            );
            lines = self.output.changed.wait_timeout(lines, left).unwrap().0;
        }
        let (mut stdout, mut stderr) = (String::new(), String::new());
        for line in &lines.0 {
            let (into, text) = match line {
                Line::Out(text) => (&mut stdout, text),
                Line::Err(text) => (&mut stderr, text),
            };
            *into += text;
            into.push('\n');
        }
        drop(lines);
        Finished {
            status: self.child.wait().unwrap(),
            stdout,
            stderr,
        }
    }

    /// Resident memory in KiB, as the kernel counts it.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Finished {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Output {
    fn read(self: &Arc<Self>, from: impl Read + Send + 'static, kind: fn(String) -> Line) {
        let output = Arc::clone(self);
        std::thread::Builder::new()
            .spawn(move || {
                for line in BufReader::new(from).lines().map_while(Result::ok) {
                    output.lines.lock().unwrap().0.push(kind(line));
                    output.changed.notify_all();
                }
                output.lines.lock().unwrap().1 += 1;
                output.changed.notify_all();
            })
            .unwrap();
    }
}

/// Polls `done` until it holds or `patience` is over; for what makes no line.
pub fn eventually(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        assert!(
            Instant::now() < deadline,
            "it did not happen in time: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
