//! The server's door: accepts connections and gives each a thread.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::Builder;

use log::{debug, warn};

use crate::clock;
use crate::net::accept::{Remedy, remedy};
use crate::net::listen::Waker;
use crate::net::permits::Permits;
use crate::server::session::{self, Context};

/// Stack of a session's thread, in bytes.
const STACK: usize = 256 * 1024;

/// Where a listener listens, and how to wake whoever accepts there.
pub fn address_and_waker(listener: &TcpListener) -> io::Result<(SocketAddr, Waker)> {
    Ok((listener.local_addr()?, Waker::new(listener)?))
}

/// Accepts until told to stop.
pub fn run(listener: &TcpListener, waker: Waker, permits: &Permits, context: &Arc<Context>) {
    let _wake = context.stop.on_request(move || waker.wake());
    let mut sessions = 0_u64;
    while !context.stop.is_requested() {
        match listener.accept() {
            _ if context.stop.is_requested() => return,
            Ok((socket, peer)) => {
                context.metrics.connections.one();
                start(socket, peer, sessions, permits, context);
                sessions += 1;
            }
            Err(error) => {
                context.metrics.accept_errors.one();
                if let Remedy::Wait(span) = remedy(&error) {
                    if let Some(left_out) = context.seldom.not_accepted.line(clock::monotonic()) {
                        warn!(
                            "cannot accept connections: {error}; is the limit on open files high \
                             enough? trying on{left_out}"
                        );
                    }
                    context.stop.wait(span);
                }
            }
        }
    }
}

fn start(
    socket: TcpStream,
    peer: SocketAddr,
    number: u64,
    permits: &Permits,
    context: &Arc<Context>,
) {
    // Answers are whole frames and want to leave at once.
    drop(socket.set_nodelay(true));
    let socket = Arc::new(socket);
    let address = peer.ip().to_canonical();
    let Some(permit) = permits.admit(address, &socket, &context.metrics.displaced) else {
        context.metrics.rejected.one();
        debug!("{peer}: no place for one more unauthenticated connection from this address");
        return;
    };
    let context_of_session = Arc::clone(context);
    let started = Builder::new()
        .name(format!("session-{number}"))
        .stack_size(STACK)
        .spawn(move || session::serve(&socket, peer, permit, &context_of_session));
    if let Err(error) = started {
        context.metrics.rejected.one();
        if let Some(left_out) = context.seldom.not_started.line(clock::monotonic()) {
            warn!(
                "cannot start a session: {error}; is the limit on threads high enough?{left_out}"
            );
        }
    }
}
