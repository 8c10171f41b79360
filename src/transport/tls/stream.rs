//! A TLS connection on a socket: [`Session`] with the reading and writing around it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use ringway_rt as rt;

use super::failure::TlsFailure;
use super::session::{Reading, Session};

/// A TLS connection after its handshake. All methods take `&self`: one task may read while another writes.
/// INVARIANT: `session` is never borrowed across an await.
pub struct TlsStream {
    io: rt::Stream,
    session: RefCell<Session>,
}

impl TlsStream {
    pub(crate) fn new(io: rt::Stream, session: Session) -> Self {
        Self { io, session: RefCell::new(session) }
    }

    /// See [`crate::Stream::try_read_append`].
    ///
    /// # Errors
    /// [`TlsFailure::Truncated`] for an end without `close_notify`, other failures, and the socket's errors.
    pub fn try_read_append(&self, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let hint = into.capacity() - into.len();
        if hint == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no spare capacity to read into"));
        }
        let session = &mut *self.session.borrow_mut();
        loop {
            let count = session.deliver(into);
            if !session.unsent().is_empty() {
                // An answer to what was read (KeyUpdate, an alert). If it does not go now it goes with the next write.
                let _ = self.flush(session);
            }
            if count > 0 {
                return Ok(Some(count));
            }
            match session.reading() {
                Reading::Open => {}
                Reading::Closed => return Ok(Some(0)),
                Reading::Failed(failure) => return Err(failure.into_io()),
            }
            match self.io.try_read_append(session.receive_space(hint)) {
                Ok(Some(0)) => session.end(),
                Ok(Some(_)) => {}
                Ok(None) => {
                    session.park();
                    return Ok(None);
                }
                Err(error) => {
                    session.park();
                    return Err(error);
                }
            }
        }
    }

    /// See [`crate::Stream::readable`].
    ///
    /// # Errors
    /// The socket's.
    pub async fn readable(&self) -> io::Result<()> {
        if self.session.borrow().has_input() {
            return Ok(());
        }
        self.io.readable().await
    }

    /// See [`crate::Stream::has_pending_plaintext`].
    pub fn has_pending_plaintext(&self) -> bool {
        self.session.borrow().has_input()
    }

    /// See [`crate::Stream::try_write_vectored`].
    ///
    /// # Errors
    /// What ended the connection, [`TlsFailure::WriteChanged`], and the socket's errors.
    pub fn try_write_vectored(&self, parts: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let session = &mut *self.session.borrow_mut();
        if session.close_sent() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if let Some(length) = session.claimed(parts).map_err(TlsFailure::into_io)? {
            if !self.flush(session)? {
                return Ok(None);
            }
            session.settled(false);
            return Ok(Some(length));
        }
        if !self.flush(session)? {
            return Ok(None);
        }
        let length = session.seal(parts).map_err(TlsFailure::into_io)?;
        if self.flush(session)? {
            session.settled(true);
            Ok(Some(length))
        } else {
            session.claim(parts, length);
            Ok(None)
        }
    }

    /// See [`crate::Stream::writable`].
    ///
    /// # Errors
    /// The socket's.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Sends what is sealed. Whether all of it went.
    #[inline]
    fn flush(&self, session: &mut Session) -> io::Result<bool> {
        while !session.unsent().is_empty() {
            match self.io.try_write(session.unsent())? {
                Some(count) => session.advance(count),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// See [`crate::Stream::shutdown_write`].
    ///
    /// # Errors
    /// The socket's.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_shutdown_write(context)).await
    }

    /// See [`crate::Stream::poll_shutdown_write`].
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_shutdown_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = &mut *self.session.borrow_mut();
        session.seal_close().map_err(TlsFailure::into_io)?;
        loop {
            if self.flush(session)? {
                return Poll::Ready(self.io.shutdown_write());
            }
            match self.io.poll_writable(context) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// As [`TlsStream::abort`], when the stream is dropped.
    pub fn reset_on_close(&self) {
        self.io.reset_on_close();
    }

    /// See [`crate::Stream::abort`].
    pub fn abort(self) {
        self.io.abort();
    }

    /// The socket's deadlines.
    pub fn deadline(&self) -> &rt::Deadline {
        self.io.deadline()
    }

    pub(crate) fn io(&self) -> &rt::Stream {
        &self.io
    }
}
