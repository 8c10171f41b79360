//! HTTP/2 (RFC 9113), as far as it is ours: the meter that reads frame headers before the frames are taken apart.

mod meter;

pub use meter::{Excess, Meter, Seen};

/// What a client sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prelude {
    /// The preface, whole.
    Http2,
    /// Its beginning: more is needed.
    Unsure,
    /// Something else.
    Other,
}

impl Prelude {
    /// Reads them.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let seen = bytes.len().min(PREFACE.len());
        match bytes.get(..seen) == PREFACE.get(..seen) {
            true if seen == PREFACE.len() => Self::Http2,
            true => Self::Unsure,
            false => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Prelude};

    #[test]
    fn a_preface_is_known_by_its_first_byte_that_differs() {
        for end in 0..PREFACE.len() {
            assert_eq!(Prelude::of(&PREFACE[..end]), Prelude::Unsure);
            let mut other = PREFACE[..=end].to_vec();
            other[end] ^= 0x20;
            assert_eq!(Prelude::of(&other), Prelude::Other, "{end}");
        }
        assert_eq!(Prelude::of(PREFACE), Prelude::Http2);
        assert_eq!(Prelude::of(&[PREFACE, &b"rest"[..]].concat()), Prelude::Http2);
        assert_eq!(Prelude::of(b"PROPFIND / HTTP/1.1\r\n"), Prelude::Other);
    }
}
