//! Settings files: a message that points at the place, or settings that survive being written.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vft::fuzzing::ConfigError;
use vft::fuzzing::client::ClientSettings;
use vft::fuzzing::correlate::Correlator;
use vft::fuzzing::file::parse;
use vft::fuzzing::server::{ServerSettings, Tls};

fuzz_target!(|text: &str| {
    if let Some(settings) = settings::<ServerSettings>(text) {
        said(settings.check());
        said(settings.tls(Tls::Demanded).map(drop));
        Correlator::new(&settings);
    }
    if let Some(settings) = settings::<ClientSettings>(text) {
        said(settings.check());
    }
});

fn settings<S: Serialize + DeserializeOwned>(text: &str) -> Option<S> {
    let path = Path::new("x.toml");
    match parse::<S>(text, path) {
        Ok(settings) => {
            let written = toml::to_string(&settings).unwrap();
            let read: S = parse(&written, path).unwrap();
            assert_eq!(toml::to_string(&read).unwrap(), written);
            Some(settings)
        }
        Err(error) => {
            assert!(error.to_string().starts_with("x.toml:"), "{error}");
            None
        }
    }
}

fn said(result: Result<(), ConfigError>) {
    if let Err(error) = result {
        assert!(!error.to_string().is_empty());
    }
}
