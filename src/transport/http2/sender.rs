//! What goes to a peer on one HTTP/2 stream.

use std::rc::Rc;
use std::task::{Context, Poll};

use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http2::hpack;
use ringway_wire::message::OutgoingHead;
use ringway_wire::priority::Priority;
use ringway_wire::trailers::Trailers;
use ringway_wire::{Framing, Version};

use super::chunk::Chunk;
use super::line::Line;
use super::{end_of, reason_of};
use crate::message::{After, Code, MessageEnd};

/// Content that goes to h2 in one piece: a frame of the size that every peer takes.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// A piece that a peer's window has cut shorter earns it no frames.
const EARNING_BYTES_MIN: usize = 1024;

/// The sending half of a message. The head of a reply is held until content comes, or [`Sender::flush`]. Dropped before its end, it
/// resets the stream: a reply with INTERNAL_ERROR, a request with CANCEL.
pub struct Sender {
    half: Half,
    /// A final head that h2 was not given yet: what it has been given it loses where the stream is reset at once.
    held: Option<Buffer>,
    line: Rc<Line>,
    stream: u32,
    priority: Priority,
    /// Bytes of content still to come, where the head announced them and no trailers can follow: the last one ends the stream.
    left: Option<u64>,
    /// What was wished for when the last piece was not taken.
    wanted: usize,
    /// It counts as an open stream of its connection.
    counted: bool,
}

/// How far the message is.
enum Half {
    /// A reply whose final head is still to be sent.
    Reply(SendResponse<Chunk>),
    /// Content follows.
    Content(SendStream<Chunk>),
    /// All was sent. h2 keeps its handle, so that a reset that comes late is no surprise.
    Ended,
}

impl Sender {
    pub(super) fn of_reply(respond: SendResponse<Chunk>, line: Rc<Line>, priority: Priority) -> Self {
        let stream = respond.stream_id().as_u32();
        line.open_streams.set(line.open_streams.get() + 1);
        let half = Half::Reply(respond);
        Self { half, held: None, line, stream, priority, left: None, wanted: 0, counted: true }
    }

    /// The content of a request whose head was sent when its stream was opened.
    pub(super) fn of_request(
        content: SendStream<Chunk>,
        line: Rc<Line>,
        head: &OutgoingHead<'_>,
        after: After,
    ) -> Self {
        let stream = content.stream_id().as_u32();
        let half = if after == After::Nothing { Half::Ended } else { Half::Content(content) };
        let left = match head {
            OutgoingHead::Request { head, framing: Framing::Length(length), .. } => {
                Some(*length).filter(|length| *length > 0 && head.version() < Version::Http2)
            }
            _ => None,
        };
        let priority = Priority::default();
        Self { half, held: None, line, stream, priority, left, wanted: 0, counted: false }
    }

    /// The stream's number on its connection.
    #[must_use]
    pub fn stream(&self) -> u32 {
        self.stream
    }

    /// See [`crate::Sender::send_head`].
    ///
    /// # Errors
    /// The stream has ended, or the peer takes no head of this size.
    pub fn send_head(&mut self, head: &OutgoingHead<'_>, after: After) -> Result<usize, MessageEnd> {
        let Half::Reply(respond) = &mut self.half else { return Err(MessageEnd::Closed) };
        let mut block = Buffer::take(Class::K4);
        let encoded = hpack::write_head(block.vec_mut(), head);
        if !self.line.takes_list(encoded.list_bytes) {
            return if head.is_interim() { Ok(0) } else { Err(MessageEnd::TooLarge) };
        }
        // h2 is given a head without fields, whose block is put into the frame that it writes.
        let mut response = Response::new(());
        if head.is_interim() {
            *response.status_mut() = StatusCode::CONTINUE;
            respond.send_informational(response).map_err(|error| end_of(&error))?;
            self.line.put_head(self.stream, block);
            return Ok(encoded.text_bytes);
        }
        if after == After::Nothing {
            respond.send_response(response, true).map_err(|error| end_of(&error))?;
            self.line.put_head(self.stream, block);
            self.ended();
            return Ok(encoded.text_bytes);
        }
        self.held = Some(block);
        self.left = encoded.length.filter(|_| has_no_trailers(head));
        if self.left == Some(0) {
            self.left = None;
            self.finish(None)?;
        }
        Ok(encoded.text_bytes)
    }

