//! What a backlog keeps, and how its numbers go on.

use super::*;
use crate::event::Probe;
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

#[test]
fn what_the_disk_does_not_take_is_held_and_written_later() {
    let (folder, backlog) = with_hits(1);
    let other = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(backlog.append(&mut vec![hit(2)]), Rest::Unsettled);
    assert_eq!(backlog.len(), 1);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(backlog.append(&mut Vec::new()), Rest::Settled);
    assert_eq!(oldest(&backlog, 9), (1, vec![hit(1), hit(2)]));
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
