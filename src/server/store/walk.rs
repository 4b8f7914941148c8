//! Walks over tables that may be damaged, and gives what can be read of them.
//!
//! Both walks take keys in ascending order and believe no other, so they end, whatever the damage:
//! a page that leads back to where the walk has been is not followed.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use crate::database::damage;
use crate::server::store::record::PLAUSIBLE;
use crate::server::store::rows::sound;

/// Rows that are read at once.
const PAGE: usize = 1024;

/// A table as it is carried over.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
    /// What to take for it where the old table does not have it.
    otherwise: Option<String>,
}

/// What may stand in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    NumberOrNull,
    Text,
    Bytes,
}

impl Table {
    /// A table of this name as a fresh store has it.
    pub fn of(fresh: &Connection, name: &'static str) -> rusqlite::Result<Self> {
        let select = "SELECT name, type, \"notnull\" OR pk, dflt_value FROM pragma_table_info(?1)";
        let mut select = fresh.prepare(select)?;
        let column = |row: &Row<'_>| {
            let (kind, required): (String, bool) = (row.get(1)?, row.get(2)?);
            let (kind, null) = match (&*kind, required) {
                ("TEXT", _) => (Kind::Text, None),
                ("BLOB", _) => (Kind::Bytes, None),
                (_, true) => (Kind::Number, None),
                (_, false) => (Kind::NumberOrNull, Some("NULL".to_owned())),
            };
            Ok(Column {
                name: row.get(0)?,
                kind,
                otherwise: row.get::<_, Option<String>>(3)?.or(null),
            })
        };
        let columns = select
            .query_map([name], column)?
            .collect::<Result<_, _>>()?;
        Ok(Self { name, columns })
    }

    /// With the number that SQLite gives each row as its first column.
    pub fn with_rowid(mut self) -> Self {
        let rowid = Column {
            name: "rowid".to_owned(),
            kind: Kind::Number,
            otherwise: None,
        };
        self.columns.insert(0, rowid);
        self
    }

    /// Its columns as `old` has them; none if they are not there.
    fn expressions(&self, old: &Connection) -> Option<String> {
        let expression = |column: &Column| {
            let select = format!("SELECT {} FROM {}", column.name, self.name);
            match old.prepare(&select) {
                Ok(_) => Some(column.name.clone()),
                Err(_) => column.otherwise.clone(),
            }
        };
        let all: Option<Vec<_>> = self.columns.iter().map(expression).collect();
        all.map(|all| all.join(", "))
    }

    /// What selects all of it from `old`; none if it is not there.
    pub fn select(&self, old: &Connection) -> Option<String> {
        let columns = self.expressions(old)?;
        // Of an index, which may be damaged as well, nothing is believed.
        Some(format!("SELECT {columns} FROM {} NOT INDEXED", self.name))
    }

    /// The name of its first column.
    pub fn key(&self) -> &str {
        self.columns.first().map_or("rowid", |column| &column.name)
    }

    /// What writes a row of it, unless there is one with its key.
    pub fn insert(&self) -> String {
        let names: Vec<_> = self.columns.iter().map(|column| &*column.name).collect();
        let places = vec!["?"; names.len()].join(", ");
        let (name, names) = (self.name, names.join(", "));
        format!("INSERT OR IGNORE INTO {name} ({names}) VALUES ({places})")
    }

    /// A row's values, if each is of its kind.
    pub fn values(&self, row: &Row<'_>) -> rusqlite::Result<Option<Vec<Value>>> {
        let mut values = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let Some(value) = sound(row.get(index))? else {
                return Ok(None);
            };
            match (&value, column.kind) {
                (Value::Integer(_), Kind::Number | Kind::NumberOrNull)
                | (Value::Null, Kind::NumberOrNull)
                | (Value::Text(_), Kind::Text)
                | (Value::Blob(_), Kind::Bytes) => values.push(value),
                (_, _) => return Ok(None),
            }
        }
        Ok(Some(values))
    }
}

/// A walk over a table whose keys are numbers. Where a row cannot be read, it goes on behind it.
#[derive(Debug)]
pub struct Walk<'a> {
    old: &'a Connection,
    read: String,
    seek: String,
    after: i64,
    /// The row that was found readable by its key alone.
    tried: Option<i64>,
}

impl<'a> Walk<'a> {
    /// A walk over the rows behind the one with this key; none if there is no such table.
    pub fn new(old: &'a Connection, table: &Table, after: i64) -> Option<Self> {
        let (select, key, name) = (table.select(old)?, table.key(), table.name);
        let read = format!("{select} WHERE {key} > ?1 ORDER BY {key} LIMIT {PAGE}");
        let seek = format!(
            "SELECT {key} FROM {name} NOT INDEXED WHERE {key} >= ?1 ORDER BY {key} LIMIT 1"
        );
        Some(Self {
            old,
            read,
            seek,
            after,
            tried: None,
        })
    }

