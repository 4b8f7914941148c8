//! One client's connection, from its first byte to its last, on a thread of its own.
//!
//! What is said in the [handshake] and what a failed proof costs ([delays]) is decided without
//! sockets and clocks; [seats] knows who is connected. This file does the talking.

pub mod admission;
pub mod allowance;
pub mod attendant;
pub mod clock_offset;
pub mod delays;
pub mod handshake;
pub mod lines;
pub mod refusal;
pub mod seating;
pub mod seats;

use std::io::{self, Read as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info, warn};
use rustls::ServerConfig;

use crate::clock;
use crate::config::server::Limits;
use crate::entropy;
use crate::event::Timestamp;
use crate::metrics::ServerMetrics;
use crate::net::link::Link;
use crate::net::permits::Permit;
use crate::server::intake::{Arrival, Familiarity, Intake, Unwelcome};
use crate::server::session::admission::Admission;
use crate::server::session::allowance::Allowances;
use crate::server::session::attendant::{Attendant, Host};
use crate::server::session::delays::Delays;
use crate::server::session::handshake::{Applicant, Gate};
use crate::server::session::lines::Lines;
use crate::server::session::refusal::Refusal;
use crate::server::session::seating::Standing;
use crate::server::session::seats::{Newcomer, Seat, Seats};
use crate::shutdown::Stop;
use crate::wire::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE, VERSION};
use crate::wire::message::{ClientMessage, MessageError, ServerMessage, decode, encode};

/// What all sessions share.
#[derive(Debug)]
pub struct Context {
    /// TLS, if it is on.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who gets in.
    pub gate: Gate,
    /// What failed proofs cost.
    pub delays: Delays,
    /// How fast clients may report.
    pub allowances: Allowances,
    /// How fast newcomers come in.
    pub admission: Admission,
    /// Who is in.
    pub seats: Seats,
    /// Where hits go.
    pub intake: Arc<Intake>,
    /// Bounds.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<ServerMetrics>,
    /// Lines that peers can cause.
    pub seldom: Lines,
    /// When to stop.
    pub stop: Stop,
}

/// Why a session ended otherwise than by a goodbye.
#[derive(Debug)]
enum End {
    /// The peer went away, or the connection failed.
    Gone(FrameError),
    /// The server turned the peer away.
    Refused(Refusal),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong { .. } => Self::Refused(Refusal::Frame),
            FrameError::Closed | FrameError::Io(_) => Self::Gone(error),
        }
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(FrameError::Io(error))
    }
}

impl From<MessageError> for End {
    fn from(error: MessageError) -> Self {
        Self::Refused(Refusal::Message(error))
    }
}

/// Serves a connection until it ends. `permit` is given back once the client is known.
pub fn serve(socket: &Arc<TcpStream>, peer: SocketAddr, permit: Permit, context: &Context) {
    let shutdown = Arc::clone(socket);
    // Ends the wait for the client's next message; an answer can still be written.
    let _wake = context
        .stop
        .on_request(move || drop(shutdown.shutdown(Shutdown::Read)));
    let address = peer.ip().to_canonical();
    let deadline = clock::monotonic() + context.limits.handshake.get();
    let mut link = match open(socket, deadline, context) {
        Ok(link) => link,
        Err(end) => {
            context.metrics.rejected.one();
            debug!("{peer}: {}", reason(&end));
            return;
        }
    };
    let admitted = admit(&mut link, address, &permit, context).and_then(|applicant| {
        let standing = meet(&applicant, address, context)?;
        permit.proven();
        let newcomer = Newcomer {
            client: applicant.id,
            instance: applicant.instance,
            address,
            standing,
        };
        take_seat(applicant, newcomer, socket, context)
    });
    drop(permit);
    let end = match admitted {
        Ok(seated) => attend(&mut link, &seated, context),
        Err(end) => {
            context.metrics.rejected.one();
            Err(end)
        }
    };
    match end {
        Ok(()) => debug!("{peer}: said goodbye"),
        Err(end) => {
            debug!("{peer}: {}", reason(&end));
            if let End::Refused(refusal) = &end {
                refuse(&mut link, refusal);
            }
        }
    }
    link.close();
}

