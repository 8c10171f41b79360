//! Writing on an HTTP/1 connection: bytes are gathered while they are small and written beside the gathered ones, uncopied,
//! when they are large.

use std::io::{self, IoSlice};

use ringway_rt::Pipe;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http1;
use ringway_wire::trailers::Trailers;

/// Up to here data is copied behind what is gathered; above, it is written from where it lies.
const COPY_BYTES_MAX: usize = 4096;
/// Ends a chunk's data.
const CHUNK_END: &[u8] = b"\r\n";

/// What is written next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// That is not known.
    Nothing,
    /// What a pipe holds, at once.
    Pipe,
}

/// A connection and what is to be written on it.
pub(super) struct Http1Writer<'s> {
    stream: &'s Stream,
    /// `None` while nothing is gathered: a message that waits for its reply, or for the next event, holds no memory.
    gathered: Option<Buffer>,
}

impl<'s> Http1Writer<'s> {
    pub(super) fn new(stream: &'s Stream) -> Self {
        Self { stream, gathered: None }
    }

    pub(super) fn stream(&self) -> &'s Stream {
        self.stream
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_none()
    }

    pub(super) fn clear(&mut self) {
        self.gathered = None;
    }

    #[inline]
    fn buffer(&mut self) -> &mut Buffer {
        self.gathered.get_or_insert_with(|| Buffer::take(Class::K4))
    }

    fn bytes(&self) -> &[u8] {
        self.gathered.as_deref().unwrap_or_default()
    }

    /// Gathers what `write` writes. Its bytes.
    #[inline]
    pub(super) fn head(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let out = self.buffer().vec_mut();
        let before = out.len();
        write(out);
        out.len().saturating_sub(before)
    }

    /// Gathers content. `false`: it is to be written from where it lies, its chunk's head is gathered.
    pub(super) fn gather(&mut self, bytes: &[u8], chunked: bool) -> bool {
        let buffer = self.buffer();
        if chunked {
            http1::write_chunk_head(buffer.vec_mut(), bytes.len() as u64);
        }
        let small = self.gather_small(bytes);
        if small && chunked {
            self.end_chunk();
        }
        small
    }

    /// Gathers bytes as they are, if they are few.
    #[inline]
    pub(super) fn gather_small(&mut self, bytes: &[u8]) -> bool {
        let small = bytes.len() <= COPY_BYTES_MAX && self.make_room(bytes.len() + CHUNK_END.len());
        if small {
            self.buffer().vec_mut().extend_from_slice(bytes);
        }
        small
    }

    /// Room for so many bytes behind what is gathered, in a larger buffer if need be. `false`: it is as large as it gets.
    fn make_room(&mut self, bytes: usize) -> bool {
        if self.buffer().spare() < bytes
            && let Some(buffer) = self.gathered.take_if(|buffer| buffer.class() == Class::K4)
        {
            self.gathered = Some(buffer.grown());
        }
        self.buffer().spare() >= bytes
    }

    pub(super) fn end_chunk(&mut self) {
        self.buffer().vec_mut().extend_from_slice(CHUNK_END);
    }

    pub(super) fn last_chunk(&mut self, trailers: Option<&Trailers>) {
        http1::write_last_chunk(self.buffer().vec_mut(), trailers);
    }

    /// Writes what is gathered in one call. So many bytes went; `None`: nothing was gathered.
    #[inline]
    pub(super) fn try_flush(&mut self) -> Option<u64> {
        let buffer = self.gathered.as_mut()?;
        // What went wrong shows at the next write, which waits or fails.
        let Ok(Some(count)) = self.stream.try_write(buffer) else { return Some(0) };
        if count == buffer.len() {
            self.gathered = None;
        } else {
            buffer.consume(count);
        }
        Some(count as u64)
    }

    /// Leaves what is gathered to be written at the end of the turn. `false`: nothing is gathered, or the stream writes at once.
    pub(super) fn leave(&mut self) -> bool {
        let Some(buffer) = self.gathered.as_mut() else { return false };
        match self.stream.send_at_turns_end(std::mem::take(buffer.vec_mut())) {
            Ok(()) => true,
            Err(bytes) => {
                *buffer.vec_mut() = bytes;
                false
            }
        }
    }

    /// Takes back the buffer of what was left. Nothing is gathered then if all of it went.
    pub(super) fn take_back(&mut self, sent: (io::Result<usize>, Vec<u8>)) {
        let (result, bytes) = sent;
        let whole = result.is_ok_and(|count| count == bytes.len());
        if let Some(buffer) = self.gathered.as_mut() {
            *buffer.vec_mut() = bytes;
        }
        if whole {
            self.gathered = None;
        }
    }

    /// Bytes of what is gathered and `bytes` behind it.
    pub(super) fn total(&self, bytes: &[u8]) -> usize {
        self.bytes().len() + bytes.len()
    }

    /// Writes what is gathered and then `bytes`, of which `done` bytes went before.
    pub(super) fn try_write(&self, done: usize, bytes: &[u8], follows: Follows) -> io::Result<Option<usize>> {
        let gathered = self.bytes();
        let first = gathered.get(done..).unwrap_or_default();
        let second = bytes.get(done.saturating_sub(gathered.len())..).unwrap_or_default();
        match (follows, self.stream.plain()) {
            (Follows::Pipe, Some(plain)) => {
                plain.try_write_before(&[IoSlice::new(first), IoSlice::new(second)])
            }
            _ if first.is_empty() => self.stream.try_write(second),
            _ => self.stream.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
        }
    }

    /// Writes what fits of what a pipe holds.
    pub(super) fn try_write_from(&self, pipe: &mut Pipe) -> io::Result<Option<usize>> {
        match self.stream.plain() {
            Some(plain) => plain.try_write_from(pipe),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
