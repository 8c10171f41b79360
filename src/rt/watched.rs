//! A descriptor whose readiness can be waited for: what streams, listeners, timers and doorbells are made of.
//!
//! Each direction has one poll operation at a time, kept here and not in the future that waits for it. A wait that is
//! given up therefore cancels nothing: the operation stays armed and serves the next wait. That is what makes waiting for
//! two streams at once cheap, and why closing needs care: see `Drop`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use monoio::net::TcpStream;

use crate::sys;

/// Which readiness is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// An owned descriptor, known to the driver of this worker.
pub(crate) struct Watched {
    fd: RawFd,
    /// monoio's handle. `TcpStream` is used for every kind of descriptor: it is the one that gives the descriptor back.
    handle: Option<Rc<TcpStream>>,
    read: Wait,
    write: Wait,
    /// An operation was abandoned in flight; only the driver knows when it ends.
    orphaned: Cell<bool>,
}

/// One direction's poll operation.
#[derive(Default)]
struct Wait {
    state: Rc<WaitState>,
    /// Never ends: each round waits for one readiness. Made at the first wait, so that a stream that never waits to write
    /// pays nothing.
    rounds: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

#[derive(Default)]
struct WaitState {
    /// A round is wanted or in progress.
    armed: Cell<bool>,
    /// The result of the last round, until somebody takes it.
    done: Cell<Option<io::Result<()>>>,
}

impl Watched {
    /// Takes the descriptor over. Fails where the driver refuses it (epoll: not pollable).
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let fd = descriptor.as_raw_fd();
        let handle = TcpStream::from_std(std::net::TcpStream::from(descriptor))?;
        Ok(Self {
            fd,
            handle: Some(Rc::new(handle)),
            read: Wait::default(),
            write: Wait::default(),
            orphaned: Cell::new(false),
        })
    }

    #[inline]
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Waits until a read would not block. May return early: try, and wait again. One task at a time.
    #[inline]
    pub(crate) fn readable(&self) -> impl Future<Output = io::Result<()>> + use<'_> {
        poll_fn(move |cx| self.poll_ready(Direction::Read, cx))
    }

    /// Waits until a write would not block. May return early: try, and wait again. One task at a time.
    #[inline]
    pub(crate) fn writable(&self) -> impl Future<Output = io::Result<()>> + use<'_> {
        poll_fn(move |cx| self.poll_ready(Direction::Write, cx))
    }

    /// As [`Self::readable`] and [`Self::writable`], for hand-written futures.
    pub(crate) fn poll_ready(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(handle) = &self.handle else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let wait = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        let mut rounds = wait.rounds.borrow_mut();
        let rounds =
            rounds.get_or_insert_with(|| Box::pin(rounds_of(handle.clone(), wait.state.clone(), direction)));
        wait.state.armed.set(true);
        // `rounds` never ends, so its own result says nothing.
        let _ = rounds.as_mut().poll(cx);
        match wait.state.done.take() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    /// Says that an operation on this descriptor was abandoned in flight, so that the close is left to the driver.
    pub(crate) fn orphan(&self) {
        self.orphaned.set(true);
    }
}

/// Round after round: waits to be armed, waits for readiness, leaves the result, disarms.
///
/// `relaxed` is off: on epoll the driver's own idea of readiness is not cleared by our reads, so it must ask the kernel
/// (`poll`) before it reports. On the ring it makes no difference.
async fn rounds_of(handle: Rc<TcpStream>, state: Rc<WaitState>, direction: Direction) {
    loop {
        poll_fn(|_| if state.armed.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        let result = match direction {
            Direction::Read => handle.readable(false).await,
            Direction::Write => handle.writable(false).await,
        };
        state.armed.set(false);
        state.done.set(Some(result));
    }
}

impl Drop for Watched {
    /// Closes the descriptor. With nothing in flight it is taken back from monoio and closed by `close`. Otherwise the
    /// driver closes it after the operation has ended: an entry that still waits in the submission queue names the
    /// descriptor by number, and must not meet the number's next owner.
    fn drop(&mut self) {
        let in_flight = self.read.state.armed.get() || self.write.state.armed.get() || self.orphaned.get();
        self.read.rounds.take();
        self.write.rounds.take();
        let Some(handle) = self.handle.take() else { return };
        if in_flight && crate::local::on_ring() {
            return;
        }
        if let Ok(handle) = Rc::try_unwrap(handle) {
            sys::close(handle.into_raw_fd());
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("fd", &self.fd).finish_non_exhaustive()
    }
}
