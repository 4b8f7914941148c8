//! What a full disk still takes: a page beside the spool that is written in place.
//!
//! A full disk takes nothing new, but what is on it can be overwritten. So while the database
//! cannot be written, what must outlive the process is noted here: which numbers are used, which
//! are not needed any more, and counters. Once the database can be written it is carried over.
//!
//! `spool.notes` in the state folder has 4,096 bytes. Numbers are little-endian.
//!
//! ```text
//! crc        u32   CRC-32 of all that follows; if it does not fit, nothing is noted
//! last       u64   the last number that was used, 0 if none is noted
//! forgotten  u64   the number up to which nothing is needed any more, 0 if none is noted
//! counters         until a length of 0: the length of a name (u8), the name, its value (i64)
//! ```
//!
//! A file system that copies on write (btrfs, ZFS) may have no room even for that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The size of the file, in bytes: a block of most file systems.
const SIZE: usize = 4096;

/// What is noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The last number that was used.
    pub last: u64,
    /// The number up to which nothing is needed any more.
    pub forgotten: u64,
    /// Counters that the database does not have yet. There is room for those of 80 servers.
    pub counters: BTreeMap<String, i64>,
}

/// Notes with the file that they are in.
#[derive(Debug)]
pub struct NotesFile {
    path: PathBuf,
    file: Arc<File>,
    notes: Notes,
}

impl NotesFile {
    /// Opens or makes the file at `path`. That all of it is written makes sure that it has its
    /// place on the disk.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let mut page = [0; SIZE];
        let notes = match file.read_exact_at(&mut page, 0) {
            Ok(()) => Notes::decode(&page).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Notes::default(),
            Err(error) => return Err(error),
        };
        let notes = Self {
            path: path.to_owned(),
            file: Arc::new(file),
            notes,
        };
        notes.write()?;
        Ok(notes)
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is noted.
    pub const fn get(&self) -> &Notes {
        &self.notes
    }

    /// Changes what is noted. It holds for this process even if the file does not take it.
    pub fn change(&mut self, change: impl FnOnce(&mut Notes)) -> io::Result<()> {
        let before = self.notes.clone();
        change(&mut self.notes);
        if before == self.notes {
            return Ok(());
        }
        self.write()
    }

    /// The file, to bring it to the disk itself.
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    fn write(&self) -> io::Result<()> {
        let page = self.notes.encode();
        if Notes::decode(&page).as_ref() != Some(&self.notes) {
            return Err(io::Error::other("more than a page takes"));
        }
        self.file.write_all_at(&page, 0)
    }
}

impl Notes {
    /// Whether nothing is noted.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    fn encode(&self) -> Vec<u8> {
        let mut noted = Vec::with_capacity(SIZE);
        noted.extend(self.last.to_le_bytes());
        noted.extend(self.forgotten.to_le_bytes());
        for (name, value) in &self.counters {
            let Ok(length) = u8::try_from(name.len()) else {
                continue;
            };
            // The checksum, the entry, and the zero behind the last one.
            if 4 + noted.len() + 1 + name.len() + 8 + 1 > SIZE {
                break;
            }
            noted.push(length);
            noted.extend(name.as_bytes());
            noted.extend(value.to_le_bytes());
        }
        noted.resize(SIZE - 4, 0);
        let crc = crc32fast::hash(&noted);
        [&crc.to_le_bytes()[..], &noted].concat()
    }

    fn decode(page: &[u8]) -> Option<Self> {
        let (crc, noted) = page.split_first_chunk()?;
        if u32::from_le_bytes(*crc) != crc32fast::hash(noted) {
            return None;
        }
        let (last, rest) = noted.split_first_chunk()?;
        let (forgotten, mut rest) = rest.split_first_chunk()?;
        let mut counters = BTreeMap::new();
        while let Some((length @ 1.., behind)) = rest.split_first() {
            let (name, behind) = behind.split_at_checked((*length).into())?;
            let (value, behind) = behind.split_first_chunk()?;
            counters.insert(
                String::from_utf8(name.to_vec()).ok()?,
                i64::from_le_bytes(*value),
            );
            rest = behind;
        }
        Some(Self {
            last: u64::from_le_bytes(*last),
            forgotten: u64::from_le_bytes(*forgotten),
            counters,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noted(servers: usize) -> Notes {
        Notes {
            last: u64::MAX,
            forgotten: 7,
            counters: (0..servers)
                .map(|server| (format!("shift {server:032x}"), -5))
                .collect(),
        }
    }

    #[test]
    fn what_is_noted_outlives_the_process_and_takes_no_more_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.notes");
        let mut file = NotesFile::open(&path).unwrap();
        assert!(file.get().is_blank());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
        file.change(|notes| *notes = noted(3)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
        drop(file);
        assert_eq!(*NotesFile::open(&path).unwrap().get(), noted(3));
    }

    #[test]
    fn a_damaged_page_notes_nothing() {
        let mut page = noted(3).encode();
        page[100] ^= 1;
        assert_eq!(Notes::decode(&page), None);
        assert_eq!(Notes::decode(&[0; SIZE]), None);
    }

    #[test]
    fn more_servers_than_fit_are_an_error_and_change_nothing_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool.notes");
        let mut file = NotesFile::open(&path).unwrap();
        file.change(|notes| *notes = noted(80)).unwrap();
        assert!(file.change(|notes| *notes = noted(200)).is_err());
        assert_eq!(*NotesFile::open(&path).unwrap().get(), noted(80));
    }

    proptest! {
        #[test]
        fn any_page_with_a_fitting_checksum_is_survived(mut page in prop::collection::vec(any::<u8>(), SIZE)) {
            let crc = crc32fast::hash(&page[4..]);
            page[..4].copy_from_slice(&crc.to_le_bytes());
            if let Some(notes) = Notes::decode(&page) {
                prop_assert_eq!(Notes::decode(&notes.encode()).unwrap().last, notes.last);
            }
        }
    }
}
