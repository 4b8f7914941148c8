//! `vft standalone`: server and client in one process, over TLS on loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Sender, bounded};

use crate::cli::StandaloneArgs;
use crate::client::identity::Identity;
use crate::client::{ClientError, Credentials as ClientCredentials, Opened};
use crate::command::cert::self_signed;
use crate::command::client::{servers, spool};
use crate::command::drill::{self, Drill};
use crate::command::print;
use crate::command::server::{DEFAULT_CONFIG, HASHING};
use crate::command::{confine, doubts, signals, state_folder};
use crate::config::client::ClientSettings;
use crate::config::secret::Secret;
use crate::config::server::ServerSettings;
use crate::config::value::{Bind, Endpoint};
use crate::config::{file, state};
use crate::entropy;
use crate::exit::{Failure, Kind};
use crate::net::tls;
use crate::sandbox::rules::Rules;
use crate::server::alert::Issued;
use crate::server::correlate::sources::hash::Secret as HashSecret;
use crate::server::{Credentials as ServerCredentials, Server, ServerError};
use crate::shutdown::Stop;
use crate::state::StateFolder;
use crate::wire::auth::SecretKey;

/// Days the certificate for the way from client to server is valid; it is made anew at each start.
const CERT_DAYS: u16 = 36_500;

/// Alerts the drill can lag behind.
const ALERTS: usize = 64;

/// Runs until told to stop, or until the drill is over.
pub fn run(args: StandaloneArgs) -> Result<(), Failure> {
    confine::harden()?;
    let drill = args.drill.then(Drill::new).transpose()?;
    let home = match (&args.state_dir, &drill) {
        (None, Some(drill)) => drill.folder().to_owned(),
        (asked, _) => state::folder(asked.as_deref()),
    };
    let folder = state_folder(&home.join("standalone"))?;
    let file = args.config.as_deref();
    let (mut server_settings, _): (ServerSettings, _) =
        file::read(file, Path::new(DEFAULT_CONFIG))?;
    doubts::warn_of_muted(&server_settings);
    server_settings.bind = Bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    server_settings.alert_format = args.alert_format.unwrap_or(server_settings.alert_format);
    let mut client_settings = ClientSettings::default();
    args.traps.apply(&mut client_settings);
    client_settings.check()?;
    let spool_bytes = client_settings.spool_mib.bytes();
    let opened = Opening::new(server_settings, client_settings, &folder)?;
    let rules = opened.rules(&folder, file.unwrap_or_else(|| Path::new(DEFAULT_CONFIG)));
    let Some(drill) = drill else {
        let account = confine::account(None, opened.server_settings.user.as_ref())?;
        confine::enter(account.as_ref(), &folder, &rules)?;
        confine::warn_of_root();
        return opened.start(&folder, spool_bytes, None)?.join();
    };
    confine::enter(None, &folder, &drill.allow(rules, &opened.client.ports()))?;
    let (observer, alerts) = bounded(ALERTS);
    let (bind, stop) = (opened.bind.clone(), opened.stop.clone());
    let both = opened.start(&folder, spool_bytes, Some(observer))?;
    let outcome = drill::touch(&both.ports, &bind, &alerts);
    stop.request();
    both.join()?;
    outcome.and_then(|summary| print(&summary))
}

/// Server and client with everything open, but no thread yet.
struct Opening {
    server_settings: ServerSettings,
    credentials: ServerCredentials,
    listener: TcpListener,
    client: Opened,
    bind: Vec<IpAddr>,
    stop: Stop,
}

