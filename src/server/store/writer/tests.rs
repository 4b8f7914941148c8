//! What is written, what is forgotten, and when somebody waits.

use super::*;
use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
use crate::server::store::FILE;
use crate::server::store::forgetting::SLICE;
use crate::server::store::horizon::Look;
use crate::server::store::orders::What;
use crate::server::store::queue::Durable;
use crate::server::store::reader::{More, Reader, Selection};
use crate::server::store::record::{AlertRecord, Change, Visitor};
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
        origin: [192, 0, 2, 1].into(),
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

/// Puts the changes, lets the work be done, and returns what the query says.
fn after(changes: Vec<Change>, query: &str) -> i64 {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let (writer, work) = open(&path, ROOMY, Arc::default()).unwrap();
    let tickets: Vec<_> = changes
        .into_iter()
        .map(|change| writer.put(change))
        .collect();
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
        after(vec![events(1, 3)], "SELECT count(*) FROM event JOIN client"),
        3
    );
}

/// A look at the clocks, so many seconds after the start; what is older than 50 s is too old.
fn look(start: Instant, passed: u64, wall: u64) -> Batch {
    Batch {
        changes: Vec::new(),
        look: Some(Look {
            wall: at(wall),
            monotonic: start + Duration::from_secs(passed),
            keep: Duration::from_secs(50),
        }),
    }
}

#[test]
fn what_is_old_is_forgotten_and_the_rest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut work) = open(&folder.path().join(FILE), ROOMY, Arc::default()).unwrap();
    let start = clock::monotonic();
    work.write(&batch(vec![events(1, 100)])).unwrap();
    work.write(&look(start, 0, 51)).unwrap();
    assert_eq!(ask(&work, "SELECT min(sequence) FROM event"), 1);
    work.write(&look(start, 40, 91)).unwrap();
    assert_eq!(ask(&work, "SELECT min(sequence) FROM event"), 41);
    assert_eq!(ask(&work, "SELECT progress FROM client"), 100);
    let forgotten = "SELECT value FROM counter WHERE name = 'forgotten'";
    assert_eq!(ask(&work, forgotten), 40);
    assert_eq!(work.metrics.aged_hits.get(), 40);
}

