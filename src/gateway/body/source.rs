//! Where a body comes from: the rest of an HTTP/1 connection's bytes, or a stream of HTTP/2 or HTTP/3. Limits, waits and counts
//! are the same for both.

mod http1;
mod message;

use ringway_rt::Side;
use ringway_transport::{Receiver, Stream};
use ringway_wire::buffer::Buffer;
use ringway_wire::grpc::web::Base64Reader;
use ringway_wire::head::Framing;
use ringway_wire::reject::Reject;
use ringway_wire::trailers::Trailers;

use self::http1::Http1Body;
use self::message::MessageBody;
use super::{RelayEnd, Sink};
use crate::limits::REPLAY_BYTES_MAX;

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

impl SourceEnd {
    /// What a read that failed comes to.
    pub(super) fn of(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::TimedOut => Self::Timeout,
            // A TLS peer that ended without close_notify: whatever came may have been cut.
            std::io::ErrorKind::UnexpectedEof => Self::Short,
            _ => Self::Reset,
        }
    }
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

/// What carries the body.
enum From<'s> {
    Http1(Http1Body<'s>),
    Message(MessageBody),
}

/// The read half of one message's body.
pub(crate) struct Source<'s> {
    from: From<'s>,
    limits: SourceLimits,
    replay: Replay,
    /// The content comes in base64: gRPC-Web.
    text: Option<Text>,
    started_ns: u64,
    waited_ns: u64,
    /// Body bytes yielded.
    pub(crate) body_bytes: u64,
}

/// A copy of all that was yielded, while it is little enough to be sent once more.
#[derive(Default)]
struct Replay {
    keeping: bool,
    kept: Vec<u8>,
    /// What of it has been yielded since the last [`Source::rewind`].
    at: usize,
    /// How much of it the last step showed.
    shown: usize,
}

/// Content that comes in base64.
#[derive(Default)]
struct Text {
    reader: Base64Reader,
    decoded: Vec<u8>,
}

impl Replay {
    fn keep(&mut self, bytes: &[u8]) {
        if !self.keeping {
            return;
        }
        if self.kept.len() + bytes.len() > REPLAY_BYTES_MAX {
            *self = Self::default();
            return;
        }
        self.kept.extend_from_slice(bytes);
        self.at = self.kept.len();
    }
}

impl<'s> Source<'s> {
    /// A source of an HTTP/1 body of this framing, beginning with `first`.
    pub(crate) fn http1(stream: &'s Stream, framing: Framing, first: &'s [u8], limits: SourceLimits) -> Self {
        Self::new(From::Http1(Http1Body::new(stream, framing, first)), limits)
    }

    /// A source of what a stream of HTTP/2 or HTTP/3 brings.
    pub(crate) fn message(receiver: Box<Receiver>, framing: Framing, limits: SourceLimits) -> Self {
        Self::new(From::Message(MessageBody::new(receiver, framing)), limits)
    }

    fn new(from: From<'s>, limits: SourceLimits) -> Self {
        Self {
            from,
            limits,
            replay: Replay::default(),
            text: None,
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
        if self.replay.at < self.replay.kept.len() {
            let bytes = self.replay.kept.get(self.replay.at..).unwrap_or_default();
            self.replay.shown = bytes.len();
            self.body_bytes += bytes.len() as u64;
            return Ok(Step::Data(bytes));
        }
        if self.text.is_some() {
            return self.step_text();
        }
        let step = match &mut self.from {
            From::Http1(body) => body.step()?,
            From::Message(body) => body.step()?,
        };
        if let Step::Data(bytes) = &step {
            self.replay.keep(bytes);
            self.body_bytes += bytes.len() as u64;
            if self.body_bytes > self.limits.body_bytes_max {
                return Err(SourceEnd::TooLarge);
            }
        }
        Ok(step)
    }

    /// The content comes in base64, and is yielded as what it stands for.
    pub(crate) fn decode_base64(&mut self) {
        self.text = Some(Text::default());
    }

    fn step_text(&mut self) -> Result<Step<'_>, SourceEnd> {
        let Some(text) = &mut self.text else { return Ok(Step::More) };
        text.decoded.clear();
        let end = loop {
            let step = match &mut self.from {
                From::Http1(body) => body.step()?,
                From::Message(body) => body.step()?,
            };
            let Step::Data(bytes) = step else { break matches!(step, Step::End) };
            self.body_bytes += bytes.len() as u64;
            if self.body_bytes > self.limits.body_bytes_max {
                return Err(SourceEnd::TooLarge);
            }
            text.reader
                .read(bytes, &mut text.decoded)
                .map_err(|_| SourceEnd::Malformed(Reject::StreamContent))?;
            match &mut self.from {
                From::Http1(body) => body.consume(),
                From::Message(body) => body.consume(),
            }
            if !text.decoded.is_empty() {
                self.replay.keep(&text.decoded);
                return Ok(Step::Data(&text.decoded));
            }
        };
        match end {
            true if text.reader.is_whole() => Ok(Step::End),
            true => Err(SourceEnd::Malformed(Reject::StreamContent)),
            false => Ok(Step::More),
        }
    }

    /// Marks what [`Source::step`] showed as taken.
    pub(crate) fn consume(&mut self) {
        let shown = std::mem::take(&mut self.replay.shown);
        if shown > 0 {
            self.replay.at += shown;
            return;
        }
        match &mut self.from {
            From::Http1(body) => body.consume(),
            From::Message(body) => body.consume(),
        }
    }

    /// Whether the body has been read to its end.
    pub(crate) fn is_done(&self) -> bool {
        match &self.from {
            From::Http1(body) => body.is_done(),
            From::Message(body) => body.is_done(),
        }
    }

