//! What an endpoint sends: datagrams in batches that the kernel cuts apart, held for a moment where more of them follow.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use std::future::poll_fn;

use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};
use ringway_rt::{Segments, UdpSocket, spawn};

use super::batches;

/// Bytes of one send: a datagram's most, less room for any header.
const HELD_BYTES_MAX: usize = 65_000;

/// The socket and what waits for the end of a driver's turn.
pub(super) struct Outgoing {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
    /// Segmentation offload was refused.
    refused: Cell<bool>,
    held: RefCell<Held>,
}

/// Datagrams of one size for one receiver.
#[derive(Default)]
struct Held {
    contents: Vec<u8>,
    /// INVARIANT: not 0, and `contents` is a multiple of it, while there are any.
    segment_bytes: usize,
    to: Option<To>,
    /// The kernel takes nothing, and a task waits until it does.
    waiting: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct To {
    destination: SocketAddr,
    source: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
}

impl Outgoing {
    pub(super) fn new(socket: UdpSocket, state: UdpSocketState, offload: bool) -> Rc<Self> {
        Rc::new(Self { socket, state, refused: Cell::new(!offload), held: RefCell::default() })
    }

    pub(super) fn offloads(&self) -> bool {
        !self.refused.get() && self.state.max_gso_segments() > 1
    }

    /// Sends, or holds what more of follows.
    ///
    /// # Errors
    /// `WouldBlock` alone: nothing was taken.
    pub(super) fn put(self: &Rc<Self>, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.joins(transmit) {
            return Ok(());
        }
        self.flush()?;
        let whole = transmit.segment_size.is_some_and(|bytes| transmit.contents.len().is_multiple_of(bytes));
        if !whole || !batches::may_hold() || !self.offloads() {
            return self.send(transmit);
        }
        let mut held = self.held.borrow_mut();
        held.contents.reserve_exact(HELD_BYTES_MAX);
        held.contents.extend_from_slice(transmit.contents);
        held.segment_bytes = transmit.segment_size.unwrap_or_default();
        held.to = Some(to(transmit));
        drop(held);
        batches::holds(self);
        Ok(())
    }

    /// Whether it was added to what is held. Its last datagram may be shorter, and is then the last of all.
    fn joins(self: &Rc<Self>, transmit: &Transmit<'_>) -> bool {
        let mut held = self.held.borrow_mut();
        let bytes = transmit.contents.len();
        let fits = !held.waiting
            && held.to == Some(to(transmit))
            && match transmit.segment_size {
                Some(segment_bytes) => segment_bytes == held.segment_bytes,
                None => bytes <= held.segment_bytes,
            }
            && held.contents.len() + bytes <= HELD_BYTES_MAX
            && (held.contents.len() + bytes).div_ceil(held.segment_bytes.max(1))
                <= self.state.max_gso_segments();
        if !fits {
            return false;
        }
        held.contents.extend_from_slice(transmit.contents);
        if !held.contents.len().is_multiple_of(held.segment_bytes) {
            drop(held);
            self.let_go();
        }
        true
    }

    /// Sends what is held, now or when the kernel takes it.
    pub(super) fn let_go(self: &Rc<Self>) {
        if self.flush().is_ok() || std::mem::replace(&mut self.held.borrow_mut().waiting, true) {
            return;
        }
        let outgoing = Rc::clone(self);
        spawn(async move {
            loop {
                poll_fn(|cx| outgoing.socket.poll_writable(cx)).await;
                if outgoing.flush().is_ok() {
                    outgoing.held.borrow_mut().waiting = false;
                    return;
                }
            }
        });
    }

    /// Sends what is held.
    fn flush(&self) -> io::Result<()> {
        let mut held = self.held.borrow_mut();
        let Some(to) = held.to else { return Ok(()) };
        let segment_size = (held.contents.len() > held.segment_bytes).then_some(held.segment_bytes);
        self.send(&Transmit {
            destination: to.destination,
            ecn: to.ecn,
            contents: &held.contents,
            segment_size,
            src_ip: to.source,
        })?;
        held.contents.clear();
        held.to = None;
        Ok(())
    }

    /// Fails with `WouldBlock` only: what else a network refuses is a loss like others, and QUIC recovers from it.
    fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let result = match transmit.segment_size {
            Some(_) if !self.offloads() => self.send_one_by_one(transmit),
            _ => self.state.try_send((&self.socket).into(), transmit),
        };
        let result = match result {
            Err(error) if transmit.segment_size.is_some() && refuses_offload(&error) => {
                if !self.refused.replace(true) {
                    tracing::info!(%error, "segmentation offload is refused: datagrams are sent one by one");
                }
                self.send_one_by_one(transmit)
            }
            result => result,
        };
        match result {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.socket.blocked();
                Err(error)
            }
            Err(error) => {
                tracing::debug!(%error, destination = %transmit.destination, "datagrams were not sent");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sends without the kernel's help. Of what does not fit, the rest is lost, as on the network; nothing at all is
    /// `WouldBlock`.
    fn send_one_by_one(&self, transmit: &Transmit<'_>) -> io::Result<()> {
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
            match self.socket.send_segments(&segments) {
                Ok(sent) => rest = rest.get(sent.max(1) * segment_bytes..).unwrap_or_default(),
                Err(error) if rest.len() == transmit.contents.len() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

fn to(transmit: &Transmit<'_>) -> To {
    To { destination: transmit.destination, source: transmit.src_ip, ecn: transmit.ecn }
}

/// EIO: the interface cannot. EINVAL: the kernel will not.
fn refuses_offload(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}