#[test]
fn a_clock_two_years_ahead_deletes_nothing_not_even_at_a_restart() {
    const TWO_YEARS: u64 = 730 * 86_400;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (_, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    let start = clock::monotonic();
    let alerts = (60..=100).map(alert).chain([Change::Delivered(100)]);
    let changes = alerts.chain([events(60, 41)]).collect();
    work.write(&batch(changes)).unwrap();
    work.write(&look(start, 0, 100)).unwrap();
    let left = |work: &Work| {
        ["event", "alert", "incident"].map(|it| ask(work, &format!("SELECT count(*) FROM {it}")))
    };
    let before = left(&work);
    work.write(&look(start, 3, 100 + TWO_YEARS)).unwrap();
    assert_eq!(left(&work), before);
    drop(work);
    let (_, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    work.write(&look(start, 4, 100 + TWO_YEARS)).unwrap();
    assert_eq!(left(&work), before, "nor after a restart");
    // By then it is time.
    work.write(&look(start, 90, 150)).unwrap();
    assert_eq!(left(&work)[..2], [1, 1]);
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
        look: None,
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

fn visitor(number: u32) -> Change {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Change::Welcome(Visitor {
        client: ClientId(id),
        name: format!("host-{number}"),
        version: "0.1.0".to_owned(),
        address: "192.0.2.1".to_owned(),
        now: at(1000 + u64::from(number)),
    })
}

#[test]
fn ever_so_many_clients_push_out_no_hit_and_no_alert_and_no_client_that_has_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (_, mut work) = open(&path, 4 * MEBIBYTE, Arc::default()).unwrap();
    let mut changes: Vec<_> = (1..=100).map(alert).collect();
    changes.extend([Change::Delivered(100), events(1, 5000)]);
    work.write(&batch(changes)).unwrap();
    for first in (0..50_000).step_by(1000) {
        let changes = (first..first + 1000).map(visitor).collect();
        work.write(&batch(changes)).unwrap();
    }
    assert_eq!(ask(&work, "SELECT count(*) FROM event"), 5000);
    assert_eq!(ask(&work, "SELECT count(*) FROM alert"), 100);
    let clients = ask(&work, "SELECT count(*) FROM client");
    assert!((2000..10_000).contains(&clients), "{clients}");
    let forgotten = work.metrics.forgotten_clients.get();
    assert_eq!(forgotten, 50_001 - clients.unsigned_abs());
    assert_eq!(
        ask(&work, "SELECT progress FROM client WHERE key = 1"),
        5000
    );
    // Of those that never reported, the first ones stay.
    let first = "SELECT count(*) FROM client WHERE name = 'host-0'";
    assert_eq!(ask(&work, first), 1);
    let pages = ask(&work, "PRAGMA page_count");
    assert!(pages < 1100, "{pages}");
    drop(work);
    assert!(schema::open(&path).is_ok(), "it is whole");
}

#[test]
fn clients_that_report_and_are_too_many_go_when_they_were_silent_for_longest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (_, mut work) = open(&path, MEBIBYTE, Arc::default()).unwrap();
    let comes_and_reports = |number| {
        let Change::Welcome(it) = visitor(number) else {
            panic!("another change")
        };
        let progress = Change::Events {
            client: it.client,
            origin: [192, 0, 2, 1].into(),
            events: Vec::new(),
            alerts: Vec::new(),
            progress: 1,
            gap: None,
            refused: 0,
            now: it.now,
        };
        [Change::Welcome(it), progress]
    };
    for first in (0..10_000).step_by(200) {
        let changes = (first..first + 200).flat_map(comes_and_reports);
        work.write(&batch(changes.collect())).unwrap();
    }
    let clients = ask(&work, "SELECT count(*) FROM client");
    assert!((500..3000).contains(&clients), "{clients}");
    let last = "SELECT count(*) FROM client WHERE name = 'host-9999'";
    assert_eq!(ask(&work, last), 1);
}

#[test]
fn orders_are_found_once_and_obeyed_and_whoever_gives_one_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (writer, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    let changes = vec![visitor(1), visitor(2), events(1, 3)];
    work.write(&batch(changes)).unwrap();
    let number = orders::give(&path, ID, What::Block).unwrap();
    assert!(orders::is_pending(&path, number).unwrap());
    work.look_for_orders();
    work.look_for_orders();
    let found = writer.take_orders();
    assert_eq!(found.len(), 1);
    let obeyed = |order| Change::Obeyed {
        order,
        name: "web-1".to_owned(),
        now: at(5),
    };
    work.write(&batch(vec![obeyed(found[0])])).unwrap();
    assert!(!orders::is_pending(&path, number).unwrap());
    let reader = Reader::open(&path).unwrap();
    let blocked = reader.blocked().unwrap();
    assert_eq!((blocked[0].id, &*blocked[0].name), (ID, "web-1"));
    assert_eq!(ask(&work, "SELECT max(progress) FROM client"), 3);
    for what in [What::Unblock, What::Forget] {
        orders::give(&path, ID, what).unwrap();
    }
    work.look_for_orders();
    let changes = writer.take_orders().into_iter().map(obeyed).collect();
    work.write(&batch(changes)).unwrap();
    assert!(reader.blocked().unwrap().is_empty());
    for (table, rows) in [("client", 2), ("client_key", 2), ("event", 3)] {
        let count = ask(&work, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(count, rows, "{table}");
    }
    drop(work);
    assert!(schema::open(&path).is_ok(), "it is whole");
}

#[test]
fn times_at_the_end_of_what_is_legal_are_stored_and_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (_, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    let Change::Events { mut events, .. } = events(1, 1) else {
        panic!("another change")
    };
    events[0].hit.first = Timestamp::from_micros(u64::MAX - 1);
    events[0].hit.last = Timestamp::from_micros(u64::MAX);
    let change = Change::Events {
        client: ID,
        origin: [192, 0, 2, 1].into(),
        events,
        alerts: Vec::new(),
        progress: 1,
        gap: None,
        refused: 0,
        now: at(1),
    };
    work.write(&batch(vec![change])).unwrap();
    let mut found = 0;
    let count = |_: &Event, _: &str| {
        found += 1;
        More::Please
    };
    let reader = Reader::open(&path).unwrap();
    reader.events(&Selection::default(), count).unwrap();
    assert_eq!(found, 1);
}

#[test]
fn who_is_forgotten_leaves_their_hits_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(FILE);
    let (_, mut work) = open(&path, ROOMY, Arc::default()).unwrap();
    let changes = vec![visitor(1), events(1, 3), Change::Forget(vec![ID])];
    work.write(&batch(changes)).unwrap();
    for (table, rows) in [("client", 1), ("client_key", 1), ("event", 3)] {
        let count = ask(&work, &format!("SELECT count(*) FROM {table}"));
        assert_eq!(count, rows, "{table}");
    }
    drop(work);
    assert!(schema::open(&path).is_ok(), "it is whole");
}
