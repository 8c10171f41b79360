//! Where a body comes from: parsed by `wire`'s core, read only when nothing parsed is left.

use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class, memory};
use ringway_wire::head::Framing;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn};
use ringway_wire::limits::ChunkLimits;
use ringway_wire::reject::Reject;
use ringway_wire::trailers::Trailers;

use super::{RelayEnd, Sink};
use crate::limits::MEMORY_BYTES_SHORT;

/// Why no more of the body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceEnd {
    /// The framing is broken.
    Malformed(Reject),
    /// The connection ended before the body did.
    Short,
    /// It was reset.
    Reset,
    /// It was silent for too long, or slower than the least rate.
    Timeout,
    /// It is longer than allowed.
    TooLarge,
}

/// How long to wait for bytes, and how many to take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceLimits {
    /// Most body bytes.
    pub(crate) body_bytes_max: u64,
    /// Longest silence.
    pub(crate) idle_ns_max: u64,
    /// Least rate in bytes a second, 0 for none, and the grace before it applies.
    pub(crate) rate_min: u32,
    /// The grace.
    pub(crate) rate_grace_ns: u64,
}

/// What is there without waiting.
pub(crate) enum Step<'b> {
    /// Body bytes; to be marked with [`Source::consume`].
    Data(&'b [u8]),
    /// The body is complete.
    End,
    /// Nothing yet: [`Source::fill`].
    More,
}

/// The read half of one message's body.
pub(crate) struct Source<'s> {
    stream: &'s Stream,
    /// Bytes that came with the head; a span of the head's buffer.
    first: &'s [u8],
    /// Bytes read since; `None` while nothing is there, so that a silent peer holds no memory.
    buffer: Option<Buffer>,
    /// Consumed bytes of `first`, or of `buffer` once `first` is used up.
    at: usize,
    first_done: bool,
    /// Bytes shown by the last step and not yet consumed.
    shown: usize,
    core: BodyReader,
    framing: Framing,
    limits: SourceLimits,
    class: Class,
    started_ns: u64,
    waited_ns: u64,
    /// Body bytes yielded.
    pub(crate) body_bytes: u64,
}

impl<'s> Source<'s> {
    /// A source of a body of this framing, beginning with `first`.
    pub(crate) fn new(stream: &'s Stream, framing: Framing, first: &'s [u8], limits: SourceLimits) -> Self {
        Self {
            stream,
            first,
            buffer: None,
            at: 0,
            first_done: first.is_empty(),
            shown: 0,
            core: BodyReader::new(framing, ChunkLimits::DEFAULT),
            framing,
            limits,
            class: Class::K16,
            started_ns: 0,
            waited_ns: 0,
            body_bytes: 0,
        }
    }

