use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::eventually;
use crate::harness::proxy::{Proxy, seed};
use crate::harness::stored::{self, Event, Stored};
use crate::harness::wire::caller::{Caller, Visit};
use crate::harness::wire::message::{Hit, Report};
use crate::harness::{Client, Ends, PORTS, SOON, Sandbox, Server, number};

/// Clients hear soon that their session is gone, and servers that their client is; and no alert
/// depends on who was away for how long.
const SETTINGS: &str = "
alert-format = \"json\"
[limits]
heartbeat = \"500ms\"
[detectors.silent-client]
enabled = false
";

const TLS: [&str; 6] = [
    "--cert",
    "cert.pem",
    "--key",
    "key.pem",
    "--config",
    "server.toml",
];

const CLIENTS: u8 = 5;

/// A connection to a trap: from where, from which port, to which.
type Touch = (Ipv4Addr, u16, u16);

/// A client, whoever touches its traps, and what is known of both.
struct Post {
    number: u8,
    client: Client,
    /// All connections that were made.
    made: Vec<Touch>,
    /// Of these, how many the client cannot have had in its spool when it was killed.
    in_nobodys_hands: usize,
}

impl Post {
    /// Makes one connection more. A source touches all traps of all clients, and comes again when
    /// as many others have come as a trap's queue holds, so that no two hits are merged.
    fn touch(&mut self) {
        let turn = self.made.len();
        let source = u32::try_from(turn / PORTS.len() % 1000).unwrap();
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 210, 0, 1)) + source);
        let port = PORTS[turn % PORTS.len()];
        let socket = connect(source, self.client.address, port);
        let from = socket.local_addr().unwrap().port();
        self.made.push((source, from, port));
    }

    /// How many hits its spool has ever had.
    fn spooled(&self, sandbox: &Sandbox) -> usize {
        let spool = format!("client-state-{}/client/spool.db", self.number);
        let database = stored::open(&sandbox.path(&spool));
        let had = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'record'";
        let had: i64 = database.query_row(had, [], |row| row.get(0)).unwrap();
        usize::try_from(had).unwrap()
    }

    fn expected(&self) -> usize {
        self.made.len() - self.in_nobodys_hands
    }
}

/// A fleet behind a proxy, under load, in which whatever can be killed is killed.
struct Fleet {
    sandbox: Sandbox,
    /// Where the server is, whoever runs it.
    address: String,
    server: Mutex<Option<Server>>,
    proxy: Proxy,
    posts: Vec<Mutex<Post>>,
    /// All that servers have written to standard output before they were killed.
    spoken: Mutex<Vec<String>>,
}

impl Fleet {
    fn start(seed: u64) -> Self {
        let sandbox = Sandbox::new();
        sandbox.run(&["cert", "--name", "127.0.0.1"]);
        sandbox.file("server.toml", SETTINGS);
        let server = sandbox.server(&TLS);
        let address = server.address.clone();
        let proxy = Proxy::start(&address, seed);
        let start = |number| {
            let client = sandbox.client(&proxy.address, &["--cert", "cert.pem"]);
            Mutex::new(Post {
                number,
                client,
                made: Vec::new(),
                in_nobodys_hands: 0,
            })
        };
        let posts = (0..CLIENTS).map(start).collect();
        Self {
            address,
            server: Mutex::new(Some(server)),
            proxy,
            posts,
            spoken: Mutex::default(),
            sandbox,
        }
    }

    fn kill_the_server(&self) {
        let mut place = lock(&self.server);
        let server = place.take().unwrap().process;
        server.signal(Signal::KILL);
        let finished = server.finish();
        lock(&self.spoken).extend(finished.stdout.lines().map(str::to_owned));
        *place = Some(self.sandbox.server_at(&self.address, &TLS));
    }

    /// Kills a client. A connection that no trap has taken yet, or that is not in the spool yet,
    /// is in nobody's hands: either there is none when the client is killed, or it counts for
    /// nothing.
    fn kill_a_client(&self, which: usize, when: When) {
        // Nobody touches its traps meanwhile.
        let mut post = lock(&self.posts[which]);
        if when == When::AllIsSpooled {
            eventually(SOON, "all hits spooled", || {
                post.spooled(&self.sandbox) >= post.made.len() - post.in_nobodys_hands
            });
        }
        post.client.process.kill();
        let again =
            self.sandbox
                .client_again(&self.proxy.address, post.number, &["--cert", "cert.pem"]);
        post.client = again;
        let spooled = post.spooled(&self.sandbox);
        if when == When::AllIsSpooled {
            assert_eq!(spooled, post.expected(), "hits in the spool");
        }
        post.in_nobodys_hands = post.made.len() - spooled;
    }

