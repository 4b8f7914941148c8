//! The least that a durable store can be: SQLite alone, with the server's tables, in transactions
//! of a given size.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

/// How many transactions a database has had, from its index of the log: SQLite counts them in the
/// third of its 32-bit words, and starts anew with the file.
pub fn commits(database: &Path) -> u32 {
    let mut index = database.as_os_str().to_owned();
    index.push("-shm");
    let header = std::fs::read(index).unwrap();
    u32::from_ne_bytes(header[8..12].try_into().unwrap())
}

/// A database of its own.
pub struct Bare {
    database: Connection,
    number: i64,
}

impl Bare {
    /// With the tables of the store at `like`, at `path`.
    pub fn new(like: &Path, path: &Path) -> Self {
        let database = Connection::open(path).unwrap();
        // As the server sets them.
        let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA cache_size = -8192; PRAGMA journal_size_limit = 16777216;";
        database.execute_batch(pragmas).unwrap();
        let like = Connection::open(like).unwrap();
        let tables = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL
             AND name NOT LIKE 'sqlite_%'";
        let mut tables = like.prepare(tables).unwrap();
        let tables = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
        for table in tables {
            database.execute_batch(&table.unwrap()).unwrap();
        }
        Self {
            database,
            number: 0,
        }
    }

    /// Inserts events for so long, so many in a transaction, and says how many a second.
    pub fn insert(&mut self, span: Duration, each: u64) -> f64 {
        let began = Instant::now();
        let mut rows = 0.0;
        while began.elapsed() < span {
            let transaction = self.database.transaction().unwrap();
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO event (client, sequence, received, at, first, last, source,
                     source_port, trap_port, probe, count)
                     VALUES (?1, ?2, ?3, ?3, ?3, ?3, ?4, 54321, ?5, 0, 1)",
                )
                .unwrap();
            for _ in 0..each {
                self.number += 1;
                let number = self.number;
                let time = 1_700_000_000_000_000 + number;
                let source = (0x0a00_0000 + number % 2048).to_be_bytes();
                insert
                    .execute(params![
                        number % 64,
                        number / 64,
                        time,
                        &source[4..],
                        number % 1024
                    ])
                    .unwrap();
                rows += 1.0;
            }
            drop(insert);
            transaction.commit().unwrap();
        }
        rows / began.elapsed().as_secs_f64()
    }
}
