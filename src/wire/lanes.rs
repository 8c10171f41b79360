//! Marks among sixteen bytes at once: bit `n` says that byte `n` is one of those.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "the processor's vector instructions are unsafe to name, whether or not it has them"
    )
)]

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use bytewise::{beyond_target, beyond_text, capitals, colons, controls, each_of, hex, unreserved};
#[cfg(target_arch = "x86_64")]
pub(crate) use sse2::{beyond_target, beyond_text, capitals, colons, controls, each_of, hex, unreserved};

/// The first sixteen bytes; zeros behind them where there are fewer.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> [u8; 16] {
    bytes.first_chunk().copied().unwrap_or_else(|| few(bytes).to_le_bytes())
}

/// Fewer than sixteen bytes as one number, the first byte lowest; of more, no matter what.
#[inline]
pub(crate) fn few(bytes: &[u8]) -> u128 {
    let (first, last) = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => return u128::from(few_of_eight(bytes)),
    };
    u128::from(first) | u128::from(last).wrapping_shl(8 * (bytes.len() as u32 - 8))
}

/// The same of fewer than eight.
#[inline]
fn few_of_eight(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
            u64::from(first) | u64::from(last).wrapping_shl(8 * (bytes.len() as u32 - 4))
        }
        _ => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_and_si128, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_max_epu8,
        _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_storeu_si128, _mm_sub_epi8,
        _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    };

    #[inline]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64; sixteen bytes are read where sixteen are, and need not be aligned.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    fn bits(marks: __m128i) -> u32 {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe { _mm_movemask_epi8(marks) }.cast_unsigned()
    }

    #[inline]
    fn equal(bytes: __m128i, byte: u8) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe { _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed())) }
    }

    /// Below this one as signed numbers: then bytes above 0x7f are below all others.
    #[inline]
    fn below_signed(bytes: __m128i, byte: i8) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe { _mm_cmpgt_epi8(_mm_set1_epi8(byte), bytes) }
    }

    #[inline]
    fn at_most(bytes: __m128i, byte: u8) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64.
        let greater = unsafe { _mm_max_epu8(bytes, _mm_set1_epi8(byte.cast_signed())) };
        equal(greater, byte)
    }

    #[inline]
    fn either(these: __m128i, those: __m128i) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64.
        unsafe { _mm_or_si128(these, those) }
    }

    /// From the one to the other.
    #[inline]
    fn between(bytes: __m128i, first: u8, last: u8) -> __m128i {
        // SAFETY: SSE2 is a part of x86-64.
        let above = unsafe { _mm_sub_epi8(bytes, _mm_set1_epi8(first.cast_signed())) };
        at_most(above, last - first)
    }

    /// As lower-case hex.
    #[inline]
    pub(crate) fn hex(bytes: &[u8; 16]) -> [[u8; 16]; 2] {
        let bytes = load(bytes);
        // SAFETY: SSE2 is a part of x86-64.
        unsafe {
            let nibble = _mm_set1_epi8(0x0f);
            let (high, low) =
                (_mm_and_si128(_mm_srli_epi16::<4>(bytes), nibble), _mm_and_si128(bytes, nibble));
            [_mm_unpacklo_epi8(high, low), _mm_unpackhi_epi8(high, low)].map(digits)
        }
    }

    /// Sixteen numbers below sixteen as digits.
    #[inline]
    fn digits(numbers: __m128i) -> [u8; 16] {
        let mut text = [0; 16];
        // SAFETY: SSE2 is a part of x86-64; sixteen bytes are written where sixteen are, and need not be aligned.
        unsafe {
            let beyond_nine = _mm_cmpgt_epi8(numbers, _mm_set1_epi8(9));
            let to_letters = _mm_and_si128(beyond_nine, _mm_set1_epi8((b'a' - b'0' - 10).cast_signed()));
            let digits = _mm_add_epi8(_mm_add_epi8(numbers, _mm_set1_epi8(b'0'.cast_signed())), to_letters);
            _mm_storeu_si128(text.as_mut_ptr().cast(), digits);
        }
        text
    }

    /// Each of this byte.
    #[inline]
    pub(crate) fn each_of(bytes: &[u8; 16], byte: u8) -> u32 {
        bits(equal(load(bytes), byte))
    }

    /// Each `:`.
    #[inline]
    pub(crate) fn colons(bytes: &[u8; 16]) -> u32 {
        each_of(bytes, b':')
    }

    /// Capital letters.
    #[inline]
    pub(crate) fn capitals(bytes: &[u8; 16]) -> u32 {
        bits(between(load(bytes), b'A', b'Z'))
    }

    /// What is `unreserved` (RFC 3986 §2.3): letters, digits, `-`, `.`, `_`, `~`.
    #[inline]
    pub(crate) fn unreserved(bytes: &[u8; 16]) -> u32 {
        let bytes = load(bytes);
        // SAFETY: SSE2 is a part of x86-64.
        let small = unsafe { _mm_or_si128(bytes, _mm_set1_epi8(0x20)) };
        let alphanumeric = either(between(small, b'a', b'z'), between(bytes, b'0', b'9'));
        let marks = either(between(bytes, b'-', b'.'), either(equal(bytes, b'_'), equal(bytes, b'~')));
        bits(either(alphanumeric, marks))
    }

    /// What ends a field's value: below SP, or DEL.
    #[inline]
    pub(crate) fn controls(bytes: &[u8; 16]) -> u32 {
        let bytes = load(bytes);
        bits(either(at_most(bytes, 0x1f), equal(bytes, 0x7f)))
    }

    /// What is no plain text: below SP, DEL and above.
    #[inline]
    pub(crate) fn beyond_text(bytes: &[u8; 16]) -> u32 {
        let bytes = load(bytes);
        bits(either(below_signed(bytes, 0x20), equal(bytes, 0x7f)))
    }

    /// What no request target holds: SP and below, `#`, DEL and above.
    #[inline]
    pub(crate) fn beyond_target(bytes: &[u8; 16]) -> u32 {
        let bytes = load(bytes);
        bits(either(below_signed(bytes, 0x21), either(equal(bytes, 0x7f), equal(bytes, b'#'))))
    }
}

