//! What a process may still open, as rules that Landlock enforces.
//!
//! Landlock is a part of Linux by which a process gives up rights without having any to begin
//! with (landlock(7)). What a kernel can confine follows from the version of its interface: files
//! from 1 on, TCP ports from 4 on (Linux 6.7), signals and abstract sockets from 6 on. What is
//! open already is not affected.

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

/// The interface these rules are written for.
const WRITTEN_FOR: ABI = ABI::V6;

/// What SQLite draws its random numbers from, and the C library the number of processors.
const ALWAYS_READ: [&str; 2] = ["/dev/urandom", "/sys/devices/system/cpu/online"];

/// What the process may open from now on. Everything that is not named is refused; nothing can be
/// executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Folders in which files can be made, written and removed.
    pub write: Vec<PathBuf>,
    /// Files and folders that can be read, with all that lies in them. Those that are not there
    /// are left out.
    pub read: Vec<PathBuf>,
    /// Folders from which empty folders can be removed.
    pub clear: Vec<PathBuf>,
    /// TCP ports that can be listened on.
    pub bind: Vec<u16>,
    /// TCP ports, of whatever host, that can be connected to.
    pub connect: Vec<u16>,
}

/// What the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InForce {
    /// Nothing: this kernel has no Landlock, or it is turned off.
    Nothing,
    /// The rules about files; the kernel knows none about TCP ports.
    Files,
    /// The rules about files and about TCP ports.
    FilesAndPorts,
}

impl Rules {
    /// Holds this thread, and those it will start, to the rules, as far as the kernel can.
    pub fn enforce(&self) -> Result<InForce, RulesetError> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(WRITTEN_FOR))?
            .handle_access(AccessNet::from_all(WRITTEN_FOR))?
            .scope(Scope::from_all(WRITTEN_FOR))?
            .create()?;
        let ruleset = self.add_files(ruleset)?;
        let status = self.add_ports(ruleset)?.restrict_self()?;
        Ok(InForce::of(&status))
    }

    fn add_files(&self, mut ruleset: RulesetCreated) -> Result<RulesetCreated, RulesetError> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let write = make_bitflags!(
            AccessFs::{WriteFile | Truncate | MakeReg | RemoveFile | Refer}
        );
        let clear = BitFlags::from(AccessFs::RemoveDir);
        for (paths, access) in [
            (&self.write, read | write | clear),
            (&self.read, read),
            (&self.clear, clear),
        ] {
            for path in paths {
                ruleset = add(ruleset, path, access)?;
            }
        }
        for path in ALWAYS_READ {
            ruleset = add(ruleset, Path::new(path), read)?;
        }
        Ok(ruleset)
    }

    fn add_ports(&self, mut ruleset: RulesetCreated) -> Result<RulesetCreated, RulesetError> {
        for (ports, access) in [
            (&self.bind, AccessNet::BindTcp),
            (&self.connect, AccessNet::ConnectTcp),
        ] {
            for &port in ports {
                ruleset = ruleset.add_rule(NetPort::new(port, access))?;
            }
        }
        Ok(ruleset)
    }
}

/// Allows that access to a path and what lies beneath, if it is there.
fn add(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else {
        return Ok(ruleset);
    };
    // A file takes none of the rights that only make sense for a folder.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(WRITTEN_FOR)
    };
    ruleset.add_rule(PathBeneath::new(opened, access))
}

impl InForce {
    const fn of(status: &RestrictionStatus) -> Self {
        match status.landlock {
            LandlockStatus::Available {
                effective_abi: ABI::Unsupported,
                ..
            }
            | LandlockStatus::NotEnabled
            | LandlockStatus::NotImplemented => Self::Nothing,
            LandlockStatus::Available {
                effective_abi: ABI::V1 | ABI::V2 | ABI::V3,
                ..
            } => Self::Files,
            LandlockStatus::Available { .. } => Self::FilesAndPorts,
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => {
                "this kernel has no Landlock: neither files nor TCP ports are confined"
            }
            Self::Files => "Landlock confines files; this kernel cannot confine TCP ports",
            Self::FilesAndPorts => "Landlock confines files and TCP ports",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{self, ErrorKind};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::process::Command;
    use std::thread::Builder;
    use std::time::Duration;

    /// What `attempt` comes to on a thread that is held to `rules`; `None` if the kernel does not
    /// enforce `needed`.
    fn confined<T: Send + 'static>(
        rules: Rules,
        needed: InForce,
        attempt: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let thread = Builder::new().spawn(move || {
            let in_force = rules.enforce().unwrap();
            if in_force != needed && in_force != InForce::FilesAndPorts {
                eprintln!("SKIPPED: {in_force}");
                return None;
            }
            Some(attempt())
        });
        thread.unwrap().join().unwrap()
    }

    fn refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    }

    #[test]
    fn files_are_made_only_where_the_rules_say_and_read_only_there() {
        let [own, readable, foreign] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for folder in [&own, &readable, &foreign] {
            fs::write(folder.path().join("there"), "some").unwrap();
        }
        let rules = Rules {
            write: vec![own.path().to_owned()],
            read: vec![readable.path().to_owned()],
            ..Rules::default()
        };
        let paths = [&own, &readable, &foreign].map(|folder| folder.path().to_owned());
        confined(rules, InForce::Files, move || {
            let [own, readable, foreign] = paths;
            fs::write(own.join("new"), "some").unwrap();
            fs::rename(own.join("new"), own.join("newer")).unwrap();
            fs::remove_file(own.join("newer")).unwrap();
            assert!(File::open(readable.join("there")).is_ok());
            assert!(refused(fs::write(readable.join("new"), "some")));
            assert!(refused(fs::remove_file(readable.join("there"))));
            assert!(refused(File::open(foreign.join("there"))));
            assert!(refused(fs::read_dir(&foreign)));
            assert!(refused(fs::write(foreign.join("new"), "some")));
        });
    }

    #[test]
    fn nothing_is_executed() {
        confined(Rules::default(), InForce::Files, || {
            assert!(refused(Command::new("/bin/true").status()));
        });
    }

    #[test]
    fn ports_are_bound_and_reached_only_where_the_rules_say() {
        let [held, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [held, other] = [&held, &other].map(|it| it.local_addr().unwrap());
        // Free a moment ago, and asked for by nobody else.
        let free = TcpListener::bind("127.77.0.1:0").unwrap().local_addr();
        let free = free.unwrap().port();
        let rules = Rules {
            bind: vec![free],
            connect: vec![held.port()],
            ..Rules::default()
        };
        let second = Duration::from_secs(1);
        confined(rules, InForce::FilesAndPorts, move || {
            assert!(!refused(TcpListener::bind((
                Ipv4Addr::new(127, 77, 0, 1),
                free
            ))));
            assert!(refused(TcpListener::bind("127.77.0.1:0")));
            assert!(!refused(TcpStream::connect_timeout(&held, second)));
            assert!(refused(TcpStream::connect_timeout(&other, second)));
        });
    }
}
