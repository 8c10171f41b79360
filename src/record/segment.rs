//! A segment: a mapped file of records that one worker appends to and anybody may read while it grows.
//!
//! Header (128 bytes, little endian): magic, schema, worker, node, number, creation time, capacity; on a cache
//! line of its own the committed length. Then frames: length, sequence, the record's bytes, padding to 8.
//! A record counts when the committed length covers it: that word is stored with Release after the bytes, and a
//! reader loads it with Acquire and never looks past it. So a process killed at any instruction leaves a
//! segment whose committed records are whole.
//!
//! Power loss is another matter: whoever copies segments to disk flushes the copy before it names it.
#![expect(unsafe_code, reason = "the committed length is an atomic inside mapped bytes")]

use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::{self, Record, RecordError};

/// First bytes of a segment.
pub const MAGIC: [u8; 8] = *b"RWRECSEG";
/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 128;
/// Bytes before a frame's record.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Most bytes that a record's frame takes.
pub const FRAME_BYTES_MAX: usize = (FRAME_HEAD_BYTES + record::RECORD_BYTES_MAX).next_multiple_of(8);
/// Smallest region that is a segment: one record of any size fits.
pub const SEGMENT_BYTES_MIN: usize = HEADER_BYTES + FRAME_BYTES_MAX;
/// Usual size of a segment: some tens of thousands of records.
pub const SEGMENT_BYTES: usize = 16 << 20;

const COMMITTED_OFFSET: usize = 64;
const _: () = assert!(COMMITTED_OFFSET.is_multiple_of(align_of::<AtomicU64>()));
const _: () = assert!(SEGMENT_BYTES >= SEGMENT_BYTES_MIN);

/// What names a segment in the world. With a record's sequence it is the idempotent key of ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SegmentKey {
    /// Id of the node, from its state directory.
    pub node: [u8; 16],
    /// Number of the segment, rising and never used again by the node, whatever worker it is of.
    pub segment: u64,
}

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its name in the world.
    pub key: SegmentKey,
    /// Worker that writes it.
    pub worker: u16,
    /// When it was made, Unix time.
    pub created_unix_ms: u64,
    /// Bytes of the whole region.
    pub capacity_bytes: u64,
}

/// Why a segment could not be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// No room for another record: switch to a new segment.
    #[error("segment is full")]
    Full,
    /// The region is shorter than [`SEGMENT_BYTES_MIN`] or its start is not aligned to 8.
    #[error("region is too short or not aligned to 8 bytes")]
    Region,
    /// The bytes are no segment.
    #[error("not a record segment")]
    Magic,
    /// Written by another version.
    #[error("segment has schema {found}, this version reads {}", record::SCHEMA)]
    Schema {
        /// Of the segment.
        found: u16,
    },
    /// Fewer bytes are there than are committed: a copy was cut.
    #[error("segment is cut off: {committed_bytes} bytes committed, {present_bytes} present")]
    Torn {
        /// Bytes after the header that the header speaks of.
        committed_bytes: u64,
        /// Bytes after the header that are there.
        present_bytes: u64,
    },
    /// A frame's length or sequence is impossible.
    #[error("frame {sequence} of the segment is damaged")]
    Frame {
        /// The one that was expected there.
        sequence: u32,
    },
    /// A frame holds no record.
    #[error("frame {sequence} of the segment holds no record")]
    Record {
        /// Of the frame.
        sequence: u32,
        /// Why.
        #[source]
        source: RecordError,
    },
}

/// Appends records to a region: a shared writable mapping, or plain bytes.
///
/// INVARIANT: one writer per region; bytes below the committed length never change again.
#[derive(Debug)]
pub struct SegmentWriter<R> {
    region: R,
    header: SegmentHeader,
    /// Committed bytes after the header.
    committed: usize,
    sequence: u32,
}