    /// The next rows as `decode` takes them, without those of which it makes nothing; none if there
    /// are no more.
    pub fn next<T>(
        &mut self,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Option<Vec<T>> {
        loop {
            let before = self.after;
            let mut found = Vec::new();
            let whole = self.read(&mut found, &decode);
            if self.after > before {
                return Some(found);
            }
            if whole.is_ok() {
                return None;
            }
            let next = self.readable(before)?;
            self.after = if self.tried == Some(next) {
                next
            } else {
                next - 1
            };
            self.tried = Some(next);
        }
    }

    /// Reads a page of rows, or as many as can be read.
    fn read<T>(
        &mut self,
        found: &mut Vec<T>,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> rusqlite::Result<()> {
        let mut select = self.old.prepare_cached(&self.read)?;
        let mut rows = select.query([self.after])?;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            if key <= self.after || key >= PLAUSIBLE {
                return Err(damage("rows out of order"));
            }
            let decoded = decode(row)?;
            self.after = key;
            found.extend(decoded);
        }
        Ok(())
    }

    /// The key of the first row behind `after` that can be found.
    fn readable(&self, after: i64) -> Option<i64> {
        let (mut bad, mut from) = (after, after.checked_add(1)?);
        while from < PLAUSIBLE {
            match self.seek(from) {
                Ok(None) => return None,
                Ok(Some(key)) if key > after => return self.nearest(bad, from),
                Ok(Some(_)) | Err(_) => {
                    bad = from;
                    // So small a step leaves out no page, unless the damage goes on for many.
                    from += ((from - after) / 64).max(1);
                }
            }
        }
        None
    }

    /// The first key that can be found, between one where none was and one where one was.
    fn nearest(&self, mut bad: i64, mut good: i64) -> Option<i64> {
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            match self.seek(middle) {
                Ok(Some(key)) if key >= middle => good = middle,
                Ok(_) | Err(_) => bad = middle,
            }
        }
        self.seek(good).ok().flatten()
    }

    fn seek(&self, from: i64) -> rusqlite::Result<Option<i64>> {
        let mut seek = self.old.prepare_cached(&self.seek)?;
        let mut rows = seek.query([from])?;
        rows.next()?.map(|row| row.get(0)).transpose()
    }
}

/// A walk over what is kept in the order of texts or bytes. Where a row cannot be read, it goes on
/// from the other end.
#[derive(Debug)]
pub struct Ends<'a> {
    old: &'a Connection,
    /// What to select from where, and the key, which is selected first.
    select: &'a str,
    key: &'a str,
    last: Option<Value>,
    way: Option<Way>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl<'a> Ends<'a> {
    /// A walk over what `select` selects, of which the first column is `key`.
    pub const fn new(old: &'a Connection, select: &'a str, key: &'a str) -> Self {
        Self {
            old,
            select,
            key,
            last: None,
            way: Some(Way::Up),
        }
    }

    /// The next rows, as above.
    pub fn next<T>(
        &mut self,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> Option<Vec<T>> {
        let way = self.way?;
        let mut found = Vec::new();
        let before = self.last.clone();
        let read = self.read(way, &mut found, decode);
        match (way, read) {
            (_, Ok(())) if self.last == before => self.way = None,
            (_, Ok(())) => {}
            (Way::Up, Err(_)) => (self.way, self.last) = (Some(Way::Down), None),
            (Way::Down, Err(_)) => self.way = None,
        }
        Some(found)
    }

    fn read<T>(
        &mut self,
        way: Way,
        found: &mut Vec<T>,
        decode: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
    ) -> rusqlite::Result<()> {
        let (select, key) = (self.select, self.key);
        let (beyond, order) = match way {
            Way::Up => (">", "ASC"),
            Way::Down => ("<", "DESC"),
        };
        let bound = match self.last {
            None => "?1 IS NULL".to_owned(),
            Some(_) => format!("{key} {beyond} ?1"),
        };
        let select = format!("{select} WHERE {bound} ORDER BY {key} {order} LIMIT {PAGE}");
        let mut select = self.old.prepare_cached(&select)?;
        let mut rows = select.query([self.last.clone()])?;
        while let Some(row) = rows.next()? {
            let key: Value = row.get(0)?;
            if !follows(way, self.last.as_ref(), &key) {
                return Err(damage("rows out of order"));
            }
            let decoded = decode(row)?;
            self.last = Some(key);
            found.extend(decoded);
        }
        Ok(())
    }
}

/// Whether a key comes behind the last one.
fn follows(way: Way, last: Option<&Value>, key: &Value) -> bool {
    let (Some(key), last) = (bytes(key), last.and_then(bytes)) else {
        return false;
    };
    match way {
        Way::Up => last.is_none_or(|last| key > last),
        Way::Down => last.is_none_or(|last| key < last),
    }
}

fn bytes(key: &Value) -> Option<&[u8]> {
    match key {
        Value::Text(text) => Some(text.as_bytes()),
        Value::Blob(bytes) => Some(bytes.as_slice()),
        Value::Null | Value::Integer(_) | Value::Real(_) => None,
    }
}
