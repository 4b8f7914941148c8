//! What a backlog keeps, and how its numbers go on.

mod life;

use super::*;
use crate::client::spool::tests::{Aside, Disk};
use crate::clock;
use crate::event::{Probe, Timestamp};
use std::num::NonZeroU32;
use tempfile::TempDir;

const HERE: [u8; 16] = [1; 16];
const THERE: [u8; 16] = [2; 16];

fn hit(n: u64) -> Hit {
    Hit {
        first: Timestamp::from_micros(n),
        last: Timestamp::from_micros(n),
        source: [192, 0, 2, 1].into(),
        source_port: 1,
        trap_port: 2,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    }
}

fn open(folder: &TempDir) -> Backlog {
    let spool = Spool::open(folder.path(), 1 << 30).unwrap().0;
    Backlog::new(spool, Arc::default()).unwrap()
}

fn with_hits(hits: u64) -> (TempDir, Backlog) {
    let folder = tempfile::tempdir().unwrap();
    let backlog = open(&folder);
    assert_eq!(
        backlog.append(&mut (1..=hits).map(hit).collect()),
        Rest::Settled
    );
    (folder, backlog)
}

/// Hands all out, as a session does before it hears how far they have come.
fn hand_out(backlog: &Backlog) {
    backlog.oldest(usize::MAX).unwrap();
}

fn durable(up_to: u64) -> Ack {
    Ack {
        received: up_to,
        durable: up_to,
    }
}

fn oldest(backlog: &Backlog, most: usize) -> (u64, Vec<Hit>) {
    backlog.oldest(most).unwrap()
}

#[test]
fn hits_stay_until_they_are_acknowledged() {
    let (_folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    assert_eq!(oldest(&backlog, 2), (1, vec![hit(1), hit(2)]));
    backlog.acknowledge(durable(2));
    assert_eq!(oldest(&backlog, 2), (3, vec![hit(3)]));
    backlog.acknowledge(durable(3));
    assert_eq!(backlog.wait(Duration::ZERO), Work::Nothing);
}

#[test]
fn what_is_received_but_not_durable_is_sent_again_only_in_another_session() {
    let (_folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    hand_out(&backlog);
    backlog.acknowledge(Ack {
        received: 2,
        durable: 0,
    });
    assert_eq!(oldest(&backlog, 9), (3, vec![hit(3)]));
    backlog.acknowledge(Ack {
        received: 3,
        durable: 1,
    });
    assert_eq!(
        (backlog.wait(Duration::ZERO), backlog.len()),
        (Work::Nothing, 2)
    );
    backlog.resume(&HERE, Some(1)).unwrap();
    assert_eq!(oldest(&backlog, 9), (2, vec![hit(2), hit(3)]));
}

#[test]
fn a_shift_that_cannot_be_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 30).unwrap().0;
    spool
        .set_counter(&format!("{SHIFT} {}", ClientId(HERE)), i64::MIN)
        .unwrap();
    let backlog = Backlog::new(spool, Arc::default()).unwrap();
    backlog.append(&mut vec![hit(1)]);
    backlog.resume(&HERE, Some(7)).unwrap();
    assert_eq!(oldest(&backlog, 9), (8, vec![hit(1)]));
    backlog.acknowledge(durable(8));
    assert_eq!(backlog.len(), 0);
}

#[test]
fn hits_and_numbers_outlive_the_process() {
    let (folder, backlog) = with_hits(3);
    backlog.resume(&HERE, Some(40)).unwrap();
    backlog.acknowledge(durable(41));
    drop(backlog);
    let backlog = open(&folder);
    backlog.resume(&HERE, Some(41)).unwrap();
    assert_eq!(oldest(&backlog, 9), (42, vec![hit(2), hit(3)]));
    backlog.acknowledge(durable(43));
    drop(backlog);
    let backlog = open(&folder);
    backlog.append(&mut vec![hit(9)]);
    backlog.resume(&HERE, Some(43)).unwrap();
    assert_eq!(oldest(&backlog, 9), (44, vec![hit(9)]));
}

#[test]
fn a_client_whose_spool_is_new_goes_on_where_the_server_is() {
    let (_folder, backlog) = with_hits(2);
    backlog.resume(&HERE, Some(40)).unwrap();
    assert_eq!(oldest(&backlog, 1).0, 41);
}

#[test]
fn a_server_that_is_ahead_of_the_spool_gets_what_it_does_not_have() {
    let (_folder, backlog) = with_hits(2);
    backlog.resume(&HERE, None).unwrap();
    backlog.resume(&HERE, Some(500)).unwrap();
    assert_eq!(oldest(&backlog, 9), (501, vec![hit(1), hit(2)]));
}

