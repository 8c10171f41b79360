//! The endpoint's socket as quinn wants it: tried first, waited for after; in batches both ways.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use quinn::{AsyncUdpSocket, UdpPoller};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use ringway_rt::{Segments, UdpSocket};

use super::bound::Bound;

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
    state: UdpSocketState,
    /// Segmentation offload was refused.
    refused: AtomicBool,
    address: SocketAddr,
}

struct Home {
    socket: UdpSocket,
    /// The last batch was not a full one: nothing more is there, and a try would be in vain.
    emptied: Cell<bool>,
}

impl Socket {
    pub(super) fn new(socket: std::net::UdpSocket, offload: Offload) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let address = socket.local_addr()?;
        let home = Home { socket: UdpSocket::from_std(socket)?, emptied: Cell::new(false) };
        let refused = AtomicBool::new(offload == Offload::None);
        Ok(Self { home: Bound::new(home), state, refused, address })
    }

    fn home(&self) -> io::Result<&Home> {
        self.home.home().ok_or_else(|| io::Error::other("a QUIC socket was used away from its worker"))
    }

    fn offloads(&self) -> bool {
        !self.refused.load(Ordering::Relaxed) && self.state.max_gso_segments() > 1
    }

    /// Sends without the kernel's help. Of what does not fit, the rest is lost, as on the network; nothing at all is
    /// `WouldBlock`.
    fn send_one_by_one(home: &Home, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment_bytes = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        let mut rest = transmit.contents;
        while !rest.is_empty() {
            let segments = Segments {
                destination: transmit.destination,
                source: transmit.src_ip,
                ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
                contents: rest,
                segment_bytes,
            };
            match home.socket.send_segments(&segments) {
                Ok(sent) => rest = rest.get(sent.max(1) * segment_bytes..).unwrap_or_default(),
                Err(error) if rest.len() == transmit.contents.len() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    /// Fails with `WouldBlock` only: what else a network refuses is a loss like others, and QUIC recovers from it.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let home = self.home()?;
        let result = match transmit.segment_size {
            Some(_) if !self.offloads() => Self::send_one_by_one(home, transmit),
            _ => self.state.try_send((&home.socket).into(), transmit),
        };
        let result = match result {
            Err(error) if transmit.segment_size.is_some() && refuses_offload(&error) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::info!(%error, "segmentation offload is refused: datagrams are sent one by one");
                }
                Self::send_one_by_one(home, transmit)
            }
            result => result,
        };
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                home.socket.blocked();
                Err(error)
            }
            Err(error) => {
                tracing::debug!(%error, destination = %transmit.destination, "datagrams were not sent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
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
                ready!(home.socket.poll_readable(cx))?;
                home.emptied.set(false);
            }
            match self.state.recv((&home.socket).into(), into, metas) {
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
        if self.offloads() { self.state.max_gso_segments() } else { SEGMENTS_MAX }
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// EIO: the interface cannot. EINVAL: the kernel will not.
fn refuses_offload(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
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
        self.0.home()?.socket.poll_writable(cx).map(Ok)
    }
}
