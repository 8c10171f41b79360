//! What lies between the h2 crate and the socket: reads that the meter sees first, and writes that are gathered until
//! the connection's task has done all it can.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_rt::Side;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http2::{Excess, Meter, Seen, Sent, SentReader, hpack, write_block};
use ringway_wire::priority::Priority;
use ringway_wire::reject::Reject;
use tokio_io::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::chunk::Gate;
use crate::Stream;
use crate::limits::{HTTP2_CLOSE_NS_MAX, HTTP2_LINGER_BYTES_MAX, HTTP2_STREAMS_MAX, HTTP2_TURN_BYTES_MAX};

/// Why a connection is to be ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The meter said so.
    Flood(Excess),
    /// The read deadline was reached.
    Late,
}

/// The socket of one connection and what its task and its streams share.
pub(crate) struct Line {
    pub(super) stream: Stream,
    /// What counts the peer's frames; a peer that we chose ourselves is not counted.
    pub(super) meter: Option<RefCell<Meter>>,
    pub(super) gate: Rc<Gate>,
    input: RefCell<Input>,
    output: RefCell<Output>,
    /// Set once; nothing is read any more.
    pub(super) over: Cell<Option<Over>>,
    /// The instant of the task's turn.
    pub(super) now_ns: Cell<u64>,
    read_in_turn: Cell<usize>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
    /// Streams whose sender is alive.
    pub(super) open_streams: Cell<u32>,
    /// When the last of them ended; 0 before the first.
    pub(super) rests_since_ns: Cell<u64>,
    /// Content that went on since the connection's window was last looked at.
    pub(super) consumed: Cell<u64>,
    pub(super) draining: Cell<bool>,
    /// PRIORITY_UPDATE frames that their streams have not taken up. Bounded by the number of streams.
    priorities: RefCell<Vec<(u32, Priority)>>,
    /// Requests that have begun and that h2 has not told of, and why it never will, where it has refused them by itself.
    arriving: RefCell<Vec<(u32, Option<Reject>)>>,
    /// Reads what h2 writes.
    sent: RefCell<SentReader>,
    /// The blocks of heads and trailers that h2 was given without their fields, in the order of their streams' frames.
    heads: RefCell<VecDeque<(u32, Buffer)>>,
    /// The bytes of these blocks.
    head_bytes: Cell<usize>,
    /// The streams that the peer has reset last: h2 may not know of it yet.
    resets: RefCell<VecDeque<u32>>,
    /// What the peer takes of a head (RFC 9113 §6.5.2).
    list_bytes_max: Cell<u32>,
}

#[derive(Default)]
struct Input {
    /// Bytes that were read and not yet taken.
    held: Option<Buffer>,
    at: usize,
    /// The last read took all there was: it is waited for readiness before the next.
    dry: bool,
    /// The last read filled its buffer: the next one is larger.
    full: bool,
}

#[derive(Default)]
struct Output {
    buffer: Option<Buffer>,
    /// Bytes of the buffer that the socket took.
    sent: usize,
    /// The socket took no more when it was last tried.
    stalled: bool,
    /// What goes after the buffer, where a block of fields did not fit into it.
    overflow: Vec<u8>,
}

/// PRIORITY_UPDATE frames that are kept for streams that have not begun (RFC 9218 §7.1).
const PRIORITIES_MAX: usize = 128;
/// Requests that are remembered until h2 tells of them. It tells of most at once, and of none that came after its GOAWAY.
const ARRIVING_MAX: usize = 256;
/// Resets that are remembered: as many as there may be streams.
const RESETS_MAX: usize = HTTP2_STREAMS_MAX as usize;
/// Blocks that wait: a final head, trailers and 16 interim heads for each stream. Beyond it only those of streams that were
/// reset can be meant.
const HEADS_MAX: usize = 20 * HTTP2_STREAMS_MAX as usize;
/// PROTOCOL_ERROR (RFC 9113 §7): how h2 refuses a head.
const PROTOCOL_ERROR: u32 = 1;