#[test]
fn a_server_that_has_forgotten_gets_the_numbers_as_they_are() {
    let (_folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    hand_out(&backlog);
    backlog.acknowledge(durable(2));
    backlog.resume(&HERE, None).unwrap();
    assert_eq!(oldest(&backlog, 9), (3, vec![hit(3)]));
    backlog.resume(&HERE, Some(1)).unwrap();
    assert_eq!(oldest(&backlog, 9), (3, vec![hit(3)]));
}

#[test]
fn each_server_has_its_own_numbers() {
    let (folder, backlog) = with_hits(2);
    backlog.resume(&HERE, Some(5)).unwrap();
    assert_eq!(oldest(&backlog, 9).0, 6);
    // Another server knows this client from before its state folder was new.
    backlog.resume(&THERE, Some(50)).unwrap();
    assert_eq!(oldest(&backlog, 9), (51, vec![hit(1), hit(2)]));
    backlog.acknowledge(durable(51));
    drop(backlog);
    let backlog = open(&folder);
    backlog.resume(&HERE, Some(5)).unwrap();
    assert_eq!(oldest(&backlog, 9), (7, vec![hit(2)]));
    backlog.resume(&THERE, Some(51)).unwrap();
    assert_eq!(oldest(&backlog, 9), (52, vec![hit(2)]));
}

#[test]
fn what_was_not_handed_out_is_not_forgotten_whatever_a_server_says() {
    let (_folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    assert_eq!(oldest(&backlog, 1).0, 1);
    backlog.acknowledge(durable(u64::MAX));
    assert_eq!(oldest(&backlog, 9), (2, vec![hit(2), hit(3)]));
}

#[test]
fn the_end_shows_when_all_is_done() {
    let (_folder, backlog) = with_hits(1);
    backlog.resume(&HERE, None).unwrap();
    backlog.end();
    assert_eq!(backlog.wait(Duration::ZERO), Work::Hits);
    hand_out(&backlog);
    backlog.acknowledge(durable(1));
    assert_eq!(backlog.wait(Duration::from_secs(3600)), Work::Done);
}

fn suffer(backlog: &Backlog, disk: Disk) {
    backlog.lock().queue.spool().suffer(disk);
}

#[test]
fn what_the_disk_does_not_take_is_held_and_counts_and_is_written_later() {
    let (_folder, backlog) = with_hits(1);
    suffer(&backlog, Disk::Dead);
    assert_eq!(backlog.append(&mut vec![hit(2)]), Rest::Unsettled);
    assert_eq!((backlog.len(), backlog.held()), (2, 1));
    assert_eq!(backlog.condition(), Condition::Ailing);
    assert_eq!(backlog.flush(), Rest::Unsettled);
    suffer(&backlog, Disk::Well);
    assert_eq!(backlog.append(&mut Vec::new()), Rest::Settled);
    assert_eq!((backlog.len(), backlog.held()), (2, 0));
    assert_eq!(backlog.condition(), Condition::Well);
    assert_eq!(oldest(&backlog, 9), (1, vec![hit(1), hit(2)]));
}

#[test]
fn hits_are_reported_from_memory_under_the_numbers_that_they_will_have_on_disk() {
    let (folder, backlog) = with_hits(2);
    backlog.resume(&HERE, None).unwrap();
    hand_out(&backlog);
    backlog.acknowledge(durable(2));
    suffer(&backlog, Disk::Dead);
    backlog.append(&mut vec![hit(3), hit(4), hit(5)]);
    assert_eq!(backlog.wait(Duration::ZERO), Work::Hits);
    assert_eq!(oldest(&backlog, 2), (3, vec![hit(3), hit(4)]));
    backlog.acknowledge(durable(3));
    assert_eq!((backlog.len(), backlog.held()), (2, 2));
    suffer(&backlog, Disk::Well);
    assert_eq!(backlog.append(&mut vec![hit(6)]), Rest::Settled);
    assert_eq!(oldest(&backlog, 9), (4, vec![hit(4), hit(5), hit(6)]));
    drop(backlog);
    let backlog = open(&folder);
    backlog.resume(&HERE, Some(3)).unwrap();
    assert_eq!(oldest(&backlog, 9), (4, vec![hit(4), hit(5), hit(6)]));
}

#[test]
fn numbers_that_were_used_in_memory_are_not_used_again_after_a_kill() {
    let (folder, backlog) = with_hits(2);
    backlog.resume(&HERE, None).unwrap();
    suffer(&backlog, Disk::Dead);
    backlog.append(&mut vec![hit(3), hit(4)]);
    // On disk first, then from memory.
    assert_eq!(oldest(&backlog, 9), (1, vec![hit(1), hit(2)]));
    backlog.acknowledge(durable(2));
    assert_eq!(oldest(&backlog, 9), (3, vec![hit(3), hit(4)]));
    backlog.acknowledge(durable(4));
    assert_eq!(backlog.wait(Duration::ZERO), Work::Nothing);
    // Killed, and killed again after hits for which nobody was there.
    drop(backlog);
    let backlog = open(&folder);
    assert_eq!(backlog.len(), 0);
    backlog.append(&mut vec![hit(5)]);
    drop(backlog);
    let backlog = open(&folder);
    backlog.resume(&HERE, Some(4)).unwrap();
    assert_eq!(oldest(&backlog, 9), (5, vec![hit(5)]));
}

#[test]
fn a_spool_that_was_put_back_is_not_reported_anew_and_hides_no_new_hit() {
    let (folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    drop(backlog);
    let backlog = open(&folder);
    backlog.append(&mut vec![hit(4), hit(5)]);
    // The server knows of hits that this spool never had.
    backlog.resume(&HERE, Some(4)).unwrap();
    assert_eq!(oldest(&backlog, 9), (5, vec![hit(4), hit(5)]));
    backlog.acknowledge(durable(6));
    assert_eq!(backlog.len(), 0);
    backlog.resume(&HERE, Some(6)).unwrap();
    backlog.append(&mut vec![hit(6)]);
    assert_eq!(oldest(&backlog, 9), (7, vec![hit(6)]));
}

#[test]
fn a_disk_with_little_room_takes_what_fits() {
    let (_folder, backlog) = with_hits(1);
    suffer(&backlog, Disk::Full(3));
    assert_eq!(
        backlog.append(&mut (2..=3000).map(hit).collect()),
        Rest::Unsettled
    );
    let held = backlog.held();
    assert!(0 < held && held < 2900, "{held}");
    assert_eq!(backlog.len(), 3000);
    // What is delivered makes room for the rest.
    backlog.resume(&HERE, None).unwrap();
    let (mut next, mut rest) = (1, Rest::Unsettled);
    while rest == Rest::Unsettled {
        let (first, hits) = oldest(&backlog, 64);
        assert_eq!(first, next);
        next += hits.len() as u64;
        backlog.acknowledge(durable(next - 1));
        rest = backlog.flush();
    }
    assert!(backlog.len() > 0 && backlog.held() == 0);
}

#[test]
fn when_memory_is_full_the_oldest_are_dropped_and_counted_and_leave_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 1 << 30).unwrap().0;
    let metrics = Arc::new(ClientMetrics::default());
    let backlog = Backlog::with_room(spool, Arc::clone(&metrics), 10).unwrap();
    suffer(&backlog, Disk::Dead);
    backlog.append(&mut (1..=10).map(hit).collect());
    assert_eq!(metrics.dropped.get(), 0);
    let several = Hit {
        count: NonZeroU32::new(5).unwrap(),
        ..hit(11)
    };
    backlog.append(&mut vec![several, hit(12)]);
    assert_eq!((metrics.dropped.get(), backlog.len()), (2, 10));
    backlog.resume(&HERE, None).unwrap();
    assert_eq!(oldest(&backlog, 1), (3, vec![hit(3)]));
    backlog.append(&mut (13..=21).map(hit).collect());
    assert_eq!((metrics.dropped.get(), backlog.len()), (2 + 8 + 5, 10));
    drop(backlog);
    let metrics = Arc::new(ClientMetrics::default());
    let spool = Spool::open(folder.path(), 1 << 30).unwrap().0;
    drop(Backlog::new(spool, Arc::clone(&metrics)).unwrap());
    assert_eq!(metrics.dropped.get(), 15);
}

#[test]
fn a_disk_is_well_again_only_when_it_has_taken_a_record() {
    let (_folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    suffer(&backlog, Disk::Dead);
    backlog.append(&mut vec![hit(4)]);
    hand_out(&backlog);
    backlog.acknowledge(durable(3));
    hand_out(&backlog);
    backlog.acknowledge(durable(4));
    // Nothing is left to write or to delete, and that says nothing about the disk.
    assert_eq!((backlog.len(), backlog.flush()), (0, Rest::Unsettled));
    assert_eq!(backlog.append(&mut Vec::new()), Rest::Unsettled);
    assert_eq!(backlog.condition(), Condition::Ailing);
    suffer(&backlog, Disk::Well);
    assert_eq!(backlog.flush(), Rest::Settled);
    assert_eq!(backlog.condition(), Condition::Well);
    assert_eq!(backlog.lock().queue.spool().count(), 0);
}

#[test]
fn what_could_not_be_deleted_is_deleted_later_and_not_reported_meanwhile() {
    let (folder, backlog) = with_hits(3);
    backlog.resume(&HERE, None).unwrap();
    hand_out(&backlog);
    suffer(&backlog, Disk::Dead);
    backlog.acknowledge(durable(2));
    assert_eq!((backlog.len(), backlog.held()), (1, 0));
    assert_eq!(backlog.lock().queue.spool().count(), 3);
    drop(backlog);
    let backlog = open(&folder);
    // To no other server, either.
    backlog.resume(&THERE, None).unwrap();
    assert_eq!(oldest(&backlog, 9), (3, vec![hit(3)]));
    assert_eq!(backlog.lock().queue.spool().count(), 1);
}

#[test]
fn a_stop_waits_for_the_last_hit_but_not_for_ever() {
    let (_folder, backlog) = with_hits(0);
    let (patience, began) = (Duration::from_millis(40), clock::monotonic());
    assert_eq!(backlog.settle(patience), Work::Nothing);
    assert!(clock::since(began) >= patience, "hits may still come");
    backlog.append(&mut vec![hit(1)]);
    assert_eq!(backlog.settle(patience), Work::Hits);
    assert!(clock::since(began) >= patience * 2, "and more of them");
    let long = Duration::from_secs(3600);
    let settled = std::thread::scope(|scope| {
        let waits = scope.spawn(|| backlog.settle(long));
        backlog.end();
        waits.join().unwrap()
    });
    assert_eq!(settled, Work::Hits);
    assert_eq!(backlog.settle(long), Work::Hits);
}

#[test]
fn whoever_waits_is_woken_by_a_hit() {
    let (_folder, backlog) = with_hits(0);
    let woken = std::thread::scope(|scope| {
        let waits = scope.spawn(|| backlog.wait(Duration::from_secs(3600)));
        backlog.append(&mut vec![hit(1)]);
        waits.join().unwrap()
    });
    assert_eq!(woken, Work::Hits);
}

#[test]
fn hits_that_a_full_spool_drops_are_counted_by_how_often_they_happened() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), 64 * 4096).unwrap().0;
    let metrics = Arc::new(ClientMetrics::default());
    let backlog = Backlog::new(spool, Arc::clone(&metrics)).unwrap();
    let many = |n| Hit {
        count: NonZeroU32::new(3).unwrap(),
        ..hit(n)
    };
    let mut came = 0;
    while metrics.dropped.get() == 0 {
        backlog.append(&mut (came + 1..=came + 500).map(many).collect());
        came += 500;
    }
    let dropped = metrics.dropped.get();
    assert_eq!((dropped % 3, backlog.len()), (0, came - dropped / 3));
    drop(backlog);
    let metrics = Arc::new(ClientMetrics::default());
    let spool = Spool::open(folder.path(), 64 * 4096).unwrap().0;
    drop(Backlog::new(spool, Arc::clone(&metrics)).unwrap());
    assert_eq!(metrics.dropped.get(), dropped);
}

