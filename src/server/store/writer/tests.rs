//! What is written, what is forgotten, and when somebody waits.

use super::*;
use crate::event::{ClientId, Event, Hit, Probe};
use crate::server::store::queue::Durable;
use crate::server::store::record::{AlertRecord, Change};
use crate::server::store::schema;
use std::num::NonZeroU32;
use std::os::unix::fs::FileExt as _;

const ID: ClientId = ClientId([1; 16]);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

fn events(first: u64, count: u64) -> Change {
    let event = |sequence| Event {
        client: ID,
        sequence,
        received: at(sequence),
        at: at(sequence),
        hit: Hit {
            first: at(sequence),
            last: at(sequence),
            source: [192, 0, 2, 1].into(),
            source_port: 1,
            trap_port: 22,
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        },
    };
    let last = first + count - 1;
    let events = (first..=last).map(event).collect();
    Change::Events {
        client: ID,
        events,
        alerts: Vec::new(),
        progress: last,
        gap: None,
        refused: 0,
        now: at(last),
    }
}

/// Room for all.
const ROOMY: u64 = 1 << 30;

/// Puts the changes, lets what is older than `before` be forgotten, lets the work be done, and
/// returns what the query says.
fn after(changes: Vec<Change>, before: Option<Timestamp>, query: &str) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (writer, work) = open(&path, ROOMY, Arc::default()).unwrap();
    let tickets: Vec<_> = changes
        .into_iter()
        .map(|change| writer.put(change))
        .collect();
    if let Some(before) = before {
        writer.forget_before(before);
    }
    writer.end();
    work.run();
    let now = clock::monotonic();
    assert!(
        tickets
            .iter()
            .all(|ticket| writer.wait(*ticket, now) == Durable::Yes)
    );
    let database = schema::open_to_read(&path).unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

#[test]
fn events_of_a_client_nobody_has_introduced_are_kept() {
    assert_eq!(
        after(
            vec![events(1, 3)],
            None,
            "SELECT count(*) FROM event JOIN client"
        ),
        3
    );
}

#[test]
fn what_is_old_is_forgotten_and_the_rest_stays() {
    let after = |query| after(vec![events(1, 100)], Some(at(41)), query);
    assert_eq!(after("SELECT min(sequence) FROM event"), 41);
    assert_eq!(after("SELECT progress FROM client"), 100);
    let forgotten = "SELECT value FROM counter WHERE name = 'forgotten'";
    assert_eq!(after(forgotten), 40);
}

#[test]
fn damage_that_is_met_while_running_is_mended_and_nothing_waits_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (writer, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    work.write(&batch(vec![events(1, 1000)])).unwrap();
    let database = work.database.as_ref().unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    database.execute_batch("PRAGMA shrink_memory").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // The last page that holds hits, where the next one would go.
    let full = |page: &usize| bytes[page * 4096] == 0x0d && bytes[page * 4096 + 4] > 20;
    let page = (1..bytes.len() / 4096).rfind(full).unwrap();
    file.write_all_at(&[0xff; 4096], u64::try_from(page).unwrap() * 4096)
        .unwrap();
    std::thread::scope(|threads| {
        threads.spawn(|| work.run());
        let ticket = writer.put(events(1001, 1));
        let deadline = clock::monotonic() + Duration::from_secs(20);
        assert_eq!(writer.wait(ticket, deadline), Durable::Yes);
        writer.end();
    });
    assert!(folder.path().join("store.db.damaged").exists());
    let database = schema::open_to_read(&path).unwrap();
    let count = |select| database.query_row(select, [], |row| row.get::<_, i64>(0));
    let left = count("SELECT count(*) FROM event").unwrap();
    assert!((900..1001).contains(&left), "{left}");
    assert_eq!(count("SELECT progress FROM client"), Ok(1001));
}

/// A batch as the queue gives it.
fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        changes,
        before: None,
    }
}

