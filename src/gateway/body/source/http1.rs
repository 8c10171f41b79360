//! A body on an HTTP/1 connection: parsed by `wire`'s core, read only when nothing parsed is left.

use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class, memory};
use ringway_wire::head::Framing;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn};
use ringway_wire::limits::ChunkLimits;
use ringway_wire::trailers::Trailers;

use super::{SourceEnd, Step};

/// Bytes that belong to a body, and to what follows it.
pub(super) struct Http1Body<'s> {
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
    class: Class,
    /// Some of it was read behind what came with the head, or went past without being read.
    begun: bool,
}

impl<'s> Http1Body<'s> {
    pub(super) fn new(stream: &'s Stream, framing: Framing, first: &'s [u8]) -> Self {
        Self {
            stream,
            first,
            buffer: None,
            at: 0,
            first_done: first.is_empty(),
            shown: 0,
            core: BodyReader::new(framing, ChunkLimits::DEFAULT),
            framing,
            class: Class::K16,
            begun: false,
        }
    }

    pub(super) fn stream(&self) -> &'s Stream {
        self.stream
    }

    pub(super) fn step(&mut self) -> Result<Step<'_>, SourceEnd> {
        let bytes = available(self.first, self.first_done, self.buffer.as_ref(), self.at);
        let mut input = BytesIn::new(bytes);
        let event = self.core.next(&mut input).map_err(SourceEnd::Malformed)?;
        let consumed = input.consumed();
        match event {
            BodyEvent::Data(range) => {
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

    pub(super) fn consume(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if shown > 0 {
            self.advance(shown);
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.core.is_done()
    }

    pub(super) fn pristine(&self) -> bool {
        !self.begun
    }

    /// Content that is certain to come behind what was read, on a plain connection.
    #[inline]
    pub(super) fn run_ahead(&self) -> Option<(&'s ringway_rt::Stream, u64)> {
        let read = available(self.first, self.first_done, self.buffer.as_ref(), self.at).len();
        let read = read.saturating_sub(self.shown);
        let run = self.core.run_len()?.checked_sub(read as u64)?;
        Some((self.stream.plain()?, run))
    }

    pub(super) fn shown(&self) -> &[u8] {
        let bytes = available(self.first, self.first_done, self.buffer.as_ref(), self.at);
        bytes.get(..self.shown).unwrap_or_default()
    }

    /// So many bytes of it went past.
    ///
    /// INVARIANT: all that was read before them is shown: the core has read it.
    pub(super) fn passed(&mut self, count: usize) {
        self.core.pass(count as u64);
        self.begun = true;
    }

    pub(super) fn came_with_head(&self) -> bool {
        !self.first.is_empty()
    }

    pub(super) fn rewind(&mut self) {
        self.core = BodyReader::new(self.framing, ChunkLimits::DEFAULT);
        self.at = 0;
        self.shown = 0;
        self.first_done = self.first.is_empty();
    }

    pub(super) fn trailers(&self) -> &Trailers {
        self.core.trailers()
    }

    pub(super) fn has_rest(&self) -> bool {
        available(self.first, self.first_done, self.buffer.as_ref(), self.at).len() > self.shown
    }

    /// INVARIANT: bytes that were shown as content are never in it, whether they were taken or not: they would be read as the
    /// next request.
    pub(super) fn take_rest(&mut self) -> Option<Buffer> {
        self.consume();
        if !self.first_done {
            let rest = self.first.get(self.at..).unwrap_or_default();
            return (!rest.is_empty()).then(|| Buffer::copied_from(rest));
        }
        let mut buffer = self.buffer.take()?;
        buffer.consume(self.at);
        (!buffer.is_empty()).then_some(buffer)
    }

    /// Reads what is there. `false`: nothing.
    pub(super) fn try_fill(&mut self) -> Result<bool, SourceEnd> {
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
                self.core.finish().map(|()| true).map_err(|_| SourceEnd::Short)
            }
            Ok(Some(_)) => {
                self.begun = true;
                self.class = class_after(&buffer, self.class);
                self.buffer = Some(buffer);
                Ok(true)
            }
            Ok(None) => {
                // A silent peer holds no buffer, unless a part of a chunk head lies in it.
                self.buffer = Some(buffer).filter(|buffer| !buffer.is_empty());
                Ok(false)
            }
            Err(error) => Err(SourceEnd::of(&error)),
        }
    }

    /// A silent peer holds no buffer.
    pub(super) fn let_go(&mut self) {
        if self.buffer.take_if(|buffer| self.at == buffer.len()).is_some() {
            self.at = 0;
        }
    }

    pub(super) async fn wait(&mut self, until_ns: u64) -> Result<(), SourceEnd> {
        self.stream.deadline().arm(Side::Read, until_ns);
        let woken = self.stream.readable().await;
        self.stream.deadline().disarm(Side::Read);
        woken.map_err(|error| SourceEnd::of(&error))
    }

    /// How large a read is worth while: what is certain to come, up to 64 KiB at once, and more once reads fill their buffers; little
    /// where memory is short.
    fn read_class(&self) -> Class {
        if memory::is_short() {
            return Class::K16;
        }
        let sure = self.core.run_len().unwrap_or(0).min(Class::K64.bytes() as u64);
        let sure = usize::try_from(sure).ok().and_then(Class::holding).unwrap_or(Class::K16);
        sure.max(self.class)
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
    } else if memory::is_short() {
        Class::K16
    } else {
        class.larger().unwrap_or(class)
    }
}