impl<R: AsMut<[u8]>> SegmentWriter<R> {
    /// Makes an empty segment of the region. `header.capacity_bytes` is taken from the region itself. The caller
    /// has pre-faulted the region, so that appending never waits for memory or a disk.
    ///
    /// # Errors
    /// [`SegmentError::Region`] when it is too short or not aligned.
    pub fn create(mut region: R, header: SegmentHeader) -> Result<Self, SegmentError> {
        let bytes = region.as_mut();
        if bytes.len() < SEGMENT_BYTES_MIN || !bytes.as_ptr().cast::<AtomicU64>().is_aligned() {
            return Err(SegmentError::Region);
        }
        let header = SegmentHeader { capacity_bytes: bytes.len() as u64, ..header };
        commit(bytes, 0);
        if let Some(head) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            write_header(head, &header);
        }
        Ok(Self { region, header, committed: 0, sequence: 0 })
    }

    /// Appends one record and commits it; its sequence in the segment.
    ///
    /// # Errors
    /// [`SegmentError::Full`] when it does not fit; nothing was changed, the caller switches to a new segment.
    #[inline]
    pub fn append(&mut self, record: &Record<'_>) -> Result<u32, SegmentError> {
        let bytes = self.region.as_mut();
        let free = bytes.get_mut(HEADER_BYTES + self.committed..).ok_or(SegmentError::Full)?;
        let (head, body) = free.split_first_chunk_mut::<FRAME_HEAD_BYTES>().ok_or(SegmentError::Full)?;
        let length = record.encode(body).ok_or(SegmentError::Full)?;
        let sequence = self.sequence;
        let frame = (length as u64) | u64::from(sequence) << 32;
        *head = frame.to_le_bytes();
        // Padding may not fit behind the last record: then the segment ends with it.
        self.committed =
            (self.committed + FRAME_HEAD_BYTES + length).next_multiple_of(8).min(bytes.len() - HEADER_BYTES);
        self.sequence = self.sequence.wrapping_add(1);
        commit(bytes, self.committed as u64);
        Ok(sequence)
    }

    /// What its header says.
    #[must_use]
    pub fn header(&self) -> SegmentHeader {
        self.header
    }

    /// How many records it holds.
    #[must_use]
    pub fn records(&self) -> u32 {
        self.sequence
    }

    /// Gives the region back, for instance to unmap it off the worker.
    #[must_use]
    pub fn into_region(self) -> R {
        self.region
    }
}

/// Where a reader stands, so that it can go on later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    /// Bytes after the header.
    pub offset: u64,
    /// Sequence of the next record.
    pub sequence: u32,
}

/// Reads what is committed of a segment: a mapping that still grows, a file, or bytes that came over the network.
#[derive(Debug, Clone, Copy)]
pub struct SegmentReader<'a> {
    bytes: &'a [u8],
    header: SegmentHeader,
}

impl<'a> SegmentReader<'a> {
    /// Checks the header.
    ///
    /// # Errors
    /// [`SegmentError::Magic`] or [`SegmentError::Schema`] when this version cannot read it.
    pub fn open(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        let head = bytes.first_chunk::<HEADER_BYTES>().ok_or(SegmentError::Magic)?;
        Ok(Self { bytes, header: read_header(head)? })
    }

    /// What its header says.
    #[must_use]
    pub fn header(&self) -> SegmentHeader {
        self.header
    }

    /// Bytes after the header that are committed by now.
    #[must_use]
    pub fn committed_bytes(&self) -> u64 {
        committed(self.bytes)
    }

    /// Appends a segment to `into` that holds what is committed by now and no more: what to ship. A copy stays as
    /// it is, whatever the writer does meanwhile.
    pub fn copy_committed(&self, into: &mut Vec<u8>) {
        let length = self.committed_bytes();
        let body = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let body = usize::try_from(length).ok().and_then(|length| body.get(..length)).unwrap_or(body);
        let mut head = [0; HEADER_BYTES];
        write_header(&mut head, &self.header);
        if let Some(word) = head.get_mut(COMMITTED_OFFSET..).and_then(<[u8]>::first_chunk_mut) {
            *word = length.to_le_bytes();
        }
        into.extend_from_slice(&head);
        into.extend_from_slice(body);
    }

    /// Records from `cursor` on, those committed at the time of this call.
    #[must_use]
    pub fn records_from(&self, cursor: Cursor) -> Records<'a> {
        let committed_bytes = self.committed_bytes();
        let present = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        let wanted = usize::try_from(committed_bytes).unwrap_or(usize::MAX);
        let torn = (present.len() < wanted)
            .then_some(SegmentError::Torn { committed_bytes, present_bytes: present.len() as u64 });
        Records { bytes: present.get(..wanted).unwrap_or(present), cursor, torn, ended: false }
    }

    /// All records committed at the time of this call.
    #[must_use]
    pub fn records(&self) -> Records<'a> {
        self.records_from(Cursor::default())
    }
}

