//! Sessions from the server's side, from the first byte to the last, two at a time beside each other.
//! Whatever clients say and however they leave: everybody is answered or cut off; nobody gets in who
//! has not proven everything; what is acknowledged has come, what is called durable is on the disk,
//! neither falls; and every hit counts once.
//!
//! A session holds its socket, which others end it by, so it gets one: an end of a socket pair, on a
//! thread of its own. The target is at the other end, with the clients' keys, and knows what must
//! come of each message.

#![no_main]

#[path = "server_session/input.rs"]
mod input;
#[path = "server_session/outcome.rs"]
mod outcome;
#[path = "server_session/world.rs"]
mod world;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::correlate::Correlator;
use vft::fuzzing::correlate::clients::Client;
use vft::fuzzing::intake::Intake;
use vft::fuzzing::metrics::ServerMetrics;
use vft::fuzzing::process::Stop;
use vft::fuzzing::server::ServerSettings;
use vft::fuzzing::server_handshake::Gate;
use vft::fuzzing::server_session::Context;
use vft::fuzzing::server_session::admission::{Admission, Pace};
use vft::fuzzing::server_session::allowance::{Allowances, Rate};
use vft::fuzzing::server_session::delays::Delays;
use vft::fuzzing::server_session::lines::Lines;
use vft::fuzzing::server_session::seating::SeatLimits;
use vft::fuzzing::server_session::seats::Seats;
use vft::fuzzing::store::queue::Writer;
use vft::fuzzing::value::Size;

use crate::input::{Guard, Input, MAX_STEPS, Place, Room, SECRET, SERVER, Step, id, now};
use crate::outcome::Disk;
use crate::world::{Line, World};

fuzz_target!(|input: Input<'_>| {
    let settings = settings();
    let writer = Writer::default();
    let (disk, reading) = (Disk::default(), writer.reading());
    let context = context(&input, &settings, &writer);
    let mut expected = std::thread::scope(|scope| {
        let written = scope.spawn(|| disk.run(&reading, input.failures % 4));
        let mut world = World::new(&context, &disk, &input);
        let mut lines = [None, None];
        for step in input.steps.iter().take(MAX_STEPS) {
            if matches!(step, Step::Stop) {
                world.stop(&mut lines);
                break;
            }
            world.step(scope, &mut lines, step);
        }
        lines.into_iter().flatten().for_each(Line::leave);
        context.intake.tick(now());
        context.intake.flush(now());
        writer.end();
        written.join().unwrap();
        world.expected
    });
    assert_eq!(
        context.seats.count(),
        0,
        "a session has left its seat taken"
    );
    expected.compare(&disk.0.into_inner().unwrap().changes, &context.metrics);
});

fn settings() -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.memory = Size::mib(0);
    settings.limits.incidents = 8;
    settings.limits.clients = 4;
    settings
}

fn context(input: &Input<'_>, settings: &ServerSettings, writer: &Writer) -> Context {
    let metrics = Arc::new(ServerMetrics::default());
    let mut correlator = Correlator::new(settings);
    let progress = u64::from(input.known);
    let known = Client {
        progress,
        ..Client::new("web-1", now())
    };
    correlator.remember(id(Place::Here), &known);
    let durable = [(id(Place::Here), progress)];
    let intake = Intake::new(
        correlator,
        durable,
        0,
        Vec::new(),
        writer.clone(),
        Arc::clone(&metrics),
    );
    let secret = (input.guard == Guard::Secret).then(|| SECRET.clone());
    // Nobody is slowed down, or it would take as long.
    let rate = Rate {
        sustained: u32::MAX,
        burst: u32::MAX,
    };
    let total = match input.room {
        Room::ForOne => 1,
        Room::ForTwo => 2,
    };
    let seats = SeatLimits {
        total,
        per_address: total,
    };
    let pace = Pace {
        per_minute: 1e9,
        burst: 1e9,
    };
    Context {
        tls: None,
        gate: Gate::new(SERVER, secret),
        delays: Delays::default(),
        allowances: Allowances::new(rate),
        admission: Admission::new(None, pace),
        seats: Seats::new(seats),
        intake: Arc::new(intake),
        limits: settings.limits,
        metrics,
        seldom: Lines::default(),
        stop: Stop::new(),
    }
}