    /// See [`crate::Sender::flush`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn flush(&mut self) -> Result<(), MessageEnd> {
        let (Some(block), Half::Reply(respond)) = (self.held.take(), &mut self.half) else { return Ok(()) };
        // h2 is given a head without fields, whose block is put into the frame that it writes.
        let content = respond.send_response(Response::new(()), false).map_err(|error| end_of(&error))?;
        self.line.put_head(self.stream, block);
        self.half = Half::Content(content);
        Ok(())
    }

    /// See [`crate::Sender::can_be_taken_back`].
    #[must_use]
    pub fn can_be_taken_back(&self) -> bool {
        self.held.is_some()
    }

    /// See [`crate::Sender::take_back`].
    pub fn take_back(&mut self) -> bool {
        self.left = None;
        self.held.take().is_some()
    }

    /// See [`crate::Sender::try_send`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn try_send(&mut self, bytes: &[u8]) -> Result<usize, MessageEnd> {
        self.flush()?;
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let sent = self.send_piece(rest)?;
            if sent == 0 {
                break;
            }
            taken += sent;
        }
        Ok(taken)
    }

    fn send_piece(&mut self, bytes: &[u8]) -> Result<usize, MessageEnd> {
        self.take_priority();
        let Half::Content(content) = &mut self.half else { return Err(MessageEnd::Closed) };
        self.wanted = bytes.len().min(PIECE_BYTES_MAX);
        let room = self.line.gate.room(self.priority).min(self.wanted);
        if room == 0 {
            return closed_or(content, 0);
        }
        // Never more than is sent at once: what a stream holds back of the connection's window, all others lack.
        content.reserve_capacity(room);
        let count = content.capacity().min(room);
        let Some(piece) = bytes.get(..count).filter(|piece| !piece.is_empty()) else {
            return closed_or(content, 0);
        };
        let left = self.left.map(|left| left.saturating_sub(count as u64));
        let ends = left == Some(0);
        let chunk = Chunk::of(piece, &self.line.gate);
        content.send_data(chunk, ends).map_err(|error| end_of(&error))?;
        self.left = left;
        // A peer that opens its window by a byte at a time earns nothing with it.
        if let Some(meter) =
            self.line.meter.as_ref().filter(|_| count == bytes.len() || count >= EARNING_BYTES_MIN)
        {
            meter.borrow_mut().data_sent(1);
        }
        if ends {
            self.ended();
        }
        Ok(count)
    }

    /// See [`crate::Sender::poll_writable`].
    pub fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.take_priority();
        let Half::Content(content) = &mut self.half else { return Poll::Ready(()) };
        if content.poll_reset(context).is_ready() {
            return Poll::Ready(());
        }
        let gate = &self.line.gate;
        if gate.room(self.priority) == 0 {
            gate.wait(self.stream, self.priority, context);
            return Poll::Pending;
        }
        gate.leave(self.stream);
        if content.capacity() > 0 {
            return Poll::Ready(());
        }
        content.reserve_capacity(self.wanted.max(1));
        if content.capacity() > 0 {
            return Poll::Ready(());
        }
        match content.poll_capacity(context) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => {
                // Its own window is shut: whoever comes next may go.
                gate.wake_next();
                Poll::Pending
            }
        }
    }

    /// See [`crate::Sender::finish`].
    ///
    /// # Errors
    /// The stream has ended before, or the peer takes no trailers of this size.
    pub fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), MessageEnd> {
        self.flush()?;
        let Half::Content(content) = &mut self.half else {
            return if matches!(self.half, Half::Ended) { Ok(()) } else { Err(MessageEnd::Closed) };
        };
        match trailers.filter(|trailers| trailers.fields().next().is_some()) {
            None => {
                let end = content.send_data(Chunk::empty(&self.line.gate), true);
                end.map_err(|error| end_of(&error))?;
            }
            Some(trailers) if self.counted => {
                let mut block = Buffer::take(Class::K4);
                if !self.line.takes_list(hpack::write_trailers(block.vec_mut(), trailers)) {
                    return Err(MessageEnd::TooLarge);
                }
                content.send_trailers(HeaderMap::new()).map_err(|error| end_of(&error))?;
                self.line.put_head(self.stream, block);
            }
            Some(trailers) => {
                content.send_trailers(fields_of(trailers)).map_err(|error| end_of(&error))?;
            }
        }
        self.ended();
        Ok(())
    }

    /// See [`crate::Sender::reset`].
    pub fn reset(&mut self, code: Code) {
        self.send_reset(reason_of(code));
        self.half = Half::Ended;
    }

    /// See [`crate::Sender::poll_closed`].
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<MessageEnd> {
        let polled = match &mut self.half {
            Half::Reply(respond) => respond.poll_reset(context),
            Half::Content(content) => content.poll_reset(context),
            Half::Ended => return Poll::Pending,
        };
        polled.map(|result| match result {
            Ok(Reason::REFUSED_STREAM) => MessageEnd::Refused,
            Ok(_) => MessageEnd::Reset,
            Err(error) => end_of(&error),
        })
    }

    fn take_priority(&mut self) {
        if let Some(priority) = self.line.take_priority(self.stream) {
            self.priority = priority;
        }
    }

    fn send_reset(&mut self, reason: Reason) {
        match &mut self.half {
            Half::Reply(respond) => respond.send_reset(reason),
            Half::Content(content) => content.send_reset(reason),
            Half::Ended => {}
        }
    }

    /// The message is whole.
    fn ended(&mut self) {
        self.half = Half::Ended;
        if let Some(meter) = &self.line.meter {
            meter.borrow_mut().reply_sent();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // A reply that breaks off is our failure; a request that breaks off is wanted by nobody any more.
        self.send_reset(if self.counted { Reason::INTERNAL_ERROR } else { Reason::CANCEL });
        let line = &self.line;
        line.gate.leave(self.stream);
        line.gate.wake_next();
        if !self.counted {
            return;
        }
        line.open_streams.set(line.open_streams.get().saturating_sub(1));
        if line.open_streams.get() == 0 {
            line.rests_since_ns.set(line.now_ns.get());
            // Its patience with an idle peer begins.
            line.wake();
        }
    }
}

/// Nothing was taken: because the stream has ended, or because it is to be waited for.
fn closed_or(content: &mut SendStream<Chunk>, count: usize) -> Result<usize, MessageEnd> {
    match content.poll_reset(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Pending => Ok(count),
        Poll::Ready(Ok(Reason::REFUSED_STREAM)) => Err(MessageEnd::Refused),
        Poll::Ready(Ok(_)) => Err(MessageEnd::Reset),
        Poll::Ready(Err(error)) => Err(end_of(&error)),
    }
}

/// Whether the head's content is followed by nothing: our own replies, and those of HTTP/1, whose announced length excludes
/// trailers.
fn has_no_trailers(head: &OutgoingHead<'_>) -> bool {
    match head {
        OutgoingHead::Own(_) => true,
        OutgoingHead::Reply { head, .. } => head.version() < Version::Http2,
        _ => false,
    }
}

/// Trailers of a request, as h2 takes them. Names and values were checked when they were parsed or set; one that h2 would not take
/// all the same is left out.
fn fields_of(trailers: &Trailers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value, _) in trailers.fields() {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // Fails beyond 32,768 fields, which no section has.
            let _ = map.try_append(name, value);
        }
    }
    map
}
