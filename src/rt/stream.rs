//! A TCP connection: tried synchronously, waited for by readiness, with its two deadlines.

use std::cell::{Cell, OnceCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::deadline::{Deadline, Side};
use crate::local;
use crate::outbox::Outgoing;
use crate::pinned::{self, Alias, CallOff};
use crate::pipe::Pipe;
use crate::sys::{self, Behind};
use crate::watched::{Direction, Watched};

/// How the other end of a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerState {
    /// It may send more, and nothing waits.
    Here,
    /// Bytes of it wait to be read; an end behind them shows as [`Self::Ended`].
    Spoke,
    /// It has ended its side, and may be waiting for what we send, or be gone: TCP does not tell.
    Ended,
    /// It has reset the connection, or both sides have ended.
    Gone,
}

/// A TCP connection with CLOEXEC and NODELAY. One task reads and one writes at a time; they may be two.
///
/// A read or write that is cut off by the stream's own deadline fails with `TimedOut`.
pub struct Stream {
    // INVARIANT: fields drop in this order: the deadline's slot is free before the descriptor is closed.
    deadline: Deadline,
    alias: Cell<Option<Alias>>,
    call_off: CallOff,
    /// Made at the first send that waits for the end of a turn.
    outgoing: OnceCell<Rc<Outgoing>>,
    watched: Watched,
    peer: SocketAddr,
}

impl Stream {
    /// Takes over a connected socket.
    pub(crate) fn adopt(descriptor: OwnedFd, peer: SocketAddr) -> io::Result<Self> {
        let Some(worker) = local::worker() else { return Err(io::ErrorKind::NotConnected.into()) };
        let fd = descriptor.as_raw_fd();
        let watched = Watched::new(descriptor)?;
        Ok(Self {
            deadline: worker.deadlines.take(fd),
            alias: Cell::new(None),
            call_off: CallOff::default(),
            outgoing: OnceCell::new(),
            watched,
            peer,
        })
    }

    /// Connects to `address`; names are never resolved here. `TimedOut` within 100 ms after `deadline_ns` (monotonic), else
    /// the kernel's error. May be given up at any time: the socket is then closed. Once connected, a peer that is gone without a
    /// word breaks the connection after two minutes of silence.
    pub async fn connect(address: SocketAddr, deadline_ns: u64) -> io::Result<Self> {
        let socket = sys::stream_socket(&address)?;
        sys::set_nodelay(&socket)?;
        sys::set_keepalive(&socket)?;
        let connected = sys::connect(&socket, &address)?;
        let stream = Self::adopt(socket, address)?;
        if !connected {
            stream.deadline.arm(Side::Write, deadline_ns);
            stream.writable().await?;
            stream.deadline.disarm(Side::Write);
            sys::take_error(stream.raw_fd())?;
        }
        Ok(stream)
    }