impl Line {
    /// `rest`: bytes that were read already; they are metered like all others.
    pub(super) fn new(stream: Stream, meter: Option<Meter>, rest: Option<Buffer>, now_ns: u64) -> Rc<Self> {
        let gate = Gate::new(meter.is_some());
        let line = Self {
            stream,
            meter: meter.map(RefCell::new),
            gate,
            input: RefCell::default(),
            output: RefCell::default(),
            over: Cell::new(None),
            now_ns: Cell::new(now_ns),
            read_in_turn: Cell::new(0),
            task: RefCell::new(None),
            open_streams: Cell::new(0),
            rests_since_ns: Cell::new(0),
            consumed: Cell::new(0),
            draining: Cell::new(false),
            priorities: RefCell::default(),
            arriving: RefCell::default(),
            sent: RefCell::default(),
            heads: RefCell::default(),
            head_bytes: Cell::new(0),
            resets: RefCell::default(),
            list_bytes_max: Cell::new(u32::MAX),
        };
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            line.meter_bytes(&rest);
            line.input.borrow_mut().held = Some(rest);
        }
        Rc::new(line)
    }

    /// The connection's task begins a turn.
    pub(super) fn begin_turn(&self, context: &Context<'_>) {
        self.now_ns.set(ringway_rt::now().mono_ns);
        self.read_in_turn.set(0);
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
    }

    /// The connection's task is to look again.
    pub(super) fn wake(&self) {
        let task = self.task.borrow();
        if let Some(task) = task.as_ref() {
            task.wake_by_ref();
        }
    }

    /// The priority that a PRIORITY_UPDATE gave this stream, once.
    pub(super) fn take_priority(&self, stream: u32) -> Option<Priority> {
        let mut priorities = self.priorities.borrow_mut();
        let place = priorities.iter().position(|(other, _)| *other == stream)?;
        Some(priorities.swap_remove(place).1)
    }

    fn meter_bytes(&self, bytes: &[u8]) {
        let Some(meter) = &self.meter else { return };
        let keep = |seen: Seen| {
            let (stream, priority) = match seen {
                Seen::Priority { stream, priority } => (stream, priority),
                Seen::Window(bytes) => return self.gate.widen(bytes),
                Seen::Opened(stream) => return self.opened(stream),
                Seen::Reset(stream) => return self.reset_by_peer(stream),
                Seen::ListBytesMax(bytes) => return self.list_bytes_max.set(bytes),
            };
            let mut priorities = self.priorities.borrow_mut();
            if let Some(place) = priorities.iter_mut().find(|(other, _)| *other == stream) {
                place.1 = priority;
            } else if priorities.len() < PRIORITIES_MAX {
                priorities.push((stream, priority));
            }
        };
        if let Err(excess) = meter.borrow_mut().read(bytes, self.now_ns.get(), keep) {
            self.over.set(Some(Over::Flood(excess)));
        }
    }

    fn opened(&self, stream: u32) {
        let mut arriving = self.arriving.borrow_mut();
        if arriving.len() >= ARRIVING_MAX {
            arriving.remove(0);
        }
        arriving.push((stream, None));
    }

    /// h2 has told of this request.
    pub(super) fn arrived(&self, stream: u32) {
        self.arriving.borrow_mut().retain(|(other, _)| *other != stream);
    }

    /// A request that h2 has refused by itself, once each. To be asked when it has no more to tell.
    pub(super) fn take_refused(&self) -> Option<Reject> {
        let mut arriving = self.arriving.borrow_mut();
        let place = arriving.iter().position(|(_, reject)| reject.is_some())?;
        arriving.remove(place).1
    }

    /// h2 ends the connection for what came last: where that was a head, its request is refused.
    pub(super) fn refuse_last(&self) {
        if let Some((_, reject)) = self.arriving.borrow_mut().last_mut() {
            reject.get_or_insert(Reject::Unparsed);
        }
    }

    /// Whether the peer takes a head of this size.
    pub(super) fn takes_list(&self, bytes: u64) -> bool {
        bytes <= u64::from(self.list_bytes_max.get())
    }

    /// h2 was given a head, or trailers, of this stream without their fields: this block is sent in their place.
    pub(super) fn put_head(&self, stream: u32, block: Buffer) {
        // Nobody waits for it, and h2 will forget it without a word.
        if self.resets.borrow().contains(&stream) {
            return;
        }
        if self.heads.borrow().len() >= HEADS_MAX {
            self.over.set(Some(Over::Flood(Excess::Reset)));
            self.wake();
        }
        self.head_bytes.set(self.head_bytes.get() + block.len());
        self.heads.borrow_mut().push_back((stream, block));
    }

    fn take_head(&self, stream: u32) -> Option<Buffer> {
        let mut heads = self.heads.borrow_mut();
        let place = heads.iter().position(|(other, _)| *other == stream)?;
        let (_, block) = heads.remove(place)?;
        self.head_bytes.set(self.head_bytes.get().saturating_sub(block.len()));
        Some(block)
    }

    fn reset_by_peer(&self, stream: u32) {
        self.drop_heads(stream);
        let mut resets = self.resets.borrow_mut();
        if resets.len() >= RESETS_MAX {
            resets.pop_front();
        }
        resets.push_back(stream);
    }

    /// The stream was reset: what h2 had of it is not sent any more.
    fn drop_heads(&self, stream: u32) {
        while let Some(block) = self.take_head(stream) {
            drop(block);
        }
    }

    /// What h2 writes, on its way to the socket.
    fn pass(&self, sent: Sent<'_>, output: &mut Output) {
        match sent {
            Sent::Bytes(bytes) => output.put(bytes),
            Sent::Head { stream, flags, updates } => match self.take_head(stream) {
                Some(block) => write_block(stream, flags, updates, &block, |bytes| output.put(bytes)),
                None => {
                    let mut block = Vec::with_capacity(5);
                    hpack::write_status(&mut block, self.own_status(stream));
                    write_block(stream, flags, updates, &block, |bytes| output.put(bytes));
                }
            },
            // One that is turned away with REFUSED_STREAM comes again.
            Sent::Reset { stream, code } => {
                self.drop_heads(stream);
                self.answered(stream, (code == PROTOCOL_ERROR).then_some(Reject::Unparsed));
            }
        }
    }

    /// The status of a head that is not ours: h2 refuses one over the limit by itself. Else the peer has reset the stream, and h2
    /// learns of that next.
    fn own_status(&self, stream: u32) -> u16 {
        if self.answered(stream, Some(Reject::HeadTooLarge)) { 431 } else { 200 }
    }

    /// h2 has answered a request of which it has not told. Whether there was one.
    fn answered(&self, stream: u32, why: Option<Reject>) -> bool {
        let mut arriving = self.arriving.borrow_mut();
        let Some(place) = arriving.iter().position(|(other, reject)| *other == stream && reject.is_none())
        else {
            return false;
        };
        match (why, arriving.get_mut(place)) {
            (Some(_), Some(entry)) => entry.1 = why,
            _ => drop(arriving.remove(place)),
        }
        true
    }

    fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut input = self.input.borrow_mut();
        loop {
            if self.over.get().is_some() {
                // The connection's task ends it after this turn.
                return Poll::Pending;
            }
            if input.take(into) {
                return Poll::Ready(Ok(()));
            }
            if self.read_in_turn.get() >= HTTP2_TURN_BYTES_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if std::mem::take(&mut input.dry) {
                match self.stream.poll_readable(cx) {
                    Poll::Pending => {
                        input.dry = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return self.failed(error),
                    Poll::Ready(Ok(())) => {}
                }
            }
            let mut buffer = Buffer::take(if input.full { Class::K64 } else { Class::K16 });
            match self.stream.try_read_append(buffer.vec_mut()) {
                Ok(Some(0)) => return Poll::Ready(Ok(())),
                Ok(Some(count)) => {
                    self.read_in_turn.set(self.read_in_turn.get() + count);
                    input.full = buffer.spare() == 0;
                    input.dry = !input.full && !self.stream.has_pending_plaintext();
                    self.meter_bytes(&buffer);
                    input.held = Some(buffer);
                }
                Ok(None) => input.dry = true,
                Err(error) => return self.failed(error),
            }
        }
    }

    fn failed<T>(&self, error: io::Error) -> Poll<io::Result<T>> {
        if error.kind() == io::ErrorKind::TimedOut {
            self.over.set(Some(Over::Late));
            return Poll::Pending;
        }
        Poll::Ready(Err(error))
    }

    fn poll_write(&self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let wished = total + self.head_bytes.get();
        let mut output = self.output.borrow_mut();
        if output.room(wished) == 0 {
            let flushed = output.flush(&self.stream);
            match flushed {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(false) if output.room(wished) == 0 => match self.stream.poll_writable(cx) {
                    Poll::Ready(Ok(())) => cx.waker().wake_by_ref(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                },
                Ok(_) => {}
            }
            if output.room(wished) == 0 {
                return Poll::Pending;
            }
        }
        if self.meter.is_none() {
            return Poll::Ready(Ok(output.append(parts)));
        }
        let (mut left, mut count) = (output.room(wished), 0);
        for part in parts {
            let taken = part.get(..part.len().min(left)).unwrap_or_default();
            self.sent.borrow_mut().read(taken, |sent| self.pass(sent, &mut output));
            (left, count) = (left - taken.len(), count + taken.len());
        }
        Poll::Ready(Ok(count))
    }

    /// Adds a few bytes to what is sent next.
    pub(super) fn gather(&self, bytes: &[u8]) {
        let mut output = self.output.borrow_mut();
        if output.room(bytes.len()) >= bytes.len() {
            output.append(&[IoSlice::new(bytes)]);
        }
    }

    /// Sends what was gathered. `Pending`: the socket takes no more, and the task is woken when it does.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>, stall_ns: u64) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        loop {
            let before = output.unsent();
            if output.flush(&self.stream)? {
                self.stream.deadline().disarm(Side::Write);
                return Poll::Ready(Ok(()));
            }
            if output.unsent() < before || !output.stalled {
                self.stream.deadline().arm(Side::Write, self.now_ns.get().saturating_add(stall_ns));
            }
            output.stalled = true;
            match self.stream.poll_writable(cx) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Sends the last bytes and ends our side of the connection.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_flush(cx, HTTP2_CLOSE_NS_MAX) {
            Poll::Ready(Ok(())) => self.stream.poll_shutdown_write(cx),
            other => other,
        }
    }

    /// Reads on for a moment after our side has ended: a peer that is still sending must not lose our last frames to the reset
    /// that closing with unread bytes would send.
    pub(super) async fn linger(&self) {
        let until_ns = ringway_rt::now().mono_ns.saturating_add(HTTP2_CLOSE_NS_MAX);
        self.stream.deadline().arm(Side::Read, until_ns);
        let mut left = HTTP2_LINGER_BYTES_MAX;
        loop {
            let mut buffer = Buffer::take(Class::K16);
            match self.stream.try_read_append(buffer.vec_mut()) {
                Ok(Some(0)) | Err(_) => return,
                Ok(Some(count)) if count >= left => return,
                Ok(Some(count)) => left -= count,
                Ok(None) => {
                    drop(buffer);
                    if self.stream.readable().await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Input {
    /// Hands held bytes over; false where there are none.
    fn take(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let Some(held) = &self.held else { return false };
        let there = held.get(self.at..).unwrap_or_default();
        let count = there.len().min(into.remaining());
        into.put_slice(there.get(..count).unwrap_or_default());
        self.at += count;
        if self.at >= held.len() {
            (self.held, self.at) = (None, 0);
        }
        true
    }
}

impl Output {
    fn unsent(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len()) - self.sent + self.overflow.len()
    }

    /// Bytes that can be appended, where so many are wished for: the buffer grows as far as 64 KiB.
    fn room(&mut self, wished: usize) -> usize {
        if !self.overflow.is_empty() {
            return 0;
        }
        let Some(buffer) = self.buffer.take() else {
            let class = Class::holding(wished).unwrap_or(Class::K64).min(Class::K64);
            return self.buffer.insert(Buffer::take(class)).spare();
        };
        let mut buffer = buffer;
        while buffer.spare() < wished && buffer.class() < Class::K64 {
            buffer = buffer.grown();
        }
        if buffer.spare() < wished && self.sent > 0 {
            buffer.consume(self.sent);
            self.sent = 0;
        }
        self.buffer.insert(buffer).spare()
    }

    /// Takes what fits.
    fn append(&mut self, parts: &[IoSlice<'_>]) -> usize {
        let Some(buffer) = &mut self.buffer else { return 0 };
        let before = buffer.len();
        for part in parts {
            let count = part.len().min(buffer.spare());
            buffer.vec_mut().extend_from_slice(part.get(..count).unwrap_or_default());
        }
        buffer.len() - before
    }

    /// Takes all of it. Whoever calls asks for [`Output::room`] before, so that little goes beyond the buffer.
    fn put(&mut self, bytes: &[u8]) {
        match &mut self.buffer {
            Some(buffer) if self.overflow.is_empty() && buffer.spare() >= bytes.len() => {
                buffer.vec_mut().extend_from_slice(bytes);
            }
            _ => self.overflow.extend_from_slice(bytes),
        }
    }

    /// Sends without waiting; whether nothing is left.
    ///
    /// INVARIANT: what was not taken stays at the front, as [`Stream::try_write`] asks.
    fn flush(&mut self, stream: &Stream) -> io::Result<bool> {
        while let Some(buffer) = &self.buffer {
            let unsent = buffer.get(self.sent..).unwrap_or_default();
            if unsent.is_empty() {
                let overflow = std::mem::take(&mut self.overflow);
                *self = Self::default();
                self.refill(&overflow);
                continue;
            }
            match stream.try_write(unsent)? {
                Some(count) => self.sent += count,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes what did not fit before; the buffer has gone.
    fn refill(&mut self, overflow: &[u8]) {
        let count = overflow.len().min(Class::K64.bytes());
        let Some((next, rest)) = overflow.split_at_checked(count).filter(|_| count > 0) else { return };
        self.buffer = Class::holding(count).map(|class| {
            let mut buffer = Buffer::take(class);
            buffer.vec_mut().extend_from_slice(next);
            buffer
        });
        self.overflow = rest.to_vec();
    }
}

/// The h2 crate's end of a [`Line`].
pub(super) struct Io(pub(super) Rc<Line>);

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, into)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// At once: what was gathered is sent at the end of the task's turn.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_shutdown(cx)
    }
}
