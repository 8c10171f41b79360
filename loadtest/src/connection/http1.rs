//! HTTP/1.1: one request, one reply, as little work for both as the protocol allows.

use std::io;

use ringway_rt::{Side, turn};
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn, Parse, RequestFacts, parse_response};
use ringway_wire::{ChunkLimits, Framing, HeadLimits, ResponseHead};

use super::{Broken, Reply};
use crate::check::Body;
use crate::failure::Failure;
use crate::limits::INTERIM_REPLIES_MAX;
use crate::plan::Target;

/// A connection that speaks HTTP/1.1.
pub(super) struct Http1 {
    stream: Stream,
    guess: Guess,
}

/// Whether the reply is likely to be there when every other connection of the thread has had its turn. Then a read that is
/// tried after a turn is cheaper than one that the kernel has to wait for; where it is not, it is a system call for nothing.
/// Learnt by each connection from what came of it before. Against nginx on a busy machine, the median of five interleaved
/// rounds of 64 connections: 5.9 µs of CPU a request with it, 6.1 where it is always tried, 6.2 where it never is.
#[derive(Debug, Default)]
struct Guess {
    /// Up with each hit, down with each miss.
    score: i8,
    /// Exchanges since the last try.
    rested: u8,
}

impl Guess {
    const SCORE_MAX: i8 = 8;
    /// After so many exchanges without one it is tried again.
    const RESTED_MAX: u8 = 64;

    #[inline]
    fn try_now(&mut self) -> bool {
        if self.score > 0 || self.rested >= Self::RESTED_MAX {
            self.rested = 0;
            return true;
        }
        self.rested += 1;
        false
    }

    #[inline]
    fn learn(&mut self, hit: Option<usize>) {
        // One miss costs about a quarter of what a hit saves.
        self.score =
            if hit.is_some() { (self.score + 1).min(Self::SCORE_MAX) } else { (self.score - 2).max(-2) };
    }
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, guess: Guess::default() }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Sends the request and reads the whole reply by `deadline_ns` (monotonic).
    pub(super) async fn exchange(
        &mut self,
        target: &Target,
        bytes: &[u8],
        deadline_ns: u64,
    ) -> Result<Reply, Broken> {
        let facts = RequestFacts { method: target.request.method, upgrade_asked: false };
        self.stream.deadline().arm(Side::Read, deadline_ns);
        match self.stream.try_write(bytes) {
            Ok(Some(count)) if count == bytes.len() => {}
            Ok(part) => {
                let rest = bytes.get(part.unwrap_or(0)..).unwrap_or_default();
                write_rest(&self.stream, rest, deadline_ns)
                    .await
                    .map_err(|error| Broken::by(&error, true))?;
            }
            Err(error) => return Err(Broken::by(&error, true)),
        }
        let mut buffer = Buffer::take(Class::K16);
        if !self.stream.is_tls() && self.guess.try_now() {
            turn().await;
            let there =
                self.stream.try_read_append(buffer.vec_mut()).map_err(|error| Broken::by(&error, true))?;
            self.guess.learn(there);
            if there == Some(0) {
                return Err(Broken { failure: Failure::Closed, silent: true });
            }
        }
        if buffer.is_empty() {
            read_first(&self.stream, &mut buffer).await?;
        }
        let there = buffer.len() as u64;
        // Nearly every reply comes whole in one read, and is done with where it lies.
        let (head, bytes_in) = match parse_response(buffer, facts, &HeadLimits::DEFAULT) {
            Parse::Complete(head) if !head.is_interim() => match whole(&head, target) {
                Some(length) => {
                    let (status, persistent) = (head.status(), head.persistent());
                    let failure = target.checks.verdict(status, length, None);
                    return Ok(Reply { status, failure, bytes_in: there, persistent });
                }
                None => (head, there),
            },
            Parse::Complete(interim) => read_head(&self.stream, facts, interim.into_rest()).await?,
            Parse::Partial(partial) => read_head(&self.stream, facts, with_room(partial)).await?,
            Parse::Reject(..) => return Err(Broken { failure: Failure::Malformed, silent: false }),
        };
        let mut reply =
            Reply { status: head.status(), failure: None, bytes_in, persistent: head.persistent() };
        match head.framing() {
            Framing::Empty => {
                reply.persistent &= head.rest().is_empty();
                reply.failure = target.checks.verdict(reply.status, 0, target.checks.body());
            }
            Framing::Length(length) if !target.checks.reads_body() => {
                self.skip(head, length, &mut reply).await?;
                reply.failure = target.checks.verdict(reply.status, length, None);
            }
            framing => {
                let mut body = target.checks.body();
                let length = self.read_body(head, framing, &mut body, &mut reply).await?;
                reply.failure = target.checks.verdict(reply.status, length, body);
            }
        }
        Ok(reply)
    }

    /// Reads a body of known length and looks at none of it.
    async fn skip(&self, mut head: ResponseHead, length: u64, reply: &mut Reply) -> Result<(), Broken> {
        let there = head.rest().len() as u64;
        if there >= length {
            // More than the reply: nobody asked for it.
            reply.persistent &= there == length;
            return Ok(());
        }
        let mut left = length - there;
        head.consume_rest(head.rest().len());
        let mut buffer = head.into_rest();
        if left > Class::K16.bytes() as u64 {
            buffer = Buffer::take(if left > Class::K64.bytes() as u64 { Class::K256 } else { Class::K64 });
        }
        while left > 0 {
            buffer.clear();
            let count = read_some(&self.stream, &mut buffer).await? as u64;
            reply.bytes_in += count;
            if count > left {
                reply.persistent = false;
            }
            left = left.saturating_sub(count);
        }
        Ok(())
    }

    /// Reads a body through the protocol's own reader. Its length without framing.
    async fn read_body(
        &self,
        head: ResponseHead,
        framing: Framing,
        body: &mut Option<Body>,
        reply: &mut Reply,
    ) -> Result<u64, Broken> {
        let mut reader = BodyReader::new(framing, ChunkLimits::DEFAULT);
        let mut buffer = head.into_rest();
        let mut length = 0;
        loop {
            let mut input = BytesIn::new(&buffer);
            loop {
                match reader.next(&mut input) {
                    Ok(BodyEvent::Data(range)) => {
                        length += range.len() as u64;
                        if let (Some(body), Some(data)) = (body.as_mut(), buffer.get(range)) {
                            body.take(data);
                        }
                    }
                    Ok(BodyEvent::End) => {
                        reply.persistent &= input.consumed() == buffer.len();
                        return Ok(length);
                    }
                    Ok(BodyEvent::NeedMore) => break,
                    Err(_) => return Err(Broken { failure: Failure::Malformed, silent: false }),
                }
            }
            if buffer.class() < Class::K64 && buffer.spare() == 0 {
                buffer = Buffer::take(Class::K64);
            }
            buffer.clear();
            let count =
                self.stream.read_soon(buffer.vec_mut()).await.map_err(|error| Broken::by(&error, false))?;
            reply.bytes_in += count as u64;
            if count == 0 {
                reply.persistent = false;
                let failure = Failure::Closed;
                return reader.finish().map(|()| length).map_err(|_| Broken { failure, silent: false });
            }
        }
    }
}