    /// Reads what is there into `into`. `None`: nothing yet. `Some(0)`: the peer has ended its side (or `into` is empty).
    #[inline]
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        match sys::receive(self.watched.fd(), into) {
            Ok(Some(0)) if !into.is_empty() => self.end_of_input(),
            result => result,
        }
    }

    /// As [`Self::try_read`], appending into the spare capacity of `into`. Never reallocates; without spare capacity it is
    /// `InvalidInput`.
    #[inline]
    pub fn try_read_append(&self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if into.len() == into.capacity() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match sys::receive_append(self.watched.fd(), into) {
            Ok(Some(0)) => self.end_of_input(),
            result => result,
        }
    }

    /// Writes what fits. `None`: nothing fits now.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        self.outgoing_first()?;
        sys::send(self.watched.fd(), bytes).map_err(|error| self.timed_out_or(error))
    }

    /// Writes what fits of the parts in turn. `None`: nothing fits now. Of more than 64 parts the rest waits for the next
    /// call.
    #[inline]
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.outgoing_first()?;
        sys::send_vectored(self.watched.fd(), parts, Behind::Nothing)
            .map_err(|error| self.timed_out_or(error))
    }

    /// As [`Self::try_write_vectored`], for what [`Self::try_write_from`] is called behind at once: nothing has to leave before that.
    #[inline]
    pub fn try_write_before(&self, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        self.outgoing_first()?;
        sys::send_vectored(self.watched.fd(), parts, Behind::More).map_err(|error| self.timed_out_or(error))
    }

    /// Moves up to `bytes_max` bytes of what is there into `pipe`, without copying them. `None`: nothing is there, or no room for it.
    /// `Some(0)`: the peer has ended its side.
    pub fn try_read_into(&self, pipe: &mut Pipe, bytes_max: usize) -> io::Result<Option<usize>> {
        let Some((_, into)) = pipe.descriptors() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match sys::splice(self.watched.fd(), into, bytes_max)? {
            Some(0) => self.end_of_input(),
            moved => {
                pipe.filled(moved.unwrap_or(0));
                Ok(moved)
            }
        }
    }

    /// Writes what fits of what `pipe` holds, without copying it. `None`: nothing fits now.
    pub fn try_write_from(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        self.outgoing_first()?;
        let Some((from, _)) = pipe.descriptors() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let moved =
            sys::splice(from, self.watched.fd(), pipe.held()).map_err(|error| self.timed_out_or(error))?;
        pipe.emptied(moved.unwrap_or(0));
        Ok(moved)
    }

    /// Sends `bytes` at the end of this worker's turn, behind those of other streams: a send is cheaper among sends. They go even
    /// if nobody asks what became of them, and before whatever is written later.
    pub fn send_at_turns_end(&self, bytes: Vec<u8>) {
        self.outgoing.get_or_init(|| Outgoing::new(self.watched.fd())).put(bytes);
    }

    /// How many of those bytes went, and the buffer. What has not been sent yet is sent now. `None`: nothing was to be sent.
    #[inline]
    pub fn take_sent(&self) -> Option<(io::Result<usize>, Vec<u8>)> {
        self.outgoing.get().and_then(|outgoing| outgoing.take())
    }

    /// What waits for the end of the turn goes before what is written now. Where that cannot be, nothing may follow.
    #[inline]
    fn outgoing_first(&self) -> io::Result<()> {
        match self.outgoing.get() {
            Some(outgoing) if outgoing.is_pending() => self.send_outgoing(outgoing),
            _ => Ok(()),
        }
    }

    #[cold]
    fn send_outgoing(&self, outgoing: &Outgoing) -> io::Result<()> {
        let Some((result, bytes)) = outgoing.take() else { return Ok(()) };
        match result.map_err(|error| self.timed_out_or(error))? {
            count if count == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Waits until there is something to read, or the end. May return early: try, and wait again. May be given up at any
    /// time; nothing is lost.
    #[inline]
    pub async fn readable(&self) -> io::Result<()> {
        self.unless_expired(self.watched.readable().await, Side::Read)
    }

    /// Waits until something can be written. May return early: try, and wait again. May be given up at any time.
    #[inline]
    pub async fn writable(&self) -> io::Result<()> {
        self.unless_expired(self.watched.writable().await, Side::Write)
    }

    /// As [`Self::readable`], for hand-written futures: wakes `cx` when it returns `Pending`. One task at a time.
    #[inline]
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched.poll_ready(Direction::Read, cx).map(|result| self.unless_expired(result, Side::Read))
    }

    /// As [`Self::writable`], for hand-written futures: wakes `cx` when it returns `Pending`. One task at a time.
    #[inline]
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watched.poll_ready(Direction::Write, cx).map(|result| self.unless_expired(result, Side::Write))
    }

    /// Reads on the ring, appended into the spare capacity of `buffer`; on epoll it waits and then reads. Cheaper than
    /// waiting first when the reply is near, but the kernel owns the buffer until it ends: only for short, active waits.
    /// `Ok(0)`: the end. Must be awaited to its end: given up, it loses the bytes that came, and the stream is of no use.
    pub async fn read_pinned(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if buffer.len() == buffer.capacity() {
            return (Err(io::ErrorKind::InvalidInput.into()), buffer);
        }
        let (result, buffer) = pinned::read(&self.watched, &self.alias, buffer, None).await;
        match result {
            Ok(0) => (self.end_of_input().map(|end| end.unwrap_or(0)), buffer),
            result => (result, buffer),
        }
    }

    /// As [`Self::read_pinned`], for a connection that is likely to speak soon: [`Self::call_off`] ends it with `Interrupted`,
    /// the buffer as it was, unless bytes came first. Must be awaited to its end. `Unsupported` off the ring.
    pub async fn read_warm(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        if buffer.len() == buffer.capacity() {
            return (Err(io::ErrorKind::InvalidInput.into()), buffer);
        }
        if !local::on_ring() {
            return (Err(io::ErrorKind::Unsupported.into()), buffer);
        }
        let (result, buffer) = pinned::read(&self.watched, &self.alias, buffer, Some(&self.call_off)).await;
        match result {
            Ok(0) => (self.end_of_input().map(|end| end.unwrap_or(0)), buffer),
            result => (result, buffer),
        }
    }

    /// Ends a [`Self::read_warm`] that is under way. Cancelled, then awaited: what had come already is returned by it.
    pub fn call_off(&self) {
        self.call_off.now();
    }

    /// The two deadlines of this stream.
    #[inline]
    pub fn deadline(&self) -> &Deadline {
        &self.deadline
    }

    /// Ends our side: the peer reads the end after what was written.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.outgoing_first()?;
        sys::shutdown_write(self.watched.fd())
    }

    /// Closes with a reset: what was not sent is thrown away.
    pub fn abort(self) {
        sys::linger_none(self.watched.fd());
    }

    /// As [`Self::abort`], when the stream is dropped: for one that others still hold.
    pub fn reset_on_close(&self) {
        sys::linger_none(self.watched.fd());
    }

    /// How the other end stands, whatever of it waits to be read. One system call.
    pub fn peer_state(&self) -> PeerState {
        sys::peer_state(self.watched.fd())
    }

    /// The other end, as accepted or connected to.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Our end. One system call.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        sys::local_address(self.watched.fd())
    }

    /// The descriptor, for socket options. It is non-blocking, and must not be closed.
    #[inline]
    pub fn raw_fd(&self) -> RawFd {
        self.watched.fd()
    }

    /// An expired write ends reading too; an expired read leaves writing alone.
    #[inline]
    fn unless_expired(&self, result: io::Result<()>, side: Side) -> io::Result<()> {
        match self.deadline.expired() {
            None => result,
            Some(Side::Read) if side == Side::Write => result,
            Some(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    #[cold]
    fn end_of_input(&self) -> io::Result<Option<usize>> {
        match self.deadline.expired() {
            Some(_) => Err(io::ErrorKind::TimedOut.into()),
            None => Ok(Some(0)),
        }
    }

    #[cold]
    fn timed_out_or(&self, error: io::Error) -> io::Error {
        match self.deadline.expired() {
            Some(Side::Write) => io::ErrorKind::TimedOut.into(),
            _ => error,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(outgoing) = self.outgoing.get() {
            outgoing.close();
        }
        pinned::release(self.alias.take());
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("fd", &self.raw_fd()).field("peer", &self.peer).finish_non_exhaustive()
    }
}
