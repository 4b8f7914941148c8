//! A client's whole life, over disks that take nothing, kills, and servers that lose what they had:
//! each hit counts once, and no number means two.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::client::spool::tests::{Disk, what_a_kill_leaves};
use proptest::prelude::*;

/// Hits that a client of these tests holds in memory.
const ROOM: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many hits come.
    Hits(u64),
    Disk(Disk),
    Flush,
    /// A report of at most so many hits; its answer comes, or the session is lost.
    Report(usize, Answer),
    /// A session with a server.
    Session(usize),
    /// The client is killed and starts again.
    Kill,
    /// A server's disk takes what it has received, or not.
    ServerDisk(usize, Durably),
    /// A server is killed and starts again.
    ServerKill(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Comes,
    IsLost,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Durably {
    #[default]
    AtOnce,
    NotYet,
}

/// A server with the rule by which it tells what is new, and all it has.
#[derive(Debug, Default)]
struct Server {
    received: u64,
    durable: u64,
    /// Numbers that never came, as it has counted them, and as its disk has them.
    missing: (u64, u64),
    durably: Durably,
    hits: BTreeMap<u64, u64>,
    /// What was ever received under a number, durable or not.
    ever: BTreeMap<u64, u64>,
}

impl Server {
    fn receive(&mut self, first: u64, hits: &[Hit]) -> Ack {
        if self.received > 0 && first > self.received + 1 {
            self.missing.0 += first - self.received - 1;
        }
        for (number, hit) in (first..).zip(hits) {
            let hit = hit.first.as_micros();
            let known = *self.ever.entry(number).or_insert(hit);
            assert_eq!(known, hit, "the number {number} means two hits");
            if number > self.received {
                self.received = number;
                self.hits.insert(number, hit);
            }
        }
        self.write();
        Ack {
            received: self.received,
            durable: self.durable,
        }
    }

    fn write(&mut self) {
        if self.durably == Durably::AtOnce {
            self.durable = self.received;
            self.missing.1 = self.missing.0;
        }
    }

    fn kill(&mut self) {
        self.hits.split_off(&(self.durable + 1));
        self.received = self.durable;
        self.missing.0 = self.missing.1;
    }

    fn known(&self) -> Option<u64> {
        Some(self.durable).filter(|durable| *durable > 0)
    }
}

/// A client, its servers, and what must have become of its hits.
struct World {
    folder: TempDir,
    backlog: Backlog,
    metrics: Arc<ClientMetrics>,
    servers: [Server; 2],
    session: Option<usize>,
    came: u64,
    /// Hits that were in memory alone when the client was killed.
    lost: BTreeSet<u64>,
}

fn start(folder: &TempDir) -> (Backlog, Arc<ClientMetrics>) {
    let metrics = Arc::new(ClientMetrics::default());
    let spool = Spool::open(folder.path(), 1 << 30).unwrap().0;
    let backlog = Backlog::with_room(spool, Arc::clone(&metrics), ROOM).unwrap();
    (backlog, metrics)
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (backlog, metrics) = start(&folder);
        Self {
            folder,
            backlog,
            metrics,
            servers: Default::default(),
            session: None,
            came: 0,
            lost: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Hits(count) => {
                let first = self.came + 1;
                self.came += count;
                self.backlog
                    .append(&mut (first..=self.came).map(hit).collect());
            }
            Step::Disk(disk) => self.backlog.lock().queue.spool().suffer(disk),
            Step::Flush => drop(self.backlog.flush()),
            Step::Report(most, answer) => self.report(most, answer),
            Step::Session(server) => {
                self.session = Some(server);
                let known = self.servers[server].known();
                self.backlog.resume(&[HERE, THERE][server], known).unwrap();
            }
            Step::Kill => self.kill(),
            Step::ServerDisk(server, durably) => {
                self.servers[server].durably = durably;
                self.servers[server].write();
            }
            Step::ServerKill(server) => {
                self.servers[server].kill();
                self.session = self.session.filter(|it| *it != server);
            }
        }
    }

    fn report(&mut self, most: usize, answer: Answer) {
        let Some(server) = self.session else { return };
        if self.backlog.wait(Duration::ZERO) != Work::Hits {
            return;
        }
        let (first, hits) = self.backlog.oldest(most).unwrap();
        assert!(!hits.is_empty(), "there is work, and nothing to report");
        let ack = self.servers[server].receive(first, &hits);
        match answer {
            Answer::Comes => self.backlog.acknowledge(ack),
            Answer::IsLost => self.session = None,
        }
    }

    fn kill(&mut self) {
        let held = self.backlog.held();
        self.lost.extend(self.came - held + 1..=self.came);
        let dropped = self.metrics.dropped.get();
        let folder = what_a_kill_leaves(self.folder.path());
        (self.backlog, self.metrics) = start(&folder);
        self.folder = folder;
        self.session = None;
        assert_eq!(
            self.metrics.dropped.get(),
            dropped,
            "what was dropped is known"
        );
    }

    /// Everybody is well again, and all that there is is delivered.
    fn end(&mut self) {
        self.step(Step::Disk(Disk::Well));
        for server in 0..2 {
            self.step(Step::ServerDisk(server, Durably::AtOnce));
        }
        assert_eq!(self.backlog.flush(), Rest::Settled);
        assert_eq!(self.backlog.condition(), Condition::Well);
        assert_eq!(self.backlog.held(), 0);
        self.backlog.end();
        self.step(Step::Session(0));
        while self.backlog.wait(Duration::ZERO) == Work::Hits {
            self.report(7, Answer::Comes);
        }
        assert_eq!(self.backlog.len(), 0);
        let mut stored = BTreeSet::new();
        for server in &self.servers {
            let hits: BTreeSet<_> = server.hits.values().copied().collect();
            assert_eq!(hits.len(), server.hits.len(), "a hit counts twice");
            stored.extend(hits);
        }
        let known = |hit: &u64| stored.contains(hit) || self.lost.contains(hit);
        let unknown = (1..=self.came).filter(|hit| !known(hit)).count() as u64;
        let dropped = self.metrics.dropped.get();
        assert!(unknown <= dropped, "{unknown} are gone, {dropped} dropped");
    }
}

