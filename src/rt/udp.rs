//! UDP sockets on a worker: readiness only. Who owns one sends and receives on the descriptor without blocking, and waits
//! here when nothing can be done.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::sys;
pub use crate::sys::udp::Segments;
use crate::task::spawn;
use crate::watched::{Direction, Watched};

/// Bytes asked for as socket buffers, both ways: a burst of 1,400 full packets. `net.core.rmem_max` and `wmem_max` cap it.
const SOCKET_BUFFER_BYTES: i32 = 2 * 1024 * 1024;

/// A bound UDP socket on a worker. One task waits to receive; any number may wait to send.
#[derive(Debug)]
pub struct UdpSocket {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    watched: Watched,
    /// A send met a full buffer, and a task of its own waits until there is room.
    blocked: Cell<bool>,
    /// Who is told then. At most one entry for each task that sends.
    writers: RefCell<Vec<Waker>>,
}

impl UdpSocket {
    /// Binds one socket of its own; off the worker too. With `[::]` only IPv6 is received.
    pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
        let socket = sys::udp::bound_socket(&address, false, true)?;
        sys::udp::ask_for_buffers(socket.as_raw_fd(), SOCKET_BUFFER_BYTES);
        Ok(socket.into())
    }

    /// Binds `members` sockets (1 to 256) to one address as a reuseport group, whose datagrams the kernel steers by the first
    /// byte of the QUIC destination connection id, modulo `members`: an id of the member at index `i` of the result
    /// has a first byte that is `i` modulo `members`. Off the worker too. Needs no privilege.
    ///
    /// The kernel's index is the order of binding, so they are bound here one after the other; closing a member would
    /// reorder the others, and a socket that somebody else binds with SO_REUSEPORT would join the group: keep all of
    /// them open as long as any is served, and see that the address is free before.
    pub fn bind_group(address: SocketAddr, members: u16) -> io::Result<Vec<std::net::UdpSocket>> {
        if !(1..=256).contains(&members) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a group has 1 to 256 members"));
        }
        let mut bound = address;
        let mut group = Vec::new();
        for _ in 0..members {
            let socket = sys::udp::bound_socket(&bound, true, true)?;
            sys::udp::ask_for_buffers(socket.as_raw_fd(), SOCKET_BUFFER_BYTES);
            if group.is_empty() {
                // The filter belongs to the group; what it chooses before that member is bound is spread by hash.
                sys::udp::steer(socket.as_raw_fd(), u32::from(members))?;
            }
            let socket = std::net::UdpSocket::from(socket);
            bound = socket.local_addr()?;
            group.push(socket);
        }
        Ok(group)
    }

    /// Ends receiving on a bound socket, in its clones too, and takes it out of its group: what is sent there from here on is another
    /// socket's, or is refused. To close it is not enough where that has to hold at once: a ring keeps what is waited for until it has
    /// ended the wait, which is milliseconds later where the process ends first. Nothing can be sent any more, and the other members of
    /// its group are numbered anew.
    pub fn leave(socket: &std::net::UdpSocket) -> io::Result<()> {
        sys::udp::leave_group(socket.as_raw_fd())
    }

    /// Takes a bound socket over, and makes it non-blocking. The socket itself may live on in a clone.
    pub fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let watched = Watched::new(socket.into())?;
        let shared = Shared { watched, blocked: Cell::new(false), writers: RefCell::default() };
        Ok(Self { shared: Rc::new(shared) })
    }

    /// Waits until a datagram may be there. May be ready early: try, and wait again. One task at a time.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.watched.poll_ready(Direction::Read, cx)
    }

    /// Says that a send would have blocked: from now until there is room, [`Self::poll_writable`] waits.
    pub fn blocked(&self) {
        if self.shared.blocked.replace(true) {
            return;
        }
        let shared = Rc::clone(&self.shared);
        spawn(async move {
            if let Err(error) = shared.watched.writable().await {
                tracing::warn!(%error, "waiting to send datagrams failed");
            }
            shared.blocked.set(false);
            let writers = shared.writers.take();
            writers.into_iter().for_each(Waker::wake);
        });
    }

    /// Waits while the socket is blocked; ready at once, without asking the kernel, when it is not.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.blocked.get() {
            return Poll::Ready(());
        }
        let mut writers = self.shared.writers.borrow_mut();
        if !writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            writers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Sends datagrams without segmentation offload, up to 64 in one system call. How many went out.
    ///
    /// # Errors
    /// None went out: `WouldBlock` where the buffer is full.
    pub fn send_segments(&self, segments: &Segments<'_>) -> io::Result<usize> {
        sys::udp::send_segments(self.shared.watched.fd(), segments)
    }

    /// The address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        sys::local_address(self.shared.watched.fd())
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        sys::borrowed(self.shared.watched.fd(), &self.shared.watched)
    }
}
