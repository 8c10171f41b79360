//! Frame heads (RFC 9114 §7.1): type and length, read from pieces and written.

use super::varint::{self, Partial};

/// What a frame is, as far as this crate tells types apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Content.
    Data,
    /// A field section.
    Headers,
    /// A push is not wanted.
    CancelPush,
    /// Settings, first on the control stream.
    Settings,
    /// A push is coming.
    PushPromise,
    /// The connection ends.
    GoAway,
    /// How many pushes are taken.
    MaxPushId,
    /// The priority of a request (RFC 9218 §7.2).
    PriorityUpdate,
    /// The priority of a push (RFC 9218 §7.2).
    PushPriorityUpdate,
    /// A type of HTTP/2 that HTTP/3 forbids everywhere (RFC 9114 §7.2.8).
    Forbidden,
    /// Any other: skipped (RFC 9114 §9), GREASE among them.
    Unknown,
}

impl FrameKind {
    /// What a type's number means.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            0x00 => Self::Data,
            0x01 => Self::Headers,
            0x03 => Self::CancelPush,
            0x04 => Self::Settings,
            0x05 => Self::PushPromise,
            0x07 => Self::GoAway,
            0x0d => Self::MaxPushId,
            0x0f_0700 => Self::PriorityUpdate,
            0x0f_0701 => Self::PushPriorityUpdate,
            0x02 | 0x06 | 0x08 | 0x09 => Self::Forbidden,
            _ => Self::Unknown,
        }
    }

    /// The number of a type that we send; `None` for what we never do.
    const fn number(self) -> Option<u64> {
        match self {
            Self::Data => Some(0x00),
            Self::Headers => Some(0x01),
            Self::Settings => Some(0x04),
            Self::GoAway => Some(0x07),
            Self::PriorityUpdate => Some(0x0f_0700),
            _ => None,
        }
    }
}

/// Type and length of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    /// Bytes of the payload.
    pub(crate) len: u64,
}

/// Reads frame heads that arrive in pieces.
#[derive(Debug, Default)]
pub(crate) struct FrameHeadReader {
    number: Option<u64>,
    partial: Partial,
}

impl FrameHeadReader {
    /// Takes bytes from the front of `bytes`: the head once it is whole.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Option<FrameHead> {
        let number = match self.number {
            Some(number) => number,
            None => self.partial.take(bytes)?,
        };
        self.number = Some(number);
        let len = self.partial.take(bytes)?;
        self.number = None;
        Some(FrameHead { kind: FrameKind::from_number(number), len })
    }

    /// Whether a head is cut in the middle.
    pub(crate) fn is_begun(&self) -> bool {
        self.number.is_some() || self.partial.is_begun()
    }
}

/// Bytes of a frame head of DATA with a payload of so many bytes.
#[must_use]
pub const fn data_head_len(len: u64) -> usize {
    1 + varint::length_of(len)
}

/// Appends the head of a frame; a kind that we never send writes nothing.
pub(crate) fn write_frame_head(out: &mut Vec<u8>, kind: FrameKind, len: u64) {
    if let Some(number) = kind.number() {
        varint::write(out, number);
        varint::write(out, len);
    }
}

/// Appends the head of a DATA frame; so many bytes of content follow it.
#[inline]
pub fn write_data_head(out: &mut Vec<u8>, len: u64) {
    write_frame_head(out, FrameKind::Data, len);
}

/// Bytes that a HEADERS frame's head has when the section is at most 16,383 bytes: its length is not known beforehand.
const SHORT_LENGTH_BYTES: usize = 2;

/// Appends a HEADERS frame whose field section `write` appends.
pub fn write_headers(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    varint::write(out, 0x01);
    let at = out.len();
    out.extend_from_slice(&[0; SHORT_LENGTH_BYTES]);
    let start = out.len();
    write(out);
    let len = out.len().saturating_sub(start);
    // A length may stand in a longer form than it needs (RFC 9000 §16), so that only a huge section is moved.
    if let Ok(short) = u16::try_from(len)
        && short < 0x4000
        && let Some(place) = out.get_mut(at..start)
    {
        place.copy_from_slice(&(short | 0x4000).to_be_bytes());
        return;
    }
    let mut length = Vec::with_capacity(varint::VARINT_BYTES_MAX);
    varint::write(&mut length, len as u64);
    out.splice(at..start, length);
}

/// Appends a frame of a reserved type (RFC 9114 §7.2.8), which every peer must skip: `seed` picks which.
pub fn write_grease(out: &mut Vec<u8>, seed: u32) {
    varint::write(out, 0x1f * u64::from(seed) + 0x21);
    varint::write(out, 0);
}

#[cfg(test)]
mod tests {
    use super::{FrameHead, FrameHeadReader, FrameKind, write_data_head, write_grease, write_headers};

    fn heads(bytes: &[u8]) -> Vec<FrameHead> {
        let (mut reader, mut rest, mut heads) = (FrameHeadReader::default(), bytes, Vec::new());
        while let Some(head) = reader.take(&mut rest) {
            heads.push(head);
        }
        assert!(!reader.is_begun());
        heads
    }

    #[test]
    fn each_type_is_told_apart_and_those_of_http2_are_forbidden() {
        for number in [0x02, 0x06, 0x08, 0x09] {
            assert_eq!(FrameKind::from_number(number), FrameKind::Forbidden);
        }
        for number in [0x0a, 0x0b, 0x0c, 0x0e, 0x21, 0x40, 0x1f * 7 + 0x21, 0x0f_0702] {
            assert_eq!(FrameKind::from_number(number), FrameKind::Unknown, "{number:#x}");
        }
        assert_eq!(FrameKind::from_number(0x0f_0700), FrameKind::PriorityUpdate);
    }

    #[test]
    fn heads_are_read_in_pieces() {
        let mut out = Vec::new();
        write_data_head(&mut out, 70_000);
        write_grease(&mut out, 5);
        let whole = heads(&out);
        let mut reader = FrameHeadReader::default();
        let single: Vec<FrameHead> = out.chunks(1).filter_map(|mut piece| reader.take(&mut piece)).collect();
        assert_eq!(whole, single);
        let kinds: Vec<_> = whole.iter().map(|head| (head.kind, head.len)).collect();
        assert_eq!(kinds, [(FrameKind::Data, 70_000), (FrameKind::Unknown, 0)]);
    }

    #[test]
    fn a_section_of_any_size_gets_its_length() {
        for size in [0usize, 1, 63, 16_383, 16_384, 70_000] {
            let mut out = Vec::new();
            write_headers(&mut out, |out| out.resize(out.len() + size, 7));
            let mut rest = out.as_slice();
            let head = FrameHeadReader::default().take(&mut rest).unwrap();
            assert_eq!((head.kind, head.len, rest.len()), (FrameKind::Headers, size as u64, size));
        }
    }
}