    /// Has the server's disk take nothing for a while, in which all clients come anew: what they
    /// have sent before they send again.
    fn hold_the_store_up(&self, span: Duration) {
        let store = stored::open(&self.store());
        store.execute_batch("BEGIN IMMEDIATE").unwrap();
        std::thread::park_timeout(span / 2);
        self.proxy.cut();
        std::thread::park_timeout(span / 2);
        store.execute_batch("ROLLBACK").unwrap();
    }

    fn store(&self) -> PathBuf {
        self.sandbox.path("server-state/server/store.db")
    }

    /// Whatever the next of so many random numbers brings.
    fn harm(&self, random: &mut StdRng) {
        let span = Duration::from_millis(random.random_range(50..600));
        let which = random.random_range(0..self.posts.len());
        match random.random_range(0..5) {
            0 => freeze(span, |signal| {
                lock(&self.server).as_ref().unwrap().process.signal(signal);
            }),
            1 => freeze(span, |signal| {
                lock(&self.posts[which]).client.process.signal(signal);
            }),
            2 => self.proxy.cut(),
            3 => self.hold_the_store_up(span),
            _ => std::thread::park_timeout(span),
        }
        match random.random_range(0..4) {
            0 => self.kill_a_client(which, When::AllIsSpooled),
            1 => self.kill_a_client(which, When::Now),
            _ => self.kill_the_server(),
        }
    }

    /// Harms the fleet so many times, while all its traps are touched.
    fn endure(&self, kills: u64, mut random: StdRng) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for post in &self.posts {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        lock(post).touch();
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                });
            }
            // The load must end even if this panics.
            let _over = Ends(&over);
            for _ in 0..kills {
                self.harm(&mut random);
            }
        });
    }

    /// Lets all that was seen arrive, ends all, and returns what is stored.
    fn settle(&self) -> Stored {
        let store = self.store();
        let posts: Vec<_> = self.posts.iter().map(lock).collect();
        let expected: usize = posts.iter().map(|post| post.expected()).sum();
        self.proxy.calm_down();
        // After so many failures a client may pause for up to 30 s before it tries again.
        eventually(SOON * 3, "all hits in the store", || {
            stored::hits(&store) >= i64::try_from(expected).unwrap()
        });
        let server = lock(&self.server).take().unwrap();
        let finished = server.process.stop();
        lock(&self.spoken).extend(finished.stdout.lines().map(str::to_owned));
        Stored::read(&store)
    }
}

/// Stops a process for a while.
fn freeze(span: Duration, send: impl Fn(Signal)) {
    send(Signal::STOP);
    std::thread::park_timeout(span);
    send(Signal::CONT);
}

/// When a client is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    AllIsSpooled,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Checks that a client's hits are those connections that were in its hands, once each, and that
/// their numbers follow each other.
fn check_hits(post: &Post, events: &[Event]) {
    let name = format!("host-{}", post.number);
    let own: Vec<_> = events.iter().filter(|event| event.client == name).collect();
    assert_eq!(own.len(), post.expected(), "hits of {name}");
    assert!(
        own.iter().all(|event| event.count == 1),
        "{name} has merged"
    );
    let sequence = own.iter().map(|event| event.sequence);
    assert!(sequence.eq((1..).take(own.len())), "numbers of {name}");
    let mut left = BTreeMap::<Touch, usize>::new();
    for touch in &post.made {
        *left.entry(*touch).or_default() += 1;
    }
    for event in own {
        let IpAddr::V4(source) = event.source else {
            panic!("{event:?}")
        };
        let made = left.get_mut(&(source, event.source_port, event.trap_port));
        let made = made.filter(|left| **left > 0);
        *made.unwrap_or_else(|| panic!("nobody made {event:?}, or not so often")) -= 1;
    }
}

