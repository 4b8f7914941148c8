//! What a damaged store keeps, and what it says of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroU32;
use std::sync::LazyLock;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
use crate::server::store::apply::apply;
use crate::server::store::reader::{More, Reader, Selection, Which};
use crate::server::store::record::{AlertRecord, Change, Visitor};

/// Clients, and how many hits each of them reports in its two reports.
const CLIENTS: u8 = 60;
const HITS: [u64; 2] = [15, 5];

fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000 + micros)
}

/// The hit with this number of this client: all of it follows from these two.
fn event(client: u8, sequence: u64) -> Event {
    let low = u8::try_from(sequence % 256).unwrap();
    let time = at(sequence * 1000 + u64::from(client));
    Event {
        client: ClientId([client; 16]),
        sequence,
        received: time,
        at: time,
        hit: Hit {
            first: time,
            last: time,
            source: [10, client, 0, low].into(),
            source_port: 40_000 + u16::from(low),
            trap_port: u16::from(client) + 22,
            probe: Probe::Connect,
            count: NonZeroU32::new(u32::from(low) + 1).unwrap(),
        },
    }
}

fn alert(number: u64) -> AlertRecord {
    AlertRecord {
        number,
        incident: format!("INC{:05}", number / 2),
        action: if number % 2 == 1 { "update" } else { "open" },
        time: at(number),
        first_seen: at(number),
        last_seen: at(number),
        text: format!("alert {number} {}", "x".repeat(200)),
        line: format!("{{\"alert\":{number},\"more\":\"{}\"}}", "y".repeat(1200)),
    }
}

fn report(client: u8, first: u64, count: u64) -> Change {
    let last = first + count - 1;
    let events: Vec<_> = (first..=last).map(|number| event(client, number)).collect();
    let told = u64::from(client) + if first == 1 { 0 } else { u64::from(CLIENTS) };
    Change::Events {
        client: ClientId([client; 16]),
        origin: [192, 0, 2, 1].into(),
        alerts: vec![alert(told)],
        progress: last,
        gap: None,
        refused: 0,
        now: at(last * 1000 + u64::from(client)),
        events,
    }
}

fn write(database: &mut Connection, changes: impl IntoIterator<Item = Change>) {
    let transaction = database.transaction().unwrap();
    for change in changes {
        apply(&transaction, &change).unwrap();
    }
    transaction.commit().unwrap();
}

/// A store as files: the first reports are in the database, the second ones in its log.
fn files() -> [Vec<u8>; 2] {
    static FILES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(make_files);
    FILES.clone()
}

fn make_files() -> [Vec<u8>; 2] {
    let folder = folder();
    let path = folder.path().join("store.db");
    let mut database = open(&path).unwrap();
    let [early, late] = HITS;
    for client in 1..=CLIENTS {
        let visitor = Visitor {
            client: ClientId([client; 16]),
            name: format!("web-{client}"),
            version: "1".to_owned(),
            address: format!("192.0.2.{client}"),
            now: at(0),
        };
        let changes = [Change::Welcome(visitor), report(client, 1, early)];
        write(&mut database, changes);
    }
    write(&mut database, [Change::Delivered(3)]);
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    for client in 1..=CLIENTS {
        write(&mut database, [report(client, early + 1, late)]);
    }
    let read = |suffix| fs::read(database::with_suffix(&path, suffix)).unwrap();
    [read(""), read("-wal")]
}

/// The same with everything in the database.
fn checkpointed() -> [Vec<u8>; 2] {
    let folder = put(&files());
    let path = folder.path().join("store.db");
    drop(open(&path).unwrap());
    [fs::read(&path).unwrap(), Vec::new()]
}

/// A folder in memory if there can be one, so that a test need not wait for a disk hundreds of times.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn put([main, log]: &[Vec<u8>; 2]) -> TempDir {
    let folder = folder();
    fs::write(folder.path().join("store.db"), main).unwrap();
    if !log.is_empty() {
        fs::write(folder.path().join("store.db-wal"), log).unwrap();
    }
    folder
}

/// What a store holds.
#[derive(Debug, Default)]
struct Found {
    /// Numbers by client; those of clients that are not known under none.
    events: BTreeMap<u8, BTreeSet<u64>>,
    progress: BTreeMap<u8, u64>,
    alerts: usize,
    incidents: usize,
}

