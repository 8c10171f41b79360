//! What comes on a request stream (RFC 9114 §4.1): a field section, content, perhaps trailers. The same reader serves both
//! roles.

use super::code::{Code, Fault};
use super::frame::{FrameHead, FrameHeadReader, FrameKind};
use crate::buffer::{Buffer, Class};

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We accepted the connection.
    Server,
    /// We opened it.
    Client,
}

/// Bounds of one message's framing; its content has no bound here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Encoded bytes of a field section: a HEADERS frame that announces more is not read.
    pub section_bytes_max: u32,
    /// How many bytes of frame heads and unknown frames a message may run ahead of its content. Each DATA frame that is
    /// not empty earns sixteen bytes and twice its content; each byte that is no content costs one.
    pub overhead_bytes_max: u32,
}

impl MessageLimits {
    /// 64 KiB (what 32 KiB of fields take when each is coded in the worst sensible way), and 16 KiB.
    pub const DEFAULT: Self = Self { section_bytes_max: 64 * 1024, overhead_bytes_max: 16 * 1024 };
}

impl Default for MessageLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which field section of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Before the content.
    Head,
    /// After it.
    Trailers,
}

/// What the next bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// All bytes were taken and more is needed.
    NeedMore,
    /// A whole field section, still encoded: so many bytes, which [`MessageReader::section`] shows.
    Section(Part, usize),
    /// A field section over its limit, of which nothing was kept. Nothing can be read after it.
    TooLarge(Part),
    /// Content: the last so many of the bytes that were taken; never 0.
    Data(usize),
}

/// How far the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Content,
    /// After extended CONNECT: nothing but DATA (RFC 9114 §4.4).
    Tunnel,
    Trailed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FrameHead,
    Section { left: u32 },
    Data { left: u64 },
    Skip { left: u64 },
    TooLarge(Part),
}

/// Reads one message from its stream.
#[derive(Debug)]
pub struct MessageReader {
    heads: FrameHeadReader,
    state: State,
    phase: Phase,
    role: Role,
    limits: MessageLimits,
    overhead: u64,
    /// Content that is still due, where the head said how much there is.
    content_left: Option<u64>,
    /// The beginning of a section that is not whole yet. One that comes in one piece is never copied.
    section: Option<Buffer>,
}

impl MessageReader {
    /// A reader at the beginning of a stream.
    #[must_use]
    pub fn new(role: Role, limits: MessageLimits) -> Self {
        Self {
            heads: FrameHeadReader::default(),
            state: State::FrameHead,
            phase: Phase::Head,
            role,
            limits,
            overhead: 0,
            content_left: None,
            section: None,
        }
    }

    /// The head was an interim one: another follows.
    pub fn expect_another_head(&mut self) {
        self.phase = Phase::Head;
    }

    /// The content has exactly so many bytes; anything else is a fault (RFC 9114 §4.1.2).
    pub fn expect_content(&mut self, bytes: u64) {
        self.content_left = Some(bytes);
    }

    /// The message became a tunnel: only DATA may follow.
    pub fn expect_tunnel(&mut self) {
        self.phase = Phase::Tunnel;
    }

    /// Takes bytes up to the next event: how many, and the event. `bytes` are those that follow what was taken before.
    ///
    /// # Errors
    /// What the peer did wrong; nothing can be read after it.
    pub fn next(&mut self, bytes: &[u8]) -> Result<(usize, Event), Fault> {
        if self.state == State::FrameHead && self.section.is_some() {
            // The section that was shown last.
            self.section = None;
        }
        let mut rest = bytes;
        loop {
            match self.state {
                State::FrameHead => {
                    let before = rest.len();
                    let head = self.heads.take(&mut rest);
                    self.spend((before - rest.len()) as u64)?;
                    let Some(head) = head else { return Ok((bytes.len(), Event::NeedMore)) };
                    self.begin(head)?;
                }
                State::TooLarge(part) => return Ok((bytes.len() - rest.len(), Event::TooLarge(part))),
                State::Skip { left } => {
                    let (taken, more) = split(rest, left);
                    rest = more;
                    self.spend(taken.len() as u64)?;
                    let left = left - taken.len() as u64;
                    if left > 0 {
                        self.state = State::Skip { left };
                        return Ok((bytes.len(), Event::NeedMore));
                    }
                    self.state = State::FrameHead;
                }
                State::Data { left } => {
                    let (taken, more) = split(rest, left);
                    let (count, left) = (taken.len(), left - taken.len() as u64);
                    self.state = if left > 0 { State::Data { left } } else { State::FrameHead };
                    if count > 0 {
                        self.earn(count as u64);
                        return Ok((bytes.len() - more.len(), Event::Data(count)));
                    }
                    if left > 0 {
                        return Ok((bytes.len(), Event::NeedMore));
                    }
                }
                State::Section { left } => return Ok(self.read_section(bytes, rest, left)),
            }
        }
    }