/// The same, byte by byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
mod bytewise {
    fn bits(bytes: &[u8; 16], marked: impl Fn(u8) -> bool) -> u32 {
        bytes.iter().rev().fold(0, |bits, byte| bits << 1 | u32::from(marked(*byte)))
    }

    /// As lower-case hex.
    pub(crate) fn hex(bytes: &[u8; 16]) -> [[u8; 16]; 2] {
        let digit = |at: usize| {
            let byte = bytes.get(at / 2).copied().unwrap_or(0);
            let digit = if at & 1 == 0 { byte >> 4 } else { byte & 0x0f };
            digit + if digit > 9 { b'a' - 10 } else { b'0' }
        };
        [std::array::from_fn(digit), std::array::from_fn(|at| digit(16 + at))]
    }

    /// Each of this byte.
    pub(crate) fn each_of(bytes: &[u8; 16], this: u8) -> u32 {
        bits(bytes, |byte| byte == this)
    }

    /// Each `:`.
    pub(crate) fn colons(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte == b':')
    }

    /// Capital letters.
    pub(crate) fn capitals(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte.is_ascii_uppercase())
    }

    /// What is `unreserved` (RFC 3986 §2.3): letters, digits, `-`, `.`, `_`, `~`.
    pub(crate) fn unreserved(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
    }

    /// What ends a field's value: below SP, or DEL.
    pub(crate) fn controls(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte < b' ' || byte == 0x7f)
    }

    /// What is no plain text: below SP, DEL and above.
    pub(crate) fn beyond_text(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| !(b' '..0x7f).contains(&byte))
    }

    /// What no request target holds: SP and below, `#`, DEL and above.
    pub(crate) fn beyond_target(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte <= b' ' || byte >= 0x7f || byte == b'#')
    }
}

#[cfg(test)]
mod tests {
    use super::{
        beyond_target, beyond_text, bytewise, capitals, colons, controls, each_of, few, first, hex,
        unreserved,
    };

    #[test]
    fn sixteen_bytes_have_the_hex_that_each_has() {
        for first in (0..=255u8).step_by(16) {
            let bytes: [u8; 16] = std::array::from_fn(|at| first + at as u8);
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex(&bytes).as_flattened(), text.as_bytes());
            assert_eq!(bytewise::hex(&bytes), hex(&bytes));
        }
    }

    #[test]
    fn few_bytes_are_filled_up_with_zeros() {
        let all: Vec<u8> = (1..=40).collect();
        for len in 0..40 {
            let mut expected = [0; 16];
            expected.iter_mut().zip(&all[..len]).for_each(|(place, byte)| *place = *byte);
            assert_eq!(first(&all[..len]), expected, "{len}");
            if len < 16 {
                assert_eq!(few(&all[..len]), u128::from_le_bytes(expected), "{len}");
            }
        }
    }

    #[test]
    fn sixteen_bytes_at_once_are_marked_as_one_by_one() {
        type Marks = fn(&[u8; 16]) -> u32;
        let both: [(Marks, Marks); 7] = [
            (colons, bytewise::colons),
            (|bytes| each_of(bytes, b'.'), |bytes| bytewise::each_of(bytes, b'.')),
            (capitals, bytewise::capitals),
            (unreserved, bytewise::unreserved),
            (controls, bytewise::controls),
            (beyond_text, bytewise::beyond_text),
            (beyond_target, bytewise::beyond_target),
        ];
        for (at_once, one_by_one) in both {
            for byte in 0..=255u8 {
                for place in 0..16 {
                    let mut bytes = *b"abcdefghijklmnop";
                    bytes[place] = byte;
                    assert_eq!(at_once(&bytes), one_by_one(&bytes), "{byte} at {place}");
                }
            }
        }
    }
}
