//! A message's two halves over HTTP/2 or HTTP/3, where each request has a stream of its own: [`Receiver`] and [`Sender`].
//!
//! As everything here they are tried first and waited for after. They serve both directions: a caller's request and our reply,
//! our request to an upstream and its reply.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use ringway_wire::message::OutgoingHead;
use ringway_wire::reject::Reject;
use ringway_wire::trailers::Trailers;

use crate::http2;
use crate::http3;

/// What is there of a message's content without waiting.
#[derive(Debug)]
pub enum Received {
    /// Content, never empty; to be told to [`Receiver::consumed`] once it went on.
    Data(Bytes),
    /// The trailer section; [`Received::End`] follows.
    Trailers(Trailers),
    /// The content is complete.
    End,
    /// Nothing yet.
    Nothing,
}

/// Why a stream came to no orderly end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageEnd {
    /// The peer reset it.
    Reset,
    /// The peer did nothing with it and says so (REFUSED_STREAM, a GOAWAY before it, H3_REQUEST_REJECTED): any request may be
    /// sent again.
    Refused,
    /// What came is malformed: its length, its trailers, its frames.
    Malformed(Reject),
    /// The peer takes no field section of this size (SETTINGS_MAX_FIELD_SECTION_SIZE): nothing of it was sent.
    TooLarge,
    /// The connection is gone.
    Closed,
}

/// What a reset says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Nothing is wrong: the rest is not needed (NO_ERROR).
    NoError,
    /// Nobody wants it any more (CANCEL, H3_REQUEST_CANCELLED).
    Cancel,
    /// We failed (INTERNAL_ERROR).
    Internal,
    /// Nothing was done with it (REFUSED_STREAM, H3_REQUEST_REJECTED).
    Refused,
    /// The message is malformed (PROTOCOL_ERROR, H3_MESSAGE_ERROR).
    Malformed,
    /// The peer burdens us (ENHANCE_YOUR_CALM, H3_EXCESSIVE_LOAD).
    Calm,
}

/// Whether content follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The head is all.
    Nothing,
    /// Content or trailers.
    Content,
}

/// The content that a peer sends.
pub struct Receiver {
    half: Half,
    /// What a wait found, until it is taken.
    found: Option<Result<Received, MessageEnd>>,
}

enum Half {
    Http2(http2::Receiver),
    Http3(http3::Receiver),
}

impl From<http2::Receiver> for Receiver {
    fn from(half: http2::Receiver) -> Self {
        Self { half: Half::Http2(half), found: None }
    }
}

impl From<http3::Receiver> for Receiver {
    fn from(half: http3::Receiver) -> Self {
        Self { half: Half::Http3(half), found: None }
    }
}

/// What goes to a peer. Dropped before its end, it resets the stream.
pub enum Sender {
    /// On a stream of HTTP/2.
    Http2(http2::Sender),
    /// On a stream of HTTP/3.
    Http3(http3::Sender),
}

impl Receiver {
    /// What is there without waiting.
    ///
    /// # Errors
    /// Why nothing more comes.
    pub fn try_next(&mut self) -> Result<Received, MessageEnd> {
        if let Some(found) = self.found.take() {
            return found;
        }
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => next,
            Poll::Pending => Ok(Received::Nothing),
        }
    }

    /// Ready when [`Receiver::try_next`] has something to say.
    pub fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.found.is_none() {
            match self.poll_next(context) {
                Poll::Ready(next) => self.found = Some(next),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, MessageEnd>> {
        match &mut self.half {
            Half::Http2(half) => half.poll_next(context),
            Half::Http3(half) => half.poll_next(context),
        }
    }

    /// Waits until [`Receiver::try_next`] has something to say. May be given up at any time.
    pub async fn readable(&mut self) {
        poll_fn(|context| self.poll_readable(context)).await;
    }

    /// So many bytes of content went on: the peer may send as many more.
    pub fn consumed(&mut self, bytes: usize) {
        match &mut self.half {
            Half::Http2(half) => half.consumed(bytes),
            // QUIC gives credit for what was taken from it, which is never more than a few packets ahead.
            Half::Http3(_) => {}
        }
    }

    /// The rest is not read: the peer is asked to stop.
    pub fn stop(&mut self, code: Code) {
        self.found = None;
        match &mut self.half {
            // The h2 crate says it by itself.
            Half::Http2(half) => half.stop(),
            Half::Http3(half) => half.stop(code),
        }
    }
}

impl Sender {
    /// Sends an interim or final head. Bytes of its names and values. An interim one that is larger than the peer takes is left
    /// out.
    ///
    /// # Errors
    /// The stream has ended, or the head is larger than the peer takes: then another one may be sent.
    pub fn send_head(&mut self, head: &OutgoingHead<'_>, after: After) -> Result<usize, MessageEnd> {
        match self {
            Self::Http2(half) => half.send_head(head, after),
            Self::Http3(half) => half.send_head(head, after),
        }
    }

    /// Takes content from the front of `bytes`: what flow control and the stream's bounded buffer admit. 0: [`Sender::writable`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn try_send(&mut self, bytes: &[u8]) -> Result<usize, MessageEnd> {
        match self {
            Self::Http2(half) => half.try_send(bytes),
            Self::Http3(half) => half.try_send(bytes),
        }
    }

    /// Hands on what was gathered: heads and small content wait for more to go with them. `true`: nothing is held any more; `false`:
    /// [`Sender::writable`]. To be called before something else is waited for, and after [`Sender::finish`] until it is `true`:
    /// what is held when the sender is dropped is lost, and the stream reset.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn flush(&mut self) -> Result<bool, MessageEnd> {
        match self {
            // What the h2 crate has been given goes out by itself.
            Self::Http2(half) => half.flush().map(|()| true),
            Self::Http3(half) => half.flush(),
        }
    }

    /// Whether [`Sender::take_back`] can.
    #[must_use]
    pub fn can_be_taken_back(&self) -> bool {
        match self {
            Self::Http2(half) => half.can_be_taken_back(),
            Self::Http3(half) => half.can_be_taken_back(),
        }
    }

    /// Takes back a final head that was not handed on yet: by [`Sender::flush`], or with content. `true`: another one may be sent.
    pub fn take_back(&mut self) -> bool {
        match self {
            Self::Http2(half) => half.take_back(),
            Self::Http3(half) => half.take_back(),
        }
    }

    /// Ready when [`Sender::try_send`] takes more, or the stream has ended.
    pub fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Http2(half) => half.poll_writable(context),
            Self::Http3(half) => half.poll_writable(context),
        }
    }

    /// Waits until [`Sender::try_send`] takes more, or the stream has ended. May be given up at any time.
    pub async fn writable(&mut self) {
        poll_fn(|context| self.poll_writable(context)).await;
    }

    /// Ends the message.
    ///
    /// # Errors
    /// The stream has ended before, or the trailers are larger than the peer takes.
    pub fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), MessageEnd> {
        match self {
            Self::Http2(half) => half.finish(trailers),
            Self::Http3(half) => half.finish(trailers),
        }
    }

    /// Breaks the stream off.
    pub fn reset(&mut self, code: Code) {
        match self {
            Self::Http2(half) => half.reset(code),
            Self::Http3(half) => half.reset(code),
        }
    }

    /// Ready when the peer has reset the stream or the connection is gone: watched while somebody else is waited for.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<MessageEnd> {
        match self {
            Self::Http2(half) => half.poll_closed(context),
            Self::Http3(half) => half.poll_closed(context),
        }
    }
}
