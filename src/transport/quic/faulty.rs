//! Endpoints whose socket is refused something, or watched, for the laws.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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

/// An endpoint with that fault. It adds to `bytes` what it sends and receives.
pub(crate) fn faulty(
    socket: std::net::UdpSocket,
    identity: &QuicIdentity,
    tls: &QuicTls,
    fault: Fault,
    bytes: Arc<AtomicUsize>,
) -> QuicEndpoint {
    let offload = if matches!(fault, Fault::NoOffload) { Offload::None } else { Offload::Kernel };
    let inner = Arc::new(Socket::new(socket, offload).unwrap());
    QuicEndpoint::on(Arc::new(Watched { inner, fault, bytes }), identity, tls).unwrap()
}

#[derive(Debug)]
struct Watched {
    inner: Arc<Socket>,
    fault: Fault,
    bytes: Arc<AtomicUsize>,
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if let Fault::Panic(now) = &self.fault {
            assert!(!now.load(Ordering::Relaxed), "of the library's driver");
        }
        self.bytes.fetch_add(transmit.contents.len(), Ordering::Relaxed);
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, into, metas);
        if let Poll::Ready(Ok(count)) = received {
            let bytes = metas.iter().take(count).map(|meta| meta.len).sum();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
