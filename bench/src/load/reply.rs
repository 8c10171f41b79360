//! Reads replies with as little work as possible: where they end, and whether they are good.

use memchr::{memchr, memmem};

use super::content;

/// How far a reply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fed {
    More,
    Whole {
        good: bool,
    },
    /// No reply that this reader knows.
    Bad,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body(usize),
    /// HTTP/2 frames, up to the end of the first stream.
    Frames,
}

/// Reads one reply after the other.
#[derive(Debug)]
pub(super) struct Reply {
    place: Place,
    head: Vec<u8>,
    good: bool,
    close: bool,
    /// Bytes of the content that the last head told of.
    length: usize,
    /// Content is compared with what it should be.
    compares: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self { place: Place::Head, head: Vec::new(), good: false, close: false, length: 0, compares: false }
    }
}

impl Reply {
    /// Whether the proxy said that it closes.
    pub(super) fn closes(&self) -> bool {
        self.close
    }

    /// From here on the content is compared with what it should be; else it is only counted.
    pub(super) fn compare(&mut self) {
        self.compares = true;
    }

    /// Bytes of content that are still to come and that nobody looks at; 0 elsewhere.
    pub(super) fn uncompared(&self) -> usize {
        match self.place {
            Place::Body(left) if !self.compares => left,
            _ => 0,
        }
    }

    /// Whether a head is next and had long content behind it the last time.
    pub(super) fn is_before_long(&self) -> bool {
        self.place == Place::Head && self.length >= content::LONG_BYTES
    }

    /// So many bytes of content came, unseen.
    pub(super) fn skip(&mut self, come: usize) -> Fed {
        match self.place {
            Place::Body(left) => self.body(left, come),
            Place::Head | Place::Frames => Fed::Bad,
        }
    }

    /// A message without head, of so many bytes, is next.
    pub(super) fn expect_bytes(&mut self, bytes: usize) {
        (self.place, self.good, self.length) = (Place::Body(bytes), true, 0);
    }

    /// Frames of HTTP/2 are next.
    pub(super) fn expect_frames(&mut self) {
        (self.place, self.good) = (Place::Frames, true);
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        match self.place {
            Place::Body(left) => self.content(left, bytes),
            Place::Frames => self.frames(bytes),
            Place::Head if self.head.is_empty() => self.head(bytes),
            Place::Head => {
                self.head.extend_from_slice(bytes);
                let whole = std::mem::take(&mut self.head);
                self.head(&whole)
            }
        }
    }

    fn frames(&mut self, bytes: &[u8]) -> Fed {
        self.head.extend_from_slice(bytes);
        let mut rest = self.head.as_slice();
        while let Some(([high, middle, low, kind, flags, stream @ ..], _)) = rest.split_first_chunk::<9>() {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            let Some(next) = rest.get(9 + length..) else { break };
            match (kind, *stream == [0, 0, 0, 1]) {
                // DATA or HEADERS with END_STREAM.
                (0 | 1, true) if flags & 1 == 1 => {
                    self.head.clear();
                    return Fed::Whole { good: self.good };
                }
                // RST_STREAM, GOAWAY.
                (3, true) | (7, _) => return Fed::Bad,
                _ => rest = next,
            }
        }
        self.head = rest.to_vec();
        Fed::More
    }

    /// Content, as it was read.
    fn content(&mut self, left: usize, bytes: &[u8]) -> Fed {
        // What has no head of its own is no content of the endpoint's.
        if self.compares && !content::is(self.length.saturating_sub(left), bytes) && self.length > 0 {
            return Fed::Bad;
        }
        self.body(left, bytes.len())
    }

    fn body(&mut self, left: usize, come: usize) -> Fed {
        self.place = match left.checked_sub(come) {
            Some(0) => Place::Head,
            Some(left) => Place::Body(left),
            None => return Fed::Bad,
        };
        if self.place == Place::Head { Fed::Whole { good: self.good } } else { Fed::More }
    }