/// What a query says of a store that is being written.
fn ask(work: &Work, query: &str) -> i64 {
    let database = work.database.as_ref().unwrap();
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

fn alert(number: u64) -> Change {
    Change::Alert(AlertRecord {
        number,
        incident: format!("INC{number}"),
        action: match number % 3 {
            0 => "open",
            _ => "close",
        },
        time: at(number),
        first_seen: at(number),
        last_seen: at(number),
        text: "x".repeat(300),
        line: "y".repeat(2700),
    })
}

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_store_grows_no_further_than_its_bound_and_forgets_the_oldest_hits_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (_, mut work) = open(&path, MEBIBYTE, Arc::default()).unwrap();
    let written = 60_000;
    for first in (1..written).step_by(1000) {
        work.write(&batch(vec![events(first, 1000)])).unwrap();
    }
    let pages = ask(&work, "PRAGMA page_count");
    assert!((250..=290).contains(&pages), "{pages} pages");
    let left = ask(&work, "SELECT count(*) FROM event");
    assert!(left > 10_000, "{left}");
    let last = ask(&work, "SELECT max(sequence) FROM event");
    let first = ask(&work, "SELECT min(sequence) FROM event");
    assert_eq!((last, first), (60_000, 60_001 - left));
    let forgotten = work.metrics.forgotten_hits.get();
    assert_eq!(forgotten, written - u64::try_from(left).unwrap());
    let counter = ask(&work, "SELECT value FROM counter WHERE name = 'forgotten'");
    assert_eq!(counter, 60_000 - left);
    assert_eq!(ask(&work, "SELECT progress FROM client"), 60_000);
    drop(work);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= MEBIBYTE * 5 / 4, "{size}");
}

#[test]
fn a_bound_that_was_lowered_is_kept_to_slice_by_slice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (_, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    for first in (1..50_000).step_by(10_000) {
        work.write(&batch(vec![events(first, 10_000)])).unwrap();
    }
    drop(work);
    let (_, mut work) = open(&path, MEBIBYTE, Arc::default()).unwrap();
    let mut slices = 0;
    while work.otherwise() == Otherwise::Busy {
        let before = ask(&work, "SELECT count(*) FROM event");
        work.write(&Batch::default()).unwrap();
        let gone = before - ask(&work, "SELECT count(*) FROM event");
        assert!(gone <= SLICE, "{gone}");
        slices += 1;
    }
    assert!((5..10).contains(&slices), "{slices}");
    let used = ask(&work, "PRAGMA page_count") - ask(&work, "PRAGMA freelist_count");
    assert!((200..=256).contains(&used), "{used}");
}

#[test]
fn alerts_make_room_when_hits_have_a_quarter_of_it_and_incidents_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (_, mut work) = open(&path, 4 * MEBIBYTE, Arc::default()).unwrap();
    for number in 1..=600 {
        let first = (number - 1) * 100 + 1;
        let changes = vec![alert(number), events(first, 100), Change::Delivered(number)];
        work.write(&batch(changes)).unwrap();
    }
    let hits = ask(&work, "SELECT count(*) FROM event");
    assert!((15_000..20_000).contains(&hits), "{hits}");
    let alerts = ask(&work, "SELECT count(*) FROM alert");
    assert!((50..500).contains(&alerts), "{alerts}");
    assert_eq!(ask(&work, "SELECT max(number) FROM alert"), 600);
    assert_eq!(
        work.metrics.forgotten_alerts.get(),
        600 - alerts.unsigned_abs()
    );
    assert_eq!(ask(&work, "SELECT count(*) FROM incident"), 600);
    let pages = ask(&work, "PRAGMA page_count");
    assert!((1000..1100).contains(&pages), "{pages} pages");
}

#[test]
fn what_was_not_written_to_standard_output_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (_, mut work) = open(&path, MEBIBYTE, Arc::default()).unwrap();
    work.write(&batch((1..=600).map(alert).collect())).unwrap();
    work.write(&batch(vec![Change::Delivered(20)])).unwrap();
    for _ in 0..100 {
        work.write(&Batch::default()).unwrap();
    }
    assert_eq!(ask(&work, "SELECT min(number) FROM alert"), 21);
    // When nothing else can go, what is closed does.
    assert_eq!(ask(&work, "SELECT count(*) FROM incident"), 200);
    assert_eq!(work.otherwise(), Otherwise::Idle);
}
