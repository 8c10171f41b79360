//! Request ids: UUIDv7 (RFC 9562 §5.7) as text.

/// A UUID's text: 36 bytes of lower-case hex and hyphens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 36]);

/// Longest id of a trusted peer that is kept.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

impl RequestId {
    /// The id of a moment and 74 random bits (the rest of `random` is not used).
    #[must_use]
    pub fn new(unix_ms: u64, random: [u64; 2]) -> Self {
        let [a, b] = random;
        let high = unix_ms << 16 | 0x7000 | a & 0x0fff;
        let low = 0x8000_0000_0000_0000 | b >> 2;
        let mut digits = high.to_be_bytes().into_iter().chain(low.to_be_bytes());
        let mut text = [b'-'; 36];
        let mut pair = |place: &mut [u8]| {
            for place in place.chunks_exact_mut(2) {
                let byte = digits.next().unwrap_or(0);
                if let [first, second] = place {
                    (*first, *second) = (hex(byte >> 4), hex(byte & 15));
                }
            }
        };
        for range in [0..8, 9..13, 14..18, 19..23, 24..36] {
            if let Some(place) = text.get_mut(range) {
                pair(place);
            }
        }
        Self(text)
    }

    /// Its text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 36] {
        &self.0
    }

    /// Its 16 bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        let mut digits = self.0.iter().filter(|byte| **byte != b'-').map(|byte| match byte {
            b'0'..=b'9' => byte - b'0',
            _ => byte - b'a' + 10,
        });
        std::array::from_fn(|_| digits.next().unwrap_or(0) << 4 | digits.next().unwrap_or(0))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Whether a peer's request id may be kept: short, and visible ASCII without quotes, commas, and the like.
#[must_use]
pub fn is_acceptable(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= REQUEST_ID_BYTES_MAX
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte))
}

pub(crate) const fn hex(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
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
