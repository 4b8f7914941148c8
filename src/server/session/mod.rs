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
pub mod refusal;
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
use crate::seldom::Seldom;
use crate::server::intake::{Arrival, Intake, Standing, Unwelcome};
use crate::server::session::admission::Admission;
use crate::server::session::allowance::Allowances;
use crate::server::session::attendant::Attendant;
use crate::server::session::delays::Delays;
use crate::server::session::handshake::{Applicant, Gate};
use crate::server::session::refusal::Refusal;
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

/// Kinds of log lines that peers can cause.
#[derive(Debug, Default)]
pub struct Lines {
    /// A proof was wrong.
    pub failed_proof: Seldom,
    /// A client that has proven itself was refused.
    pub refused: Seldom,
    /// A newcomer was put off or turned away.
    pub newcomers: Seldom,
    /// A client that is blocked has come.
    pub blocked: Seldom,
    /// A client reports faster than it may.
    pub slowed: Seldom,
    /// A session could not be started.
    pub not_started: Seldom,
    /// A connection could not be accepted.
    pub not_accepted: Seldom,
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
    let admitted = admit(&mut link, address, &permit, context);
    let admitted = admitted.and_then(|applicant| meet(applicant, address, context));
    let admitted = admitted.and_then(|applicant| take_seat(applicant, address, socket, context));
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
        sit_out(link, until);
    }
    Ok(judged?)
}

/// How long a failed proof takes up one of its address's places, even if the peer hangs up: long
/// enough that guessing is slow, short enough that misconfigured clients do not lock out those
/// that share their address.
const LONGEST_PIN: Duration = Duration::from_secs(5);

/// Has a peer wait, but no longer than its connection lasts.
fn sit_out(link: &mut Link, until: Instant) {
    link.set_deadline(until);
    // Whatever it sends meanwhile is not heard.
    while link.read(&mut [0; 256]).is_ok_and(|read| read > 0) {}
}

/// Lets a client pass that the server knows, and newcomers as the settings say.
fn meet(applicant: Applicant, address: IpAddr, context: &Context) -> Result<Applicant, End> {
    let Standing::New { founded } = context.intake.standing(applicant.id) else {
        return Ok(applicant);
    };
    let (wall, now) = (clock::wall().into(), clock::monotonic());
    let Err(refusal) = context.admission.admit(address, founded, wall, now) else {
        return Ok(applicant);
    };
    context.metrics.refused_newcomers.one();
    if let Some(left_out) = context.seldom.newcomers.line(now) {
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

fn take_seat<'a>(
    applicant: Applicant,
    address: IpAddr,
    socket: &Arc<TcpStream>,
    context: &'a Context,
) -> Result<Seated<'a>, End> {
    let live = context.limits.heartbeat.get().saturating_mul(2);
    let Applicant {
        id: client,
        instance,
        ..
    } = applicant;
    let newcomer = Newcomer {
        client,
        instance,
        address,
    };
    match context.seats.take(newcomer, socket, live) {
        Ok(seat) => Ok(Seated { applicant, seat }),
        Err(refusal) => {
            context.metrics.refused_sessions.one();
            // From the same address it may be the client itself, which was cut off and started anew.
            if matches!(refusal, Refusal::IdentityInUse(other) if other != address) {
                context.intake.cloned(client, address, clock::wall().into());
            } else if let Some(left_out) = context.seldom.refused.line(clock::monotonic()) {
                warn!(
                    "client {} at {address} is refused: {refusal}{left_out}",
                    applicant.name
                );
            }
            Err(refusal.into())
        }
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
        address: seat.address(),
        now,
    };
    let progress = context
        .intake
        .welcome(&arrival)
        .map_err(|why| unwelcome(why, &arrival, context))?;
    let acknowledged = Some(progress.durable()).filter(|up_to| *up_to > 0);
    let heartbeat = context.limits.heartbeat.get();
    context.metrics.sessions.one();
    info!(
        "client {} ({}) connected, version {}",
        applicant.name, applicant.id, applicant.version
    );
    link.set_deadline(clock::monotonic() + WRITE);
    let welcome = context
        .gate
        .welcome(applicant, acknowledged, heartbeat, now)?;
    frame::write(link, &welcome)?;
    let mut attendant = Attendant::new(&context.intake, &arrival, progress);
    let mut message = Vec::new();
    loop {
        slow_down(applicant, context);
        // Three heartbeats: a client that is silent for so long is gone.
        link.set_deadline(clock::monotonic() + heartbeat.saturating_mul(3));
        let heard = frame::read(link, MAX_FRAME, &mut message);
        if context.stop.is_requested() {
            return Err(Refusal::ShuttingDown.into());
        }
        if seat.is_lost() {
            return Err(ended(applicant, context).into());
        }
        heard?;
        seat.heard();
        link.set_deadline(clock::monotonic() + WRITE);
        let said = decode(&message)?;
        let hits = match &said {
            ClientMessage::Report(report) => report.hits.len(),
            ClientMessage::Hello(_)
            | ClientMessage::Proof(_)
            | ClientMessage::Heartbeat(_)
            | ClientMessage::Goodbye => 0,
        };
        context
            .allowances
            .spend(applicant.id, hits, clock::monotonic());
        match attendant.answer(said, Timestamp::from(clock::wall()))? {
            Some(answer) => frame::write(link, &encode(&answer)?)?,
            None => return Ok(()),
        }
    }
}

/// Why a client that was welcomed has no seat any more.
fn ended(applicant: &Applicant, context: &Context) -> Refusal {
    if context.intake.is_blocked(applicant.id) {
        Refusal::Blocked
    } else {
        Refusal::Superseded
    }
}

/// Why a client that has a seat cannot have a session.
fn unwelcome(why: Unwelcome, arrival: &Arrival<'_>, context: &Context) -> Refusal {
    match why {
        Unwelcome::NoRoom => Refusal::TooManyClients,
        Unwelcome::Blocked => {
            context.metrics.refused_sessions.one();
            if let Some(left_out) = context.seldom.blocked.line(clock::monotonic()) {
                let (name, address) = (arrival.name, arrival.address);
                warn!("client {name} at {address} is blocked, and refused{left_out}");
            }
            Refusal::Blocked
        }
    }
}

/// Waits until a client may be read from again.
fn slow_down(applicant: &Applicant, context: &Context) {
    let pause = context.allowances.pause(applicant.id, clock::monotonic());
    if pause.is_zero() {
        return;
    }
    context.metrics.slowed.one();
    if let Some(left_out) = context.seldom.slowed.line(clock::monotonic()) {
        info!(
            "client {} reports more than limits.client-rate hits a second, and is read from more \
             slowly{left_out}",
            applicant.name
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
