//! What spool and store have in common: both are SQLite databases, and survive it when theirs is
//! damaged.
//!
//! A damaged file is set aside with its log, as `NAME.damaged`, and what can be read of it is
//! carried over into a fresh one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

/// The files of a database beside its own: its log, and the log's index in shared memory. In this
/// order they are moved, before the file itself: a log must never lie beside another's file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// A path with something behind its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Whether SQLite says that a file is not as it was written, or cannot be read from its disk.
pub const fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => {
            matches!(
                failure.code,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase
            ) || matches!(
                failure.extended_code,
                ffi::SQLITE_IOERR_READ | ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS
            )
        }
        _ => false,
    }
}

/// Whether an error at opening is the file's fault and not that of its surroundings: it is damaged,
/// or something in it is not what it should be.
pub const fn is_unusable(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) | Error::SqlInputError { error: failure, .. } => {
            is_damage(error)
                || matches!(
                    failure.code,
                    ErrorCode::Unknown
                        | ErrorCode::TooBig
                        | ErrorCode::TypeMismatch
                        | ErrorCode::ConstraintViolation
                )
        }
        _ => true,
    }
}

/// Whether an error means that the disk has no room, be it for another file.
pub const fn is_want_of_room(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DiskFull | ErrorCode::CannotOpen)
                || matches!(
                    failure.extended_code,
                    ffi::SQLITE_IOERR_WRITE
                        | ffi::SQLITE_IOERR_SHMOPEN
                        | ffi::SQLITE_IOERR_SHMSIZE
                        | ffi::SQLITE_IOERR_TRUNCATE
                )
        }
        _ => false,
    }
}

/// An error that says that a file is damaged, and how. Of several lines, the last says it.
pub fn damage(how: &str) -> Error {
    let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
    Error::SqliteFailure(code, how.lines().last().map(ToOwned::to_owned))
}

/// Opens a damaged database to see what can be read of it. As far as possible nothing is written
/// to it, and what is missing does not hide the rest.
pub fn open_damaged(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Without it, a file that is shorter than it says is not read at all.
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    database.pragma_update(None, "cell_size_check", true)?;
    // A process that is confined has no other place for what is sorted.
    database.pragma_update(None, "temp_store", "MEMORY")?;
    database.pragma_update(None, "query_only", true)?;
    Ok(database)
}

/// Sets a damaged database aside, and returns where it is kept. Those that were set aside before
/// are kept as well, until there are `most`; then the oldest goes.
pub fn set_aside(path: &Path, most: u32) -> io::Result<PathBuf> {
    let kept = |number: u32| match number {
        0 => with_suffix(path, ".damaged"),
        number => with_suffix(path, &format!(".damaged.{number}")),
    };
    // Without the file itself, it is what this function had begun when it was killed.
    if kept(0).exists() {
        for number in (1..most).rev() {
            remove(&kept(number))?;
            rename(&kept(number - 1), &kept(number))?;
        }
        remove(&kept(0))?;
    }
    rename(path, &kept(0))?;
    Ok(kept(0))
}

/// Removes what was set aside, to make room.
pub fn remove_set_aside(path: &Path, most: u32) -> io::Result<()> {
    remove(&with_suffix(path, ".damaged"))?;
    (1..most).try_for_each(|number| remove(&with_suffix(path, &format!(".damaged.{number}"))))
}

/// Removes a database with its companions, as far as they are there.
pub fn remove(path: &Path) -> io::Result<()> {
    for suffix in COMPANIONS.into_iter().chain([""]) {
        unless_absent(fs::remove_file(with_suffix(path, suffix)))?;
    }
    Ok(())
}

/// Renames a database with its companions, as far as they are there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for suffix in COMPANIONS.into_iter().chain([""]) {
        unless_absent(fs::rename(
            with_suffix(from, suffix),
            with_suffix(to, suffix),
        ))?;
    }
    Ok(())
}

fn unless_absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_damaged_files_are_kept_each_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        for round in 0..5 {
            for suffix in ["", "-wal"] {
                fs::write(with_suffix(&path, suffix), format!("{round}{suffix}")).unwrap();
            }
            let kept = set_aside(&path, 3).unwrap();
            assert_eq!(kept, folder.path().join("some.db.damaged"));
        }
        let mut found: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.file_name().unwrap().to_owned(),
                    fs::read(&path).unwrap(),
                )
            })
            .collect();
        found.sort();
        let file = |name: &str, text: &str| (name.into(), text.as_bytes().to_vec());
        assert_eq!(
            found,
            [
                file("some.db.damaged", "4"),
                file("some.db.damaged-wal", "4-wal"),
                file("some.db.damaged.1", "3"),
                file("some.db.damaged.1-wal", "3-wal"),
                file("some.db.damaged.2", "2"),
                file("some.db.damaged.2-wal", "2-wal")
            ]
        );
        remove_set_aside(&path, 3).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_kill_has_parted_comes_together_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        fs::write(&path, "file").unwrap();
        let kept = with_suffix(&path, ".damaged");
        // The log goes first, and then it was killed.
        fs::write(with_suffix(&kept, "-wal"), "log").unwrap();
        assert_eq!(set_aside(&path, 3).unwrap(), kept);
        assert_eq!(fs::read_to_string(&kept).unwrap(), "file");
        assert!(with_suffix(&kept, "-wal").exists() && !path.exists());
    }
}
