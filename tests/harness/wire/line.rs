//! A connection on which a test speaks the protocol by hand: plain, or under TLS with `rustls`.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::harness::SOON;
use crate::harness::peer;
use crate::harness::wire::codec::{Coded, decode, encode};
use crate::harness::wire::document;
use crate::harness::wire::message::{Reason, Refused, ServerMessage};

/// One end of a connection.
pub struct Line {
    stream: Stream,
    /// The TLS exporter, if it is under TLS.
    pub binding: Option<[u8; 32]>,
}

enum Stream {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// The label of the TLS exporter.
const LABEL: &str = "EXPORTER-Channel-Binding";

impl Line {
    /// Connects to a server without TLS.
    pub fn plain(server: &str) -> Self {
        Self::over(TcpStream::connect(server).unwrap())
    }

    /// The same from an address of choice.
    pub fn plain_from(source: Ipv4Addr, server: &str) -> Self {
        let server: SocketAddr = server.parse().unwrap();
        Self::over(peer::connect(source, server.ip(), server.port()))
    }

    /// Connects to a server on 127.0.0.1 with TLS, trusting the certificate in a file.
    pub fn tls(server: &str, cert: &Path) -> Self {
        let socket = TcpStream::connect(server).unwrap();
        Self::try_tls(socket, &trust(cert)).unwrap()
    }

    /// The same on a connection that there is, where it may fail.
    pub fn try_tls(socket: TcpStream, trust: &Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut connection = ClientConnection::new(Arc::clone(trust), name).unwrap();
        let mut socket = timed(socket);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        let binding = connection.export_keying_material([0; 32], LABEL.as_bytes(), None);
        Ok(Self {
            stream: Stream::Client(Box::new(StreamOwned::new(connection, socket))),
            binding: Some(binding.unwrap()),
        })
    }

    /// Takes a connection without TLS.
    pub fn accept(listener: &TcpListener) -> Self {
        Self::over(accept(listener))
    }

    /// Takes a connection with TLS.
    pub fn accept_tls(listener: &TcpListener, config: &Arc<ServerConfig>) -> Self {
        let mut connection = ServerConnection::new(Arc::clone(config)).unwrap();
        let mut socket = accept(listener);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        let binding = connection.export_keying_material([0; 32], LABEL.as_bytes(), None);
        Self {
            stream: Stream::Server(Box::new(StreamOwned::new(connection, socket))),
            binding: Some(binding.unwrap()),
        }
    }

    /// Speaks without TLS on a connection that there is.
    pub fn over(socket: TcpStream) -> Self {
        Self {
            stream: Stream::Plain(timed(socket)),
            binding: None,
        }
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).unwrap();
    }

    /// The same, where the peer may be gone.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream: &mut dyn Write = match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Client(stream) => stream.as_mut(),
            Stream::Server(stream) => stream.as_mut(),
        };
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Sends bytes as one frame.
    pub fn send_bytes(&mut self, message: &[u8]) {
        self.write(&framed(message));
    }

    /// Sends a message as one frame.
    pub fn send<M: Coded + Clone>(&mut self, message: &M) {
        self.send_bytes(&encode(message));
    }

    /// Reads so many bytes.
    pub fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream().read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads one frame; `None` if the peer has closed the connection instead.
    pub fn receive_bytes(&mut self) -> Option<Vec<u8>> {
        match self.try_receive_bytes() {
            Ok(message) => Some(message),
            Err(error) if is_end(&error) => None,
            Err(error) => panic!("cannot read: {error}"),
        }
    }

    /// Reads one frame, where the peer may be gone.
    pub fn try_receive_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream().read_exact(&mut header)?;
        let length = usize::try_from(u32::from_be_bytes(header)).unwrap();
        assert!(length <= 65_536, "a frame of {length} bytes");
        let mut message = vec![0; length];
        match self.stream().read_exact(&mut message) {
            Err(error) if is_end(&error) => Err(io::Error::other("it ends within a frame")),
            read => read.map(|()| message),
        }
    }

    /// Reads one message.
    pub fn receive<M: Coded>(&mut self) -> M {
        let bytes = self.receive_bytes().expect("the peer closed");
        decode(&bytes).unwrap_or_else(|wrong| panic!("{wrong} in {bytes:02x?}"))
    }

    /// Reads a refusal, which docs/protocol.md must know, and the end behind it.
    pub fn refused(&mut self) -> Refused {
        match self.receive() {
            ServerMessage::Refused(refused) => {
                self.assert_ends();
                let known = document::has_refusal(refused.reason, &refused.text);
                assert!(known, "docs/protocol.md does not know {refused:?}");
                refused
            }
            other => panic!("not a refusal: {other:?}"),
        }
    }

    /// Checks that the server refuses for this reason and in these words.
    pub fn assert_refused(&mut self, reason: Reason, text: &str) -> Refused {
        let refused = self.refused();
        assert_eq!((refused.reason, refused.text.as_str()), (reason, text));
        refused
    }

    /// Checks that the peer closes the connection and says nothing before.
    pub fn assert_ends(&mut self) {
        let said = self.receive_bytes();
        assert_eq!(said, None, "the peer should have closed");
    }

    fn stream(&mut self) -> &mut dyn Read {
        match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Client(stream) => stream.as_mut(),
            Stream::Server(stream) => stream.as_mut(),
        }
    }
}

/// A message with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&length, message].concat()
}

/// A client's side of TLS that trusts the certificate in a file.
pub fn trust(cert: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(cert)).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A server's side of TLS from a certificate and a key in files.
pub fn serve(cert: &Path, key: &Path) -> Arc<ServerConfig> {
    let key = rustls_pemfile::private_key(&mut BufReader::new(File::open(key).unwrap()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(cert)], key.unwrap().unwrap())
        .unwrap();
    Arc::new(config)
}

fn certificate(file: &Path) -> rustls::pki_types::CertificateDer<'static> {
    let mut file = BufReader::new(File::open(file).unwrap());
    rustls_pemfile::certs(&mut file).next().unwrap().unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    // On Linux the deadline for reading is that for accepting as well.
    let socket = socket2::SockRef::from(listener);
    socket.set_read_timeout(Some(SOON)).unwrap();
    timed(listener.accept().expect("nobody connects").0)
}

fn timed(socket: TcpStream) -> TcpStream {
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.set_write_timeout(Some(SOON)).unwrap();
    socket
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
