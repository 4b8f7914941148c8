use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::peer::connect;
use crate::harness::process::eventually;
use crate::harness::stored::{self, Event, Stored};
use crate::harness::wire::caller::now;
use crate::harness::{Client, PORTS, SOON, Sandbox, number};

const CLIENTS: usize = 5;

/// Pause between two touches of one client's trap: 100 hits a second of five clients.
const PAUSE: Duration = Duration::from_millis(50);

/// Addresses that touches come from, in turn; each touches every client.
const SOURCES: u32 = 1000;

/// One touch of a trap.
struct Touch {
    source: Ipv4Addr,
    port: u16,
    /// When it was begun and was over, in microseconds since the Unix epoch.
    between: (u64, u64),
}

/// Touches one trap of a client, always the same, so that its hits are in the order of the touches.
fn touch_for(span: Duration, client: &Client, trap: u16) -> Vec<Touch> {
    let began = Instant::now();
    let mut touches = Vec::new();
    for turn in (0..SOURCES).cycle() {
        if began.elapsed() >= span {
            break;
        }
        let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 220, 0, 1)) + turn);
        let before = now();
        let socket = connect(source, client.address, trap);
        touches.push(Touch {
            source,
            port: socket.local_addr().unwrap().port(),
            between: (before, now()),
        });
        std::thread::park_timeout(PAUSE);
    }
    touches
}

/// Checks that these are a client's touches, all of them and in their order, each with the time at
/// which it was made; and says how many hits a second came when they came.
fn check(touches: &[Touch], events: &[Event]) -> Option<f64> {
    assert_eq!(events.len(), touches.len());
    for ((event, touch), sequence) in events.iter().zip(touches).zip(1..) {
        let came_from = (event.source, event.source_port);
        assert_eq!(came_from, (IpAddr::V4(touch.source), touch.port));
        assert_eq!((event.sequence, event.count), (sequence, 1));
        let (before, after) = touch.between;
        // On a busy machine the trap's thread may come late.
        let true_time = before..=after + 2_000_000;
        assert!(true_time.contains(&micros(event.at)), "{event:?}");
    }
    rate(events)
}

/// How many hits a second came, from the first report to the last; nothing if all came in one.
fn rate(events: &[Event]) -> Option<f64> {
    let (first, last) = (events.first()?.received, events.last()?.received);
    let later = events.iter().filter(|event| event.received > first).count();
    let float = |number: u64| f64::from(u32::try_from(number).unwrap());
    (last > first).then(|| float(later as u64) * 1e6 / float(micros(last - first)))
}

fn micros(stored: i64) -> u64 {
    u64::try_from(stored).unwrap()
}

/// A time in an alert, in milliseconds.
fn millis(alert: &Value, field: &str) -> i64 {
    let time: jiff::Timestamp = alert[field].as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

/// Checks that the incident of each source tells when its hits happened, and was told of later.
fn check_alerts(stored: &Stored, back: u64) {
    let mut by_source = BTreeMap::<_, Vec<i64>>::new();
    for event in &stored.events {
        let hits = by_source.entry(event.source.to_string()).or_default();
        hits.push(event.at / 1000);
    }
    let of_sources = |alert: &&Value| alert["subject"]["kind"] == "source";
    let alerts: Vec<_> = stored.incidents.values().filter(of_sources).collect();
    let whole = by_source.values().filter(|hits| hits.len() >= CLIENTS);
    assert!(alerts.len() >= whole.count(), "{} incidents", alerts.len());
    for alert in alerts {
        let hits = &by_source[alert["subject"]["value"].as_str().unwrap()];
        assert_eq!(alert["hits"], hits.len());
        assert_eq!(millis(alert, "first_seen"), *hits.iter().min().unwrap());
        assert_eq!(millis(alert, "last_seen"), *hits.iter().max().unwrap());
        assert!(millis(alert, "time") >= i64::try_from(back / 1000).unwrap());
    }
}

#[test]
fn hits_of_a_server_that_was_away_arrive_in_their_order_with_their_times() {
    let away = Duration::from_secs(number("VFT_AWAY", 6));
    let sandbox = Sandbox::new();
    sandbox.run(&["cert", "--name", "127.0.0.1"]);
    let tls = ["--cert", "cert.pem", "--key", "key.pem"];
    let server = sandbox.server(&tls);
    let start = |_| sandbox.client(&server.address, &tls[..2]);
    let clients: Vec<_> = (0..CLIENTS).map(start).collect();
    for client in &clients {
        client.connected();
    }
    let address = server.address.clone();
    server.process.stop();
    let mut touches: [Vec<Touch>; CLIENTS] = Default::default();
    std::thread::scope(|scope| {
        for ((touches, client), trap) in touches.iter_mut().zip(&clients).zip(PORTS) {
            scope.spawn(move || *touches = touch_for(away, client, trap));
        }
    });
    let back = now();
    let server = sandbox.server_at(&address, &tls);
    let all: usize = touches.iter().map(Vec::len).sum();
    let store = sandbox.path("server-state/server/store.db");
    // After so many failures a client may pause for up to 30 s before it tries again.
    eventually(SOON * 3, "all hits in the store", || {
        stored::hits(&store) >= i64::try_from(all).unwrap()
    });
    server.process.stop();
    let stored = Stored::read(&store);
    assert_eq!(stored.events.len(), all);
    for (number, touches) in touches.iter().enumerate() {
        let name = format!("host-{number}");
        let own = stored.events.iter().filter(|event| event.client == name);
        let own: Vec<_> = own.cloned().collect();
        let rate = check(touches, &own);
        println!(
            "{name}: {} hits, which came at {rate:?} a second",
            own.len()
        );
    }
    check_alerts(&stored, back);
}