    /// Whether it broke a rule, so that a stream of its own was reset.
    pub(crate) fn is_malformed(&self) -> bool {
        match &self.from {
            From::Http1(_) => false,
            From::Message(body) => body.is_malformed(),
        }
    }

    /// Whether nothing was read from the stream for it: all there is came with the head.
    pub(crate) fn pristine(&self) -> bool {
        self.started_ns == 0
            && match &self.from {
                From::Http1(body) => body.pristine(),
                From::Message(body) => body.pristine(),
            }
    }

    /// Whether a caller that waits for `100 Continue` has sent nothing of the body yet.
    pub(crate) fn awaits_continue(&self) -> bool {
        self.pristine()
            && match &self.from {
                From::Http1(body) => !body.came_with_head(),
                From::Message(_) => true,
            }
    }

    /// From here on a copy is kept of what is yielded, up to 64 KiB, so that it can be sent once more. Before anything is.
    pub(crate) fn keep(&mut self) {
        self.replay.keeping |= self.pristine() && self.body_bytes == 0;
    }

    /// Whether [`Source::rewind`] can begin again.
    pub(crate) fn repeatable(&self) -> bool {
        self.replay.keeping || self.pristine()
    }

    /// Begins again at the head, to send the body once more. `false` when bytes were read from the
    /// stream that are gone.
    pub(crate) fn rewind(&mut self) -> bool {
        // What was shown and not taken is in the copy.
        self.consume();
        if self.replay.keeping {
            self.replay.at = 0;
        } else if !self.pristine() {
            return false;
        } else {
            if let From::Http1(body) = &mut self.from {
                body.rewind();
            }
            self.text = self.text.take().map(|_| Text::default());
        }
        self.body_bytes = 0;
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

    /// A stream of messages, which may rest between two of them: no least rate, and this silence.
    pub(crate) fn let_rest(&mut self, idle_ns_max: u64) {
        self.limits.rate_min = 0;
        self.limits.idle_ns_max = idle_ns_max;
    }

    /// Content that is certain to come on a plain connection behind what was read of it, where nothing is kept, read or changed of it.
    #[inline]
    pub(crate) fn run_ahead(&self) -> Option<(&'s ringway_rt::Stream, u64)> {
        match &self.from {
            From::Http1(body) if self.text.is_none() && !self.replay.keeping => body.run_ahead(),
            _ => None,
        }
    }

    /// Content that the last step showed and that was not marked as taken.
    pub(crate) fn shown(&self) -> &[u8] {
        match &self.from {
            From::Http1(body) => body.shown(),
            From::Message(_) => &[],
        }
    }

    /// So many bytes of it went past, behind those that are shown.
    ///
    /// # Errors
    /// Too large a body.
    pub(crate) fn passed(&mut self, count: usize) -> Result<(), SourceEnd> {
        if let From::Http1(body) = &mut self.from {
            body.passed(count);
        }
        self.body_bytes += count as u64;
        if self.body_bytes > self.limits.body_bytes_max { Err(SourceEnd::TooLarge) } else { Ok(()) }
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
        let trailers = match &self.from {
            From::Http1(body) => body.trailers(),
            From::Message(body) => body.trailers(),
        };
        Some(trailers).filter(|trailers| !trailers.is_empty())
    }

    /// Whether bytes are there that do not belong to the body.
    pub(crate) fn has_rest(&self) -> bool {
        match &self.from {
            From::Http1(body) => body.has_rest(),
            From::Message(_) => false,
        }
    }

    /// What was read beyond the body: the one move of a pipelined request.
    pub(crate) fn take_rest(&mut self) -> Option<Buffer> {
        match &mut self.from {
            From::Http1(body) => body.take_rest(),
            From::Message(_) => None,
        }
    }

    /// The rest of the body is not wanted. What HTTP/1 still brings is the connection's to read or to end.
    pub(crate) fn stop(&mut self) {
        if let From::Message(body) = &mut self.from {
            body.stop();
        }
    }

    /// What a tunnel reads from: a stream of HTTP/2 or HTTP/3 whose head had no content of its own. The source has then ended.
    pub(crate) fn take_receiver(&mut self) -> Option<Box<Receiver>> {
        match &mut self.from {
            From::Http1(_) => None,
            From::Message(body) => body.take_receiver(),
        }
    }

    /// Takes the deadline away that a wait left behind which was given up.
    pub(crate) fn disarm(&self) {
        if let From::Http1(body) = &self.from {
            body.stream().deadline().disarm(Side::Read);
        }
    }

    /// Reads what is there on an HTTP/1 connection. `false`: nothing, or [`Source::step`] finds it by itself.
    ///
    /// # Errors
    /// The peer ended or reset.
    pub(super) fn try_fill(&mut self) -> Result<bool, SourceEnd> {
        match &mut self.from {
            From::Http1(body) => body.try_fill(),
            From::Message(_) => Ok(false),
        }
    }

    /// Waits for bytes and reads them.
    ///
    /// # Errors
    /// The peer ended, reset or was too slow.
    pub(crate) async fn fill(&mut self) -> Result<(), SourceEnd> {
        loop {
            if self.try_fill()? {
                return Ok(());
            }
            self.wait().await?;
            if let From::Message(_) = &self.from {
                return Ok(());
            }
        }
    }

    /// Waits for bytes and leaves them where they are.
    ///
    /// # Errors
    /// As [`Source::fill`].
    pub(crate) async fn ready(&mut self) -> Result<(), SourceEnd> {
        if let From::Http1(body) = &mut self.from {
            body.let_go();
        }
        self.wait().await
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
        let woken = match &mut self.from {
            From::Http1(body) => body.wait(until_ns).await,
            From::Message(body) => body.wait(until_ns).await,
        };
        self.waited_ns += ringway_rt::now().mono_ns.saturating_sub(from_ns);
        woken
    }
}
