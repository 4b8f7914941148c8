//! What the client tells the server about its host.

use std::fs;

use crate::sanitize;
use crate::wire::message::MAX_NAME;

/// The host's own name.
pub fn name() -> String {
    sanitize::line(&gethostname::gethostname().to_string_lossy(), MAX_NAME)
}

/// Differs after each boot of the host; zeros where the system does not tell.
pub fn boot_id() -> [u8; 16] {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut id = [0; 16];
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .filter_map(|d| u8::try_from(d).ok())
        .collect();
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |value, digit| value << 4 | digit);
    }
    id
}
