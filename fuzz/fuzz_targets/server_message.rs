//! What a server says: what decodes encodes and decodes to the same, and a refusal can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::client_handshake::unexpected;
use vft::fuzzing::message::{ServerMessage, decode, encode};

fuzz_target!(|data: &[u8]| {
    let message: ServerMessage = match decode(data) {
        Ok(message) => message,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let bytes = encode(&message).unwrap();
    assert!(bytes.len() <= data.len());
    assert_eq!(decode(&bytes).as_ref(), Ok(&message));
    let error = unexpected(message, "something else");
    assert!(!error.to_string().chars().any(char::is_control));
    error.retry_after();
});
