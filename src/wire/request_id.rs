//! Request ids: UUIDv7 (RFC 9562 §5.7) as text.

use crate::lanes;

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
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let mut text = [b'-'; 36];
        // Time and version are 8, 4 and 4 digits, the rest 4 and 12.
        let [first, last] = lanes::hex(&bytes);
        let ([a, b, c, d], [e, f, g, h]) = (fours(first), fours(last));
        for (at, part) in [(0, a), (4, b), (9, c), (14, d), (19, e), (24, f), (28, g), (32, h)] {
            place(&mut text, at, part);
        }
        Self { bytes, text }
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

/// Copies a part of constant size.
#[inline]
pub(crate) fn place<const N: usize>(text: &mut [u8], at: usize, part: [u8; N]) {
    if let Some(place) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = part;
    }
}

#[inline]
fn fours([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> [[u8; 4]; 4] {
    [[a, b, c, d], [e, f, g, h], [i, j, k, l], [m, n, o, p]]
}

#[cfg(test)]
mod tests {
    use super::{RequestId, is_acceptable};

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
