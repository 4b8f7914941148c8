//! What sessions cost that are held and do next to nothing, and how soon they are back.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::harness::wire::caller::{hit, now, report};
use crate::harness::wire::message::{ClientMessage, Heartbeat, ServerMessage};
use crate::support::figures::Figures;
use crate::support::fleet::Fleet;
use crate::support::sessions::Sessions;
use crate::support::usage::{cpu, memory};

/// How often a client shows that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Hits whose way to the alert is measured.
const TOUCHES: u32 = 200;

/// Holds so many sessions with a server, for so long.
pub fn measure(count: u32, span: Duration) {
    println!("\n{count} sessions that are held");
    let fleet = Fleet::start("");
    let empty = memory(&fleet.server, "VmRSS");
    let began = Instant::now();
    let mut sessions = Sessions::enter(&fleet, count);
    let took = began.elapsed();
    let each = f64::from(memory(&fleet.server, "VmRSS") - empty) / f64::from(count);
    println!("all are in after {took:.1?}; {each:.1} KiB resident each");
    let before = cpu(&fleet.server);
    let began = Instant::now();
    let beats = beat(&mut sessions, span);
    let used = cpu(&fleet.server).saturating_sub(before).as_secs_f64();
    let cores = used / began.elapsed().as_secs_f64();
    println!("{beats} heartbeats in {span:?}: {cores:.3} cores");
    let micros = Figures::new((0..TOUCHES).map(|number| touch(&mut sessions, &fleet, number)));
    println!(
        "from a report to the line about it, {TOUCHES} reports, in µs: median {:.0}, p99 {:.0}, \
         max {:.0}",
        micros.percentile(50),
        micros.percentile(99),
        micros.percentile(100)
    );
    drop(sessions);
    let fleet = fleet.restart();
    let began = Instant::now();
    let sessions = Sessions::enter(&fleet, count);
    println!(
        "killed and started again: all are back after {:.1?}",
        began.elapsed()
    );
    drop(sessions);
    fleet.stop();
}

/// Has each session show that it is alive, as often as clients do; returns how many times.
fn beat(sessions: &mut Sessions, span: Duration) -> u32 {
    let began = Instant::now();
    let mut beats = 0;
    let pace = HEARTBEAT / u32::try_from(sessions.iter_mut().count()).unwrap();
    loop {
        for session in sessions.iter_mut() {
            if began.elapsed() >= span {
                return beats;
            }
            let heartbeat = Heartbeat {
                clock: now(),
                ..Heartbeat::default()
            };
            session.line.send(&ClientMessage::Heartbeat(heartbeat));
            session.line.receive::<ServerMessage>();
            beats += 1;
            let due = pace * beats;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
    }
}

/// Microseconds from a report of three hits, of a source that was not seen before, to its alert.
fn touch(sessions: &mut Sessions, fleet: &Fleet, number: u32) -> f64 {
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 77, 0, 0)) + number).to_string();
    // A step that is a prime, so that sessions of all threads have their turn.
    let nth = number as usize * 7919 % sessions.iter_mut().count();
    let session = sessions.iter_mut().nth(nth).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let hits = [22, 80, 445].map(|port| hit(&source, port)).to_vec();
    let began = Instant::now();
    session
        .line
        .send(&ClientMessage::Report(report(session.next, hits)));
    let named = |line: &str| line.split_whitespace().any(|word| word == source);
    let (at, _) = fleet.server.out.wait_for(named);
    session.line.receive::<ServerMessage>();
    session.next += 3;
    at.duration_since(began).as_secs_f64() * 1e6
}
