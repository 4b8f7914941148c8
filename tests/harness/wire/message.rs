//! The messages of version 1, as docs/protocol.md has them.

use std::net::IpAddr;

use crate::harness::wire::codec::{Coded, Visitor, Wrong};

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    Hello(Hello),
    Proof(Proof),
    Report(Report),
    Heartbeat(Heartbeat),
    Goodbye,
    ExtendedHeartbeat(ExtendedHeartbeat),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    Refused(Refused),
    Challenge(Challenge),
    Welcome(Welcome),
    Ack(Ack),
    HeartbeatAck(Ack),
    ExtendedWelcome(ExtendedWelcome),
}

/// How far hits have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    pub received: u64,
    pub durable: u64,
}

impl Ack {
    /// Everything up to this number is on the disk.
    pub fn durable(up_to: u64) -> Self {
        Self {
            received: up_to,
            durable: up_to,
        }
    }

    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.unsigned("received", 64, &mut self.received)?;
        visitor.unsigned("durable", 64, &mut self.durable)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    pub public_key: [u8; 32],
    pub nonce: [u8; 32],
    pub name: String,
    pub version: String,
    pub instance: [u8; 16],
    pub capabilities: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    pub server_id: [u8; 16],
    pub nonce: [u8; 32],
    pub secret_required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub secret: Option<[u8; 32]>,
    pub identity: [u8; 64],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Welcome {
    pub secret: Option<[u8; 32]>,
    pub acknowledged: Option<u64>,
    pub heartbeat_millis: u64,
    pub clock: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedWelcome {
    pub welcome: Welcome,
    pub capabilities: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub first_sequence: u64,
    pub base: u64,
    pub hits: Vec<Hit>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub offset: i64,
    pub span: u64,
    pub source: IpAddr,
    pub source_port: u16,
    pub trap_port: u16,
    pub probe: u8,
    pub count: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    pub clock: u64,
    pub uptime_millis: u64,
    pub backlog: u64,
    pub traps_wanted: u16,
    pub traps: Vec<u16>,
    pub hits: u64,
    pub dropped: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedHeartbeat {
    pub heartbeat: Heartbeat,
    pub conditions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub text: String,
    pub retry_after_millis: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    TlsRequired,
    Version,
    SecretMissing,
    SecretWrong,
    IdentityUnproven,
    IdentityInUse,
    TooManySessions,
    Protocol,
    ShuttingDown,
    Superseded,
    StoreFull,
}

impl Reason {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 11] = [
        Self::TlsRequired,
        Self::Version,
        Self::SecretMissing,
        Self::SecretWrong,
        Self::IdentityUnproven,
        Self::IdentityInUse,
        Self::TooManySessions,
        Self::Protocol,
        Self::ShuttingDown,
        Self::Superseded,
        Self::StoreFull,
    ];
}

impl Coded for ClientMessage {
    fn blank() -> Self {
        Self::Goodbye
    }

    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        const NAMES: [&str; 6] = [
            "Hello",
            "Proof",
            "Report",
            "Heartbeat",
            "Goodbye",
            "ExtendedHeartbeat",
        ];
        let mut number = match self {
            Self::Hello(_) => 0,
            Self::Proof(_) => 1,
            Self::Report(_) => 2,
            Self::Heartbeat(_) => 3,
            Self::Goodbye => 4,
            Self::ExtendedHeartbeat(_) => 5,
        };
        visitor.variant("message", &NAMES, &mut number)?;
        if matches!(self, Self::Goodbye) {
            *self = match number {
                0 => Self::Hello(Hello::default()),
                1 => Self::Proof(Proof {
                    secret: None,
                    identity: [0; 64],
                }),
                2 => Self::Report(Report::default()),
                3 => Self::Heartbeat(Heartbeat::default()),
                5 => Self::ExtendedHeartbeat(ExtendedHeartbeat::default()),
                _ => Self::Goodbye,
            };
        }
        match self {
            Self::Hello(hello) => hello.walk(visitor),
            Self::Proof(proof) => proof.walk(visitor),
            Self::Report(report) => report.walk(visitor),
            Self::Heartbeat(heartbeat) => heartbeat.walk(visitor),
            Self::Goodbye => Ok(()),
            Self::ExtendedHeartbeat(extended) => {
                extended.heartbeat.walk(visitor)?;
                visitor.unsigned("conditions", 64, &mut extended.conditions)
            }
        }
    }
}

impl Coded for ServerMessage {
    fn blank() -> Self {
        Self::HeartbeatAck(Ack::default())
    }

    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        const NAMES: [&str; 6] = [
            "Refused",
            "Challenge",
            "Welcome",
            "Ack",
            "HeartbeatAck",
            "ExtendedWelcome",
        ];
        let mut number = match self {
            Self::Refused(_) => 0,
            Self::Challenge(_) => 1,
            Self::Welcome(_) => 2,
            Self::Ack(_) => 3,
            Self::HeartbeatAck(_) => 4,
            Self::ExtendedWelcome(_) => 5,
        };
        visitor.variant("message", &NAMES, &mut number)?;
        if matches!(self, Self::HeartbeatAck(_)) && number != 4 {
            *self = match number {
                0 => Self::Refused(Refused {
                    reason: Reason::Protocol,
                    text: String::new(),
                    retry_after_millis: 0,
                }),
                1 => Self::Challenge(Challenge::default()),
                2 => Self::Welcome(Welcome::default()),
                5 => Self::ExtendedWelcome(ExtendedWelcome::default()),
                _ => Self::Ack(Ack::default()),
            };
        }
        match self {
            Self::Refused(refused) => refused.walk(visitor),
            Self::Challenge(challenge) => challenge.walk(visitor),
            Self::Welcome(welcome) => welcome.walk(visitor),
            Self::Ack(ack) | Self::HeartbeatAck(ack) => ack.walk(visitor),
            Self::ExtendedWelcome(extended) => {
                extended.welcome.walk(visitor)?;
                visitor.unsigned("capabilities", 64, &mut extended.capabilities)
            }
        }
    }
}

