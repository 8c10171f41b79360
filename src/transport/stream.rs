//! [`Stream`]: a connection, in plain text or with TLS.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::pin;
use std::task::{Context, Poll};

use ringway_rt as rt;

use crate::tls::stream::TlsStream;

/// A connection, in plain text or with TLS. It mirrors `rt::Stream`: everything is tried without blocking, then
/// waited for; all methods take `&self`, so that one task may read while another writes.
pub enum Stream {
    /// TCP.
    Plain(rt::Stream),
    /// TLS on TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Appends what is there to `into`, up to its capacity, which is never changed. `None`: nothing is there.
    /// `Some(0)`: the peer ended its side in order.
    ///
    /// # Errors
    /// The socket's. With TLS also [`crate::TlsFailure`] ([`crate::TlsFailure::of`] finds it), which includes an end
    /// without `close_notify` as `UnexpectedEof`; and `InvalidInput` when `into` has no spare capacity.
    #[inline]
    pub fn try_read_append(&self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(io) => io.try_read_append(into),
            Self::Tls(tls) => tls.try_read_append(into),
        }
    }

    /// Waits until a read has something to say: bytes, the end or an error. At once where plaintext waits.
    ///
    /// # Errors
    /// The socket's.
    #[inline]
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(io) => io.readable().await,
            Self::Tls(tls) => tls.readable().await,
        }
    }

    /// As [`Stream::readable`], for hand-written futures: wakes `context` when it returns `Pending`. One task at a time.
    ///
    /// # Errors
    /// The socket's.
    #[inline]
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls(tls) if tls.has_pending_plaintext() => Poll::Ready(Ok(())),
            _ => self.socket().poll_readable(context),
        }
    }

    /// As [`Stream::writable`], for hand-written futures: wakes `context` when it returns `Pending`. One task at a time.
    ///
    /// # Errors
    /// The socket's.
    #[inline]
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_writable(context)
    }

    /// Reads at least one byte, or the end (`0`), where an answer is due: on plain sockets the read waits on the ring,
    /// which is the cheapest wait but owns the buffer, so this must be awaited to its end.
    ///
    /// # Errors
    /// As [`Stream::try_read_append`]; `TimedOut` after the stream's deadline.
    pub async fn read_soon(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(io) => {
                // Pinned where it is made: awaited by value, all of its room is copied first.
                let reading = pin!(io.read_pinned(std::mem::take(into)));
                let (read, buffer) = reading.await;
                *into = buffer;
                read
            }
            Self::Tls(_) => self.read_when_there(into).await,
        }
    }

    /// Waits for bytes on a plain connection that is likely to speak soon: [`ringway_rt::Stream::read_warm`]. `Unsupported`
    /// with TLS, and off the ring.
    ///
    /// # Errors
    /// `Interrupted` after [`Stream::call_off`]; else as [`Stream::read_soon`].
    pub async fn read_warm(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Plain(io) => {
                let reading = pin!(io.read_warm(std::mem::take(into)));
                let (read, buffer) = reading.await;
                *into = buffer;
                read
            }
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Ends a [`Stream::read_warm`] that is under way.
    pub fn call_off(&self) {
        if let Self::Plain(io) = self {
            io.call_off();
        }
    }

    /// As [`Stream::read_soon`], and may be given up at any time.
    ///
    /// # Errors
    /// As there.
    pub async fn read_when_there(&self, into: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            if let Some(count) = self.try_read_append(into)? {
                return Ok(count);
            }
            self.readable().await?;
        }
    }

    /// Whether nothing waits to be read, not even an end: so must an idle upstream connection be before it is used again.
    /// What waits is consumed.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        match self {
            Self::Plain(io) => matches!(io.try_read(&mut [0]), Ok(None)),
            Self::Tls(tls) => {
                let mut probe = ringway_wire::buffer::Buffer::take(ringway_wire::buffer::Class::K4);
                matches!(tls.try_read_append(probe.vec_mut()), Ok(None))
            }
        }
    }

    /// Whether a read would have something to say without anything coming from the socket. Always false in plain text.
    #[inline]
    pub fn has_pending_plaintext(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_pending_plaintext(),
        }
    }

    /// As [`Stream::try_write_vectored`] with one part.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(io) => io.try_write(bytes),
            Self::Tls(tls) => tls.try_write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    /// Writes from the front of `parts`; with TLS they share records. `Some`: so many bytes went to the socket.
    ///
    /// `None`: it would block. With TLS some bytes may have been sealed already, so that the write must be
    /// **repeated with the same bytes at the front** (wherever they lie then, and more may follow) after
    /// [`Stream::writable`], or the connection given up: other bytes are an error.
    ///
    /// # Errors
    /// The socket's. With TLS also [`crate::TlsFailure`].
    #[inline]
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(io) => io.try_write_vectored(parts),
            Self::Tls(tls) => tls.try_write_vectored(parts),
        }
    }

    /// The connection itself where it is in plain text: what its bytes are is what goes over it.
    #[inline]
    pub fn plain(&self) -> Option<&rt::Stream> {
        match self {
            Self::Plain(io) => Some(io),
            Self::Tls(_) => None,
        }
    }

    /// Sends `bytes` at the end of this worker's turn, in plain text: [`ringway_rt::Stream::send_at_turns_end`]. With TLS they come
    /// back.
    ///
    /// # Errors
    /// The bytes, which are not sent.
    #[inline]
    pub fn send_at_turns_end(&self, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        match self {
            Self::Plain(io) => {
                io.send_at_turns_end(bytes);
                Ok(())
            }
            Self::Tls(_) => Err(bytes),
        }
    }

    /// What became of them; they are sent now if the turn has not ended. `None`: none were left to be sent.
    #[inline]
    pub fn take_sent(&self) -> Option<(io::Result<usize>, Vec<u8>)> {
        self.socket().take_sent()
    }

    /// Waits until a write may go on.
    ///
    /// # Errors
    /// The socket's.
    #[inline]
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Plain(io) => io.writable().await,
            Self::Tls(tls) => tls.writable().await,
        }
    }

    /// Ends our side in order: `close_notify` (waiting until it is sent) and FIN. Reading goes on.
    ///
    /// # Errors
    /// The socket's.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Plain(io) => io.shutdown_write(),
            Self::Tls(tls) => tls.shutdown_write().await,
        }
    }

    /// As [`Stream::shutdown_write`], for hand-written futures.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_shutdown_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(io) => Poll::Ready(io.shutdown_write()),
            Self::Tls(tls) => tls.poll_shutdown_write(context),
        }
    }

    /// As [`Stream::abort`], when the stream is dropped: for one that others still hold.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(io) => io.reset_on_close(),
            Self::Tls(tls) => tls.reset_on_close(),
        }
    }

    /// Ends both sides at once with a reset.
    pub fn abort(self) {
        match self {
            Self::Plain(io) => io.abort(),
            Self::Tls(tls) => tls.abort(),
        }
    }

    /// The deadlines of reading and writing.
    #[inline]
    pub fn deadline(&self) -> &rt::Deadline {
        self.socket().deadline()
    }

    /// How the other end stands, whatever of it waits to be read. One system call.
    pub fn peer_state(&self) -> rt::PeerState {
        self.socket().peer_state()
    }

    /// The other end's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.socket().peer_address()
    }

    /// Our end's address.
    ///
    /// # Errors
    /// The socket's.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket().local_address()
    }

    /// The socket's descriptor; still owned by the stream.
    pub fn raw_fd(&self) -> RawFd {
        self.socket().raw_fd()
    }

    /// Whether it is a TLS stream.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    #[inline]
    fn socket(&self) -> &rt::Stream {
        match self {
            Self::Plain(io) => io,
            Self::Tls(tls) => tls.io(),
        }
    }
}
