//! What a spool keeps, drops, and survives.

use std::fs;

use super::*;
use proptest::prelude::*;

const ROOM: u64 = 1 << 30;

fn open(folder: &Path) -> Spool {
    let (spool, found) = Spool::open(folder, ROOM).unwrap();
    assert_eq!(found, Found::Sound);
    spool
}

/// What a killed process leaves behind: the files as they are, and nobody to close them.
pub fn what_a_kill_leaves(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// A spool's folder that is not where it should be, so that no file can be made there.
pub struct Aside {
    from: PathBuf,
    to: PathBuf,
}

impl Aside {
    /// Puts the folder aside.
    pub fn put(folder: &tempfile::TempDir) -> Self {
        let from = folder.path().to_owned();
        let to = from.with_extension("aside");
        fs::rename(&from, &to).unwrap();
        Self { from, to }
    }

    /// Puts it back.
    pub fn back(self) {
        fs::rename(&self.to, &self.from).unwrap();
    }
}

fn records(from: u8, to: u8) -> Vec<Vec<u8>> {
    (from..=to).map(|n| vec![n; 20]).collect()
}

fn append(spool: &mut Spool, records: &[Vec<u8>]) -> Result<Vec<Record>, SpoolError> {
    spool.append(spool.next(), records)
}

fn numbers(spool: &Spool) -> Vec<u64> {
    spool
        .oldest(0, usize::MAX)
        .unwrap()
        .iter()
        .map(|record| record.number)
        .collect()
}

#[test]
fn records_stay_until_forgotten_and_numbers_are_never_used_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 3)).unwrap();
    spool.forget(3).unwrap();
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!((spool.count(), spool.next()), (0, 4));
    append(&mut spool, &records(4, 5)).unwrap();
    assert_eq!(numbers(&spool), [4, 5]);
    assert_eq!(spool.oldest(0, 1).unwrap()[0].bytes, Some(vec![4; 20]));
}

#[test]
fn counters_stay() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).set_counter("shift", -7).unwrap();
    assert_eq!(open(folder.path()).counter("shift").unwrap(), Some(-7));
    assert_eq!(open(folder.path()).counter("dropped").unwrap(), None);
}

#[test]
fn a_full_spool_drops_its_oldest_chunk_and_says_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 64 * PAGE).unwrap().0;
    let mut dropped = Vec::new();
    for _ in 0..100 {
        dropped.extend(append(&mut spool, &vec![vec![7; 1000]; 10]).unwrap());
    }
    assert!(!dropped.is_empty());
    assert_eq!(dropped[0].number, 1);
    assert_eq!(length(&dropped) + spool.count(), 1000);
    assert_eq!(numbers(&spool).len() as u64, spool.count());
    assert!(used(&spool.database).unwrap() <= 64 + 4);
}

#[test]
fn a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool
        .database
        .pragma_update(None, "user_version", 2)
        .unwrap();
    drop(spool);
    assert!(matches!(
        Spool::open(folder.path(), ROOM),
        Err(SpoolError::Later(_, 2))
    ));
}

#[test]
fn a_killed_process_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 9)).unwrap();
    let copy = what_a_kill_leaves(folder.path());
    assert_eq!(open(copy.path()).count(), 9);
}

/// A spool as files, with records in the database and in the log.
fn files() -> Vec<(String, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 100)).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
    let done = spool.database.query_row(checkpoint, [], |_| Ok(()));
    done.unwrap();
    append(&mut spool, &records(101, 200)).unwrap();
    let names = ["spool.db", "spool.db-wal"];
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    names
        .iter()
        .map(|name| ((*name).to_owned(), read(name)))
        .collect()
}

fn reopens(files: &[(String, Vec<u8>)]) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let (mut spool, _) = Spool::open(folder.path(), ROOM).unwrap();
    let sound = spool.oldest(0, usize::MAX).unwrap();
    for record in &sound {
        // Damage may take a record away or be noticed; it never changes one.
        if let Some(bytes) = &record.bytes {
            assert_eq!(*bytes, vec![u8::try_from(record.number).unwrap(); 20]);
        }
    }
    append(&mut spool, &records(201, 201)).unwrap();
    length(&sound)
}

#[test]
fn a_torn_tail_costs_what_was_in_it_and_nothing_before() {
    let whole = files();
    assert_eq!(reopens(&whole), 200);
    let log = whole[1].1.len();
    for cut in (0..log).step_by(97) {
        let mut torn = whole.clone();
        torn[1].1.truncate(cut);
        assert!(reopens(&torn) >= 100);
    }
}

#[test]
fn numbers_go_on_after_the_last_record_that_was_carried_over() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).set_counter("shift", 3).unwrap();
    let path = folder.path().join("spool.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..8192].fill(0xff); // the records, but not the counters
    fs::write(&path, bytes).unwrap();
    let (mut spool, found) = Spool::open(folder.path(), ROOM).unwrap();
    assert!(matches!(found, Found::Damaged { saved: 0, .. }));
    assert_eq!(spool.counter("shift").unwrap(), Some(3));
    let next = spool.next();
    append(&mut spool, &records(1, 1)).unwrap();
    assert_eq!(numbers(&spool), [next]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_damage_is_survived(flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..8)) {
        let mut damaged = files();
        for (at, with) in flips {
            let bytes = &mut damaged[0].1;
            let index = at.index(bytes.len());
            bytes[index] ^= with;
        }
        reopens(&damaged);
    }
}