    /// Parses on in what is there. Framing is consumed, data is shown.
    ///
    /// # Errors
    /// Broken framing, or too large a body.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, SourceEnd> {
        // A relay that was given up in the middle of a write has not marked what it was shown; the core has read it.
        self.consume();
        let bytes = available(self.first, self.first_done, self.buffer.as_ref(), self.at);
        let mut input = BytesIn::new(bytes);
        let event = self.core.next(&mut input).map_err(SourceEnd::Malformed)?;
        let consumed = input.consumed();
        match event {
            BodyEvent::Data(range) => {
                self.body_bytes += range.len() as u64;
                if self.body_bytes > self.limits.body_bytes_max {
                    return Err(SourceEnd::TooLarge);
                }
                self.advance(range.start);
                self.shown = consumed - range.start;
                let bytes = available(self.first, self.first_done, self.buffer.as_ref(), self.at);
                Ok(Step::Data(bytes.get(..range.len()).unwrap_or_default()))
            }
            BodyEvent::End => {
                self.advance(consumed);
                Ok(Step::End)
            }
            BodyEvent::NeedMore => {
                self.advance(consumed);
                Ok(Step::More)
            }
        }
    }

    /// Marks what [`Source::step`] showed as taken.
    pub(crate) fn consume(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if shown > 0 {
            self.advance(shown);
        }
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.core.is_done()
    }

    /// Whether nothing was read from the stream for it: all there is came with the head.
    pub(crate) fn pristine(&self) -> bool {
        self.buffer.is_none() && self.class == Class::K16 && self.started_ns == 0
    }

    /// Begins again at the head, to send the body once more. `false` when bytes were read from the
    /// stream that are gone.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.pristine() {
            return false;
        }
        self.core = BodyReader::new(self.framing, ChunkLimits::DEFAULT);
        self.at = 0;
        self.shown = 0;
        self.body_bytes = 0;
        self.first_done = self.first.is_empty();
        true
    }

    /// Most body bytes.
    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.limits.body_bytes_max
    }

    /// Another bound than the settings': the route's.
    pub(crate) fn set_body_bytes_max(&mut self, body_bytes_max: u64) {
        self.limits.body_bytes_max = body_bytes_max;
    }

    /// Throws away what is there without waiting. `true`: that was the whole body.
    ///
    /// # Errors
    /// Broken framing, or too large a body.
    pub(crate) fn skip_ready(&mut self) -> Result<bool, SourceEnd> {
        loop {
            match self.step()? {
                Step::Data(_) => self.consume(),
                Step::End => return Ok(true),
                Step::More => return Ok(false),
            }
        }
    }

    /// Reads the rest of the body and throws it away, up to so many bytes.
    ///
    /// # Errors
    /// It did not end in order, or is longer.
    pub(crate) async fn drain(&mut self, bytes_max: u64) -> Result<(), SourceEnd> {
        let until = self.body_bytes.saturating_add(bytes_max);
        while !self.skip_ready()? {
            if self.body_bytes > until {
                return Err(SourceEnd::TooLarge);
            }
            self.fill().await?;
        }
        Ok(())
    }

    /// Sends on what is there without waiting for more. `true` when that was the whole body, flushed;
    /// `false` when more is to come, with everything so far flushed.
    ///
    /// # Errors
    /// Which side ended it.
    pub(crate) async fn forward_ready(&mut self, sink: &mut Sink<'_>) -> Result<bool, RelayEnd> {
        loop {
            match self.step().map_err(RelayEnd::Source)? {
                Step::Data(bytes) => {
                    sink.data(bytes).await.map_err(RelayEnd::Sink)?;
                    self.consume();
                }
                Step::End => {
                    sink.end(self.trailers()).await.map_err(RelayEnd::Sink)?;
                    return Ok(true);
                }
                Step::More => {
                    sink.flush().await.map_err(RelayEnd::Sink)?;
                    return Ok(false);
                }
            }
        }
    }

    /// Nanoseconds that the peer kept us waiting.
    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// The trailer section, once the body has ended.
    pub(crate) fn trailers(&self) -> Option<&Trailers> {
        Some(self.core.trailers()).filter(|trailers| !trailers.is_empty())
    }

    /// Whether bytes are there that do not belong to the body.
    pub(crate) fn has_rest(&self) -> bool {
        available(self.first, self.first_done, self.buffer.as_ref(), self.at).len() > self.shown
    }

    /// What was read beyond the body: the one move of a pipelined request.
    ///
    /// INVARIANT: bytes that were shown as content are never in it, whether they were taken or not: they would be read as the
    /// next request.
    pub(crate) fn take_rest(&mut self) -> Option<Buffer> {
        self.consume();
        if !self.first_done {
            let rest = self.first.get(self.at..).unwrap_or_default();
            return (!rest.is_empty()).then(|| Buffer::copied_from(rest));
        }
        let mut buffer = self.buffer.take()?;
        buffer.consume(self.at);
        (!buffer.is_empty()).then_some(buffer)
    }

    /// Waits for bytes and reads them.
    ///
    /// # Errors
    /// The peer ended, reset or was too slow.
    pub(crate) async fn fill(&mut self) -> Result<(), SourceEnd> {
        loop {
            let class = self.read_class();
            let mut buffer = self.buffer.take().unwrap_or_else(|| Buffer::take(class));
            if self.at == buffer.len() {
                buffer.clear();
                if buffer.class() < class {
                    buffer = Buffer::take(class);
                }
                self.at = 0;
            } else if buffer.spare() == 0 {
                buffer.consume(self.at);
                self.at = 0;
            }
            match self.stream.try_read_append(buffer.vec_mut()) {
                Ok(Some(0)) => {
                    self.buffer = Some(buffer);
                    return self.core.finish().map_err(|_| SourceEnd::Short);
                }
                Ok(Some(_)) => {
                    self.class = class_after(&buffer, self.class);
                    self.buffer = Some(buffer);
                    return Ok(());
                }
                Ok(None) => {
                    // A silent peer holds no buffer, unless a part of a chunk head lies in it.
                    self.buffer = Some(buffer).filter(|buffer| !buffer.is_empty());
                    self.wait().await?;
                }
                Err(error) => return Err(ended(&error)),
            }
        }
    }

    /// How large a read is worth while: what is certain to come, up to 64 KiB at once, and more once reads fill their buffers.
    fn read_class(&self) -> Class {
        let sure = self.core.run_len().unwrap_or(0).min(Class::K64.bytes() as u64);
        let sure = usize::try_from(sure).ok().and_then(Class::holding).unwrap_or(Class::K16);
        sure.max(self.class)
    }

    async fn wait(&mut self) -> Result<(), SourceEnd> {
        let from_ns = ringway_rt::now().mono_ns;
        if self.started_ns == 0 {
            self.started_ns = from_ns;
        }
        let mut until_ns = from_ns.saturating_add(self.limits.idle_ns_max);
        if self.limits.rate_min > 0 {
            let earned_ns = self.body_bytes.saturating_mul(1_000_000_000) / u64::from(self.limits.rate_min);
            let due_ns = self.started_ns.saturating_add(self.limits.rate_grace_ns).saturating_add(earned_ns);
            until_ns = until_ns.min(due_ns);
        }
        self.stream.deadline().arm(Side::Read, until_ns);
        let woken = self.stream.readable().await;
        self.stream.deadline().disarm(Side::Read);
        self.waited_ns += ringway_rt::now().mono_ns.saturating_sub(from_ns);
        woken.map_err(|error| ended(&error))
    }

    fn advance(&mut self, count: usize) {
        self.at += count;
        if !self.first_done && self.at >= self.first.len() {
            self.first_done = true;
            self.at = 0;
        }
    }
}

fn available<'b>(first: &'b [u8], first_done: bool, buffer: Option<&'b Buffer>, at: usize) -> &'b [u8] {
    let bytes = if first_done { buffer.map_or(&[][..], |buffer| buffer) } else { first };
    bytes.get(at..).unwrap_or_default()
}

/// A read that filled its buffer asks for a larger one next time, while there is memory: 16 KiB buffers cost a quarter of the
/// throughput of large bodies.
fn class_after(buffer: &Buffer, class: Class) -> Class {
    if buffer.spare() > 0 {
        class
    } else if memory::in_use() >= MEMORY_BYTES_SHORT {
        Class::K16
    } else {
        class.larger().unwrap_or(class)
    }
}

fn ended(error: &std::io::Error) -> SourceEnd {
    match error.kind() {
        std::io::ErrorKind::TimedOut => SourceEnd::Timeout,
        // A TLS peer that ended without close_notify: whatever came may have been cut.
        std::io::ErrorKind::UnexpectedEof => SourceEnd::Short,
        _ => SourceEnd::Reset,
    }
}
