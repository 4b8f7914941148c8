//! A process whose lines are kept with the time they came, and which never outlives its benchmark.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that should come at once.
pub const SOON: Duration = Duration::from_secs(30);

/// A running process.
pub struct Process {
    child: Child,
    /// What it says on standard output.
    pub out: Lines,
    /// What it says on standard error.
    pub err: Lines,
}

/// One of a process's outputs, read line by line: when each could be read, and its text.
pub struct Lines(Receiver<(Instant, String)>);

impl Process {
    /// Starts a program in a folder, with nothing of this process's environment but `PATH`.
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
            .envs(environment.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let out = Lines::of(child.stdout.take().unwrap());
        let err = Lines::of(child.stderr.take().unwrap());
        Self { child, out, err }
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to stop, waits for its end, and returns the rest of its log.
    pub fn stop(mut self) -> String {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let log = self.err.rest();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {log}");
        log
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

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = channel();
        Builder::new().spawn(move || read(output, &sender)).unwrap();
        Self(lines)
    }

    /// The next line that `wanted` picks. Those before it are gone.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool) -> (Instant, String) {
        let deadline = Instant::now() + SOON;
        let mut others = Vec::new();
        loop {
            match self
                .0
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if wanted(&line.1) => return line,
                Ok((_, text)) => others.push(text),
                Err(error) => panic!("the line did not come ({error}); there was {others:#?}"),
            }
        }
    }

    /// All that comes until the output is closed.
    fn rest(&self) -> String {
        let deadline = Instant::now() + SOON;
        let mut rest = String::new();
        loop {
            match self
                .0
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, text)) => rest += &(text + "\n"),
                Err(RecvTimeoutError::Disconnected) => return rest,
                Err(RecvTimeoutError::Timeout) => panic!("the process does not end: {rest}"),
            }
        }
    }
}

/// The time is taken here, so that the hand-over to whoever waits is not part of what is measured.
fn read(output: impl Read, lines: &Sender<(Instant, String)>) {
    for text in BufReader::new(output).lines().map_while(Result::ok) {
        let at = Instant::now();
        if lines.send((at, text)).is_err() {
            return;
        }
    }
}
