//! Marks among sixteen bytes at once: bit `n` says that byte `n` is one of those.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "the processor's vector instructions are unsafe to name, whether or not it has them"
    )
)]

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use bytewise::{beyond_target, beyond_text, colons, controls};
#[cfg(target_arch = "x86_64")]
pub(crate) use sse2::{beyond_target, beyond_text, colons, controls};

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_max_epu8, _mm_movemask_epi8,
        _mm_or_si128, _mm_set1_epi8,
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

    /// Each `:`.
    #[inline]
    pub(crate) fn colons(bytes: &[u8; 16]) -> u32 {
        bits(equal(load(bytes), b':'))
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

    /// Each `:`.
    pub(crate) fn colons(bytes: &[u8; 16]) -> u32 {
        bits(bytes, |byte| byte == b':')
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
    use super::{beyond_target, beyond_text, bytewise, colons, controls};

    #[test]
    fn sixteen_bytes_at_once_are_marked_as_one_by_one() {
        type Marks = fn(&[u8; 16]) -> u32;
        let both: [(Marks, Marks); 4] = [
            (colons, bytewise::colons),
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
