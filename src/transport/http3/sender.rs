//! What goes to a peer on one HTTP/3 stream.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use quinn::{SendStream, StoppedError, VarInt, WriteError};
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http3::{self, data_head_len, write_data_head, write_head, write_trailers};
use ringway_wire::message::OutgoingHead;
use ringway_wire::priority::Priority;
use ringway_wire::trailers::Trailers;

use super::line::Exchange;
use super::room::Rank;
use super::{code_of, end_of_reset, number};
use crate::limits::{HTTP3_ACKNOWLEDGE_NS_MAX, HTTP3_GATHERED_BYTES_MAX, HTTP3_PIECE_BYTES_MAX};
use crate::message::{After, Code, MessageEnd};

type Stopped = Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>;

/// The sending half of a message. Heads and small content are gathered until [`Sender::flush`], [`Sender::finish`] or a wait. Dropped
/// before its end, it resets the stream.
pub struct Sender {
    stream: SendStream,
    exchange: Rc<Exchange>,
    /// Frames that were not handed to QUIC yet.
    gathered: Option<Buffer>,
    /// Where in it the final head begins.
    head_at: Option<usize>,
    /// What QUIC did not take of those that were.
    held: Bytes,
    state: State,
    /// Watches for the peer to stop the stream; made where somebody waits for that.
    stopped: Option<Stopped>,
    /// How many priorities had been said on the control stream when this one's was looked up.
    priorities_said: u32,
    /// Where it stands among those of its connection that wait.
    rank: Rank,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The message is whole once `gathered` and `held` have gone.
    Ending,
    /// QUIC has all of it.
    Finished,
    Over(MessageEnd),
}

impl Sender {
    pub(super) fn new(stream: SendStream, exchange: Rc<Exchange>) -> Self {
        let rank = Rank { priority: 0, took: 0, id: exchange.id };
        Self {
            stream,
            exchange,
            gathered: None,
            head_at: None,
            held: Bytes::new(),
            state: State::Open,
            stopped: None,
            priorities_said: 0,
            rank,
        }
    }

    /// What the head of a request said of its reply. What is said on the control stream is newer.
    pub(super) fn prioritise(&mut self, priority: Priority) {
        self.rank.priority = level_of(priority, self.exchange.id);
        // Fails where the stream has ended.
        let _ = self.stream.set_priority(self.rank.priority);
    }

