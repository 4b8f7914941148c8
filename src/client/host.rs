//! What the host is called.

use crate::sanitize;
use crate::wire::message::MAX_NAME;

/// The host's own name.
pub fn name() -> String {
    sanitize::line(&gethostname::gethostname().to_string_lossy(), MAX_NAME)
}
