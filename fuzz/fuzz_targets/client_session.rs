//! Sessions from the client's side, one after the other over the same backlog, with two servers.
//! Whatever they acknowledge, refuse, say or leave out: the client reports its oldest hits that are
//! not received, each under the number that was agreed; forgets none that is not durable; calls no
//! number its own that it has not sent; and goes only when it is done.
//!
//! A session looks at its socket while it is idle, so it gets one: an end of a socket pair, on a
//! thread of its own. The target is the server at the other end, and knows what must come next.

#![no_main]

#[path = "client_session/input.rs"]
mod input;
#[path = "client_session/model.rs"]
mod model;
#[path = "client_session/peer.rs"]
mod peer;

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use vft::fuzzing::backlog::Backlog;
use vft::fuzzing::client_session::{Session, Status};
use vft::fuzzing::dial::{Dialled, Dialler, Me};
use vft::fuzzing::error::SessionError;
use vft::fuzzing::identity::Identity;
use vft::fuzzing::link::Link;
use vft::fuzzing::message::MAX_TRAPS;
use vft::fuzzing::metrics::ClientMetrics;
use vft::fuzzing::open_ports::OpenPorts;
use vft::fuzzing::process::{StateFolder, Stop};
use vft::fuzzing::spool::Spool;

use crate::input::{Guard, Inflow, Input, MANY, MAX_OPEN, MAX_VISITS, Scene, Visit};
use crate::model::Model;
use crate::peer::{End, Peer};

/// Longer than any message takes on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(5);

/// One for each guard.
static DIALLERS: [LazyLock<Mutex<Dialler>>; 2] = [
    LazyLock::new(|| dialler(Guard::Nobody)),
    LazyLock::new(|| dialler(Guard::Secret)),
];

fn dialler(guard: Guard) -> Mutex<Dialler> {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::keep(&StateFolder::open(folder.path()).unwrap()).unwrap();
    let secret = (guard == Guard::Secret).then(|| "secret".parse().unwrap());
    let me = Me {
        name: "web-7".to_owned(),
        instance: [1; 16],
    };
    Mutex::new(Dialler::new(Vec::new(), None, secret, identity, me))
}

fuzz_target!(|input: Input<'_>| {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), u64::MAX).unwrap().0;
    let metrics = Arc::new(ClientMetrics::default());
    let backlog = Backlog::new(spool, Arc::clone(&metrics)).unwrap();
    let mut scene = input.scene;
    if scene.inflow == Inflow::Ended {
        backlog.end();
    }
    let traps = OpenPorts::default();
    traps.set(match input.traps {
        ..MANY => (0..u16::from(input.traps % 8)).collect(),
        MANY.. => (0..MAX_TRAPS as u16 + 1).collect(),
    });
    let status = Status {
        started: Instant::now(),
        traps,
        traps_wanted: 5,
        metrics,
    };
    let mut model = Model::default();
    let visits = match scene.inflow {
        Inflow::Ended => MAX_VISITS,
        Inflow::Open => MAX_OPEN,
    };
    for visit in input.visits.iter().take(visits) {
        model.gather(&backlog, visit.hits);
        play(&mut model, &backlog, &status, scene, visit);
    }
    // Whatever is not durable anywhere is still there.
    backlog.end();
    scene.inflow = Inflow::Ended;
    play(&mut model, &backlog, &status, scene, &Visit::last());
    assert_eq!((backlog.len(), model.gone), (0, model.total));
});

/// One session to its end.
fn play(model: &mut Model, backlog: &Backlog, status: &Status, scene: Scene, visit: &Visit<'_>) {
    let (near, far) = UnixStream::pair().unwrap();
    let [near, far] = [near, far].map(|end| TcpStream::from(OwnedFd::from(end)));
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let dialler = &DIALLERS[scene.guard as usize];
    model.begin();
    let (end, result) = std::thread::scope(|scope| {
        let client = scope.spawn(|| client(near, dialler, backlog, status));
        let mut peer = Peer {
            socket: far,
            scene,
            visit,
            model,
            last_words: None,
        };
        let end = peer.serve();
        drop(peer.socket);
        (end, client.join().unwrap())
    });
    match (end, &result) {
        (End::Goodbye, Ok(())) => {}
        (End::Cut, Err(error)) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(error.retry_after() <= Duration::from_secs(300));
        }
        (end, result) => panic!("{end:?} is taken for {result:?}"),
    }
    assert_eq!(backlog.len(), model.total - model.gone);
}

/// What the client's reporting thread does with a connection.
fn client(
    socket: TcpStream,
    dialler: &Mutex<Dialler>,
    backlog: &Backlog,
    status: &Status,
) -> Result<(), SessionError> {
    let link = Link::plain(Arc::new(socket), Instant::now() + PATIENCE);
    let mut dialler = dialler.lock().unwrap_or_else(PoisonError::into_inner);
    let Dialled {
        link,
        server_id,
        welcome,
    } = dialler.greet(link)?;
    drop(dialler);
    backlog
        .resume(&server_id, welcome.welcome.acknowledged)
        .map_err(SessionError::Spool)?;
    Session::new(link, &welcome).run(backlog, status, &Stop::new())
}
