//! What a session answers to what its client says.

use std::net::IpAddr;

use log::{info, warn};

use crate::clock;
use crate::event::{ClientId, Timestamp};
use crate::seldom::Seldom;
use crate::server::intake::{Arrival, Batch, Intake, Progress, Receipt};
use crate::server::session::clock_offset::{ClockOffset, Verdict};
use crate::server::session::refusal::Refusal;
use crate::server::store::record::Status;
use crate::wire::message::{Ack, ClientMessage, Heartbeat, Report, ServerMessage};

/// A session's memory of its client.
#[derive(Debug)]
pub struct Attendant<'a> {
    intake: &'a Intake,
    client: ClientId,
    address: IpAddr,
    name: &'a str,
    progress: Progress,
    received: u64,
    /// Of the last report.
    receipt: Option<Receipt>,
    offset: ClockOffset,
    complaint: Option<Complaint>,
    seldom: Seldom,
}

/// What is wrong with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Complaint {
    Traps { open: usize, wanted: u16 },
    Dropped,
}

impl<'a> Attendant<'a> {
    /// An attendant for a client that has just been welcomed.
    pub fn new(intake: &'a Intake, arrival: &Arrival<'a>, progress: Progress) -> Self {
        let received = progress.durable();
        Self {
            intake,
            client: arrival.client,
            address: arrival.address,
            name: arrival.name,
            progress,
            received,
            receipt: None,
            offset: ClockOffset::default(),
            complaint: None,
            seldom: Seldom::default(),
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
            ClientMessage::Heartbeat(heartbeat) => {
                let heartbeat = heartbeat.checked().map_err(Refusal::Message)?;
                self.heartbeat(&heartbeat, now);
                Ok(Some(ServerMessage::HeartbeatAck(self.ack())))
            }
            ClientMessage::Goodbye => {
                self.intake.farewell(self.client);
                Ok(None)
            }
            ClientMessage::Hello(_) | ClientMessage::Proof(_) => Err(Refusal::OutOfTurn),
        }
    }

    fn report(&mut self, report: &Report, now: Timestamp) -> Result<(), Refusal> {
        let batch = Batch {
            client: self.client,
            origin: self.address,
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

    fn heartbeat(&mut self, heartbeat: &Heartbeat, now: Timestamp) {
        let theirs = Timestamp::from_micros(heartbeat.clock);
        if self.offset.note(theirs, now, self.name) == Some(Verdict::FarOff) {
            self.intake.metrics().far_clocks.one();
        }
        self.complain(heartbeat);
        let status = Status {
            traps: heartbeat.traps.clone(),
            traps_wanted: heartbeat.traps_wanted,
            backlog: heartbeat.backlog,
            dropped: heartbeat.dropped,
            clock_offset: self.offset.correction(),
        };
        self.intake.heartbeat(self.client, now, status);
        if let Some(receipt) = self.receipt {
            self.intake.check(receipt, &self.progress);
        }
    }

    fn ack(&self) -> Ack {
        Ack {
            received: self.received,
            durable: self.progress.durable(),
        }
    }

    /// Says what is wrong with a client when it changes, but not more often than makes sense.
    fn complain(&mut self, heartbeat: &Heartbeat) {
        let complaint = complaint(heartbeat);
        if complaint == self.complaint {
            return;
        }
        let Some(left_out) = self.seldom.line(clock::monotonic()) else {
            return;
        };
        let name = self.name;
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
