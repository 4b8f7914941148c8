//! Single values: a message, or a value that survives being written.

#![no_main]

use std::fmt::Debug;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::ports::{MAX_PORTS, PortList};
use vft::fuzzing::secret::Secret;
use vft::fuzzing::server::{Format, Network, Until};
use vft::fuzzing::value::{Bind, Endpoint, Span};

fuzz_target!(|text: &str| {
    if let Some(list) = value::<PortList>(text) {
        assert!((1..=MAX_PORTS).contains(&list.len()));
        assert!(!list.contains(0));
    }
    if let Some(endpoint) = value::<Endpoint>(text) {
        assert!(endpoint.port > 0 && !endpoint.host.is_empty());
    }
    value::<Span>(text);
    value::<Bind>(text);
    value::<Network>(text);
    if let Ok(until) = Until::try_from(text.to_owned()) {
        assert_eq!(Until::try_from(String::from(until)), Ok(until));
    }
    if let Ok(secret) = text.parse::<Secret>() {
        assert_eq!(secret.bytes(), text.as_bytes());
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }
    drop(text.parse::<Format>());
});

fn value<V>(text: &str) -> Option<V>
where
    V: FromStr<Err = String> + Into<String> + PartialEq + Debug + Clone,
{
    match text.parse::<V>() {
        Ok(value) => {
            let written: String = value.clone().into();
            assert_eq!(written.parse().as_ref(), Ok(&value), "{written}");
            Some(value)
        }
        Err(error) => {
            assert!(!error.is_empty());
            None
        }
    }
}
