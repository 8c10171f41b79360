//! A descriptor whose readiness can be waited for: what streams, listeners, timers and doorbells are made of.
//!
//! Each direction has one poll operation at a time, kept here and not in the future that waits for it. A wait that is
//! given up therefore cancels nothing: the operation stays armed and serves the next wait. That is what makes waiting for
//! two streams at once cheap, and why closing needs care: see `Drop`.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use monoio::net::TcpStream;

use crate::{local, sys};

/// Which readiness is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// An owned descriptor, known to the driver of this worker.
pub(crate) struct Watched {
    fd: RawFd,
    /// None only while it is being dropped.
    shared: Option<Rc<Shared>>,
    read: Rounds,
    write: Rounds,
    /// An operation was abandoned in flight; only the driver knows when it ends.
    orphaned: Cell<bool>,
}

/// The poll operations of one direction, one after the other. Made at the first wait, so that a stream that never waits
/// to write pays nothing.
type Rounds = Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>;

/// What `Watched` and its rounds both hold.
struct Shared {
    /// monoio's handle. `TcpStream` is used for every kind of descriptor: it is the one that gives the descriptor back.
    handle: TcpStream,
    read: WaitState,
    write: WaitState,
}

#[derive(Default)]
struct WaitState {
    /// A round is wanted or in progress.
    armed: Cell<bool>,
    /// The result of the last round, until somebody takes it; the next wait does, if that one was given up.
    done: Cell<Option<io::Result<()>>>,
}

impl Shared {
    #[inline]
    fn state(&self, direction: Direction) -> &WaitState {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }
}

impl Watched {
    /// Takes the descriptor over. Fails where the driver refuses it (epoll: not pollable).
    pub(crate) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let fd = descriptor.as_raw_fd();
        let handle = TcpStream::from_std(std::net::TcpStream::from(descriptor))?;
        let shared = Shared { handle, read: WaitState::default(), write: WaitState::default() };
        Ok(Self {
            fd,
            shared: Some(Rc::new(shared)),
            read: Cell::new(None),
            write: Cell::new(None),
            orphaned: Cell::new(false),
        })
    }

    #[inline]
    pub(crate) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Waits until a read would not block. May return early: try, and wait again. One task at a time.
    #[inline]
    pub(crate) fn readable(&self) -> Ready<'_> {
        Ready { watched: self, direction: Direction::Read, waiting: false }
    }

    /// Waits until a write would not block. May return early: try, and wait again. One task at a time.
    #[inline]
    pub(crate) fn writable(&self) -> Ready<'_> {
        Ready { watched: self, direction: Direction::Write, waiting: false }
    }

    /// As [`Self::readable`] and [`Self::writable`], for hand-written futures.
    pub(crate) fn poll_ready(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(shared) = &self.shared else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let state = shared.state(direction);
        if let Some(left_over) = state.done.take() {
            return Poll::Ready(left_over);
        }
        let place = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        let mut rounds = place.take().unwrap_or_else(|| Box::pin(rounds_of(shared.clone(), direction)));
        state.armed.set(true);
        // They never end, so their own result says nothing.
        let _ = rounds.as_mut().poll(cx);
        place.set(Some(rounds));
        match state.done.take() {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }

    /// Nobody waits any more: the operation stays armed, but lets go of the waiting task's waker, which would keep the
    /// task's memory and wake it for nothing.
    fn forget_waker(&self, direction: Direction) {
        if let Poll::Ready(result) = self.poll_ready(direction, &mut Context::from_waker(Waker::noop()))
            && let Some(shared) = &self.shared
        {
            shared.state(direction).done.set(Some(result));
        }
    }

    /// Says that an operation on this descriptor was abandoned in flight, so that the close is left to the driver.
    pub(crate) fn orphan(&self) {
        self.orphaned.set(true);
    }
}

/// A wait for readiness. May be given up at any time.
pub(crate) struct Ready<'a> {
    watched: &'a Watched,
    direction: Direction,
    waiting: bool,
}

impl Future for Ready<'_> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = self.watched.poll_ready(self.direction, cx);
        self.waiting = polled.is_pending();
        polled
    }
}

impl Drop for Ready<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.waiting {
            self.watched.forget_waker(self.direction);
        }
    }
}

/// Round after round: waits to be armed, waits for readiness, leaves the result, disarms.
async fn rounds_of(shared: Rc<Shared>, direction: Direction) {
    let state = shared.state(direction);
    let ring = local::on_ring();
    loop {
        poll_fn(|_| if state.armed.get() { Poll::Ready(()) } else { Poll::Pending }).await;
        let result = next_ready(&shared.handle, direction, ring).await;
        state.armed.set(false);
        state.done.set(Some(result));
    }
}

/// On the ring one poll operation. On epoll the driver believes in readiness until one of its own calls meets EAGAIN, and
/// ours are not its own: so a first look asks the kernel (`poll`) and clears a stale belief; the event after that is news,
/// and is believed without asking again.
async fn next_ready(handle: &TcpStream, direction: Direction, ring: bool) -> io::Result<()> {
    if !ring {
        let mut look = pin!(ready(handle, direction, false));
        if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(look.as_mut().poll(cx))).await {
            return result;
        }
    }
    ready(handle, direction, true).await
}

/// `relaxed`: believe the driver. It makes no difference on the ring.
async fn ready(handle: &TcpStream, direction: Direction, relaxed: bool) -> io::Result<()> {
    match direction {
        Direction::Read => handle.readable(relaxed).await,
        Direction::Write => handle.writable(relaxed).await,
    }
}

impl Drop for Watched {
    /// Closes the descriptor. With nothing in flight it is taken back from monoio and closed by `close`. Otherwise the
    /// driver closes it after the operation has ended: an entry that still waits in the submission queue names the
    /// descriptor by number, and must not meet the number's next owner.
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let in_flight = shared.read.armed.get() || shared.write.armed.get() || self.orphaned.get();
        self.read.take();
        self.write.take();
        if in_flight && local::on_ring() {
            return;
        }
        if let Ok(shared) = Rc::try_unwrap(shared) {
            sys::close(shared.handle.into_raw_fd());
        }
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("fd", &self.fd).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, Rc, Shared, Watched, rounds_of};

    fn bytes_of<F>(_make: fn(Rc<Shared>, Direction) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection pays for one descriptor, one shared part and one direction's rounds.
    #[test]
    fn a_waiting_descriptor_is_small() {
        let bytes = [size_of::<Watched>(), size_of::<Shared>(), bytes_of(rounds_of)];
        assert!(bytes.iter().sum::<usize>() <= 640, "{bytes:?}");
    }
}