/// Iterates over the committed records of a segment; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    bytes: &'a [u8],
    cursor: Cursor,
    torn: Option<SegmentError>,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Where to go on once more is committed.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn read_next(&mut self) -> Result<Option<(u32, Record<'a>)>, SegmentError> {
        let sequence = self.cursor.sequence;
        let damaged = SegmentError::Frame { sequence };
        let offset = usize::try_from(self.cursor.offset).map_err(|_| damaged)?;
        let rest = self.bytes.get(offset..).ok_or(damaged)?;
        // Less than a frame is left: the end, or where a copy was cut.
        let end = self.torn.map_or(Ok(None), Err);
        let Some((head, rest)) = rest.split_first_chunk::<FRAME_HEAD_BYTES>() else {
            return if rest.is_empty() || self.torn.is_some() { end } else { Err(damaged) };
        };
        let frame = u64::from_le_bytes(*head);
        let length = (frame & u64::from(u32::MAX)) as usize;
        if frame >> 32 != u64::from(sequence)
            || !(record::FIXED_BYTES..=record::RECORD_BYTES_MAX).contains(&length)
        {
            return Err(damaged);
        }
        let Some(body) = rest.get(..length) else {
            return Err(self.torn.unwrap_or(damaged));
        };
        let record = Record::decode(body).map_err(|source| SegmentError::Record { sequence, source })?;
        let next = (offset + FRAME_HEAD_BYTES + length).next_multiple_of(8).min(self.bytes.len());
        self.cursor = Cursor { offset: next as u64, sequence: sequence.wrapping_add(1) };
        Ok(Some((sequence, record)))
    }
}

impl<'a> Iterator for Records<'a> {
    /// Sequence and record.
    type Item = Result<(u32, Record<'a>), SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read_next().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn write_header(into: &mut [u8; HEADER_BYTES], header: &SegmentHeader) {
    let mut first = [0; COMMITTED_OFFSET];
    let parts: [&[u8]; 8] = [
        &MAGIC,
        &record::SCHEMA.to_le_bytes(),
        &header.worker.to_le_bytes(),
        &[0; 4],
        &header.key.node,
        &header.key.segment.to_le_bytes(),
        &header.created_unix_ms.to_le_bytes(),
        &header.capacity_bytes.to_le_bytes(),
    ];
    for (place, byte) in first.iter_mut().zip(parts.into_iter().flatten()) {
        *place = *byte;
    }
    if let Some(place) = into.first_chunk_mut() {
        *place = first;
    }
}

fn read_header(head: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, SegmentError> {
    fn part<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SegmentError> {
        let (part, after) = rest.split_first_chunk::<N>().ok_or(SegmentError::Magic)?;
        *rest = after;
        Ok(*part)
    }
    let rest = &mut head.as_slice();
    if part(rest)? != MAGIC {
        return Err(SegmentError::Magic);
    }
    let found = u16::from_le_bytes(part(rest)?);
    if found != record::SCHEMA {
        return Err(SegmentError::Schema { found });
    }
    let worker = u16::from_le_bytes(part(rest)?);
    let _reserved: [u8; 4] = part(rest)?;
    let key = SegmentKey { node: part(rest)?, segment: u64::from_le_bytes(part(rest)?) };
    let created_unix_ms = u64::from_le_bytes(part(rest)?);
    Ok(SegmentHeader { key, worker, created_unix_ms, capacity_bytes: u64::from_le_bytes(part(rest)?) })
}

/// Stores the committed length, so that all bytes written before are seen by who sees it.
#[inline]
fn commit(bytes: &mut [u8], length: u64) {
    if let Some(word) = bytes.get_mut(COMMITTED_OFFSET..COMMITTED_OFFSET + 8) {
        // SAFETY: `word` is 8 bytes that we hold exclusively in this process; the region's start is aligned to 8
        // (checked in `create`, the only way to a writer) and so is the offset. Another process or mapping
        // reads the word only atomically, in `committed`.
        let word = unsafe { AtomicU64::from_ptr(word.as_mut_ptr().cast()) };
        word.store(length.to_le(), Ordering::Release);
    }
}

/// Loads the committed length; what it covers does not change any more.
fn committed(bytes: &[u8]) -> u64 {
    let Some(word) = bytes.get(COMMITTED_OFFSET..).and_then(<[u8]>::first_chunk::<8>) else { return 0 };
    let at = word.as_ptr().cast::<AtomicU64>();
    if !at.is_aligned() {
        // No mapping is unaligned: these are plain bytes that came from elsewhere, and nobody writes them.
        return u64::from_le_bytes(*word);
    }
    // SAFETY: 8 bytes, aligned, borrowed for as long as the reference lives; only loaded. An 8-byte Acquire load
    // is also allowed from a read-only mapping (std::sync::atomic, "Atomic accesses to read-only memory").
    let word = unsafe { AtomicU64::from_ptr(at.cast_mut().cast()) };
    u64::from_le(word.load(Ordering::Acquire))
}

/// Maps a file for the tests, here because this is the file that may hold `unsafe`.
#[cfg(test)]
fn map_for_test(file: &std::fs::File) -> memmap2::MmapMut {
    // SAFETY: the file is the test's own, as long as the map, and nobody truncates it. What another process
    // writes to it is only looked at below the committed length.
    unsafe { memmap2::MmapMut::map_mut(file) }.unwrap()
}

#[cfg(test)]
mod tests;
