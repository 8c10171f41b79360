//! Integers with a prefix (RFC 7541 §5.1, RFC 9204 §4.1.1).

use crate::http3::varint::VARINT_MAX;

/// Takes an integer whose first byte has `prefix` bits of it, 1 to 8, from the front of `bytes`. `None`: it is cut, or above
/// 2^62 - 1, which QPACK asks nobody to take.
#[inline]
pub(crate) fn take(bytes: &mut &[u8], prefix: u32) -> Option<u64> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1u64 << prefix) - 1;
    let mut value = u64::from(*first) & most;
    if value == most {
        let mut shift = 0;
        loop {
            let (byte, more) = rest.split_first()?;
            rest = more;
            let digit = u64::from(byte & 0x7f);
            // Ten digits hold 62 bits; zeros may follow for no longer than that.
            if shift > 63 || digit > VARINT_MAX >> shift.min(62) {
                return None;
            }
            value += digit << shift;
            if value > VARINT_MAX {
                return None;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *bytes = rest;
    Some(value)
}

/// Appends an integer; `flags` are the bits of the first byte above the prefix.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, flags: u8, prefix: u32, value: u64) {
    let most = (1u64 << prefix) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{take, write};
    use crate::http3::varint::VARINT_MAX;

    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        // RFC 7541, appendix C.1.
        for (value, prefix, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b1001_1010, 0b1010]), (42, 8, &[42])]
        {
            let mut out = Vec::new();
            write(&mut out, 0, prefix, value);
            assert_eq!(out, bytes);
            let mut rest = bytes;
            assert_eq!((take(&mut rest, prefix), rest.len()), (Some(value), 0));
        }
    }

    #[test]
    fn integers_without_end_or_beyond_62_bits_are_refused() {
        assert_eq!(take(&mut &[][..], 5), None);
        assert_eq!(take(&mut &[0x1f][..], 5), None);
        assert_eq!(take(&mut &[0x1f, 0x80][..], 5), None);
        assert_eq!(take(&mut &[0xff; 12][..], 5), None);
        let mut long = vec![0x1f];
        long.extend([0x80; 10]);
        long.push(1);
        assert_eq!(take(&mut long.as_slice(), 5), None);
        long.truncate(4);
        long.push(0);
        assert_eq!(take(&mut long.as_slice(), 5), Some(31), "zeros may lead");
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value in 0..=VARINT_MAX, prefix in 1u32..=8) {
            for value in [value, value % 300] {
                let mut out = Vec::new();
                write(&mut out, 0, prefix, value);
                let mut rest = out.as_slice();
                prop_assert_eq!((take(&mut rest, prefix), rest.len()), (Some(value), 0));
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in any::<Vec<u8>>(), prefix in 1u32..=8) {
            let _ = take(&mut bytes.as_slice(), prefix);
        }
    }
}