impl Found {
    fn events(&self) -> usize {
        self.events.values().map(BTreeSet::len).sum()
    }
}

/// Reads all of it, and checks that nothing was changed.
fn read(path: &Path) -> Found {
    let reader = Reader::open(path).unwrap();
    let mut found = Found::default();
    let note = |read: &Event, _: &str| {
        // A client's number is in the address, too.
        let [_, client, _, _] = match read.hit.source {
            std::net::IpAddr::V4(v4) => v4.octets(),
            std::net::IpAddr::V6(v6) => panic!("{v6}"),
        };
        let written = event(client, read.sequence);
        let known = read.client != ClientId([0; 16]);
        let client = if known { written.client } else { read.client };
        assert_eq!(*read, Event { client, ..written }, "a hit was changed");
        let [key, ..] = client.0;
        let numbers = found.events.entry(key).or_default();
        assert!(
            numbers.insert(read.sequence) || !known,
            "a hit is there twice"
        );
        More::Please
    };
    reader.events(&Selection::default(), note).unwrap();
    for client in reader.clients().unwrap() {
        let [key, ..] = client.id.0;
        assert_eq!(client.id, ClientId([key; 16]), "a client was changed");
        found.progress.insert(key, client.progress);
    }
    let incidents = reader.incidents(Which::All).unwrap();
    found.incidents = incidents.len();
    for incident in incidents {
        found.alerts += reader.alerts(&incident.id).unwrap().len();
    }
    found
}

/// Opens the store in these files, and checks what must hold whatever was damaged.
fn survives(files: &[Vec<u8>; 2]) -> Found {
    let folder = put(files);
    let path = folder.path().join("store.db");
    let mut database = open(&path).unwrap();
    let found = read(&path);
    let whole: u64 = HITS.iter().sum();
    for (client, progress) in &found.progress {
        let last = found.events.get(client).and_then(BTreeSet::last).copied();
        assert!(
            *progress >= last.unwrap_or(0),
            "client {client} would be asked for what is there"
        );
        assert!(*progress <= whole, "client {client} would forget hits");
    }
    // It goes on, and is not found damaged again.
    write(&mut database, [report(1, whole + 1, 3)]);
    drop(database);
    open(&path).unwrap();
    assert!(!database::with_suffix(&path, ".damaged.1").exists());
    let after = read(&path);
    assert!(after.progress.get(&1) == Some(&(whole + 3)), "{after:?}");
    found
}

#[test]
fn a_whole_store_is_left_as_it_is() {
    let files = files();
    let folder = put(&files);
    let path = folder.path().join("store.db");
    open(&path).unwrap();
    assert!(!database::with_suffix(&path, ".damaged").exists());
    let found = survives(&files);
    assert_eq!((found.events(), found.progress.len()), (1200, 60));
    assert_eq!((found.alerts, found.incidents), (120, 61));
}

#[test]
fn a_torn_log_costs_the_end_and_nothing_before() {
    let [main, log] = files();
    let tail = (log.len() - 4120..log.len()).step_by(211);
    for cut in (1..log.len()).step_by(16_411).chain(tail) {
        let found = survives(&[main.clone(), log[..cut].to_vec()]);
        assert!(found.events() >= 900, "{cut}: {}", found.events());
        // A client's progress and its hits are lost together, so none is left out silently.
        for (client, numbers) in &found.events {
            assert_eq!(numbers.last(), found.progress.get(client), "{cut}");
        }
    }
}

#[test]
fn a_file_that_is_cut_anywhere_keeps_what_lies_before_the_cut() {
    let [main, _] = checkpointed();
    let pages = main.len() / 4096;
    let cuts = (0..main.len()).step_by(9001);
    let around = (1..pages)
        .step_by(7)
        .flat_map(|page| [page * 4096 - 1, page * 4096]);
    for cut in cuts.chain(around) {
        survives(&[main[..cut].to_vec(), Vec::new()]);
    }
    let half = survives(&[main[..main.len() / 2].to_vec(), Vec::new()]);
    assert!(half.events() > 300, "{}", half.events());
}

