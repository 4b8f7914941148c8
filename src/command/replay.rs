//! `vft replay`: recorded events through the engine, without a server.
//!
//! Alerts go to standard output as a server would write them, or with `--compare` the incidents
//! that differ. The summary goes to standard error, unless `-q` was given.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use log::{Level, info, log_enabled, warn};
use serde_json::json;

use crate::cli::replay::ReplayArgs;
use crate::clock;
use crate::command::progress::{Output, Progress};
use crate::command::records;
use crate::command::server::HASHING;
use crate::config::server::{Format, ServerSettings};
use crate::config::{ConfigError, file};
use crate::event::Event;
use crate::exit::{Failure, Kind};
use crate::replay::compare::{Comparison, Outcomes};
use crate::replay::input::Input;
use crate::replay::merge::{BadLines, Merge, Read};
use crate::replay::player::{Player, Said};
use crate::replay::summary::{Held, Summary, counted, grouped};
use crate::server::alert::brief::Brief;
use crate::server::alert::digest::Digest;
use crate::server::alert::valve::{Passage, Valve};
use crate::server::alert::{json as alert_json, text};
use crate::server::correlate::foresight::BATCH;
use crate::server::correlate::sources::hash::Secret;
use crate::server::store::reader::{More, Selection, StoredClient};
use crate::state::kept;

/// Replays files, or a store, under one or two settings.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let settings = if let Some(path) = &args.config {
        read_settings(path)?
    } else {
        info!("settings: the defaults; --config names a file of a server's");
        ServerSettings::default()
    };
    let other = args.compare.as_deref().map(read_settings).transpose()?;
    let secret = if args.stored {
        // A server of an earlier release had none.
        Secret(kept(&records::folder(&args.store), HASHING)?.unwrap_or_default())
    } else {
        Secret::default()
    };
    let player = |settings: &ServerSettings| Player::new(settings, secret);
    let valve = Valve::new(settings.alerts);
    let second = other.as_ref().map(player);
    let mut stage = Stage::new(args.format, valve, player(&settings), second);
    let began = clock::monotonic();
    let came = if args.stored {
        replay_store(args, &mut stage).map(|more| (None, more))
    } else {
        replay_files(args, &settings, &mut stage).map(|(read, more)| (Some(read), more))
    };
    // What came before an error counts all the same.
    let caught_up = stage.catch_up()?;
    let (read, more) = came?;
    if [more, caught_up].contains(&More::Enough) || stage.finish()? == More::Enough {
        return Ok(());
    }
    if let Some(read) = &read {
        complain(read);
    }
    stage.conclude(read.as_ref(), clock::since(began))?;
    match read {
        Some(read) if read.lines > 0 && read.bad == read.lines => {
            let words = format!("none of {} makes sense", counted(read.lines, "line"));
            Err(Failure::new(Kind::Runtime, words))
        }
        _ => Ok(()),
    }
}