/// The length of the body, where the reply is complete and nobody wants to look at it.
#[inline]
fn whole(head: &ResponseHead, target: &Target) -> Option<u64> {
    let there = head.rest().len() as u64;
    let length = match head.framing() {
        Framing::Empty => 0,
        Framing::Length(length) => length,
        Framing::Chunked | Framing::UntilClose => return None,
    };
    (there == length && !target.checks.reads_body()).then_some(length)
}

fn with_room(buffer: Buffer) -> Buffer {
    if buffer.spare() == 0 { buffer.grown() } else { buffer }
}

/// The first bytes of a reply.
async fn read_first(stream: &Stream, buffer: &mut Buffer) -> Result<(), Broken> {
    match stream.read_soon(buffer.vec_mut()).await {
        Ok(0) => Err(Broken { failure: Failure::Closed, silent: true }),
        Ok(_) => Ok(()),
        Err(error) => Err(Broken::by(&error, true)),
    }
}

/// Reads a final reply's head, or 101 where it was asked for; `buffer` may hold its beginning. It, and the bytes that came
/// with and before it.
pub(super) async fn read_head(
    stream: &Stream,
    facts: RequestFacts,
    buffer: Buffer,
) -> Result<(ResponseHead, u64), Broken> {
    let mut buffer = buffer;
    let mut bytes_in = buffer.len() as u64;
    let mut interims = 0;
    loop {
        while !buffer.is_empty() {
            match parse_response(buffer, facts, &HeadLimits::DEFAULT) {
                Parse::Complete(head) if head.is_interim() && interims < INTERIM_REPLIES_MAX => {
                    interims += 1;
                    buffer = head.into_rest();
                }
                Parse::Complete(head) if !head.is_interim() => return Ok((head, bytes_in)),
                Parse::Partial(partial) => {
                    buffer = with_room(partial);
                    break;
                }
                Parse::Complete(_) | Parse::Reject(..) => {
                    return Err(Broken { failure: Failure::Malformed, silent: false });
                }
            }
        }
        let count =
            stream.read_soon(buffer.vec_mut()).await.map_err(|error| Broken::by(&error, bytes_in == 0))?;
        if count == 0 {
            return Err(Broken { failure: Failure::Closed, silent: bytes_in == 0 });
        }
        bytes_in += count as u64;
    }
}

/// At least one byte, into an empty buffer.
async fn read_some(stream: &Stream, buffer: &mut Buffer) -> Result<usize, Broken> {
    match stream.read_soon(buffer.vec_mut()).await {
        Ok(0) => Err(Broken { failure: Failure::Closed, silent: false }),
        Ok(count) => Ok(count),
        Err(error) => Err(Broken::by(&error, false)),
    }
}

/// Writes all of `bytes`, waiting where it must, by `deadline_ns` (monotonic).
pub(super) async fn write_rest(stream: &Stream, bytes: &[u8], deadline_ns: u64) -> io::Result<()> {
    let mut rest = bytes;
    stream.deadline().arm(Side::Write, deadline_ns);
    while !rest.is_empty() {
        match stream.try_write(rest)? {
            Some(count) => rest = rest.get(count..).unwrap_or_default(),
            None => stream.writable().await?,
        }
    }
    stream.deadline().disarm(Side::Write);
    Ok(())
}
