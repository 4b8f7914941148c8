//! What a process asks of the kernel for its own protection, whoever runs it.

use std::io;

use rustix::fs::Mode;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask,
};
use rustix::thread::set_no_new_privs;

/// Files are made for their owner alone; nothing that is executed gains a privilege; no other
/// process of the same user can read this one's memory, and no core dump holds it.
///
/// To be called again after a change of the user, by which the kernel forgets part of it.
pub fn harden() -> io::Result<()> {
    umask(Mode::RWXG | Mode::RWXO);
    set_no_new_privs(true)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, nothing)?)
}
