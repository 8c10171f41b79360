//! The reply to a request that was sent over HTTP/2: interim heads, then the head, then its content.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use h2::Reason;
use h2::client::ResponseFuture;
use http::Response;
use ringway_wire::head::{Content, ResponseAssembler, ResponseHead, Version};
use ringway_wire::limits::HeadLimits;
use ringway_wire::method::Method;
use ringway_wire::reject::ResponseReject;

use super::super::line::Line;
use crate::http2;
use crate::message::Receiver;

/// Why no head of a reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadEnd {
    /// The peer reset the stream.
    Reset,
    /// The peer did nothing with the request and says so (REFUSED_STREAM, a GOAWAY before it), or it was never sent: any
    /// request may be sent again.
    Refused,
    /// What came is malformed.
    Malformed(ResponseReject),
    /// The connection is gone.
    Closed,
    /// Nothing came in time.
    Silent,
    /// The request holds what HTTP/2 cannot say; nothing was sent.
    Unsendable,
}

impl HeadEnd {
    /// What an error of h2 means for a request whose reply has not begun.
    pub(super) fn of(error: &h2::Error) -> Self {
        let reason = error.reason();
        if error.is_remote() {
            // A stream fails with GOAWAY only where the GOAWAY says that nothing was done with it (RFC 9113 §6.8).
            let untouched = error.is_go_away() || reason == Some(Reason::REFUSED_STREAM);
            return if untouched { Self::Refused } else { Self::Reset };
        }
        if error.is_library() {
            return Self::Malformed(ResponseReject::Frames);
        }
        Self::Closed
    }
}

/// A head of a reply.
pub enum ReplyHead {
    /// 1xx; another head follows.
    Interim(ResponseHead),
    /// The last head, and its content.
    Final(ResponseHead, Receiver),
}

/// A reply that has not begun. Dropped, its request is cancelled.
pub struct Reply {
    future: ResponseFuture,
    line: Rc<Line>,
    method: Method,
    limits: HeadLimits,
}

impl Reply {
    pub(super) fn new(future: ResponseFuture, line: Rc<Line>, method: Method, limits: &HeadLimits) -> Self {
        Self { future, line, method, limits: *limits }
    }

    /// The next head. Not to be called after the final one.
    pub fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<ReplyHead, HeadEnd>> {
        match self.future.poll_informational(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(interim))) => {
                let head = self.assemble(&interim, Content::None);
                return Poll::Ready(head.map(ReplyHead::Interim));
            }
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(HeadEnd::of(&error))),
            Poll::Ready(None) => {}
        }
        let came = match Pin::new(&mut self.future).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(came) => came,
        };
        let response = came.map_err(|error| HeadEnd::of(&error))?;
        let ended = response.body().is_end_stream();
        let content = if ended { Content::None } else { Content::Follows };
        let head = self.assemble(&response, content)?;
        let receiver = http2::Receiver::new(response.into_body(), Rc::clone(&self.line));
        Poll::Ready(Ok(ReplyHead::Final(head, Receiver::from(receiver))))
    }

    /// Waits for the next head. May be given up at any time.
    ///
    /// # Errors
    /// Why none comes.
    pub async fn head(&mut self) -> Result<ReplyHead, HeadEnd> {
        poll_fn(|context| self.poll_head(context)).await
    }

    fn assemble<B>(&self, response: &Response<B>, content: Content) -> Result<ResponseHead, HeadEnd> {
        let mut assembler = ResponseAssembler::new(Version::Http2, &self.limits);
        let assembled = assembler.field(b":status", response.status().as_str().as_bytes()).and_then(|()| {
            response
                .headers()
                .iter()
                .try_for_each(|(name, value)| assembler.field(name.as_str().as_bytes(), value.as_bytes()))
        });
        assembled.and_then(|()| assembler.finish(content, self.method)).map_err(HeadEnd::Malformed)
    }
}
