//! The engine: whatever happens in whatever order at whatever times, it stays within its bounds,
//! and each alert can be written and makes sense beside those before it.

#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use vft::fuzzing::alert::{Action, Alert, json, text};
use vft::fuzzing::correlate::Correlator;
use vft::fuzzing::correlate::silent_client::ALONE;
use vft::fuzzing::detectors::Frequency;
use vft::fuzzing::event::{ClientId, Event, Hit, Probe, Timestamp};
use vft::fuzzing::server::{Correlation, ServerSettings};
use vft::fuzzing::value::{Positive, Size, Span, Threshold};

#[derive(Arbitrary, Debug)]
struct Settings {
    separate: bool,
    memory: Memory,
    rules: [Rule; 3],
    /// Of these, as many as fit into the bounds below.
    clients: u8,
    incidents: u8,
    quiet: u32,
    silence: bool,
    missed: u8,
    heartbeat: u16,
    allow: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Memory {
    /// A MiB.
    Some,
    /// As little as can be: nearly everybody is displaced.
    Least,
}

#[derive(Arbitrary, Debug)]
struct Rule {
    enabled: bool,
    threshold: u8,
    window: u32,
    clients: u8,
    ports: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The server's clock goes on.
    Wait {
        seconds: u16,
    },
    /// It is somewhere else all at once.
    Jump {
        to: u64,
    },
    Event(Seen),
    /// The same again and again, from another source or client each time.
    Flood {
        first: Seen,
        count: u16,
        of: Of,
    },
    Welcome {
        client: u8,
        name: Name,
    },
    Heard {
        client: u8,
    },
    Farewell {
        client: u8,
    },
    Advance {
        client: u8,
        first: u64,
        count: u16,
    },
    Tick,
    Reload,
    Flush,
    /// Clients say in their heartbeats that they hold these traps.
    Holds {
        client: u8,
        others: u8,
        port: u8,
        count: u8,
    },
    LivesAt {
        client: u8,
        address: From,
    },
    Cloned {
        client: u8,
    },
    FellShort,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Of {
    Sources,
    Clients,
    Ports,
    SourcesAndClients,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Seen {
    client: u8,
    sequence: u64,
    source: From,
    port: u8,
    count: NonZeroU32,
    at: At,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum From {
    Near(u8),
    Any(IpAddr),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum At {
    Now,
    Off(i16),
    Any(u64),
}

impl From {
    const fn address(self) -> IpAddr {
        match self {
            Self::Near(number) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
            Self::Any(address) => address.to_canonical(),
        }
    }
}

/// What the handshake lets through is printable.
#[derive(Arbitrary, Debug)]
enum Name {
    Plain,
    Odd,
}

/// Bounds that are reached soon.
const MAX_CLIENTS: u32 = 16;
const MAX_INCIDENTS: u32 = 8;
const MAX_THRESHOLD: u16 = 6;

/// The most bytes an engine may hold within these bounds: a MiB for sources, another to count them by
/// network, 256 ports and 16 clients with all that is kept of them, and 8 incidents with all they can
/// list.
const MAX_BYTES: usize = 24 << 20;

/// The most steps and events in one input, so that none takes long: events enough to reach the
/// bounds above. One input in 32 may have more than an incident tells apart of any kind. Which one
/// does not follow from anything that its descendants have in common with it, or all of them would
/// soon be long.
const MAX_STEPS: usize = 64;
const MAX_EVENTS: usize = 32;
const MANY_EVENTS: usize = 320;
const SELDOM: u32 = 32;

/// Counts what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator, and beside it only numbers are changed.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(|data: &[u8]| {
    // An error is the end of the input.
    let events = match crc32fast::hash(data) % SELDOM {
        0 => MANY_EVENTS,
        _ => MAX_EVENTS,
    };
    live(&mut Unstructured::new(data), events).ok();
});

/// Input: settings, other settings, then steps to the end.
fn live(input: &mut Unstructured<'_>, events: usize) -> arbitrary::Result<()> {
    let (settings, reloaded): (Settings, Settings) = input.arbitrary()?;
    let before = HELD.load(Ordering::Relaxed);
    let mut world = World::new(&settings, events);
    for _ in 0..MAX_STEPS {
        if input.is_empty() || world.left == 0 {
            break;
        }
        world.step(&input.arbitrary()?, &reloaded);
        world.read_alerts();
        let held = HELD.load(Ordering::Relaxed).saturating_sub(before);
        assert!(held <= MAX_BYTES, "the engine holds {held} bytes");
    }
    Ok(())
}

struct World {
    engine: Correlator,
    now: Timestamp,
    alerts: Vec<Alert>,
    open: BTreeSet<String>,
    bound: usize,
    /// How many events there may still be.
    left: usize,
}

impl World {
    fn new(settings: &Settings, events: usize) -> Self {
        let settings = settings.build();
        Self {
            engine: Correlator::new(&settings),
            now: Timestamp::from_micros(1_795_000_000_000_000),
            alerts: Vec::new(),
            open: BTreeSet::new(),
            bound: settings.limits.incidents as usize,
            left: events,
        }
    }

    fn step(&mut self, step: &Step, reloaded: &Settings) {
        match *step {
            Step::Wait { seconds } => {
                self.now = self.now.after(Duration::from_secs(seconds.into()))
            }
            Step::Jump { to } => self.now = Timestamp::from_micros(to),
            Step::Event(seen) => self.event(seen, 0, Of::Sources),
            Step::Flood { first, count, of } => {
                for n in 0..count % 300 {
                    if self.left > 0 {
                        self.event(first, n, of);
                        self.read_alerts();
                    }
                }
            }
            Step::Welcome { client, ref name } => {
                let name = match name {
                    Name::Plain => "web-7",
                    Name::Odd => "\\\"\u{1f980}'\\u{1b}",
                };
                let _room = self.engine.welcome(id(client, 0), name, self.now);
            }
            Step::Heard { client } => self.engine.heard(id(client, 0), self.now),
            Step::Farewell { client } => self.engine.farewell(id(client, 0)),
            Step::Advance {
                client,
                first,
                count,
            } => {
                let fresh = self.engine.advance(id(client, 0), first, count.into());
                assert!(fresh.duplicates <= count.into());
            }
            Step::Tick => self.engine.tick(self.now, &mut self.alerts),
            Step::Reload => self.engine.reload(&reloaded.build()),
            Step::Flush => self.engine.flush(self.now, &mut self.alerts),
            Step::Holds {
                client,
                others,
                port,
                count,
            } => {
                let last = port.saturating_add(count % 8);
                let ports: Vec<_> = (port..=last).map(u16::from).collect();
                for n in 0..=u16::from(others) % MAX_CLIENTS as u16 {
                    let client = id(client, n);
                    let _room = self.engine.welcome(client, "web-9", self.now);
                    self.engine.owns(client, &ports);
                }
            }
            Step::LivesAt { client, address } => {
                self.engine.lives_at(id(client, 0), address.address());
            }
            Step::Cloned { client } => self.engine.cloned(id(client, 0), self.now),
            Step::FellShort => self
                .engine
                .fell_short("a disk is full".to_owned(), self.now),
        }
    }

    fn event(&mut self, seen: Seen, n: u16, of: Of) {
        self.left = self.left.saturating_sub(1);
        let mut source = seen.source.address();
        let (mut client, mut port) = (id(seen.client, 0), u16::from(seen.port));
        match of {
            Of::Sources => source = other(source, n),
            Of::Clients | Of::SourcesAndClients => {
                client = id(seen.client, n);
                let _room = self.engine.welcome(client, "web-8", self.now);
                if matches!(of, Of::SourcesAndClients) {
                    source = other(source, n);
                }
            }
            Of::Ports => port = (port + n) % 256,
        }
        let at = match seen.at {
            At::Now => self.now,
            At::Off(millis) => self.now.shifted(i64::from(millis) * 1000),
            At::Any(micros) => Timestamp::from_micros(micros),
        };
        let event = Event {
            client,
            sequence: seen.sequence.wrapping_add(n.into()),
            received: self.now,
            at,
            hit: Hit {
                first: at,
                last: at,
                source,
                source_port: 40_000,
                trap_port: port,
                probe: Probe::Connect,
                count: seen.count,
            },
        };
        self.engine.events(&[event], &mut self.alerts);
    }

    fn read_alerts(&mut self) {
        for alert in self.alerts.drain(..) {
            let line = json::line(&alert).unwrap();
            assert!(!line.contains('\n') && line.len() < 1 << 16);
            assert!(!text::line(&alert).chars().any(char::is_control));
            assert!(alert.confidence <= 100);
            assert!(alert.first_seen <= alert.last_seen);
            assert!(alert.clients.sample.len() <= 16 && alert.clients.count <= 1024);
            assert!(alert.ports.sample.len() <= 16 && alert.ports.count <= 1024);
            assert!(alert.sources.sample.len() <= 16 && alert.sources.count <= 1024);
            match alert.action {
                Action::Open => assert!(self.open.insert(alert.incident), "opened twice"),
                // What was closed a short while ago goes on with an update.
                Action::Update => drop(self.open.insert(alert.incident)),
                Action::Close => assert!(self.open.remove(&alert.incident), "closed twice"),
            }
        }
        // A tick does not close the quietest for the clients that have fallen silent; the next
        // event does.
        // Beside the bound there are those about clients and about the server itself.
        let most = self.bound + ALONE + 2 + 2 * MAX_CLIENTS as usize;
        assert!(self.open.len() <= most, "{} are open", self.open.len());
    }
}

/// Another source of the same kind.
fn other(source: IpAddr, n: u16) -> IpAddr {
    match source {
        IpAddr::V4(v4) => IpAddr::from((u32::from(v4) ^ u32::from(n)).to_be_bytes()),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() ^ u128::from(n) << 64).into(),
    }
}

fn id(client: u8, n: u16) -> ClientId {
    let mut id = [client % 8; 16];
    [id[0], id[1]] = n.to_be_bytes();
    ClientId(id)
}

impl Settings {
    fn build(&self) -> ServerSettings {
        let mut settings = ServerSettings::default();
        if self.separate {
            settings.incidents.correlation = Correlation::Separate;
        }
        settings.incidents.quiet = Span::seconds(self.quiet.into());
        let [source, port, client] = &self.rules;
        settings.detectors.frequent_source = source.build();
        settings.detectors.frequent_port = port.build();
        settings.detectors.frequent_client = client.build();
        settings.detectors.silent_client.enabled = self.silence;
        settings.detectors.silent_client.missed = Threshold::new(self.missed.into());
        settings.limits.heartbeat = Span::seconds(u64::from(self.heartbeat) % 3600);
        // Few clients cannot share work so well that it is no chance.
        settings.detectors.coordinated_scan.min_sources = Threshold::new(self.missed.into());
        settings.detectors.coordinated_scan.chance = Positive::new(0.5);
        settings.limits.clients = 1 + u32::from(self.clients) % MAX_CLIENTS;
        settings.memory = match self.memory {
            Memory::Some => Size::mib(1),
            Memory::Least => Size::mib(0),
        };
        settings.limits.incidents = 1 + u32::from(self.incidents) % MAX_INCIDENTS;
        if self.allow {
            settings.allow = allow_list();
        }
        settings
    }
}

fn allow_list() -> Vec<vft::fuzzing::server::Allow> {
    let text = "[[allow]]\nnetwork = '192.0.2.7'\nports = '22'\nclients = ['web-7']\n\
                [[allow]]\nnetwork = '2001:db8::/32'\nuntil = '2026-12-31'\n";
    toml::from_str::<ServerSettings>(text).unwrap().allow
}

impl Rule {
    fn build(&self) -> Frequency {
        let threshold = |n: u8| Threshold::new(u16::from(n) % (MAX_THRESHOLD + 1));
        Frequency {
            enabled: self.enabled,
            threshold: threshold(self.threshold),
            window: Span::seconds(self.window.into()),
            min_clients: threshold(self.clients),
            min_ports: threshold(self.ports),
        }
    }
}