#[test]
fn a_damaged_spool_without_records_gives_no_number_twice_and_leaves_none_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.set_counter("shift a", 5).unwrap();
    spool.set_counter("dropped", 0).unwrap();
    let kept = folder.path().join("kept.db");
    spool
        .database
        .execute("VACUUM INTO ?1", [kept.to_str().unwrap()])
        .unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut spool = open(other.path());
    assert_eq!(spool.carry_over(&kept).unwrap(), 0);
    assert_eq!(
        (spool.next(), spool.counter("shift a").unwrap()),
        (1, Some(5))
    );
    append(&mut spool, &records(1, 1)).unwrap();
    assert_eq!(numbers(&spool), [1]);
}

/// What becomes of a spool's disk in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// It takes everything.
    Well,
    /// Its file cannot grow by more than so many pages.
    Full(u64),
    /// It takes nothing at all.
    Dead,
}

impl Spool {
    /// Has the disk be so from now on.
    pub fn suffer(&self, disk: Disk) {
        let (pages, read_only) = match disk {
            Disk::Well => (u64::from(u32::MAX) - 1, false),
            Disk::Full(more) => (
                self.database
                    .query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))
                    .map_or(0, positive)
                    + more,
                false,
            ),
            Disk::Dead => (u64::from(u32::MAX) - 1, true),
        };
        let pragma = format!("PRAGMA max_page_count = {pages}");
        self.database.query_row(&pragma, [], |_| Ok(())).unwrap();
        self.database
            .pragma_update(None, "query_only", read_only)
            .unwrap();
    }
}

#[test]
fn what_a_dead_disk_does_not_take_is_noted_and_counts_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 5)).unwrap();
    spool.suffer(Disk::Dead);
    assert!(spool.forget(3).is_err() && spool.set_counter("dropped", 8).is_err());
    spool.use_up(40).unwrap();
    assert!(spool.settle().is_err() && !spool.is_settled());
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!((spool.next(), spool.forgotten()), (41, 3));
    assert_eq!(spool.counter("dropped").unwrap(), Some(8));
    spool.settle().unwrap();
    assert!(spool.is_settled());
    // Now it is all in the database.
    fs::remove_file(folder.path().join("spool.notes")).unwrap();
    drop(spool);
    let mut spool = open(folder.path());
    assert_eq!((spool.next(), spool.count()), (41, 2));
    assert_eq!(spool.counter("dropped").unwrap(), Some(8));
    append(&mut spool, &records(41, 41)).unwrap();
    assert_eq!(numbers(&spool), [4, 5, 41]);
}

#[test]
fn a_counter_that_was_noted_does_not_come_back_over_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.suffer(Disk::Dead);
    assert!(spool.set_counter("shift", 1).is_err());
    spool.suffer(Disk::Well);
    spool.set_counter("shift", 2).unwrap();
    assert_eq!(spool.counter("shift").unwrap(), Some(2));
    drop(spool);
    let mut spool = open(folder.path());
    spool.settle().unwrap();
    assert_eq!(spool.counter("shift").unwrap(), Some(2));
}

#[test]
fn more_records_are_forgotten_than_one_transaction_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &vec![vec![7; 20]; 3000]).unwrap();
    spool.forget(2500).unwrap();
    assert_eq!(
        (spool.count(), spool.tail(), spool.next()),
        (500, 3000, 3001)
    );
    assert_eq!(numbers(&spool)[0], 2501);
    spool.settle().unwrap();
    assert_eq!((spool.count(), spool.next()), (500, 3001));
}

#[test]
fn a_spool_that_begins_anew_keeps_numbers_and_counters() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 5)).unwrap();
    spool.set_counter("shift", 3).unwrap();
    spool.suffer(Disk::Dead);
    assert!(spool.set_counter("dropped", 2).is_err() && spool.forget(5).is_err());
    spool.renew().unwrap();
    assert!(!spool.is_gone());
    for _ in 0..2 {
        assert_eq!((spool.count(), spool.next(), spool.forgotten()), (0, 6, 0));
        assert_eq!(spool.counter("shift").unwrap(), Some(3));
        assert_eq!(spool.counter("dropped").unwrap(), Some(2));
        spool.settle().unwrap();
        assert!(spool.is_settled());
    }
    append(&mut spool, &records(6, 6)).unwrap();
    drop(spool);
    assert_eq!(numbers(&open(folder.path())), [6]);
}

#[test]
fn where_no_fresh_spool_can_be_made_there_is_none_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    append(&mut spool, &records(1, 5)).unwrap();
    spool.set_counter("shift", 3).unwrap();
    spool.flusher().flush().unwrap();
    let aside = Aside::put(&folder);
    assert!(spool.renew().is_err() && spool.is_gone());
    assert!(append(&mut spool, &records(6, 6)).is_err() && spool.settle().is_err());
    assert_eq!((spool.count(), spool.next()), (0, 6));
    assert_eq!(spool.counter("shift").unwrap(), Some(3));
    aside.back();
    spool.renew().unwrap();
    assert_eq!((spool.next(), spool.is_gone()), (6, false));
    assert_eq!(spool.counter("shift").unwrap(), Some(3));
}

#[test]
fn what_is_sorted_needs_no_folder_that_a_confined_process_may_not_write() {
    const MEMORY: i64 = 2;
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let store: i64 = spool
        .database
        .pragma_query_value(None, "temp_store", |row| row.get(0))
        .unwrap();
    assert_eq!(store, MEMORY);
    drop(spool);
    let damaged = database::open_damaged(&folder.path().join("spool.db")).unwrap();
    let store: i64 = damaged
        .pragma_query_value(None, "temp_store", |row| row.get(0))
        .unwrap();
    assert_eq!(store, MEMORY);
}
