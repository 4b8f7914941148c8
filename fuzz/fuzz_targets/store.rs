//! A store whose files are damaged, or somebody else's: the server starts with it all the same. What
//! is left is as it was written, no client is said to have come further than it had, or less far
//! than its hits, and it goes on.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rusqlite::Connection;
use vft::fuzzing::correlate::sources::hash::Secret;
use vft::fuzzing::event::{ClientId, Event, Hit, Probe, Timestamp};
use vft::fuzzing::restore::restore;
use vft::fuzzing::server::ServerSettings;
use vft::fuzzing::store::reader::{More, Reader, Selection, Which};
use vft::fuzzing::store::record::{AlertRecord, Change};
use vft::fuzzing::store::{StoreError, apply, mend};
use vft::fuzzing::value::Size;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    base: Base<'a>,
    damage: Vec<Damage>,
    /// The database ends here, and its log there.
    cut: Option<u32>,
    cut_log: Option<u32>,
}

#[derive(Arbitrary, Debug)]
enum Base<'a> {
    /// A store with hits in it, some of them in its log.
    Sound,
    /// The same, without its log.
    WithoutLog,
    /// Any bytes.
    Any(&'a [u8], &'a [u8]),
    /// A store of the first version of the format.
    Earlier,
}

/// Four bytes of a file are overwritten.
#[derive(Arbitrary, Debug)]
struct Damage {
    file: File,
    at: u32,
    with: [u8; 4],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum File {
    Database,
    Log,
}

/// When the first hit came, in microseconds.
const TIME: u64 = 1_795_000_000_000_000;
const CLIENTS: u8 = 4;
const HITS: u64 = 40;

/// The database and the log of a sound store.
static SOUND: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut database = mend::open(&path).unwrap();
    for client in 1..=CLIENTS {
        write(&mut database, &report(client, 1, HITS / 2)).unwrap();
    }
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    for client in 1..=CLIENTS {
        write(&mut database, &report(client, 1 + HITS / 2, HITS / 2)).unwrap();
    }
    ["store.db", "store.db-wal"].map(|name| fs::read(folder.path().join(name)).unwrap())
});

/// It never changes: other programs have written it.
static EARLIER: &[u8] = include_bytes!("../../tests/data/store/version-1.db");

fuzz_target!(|input: Input<'_>| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    put(&path, &input);
    let mut database = match mend::open(&path) {
        Ok(database) => database,
        // Only bytes that nobody has written say so in both places.
        Err(StoreError::Later(..)) => return,
        Err(error) => panic!("{error}"),
    };
    let numbers = read(&path, &input);
    let next = numbers.get(&1).copied().unwrap_or(0) + 1;
    write(&mut database, &report(1, next, 3)).unwrap();
    drop(database);
    drop(mend::open(&path).unwrap());
    assert!(read(&path, &input)[&1] >= next + 2);
    assert!(
        !path.with_extension("db.damaged.1").exists(),
        "it was damaged again"
    );
});

/// How far each client has come, after a look at all there is.
fn read(path: &Path, input: &Input<'_>) -> BTreeMap<u8, u64> {
    let ours = matches!(input.base, Base::Sound | Base::WithoutLog);
    let reader = Reader::open(path).unwrap();
    let mut last = BTreeMap::<_, u64>::new();
    let look = |read: &Event, _: &str| {
        let [client, ..] = read.client.0;
        if ours && client != 0 {
            assert_eq!(*read, event(client, read.sequence));
        }
        let last = last.entry(client).or_default();
        *last = read.sequence.max(*last);
        More::Please
    };
    reader.events(&Selection::default(), look).unwrap();
    for incident in reader.incidents(Which::All).unwrap() {
        reader.alerts(&incident.id).unwrap();
    }
    start(&reader);
    let mut come = BTreeMap::new();
    for client in reader.clients().unwrap() {
        let [key, ..] = client.id.0;
        if ours {
            assert_eq!(client.id, ClientId([key; 16]));
            assert!(client.progress >= last.get(&key).copied().unwrap_or(0));
            assert!(client.progress <= HITS + 6);
        }
        come.insert(key, client.progress);
    }
    come
}

/// What a server does with it at its start.
fn start(reader: &Reader) {
    let mut settings = ServerSettings::default();
    settings.memory = Size::mib(0);
    let now = Timestamp::from_micros(TIME).after(Duration::from_secs(3600));
    restore(reader, &settings, Secret::default(), now).unwrap();
}

fn put(path: &Path, input: &Input<'_>) {
    let [mut database, mut log] = match input.base {
        Base::Sound => SOUND.clone(),
        Base::WithoutLog => [SOUND[0].clone(), Vec::new()],
        Base::Any(database, log) => [database.to_vec(), log.to_vec()],
        Base::Earlier => [EARLIER.to_vec(), Vec::new()],
    };
    for Damage { file, at, with } in &input.damage {
        let bytes = match file {
            File::Database => &mut database,
            File::Log => &mut log,
        };
        let at = *at as usize % bytes.len().max(1);
        for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
            *byte = *with;
        }
    }
    database.truncate(input.cut.map_or(usize::MAX, |cut| cut as usize));
    log.truncate(input.cut_log.map_or(usize::MAX, |cut| cut as usize));
    fs::write(path, database).unwrap();
    fs::write(path.with_extension("db-wal"), log).unwrap();
}

fn write(database: &mut Connection, change: &Change) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    apply::apply(&transaction, change)?;
    transaction.commit()
}

fn report(client: u8, first: u64, count: u64) -> Change {
    let last = first + count - 1;
    let number = last * u64::from(CLIENTS) + u64::from(client);
    let time = Timestamp::from_micros(TIME + last);
    Change::Events {
        client: ClientId([client; 16]),
        origin: [192, 0, 2, 1].into(),
        events: (first..=last)
            .map(|sequence| event(client, sequence))
            .collect(),
        alerts: vec![AlertRecord {
            number,
            incident: format!("INC{client}"),
            action: "update",
            time,
            first_seen: time,
            last_seen: time,
            text: format!("alert {number}"),
            line: "{}".to_owned(),
        }],
        progress: last,
        gap: None,
        refused: 0,
        now: time,
    }
}

/// The hit with this number of this client: all of it follows from these two.
fn event(client: u8, sequence: u64) -> Event {
    let time = Timestamp::from_micros(TIME + sequence);
    Event {
        client: ClientId([client; 16]),
        sequence,
        received: time,
        at: time,
        hit: Hit {
            first: time,
            last: time,
            source: [192, 0, 2, client].into(),
            source_port: 40_000,
            trap_port: 22,
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        },
    }
}
