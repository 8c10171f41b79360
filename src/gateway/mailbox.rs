//! What the node asks of a worker: a short list under a lock, and a bell. Never on the request's way.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use ringway_rt::Doorbell;

/// One request of the node.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept on this socket, which stands for the listener configured at `configured`.
    Listen {
        /// As the definition names it.
        configured: SocketAddr,
        /// This worker's own socket of the reuseport group.
        socket: TcpListener,
    },
    /// Serve HTTP/3 on this socket; if the listener's endpoint still lives, take newcomers in again.
    ListenQuic {
        /// As the definition names it.
        configured: SocketAddr,
        /// This worker's own socket of the steered group.
        socket: UdpSocket,
        /// To be kept as long as the socket is served.
        held: Arc<()>,
    },
    /// Serve no new HTTP/3 connection there; open ones live on.
    StopQuic {
        /// As the definition names it.
        configured: SocketAddr,
    },
    /// Accept there no longer; open connections live on.
    Stop {
        /// As the definition names it.
        configured: SocketAddr,
    },
}

/// A worker's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// Rung after each change.
    pub(crate) bell: Doorbell,
    commands: Mutex<Vec<Command>>,
}

impl Mailbox {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptor was left for the bell.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self { bell: Doorbell::new()?, commands: Mutex::default() })
    }

    /// Leaves a command and rings.
    pub(crate) fn put(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        self.bell.ring();
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