    /// The stream's id.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.exchange.id
    }

    /// See [`crate::Sender::send_head`].
    ///
    /// # Errors
    /// The stream has ended, or the peer takes no head of this size.
    pub fn send_head(&mut self, head: &OutgoingHead<'_>, after: After) -> Result<usize, MessageEnd> {
        self.check()?;
        let Some(bytes) = self.gather_section(|out| write_head(out, head)) else {
            return if head.is_interim() { Ok(0) } else { Err(MessageEnd::TooLarge) };
        };
        match after {
            After::Nothing => self.finish(None)?,
            // What follows may be long in coming, and nobody says so.
            After::Content if head.is_interim() => drop(self.flush()?),
            After::Content => {
                self.head_at = self.gathered.as_ref().and_then(|gathered| gathered.len().checked_sub(bytes));
            }
        }
        Ok(bytes)
    }

    /// See [`crate::Sender::can_be_taken_back`].
    #[must_use]
    pub fn can_be_taken_back(&self) -> bool {
        self.state == State::Open && self.head_at.is_some() && self.gathered.is_some()
    }

    /// See [`crate::Sender::take_back`]. Small content that was gathered behind the head goes with it.
    pub fn take_back(&mut self) -> bool {
        let (State::Open, Some(at), Some(gathered)) = (self.state, self.head_at.take(), &mut self.gathered)
        else {
            return false;
        };
        gathered.vec_mut().truncate(at);
        true
    }

    /// Sends a head that was encoded before, as one HEADERS frame: for whoever sends the same many times.
    ///
    /// # Errors
    /// The stream has ended.
    pub fn send_encoded(&mut self, head: &[u8], after: After) -> Result<(), MessageEnd> {
        self.check()?;
        self.gather(|out| out.extend_from_slice(head));
        if after == After::Nothing { self.finish(None) } else { Ok(()) }
    }

    /// See [`crate::Sender::try_send`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn try_send(&mut self, bytes: &[u8]) -> Result<usize, MessageEnd> {
        self.check()?;
        let gathered = self.gathered.as_ref().map_or(0, |gathered| gathered.len());
        if self.held.is_empty() && gathered + bytes.len() <= HTTP3_GATHERED_BYTES_MAX {
            self.gather(|out| {
                write_data_head(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            });
            return Ok(bytes.len());
        }
        if !self.flush()? {
            return Ok(0);
        }
        let piece = bytes.get(..bytes.len().min(HTTP3_PIECE_BYTES_MAX)).unwrap_or_default();
        let mut frame = Vec::with_capacity(data_head_len(piece.len() as u64) + piece.len());
        write_data_head(&mut frame, piece.len() as u64);
        frame.extend_from_slice(piece);
        self.held = Bytes::from(frame);
        self.flush()?;
        Ok(piece.len())
    }

    /// See [`crate::Sender::flush`].
    ///
    /// # Errors
    /// The stream has ended.
    pub fn flush(&mut self) -> Result<bool, MessageEnd> {
        match self.poll_push(None) {
            Poll::Ready(pushed) => pushed.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// See [`crate::Sender::poll_writable`].
    pub fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll_push(Some(context.waker())).map(drop)
    }

    /// See [`crate::Sender::finish`].
    ///
    /// # Errors
    /// The stream has ended before, or the peer takes no trailers of this size.
    pub fn finish(&mut self, trailers: Option<&Trailers>) -> Result<(), MessageEnd> {
        match self.state {
            State::Open => self.check()?,
            State::Ending | State::Finished => return Ok(()),
            State::Over(end) => return Err(end),
        }
        if let Some(trailers) = trailers {
            self.gather_section(|out| write_trailers(out, trailers)).ok_or(MessageEnd::TooLarge)?;
        }
        self.state = State::Ending;
        self.flush().map(drop)
    }

    /// See [`crate::Sender::reset`].
    pub fn reset(&mut self, code: Code) {
        if code == Code::Malformed {
            self.exchange.cancelled.set(true);
        }
        self.reset_with(code_of(code));
    }

    /// See [`crate::Sender::poll_closed`].
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<MessageEnd> {
        // Whoever waits for something else must not keep the peer waiting for what was gathered.
        let _ = self.poll_push(Some(context.waker()));
        if let State::Over(end) = self.state {
            return Poll::Ready(end);
        }
        let stopped = self.stopped.get_or_insert_with(|| Box::pin(self.stream.stopped()));
        match stopped.as_mut().poll(context) {
            // Finished, and all of it arrived.
            Poll::Ready(Ok(None)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Some(code))) => Poll::Ready(self.stopped_with(code)),
            Poll::Ready(Err(_)) => Poll::Ready(self.over(MessageEnd::Closed)),
        }
    }

    pub(super) fn reset_with(&mut self, code: http3::Code) {
        if matches!(self.state, State::Open | State::Ending) {
            // Fails where the connection is gone, which is as good.
            let _ = self.stream.reset(number(self.exchange.fault.get().unwrap_or(code)));
            self.over(MessageEnd::Reset);
        }
    }

    /// A malformed request gets no reply, but a reset (RFC 9114 §4.1.2).
    fn check(&self) -> Result<(), MessageEnd> {
        if self.exchange.fault.get().is_some() {
            return Err(MessageEnd::Closed);
        }
        match self.state {
            State::Open => Ok(()),
            State::Ending | State::Finished => Err(MessageEnd::Closed),
            State::Over(end) => Err(end),
        }
    }

    fn gather(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let gathered = self.gathered.get_or_insert_with(|| Buffer::take(Class::K4));
        write(gathered.vec_mut());
    }

    /// Adds a field section, whose size `write` returns: how many bytes that were. `None`: the peer takes none of this size, and
    /// nothing was added.
    fn gather_section(&mut self, write: impl FnOnce(&mut Vec<u8>) -> u64) -> Option<usize> {
        let size_max = self.exchange.line.field_section_bytes_max();
        let mut added = None;
        self.gather(|out| {
            let before = out.len();
            if write(out) > size_max {
                out.truncate(before);
            } else {
                added = Some(out.len() - before);
            }
        });
        added
    }

    /// Hands all there is to QUIC. `task` is woken when it is worth another try; without it there will be one.
    fn poll_push(&mut self, task: Option<&Waker>) -> Poll<Result<(), MessageEnd>> {
        match self.state {
            State::Open | State::Ending => {}
            State::Finished => return Poll::Ready(Ok(())),
            State::Over(end) => return Poll::Ready(Err(end)),
        }
        self.follow_priority();
        match self.poll_push_due(task) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failed(&error))),
            Poll::Ready(Ok(())) => self.exchange.line.room.leave(self.exchange.id),
        }
        if self.state == State::Ending {
            // Fails only where it was done before.
            let _ = self.stream.finish();
            self.state = State::Finished;
            self.exchange.finished.set(true);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_push_due(&mut self, task: Option<&Waker>) -> Poll<Result<(), WriteError>> {
        let exchange = Rc::clone(&self.exchange);
        let room = &exchange.line.room;
        while !self.held.is_empty() || self.gathered.is_some() {
            if !room.is_free(self.rank) {
                if let Some(task) = task {
                    room.stand_behind(self.rank, task);
                }
                return Poll::Pending;
            }
            let mut polled = self.poll_write(&mut Context::from_waker(Waker::noop()));
            if let (Poll::Pending, Some(task)) = (&polled, task) {
                let call = room.wait(self.rank, task);
                polled = self.poll_write(&mut Context::from_waker(&call));
                room.next();
            }
            ready!(polled)?;
            self.rank.took = room.took();
        }
        Poll::Ready(Ok(()))
    }

    /// Hands QUIC some of what is held, or else of what was gathered.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.held.is_empty() {
            self.head_at = None;
            let gathered = self.gathered.take().filter(|gathered| !gathered.is_empty());
            let Some(gathered) = gathered else { return Poll::Ready(Ok(())) };
            let polled = pin!(self.stream.write(&gathered)).poll(cx);
            let done = if let Poll::Ready(Ok(count)) = &polled { *count } else { 0 };
            self.held = Bytes::copy_from_slice(gathered.get(done..).unwrap_or_default());
            return polled.map_ok(drop);
        }
        pin!(self.stream.write_chunks(std::slice::from_mut(&mut self.held))).poll(cx).map_ok(drop)
    }

    /// What was said of this request on the control stream meanwhile.
    fn follow_priority(&mut self) {
        let line = &self.exchange.line;
        let said = line.priorities_said.get();
        if said != self.priorities_said {
            self.priorities_said = said;
            if let Some(priority) = line.said_priority(self.exchange.id) {
                self.prioritise(priority);
            }
        }
    }

    fn failed(&mut self, error: &WriteError) -> MessageEnd {
        match error {
            WriteError::Stopped(code) => self.stopped_with(*code),
            _ => self.over(MessageEnd::Closed),
        }
    }

    fn stopped_with(&mut self, code: VarInt) -> MessageEnd {
        self.exchange.cancelled.set(true);
        self.over(end_of_reset(code))
    }

    fn over(&mut self, end: MessageEnd) -> MessageEnd {
        self.state = State::Over(end);
        self.exchange.line.room.leave(self.exchange.id);
        self.gathered = None;
        self.held = Bytes::new();
        end
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.exchange.line.room.leave(self.exchange.id);
        match self.state {
            State::Finished if self.exchange.line.draining.get() => {
                // The connection is about to be closed, which would take back what has not arrived.
                let (arrived, exchange) = (self.stream.stopped(), Rc::clone(&self.exchange));
                let until_ns = ringway_rt::now().mono_ns.saturating_add(HTTP3_ACKNOWLEDGE_NS_MAX);
                ringway_rt::spawn(async move {
                    let _ = ringway_rt::until_ns(until_ns, arrived).await;
                    drop(exchange);
                });
            }
            State::Finished => {}
            State::Over(_) => {
                // Where the peer stopped it, QUIC must still be told that we send no more.
                let _ = self.stream.reset(number(http3::Code::RequestCancelled));
            }
            State::Open | State::Ending => self.reset_with(http3::Code::Internal),
        }
    }
}

/// Streams of one quinn priority share the connection; a higher one goes first. A request of which nothing was said has 0: it
/// shares with those that are incremental at the default urgency, so that a client that knows nothing of priorities never
/// waits for one large reply. A reply that is of no use in part goes before younger ones of its urgency (RFC 9218 §10).
fn level_of(priority: Priority, id: u64) -> i32 {
    const LEVEL: i32 = 1 << 24;
    let level = i32::from(Priority::URGENCY_DEFAULT) - i32::from(priority.urgency);
    let place = if priority.incremental { 0 } else { LEVEL - 1 - (id >> 2 & 0x3f_ffff) as i32 };
    level * LEVEL + place
}
