//! The endpoint's socket as quinn wants it: tried first, waited for after; in batches both ways.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use ringway_rt::UdpSocket;

use super::batches;
use super::bound::Bound;
use super::outgoing::Outgoing;

/// Most datagrams of one send where the kernel does not cut them apart itself: as many as quinn makes at once.
const SEGMENTS_MAX: usize = 10;

/// Who cuts a send into datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offload {
    /// The kernel or the interface (GSO), until it refuses.
    Kernel,
    /// Nobody: they are handed over one by one, many in a call (`sendmmsg`).
    None,
}

/// A UDP socket with segmentation offload both ways, ECN, the local address of each datagram, and no fragmentation.
#[derive(Debug)]
pub(super) struct Socket {
    home: Bound<Home>,
    address: SocketAddr,
}

struct Home {
    outgoing: Rc<Outgoing>,
    /// The last batch was not a full one: nothing more is there, and a try would be in vain.
    emptied: Cell<bool>,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket, offload: Offload) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        let outgoing = Outgoing::new(UdpSocket::from_std(socket)?, state, offload != Offload::None);
        Ok(Self { home: Bound::new(Home { outgoing, emptied: Cell::new(false) }), address })
    }

    fn home(&self) -> io::Result<&Home> {
        self.home.home().ok_or_else(|| io::Error::other("a QUIC socket was used away from its worker"))
    }

    fn state(&self) -> Option<&UdpSocketState> {
        self.home.home().map(|home| &home.outgoing.state)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    /// Fails with `WouldBlock` only: what else a network refuses is a loss like others, and QUIC recovers from it.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let home = self.home()?;
        batches::sent(
            transmit.segment_size.map_or(1, |bytes| transmit.contents.len().div_ceil(bytes.max(1))),
        );
        home.outgoing.put(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        into: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let home = self.home()?;
        loop {
            if home.emptied.get() {
                ready!(home.outgoing.socket.poll_readable(cx))?;
                home.emptied.set(false);
            }
            match home.outgoing.state.recv((&home.outgoing.socket).into(), into, metas) {
                Ok(count) => {
                    home.emptied.set(count < BATCH_SIZE);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => home.emptied.set(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_fatal(&error) => return Poll::Ready(Err(error)),
                // Want of memory, or what the network says of an earlier datagram: it passes.
                Err(_) => return Poll::Ready(Ok(0)),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        let offload = self.home.home().map(|home| &home.outgoing).filter(|outgoing| outgoing.offloads());
        batches::allowed(offload.map_or(SEGMENTS_MAX, |outgoing| outgoing.state.max_gso_segments()))
    }

    fn max_receive_segments(&self) -> usize {
        self.state().map_or(1, UdpSocketState::gro_segments)
    }

    fn may_fragment(&self) -> bool {
        self.state().is_none_or(UdpSocketState::may_fragment)
    }
}

/// The socket itself is gone.
fn is_fatal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EINVAL | libc::EFAULT))
}

/// Waits for room to send, for one connection.
#[derive(Debug)]
struct Poller(Arc<Socket>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.home()?.outgoing.socket.poll_writable(cx).map(Ok)
    }
}
