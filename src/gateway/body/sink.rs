//! Where a head and a body go: bytes are gathered while they are small and written beside the
//! gathered ones, uncopied, when they are large.

use std::io::IoSlice;

use ringway_rt::Side;
use ringway_transport::Stream;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::http1;
use ringway_wire::trailers::Trailers;

/// Up to here data is copied behind what is gathered; above, it is written from where it lies.
const COPY_BYTES_MAX: usize = 4096;

/// How the body is framed towards this peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// There is none: data that comes is dropped (a reply to HEAD).
    None,
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until we close.
    UntilClose,
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkEnd {
    /// The peer closed or reset.
    Closed,
    /// It took no bytes for too long, or too few.
    Stalled,
}

/// The write half of one message.
pub(crate) struct Sink<'s> {
    stream: &'s Stream,
    gathered: Buffer,
    coding: Coding,
    stall_ns_max: u64,
    rate_min: u64,
    takes_trailers: bool,
    /// Time spent waiting for the peer to take bytes.
    waited_ns: u64,
    /// Body bytes accepted, framing excluded.
    pub(crate) body_bytes: u64,
    /// All bytes written to the stream.
    pub(crate) written_bytes: u64,
}

impl<'s> Sink<'s> {
    /// A sink whose waits end after `stall_ns_max` without progress, or below `rate_min` bytes a second
    /// (0: none) once the peer has kept us waiting that long in total.
    pub(crate) fn new(stream: &'s Stream, stall_ns_max: u64, rate_min: u32) -> Self {
        Self {
            stream,
            gathered: Buffer::take(Class::K4),
            coding: Coding::None,
            stall_ns_max,
            rate_min: u64::from(rate_min),
            takes_trailers: true,
            waited_ns: 0,
            body_bytes: 0,
            written_bytes: 0,
        }
    }

    /// The peer did not say that it takes trailers: they are dropped (contract, rule 15).
    pub(crate) fn drop_trailers(&mut self) {
        self.takes_trailers = false;
    }

    /// Where a head is written; the body follows in `coding`.
    pub(crate) fn head(&mut self, coding: Coding) -> &mut Vec<u8> {
        self.coding = coding;
        self.gathered.vec_mut()
    }

    /// Whether nothing of a reply has gone out and nothing is on its way. What is gathered counts: with TLS a part of it may
    /// have been sealed and sent before the write would block.
    pub(crate) fn untouched(&self) -> bool {
        self.written_bytes == 0 && self.gathered.is_empty()
    }

    /// An interim reply is no part of the final one: after it, nothing of a reply has gone out.
    pub(crate) fn forget_interim(&mut self) {
        self.written_bytes = 0;
    }

    /// Nanoseconds that the peer kept us waiting.
    pub(crate) fn waited_ns(&self) -> u64 {
        self.waited_ns
    }

    /// Takes body bytes.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn data(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        if bytes.is_empty() {
            return Ok(());
        }
        let taken = match &mut self.coding {
            Coding::None => return Ok(()),
            Coding::Length(left) => {
                // INVARIANT: a source never yields more than its framing announced; this holds it for us.
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                taken
            }
            Coding::Chunked => {
                http1::write_chunk_head(self.gathered.vec_mut(), bytes.len() as u64);
                bytes.len()
            }
            Coding::UntilClose => bytes.len(),
        };
        let bytes = bytes.get(..taken).unwrap_or_default();
        self.body_bytes += taken as u64;
        if bytes.len() <= COPY_BYTES_MAX.min(self.gathered.spare().saturating_sub(2)) {
            self.gathered.vec_mut().extend_from_slice(bytes);
        } else {
            self.write(bytes).await?;
        }
        if self.coding == Coding::Chunked {
            self.gathered.vec_mut().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Ends the body and flushes.
    ///
    /// # Errors
    /// The peer closed or stalled.
    pub(crate) async fn end(&mut self, trailers: Option<&Trailers>) -> Result<(), SinkEnd> {
        if self.coding == Coding::Chunked {
            http1::write_last_chunk(self.gathered.vec_mut(), trailers.filter(|_| self.takes_trailers));
        }
        self.flush().await
    }

    /// Writes what is gathered.
    ///
    /// # Errors
    /// The peer closed or stalled.
    #[inline]
    pub(crate) async fn flush(&mut self) -> Result<(), SinkEnd> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        if let Ok(Some(count)) = self.stream.try_write(&self.gathered) {
            self.written_bytes += count as u64;
            if count == self.gathered.len() {
                self.gathered.clear();
                return Ok(());
            }
            self.gathered.consume(count);
        }
        self.write(&[]).await
    }

    /// Writes what is gathered and then `bytes`, in one call where the socket takes it.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), SinkEnd> {
        let total = self.gathered.len() + bytes.len();
        let mut done = 0;
        while done < total {
            let first = self.gathered.get(done..).unwrap_or_default();
            let second = bytes.get(done.saturating_sub(self.gathered.len())..).unwrap_or_default();
            let parts = [IoSlice::new(first), IoSlice::new(second)];
            let written = if first.is_empty() {
                self.stream.try_write(second)
            } else {
                self.stream.try_write_vectored(&parts)
            };
            match written {
                Ok(Some(count)) => {
                    done += count;
                    self.written_bytes += count as u64;
                }
                Ok(None) => self.wait().await?,
                Err(_) => return Err(SinkEnd::Closed),
            }
        }
        self.gathered.clear();
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), SinkEnd> {
        let from_ns = ringway_rt::now().mono_ns;
        self.stream.deadline().arm(Side::Write, from_ns.saturating_add(self.stall_ns_max));
        let woken = self.stream.writable().await;
        self.stream.deadline().disarm(Side::Write);
        self.waited_ns += ringway_rt::now().mono_ns.saturating_sub(from_ns);
        if self.stream.deadline().expired() == Some(Side::Write) {
            return Err(SinkEnd::Stalled);
        }
        woken.map_err(|_| SinkEnd::Closed)?;
        let seconds_beyond = self.waited_ns.saturating_sub(self.stall_ns_max) / 1_000_000_000;
        if self.written_bytes < seconds_beyond.saturating_mul(self.rate_min) {
            return Err(SinkEnd::Stalled);
        }
        Ok(())
    }
}
