//! What a server that starts again knows, and that it says what it would have said.

use super::*;
use crate::event::{Event, Hit, Probe};
use crate::replay::player::Player;
use crate::server::alert::{Issued, json};
use crate::server::intake::{Arrival, Batch, Intake};
use crate::server::store::FILE;
use crate::server::store::queue::Writer;
use crate::server::store::reader::{More, Selection};
use crate::server::store::writer::{self, Work};
use crossbeam_channel::{Receiver, bounded};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

const CLIENT: ClientId = ClientId([0xab; 16]);

fn stored(detector: &str, action: &str) -> StoredIncident {
    let line = serde_json::json!({
        "time": "2026-11-24T03:12:09.000Z",
        "action": action,
        "detector": detector,
        "detectors": [detector],
        "severity": "medium",
        "subject": {"kind": "client", "value": CLIENT.to_string(), "name": "web-7"},
        "hits": 3,
        "clients": {"count": 1},
        "ports": {"count": 1},
        "recurrence": 2,
        "shape": null,
    });
    StoredIncident {
        id: "7Q2FK9XM".to_owned(),
        first_seen: Timestamp::default(),
        last_seen: Timestamp::default(),
        line: line.to_string(),
        alerts: 1,
    }
}

#[test]
fn what_was_wrong_with_a_client_is_not_taken_for_a_scan_of_it() {
    let subject = Subject::Client(CLIENT);
    let key = |detector| memory(&stored(detector, "open")).unwrap().1.key;
    assert_eq!(key("frequent-client"), Key::Scan(subject));
    assert_eq!(key("silent-client"), Key::Silence(subject));
    let lying = Key::Health(Detector::LyingClient, subject);
    assert_eq!(key("lying-client"), lying);
}

#[test]
fn only_scans_that_are_over_are_remembered_as_such() {
    let (key, scan) = closed(&stored("frequent-client", "close")).unwrap();
    assert_eq!(key, Key::Scan(Subject::Client(CLIENT)));
    assert_eq!((scan.recurrence, scan.severity), (2, Severity::Medium));
    for (detector, action) in [
        ("frequent-client", "update"),
        ("silent-client", "close"),
        ("lying-client", "close"),
        ("unknown", "close"),
    ] {
        let none = closed(&stored(detector, action));
        assert_eq!(none, None, "{detector} {action}");
    }
}

const CLIENTS: u8 = 5;

/// A server that is started and killed, and whom it hears.
struct Host {
    folder: TempDir,
    settings: ServerSettings,
    /// Everything that the lives before this one have said and kept, as lines of JSON.
    told: Vec<String>,
}

/// From a start to a kill.
struct Life {
    intake: Intake,
    store: Writer,
    work: Work,
    alerts: Receiver<Arc<Issued>>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// When everything is on the disk.
    Written,
    /// Before anything is.
    Unwritten,
}

/// A report as the property draws it: seconds since the one before, the client, and its hits as
/// sources and ports.
type Drawn = (u64, u8, Vec<(u8, u8)>);

