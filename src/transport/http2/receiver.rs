//! The content that a peer sends on one HTTP/2 stream.

use std::rc::Rc;
use std::task::{Context, Poll};

use h2::RecvStream;
use http::HeaderMap;
use ringway_wire::limits::ChunkLimits;
use ringway_wire::reject::Reject;
use ringway_wire::trailers::Trailers;

use super::end_of;
use super::line::Line;
use crate::message::{MessageEnd, Received};

/// The receiving half of a message.
pub struct Receiver {
    /// None once nothing more is read: h2 then throws away what still comes.
    stream: Option<RecvStream>,
    line: Rc<Line>,
    phase: Phase,
    /// Content that was given out and did not go on yet.
    unconsumed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Content,
    Trailers,
    Ended(Option<MessageEnd>),
}

impl Receiver {
    pub(super) fn new(stream: RecvStream, line: Rc<Line>) -> Self {
        Self { stream: Some(stream), line, phase: Phase::Content, unconsumed: 0 }
    }

    /// See [`crate::Receiver::consumed`].
    pub fn consumed(&mut self, bytes: usize) {
        // INVARIANT: never more is given back than was given out.
        let bytes = bytes.min(self.unconsumed);
        self.unconsumed -= bytes;
        self.line.consumed.set(self.line.consumed.get() + bytes as u64);
        if let Some(stream) = &mut self.stream {
            // Fails only where the stream is gone, whose credit h2 has taken back itself.
            let _ = stream.flow_control().release_capacity(bytes);
        }
    }

    /// See [`crate::Receiver::stop`]. A caller is still sent its reply, and told when both halves are dropped: with NO_ERROR after
    /// a whole reply (RFC 9113 §8.1), with CANCEL where there was none.
    pub fn stop(&mut self) {
        self.consumed(self.unconsumed);
        self.stream = None;
        self.phase = Phase::Ended(None);
    }

    /// What comes next; after its end or a failure, that again.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, MessageEnd>> {
        loop {
            let Some(stream) = &mut self.stream else { return Poll::Ready(Ok(Received::End)) };
            match self.phase {
                Phase::Ended(None) => return Poll::Ready(Ok(Received::End)),
                Phase::Ended(Some(end)) => return Poll::Ready(Err(end)),
                Phase::Content => match stream.poll_data(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => self.phase = Phase::Trailers,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.failed(end_of(&error)))),
                    Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                    Poll::Ready(Some(Ok(bytes))) => {
                        self.unconsumed += bytes.len();
                        return Poll::Ready(Ok(Received::Data(bytes)));
                    }
                },
                Phase::Trailers => match stream.poll_trailers(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failed(end_of(&error)))),
                    Poll::Ready(Ok(None)) => self.phase = Phase::Ended(None),
                    Poll::Ready(Ok(Some(fields))) => {
                        self.phase = Phase::Ended(None);
                        return Poll::Ready(match trailers_of(&fields) {
                            Ok(trailers) => Ok(Received::Trailers(trailers)),
                            Err(reject) => Err(self.failed(MessageEnd::Malformed(reject))),
                        });
                    }
                },
            }
        }
    }

    fn failed(&mut self, end: MessageEnd) -> MessageEnd {
        self.phase = Phase::Ended(Some(end));
        end
    }
}

impl Drop for Receiver {
    /// What was given out and not consumed would be missing in the connection's window for ever.
    fn drop(&mut self) {
        self.consumed(self.unconsumed);
    }
}

fn trailers_of(fields: &HeaderMap) -> Result<Trailers, Reject> {
    let mut trailers = Trailers::default();
    for (name, value) in fields {
        trailers.push(name.as_str().as_bytes(), value.as_bytes(), &ChunkLimits::DEFAULT)?;
    }
    Ok(trailers)
}