impl Opening {
    fn new(
        server_settings: ServerSettings,
        mut client_settings: ClientSettings,
        folder: &StateFolder,
    ) -> Result<Self, Failure> {
        let server_id = folder.keep("id", entropy::random)?;
        let secret = secret()?;
        let pair = Pair::make()?;
        let credentials = ServerCredentials {
            folder: folder.path().to_owned(),
            hashing: HashSecret(folder.keep(HASHING, entropy::random)?),
            server_id,
            tls: Some(pair.served),
            secret: Some(SecretKey::derive(secret.bytes(), &server_id)),
        };
        let listener = Server::listen(&server_settings)?;
        let address = listener
            .local_addr()
            .map_err(|error| ServerError::Bind(server_settings.bind.0, error))?;
        client_settings.server = vec![Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        }];
        let of_client = ClientCredentials {
            servers: servers(&client_settings)?,
            tls: Some(pair.trusted),
            secret: Some(secret),
            identity: Identity::keep(folder)?,
        };
        let stop = Stop::new();
        Ok(Self {
            bind: client_settings.bind.clone(),
            client: Opened::new(client_settings, of_client, stop.clone())?,
            server_settings,
            credentials,
            listener,
            stop,
        })
    }

    /// What both together may still open.
    fn rules(&self, folder: &StateFolder, file: &Path) -> Rules {
        let client = &self.client;
        let client = confine::client(folder, client.servers(), client.later_ports());
        Rules {
            read: confine::server(folder, file).read,
            ..client
        }
    }

    fn start(
        self,
        folder: &StateFolder,
        spool_bytes: u64,
        observer: Option<Sender<Arc<Issued>>>,
    ) -> Result<Both, Failure> {
        let stop = self.stop;
        let _hang_up = signals::install(&stop)?;
        let (settings, listener) = (&self.server_settings, self.listener);
        let server = Server::start(settings, self.credentials, listener, observer, stop.clone())?;
        let client = self.client.start(spool(folder, spool_bytes)?)?;
        Ok(Both {
            ports: client.ports(),
            server: watched("server", &stop, move || server.run(|| None))?,
            client: watched("client", &stop, move || client.run())?,
        })
    }
}

/// Server and client, running.
struct Both {
    ports: Vec<u16>,
    server: JoinHandle<Result<(), ServerError>>,
    client: JoinHandle<Result<(), ClientError>>,
}

impl Both {
    /// Waits for both to end; whichever ends first stops the other.
    fn join(self) -> Result<(), Failure> {
        let died = || Failure::new(Kind::Runtime, "a thread has died");
        let client = self.client.join().map_err(|_| died())?;
        let server = self.server.join().map_err(|_| died())?;
        client?;
        server?;
        Ok(())
    }
}

/// Runs `work` on a thread, and asks everybody to stop when it ends, however it ends.
fn watched<T: Send + 'static>(
    name: &str,
    stop: &Stop,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    struct StopOnDrop(Stop);
    impl Drop for StopOnDrop {
        fn drop(&mut self) {
            self.0.request();
        }
    }
    let guard = StopOnDrop(stop.clone());
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        let result = work();
        drop(guard);
        result
    });
    thread.map_err(|error| Failure::new(Kind::Runtime, format!("cannot start a thread: {error}")))
}

fn secret() -> Result<Secret, Failure> {
    let random: [u8; 16] = entropy::random();
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.parse()
        .map_err(|error: String| Failure::new(Kind::Runtime, error))
}

/// Both sides of TLS with a certificate made for the occasion.
struct Pair {
    served: Arc<rustls::ServerConfig>,
    trusted: Arc<rustls::ClientConfig>,
}

impl Pair {
    /// Makes the certificate. No file of it is left.
    fn make() -> Result<Self, Failure> {
        let made = self_signed(&[Ipv4Addr::LOCALHOST.to_string()], CERT_DAYS)?;
        let folder = drill::scratch()?;
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Kind::Runtime, format!("cannot set up TLS: {error}"))
        };
        std::fs::write(&cert, made.cert).map_err(|error| failed(&error))?;
        std::fs::write(&key, made.key).map_err(|error| failed(&error))?;
        let served = tls::serve(&cert, &key).map_err(|error| failed(&error))?;
        let trusting = tls::trust(&cert).map_err(|error| failed(&error))?;
        Ok(Self {
            served: served.config,
            trusted: trusting.config,
        })
    }
}