impl Hello {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.bytes("public_key", &mut self.public_key)?;
        visitor.bytes("nonce", &mut self.nonce)?;
        visitor.text("name", &mut self.name)?;
        visitor.text("version", &mut self.version)?;
        visitor.bytes("instance", &mut self.instance)?;
        visitor.unsigned("capabilities", 64, &mut self.capabilities)
    }
}

impl Challenge {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.bytes("server_id", &mut self.server_id)?;
        visitor.bytes("nonce", &mut self.nonce)?;
        visitor.flag("secret_required", &mut self.secret_required)
    }
}

impl Proof {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.perhaps("secret", &mut self.secret)?;
        visitor.bytes("identity", &mut self.identity)
    }
}

impl Welcome {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.perhaps("secret", &mut self.secret)?;
        visitor.perhaps_number("acknowledged", &mut self.acknowledged)?;
        visitor.unsigned("heartbeat_millis", 64, &mut self.heartbeat_millis)?;
        visitor.unsigned("clock", 64, &mut self.clock)
    }
}

impl Report {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.unsigned("first_sequence", 64, &mut self.first_sequence)?;
        visitor.unsigned("base", 64, &mut self.base)?;
        let mut count = self.hits.len();
        visitor.count("hits", &mut count)?;
        self.hits.resize(count, Hit::blank());
        self.hits.iter_mut().try_for_each(|hit| hit.walk(visitor))
    }
}

impl Hit {
    /// A hit to read into.
    fn blank() -> Self {
        Self {
            offset: 0,
            span: 0,
            source: IpAddr::from([0; 4]),
            source_port: 0,
            trap_port: 0,
            probe: 0,
            count: 0,
        }
    }

    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.signed("offset", &mut self.offset)?;
        visitor.unsigned("span", 64, &mut self.span)?;
        let mut family = usize::from(self.source.is_ipv6());
        visitor.variant("source", &["V4", "V6"], &mut family)?;
        self.source = match (family, self.source) {
            (0, IpAddr::V4(v4)) => {
                let mut octets = v4.octets();
                visitor.bytes("source", &mut octets)?;
                octets.into()
            }
            (_, source) => {
                let mut octets = match source {
                    IpAddr::V4(_) => [0; 16],
                    IpAddr::V6(v6) => v6.octets(),
                };
                visitor.bytes("source", &mut octets)?;
                octets.into()
            }
        };
        visitor.short("source_port", &mut self.source_port)?;
        visitor.short("trap_port", &mut self.trap_port)?;
        visitor.byte("probe", &mut self.probe)?;
        visitor.long("count", &mut self.count)
    }
}

impl Heartbeat {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        visitor.unsigned("clock", 64, &mut self.clock)?;
        visitor.unsigned("uptime_millis", 64, &mut self.uptime_millis)?;
        visitor.unsigned("backlog", 64, &mut self.backlog)?;
        visitor.short("traps_wanted", &mut self.traps_wanted)?;
        let mut count = self.traps.len();
        visitor.count("traps", &mut count)?;
        self.traps.resize(count, 0);
        for port in &mut self.traps {
            visitor.short("trap", port)?;
        }
        visitor.unsigned("hits", 64, &mut self.hits)?;
        visitor.unsigned("dropped", 64, &mut self.dropped)
    }
}

impl Refused {
    fn walk(&mut self, visitor: &mut impl Visitor) -> Result<(), Wrong> {
        let names = Reason::ALL.map(|reason| format!("{reason:?}"));
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let all = Reason::ALL.iter();
        let mut code = all.take_while(|reason| **reason != self.reason).count();
        visitor.variant("reason", &names, &mut code)?;
        self.reason = Reason::ALL[code];
        visitor.text("text", &mut self.text)?;
        visitor.unsigned("retry_after_millis", 64, &mut self.retry_after_millis)
    }
}
