//! From root to a user without privileges.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, OFlags, Uid, fchown};
use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use crate::config::user::User;
use crate::regular_file;

/// Where local users are listed.
const PASSWD: &str = "/etc/passwd";

/// Far more than a list of local users has, in bytes.
const MAX_PASSWD: u64 = 1 << 20;

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Which capability outlives the change of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// `CAP_NET_BIND_SERVICE`, because ports below 1024 may have to be opened later.
    BindService,
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "without privileges",
            Self::BindService => "with CAP_NET_BIND_SERVICE alone",
        })
    }
}

/// Whether this process is root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Why somebody cannot be a user to become.
#[derive(Debug)]
pub enum UserError {
    /// The list of users cannot be read.
    Unreadable(io::Error),
    /// There is no such user.
    Unknown(User),
    /// It is root itself.
    Root,
    /// Only root can become somebody else.
    NotRoot(Account),
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "`user`: cannot read {PASSWD}: {error}"),
            Self::Unknown(user) => write!(f, "`user`: there is no user `{user}` in {PASSWD}"),
            Self::Root => f.write_str("`user`: root is who it should not stay"),
            Self::NotRoot(user) => write!(f, "`user`: only root can become `{user}`"),
        }
    }
}

impl std::error::Error for UserError {}

impl UserError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "name the user by number",
            Self::Unknown(_) => {
                "make one with `useradd --system --no-create-home vft`, or give a number"
            }
            Self::Root => "name a user without privileges, or leave it out",
            Self::NotRoot(_) => "start vft as root, or leave it out",
        }
    }
}

impl Account {
    /// The account of this user, who is not root.
    pub fn find(user: &User) -> Result<Self, UserError> {
        let account = match regular_file::read(Path::new(PASSWD), MAX_PASSWD) {
            Ok(passwd) => Self::in_passwd(user, &passwd),
            // A number needs no list, which a container may not have.
            Err(_) if user.uid().is_some() => None,
            Err(error) => return Err(UserError::Unreadable(error)),
        };
        let account = account
            .or_else(|| user.uid().map(|id| Self::new(user.to_string(), id, id)))
            .ok_or_else(|| UserError::Unknown(user.clone()))?;
        if account.uid.is_root() {
            return Err(UserError::Root);
        }
        Ok(account)
    }

    /// Whether there is somebody to become: not for a process that is the user's already.
    pub fn is_another(&self) -> Result<bool, UserError> {
        if self.uid == geteuid() {
            Ok(false)
        } else if is_root() {
            Ok(true)
        } else {
            Err(UserError::NotRoot(self.clone()))
        }
    }

    fn new(name: String, uid: u32, gid: u32) -> Self {
        let (uid, gid) = (Uid::from_raw_unchecked(uid), Gid::from_raw_unchecked(gid));
        Self { name, uid, gid }
    }

    /// The account in a list with lines `name:password:uid:gid:…`.
    fn in_passwd(user: &User, passwd: &str) -> Option<Self> {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            let gid: u32 = fields.next()?.parse().ok()?;
            let meant = name == user.as_str() || user.uid() == Some(uid);
            meant.then(|| Self::new(name.to_owned(), uid, gid))
        })
    }

    /// Lets the user have a folder, what lies directly in it, and the folders made for it.
    ///
    /// What is a link, has a second name or belongs to somebody else stays as it is: whoever owns
    /// the folder must not get by it what is not theirs.
    pub fn own(&self, folder: &Path, made: &[PathBuf]) -> io::Result<()> {
        for path in made.iter().map(PathBuf::as_path).chain([folder]) {
            self.take(&open(path)?)?;
        }
        for entry in fs::read_dir(folder)? {
            match open(&entry?.path()) {
                Ok(file) if is_plain(&file)? => self.take(&file)?,
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn take(&self, file: &File) -> io::Result<()> {
        if file.metadata()?.uid() == Uid::ROOT.as_raw() {
            fchown(file, Some(self.uid), Some(self.gid))?;
        }
        Ok(())
    }

    /// Makes this thread, and those it will start, the user's.
    pub fn assume(&self, keep: Keep) -> io::Result<()> {
        set_keep_capabilities(keep == Keep::BindService)?;
        set_thread_groups(&[self.gid])?;
        set_thread_res_gid(self.gid, self.gid, self.gid)?;
        set_thread_res_uid(self.uid, self.uid, self.uid)?;
        let kept = match keep {
            Keep::Nothing => CapabilitySet::empty(),
            Keep::BindService => CapabilitySet::NET_BIND_SERVICE,
        };
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets)?;
        Ok(set_keep_capabilities(false)?)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Opens a file without following a link, and without waiting for whoever is at its other end.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}

/// Whether it is a file that has one name only.
fn is_plain(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "root:x:0:0:root:/root:/bin/bash\n\
                        broken\n\
                        vft:x:998:996::/nonexistent:/usr/sbin/nologin\n";

    fn found(user: &str) -> Option<Account> {
        Account::in_passwd(&user.parse().unwrap(), LIST)
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let vft = Account::new("vft".to_owned(), 998, 996);
        assert_eq!(found("vft"), Some(vft.clone()));
        assert_eq!(found("998"), Some(vft));
        assert_eq!(found("broken"), None);
        assert_eq!(found("x"), None);
        assert_eq!(found("996"), None);
    }

    #[test]
    fn nobody_becomes_root_or_somebody_who_is_not_there() {
        for root in ["root", "0"] {
            let error = Account::find(&root.parse().unwrap()).unwrap_err();
            assert!(matches!(error, UserError::Root), "{error}");
        }
        let error = Account::find(&"no-such-user".parse().unwrap()).unwrap_err();
        assert!(matches!(error, UserError::Unknown(_)), "{error}");
    }
}
