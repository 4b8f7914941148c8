//! One connection, plain or under TLS, on which every call has a deadline.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, ServerConfig, ServerConnection, SideData,
    StreamOwned,
};

use socket2::SockRef;

use crate::clock;

/// Label of the TLS exporter that stands for the channel, from RFC 9266.
const BINDING_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A connection to a peer.
#[derive(Debug)]
pub enum Link {
    /// Without TLS.
    Plain(Timed),
    /// The connecting side of TLS.
    Client(Box<StreamOwned<ClientConnection, Timed>>),
    /// The accepting side of TLS.
    Server(Box<StreamOwned<ServerConnection, Timed>>),
}

/// A socket whose calls fail with [`io::ErrorKind::TimedOut`] once its deadline has passed.
#[derive(Debug)]
pub struct Timed {
    socket: Arc<TcpStream>,
    deadline: Instant,
}

impl Link {
    /// Speaks without TLS.
    pub fn plain(socket: Arc<TcpStream>, deadline: Instant) -> Self {
        Self::Plain(Timed { socket, deadline })
    }

    /// Connects with TLS; returns when the handshake is complete.
    pub fn connect(
        socket: Arc<TcpStream>,
        deadline: Instant,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, Timed { socket, deadline });
        handshake(&mut stream.conn, &mut stream.sock)?;
        Ok(Self::Client(Box::new(stream)))
    }

    /// Accepts with TLS; returns when the handshake is complete.
    pub fn accept(
        socket: Arc<TcpStream>,
        deadline: Instant,
        config: Arc<ServerConfig>,
    ) -> io::Result<Self> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, Timed { socket, deadline });
        handshake(&mut stream.conn, &mut stream.sock)?;
        Ok(Self::Server(Box::new(stream)))
    }

    /// From now on calls fail once `deadline` has passed.
    pub fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Plain(timed) => timed.deadline = deadline,
            Self::Client(stream) => stream.sock.deadline = deadline,
            Self::Server(stream) => stream.sock.deadline = deadline,
        }
    }

    /// What both ends of this TLS connection, and nobody else, can compute (RFC 9266); `None`
    /// without TLS.
    pub fn channel_binding(&self) -> io::Result<Option<[u8; 32]>> {
        let exported = match self {
            Self::Plain(_) => return Ok(None),
            Self::Client(stream) => {
                stream
                    .conn
                    .export_keying_material([0; 32], BINDING_LABEL, None)
            }
            Self::Server(stream) => {
                stream
                    .conn
                    .export_keying_material([0; 32], BINDING_LABEL, None)
            }
        };
        exported.map(Some).map_err(io::Error::other)
    }

    /// Whether the peer has closed the connection, or sent something nobody asked for, while
    /// nothing was expected of it.
    pub fn is_broken(&self) -> bool {
        !is_quiet(self.socket())
    }

    /// Whether the peer has closed the connection, or somebody here has, whatever is left to read.
    pub fn has_closed(&self) -> bool {
        has_closed(self.socket())
    }

    /// Says goodbye as the transport does, without waiting for the peer's.
    pub fn close(mut self) {
        match &mut self {
            Self::Plain(_) => {}
            Self::Client(stream) => stream.conn.send_close_notify(),
            Self::Server(stream) => stream.conn.send_close_notify(),
        }
        // The peer may be gone already; there is nothing left to tell anybody.
        drop(self.flush());
        drop(self.socket().shutdown(Shutdown::Write));
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(timed) => &timed.socket,
            Self::Client(stream) => &stream.sock.socket,
            Self::Server(stream) => &stream.sock.socket,
        }
    }
}

/// Whether the peer has closed this connection, or somebody here has, whatever is left to read.
pub fn has_closed(socket: &TcpStream) -> bool {
    let mut socket = [PollFd::new(socket, PollFlags::RDHUP)];
    // Errors and hang-ups show, asked for or not.
    poll(&mut socket, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Whether there is nothing to read, without waiting for it and without taking it.
fn is_quiet(socket: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = SockRef::from(socket).recv_with_flags(&mut byte, PEEK_WITHOUT_WAITING);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// `MSG_PEEK | MSG_DONTWAIT`, as Linux has them.
const PEEK_WITHOUT_WAITING: i32 = 0x02 | 0x40;

fn handshake<S: SideData>(
    connection: &mut ConnectionCommon<S>,
    socket: &mut Timed,
) -> io::Result<()> {
    while connection.is_handshaking() {
        connection.complete_io(socket)?;
    }
    Ok(())
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Client(stream) => stream.read(buffer),
            Self::Server(stream) => stream.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Client(stream) => stream.write(bytes),
            Self::Server(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Client(stream) => stream.flush(),
            Self::Server(stream) => stream.flush(),
        }
    }
}

impl Timed {
    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(clock::monotonic());
        if remaining.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(remaining)
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.remaining()?))?;
        (&*self.socket).read(buffer).map_err(timed_out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.remaining()?))?;
        (&*self.socket).write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Unix says "would block" where a blocking call has timed out.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::ErrorKind::TimedOut.into()
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Both ends of a connection; from the far one a byte has come that nobody reads.
    fn with_a_byte() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut far = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
        let near = listener.accept().unwrap().0;
        far.write_all(b"x").unwrap();
        near.peek(&mut [0]).unwrap();
        (near, far)
    }

    #[test]
    fn that_a_connection_is_over_shows_whatever_is_left_to_read() {
        let (near, far) = with_a_byte();
        assert!(!has_closed(&near));
        drop(far);
        let mut looks = 0..1000;
        while !has_closed(&near) {
            looks.next().expect("a hang-up shows within a second");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        let (near, _far) = with_a_byte();
        near.shutdown(Shutdown::Both).unwrap();
        assert!(has_closed(&near), "it was displaced");
    }
}
