//! A body's reader: ranges of the caller's bytes, nothing copied but trailers.

use std::ops::Range;

use memchr::memchr;

use super::chunk::ChunkHead;
use super::lines::field_fault;
use crate::head::Framing;
use crate::limits::ChunkLimits;
use crate::reject::Reject;
use crate::trailers::Trailers;

/// Bytes that came in, and how many of them were read.
#[derive(Debug, Clone, Copy)]
pub struct BytesIn<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BytesIn<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    #[must_use]
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// All the bytes that ranges refer to.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, count: usize) -> Range<usize> {
        let start = self.at;
        self.at = (start + count).min(self.bytes.len());
        start..self.at
    }
}

/// What a body's next bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyEvent {
    /// Content: a range of the input's bytes, never empty.
    Data(Range<usize>),
    /// The body has ended; [`BodyReader::trailers`] holds the trailer section, which may be empty. Every later call says
    /// the same and reads nothing.
    End,
    /// All input was read and the body goes on.
    NeedMore,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    Head(ChunkHead),
    Data(u64),
    /// After a chunk's data: CR is due, then LF.
    DataCr,
    DataLf,
    /// In the trailer section, at or in a line.
    Trailers,
    Done,
}

/// Reads one body. It never reads past its end: what follows is the next message's.
#[derive(Debug)]
pub struct BodyReader {
    state: State,
    limits: ChunkLimits,
    /// How far framing bytes run ahead of data; see [`ChunkLimits::overhead_bytes_max`].
    overhead: u64,
    /// Made with the first byte of a trailer section.
    trailers: Option<Box<Trailers>>,
}

impl BodyReader {
    /// A reader of a body of this framing.
    #[must_use]
    pub fn new(framing: Framing, limits: ChunkLimits) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Head(ChunkHead::START),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, limits, overhead: 0, trailers: None }
    }

    /// Whether the body has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of content that are certain to come before any framing byte: how large a read may be. `None`: unknown.
    #[must_use]
    pub fn run_len(&self) -> Option<u64> {
        match self.state {
            State::Length(left) | State::Data(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// So many bytes of the content that is certain to come ([`Self::run_len`]) went where they are wanted without being seen here.
    pub fn pass(&mut self, count: u64) {
        self.state = match self.state {
            State::Length(left) if count >= left => State::Done,
            State::Length(left) => State::Length(left - count),
            State::Data(left) if count >= left => State::DataCr,
            State::Data(left) => State::Data(left - count),
            state => state,
        };
    }

    /// The trailer section, once the body has ended.
    #[must_use]
    pub fn trailers(&self) -> &Trailers {
        static NONE: Trailers = Trailers::NONE;
        self.trailers.as_deref().unwrap_or(&NONE)
    }

    /// The connection ended: whether the body did, too.
    ///
    /// # Errors
    /// [`Reject::BodyCut`] where it had not: the reply must be reset and never ended silently (contract, rule 11).
    pub fn finish(&mut self) -> Result<(), Reject> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Reject::BodyCut),
        }
    }

    /// Reads on.
    ///
    /// # Errors
    /// The class of what is malformed. The connection is of no use after it.
    pub fn next(&mut self, input: &mut BytesIn<'_>) -> Result<BodyEvent, Reject> {
        loop {
            let rest = input.rest();
            match self.state {
                State::Done => return Ok(BodyEvent::End),
                _ if rest.is_empty() => return Ok(BodyEvent::NeedMore),
                State::UntilClose => return Ok(BodyEvent::Data(input.take(rest.len()))),
                State::Length(left) => {
                    let (range, left) = take_data(input, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(BodyEvent::Data(range));
                }
                State::Data(left) => {
                    let (range, left) = take_data(input, left);
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    return Ok(BodyEvent::Data(range));
                }
                State::DataCr => self.expect(input, b'\r', State::DataLf)?,
                State::DataLf => self.expect(input, b'\n', State::Head(ChunkHead::START))?,
                State::Head(head) => self.read_chunk_head(head, input)?,
                State::Trailers => self.read_trailers(input)?,
            }
        }
    }

    fn expect(&mut self, input: &mut BytesIn<'_>, byte: u8, then: State) -> Result<(), Reject> {
        if input.rest().first() != Some(&byte) {
            return Err(Reject::ChunkEnd);
        }
        input.take(1);
        self.state = then;
        Ok(())
    }

    fn read_chunk_head(&mut self, mut head: ChunkHead, input: &mut BytesIn<'_>) -> Result<(), Reject> {
        for (at, byte) in input.rest().iter().enumerate() {
            self.overhead += 1;
            match head.step(*byte, &self.limits)? {
                Ok(next) => head = next,
                Err(size) => {
                    input.take(at + 1);
                    self.overhead =
                        (self.overhead + 2).saturating_sub(size.saturating_mul(2).saturating_add(16));
                    if self.overhead > u64::from(self.limits.overhead_bytes_max) {
                        return Err(Reject::ChunkOverhead);
                    }
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                    return Ok(());
                }
            }
        }
        input.take(input.rest().len());
        self.state = State::Head(head);
        Ok(())
    }

    /// One trailer line, or as much of it as there is.
    fn read_trailers(&mut self, input: &mut BytesIn<'_>) -> Result<(), Reject> {
        let rest = input.rest();
        if self.trailers.as_deref().is_none_or(Trailers::is_untouched) && rest.starts_with(b"\r\n") {
            input.take(2);
            self.state = State::Done;
            return Ok(());
        }
        let (len, complete) = memchr(b'\n', rest).map_or((rest.len(), false), |at| (at + 1, true));
        let range = input.take(len);
        let piece = input.bytes().get(range).unwrap_or_default();
        let trailers = self.trailers.get_or_insert_default();
        trailers.append(piece, &self.limits)?;
        if !complete {
            return Ok(());
        }
        let line = trailers.last_line();
        let Some(content) = line.strip_suffix(b"\r\n") else {
            return Err(Reject::TrailerSyntax);
        };
        if content.is_empty() {
            trailers.close();
            self.state = State::Done;
            return Ok(());
        }
        if field_fault(content, true).is_some() {
            return Err(Reject::TrailerSyntax);
        }
        trailers.accept_line(&self.limits)
    }
}

/// Takes at most `left` bytes: their range and what is left then.
fn take_data(input: &mut BytesIn<'_>, left: u64) -> (Range<usize>, u64) {
    let count = usize::try_from(left).unwrap_or(usize::MAX).min(input.rest().len());
    (input.take(count), left - count as u64)
}