    /// The section that [`Event::Section`] told of; `taken` are the bytes that were taken up to it. It came in one piece, or is kept
    /// here until the next call of [`MessageReader::next`].
    #[must_use]
    pub fn section<'a>(&'a self, taken: &'a [u8], len: usize) -> &'a [u8] {
        match &self.section {
            Some(section) => section,
            None => taken.get(taken.len().saturating_sub(len)..).unwrap_or_default(),
        }
    }

    /// The stream ended in order.
    ///
    /// # Errors
    /// It ended in the middle of a frame, before a head, or not where the head said (RFC 9114 §4.1, §7.1).
    pub fn finish(&self) -> Result<(), Fault> {
        if self.state != State::FrameHead || self.heads.is_begun() {
            return Err(Fault::Connection(Code::Frame));
        }
        match (self.phase, self.role) {
            (Phase::Head, Role::Server) => Err(Fault::Stream(Code::RequestIncomplete)),
            (Phase::Head, Role::Client) => Err(Fault::Stream(Code::Message)),
            _ if self.content_left.is_some_and(|left| left > 0) => Err(Fault::Stream(Code::Message)),
            _ => Ok(()),
        }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Fault> {
        self.overhead += bytes;
        if self.overhead > u64::from(self.limits.overhead_bytes_max) {
            return Err(Fault::Connection(Code::ExcessiveLoad));
        }
        Ok(())
    }

    fn earn(&mut self, content: u64) {
        self.overhead = self.overhead.saturating_sub(2 * content);
    }

    fn begin(&mut self, head: FrameHead) -> Result<(), Fault> {
        let unexpected = Err(Fault::Connection(Code::FrameUnexpected));
        match head.kind {
            FrameKind::Data => {
                if !matches!(self.phase, Phase::Content | Phase::Tunnel) {
                    return unexpected;
                }
                if let Some(left) = &mut self.content_left {
                    *left = left.checked_sub(head.len).ok_or(Fault::Stream(Code::Message))?;
                }
                if head.len > 0 {
                    self.overhead = self.overhead.saturating_sub(16);
                }
                self.state = State::Data { left: head.len };
            }
            FrameKind::Headers => {
                let part = match self.phase {
                    Phase::Head => Part::Head,
                    Phase::Content => Part::Trailers,
                    Phase::Tunnel | Phase::Trailed => return unexpected,
                };
                self.state = match u32::try_from(head.len) {
                    Ok(left) if left <= self.limits.section_bytes_max => State::Section { left },
                    _ => State::TooLarge(part),
                };
            }
            FrameKind::Unknown => self.state = State::Skip { left: head.len },
            // We never allow a push, so that no id of one is known (RFC 9114 §7.2.5).
            FrameKind::PushPromise if self.role == Role::Client => {
                return Err(Fault::Connection(Code::Id));
            }
            _ => return unexpected,
        }
        Ok(())
    }

    fn read_section(&mut self, bytes: &[u8], rest: &[u8], left: u32) -> (usize, Event) {
        let (taken, more) = split(rest, u64::from(left));
        let left = left - taken.len() as u32;
        if left > 0 {
            self.keep(taken);
            self.state = State::Section { left };
            return (bytes.len(), Event::NeedMore);
        }
        let part = if self.phase == Phase::Head { Part::Head } else { Part::Trailers };
        self.phase = if part == Part::Head { Phase::Content } else { Phase::Trailed };
        self.state = State::FrameHead;
        if self.section.is_some() {
            self.keep(taken);
        }
        let len = self.section.as_ref().map_or(taken.len(), |section| section.len());
        (bytes.len() - more.len(), Event::Section(part, len))
    }

    /// Keeps a piece of a section. The memory follows what came, not what was announced.
    fn keep(&mut self, piece: &[u8]) {
        let mut buffer = self.section.take().unwrap_or_else(|| Buffer::take(Class::K4));
        while buffer.spare() < piece.len() && buffer.class().larger().is_some() {
            buffer = buffer.grown();
        }
        buffer.vec_mut().extend_from_slice(piece);
        self.section = Some(buffer);
    }
}

/// The first `count` bytes, or as many as there are, and the rest.
fn split(bytes: &[u8], count: u64) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(usize::try_from(count).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests;