#[test]
fn a_file_and_its_log_that_are_both_cut_are_survived() {
    let [main, log] = files();
    for (part, cut) in (0..main.len()).step_by(24_001).enumerate() {
        let of_log = log.len() * (part % 4) / 4;
        survives(&[main[..cut].to_vec(), log[..of_log].to_vec()]);
    }
}

/// The kinds of pages that hold rows of a table, or keys of an index.
const LEAVES: [u8; 2] = [0x0d, 0x0a];

#[test]
fn a_damaged_page_costs_what_was_on_it_and_no_client_is_forgotten() {
    let [main, _] = checkpointed();
    let whole: u64 = HITS.iter().sum();
    for page in 1..main.len() / 4096 {
        let start = page * 4096;
        if !LEAVES.contains(&main[start]) {
            continue;
        }
        let mut damaged = main.clone();
        damaged[start..start + 4096].fill(0);
        let found = survives(&[damaged, Vec::new()]);
        assert!(found.events() >= 1100, "{page}: {}", found.events());
        let counters_only = found.events() == 1200 && found.alerts == 120;
        assert!(
            found.progress.len() == 60 || counters_only,
            "{page}: {found:?}"
        );
        for (client, progress) in &found.progress {
            assert_eq!(*progress, whole, "client {client}, page {page}");
        }
    }
}

#[test]
fn what_is_lost_is_said_in_numbers() {
    let [mut main, _] = checkpointed();
    let is_events = |page: &[u8]| page[0] == 0x0d && page.windows(3).any(|at| at == [10, 7, 0]);
    let page = (1..main.len() / 4096)
        .find(|page| is_events(&main[page * 4096..(page + 1) * 4096]))
        .unwrap();
    main[page * 4096..(page + 1) * 4096].fill(0xff);
    let folder = put(&[main, Vec::new()]);
    let path = folder.path().join("store.db");
    let outcome = mend(&path, &database::damage("a test")).unwrap();
    assert_eq!(outcome.events + outcome.events_lost, 1200);
    assert!((1..100).contains(&outcome.events_lost), "{outcome:?}");
    let rest = Outcome {
        events: 0,
        events_lost: 0,
        ..outcome
    };
    let all = Outcome {
        clients: 60,
        incidents: 61,
        alerts: 120,
        ..Outcome::default()
    };
    assert_eq!(rest, all);
}

#[test]
fn rows_that_were_changed_are_left_behind() {
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    // What a flipped bit does, and no structure shows.
    for change in [
        "UPDATE event SET source = x'0a010063' WHERE sequence = 7 AND client = 1",
        "UPDATE event SET client = 3 WHERE sequence = 8 AND client = 2",
        "UPDATE client SET progress = 21 WHERE key = 5",
        "UPDATE client SET progress = 1 << 60 WHERE key = 6",
    ] {
        database.execute(change, []).unwrap();
    }
    drop(database);
    open(&path).unwrap();
    assert!(database::with_suffix(&path, ".damaged").exists());
    let found = read(&path);
    assert_eq!(found.events(), 1198);
    assert_eq!((found.progress[&5], found.progress[&6]), (20, 20));
}

#[test]
fn a_client_whose_row_is_lost_is_known_by_its_key_and_its_hits() {
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    for change in [
        "DELETE FROM client WHERE key IN (1, 2, 60)",
        "DELETE FROM event WHERE client = 2",
        // Neither a row whose id is another than that of its key, nor one that vouches for nothing.
        "UPDATE client SET id = x'000102030405060708090a0b0c0d0e0f' WHERE key = 3",
        "DELETE FROM client_key WHERE key IN (4, 5)",
        "UPDATE client SET progress = 9 WHERE key = 4",
    ] {
        database.execute(change, []).unwrap();
    }
    drop(database);
    let outcome = mend(&path, &database::damage("a test")).unwrap();
    assert_eq!((outcome.clients, outcome.uncertain), (59, 4), "{outcome:?}");
    let found = read(&path);
    let progress = [1, 2, 3, 5, 60].map(|client| found.progress[&client]);
    assert_eq!(progress, [20, 0, 20, 20, 20]);
    assert_eq!((found.events(), found.events[&0].len()), (1180, 20));
    assert_eq!(
        survives(&[fs::read(&path).unwrap(), Vec::new()]).events(),
        1180
    );
}