impl Host {
    fn new() -> Self {
        let settings = "[detectors.silent-client]\nenabled = false\n";
        Self {
            folder: tempfile::tempdir().unwrap(),
            settings: toml::from_str(settings).unwrap(),
            told: Vec::new(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn start(&self, second: u64) -> Life {
        let metrics = Arc::default();
        let (store, work) = writer::open(&self.path(), 1 << 30, Arc::clone(&metrics)).unwrap();
        let reader = Reader::open(&self.path()).unwrap();
        let restored = restore(&reader, &self.settings, Secret::default(), at(second)).unwrap();
        assert_eq!(restored.closing, [], "everything can go on");
        let (sink, alerts) = bounded(10_000);
        let intake = Intake::new(
            restored.correlator,
            restored.durable,
            restored.last_alert,
            vec![sink],
            store.clone(),
            metrics,
        );
        for client in 0..CLIENTS {
            let arrival = Arrival {
                client: ClientId([client; 16]),
                name: &format!("web-{client}"),
                version: "1",
                address: [10, 9, 0, client].into(),
                now: at(second),
            };
            assert!(intake.welcome(&arrival).is_ok());
        }
        Life {
            intake,
            store,
            work,
            alerts,
        }
    }

    fn kill(&mut self, life: Life, how: Kill) {
        let Kill::Written = how else {
            return;
        };
        life.store.end();
        life.work.run();
        let said = life.alerts.try_iter();
        let line = |issued: Arc<Issued>| json::line(&issued.alert).unwrap();
        self.told.extend(said.map(line));
    }

    /// What a replay says of the events that are stored.
    fn replayed(&self) -> Vec<String> {
        let reader = Reader::open(&self.path()).unwrap();
        let mut player = Player::new(&self.settings, Secret::default());
        for client in reader.clients().unwrap() {
            player.know(client.id, &client.name, client.address.parse().ok(), &[]);
        }
        let mut said = Vec::new();
        let take = |event: &Event, name: &str| {
            player.take(event, name, &mut said);
            More::Please
        };
        reader.events(&Selection::default(), take).unwrap();
        player.finish(&mut said);
        said.into_iter().map(|said| said.line).collect()
    }
}

impl Life {
    fn hear(&self, second: u64, first_sequence: u64, (_, client, hits): &Drawn) {
        let hit = |(source, port): &(u8, u8)| Hit {
            first: at(second),
            last: at(second),
            source: [192, 0, 2, *source].into(),
            source_port: 40_000,
            trap_port: 20 + u16::from(*port),
            probe: Probe::Connect,
            count: NonZeroU32::MIN,
        };
        let batch = Batch {
            client: ClientId([*client; 16]),
            origin: [192, 0, 2, 1].into(),
            first_sequence,
            hits: hits.iter().map(hit).collect(),
            received: at(second),
            correction: 0,
        };
        assert!(self.intake.report(&batch).is_some());
    }
}

fn at(second: u64) -> Timestamp {
    // Real times are no whole seconds, and alerts have only milliseconds.
    Timestamp::from_micros(1_795_000_000_123_457 + second * 1_000_003)
}

/// What is said of these reports by a server that hears each as often as `times` says and is
/// killed before those that `kills` names.
fn told(reports: &[Drawn], times: &[usize], kills: &BTreeMap<usize, Kill>) -> Vec<String> {
    let mut host = Host::new();
    let mut life = host.start(0);
    let mut sequences = [1_u64; 256];
    let mut placed = Vec::new();
    let mut second = 0;
    // From where on nothing is on the disk.
    let mut unwritten = 0;
    for (turn, report) in reports.iter().enumerate() {
        if let Some(how) = kills.get(&turn) {
            host.kill(life, *how);
            life = host.start(second);
            match how {
                Kill::Written => unwritten = turn,
                Kill::Unwritten => {
                    // Clients report again what was not acknowledged.
                    for (second, first, report) in &placed[unwritten..] {
                        life.hear(*second, *first, report);
                    }
                }
            }
        }
        second += report.0;
        let sequence = &mut sequences[usize::from(report.1)];
        placed.push((second, *sequence, report.clone()));
        for _ in 0..times.get(turn).copied().unwrap_or(1) {
            life.hear(second, *sequence, report);
        }
        *sequence += u64::try_from(report.2.len()).unwrap();
    }
    life.intake.tick(at(second + 30 * 86_400));
    host.kill(life, Kill::Written);
    assert_eq!(
        host.replayed(),
        host.told,
        "a replay of the store says the same"
    );
    let id = |line: &String| json::brief(line).unwrap().message;
    let ids: BTreeSet<_> = host.told.iter().map(id).collect();
    assert_eq!(ids.len(), host.told.len(), "each message has its own id");
    host.told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However often reports are delivered, and whenever the server is killed and started anew,
    /// before or after what it heard was on the disk, it says the same, to the byte, and so does a
    /// replay of what it has stored.
    #[test]
    fn neither_kills_nor_duplicates_change_what_is_said(
        reports in prop::collection::vec(
            (
                prop_oneof![0..5_u64, 0..400_u64, 3000..90_000_u64],
                0..CLIENTS,
                prop::collection::vec((0..6_u8, 0..4_u8), 1..6),
            ),
            1..40,
        ),
        times in prop::collection::vec(1..3_usize, 0..40),
        kills in prop::collection::btree_map(
            0..40_usize,
            prop_oneof![Just(Kill::Written), Just(Kill::Unwritten)],
            0..4,
        ),
    ) {
        let undisturbed = told(&reports, &[], &BTreeMap::new());
        let disturbed = told(&reports, &times, &kills);
        for (line, other) in disturbed.iter().zip(&undisturbed) {
            prop_assert_eq!(line, other);
        }
        prop_assert_eq!(disturbed.len(), undisturbed.len());
    }
}
