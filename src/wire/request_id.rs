//! Request ids: UUIDv7 (RFC 9562 §5.7) as text.

/// A UUID and its text: 36 bytes of lower-case hex and hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    bytes: [u8; 16],
    text: [u8; 36],
}

/// Longest id of a trusted peer that is kept.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

impl RequestId {
    /// The id of a moment and 74 random bits (the rest of `random` is not used).
    #[must_use]
    pub fn new(unix_ms: u64, random: [u64; 2]) -> Self {
        let [a, b] = random;
        let high = unix_ms << 16 | 0x7000 | a & 0x0fff;
        let low = 0x8000_0000_0000_0000 | b >> 2;
        let mut text = [b'-'; 36];
        // Time and version are 8, 4 and 4 digits, the rest 4 and 12.
        let [a, b, c, d] = [high >> 32, high & 0xffff_ffff, low >> 32, low & 0xffff_ffff].map(hex8);
        let [b1, b2] = halves(b);
        let [c1, c2] = halves(c);
        place(&mut text, 0, a);
        place(&mut text, 9, b1);
        place(&mut text, 14, b2);
        place(&mut text, 19, c1);
        place(&mut text, 24, c2);
        place(&mut text, 28, d);
        Self { bytes: (u128::from(high) << 64 | u128::from(low)).to_be_bytes(), text }
    }

    /// Its text.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8; 36] {
        &self.text
    }

    /// Its 16 bytes.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> [u8; 16] {
        self.bytes
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// Whether a peer's request id may be kept: short, and visible ASCII without quotes, commas, and the like.
#[must_use]
pub fn is_acceptable(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte))
}

/// The lower 32 bits as eight digits, all at once: a loop over digits cost more than reading a head's line.
#[inline]
pub(crate) fn hex8(value: u64) -> [u8; 8] {
    // Each nibble in a byte of its own, the first one lowest.
    let mut nibbles = value & 0xffff_ffff;
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte above nine, which is a letter then: 39 further on.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * 39).to_be_bytes()
}

/// Copies a part of constant size.
#[inline]
pub(crate) fn place<const N: usize>(text: &mut [u8], at: usize, part: [u8; N]) {
    if let Some(place) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = part;
    }
}

#[inline]
fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> [[u8; 4]; 2] {
    [[a, b, c, d], [e, f, g, h]]
}

#[cfg(test)]
mod tests {
    use super::{RequestId, hex8, is_acceptable};

    #[test]
    fn an_id_has_time_version_and_variant_in_their_places() {
        // RFC 9562, appendix A.6.
        let id = RequestId::new(0x017F_22E2_79B0, [0x0CC3, 0x18C4_DC0C_0C07_398F << 2]);
        assert_eq!(id.as_str(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn text_and_bytes_are_the_same_digits() {
        let random = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
        let id = RequestId::new(0x0fed_cba9_8765, random);
        let text: String = id.bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id.as_str().replace('-', ""), text);
        assert_eq!(hex8(0x9abc_def0), *b"9abcdef0");
    }

    #[test]
    fn ids_sort_by_time() {
        let text = |ms| RequestId::new(ms, [u64::MAX, u64::MAX]).as_str().to_owned();
        assert!(text(1) < text(2) && text(2) < text(1 << 40));
        assert_eq!(text(5).len(), 36);
    }

    #[test]
    fn a_peers_id_is_short_and_plain() {
        assert!(is_acceptable(b"abc-123_X.y:z"));
        for bad in [&b""[..], b"a b", b"a\"b", b"a,b", b"\x80", &[b'a'; 129]] {
            assert!(!is_acceptable(bad), "{bad:?}");
        }
    }
}