#[test]
fn hits_of_a_client_that_is_not_known_stay_and_are_given_to_nobody_else() {
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch("DELETE FROM client WHERE key = 60; DELETE FROM client_key WHERE key = 60;")
        .unwrap();
    drop(database);
    let outcome = mend(&path, &database::damage("a test")).unwrap();
    assert_eq!(
        (outcome.nameless, outcome.events),
        (20, 1200),
        "{outcome:?}"
    );
    let mut database = open(&path).unwrap();
    write(&mut database, [report(60, 21, 5)]);
    let found = read(&path);
    assert_eq!(found.events[&0].len(), 20);
    assert_eq!(
        found.events[&60].iter().copied().collect::<Vec<_>>(),
        [21, 22, 23, 24, 25]
    );
}

#[test]
fn an_incident_whose_row_is_lost_is_made_of_its_alerts() {
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    database
        .execute("DELETE FROM incident WHERE id = 'INC00007'", [])
        .unwrap();
    drop(database);
    mend(&path, &database::damage("a test")).unwrap();
    let incident = Reader::open(&path)
        .unwrap()
        .incident("INC00007")
        .unwrap()
        .unwrap();
    assert_eq!(incident.alerts, 2);
    assert_eq!((incident.first_seen, incident.last_seen), (at(14), at(15)));
    assert_eq!(incident.line, alert(15).line);
}

#[test]
fn without_the_counter_only_the_latest_alerts_are_said_again() {
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    let database = Connection::open(&path).unwrap();
    database.execute("DROP TABLE counter", []).unwrap();
    database
        .execute(
            "UPDATE alert SET time = time + 60000001 WHERE number > 110",
            [],
        )
        .unwrap();
    drop(database);
    open(&path).unwrap();
    let again = Reader::open(&path).unwrap().undelivered().unwrap();
    assert_eq!(again.first().map(|(number, ..)| *number), Some(111));
}

#[test]
fn a_later_version_is_left_alone_and_a_damaged_one_is_not_taken_for_it() {
    let set = |path: &Path, version: i64, witness: i64| {
        let database = Connection::open(path).unwrap();
        database
            .pragma_update(None, "user_version", version)
            .unwrap();
        database
            .execute(
                "UPDATE counter SET value = ?1 WHERE name = 'version'",
                [witness],
            )
            .unwrap();
    };
    let folder = put(&checkpointed());
    let path = folder.path().join("store.db");
    set(&path, VERSION + 64, VERSION);
    assert_eq!(
        survives(&[fs::read(&path).unwrap(), Vec::new()]).events(),
        1200
    );
    set(&path, VERSION + 1, VERSION + 1);
    assert!(matches!(open(&path), Err(StoreError::Later(_, later)) if later == VERSION + 1));
    assert!(!database::with_suffix(&path, ".damaged").exists());
}

#[test]
fn whenever_it_is_killed_the_next_start_has_a_whole_store() {
    let files = checkpointed();
    let folder = put(&files);
    let path = folder.path().join("store.db");
    let fresh = database::with_suffix(&path, ".new");
    // Before the fresh one was whole.
    fs::write(&fresh, &files[0][..8192]).unwrap();
    open(&path).unwrap();
    assert!(!fresh.exists());
    assert_eq!(read(&path).events(), 1200);
    // Before the damaged one was set aside.
    carry_over(&path, &fresh).unwrap();
    fs::write(&path, "damaged").unwrap();
    open(&path).unwrap();
    assert_eq!(read(&path).events(), 1200);
    assert_eq!(
        fs::read(database::with_suffix(&path, ".damaged")).unwrap(),
        b"damaged"
    );
    // After that.
    carry_over(&path, &fresh).unwrap();
    fs::remove_file(&path).unwrap();
    open(&path).unwrap();
    assert_eq!(read(&path).events(), 1200);
    assert!(!fresh.exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn flipped_bits_are_survived_and_change_no_hit(
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8, any::<bool>()), 1..12)
    ) {
        let mut damaged = files();
        for (place, bit, in_log) in flips {
            let file = &mut damaged[usize::from(in_log)];
            let index = place.index(file.len());
            file[index] ^= 1 << bit;
        }
        survives(&damaged);
    }
}
