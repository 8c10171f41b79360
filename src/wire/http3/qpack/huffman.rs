//! The Huffman code of HPACK and QPACK (RFC 7541, appendix B).

/// Bits of each byte's code. The code is canonical: codes of one length are consecutive in the order of their bytes, and the
/// shorter come first, so that lengths say everything.
const BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26,
];

/// The longest code of a byte, in bits; that of the end of the string has as many and is all ones.
const BITS_MAX: usize = 30;

/// The code of each byte, right-aligned.
static CODES: [u32; 256] = codes();

/// Bytes in the order of their codes.
static ORDER: [u8; 256] = order();

/// The codes of one length: the first of them, how many, and where their bytes stand in `ORDER`.
#[derive(Clone, Copy)]
struct Row {
    first: u32,
    count: u16,
    at: u16,
}

static LENGTHS: [Row; BITS_MAX + 1] = lengths();

/// Bits that are looked up at once: most bytes have no more.
const QUICK_BITS: u32 = 8;

/// Byte and length for what begins with a short code; length 0 for what does not.
static QUICK: [(u8, u8); 1 << QUICK_BITS] = quick();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn lengths() -> [Row; BITS_MAX + 1] {
    let mut rows = [Row { first: 0, count: 0, at: 0 }; BITS_MAX + 1];
    let mut byte = 0;
    while byte < 256 {
        rows[BITS[byte] as usize].count += 1;
        byte += 1;
    }
    let (mut length, mut code, mut at) = (1, 0u32, 0u16);
    while length <= BITS_MAX {
        code <<= 1;
        rows[length].first = code;
        rows[length].at = at;
        code += rows[length].count as u32;
        at += rows[length].count;
        length += 1;
    }
    // What is left is the end of the string.
    assert!(code == (1 << BITS_MAX) - 1);
    rows
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn order() -> [u8; 256] {
    let mut rows = lengths();
    let mut order = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let row = &mut rows[BITS[byte] as usize];
        order[row.at as usize] = byte as u8;
        row.at += 1;
        byte += 1;
    }
    order
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn codes() -> [u32; 256] {
    let mut rows = lengths();
    let mut codes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let row = &mut rows[BITS[byte] as usize];
        codes[byte] = row.first;
        row.first += 1;
        byte += 1;
    }
    codes
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler: a fault is a build error")]
const fn quick() -> [(u8, u8); 1 << QUICK_BITS] {
    let codes = codes();
    let mut table = [(0, 0); 1 << QUICK_BITS];
    let mut byte = 0;
    while byte < 256 {
        let bits = BITS[byte] as u32;
        if bits <= QUICK_BITS {
            let spare = QUICK_BITS - bits;
            let mut at = 0;
            while at < 1 << spare {
                table[(codes[byte] << spare) as usize + at] = (byte as u8, bits as u8);
                at += 1;
            }
        }
        byte += 1;
    }
    table
}

/// Bytes that a text has when it is coded.
#[must_use]
#[inline]
pub fn coded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| BITS.get(*byte as usize).copied().unwrap_or(0) as usize).sum();
    bits.div_ceil(8)
}

/// Appends a text, coded, filled up with ones.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0u64, 0u32);
    for byte in text {
        let length = u32::from(BITS.get(*byte as usize).copied().unwrap_or(0));
        let code = CODES.get(*byte as usize).copied().unwrap_or(0);
        bits = bits << length | u64::from(code);
        count += length;
        // At most 31 bits wait and 30 come.
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((bits >> count) as u32).to_be_bytes());
        }
    }
    while count > 0 {
        let spare = 8u32.saturating_sub(count);
        count = count.saturating_sub(8);
        let byte = if spare > 0 { bits << spare | ((1 << spare) - 1) } else { bits >> count };
        out.push(byte as u8);
    }
}

/// Appends what a coded text says; `None` for what cannot have been coded: a code of the end, or padding that is too long or not
/// of ones (RFC 7541 §5.2). The result is at most 8/5 as long as `coded`.
#[must_use]
pub fn decode(mut coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The bits that wait stand at the top of `bits`.
    let (mut bits, mut count) = (0u64, 0u32);
    loop {
        while count <= 56 {
            let Some((byte, rest)) = coded.split_first() else { break };
            coded = rest;
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        let (byte, length) = match QUICK.get((bits >> (64 - QUICK_BITS)) as usize) {
            Some((byte, length)) if *length > 0 => (*byte, u32::from(*length)),
            // Or the end of the string, or what would become it.
            _ => long(bits)?,
        };
        if length > count {
            // Nothing but padding is left: less than a byte, of ones.
            let ones = count < 8 && (count == 0 || bits >> (64 - count) == (1 << count) - 1);
            return ones.then_some(());
        }
        out.push(byte);
        bits <<= length;
        count -= length;
    }
}

/// The byte whose code of more than `QUICK_BITS` bits stands at the top of `bits`, and the code's length.
fn long(bits: u64) -> Option<(u8, u32)> {
    let rows = LENGTHS.iter().enumerate().skip(QUICK_BITS as usize + 1);
    for (length, row) in rows {
        let above = ((bits >> (64 - length)) as u32).wrapping_sub(row.first);
        if above < u32::from(row.count) {
            let byte = ORDER.get(row.at as usize + above as usize)?;
            return Some((*byte, length as u32));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BITS, CODES, coded_len, decode, encode};

    fn coded(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(text, &mut out);
        assert_eq!(out.len(), coded_len(text));
        out
    }

    fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_the_rfc_are_coded() {
        // RFC 7541, appendix C.4 and C.6.
        for (text, hex) in [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-key", "25a849e95ba97d7f"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("private", "aec3771a4b"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            ("https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
        ] {
            let bytes: Vec<u8> = (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                .collect();
            assert_eq!(coded(text.as_bytes()), bytes, "{text}");
            assert_eq!(decoded(&bytes), Some(text.as_bytes().to_vec()), "{text}");
        }
    }

    #[test]
    fn codes_stand_where_the_rfc_has_them() {
        for (byte, code, bits) in [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'!', 0x3f8, 10),
            (b'\\', 0x7fff0, 19),
            (0, 0x1ff8, 13),
            (249, 0xfff_fffe, 28),
            (22, 0x3fff_fffe, 30),
            (255, 0x3ff_ffee, 26),
        ] {
            assert_eq!((CODES[byte as usize], BITS[byte as usize]), (code, bits), "{byte}");
        }
    }

    #[test]
    fn bad_padding_and_the_end_are_refused() {
        assert_eq!(decoded(&[]), Some(vec![]));
        // `0` is five zeros: padding of three ones, of zeros, of a whole byte.
        assert_eq!(decoded(&[0b0000_0111]), Some(b"0".to_vec()));
        assert_eq!(decoded(&[0b0000_0110]), None);
        assert_eq!(decoded(&[0b0000_0011]), None);
        assert_eq!(decoded(&[0b0000_0111, 0xff]), None);
        assert_eq!(decoded(&[0xff]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None, "the end of the string");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc, 0x00]), None);
        // A byte of eight ones less one is no padding either.
        assert_eq!(decoded(&[0xfe]), None);
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<Vec<u8>>()) {
            prop_assert_eq!(decoded(&coded(&text)), Some(text));
        }

        #[test]
        fn what_is_decoded_is_the_only_way_to_code_it(bytes in any::<Vec<u8>>()) {
            if let Some(text) = decoded(&bytes) {
                prop_assert!(text.len() <= bytes.len() * 8 / 5);
                prop_assert_eq!(coded(&text), bytes);
            }
        }
    }
}