fn reason(end: &End) -> String {
    match end {
        End::Gone(error) => error.to_string(),
        End::Refused(refusal) => refusal.to_string(),
    }
}

/// Looks at the first byte to see what the peer speaks, and sets TLS up if it is on.
fn open(socket: &Arc<TcpStream>, deadline: Instant, context: &Context) -> Result<Link, End> {
    socket.set_read_timeout(Some(context.limits.handshake.get()))?;
    let mut first = [0];
    if socket.peek(&mut first)? == 0 {
        return Err(End::Gone(FrameError::Closed));
    }
    match (&context.tls, first) {
        (Some(_), [b'V']) => {
            let mut plain = Link::plain(Arc::clone(socket), deadline);
            // Read what was sent, or closing would reset the connection and lose the answer.
            drop(plain.read(&mut [0; MAX_EARLY_FRAME]));
            refuse(&mut plain, &Refusal::TlsRequired);
            plain.close();
            Err(Refusal::TlsRequired.into())
        }
        (None, [TLS_HANDSHAKE]) => Err(Refusal::PlainRequired.into()),
        (None, _) => Ok(Link::plain(Arc::clone(socket), deadline)),
        (Some(tls), _) => Ok(Link::accept(Arc::clone(socket), deadline, Arc::clone(tls))?),
    }
}

/// The first byte of a TLS connection: a handshake record.
const TLS_HANDSHAKE: u8 = 22;

fn admit(
    link: &mut Link,
    address: IpAddr,
    permit: &Permit,
    context: &Context,
) -> Result<Applicant, End> {
    let mut preamble = [0; PREAMBLE.len()];
    link.read_exact(&mut preamble)?;
    match preamble {
        PREAMBLE => {}
        [b'V', b'F', b'T', version, ..] if version != VERSION => {
            return Err(Refusal::Version(version).into());
        }
        _ => return Err(Refusal::NotAClient.into()),
    }
    let mut message = Vec::new();
    frame::read(link, MAX_EARLY_FRAME, &mut message)?;
    let (greeted, challenge) = context.gate.challenge(&message, entropy::random())?;
    frame::write(link, &challenge)?;
    frame::read(link, MAX_EARLY_FRAME, &mut message)?;
    let binding = link.channel_binding()?;
    let judged = context.gate.judge(&greeted, &message, binding.as_ref());
    if matches!(
        judged,
        Err(Refusal::SecretWrong | Refusal::IdentityUnproven)
    ) {
        context.metrics.failed_proofs.one();
        if let Some(left_out) = context.seldom.failed_proof.line(clock::monotonic()) {
            warn!("{address} has failed to prove itself{left_out}");
        }
        let now = clock::monotonic();
        let until = now + context.delays.failed(address, now);
        permit.pin(until.min(now + LONGEST_PIN));
        sit_out(link, until, &context.stop);
    }
    Ok(judged?)
}

/// How long a failed proof takes up one of its address's places, even if the peer hangs up: long
/// enough that guessing is slow, short enough that misconfigured clients do not lock out those
/// that share their address.
const LONGEST_PIN: Duration = Duration::from_secs(5);

/// Has a peer wait, but no longer than its connection lasts. Nothing is read meanwhile, or a peer
/// that sends all the time would cost as much as it can send.
fn sit_out(link: &Link, until: Instant, stop: &Stop) {
    loop {
        let left = until.saturating_duration_since(clock::monotonic());
        if left.is_zero() || link.has_closed() || stop.wait(left.min(GLANCE)) {
            return;
        }
    }
}

/// How often a peer that waits is looked at, whether it is still there.
const GLANCE: Duration = Duration::from_millis(100);

