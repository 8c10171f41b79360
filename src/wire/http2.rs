//! HTTP/2 (RFC 9113), as far as it is ours: what comes is read by a meter before the frames are taken apart, heads and trailers that
//! go out are encoded here and put into the frames that leave.

pub mod hpack;
mod meter;
mod sent;

pub use meter::{Excess, Meter, Seen};
pub use sent::{Sent, SentReader, write_block};

use crate::syntax::is_token;

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

/// Whether these bytes begin with a line that is neither the preface nor meant for a request line of HTTP/1: three words, the second
/// of which is no path and the last no version of HTTP. Whoever sends it understands no answer of ours.
#[must_use]
pub fn is_of_neither(bytes: &[u8]) -> bool {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return false };
    let line = bytes.get(..end).unwrap_or_default();
    let mut words = line.strip_suffix(b"\r").unwrap_or(line).split(|byte| *byte == b' ');
    let words = [words.next(), words.next(), words.next(), words.next()];
    let [Some(method), Some(target), Some(version), None] = words else { return false };
    let names_http = version.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"HTTP/"));
    is_token(method) && !names_http && !target.starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::{PREFACE, Prelude, is_of_neither};

    #[test]
    fn a_line_without_a_version_of_http_is_of_neither_protocol() {
        assert!(is_of_neither(b"INVALID CONNECTION PREFACE\r\n\r\n"));
        assert!(is_of_neither(b"OPTIONS rtsp://a RTSP/1.0\nCSeq: 1"));
        for line in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"GET / HTTP/9.9\r\n",
            b"GET http://a/ http/1.1\r\n",
            b"GET / XTTP/1.1\r\n",
            b"GET /\r\n",
            b"GET / b HTTP/1.1\r\n",
            b"\x16\x03\x01 a b\r\n",
            b"INVALID CONNECTION PREFACE",
            b"\r\nGET / HTTP/1.1\r\n",
            b"",
        ] {
            assert!(!is_of_neither(line), "{:?}", String::from_utf8_lossy(line));
        }
    }

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