/// What a server that nobody disturbs says of the same hits in the same order.
fn undisturbed(sandbox: &Sandbox, events: &[Event]) -> Stored {
    // Only one client speaks at a time, and the others must not count as gone.
    sandbox.file("calm.toml", &SETTINGS.replace("500ms", "1h"));
    let settings = ["--config", "calm.toml"];
    let server = sandbox.server_in("undisturbed", "127.0.0.1:0", &settings);
    let visit = |number| {
        let identity = format!("client-state-{number}/client/identity");
        let digits = std::fs::read_to_string(sandbox.path(&identity)).unwrap();
        let name = format!("host-{number}");
        let caller = Caller::of(from_hex(digits.trim()), &name);
        (name, caller.visit(&server.address).0)
    };
    let mut visits: BTreeMap<String, Visit> = (0..CLIENTS).map(visit).collect();
    // A client's hits go together as long as no other's come between.
    for run in events.chunk_by(|one, next| one.client == next.client) {
        let visit = visits.get_mut(&run[0].client).unwrap();
        for part in run.chunks(1024) {
            visit.take_in(report_of(part));
        }
    }
    drop(visits);
    server.process.stop();
    Stored::read(&sandbox.path("undisturbed/server/store.db"))
}

/// The key's seed as a client's state folder has it.
fn from_hex(digits: &str) -> [u8; 32] {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect::<Vec<_>>().try_into().unwrap()
}

fn report_of(events: &[Event]) -> Report {
    let base = events[0].at;
    let hits = events.iter().map(|event| Hit {
        offset: event.at - base,
        span: 0,
        source: event.source,
        source_port: event.source_port,
        trap_port: event.trap_port,
        probe: 0,
        count: event.count,
    });
    Report {
        first_sequence: u64::try_from(events[0].sequence).unwrap(),
        base: u64::try_from(base).unwrap(),
        hits: hits.collect(),
    }
}

/// What is known of each incident in the end, whenever it was said. Not of the server's own, whose
/// disk was held up.
fn known(incidents: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let timeless = |(id, mut alert): (String, Value)| {
        let fields = alert.as_object_mut().unwrap();
        for field in ["time", "action", "message", "notes"] {
            fields.remove(field).unwrap();
        }
        (id, alert)
    };
    let scans = incidents.into_iter();
    scans
        .filter(|(_, alert)| alert["detector"] != "degraded")
        .map(timeless)
        .collect()
}

/// Holds that each message has an id of its own, and that one that was said again had the same.
fn check_message_ids(spoken: &[String], stored: &[String]) {
    let parsed = |line: &String| -> Value { serde_json::from_str(line).unwrap() };
    let id = |alert: &Value| alert["message"].as_str().unwrap().to_owned();
    let of_stored: BTreeSet<_> = stored.iter().map(|line| id(&parsed(line))).collect();
    assert_eq!(of_stored.len(), stored.len(), "two messages have one id");
    let (mut said_of, mut id_of) = (BTreeMap::new(), BTreeMap::new());
    for mut alert in spoken.iter().map(parsed) {
        let id = id(&alert);
        // By the time it is said again there may be more hits.
        let said = ["incident", "action", "recurrence"].map(|name| alert[name].clone());
        assert_eq!(
            *said_of.entry(id.clone()).or_insert_with(|| said.clone()),
            said,
            "{id}"
        );
        for field in ["time", "message"] {
            alert.as_object_mut().unwrap().remove(field).unwrap();
        }
        let whole = alert.to_string();
        assert_eq!(*id_of.entry(whole).or_insert_with(|| id.clone()), id);
    }
    println!("{} messages, {} lines", said_of.len(), spoken.len());
}

#[test]
fn hits_are_stored_once_and_alerted_of_alike_whatever_is_killed_stopped_or_cut() {
    let seed = seed();
    let kills = number("VFT_KILLS", 30);
    let fleet = Fleet::start(seed);
    fleet.endure(kills, StdRng::seed_from_u64(seed));
    let stored = fleet.settle();
    let done = fleet.proxy.done();
    println!("{} hits; {done:?}", stored.events.len());
    let broken: u32 = ["cut", "reset", "repeat", "hold"]
        .iter()
        .filter_map(|kind| done.get(kind))
        .sum();
    assert!(u64::from(broken) >= kills / 3, "the proxy broke too little");
    for post in &fleet.posts {
        check_hits(&lock(post), &stored.events);
    }
    let spoken = lock(&fleet.spoken);
    for alert in &stored.alerts {
        assert!(spoken.contains(alert), "never said: {alert}");
    }
    check_message_ids(&spoken, &stored.alerts);
    let calm = undisturbed(&fleet.sandbox, &stored.events);
    assert_eq!(known(stored.incidents), known(calm.incidents));
}