/// Lets a client pass that the server knows, and newcomers as the settings say.
fn meet(applicant: &Applicant, address: IpAddr, context: &Context) -> Result<Standing, End> {
    let founded = match context.intake.familiarity(applicant.id) {
        Familiarity::Known => return Ok(Standing::Known),
        Familiarity::Blocked => return Err(blocked(&applicant.name, address, context).into()),
        Familiarity::New { founded } => founded,
    };
    let (wall, now) = (clock::wall().into(), clock::monotonic());
    let Err(refusal) = context.admission.admit(address, founded, wall, now) else {
        return Ok(Standing::New);
    };
    context.metrics.refused_newcomers.one();
    if let Some(left_out) = context.seldom.newcomers.line(address) {
        let name = &applicant.name;
        warn!("new client {name} at {address} is not let in: {refusal}{left_out}");
    }
    Err(refusal.into())
}

/// A client that is in.
#[derive(Debug)]
struct Seated<'a> {
    applicant: Applicant,
    seat: Seat<'a>,
}

impl Seated<'_> {
    fn host(&self) -> Host<'_> {
        Host {
            id: self.applicant.id,
            name: &self.applicant.name,
            address: self.seat.newcomer().address,
        }
    }
}

fn take_seat<'a>(
    applicant: Applicant,
    newcomer: Newcomer,
    socket: &Arc<TcpStream>,
    context: &'a Context,
) -> Result<Seated<'a>, End> {
    let live = context.limits.heartbeat.get().saturating_mul(2);
    let Newcomer {
        client,
        address,
        standing,
        ..
    } = newcomer;
    match context.seats.take(newcomer, socket, live) {
        Ok(seat) => Ok(Seated { applicant, seat }),
        Err(refusal) => {
            context.metrics.refused_sessions.one();
            turned_away(standing, refusal, context);
            // From the same address it may be the client itself, which was cut off and started anew.
            if matches!(refusal, Refusal::IdentityInUse(other) if other != address) {
                context.intake.cloned(client, address, clock::wall().into());
            } else if let Some(left_out) = context.seldom.refused.line(address) {
                warn!(
                    "client {} at {address} is refused: {refusal}{left_out}",
                    applicant.name
                );
            }
            Err(refusal.into())
        }
    }
}

/// Has it said at once if a client that is known is turned away for want of seats.
fn turned_away(standing: Standing, refusal: Refusal, context: &Context) {
    let for_want_of_seats = matches!(
        refusal,
        Refusal::TooManySessions | Refusal::TooManySessionsHere
    );
    if standing == Standing::New || !for_want_of_seats {
        return;
    }
    if context
        .seldom
        .turned_away
        .line(clock::monotonic())
        .is_some()
    {
        let shares = context.seats.shares();
        let why = format!(
            "clients that are known are turned away, because {shares}: see `limits.sessions` and \
             `limits.sessions-per-address`"
        );
        context.intake.fell_short(why, clock::wall().into());
    }
}

