//! Where a body comes from: parsed by `wire`'s core, read only when nothing parsed is left.

use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http1::{BodyEvent, BodyReader, Trailers};
use ringway_wire::reject::Reject;

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
    core: BodyReader,
    limits: SourceLimits,
    class: Class,
    started_ns: u64,
    waited_ns: u64,
    /// Body bytes yielded.
    pub(crate) body_bytes: u64,
}

impl<'s> Source<'s> {
    /// A source of what `core` frames, beginning with `first`.
    pub(crate) fn new(stream: &'s Stream, core: BodyReader, first: &'s [u8], limits: SourceLimits) -> Self {
        Self {
            stream,
            first,
            buffer: None,
            at: 0,
            first_done: first.is_empty(),
            core,
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
        todo!()
    }
}