    fn head(&mut self, bytes: &[u8]) -> Fed {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            self.head = bytes.to_vec();
            return Fed::More;
        };
        let (head, rest) = bytes.split_at(end + 4);
        let status = head.get(9..12).unwrap_or_default();
        let mut length = None;
        self.close = false;
        for (name, value) in fields(head) {
            if name.eq_ignore_ascii_case(b"content-length") {
                length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            } else if name.eq_ignore_ascii_case(b"connection") && value.eq_ignore_ascii_case(b"close") {
                self.close = true;
            }
        }
        if status == b"101" {
            length = Some(0);
        }
        self.good = status.first() == Some(&b'2') || status == b"101";
        let Some(length) = length else { return Fed::Bad };
        self.length = length;
        self.content(length, rest)
    }
}

/// Names and values of the lines after the first.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head.get(memchr(b'\n', head).map_or(head.len(), |at| at + 1)..).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let (line, next) = rest.split_at(end);
        rest = next.get(1..)?;
        let colon = memchr(b':', line)?;
        let (name, value) = line.split_at(colon);
        Some((name, value.get(1..)?.trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_apart_however_they_are_cut() {
        let text = b"HTTP/1.1 200 OK\r\nServer: x\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello";
        for cut in 0..text.len() {
            let mut reply = Reply::default();
            let (first, second) = text.split_at(cut);
            assert_eq!(reply.feed(first), Fed::More, "{cut}");
            assert_eq!(reply.feed(second), Fed::Whole { good: true }, "{cut}");
            assert!(reply.closes());
        }
    }

    #[test]
    fn content_is_counted_unseen_or_compared() {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n".to_vec();
        let head = bytes.len();
        content::append(&mut bytes, 9000);
        let mut reply = Reply::default();
        assert_eq!(reply.feed(&bytes[..head + 10]), Fed::More);
        assert_eq!((reply.uncompared(), reply.skip(8000)), (8990, Fed::More));
        assert_eq!((reply.uncompared(), reply.skip(990)), (990, Fed::Whole { good: true }));
        assert!(reply.is_before_long() && reply.uncompared() == 0);
        for (spoilt, last) in
            [(bytes.len(), Fed::Whole { good: true }), (head + 8999, Fed::Bad), (head, Fed::Bad)]
        {
            let mut bytes = bytes.clone();
            bytes.get_mut(spoilt).into_iter().for_each(|byte| *byte ^= 1);
            let mut reply = Reply::default();
            reply.compare();
            let (first, rest) = bytes.split_at(head + 100);
            let fed = [reply.feed(first), reply.feed(rest)];
            assert_eq!(reply.uncompared(), 0);
            assert!(fed.contains(&last), "{spoilt}: {fed:?}");
        }
    }

    #[test]
    fn a_refusal_is_no_good_reply_and_an_unknown_end_is_bad() {
        let mut reply = Reply::default();
        assert_eq!(reply.feed(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"), Fed::Whole { good: false });
        assert_eq!(reply.feed(b"HTTP/1.1 200 OK\r\n\r\n"), Fed::Bad);
    }

    #[test]
    fn a_reply_over_http2_ends_with_its_stream() {
        let text = b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x02\0\x01\0\0\0\x01ok";
        for cut in 0..text.len() {
            let mut reply = Reply::default();
            reply.expect_frames();
            let (first, second) = text.split_at(cut);
            assert_eq!(
                (reply.feed(first), reply.feed(second)),
                (Fed::More, Fed::Whole { good: true }),
                "{cut}"
            );
        }
        let mut reply = Reply::default();
        reply.expect_frames();
        assert_eq!(reply.feed(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01"), Fed::Bad);
    }

    #[test]
    fn a_tunnel_begins_with_its_head_and_goes_on_with_messages() {
        let mut reply = Reply::default();
        assert_eq!(reply.feed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), Fed::Whole { good: true });
        reply.expect_bytes(6);
        assert_eq!(reply.feed(b"\x81\x04ab"), Fed::More);
        assert_eq!(reply.feed(b"cd"), Fed::Whole { good: true });
    }
}