/// Welcomes the client and answers what it says.
fn attend(link: &mut Link, seated: &Seated<'_>, context: &Context) -> Result<(), End> {
    let Seated { applicant, seat } = seated;
    let now = Timestamp::from(clock::wall());
    let arrival = Arrival {
        client: applicant.id,
        name: &applicant.name,
        version: &applicant.version,
        address: seat.newcomer().address,
        now,
    };
    let progress = context
        .intake
        .welcome(&arrival)
        .map_err(|why| unwelcome(why, &arrival, context))?;
    let acknowledged = Some(progress.durable()).filter(|up_to| *up_to > 0);
    let heartbeat = context.limits.heartbeat.get();
    context.metrics.sessions.one();
    say_connected(seated, context);
    link.set_deadline(clock::monotonic() + WRITE);
    let welcome = context
        .gate
        .welcome(applicant, acknowledged, heartbeat, now)?;
    frame::write(link, &welcome)?;
    // Others may bear the name as well.
    let name = context.intake.client_name(applicant.id);
    let host = Host {
        name: &name,
        ..seated.host()
    };
    let mut attendant = Attendant::new(&context.intake, &context.seldom, host, progress);
    let mut message = Vec::new();
    loop {
        slow_down(host, context);
        // Three heartbeats: a client that is silent for so long is gone.
        link.set_deadline(clock::monotonic() + heartbeat.saturating_mul(3));
        let heard = frame::read(link, MAX_FRAME, &mut message);
        if context.stop.is_requested() {
            return Err(Refusal::ShuttingDown.into());
        }
        if let Some(refusal) = seat.lost() {
            let refusal = ended(applicant, refusal, context);
            turned_away(seat.newcomer().standing, refusal, context);
            return Err(refusal.into());
        }
        heard?;
        seat.heard();
        link.set_deadline(clock::monotonic() + WRITE);
        let said = decode(&message)?;
        context
            .allowances
            .spend(applicant.id, hits_in(&said), clock::monotonic());
        match attendant.answer(said, Timestamp::from(clock::wall()))? {
            Some(answer) => frame::write(link, &encode(&answer)?)?,
            None => return Ok(()),
        }
    }
}

/// How many hits a message reports.
fn hits_in(message: &ClientMessage) -> usize {
    match message {
        ClientMessage::Report(report) => report.hits.len(),
        ClientMessage::Hello(_)
        | ClientMessage::Proof(_)
        | ClientMessage::Heartbeat(_)
        | ClientMessage::ExtendedHeartbeat(_)
        | ClientMessage::Goodbye => 0,
    }
}

fn say_connected(seated: &Seated<'_>, context: &Context) {
    let Host { id, name, address } = seated.host();
    if let Some(left_out) = context.seldom.connected.line(address) {
        let version = &seated.applicant.version;
        info!("client {name} ({id}) connected, version {version}{left_out}");
    }
}

/// Why a client that was welcomed has no seat any more: as it seems, if no operator has blocked it
/// or had it forgotten.
fn ended(applicant: &Applicant, refusal: Refusal, context: &Context) -> Refusal {
    match context.intake.familiarity(applicant.id) {
        Familiarity::Known => refusal,
        Familiarity::Blocked => Refusal::Blocked,
        Familiarity::New { .. } => Refusal::Superseded,
    }
}

/// Why a client that has a seat cannot have a session.
fn unwelcome(why: Unwelcome, arrival: &Arrival<'_>, context: &Context) -> Refusal {
    match why {
        Unwelcome::NoRoom => Refusal::TooManyClients,
        Unwelcome::Blocked => blocked(arrival.name, arrival.address, context),
    }
}

/// Notes that a client has come that an operator has blocked.
fn blocked(name: &str, address: IpAddr, context: &Context) -> Refusal {
    context.metrics.refused_sessions.one();
    if let Some(left_out) = context.seldom.blocked.line(address) {
        warn!("client {name} at {address} is blocked, and refused{left_out}");
    }
    Refusal::Blocked
}

/// Waits until a client may be read from again.
fn slow_down(host: Host<'_>, context: &Context) {
    let Host { id, name, address } = host;
    let pause = context.allowances.pause(id, clock::monotonic());
    if pause.is_zero() {
        return;
    }
    context.metrics.slowed.one();
    if let Some(left_out) = context.seldom.slowed.line(address) {
        info!(
            "client {name} reports more than limits.client-rate hits a second, and is read from \
             more slowly{left_out}"
        );
    }
    context.stop.wait(pause);
}

/// For writing an answer to a client that does not read.
const WRITE: Duration = Duration::from_secs(10);

fn refuse(link: &mut Link, refusal: &Refusal) {
    link.set_deadline(clock::monotonic() + Duration::from_secs(1));
    if let Ok(message) = encode(&ServerMessage::Refused(refusal.message())) {
        // A peer that is gone does not need to know.
        drop(frame::write(link, &message));
    }
}
