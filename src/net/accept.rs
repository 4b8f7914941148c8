//! What to do when `accept` fails.
//!
//! Ports that are made to be abused see every error there is; none of them may end a listener.

use std::io;
use std::time::Duration;

/// What an `accept` error calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The peer went away; the next call may succeed.
    GoOn,
    /// The process or the system is short of something. Wait before the next call, and tell the
    /// operator.
    Wait(Duration),
}

const SHORTAGE_WAIT: Duration = Duration::from_millis(50);
const UNKNOWN_WAIT: Duration = Duration::from_secs(1);

// Linux numbers; elsewhere such errors are waited out like any other.
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOBUFS: i32 = 105;

/// Sorts an `accept` error by what it calls for.
pub fn remedy(error: &io::Error) -> Remedy {
    match error.kind() {
        io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::Interrupted
        | io::ErrorKind::TimedOut
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => return Remedy::GoOn,
        _ => {}
    }
    match error.raw_os_error() {
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS) => Remedy::Wait(SHORTAGE_WAIT),
        _ => Remedy::Wait(UNKNOWN_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aborted_connection_costs_nothing() {
        let aborted = io::Error::from_raw_os_error(103);
        assert_eq!(remedy(&aborted), Remedy::GoOn);
    }

    #[test]
    fn a_shortage_of_descriptors_is_waited_out() {
        let shortage = io::Error::from_raw_os_error(EMFILE);
        assert_eq!(remedy(&shortage), Remedy::Wait(SHORTAGE_WAIT));
    }
}
