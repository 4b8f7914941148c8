//! A fleet's worth of sessions with a server, each with an identity of its own, that report as
//! fast as the server acknowledges.
//!
//! A thread has many sessions: it sends a report on each of them, and then another as soon as one
//! is answered, in turn. What hits cost to encode is not measured, so they are encoded once.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::scope;
use std::time::{Duration, Instant};

use crate::harness::peer::connect;
use crate::harness::wire::caller::{Caller, hit, now};
use crate::harness::wire::codec::{encode, varint};
use crate::harness::wire::line::{Line, framed, trust};
use crate::harness::wire::message::{ClientMessage, Hit, Report};
use crate::support::fleet::Fleet;

/// Sources that hits come from: few enough that the server has room for an incident of each, many
/// enough that they are not all in the fastest cache.
const SOURCES: u32 = 2048;

/// Trap ports that they touch.
const PORTS: [u16; 5] = [22, 80, 445, 3389, 8080];

/// Different sets of hits that reports are made of.
const SETS: u32 = 16;

/// Threads that have sessions.
const THREADS: u32 = 8;

/// Sessions, by the threads that have them.
pub struct Sessions(Vec<Vec<Session>>);

/// A session with a server.
pub struct Session {
    /// Its connection.
    pub line: Line,
    /// The number of its next hit.
    pub next: u64,
    /// Reports so far.
    sent: usize,
}

/// Hits, encoded but for what differs from report to report.
pub struct Hits {
    /// How many there are in a report.
    pub count: u32,
    sets: Vec<Vec<u8>>,
}

/// What was taken in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Hits that were acknowledged as durable.
    pub hits: u64,
    /// Bytes that were sent, those of TLS included.
    pub bytes: u64,
    /// From the first report to the last acknowledgement.
    pub took: Duration,
}

impl Hits {
    /// Reports of so many hits each.
    pub fn new(count: u32) -> Self {
        let set = |set: u32| {
            let hits = (0..count).map(|number| one(set * count + number, number));
            let report = ClientMessage::Report(Report {
                first_sequence: 0,
                base: 0,
                hits: hits.collect(),
            });
            // Behind the message's kind, its number and its time, a byte each while they are 0.
            encode(&report)[3..].to_vec()
        };
        Self {
            count,
            sets: (0..SETS).map(set).collect(),
        }
    }

    /// The nth report of a session, whose first hit has this number.
    fn report(&self, nth: usize, first: u64) -> Vec<u8> {
        let set = &self.sets[nth % self.sets.len()];
        framed(&[&[2], &varint(first)[..], &varint(now()), set].concat())
    }
}

/// The hit with this number of all, and of its report, in which hits are 10 µs apart.
fn one(number: u32, of_report: u32) -> Hit {
    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + number % SOURCES);
    let port = PORTS[number as usize % PORTS.len()];
    Hit {
        offset: i64::from(of_report) * 10,
        ..hit(&source.to_string(), port)
    }
}

impl Sessions {
    /// So many sessions with the server.
    pub fn enter(fleet: &Fleet, count: u32) -> Self {
        let trust = trust(&fleet.folder.path().join("cert.pem"));
        let server: SocketAddr = fleet.endpoint.parse().unwrap();
        let enter = |number: u32| {
            // From several addresses, of which each may have a few that are not in yet.
            let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 40, 0, 1)) + number % 250);
            let socket = connect(from, server.ip(), server.port());
            let mut seed = [7; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            let caller = Caller::of(seed, &format!("bench-{number}"));
            let line = Line::try_tls(socket, &trust).unwrap();
            let line = caller.enter(line).0.line;
            Session {
                line,
                next: 1,
                sent: 0,
            }
        };
        let mut all: Vec<Vec<_>> = (0..THREADS).map(|_| Vec::new()).collect();
        scope(|scope| {
            for (own, thread) in all.iter_mut().zip(0..) {
                let mine = (thread..count).step_by(THREADS as usize);
                scope.spawn(|| own.extend(mine.map(enter)));
            }
        });
        Self(all)
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Session> {
        self.0.iter_mut().flatten()
    }

    /// Reports on all sessions for so long.
    pub fn report(&mut self, span: Duration, hits: &Hits) -> Load {
        let began = Instant::now();
        let mut loads = vec![Load::default(); self.0.len()];
        scope(|scope| {
            for (own, load) in self.0.iter_mut().zip(&mut loads) {
                scope.spawn(move || {
                    for session in own.iter_mut() {
                        session.say(hits, load);
                    }
                    while began.elapsed() < span {
                        for session in own.iter_mut() {
                            session.hear(hits, load);
                            session.say(hits, load);
                        }
                    }
                    for session in own.iter_mut() {
                        session.hear(hits, load);
                    }
                });
            }
        });
        Load {
            hits: loads.iter().map(|load| load.hits).sum(),
            bytes: loads.iter().map(|load| load.bytes).sum(),
            took: began.elapsed(),
        }
    }
}

/// What TLS adds to a record, and the most that one holds, in bytes.
const OF_TLS: u64 = 22;
const RECORD: usize = 16_384;

/// Acknowledgements are the fourth of a server's messages.
const ACK: u8 = 3;

impl Session {
    fn say(&mut self, hits: &Hits, load: &mut Load) {
        let report = hits.report(self.sent, self.next);
        self.sent += 1;
        self.line.write(&report);
        load.bytes += report.len() as u64 + OF_TLS * report.len().div_ceil(RECORD) as u64;
    }

    fn hear(&mut self, hits: &Hits, load: &mut Load) {
        let answer = self.line.receive_bytes().expect("the server closed");
        self.next += u64::from(hits.count);
        let up_to = varint(self.next - 1);
        // Received, and durable, up to the report's last hit.
        assert_eq!(answer, [&[ACK], &up_to[..], &up_to].concat());
        load.hits += u64::from(hits.count);
    }
}
