//! Variable-length integers (RFC 9000 §16): the two high bits of the first byte say how many bytes there are.

/// The largest value: 2^62 - 1.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Bytes of the longest one.
pub const VARINT_BYTES_MAX: usize = 8;

/// Bytes of the integer that begins with this byte: 1, 2, 4 or 8.
#[must_use]
#[inline]
pub const fn length_from(first: u8) -> usize {
    1 << (first >> 6)
}

/// Bytes of the shortest form of a value; those above [`VARINT_MAX`] are written as that.
#[must_use]
#[inline]
pub const fn length_of(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// The integer at the beginning of `bytes` and how many bytes it has; `None` while it is cut. A longer form than needed
/// is taken (RFC 9000 §16 asks for the shortest of frame types of QUIC alone).
#[must_use]
#[inline]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = length_from(first);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// Appends a value in its shortest form.
#[inline]
pub fn write(out: &mut Vec<u8>, value: u64) {
    let value = value.min(VARINT_MAX);
    match length_of(value) {
        1 => out.extend_from_slice(&[value as u8]),
        2 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// An integer that arrives in pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    value: u64,
    /// Bytes still to come; meaningless before the first one.
    left: u8,
    /// Whether a byte was taken.
    begun: bool,
}

impl Partial {
    /// Takes bytes from the front of `bytes`: the value once it is whole, after which this is empty again.
    #[inline]
    pub(crate) fn take(&mut self, bytes: &mut &[u8]) -> Option<u64> {
        if !self.begun
            && let Some((value, length)) = read(bytes)
        {
            *bytes = bytes.get(length..).unwrap_or_default();
            return Some(value);
        }
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            if self.begun {
                self.value = self.value << 8 | u64::from(*byte);
                self.left -= 1;
            } else {
                let left = length_from(*byte) as u8 - 1;
                *self = Self { value: u64::from(byte & 0x3f), left, begun: true };
            }
            if self.left == 0 {
                return Some(std::mem::take(self).value);
            }
        }
        None
    }

    /// Whether it is cut in the middle.
    pub(crate) fn is_begun(self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Partial, VARINT_MAX, length_of, read, write};

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        // RFC 9000, appendix A.1.
        assert_eq!(
            read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            Some((151_288_809_941_952_652, 8))
        );
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(read(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(read(&[0x25]), Some((37, 1)));
        assert_eq!(read(&[0x40, 0x25]), Some((37, 2)));
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0x9d, 0x7f, 0x3e]), None);
    }

    #[test]
    fn each_bound_has_its_length() {
        for (value, length) in [
            (0, 1),
            (63, 1),
            (64, 2),
            (16_383, 2),
            (16_384, 4),
            ((1 << 30) - 1, 4),
            (1 << 30, 8),
            (VARINT_MAX, 8),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!((out.len(), length_of(value)), (length, length), "{value}");
            assert_eq!(read(&out), Some((value, length)));
        }
    }

    proptest! {
        #[test]
        fn any_value_comes_back_in_pieces(value in 0..=VARINT_MAX, cut in 0usize..9, more in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            write(&mut out, value);
            let length = out.len();
            out.extend_from_slice(&more);
            let cut = cut.min(length);
            let (mut one, mut two) = out.split_at(cut);
            let mut partial = Partial::default();
            let read = partial.take(&mut one).or_else(|| partial.take(&mut two));
            prop_assert_eq!(read, Some(value));
            prop_assert_eq!(one.len() + two.len(), more.len());
            prop_assert!(!partial.is_begun());
        }
    }
}