fn step(servers: usize) -> impl Strategy<Value = Step> {
    let disk = prop_oneof![
        Just(Disk::Well),
        (0..4_u64).prop_map(Disk::Full),
        Just(Disk::Dead)
    ];
    let answer = prop_oneof![4 => Just(Answer::Comes), 1 => Just(Answer::IsLost)];
    let durably = prop_oneof![Just(Durably::AtOnce), Just(Durably::NotYet)];
    prop_oneof![
        8 => (1..20_u64).prop_map(Step::Hits),
        4 => disk.prop_map(Step::Disk),
        3 => Just(Step::Flush),
        8 => (1..12_usize, answer).prop_map(|(most, answer)| Step::Report(most, answer)),
        4 => (0..servers).prop_map(Step::Session),
        2 => Just(Step::Kill),
        1 => (0..servers, durably).prop_map(|(server, durably)| Step::ServerDisk(server, durably)),
        1 => (0..servers).prop_map(Step::ServerKill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn whatever_fails_each_hit_counts_once_and_no_number_means_two(
        steps in prop::collection::vec(step(1), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.end();
        let (server, lost) = (&world.servers[0], world.lost.len() as u64);
        let gone = lost + world.metrics.dropped.get();
        let (missing, _) = server.missing;
        prop_assert!(missing <= gone, "{missing} are missing, {gone} gone");
    }

    #[test]
    fn over_two_servers_each_hit_counts_once_at_each(
        steps in prop::collection::vec(step(2), 1..60)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.end();
    }
}
