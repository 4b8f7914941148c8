//! A spool whose files are damaged, or somebody else's: it is opened, repaired or refused, and
//! whatever it gives can be reported.

#![no_main]

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vft::fuzzing::backlog::Backlog;
use vft::fuzzing::event::{Hit, Probe, Timestamp};
use vft::fuzzing::message::{Ack, Report};
use vft::fuzzing::spool::{Found, Spool};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    base: Base<'a>,
    damage: Vec<Damage>,
    /// The file ends here.
    cut: Option<u16>,
    wal: Option<&'a [u8]>,
    /// The spool's size in pages.
    pages: u8,
    welcome: Option<u64>,
    ack: (u64, u64),
}

#[derive(Arbitrary, Debug)]
enum Base<'a> {
    /// A spool with hits in it, and counters.
    Sound,
    /// A spool whose records and counters are these.
    Filled {
        records: Vec<(i64, &'a [u8], Check)>,
        shift: i64,
        dropped: i64,
    },
    /// Any bytes.
    Any(&'a [u8]),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Check {
    Fits,
    DoesNot,
}

/// Four bytes of the file are overwritten.
#[derive(Arbitrary, Debug)]
struct Damage {
    at: u16,
    with: [u8; 4],
}

/// The file of a spool that holds 40 hits.
static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), u64::MAX).unwrap().0;
    spool.set_counter(SHIFT, 3).unwrap();
    spool.set_counter("dropped", 5).unwrap();
    let backlog = Backlog::new(spool, Arc::default()).unwrap();
    backlog.append(&mut (1..=40).map(hit).collect());
    drop(backlog);
    fs::read(folder.path().join("spool.db")).unwrap()
});

/// The server of the session, and the counter of what was agreed with it.
const SERVER: [u8; 16] = [7; 16];
const SHIFT: &str = "shift 07070707070707070707070707070707";

fuzz_target!(|input: Input<'_>| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    write(&path, &input);
    if let Some(wal) = input.wal {
        fs::write(folder.path().join("spool.db-wal"), wal).unwrap();
    }
    let size = u64::from(input.pages) * 4096;
    let Ok((mut spool, found)) = Spool::open(folder.path(), size) else {
        return;
    };
    let (next, appended) = (
        spool.next(),
        spool.append(spool.next(), &[b"a record".to_vec()]),
    );
    if let (Found::Damaged { kept, .. }, Ok(_)) = (&found, &appended) {
        assert!(kept.exists());
        let records = spool.oldest(next - 1, 9).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].bytes.as_deref(), Some(&b"a record"[..]));
    }
    if let Ok(records) = spool.oldest(0, 9) {
        assert!(records.windows(2).all(|two| two[0].number < two[1].number));
    }
    drop(spool.flusher().flush());
    if let Ok(backlog) = Backlog::new(spool, Arc::default()) {
        report(&backlog, &input);
    }
});

/// What a session does with it.
fn report(backlog: &Backlog, input: &Input<'_>) {
    drop(backlog.resume(&SERVER, input.welcome));
    backlog.append(&mut vec![hit(1)]);
    for _ in 0..3 {
        if let Ok((first, hits)) = backlog.oldest(16) {
            drop(Report::new(first, &hits));
        }
        let (received, durable) = input.ack;
        backlog.acknowledge(Ack { received, durable });
        backlog.flush();
    }
    backlog.len();
}

fn write(path: &Path, input: &Input<'_>) {
    let mut bytes = match &input.base {
        Base::Sound => SOUND.clone(),
        Base::Any(bytes) => bytes.to_vec(),
        Base::Filled {
            records,
            shift,
            dropped,
        } => filled(path, records, *shift, *dropped),
    };
    for Damage { at, with } in &input.damage {
        if let Some(place) = bytes
            .get_mut(usize::from(*at)..)
            .and_then(|b| b.get_mut(..4))
        {
            place.copy_from_slice(with);
        }
    }
    if let Some(cut) = input.cut {
        bytes.truncate(cut.into());
    }
    fs::write(path, bytes).unwrap();
}

fn filled(path: &Path, records: &[(i64, &[u8], Check)], shift: i64, dropped: i64) -> Vec<u8> {
    fs::write(path, &*SOUND).unwrap();
    let database = rusqlite::Connection::open(path).unwrap();
    database.execute("DELETE FROM record", []).unwrap();
    let replace = "INSERT OR REPLACE INTO counter VALUES (?1, ?2)";
    database.execute(replace, (SHIFT, shift)).unwrap();
    database.execute(replace, ("dropped", dropped)).unwrap();
    for (number, bytes, check) in records {
        let crc = match check {
            Check::Fits => crc32fast::hash(bytes),
            Check::DoesNot => 0,
        };
        database
            .execute(
                "INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3)",
                (number, bytes, crc),
            )
            .unwrap();
    }
    drop(database);
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    bytes
}

fn hit(number: u64) -> Hit {
    let time = Timestamp::from_micros(1_795_000_000_000_000 + number);
    Hit {
        first: time,
        last: time,
        source: [192, 0, 2, 1].into(),
        source_port: 40_000,
        trap_port: 22,
        probe: Probe::Connect,
        count: NonZeroU32::MIN,
    }
}