#[test]
fn a_damaged_record_is_dropped_and_leaves_a_gap() {
    let (folder, backlog) = with_hits(4);
    drop(backlog);
    let other = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    other
        .execute("UPDATE record SET bytes = x'00' WHERE number IN (1, 3)", [])
        .unwrap();
    let backlog = open(&folder);
    backlog.resume(&HERE, None).unwrap();
    assert_eq!(oldest(&backlog, 9), (2, vec![hit(2)]));
    backlog.acknowledge(durable(2));
    assert_eq!(oldest(&backlog, 9), (4, vec![hit(4)]));
}

#[test]
fn without_any_spool_hits_are_reported_from_memory_until_there_is_one() {
    let (folder, backlog) = with_hits(1);
    backlog.resume(&HERE, Some(40)).unwrap();
    hand_out(&backlog);
    backlog.acknowledge(durable(41));
    // Its file is given up, and no other can be made.
    let aside = Aside::put(&folder);
    assert!(backlog.lock().queue.spool().renew().is_err());
    assert_eq!(backlog.append(&mut vec![hit(2)]), Rest::Unsettled);
    assert_eq!(backlog.flush(), Rest::Unsettled);
    backlog.resume(&HERE, Some(41)).unwrap();
    assert_eq!(oldest(&backlog, 1), (42, vec![hit(2)]));
    aside.back();
    assert_eq!(backlog.flush(), Rest::Settled);
    assert_eq!((backlog.len(), backlog.held()), (1, 0));
    drop(backlog);
    let backlog = open(&folder);
    backlog.resume(&HERE, Some(41)).unwrap();
    assert_eq!(oldest(&backlog, 9), (42, vec![hit(2)]));
}
