//! What a session answers to what its client says.

use std::net::IpAddr;

use log::{Level, info, log, warn};

use crate::event::{ClientId, Timestamp};
use crate::server::intake::{Batch, Intake, Progress, Receipt};
use crate::server::session::clock_offset::{ClockOffset, Verdict};
use crate::server::session::lines::Lines;
use crate::server::session::refusal::Refusal;
use crate::server::store::record::Status;
use crate::wire::message::{Ack, ClientMessage, Heartbeat, Report, ServerMessage, condition};

/// A session's memory of its client.
#[derive(Debug)]
pub struct Attendant<'a> {
    intake: &'a Intake,
    lines: &'a Lines,
    host: Host<'a>,
    progress: Progress,
    received: u64,
    /// Of the last report.
    receipt: Option<Receipt>,
    offset: ClockOffset,
    complaint: Option<Complaint>,
}

/// Whom a session is with.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Who it is.
    pub id: ClientId,
    /// What people call it, printable.
    pub name: &'a str,
    /// Where it came from.
    pub address: IpAddr,
}

/// What is wrong with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    Traps { open: usize, wanted: u16 },
    Dropped,
}

impl<'a> Attendant<'a> {
    /// An attendant for a client that has just been welcomed.
    pub fn new(intake: &'a Intake, lines: &'a Lines, host: Host<'a>, progress: Progress) -> Self {
        let received = progress.durable();
        Self {
            intake,
            lines,
            host,
            progress,
            received,
            receipt: None,
            offset: ClockOffset::default(),
            complaint: None,
        }
    }

    /// The answer to a message that came at `now`; `None` to a goodbye.
    pub fn answer(
        &mut self,
        message: ClientMessage,
        now: Timestamp,
    ) -> Result<Option<ServerMessage>, Refusal> {
        match message {
            ClientMessage::Report(report) => {
                self.report(&report, now)?;
                Ok(Some(ServerMessage::Ack(self.ack())))
            }
            ClientMessage::Heartbeat(heartbeat) => self.heartbeat(heartbeat, 0, now),
            ClientMessage::ExtendedHeartbeat(extended) => {
                self.heartbeat(extended.heartbeat, extended.conditions, now)
            }
            ClientMessage::Goodbye => {
                self.intake.farewell(self.host.id);
                Ok(None)
            }
            ClientMessage::Hello(_) | ClientMessage::Proof(_) => Err(Refusal::OutOfTurn),
        }
    }

    fn report(&mut self, report: &Report, now: Timestamp) -> Result<(), Refusal> {
        let batch = Batch {
            client: self.host.id,
            origin: self.host.address,
            first_sequence: report.first_sequence,
            hits: report.hits().map_err(Refusal::Message)?,
            received: now,
            correction: self.offset.correction(),
        };
        let receipt = self.intake.report(&batch).ok_or(Refusal::StoreFull)?;
        self.received = receipt.up_to;
        self.receipt = Some(receipt);
        self.intake.settle(receipt, &self.progress);
        Ok(())
    }

    fn heartbeat(
        &mut self,
        heartbeat: Heartbeat,
        conditions: u64,
        now: Timestamp,
    ) -> Result<Option<ServerMessage>, Refusal> {
        let heartbeat = heartbeat.checked().map_err(Refusal::Message)?;
        let theirs = Timestamp::from_micros(heartbeat.clock);
        if let Some(verdict) = self.offset.note(theirs, now) {
            self.tell_of_clock(verdict);
        }
        self.complain(&heartbeat);
        let status = Status {
            traps: heartbeat.traps,
            traps_wanted: heartbeat.traps_wanted,
            backlog: heartbeat.backlog,
            dropped: heartbeat.dropped,
            clock_offset: self.offset.correction(),
            unwritable: conditions & condition::SPOOL != 0,
        };
        self.intake.heartbeat(self.host.id, now, status);
        if let Some(receipt) = self.receipt {
            self.intake.check(receipt, &self.progress);
        }
        Ok(Some(ServerMessage::HeartbeatAck(self.ack())))
    }

    fn ack(&self) -> Ack {
        Ack {
            received: self.received,
            durable: self.progress.durable(),
        }
    }

    fn tell_of_clock(&self, verdict: Verdict) {
        let level = match verdict {
            Verdict::Right | Verdict::Off => Level::Info,
            Verdict::FarOff => Level::Warn,
        };
        if verdict == Verdict::FarOff {
            self.intake.metrics().far_clocks.one();
        }
        let Host { name, address, .. } = self.host;
        if let Some(left_out) = self.lines.clocks.line(address) {
            let seconds = self.offset.correction() / 1_000_000;
            log!(
                level,
                "client {name}: its clock is {seconds} s behind ours (negative: ahead){left_out}"
            );
        }
    }

    /// Says what is wrong with a client when it changes, but not more often than makes sense.
    fn complain(&mut self, heartbeat: &Heartbeat) {
        let complaint = complaint(heartbeat);
        if complaint == self.complaint {
            return;
        }
        let Host { name, address, .. } = self.host;
        let Some(left_out) = self.lines.complaints.line(address) else {
            return;
        };
        match complaint {
            Some(Complaint::Traps { open, wanted }) => {
                warn!("client {name}: only {open} of {wanted} traps are open{left_out}");
            }
            Some(Complaint::Dropped) => {
                let dropped = heartbeat.dropped;
                warn!(
                    "client {name}: {dropped} hits were dropped for want of room on its disk{left_out}"
                );
            }
            None => info!("client {name}: all is well again{left_out}"),
        }
        self.complaint = complaint;
    }
}

fn complaint(heartbeat: &Heartbeat) -> Option<Complaint> {
    let (open, wanted) = (heartbeat.traps.len(), heartbeat.traps_wanted);
    if open < usize::from(wanted) {
        return Some(Complaint::Traps { open, wanted });
    }
    (heartbeat.dropped > 0).then_some(Complaint::Dropped)
}
