//! Endpoints whose socket is refused something, for the laws.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{RecvMeta, Transmit};

use super::socket::{Offload, Socket};
use super::{QuicEndpoint, QuicIdentity, QuicTls};

/// What goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Segmentation offload is refused from the start.
    NoOffload,
    /// A connection's driver panics at the first packet that it sends after this is set, while it holds the
    /// connection's lock.
    Panic(Arc<AtomicBool>),
}

/// An endpoint with that fault.
pub(crate) fn faulty(
    socket: std::net::UdpSocket,
    identity: &QuicIdentity,
    tls: &QuicTls,
    fault: Fault,
) -> QuicEndpoint {
    let offload = if matches!(fault, Fault::NoOffload) { Offload::None } else { Offload::Kernel };
    let inner = Arc::new(Socket::new(socket, offload).unwrap());
    let socket: Arc<dyn AsyncUdpSocket> = match fault {
        Fault::Panic(now) => Arc::new(Exploding { inner, now }),
        Fault::None | Fault::NoOffload => inner,
    };
    QuicEndpoint::on(socket, identity, tls).unwrap()
}

#[derive(Debug)]
struct Exploding {
    inner: Arc<Socket>,
    now: Arc<AtomicBool>,
}

impl AsyncUdpSocket for Exploding {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        assert!(!self.now.load(Ordering::Relaxed), "of the library's driver");
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, into, metas)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}
