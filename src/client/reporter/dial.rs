//! From a list of servers to a session: connect, set up TLS, shake hands.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::client::identity::Identity;
use crate::client::reporter::error::SessionError;
use crate::client::reporter::handshake::Greeted;
use crate::clock;
use crate::config::secret::Secret;
use crate::config::value::Endpoint;
use crate::entropy;
use crate::net::connect::connect;
use crate::net::link::Link;
use crate::wire::auth::SecretKey;
use crate::wire::frame::{self, MAX_EARLY_FRAME, PREAMBLE};
use crate::wire::message::{ExtendedWelcome, Hello, MAX_SEQUENCE, capability};

/// For looking up a name and connecting.
const CONNECT: Duration = Duration::from_secs(5);

/// For TLS. A server with many connections to accept may take its time, and whoever gives up
/// early and comes again waits behind all of them once more.
const TLS: Duration = Duration::from_secs(30);

/// For each answer of the handshake. A server may make a client wait that has failed before.
const ANSWER: Duration = Duration::from_secs(40);

/// Everything needed to reach a server.
#[derive(Debug)]
pub struct Dialler {
    servers: Vec<Server>,
    current: usize,
    tried: usize,
    tls: Option<Arc<ClientConfig>>,
    secret: Option<Secret>,
    stretched: Option<([u8; 16], SecretKey)>,
    identity: Identity,
    me: Me,
}

/// What a client says of itself in its first message.
#[derive(Clone, Debug)]
pub struct Me {
    /// What people call the host.
    pub name: String,
    /// Random; differs after each start.
    pub instance: [u8; 16],
}

/// A server and the name its certificate must be for.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What its certificate says.
    pub name: ServerName<'static>,
}

/// A session that has begun.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub link: Link,
    /// Which server it is.
    pub server_id: [u8; 16],
    /// What it said.
    pub welcome: ExtendedWelcome,
}

/// Whether all servers have been tried since one last answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// There are more to try.
    Going,
    /// All have been.
    Over,
}

impl Dialler {
    /// A dialler for `servers`, of which there must be one at least. Without `tls` it speaks
    /// plain.
    pub fn new(
        servers: Vec<Server>,
        tls: Option<Arc<ClientConfig>>,
        secret: Option<Secret>,
        identity: Identity,
        me: Me,
    ) -> Self {
        Self {
            servers,
            current: 0,
            tried: 0,
            tls,
            secret,
            stretched: None,
            identity,
            me,
        }
    }

    /// The server that is tried now, for people.
    pub fn server(&self) -> String {
        self.current()
            .map(|server| server.endpoint.to_string())
            .unwrap_or_default()
    }

    /// How the connection is protected, for people.
    pub const fn protection(&self) -> &'static str {
        if self.tls.is_some() {
            "TLS"
        } else {
            "plain, not encrypted"
        }
    }

    /// Turns to the next server.
    pub fn next_server(&mut self) -> Round {
        self.current = (self.current + 1) % self.servers.len().max(1);
        self.tried += 1;
        if self.tried < self.servers.len() {
            Round::Going
        } else {
            self.tried = 0;
            Round::Over
        }
    }

    /// Notes that the current server has answered: if it fails, all others are tried before there
    /// is a pause.
    pub const fn stay(&mut self) {
        self.tried = 0;
    }

    /// A session with the current server.
    pub fn dial(&mut self) -> Result<Dialled, SessionError> {
        let link = self.connect()?;
        self.greet(link)
    }

    /// A session with whoever is at the other end of a fresh connection.
    pub fn greet(&mut self, mut link: Link) -> Result<Dialled, SessionError> {
        let (server_id, welcome) = self.shake_hands(&mut link)?;
        if welcome
            .welcome
            .acknowledged
            .is_some_and(|up_to| up_to > MAX_SEQUENCE)
        {
            return Err(SessionError::Unexpected("a number that can be"));
        }
        Ok(Dialled {
            link,
            server_id,
            welcome,
        })
    }

    fn current(&self) -> Option<&Server> {
        self.servers.get(self.current)
    }

    fn connect(&self) -> Result<Link, SessionError> {
        let server = self.current().ok_or(SessionError::Closed)?;
        let socket = connect(&server.endpoint.host, server.endpoint.port, CONNECT)
            .map_err(SessionError::Connect)?;
        let socket = Arc::new(socket);
        let deadline = clock::monotonic() + TLS;
        match &self.tls {
            None => Ok(Link::plain(socket, deadline)),
            Some(config) => {
                Link::connect(socket, deadline, Arc::clone(config), server.name.clone())
                    .map_err(SessionError::Tls)
            }
        }
    }

    fn shake_hands(
        &mut self,
        link: &mut Link,
    ) -> Result<([u8; 16], ExtendedWelcome), SessionError> {
        let (greeted, hello) = Greeted::begin(Hello {
            public_key: self.identity.public_key(),
            nonce: entropy::random(),
            name: self.me.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.me.instance,
            capabilities: capability::CONDITIONS,
        })?;
        let opening = [&PREAMBLE[..], &frame::framed(&hello)?].concat();
        link.set_deadline(clock::monotonic() + ANSWER);
        // A server that refuses at once may have closed before this arrives; what it said then
        // still waits to be read.
        let sent = link.write_all(&opening).and_then(|()| link.flush());
        let mut answer = Vec::new();
        match (frame::read(link, MAX_EARLY_FRAME, &mut answer), sent) {
            (Ok(()), _) => {}
            (Err(_), Err(error)) => return Err(error.into()),
            (Err(error), Ok(())) => return Err(error.into()),
        }
        let challenged = greeted.challenged(&answer, link.channel_binding()?.as_ref())?;
        let server_id = challenged.server_id;
        self.stretch(server_id);
        let secret = self.stretched.as_ref().map(|(_, key)| key);
        let (proven, proof) = challenged.prove(self.identity.key(), secret)?;
        link.set_deadline(clock::monotonic() + ANSWER);
        frame::write(link, &proof)?;
        frame::read(link, MAX_EARLY_FRAME, &mut answer)?;
        Ok((server_id, proven.welcomed(&answer)?))
    }

    /// Stretches the secret for this server, unless that was done for it last time.
    fn stretch(&mut self, server_id: [u8; 16]) {
        let Some(secret) = &self.secret else { return };
        if self
            .stretched
            .as_ref()
            .is_none_or(|(id, _)| *id != server_id)
        {
            self.stretched = Some((server_id, SecretKey::derive(secret.bytes(), &server_id)));
        }
    }
}

/// Warns of what a session without TLS means.
pub fn warn_of_plain() {
    warn!(
        "no --cert: the link to the server is neither private nor protected against changes; \
         use it on a trusted network only"
    );
}