fn read_settings(path: &Path) -> Result<ServerSettings, Failure> {
    let text = file::load(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
    let settings: ServerSettings = file::parse(&text, path)?;
    settings.check()?;
    info!("settings from {}", path.display());
    Ok(settings)
}

/// Replays files, and says what was read and whether anybody still wants to know.
fn replay_files(
    args: &ReplayArgs,
    settings: &ServerSettings,
    stage: &mut Stage,
) -> Result<(Read, More), Failure> {
    // All files are open at once. If the limit cannot be raised, it may do all the same.
    drop(rlimit::increase_nofile_limit(u64::MAX));
    let lengths = args.files.iter().map(|path| length(path));
    let progress = Progress::of_bytes(lengths.sum(), stage.output());
    let inputs = args
        .files
        .iter()
        .map(|path| open(path, &progress))
        .collect::<Result<_, _>>()?;
    let bad_lines = if args.strict {
        BadLines::Refused
    } else {
        BadLines::Counted
    };
    let clients = usize::try_from(settings.limits.clients).unwrap_or(usize::MAX);
    let mut merge = Merge::new(inputs, args.buffer.get(), bad_lines, clients);
    let failed = |error| Failure::new(Kind::Runtime, error);
    while let Some((event, name)) = merge.next().map_err(failed)? {
        if stage.take(event, name)? == More::Enough {
            return Ok((merge.read(), More::Enough));
        }
    }
    Ok((merge.read(), More::Please))
}

/// How many bytes a file has, if that is known before it is read.
fn length(path: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

fn open(path: &Path, progress: &Progress) -> Result<Input, Failure> {
    if path == Path::new("-") {
        let stdin = progress.watch(io::stdin());
        return Ok(Input::new("standard input", stdin));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| {
        Failure::new(Kind::Runtime, format!("cannot read {name}: {error}"))
            .hint("check the path and its permissions; - is standard input")
    })?;
    Ok(Input::new(&name, progress.watch(file)))
}

/// Replays the events of a server's store, as they arrived.
fn replay_store(args: &ReplayArgs, stage: &mut Stage) -> Result<More, Failure> {
    let reader = records::open(&args.store)?;
    for client in reader.clients()? {
        stage.know(&client);
    }
    let progress = Progress::of_events(stage.output());
    let mut outcome = Ok(More::Please);
    reader.events(&Selection::default(), |event, name| {
        progress.advance(1);
        outcome = stage.take(*event, name.into());
        match outcome {
            Ok(more) => more,
            Err(_) => More::Enough,
        }
    })?;
    outcome
}

/// Says what is wrong with the files.
fn complain(read: &Read) {
    for columns in &read.ignored {
        info!("columns that mean nothing here: {columns}");
    }
    for line in &read.cited {
        warn!("{line}");
    }
    let more = read
        .bad
        .saturating_sub(read.cited.len().try_into().unwrap_or(u64::MAX));
    if more > 0 {
        warn!("{} more lines make no sense", grouped(more));
    }
}

/// The engines, and where their alerts go.
struct Stage {
    format: Format,
    first: Player,
    second: Option<Second>,
    /// What has come and is not taken in yet: the engine looks ahead at a batch.
    waiting: Vec<(Event, Rc<str>)>,
    said: Vec<Said>,
    valve: Valve,
    held: Held,
}

/// Other settings to compare with.
struct Second {
    player: Player,
    before: Outcomes,
    after: Outcomes,
}

impl Stage {
    fn new(format: Format, valve: Valve, first: Player, second: Option<Player>) -> Self {
        let second = second.map(|player| Second {
            player,
            before: Outcomes::default(),
            after: Outcomes::default(),
        });
        Self {
            format,
            first,
            second,
            waiting: Vec::with_capacity(BATCH),
            said: Vec::new(),
            valve,
            held: Held::default(),
        }
    }

    /// What is written before the end.
    const fn output(&self) -> Output {
        match self.second {
            None => Output::Lines,
            Some(_) => Output::Nothing,
        }
    }

    fn know(&mut self, client: &StoredClient) {
        let second = self.second.as_mut().map(|second| &mut second.player);
        let address = client.address.parse().ok();
        for player in std::iter::once(&mut self.first).chain(second) {
            player.know(client.id, &client.name, address, &client.status.traps);
        }
    }

    /// Takes in an event, seen by a client of this name, as soon as there is a batch.
    fn take(&mut self, event: Event, name: Rc<str>) -> Result<More, Failure> {
        self.waiting.push((event, name));
        if self.waiting.len() < BATCH {
            return Ok(More::Please);
        }
        self.catch_up()
    }

    /// Takes in the events that wait.
    fn catch_up(&mut self) -> Result<More, Failure> {
        let mut events = std::mem::take(&mut self.waiting);
        let second = self.second.as_mut().map(|second| &mut second.player);
        for player in std::iter::once(&mut self.first).chain(second) {
            player.foresee(events.iter().map(|(event, _)| event));
        }
        for (event, name) in &events {
            if self.step(|player, said| player.take(event, name, said))? == More::Enough {
                return Ok(More::Enough);
            }
        }
        events.clear();
        self.waiting = events;
        Ok(More::Please)
    }

    fn finish(&mut self) -> Result<More, Failure> {
        if self.step(Player::finish)? == More::Enough {
            return Ok(More::Enough);
        }
        match self.valve.rest() {
            Some(digest) => write(std::iter::once(self.sum_up(&digest))),
            None => Ok(More::Please),
        }
    }

    /// Lets each engine take a step, and writes or keeps what it says.
    fn step(&mut self, step: impl Fn(&mut Player, &mut Vec<Said>)) -> Result<More, Failure> {
        step(&mut self.first, &mut self.said);
        if self.said.is_empty() && self.second.is_none() {
            return Ok(More::Please);
        }
        let Some(second) = &mut self.second else {
            return write(self.lines().into_iter());
        };
        for said in self.said.drain(..) {
            second.before.alert(&said.alert);
        }
        step(&mut second.player, &mut self.said);
        for said in self.said.drain(..) {
            second.after.alert(&said.alert);
        }
        Ok(More::Please)
    }

    /// What was said, as far as the valve lets it pass.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for said in std::mem::take(&mut self.said) {
            let (due, passage) = self.valve.take(&Brief::of(&said.alert));
            lines.extend(due.map(|digest| self.sum_up(&digest)));
            if passage == Passage::Free {
                lines.push(match self.format {
                    Format::Text => text::line(&said.alert),
                    Format::Json => said.line,
                });
            }
        }
        lines
    }

    /// A digest as a line, counted.
    fn sum_up(&mut self, digest: &Digest) -> String {
        self.held.add(digest);
        match self.format {
            Format::Text => text::digest(digest),
            // A digest holds nothing that JSON cannot.
            Format::Json => alert_json::digest(digest).unwrap_or_default(),
        }
    }

    /// Writes what is to be said at the end.
    fn conclude(&self, read: Option<&Read>, took: Duration) -> Result<(), Failure> {
        let summary = |player| Summary {
            read,
            tally: Player::tally(player),
            held: self.held,
            took,
        };
        let first = summary(&self.first);
        let Some(second) = &self.second else {
            tell(&match self.format {
                Format::Text => first.text(),
                Format::Json => first.json().to_string() + "\n",
            });
            return Ok(());
        };
        let (before, after) = (&second.before, &second.after);
        let comparison = Comparison::new(before, after);
        let changes = comparison.changes.iter().map(|change| match self.format {
            Format::Text => change.text(),
            Format::Json => change.json().to_string(),
        });
        if write(changes)? == More::Enough {
            return Ok(());
        }
        let second = summary(&second.player);
        let (same, (appear, disappear, change)) = (comparison.same, comparison.counts());
        tell(&match self.format {
            Format::Text => format!(
                "under the first settings:\n{}under the second settings:\n{}incidents: {same} \
                 same, {appear} new, {disappear} gone, {change} changed\n",
                first.text(),
                second.text(),
            ),
            Format::Json => {
                let (first, second) = (first.json(), second.json());
                let all = json!({
                    "first": first, "second": second, "same": same,
                    "appear": appear, "disappear": disappear, "change": change,
                });
                all.to_string() + "\n"
            }
        });
        let left_out = before.left_out() + after.left_out();
        if left_out > 0 {
            warn!(
                "{} alerts are of incidents too many to compare",
                grouped(left_out)
            );
        }
        Ok(())
    }
}

/// Writes lines to standard output, and says whether anybody reads them.
fn write(lines: impl Iterator<Item = String>) -> Result<More, Failure> {
    let mut out = io::stdout().lock();
    for line in lines {
        match out.write_all((line + "\n").as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(More::Enough),
            Err(error) => {
                let words = format!("cannot write to standard output: {error}");
                return Err(Failure::new(Kind::Runtime, words));
            }
        }
    }
    Ok(More::Please)
}

/// Writes to standard error what whoever wants to know of a normal day wants to know.
fn tell(text: &str) {
    if log_enabled!(Level::Info) {
        // Without standard error there is nobody to tell.
        drop(io::stderr().write_all(text.as_bytes()));
    }
}
