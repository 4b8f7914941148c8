//! The state folder: made private, held by one process, written so that a crash leaves either the
//! old file or the new one.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, OFlags, access, flock};

use crate::regular_file;

/// A folder that this process holds.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    made: Vec<PathBuf>,
    exposure: Exposure,
    _lock: File,
}

/// Whether others could get into a folder that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// They could not.
    None,
    /// They could, its mode being this. They cannot any more.
    Ended(u32),
    /// They can, its mode being this, which could not be changed.
    Lasts(u32),
}

/// Why a state folder is of no use.
#[derive(Debug)]
pub enum StateError {
    /// It cannot be made, opened or written to.
    Unusable(PathBuf, io::Error),
    /// Another process holds it.
    Held(PathBuf),
    /// A file in it is not what it should be.
    Damaged(PathBuf),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(path, error) => {
                write!(f, "cannot use {} for state: {error}", path.display())
            }
            Self::Held(path) => {
                write!(
                    f,
                    "another vft process is using the state folder {}",
                    path.display()
                )
            }
            Self::Damaged(path) => write!(f, "{} is damaged", path.display()),
        }
    }
}

impl std::error::Error for StateError {}

impl StateError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unusable(..) => "name a folder this user can write to with --state-dir",
            Self::Held(_) => "stop the other process, or give this one its own --state-dir",
            Self::Damaged(_) => "restore the file, or delete it to get a new one",
        }
    }
}

impl StateFolder {
    /// Makes the folder if there is none, readable by this user only, and takes hold of it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |error| StateError::Unusable(path.to_owned(), error);
        let made = missing(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(unusable)?;
        // Said now, because a database would only say later that it cannot be opened.
        access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| unusable(error.into()))?;
        let exposure = close(path).map_err(unusable)?;
        close_files(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Held(path.to_owned())),
            Err(error) => return Err(unusable(error.into())),
        }
        Ok(Self {
            path: path.to_owned(),
            made,
            exposure,
            _lock: lock,
        })
    }

    /// Whether others could get into it.
    pub const fn exposure(&self) -> Exposure {
        self.exposure
    }

    /// The folders that were made for it, itself among them.
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Whether it can be used by the user that this process has become since.
    pub fn is_usable(&self) -> io::Result<()> {
        Ok(access(&self.path, Access::WRITE_OK | Access::EXEC_OK)?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `N` bytes kept in the file `name` as hexadecimal digits; made by `fresh` the first time.
    pub fn keep<const N: usize>(
        &self,
        name: &str,
        fresh: impl FnOnce() -> [u8; N],
    ) -> Result<[u8; N], StateError> {
        let path = self.path.join(name);
        let unusable = |error| StateError::Unusable(path.clone(), error);
        let Some(bytes) = kept(&self.path, name)? else {
            let bytes = fresh();
            self.write(name, &to_hex(&bytes)).map_err(unusable)?;
            return Ok(bytes);
        };
        let mode = fs::metadata(&path).map_err(unusable)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(unusable)?;
        }
        Ok(bytes)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let unfinished = self.path.join(format!("{name}.new"));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path.join(name))?;
        File::open(&self.path)?.sync_all()
    }
}

/// What is kept in the file `name` of a folder that another process may hold; none if there is no
/// such file.
pub fn kept<const N: usize>(folder: &Path, name: &str) -> Result<Option<[u8; N]>, StateError> {
    let path = folder.join(name);
    let file = match regular_file::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StateError::Unusable(path, error)),
    };
    let mut text = String::new();
    let longest = u64::try_from(N).unwrap_or(u64::MAX).saturating_mul(2) + 2;
    file.take(longest)
        .read_to_string(&mut text)
        .map_err(|_| StateError::Damaged(path.clone()))?;
    let bytes = from_hex(text.trim_end());
    bytes.map(Some).ok_or(StateError::Damaged(path))
}

/// The folders on the way to `path`, itself included, that are not there.
fn missing(path: &Path) -> Vec<PathBuf> {
    path.ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .map(Path::to_owned)
        .collect()
}

/// Makes the files in a folder their owner's alone: databases have had the process's umask once,
/// and a copy keeps what it finds. What belongs to somebody else stays as it is.
fn close_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        // Not through a link, and without waiting at a pipe.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(entry?.path());
        let Ok(file) = opened else { continue };
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            drop(file.set_permissions(Permissions::from_mode(0o600)));
        }
    }
    Ok(())
}

/// Makes a folder its owner's alone.
fn close(path: &Path) -> io::Result<Exposure> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let closed = fs::set_permissions(path, Permissions::from_mode(0o700));
        return Ok(closed.map_or(Exposure::Lasts(mode), |()| Exposure::Ended(mode)));
    }
    Ok(Exposure::None)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut digits = text.chars().map(|digit| digit.to_digit(16));
    for byte in &mut bytes {
        let value = digits.next()?? * 16 + digits.next()??;
        *byte = u8::try_from(value).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_and_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let folder = StateFolder::open(&path).unwrap();
        assert_eq!(folder.keep("id", || [7; 4]).unwrap(), [7; 4]);
        assert_eq!(folder.keep("id", || [8; 4]).unwrap(), [7; 4]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("id")), 0o600);
    }

    #[test]
    fn a_folder_that_was_open_to_others_is_closed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a");
        drop(StateFolder::open(&path).unwrap());
        for mode in [0o755, 0o770, 0o701] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let folder = StateFolder::open(&path).unwrap();
            assert_eq!(folder.exposure(), Exposure::Ended(mode));
            drop(folder);
            let folder = StateFolder::open(&path).unwrap();
            assert_eq!(folder.exposure(), Exposure::None);
        }
    }

    #[test]
    fn files_that_were_open_to_others_are_closed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a");
        drop(StateFolder::open(&path).unwrap());
        let foreign = parent.path().join("foreign");
        fs::write(&foreign, "").unwrap();
        std::os::unix::fs::symlink(&foreign, path.join("link")).unwrap();
        for name in ["store.db", "store.db-wal"] {
            fs::write(path.join(name), "").unwrap();
        }
        let all = ["a/store.db", "a/store.db-wal", "foreign"].map(|name| parent.path().join(name));
        for file in &all {
            fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
        }
        drop(StateFolder::open(&path).unwrap());
        let modes = all.map(|file| fs::metadata(file).unwrap().permissions().mode() & 0o777);
        assert_eq!(modes, [0o600, 0o600, 0o644]);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(parent.path()).unwrap();
        for damage in ["", "0707", "070707070707", "zz070707"] {
            fs::write(parent.path().join("id"), damage).unwrap();
            assert!(matches!(
                folder.keep("id", || [7; 4]),
                Err(StateError::Damaged(_))
            ));
        }
    }

    #[test]
    fn one_folder_serves_one_process() {
        let parent = tempfile::tempdir().unwrap();
        let held = StateFolder::open(parent.path()).unwrap();
        assert!(matches!(
            StateFolder::open(parent.path()),
            Err(StateError::Held(_))
        ));
        drop(held);
        assert!(StateFolder::open(parent.path()).is_ok());
    }
}
