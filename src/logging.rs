//! The log on standard error.
//!
//! Levels: error, somebody must act; warn, somebody should look; info, what an operator wants to
//! know of a normal day; debug, what strangers can cause; trace, unused. `RUST_LOG` overrides
//! what the command line asks for.

use std::io::Write as _;

use env_logger::{Builder, Env, Target};
use log::{LevelFilter, Record};
use serde_json::json;

use crate::clock;
use crate::config::server::Format;
use crate::event::Timestamp;

/// Begins to log, from `level` up.
pub fn start(level: LevelFilter, format: Format) {
    let mut builder = Builder::from_env(Env::default().default_filter_or(level.as_str()));
    builder.target(Target::Stderr);
    match format {
        Format::Text => builder.format(|out, record| {
            let style = out.default_level_style(record.level());
            let (time, level) = (Timestamp::from(clock::wall()), record.level());
            writeln!(out, "{time} {style}{level:<5}{style:#} {}", record.args())
        }),
        Format::Json => builder.format(|out, record| writeln!(out, "{}", object(record))),
    };
    // A second start, as in tests, changes nothing.
    drop(builder.try_init());
}

fn object(record: &Record<'_>) -> serde_json::Value {
    json!({
        "time": Timestamp::from(clock::wall()).to_string(),
        "level": record.level().as_str().to_lowercase(),
        "thread": std::thread::current().name().unwrap_or_default(),
        "message": record.args().to_string(),
    })
}
