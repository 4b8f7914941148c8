//! One client's connection, from its first byte to its last, on a thread of its own.
//!
//! What is said in the [handshake] and what a failed proof costs ([delays]) is decided without
//! sockets and clocks; [seats] knows who is connected. This file does the talking.

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
use crate::event::{ClientId, Timestamp};
use crate::metrics::ServerMetrics;
use crate::net::link::Link;
use crate::net::permits::Permit;
use crate::server::intake::{Batch, Intake};
use crate::server::session::clock_offset::ClockOffset;
use crate::server::session::delays::Delays;
use crate::server::session::handshake::{Applicant, Gate};
use crate::server::session::refusal::Refusal;
use crate::server::session::seats::{Seat, Seats};
use crate::shutdown::Stop;
use crate::wire::frame::{self, FrameError, MAX_EARLY_FRAME, MAX_FRAME, PREAMBLE, VERSION};
use crate::wire::message::{ClientMessage, Heartbeat, MessageError, ServerMessage, decode, encode};

/// What all sessions share.
#[derive(Debug)]
pub struct Context {
    /// TLS, if it is on.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who gets in.
    pub gate: Gate,
    /// What failed proofs cost.
    pub delays: Delays,
    /// Who is in.
    pub seats: Seats,
    /// Where hits go.
    pub intake: Arc<Intake>,
    /// Bounds.
    pub limits: Limits,
    /// What is counted.
    pub metrics: Arc<ServerMetrics>,
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
    let admitted = admit(&mut link, address, deadline, context);
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
    deadline: Instant,
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
        let pause = context.delays.failed(address, clock::monotonic());
        context.stop.wait(pause);
        link.set_deadline(deadline.max(clock::monotonic()) + Duration::from_secs(1));
    }
    Ok(judged?)
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
    let seat = context.seats.take(applicant.id, address, socket, live);
    match seat {
        Ok(seat) => Ok(Seated { applicant, seat }),
        Err(refusal) => {
            context.metrics.refused_sessions.one();
            Err(refusal.into())
        }
    }
}

/// Welcomes the client and answers what it says.
fn attend(link: &mut Link, seated: &Seated<'_>, context: &Context) -> Result<(), End> {
    let Seated { applicant, seat } = seated;
    let now = Timestamp::from(clock::wall());
    let acknowledged = context.intake.welcome(applicant.id, &applicant.name, now);
    let heartbeat = context.limits.heartbeat.get();
    context.metrics.sessions.one();
    info!(
        "client {} ({}) connected, version {}",
        applicant.name, applicant.id, applicant.version
    );
    link.set_deadline(clock::monotonic() + WRITE);
    frame::write(
        link,
        &context
            .gate
            .welcome(applicant, acknowledged, heartbeat, now)?,
    )?;
    let mut attendant = Attendant {
        client: applicant.id,
        name: &applicant.name,
        offset: ClockOffset::default(),
        complaint: None,
    };
    let mut message = Vec::new();
    loop {
        // Three heartbeats: a client that is silent for so long is gone.
        link.set_deadline(clock::monotonic() + heartbeat.saturating_mul(3));
        let heard = frame::read(link, MAX_FRAME, &mut message);
        if context.stop.is_requested() {
            return Err(Refusal::ShuttingDown.into());
        }
        if seat.is_lost() {
            return Err(Refusal::Superseded.into());
        }
        heard?;
        seat.heard();
        link.set_deadline(clock::monotonic() + WRITE);
        match attendant.answer(&message, context)? {
            Some(answer) => frame::write(link, &encode(&answer)?)?,
            None => return Ok(()),
        }
    }
}

/// For writing an answer to a client that does not read.
const WRITE: Duration = Duration::from_secs(10);

struct Attendant<'a> {
    client: ClientId,
    name: &'a str,
    offset: ClockOffset,
    complaint: Option<String>,
}

impl Attendant<'_> {
    /// The answer to a message; `None` to a goodbye.
    fn answer(&mut self, message: &[u8], context: &Context) -> Result<Option<ServerMessage>, End> {
        let now = Timestamp::from(clock::wall());
        match decode(message)? {
            ClientMessage::Report(report) => {
                let up_to = context.intake.report(&Batch {
                    client: self.client,
                    first_sequence: report.first_sequence,
                    hits: report.hits()?,
                    received: now,
                    correction: self.offset.correction(),
                });
                Ok(Some(ServerMessage::Ack(up_to)))
            }
            ClientMessage::Heartbeat(heartbeat) => {
                let heartbeat = heartbeat.checked()?;
                self.offset
                    .note(Timestamp::from_micros(heartbeat.clock), now, self.name);
                self.complain(&heartbeat);
                context.intake.heartbeat(self.client, now);
                Ok(Some(ServerMessage::HeartbeatAck))
            }
            ClientMessage::Goodbye => {
                context.intake.farewell(self.client);
                Ok(None)
            }
            ClientMessage::Hello(_) | ClientMessage::Proof(_) => Err(Refusal::OutOfTurn.into()),
        }
    }
}

impl Attendant<'_> {
    /// Says what is wrong with a client when it changes.
    fn complain(&mut self, heartbeat: &Heartbeat) {
        let complaint = complaint(heartbeat);
        if complaint != self.complaint {
            match &complaint {
                Some(what) => warn!("client {}: {what}", self.name),
                None => info!("client {}: all is well again", self.name),
            }
            self.complaint = complaint;
        }
    }
}

fn complaint(heartbeat: &Heartbeat) -> Option<String> {
    let traps = heartbeat.traps.len();
    if traps < usize::from(heartbeat.traps_wanted) {
        return Some(format!(
            "only {traps} of {} traps are open",
            heartbeat.traps_wanted
        ));
    }
    (heartbeat.dropped > 0).then(|| {
        format!(
            "{} hits were dropped: its backlog was full",
            heartbeat.dropped
        )
    })
}

fn refuse(link: &mut Link, refusal: &Refusal) {
    link.set_deadline(clock::monotonic() + Duration::from_secs(1));
    if let Ok(message) = encode(&ServerMessage::Refused(refusal.message())) {
        // A peer that is gone does not need to know.
        drop(frame::write(link, &message));
    }
}
