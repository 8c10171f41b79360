//! Reads replies with as little work as possible: where they end, and whether they are good.

use memchr::{memchr, memmem};

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
}

/// Reads one reply after the other.
#[derive(Debug)]
pub(super) struct Reply {
    place: Place,
    head: Vec<u8>,
    good: bool,
    close: bool,
}

impl Default for Reply {
    fn default() -> Self {
        Self { place: Place::Head, head: Vec::new(), good: false, close: false }
    }
}

impl Reply {
    /// Whether the proxy said that it closes.
    pub(super) fn closes(&self) -> bool {
        self.close
    }

    /// A message without head, of so many bytes, is next.
    pub(super) fn expect_bytes(&mut self, bytes: usize) {
        (self.place, self.good) = (Place::Body(bytes), true);
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Fed {
        match self.place {
            Place::Body(left) => self.body(left, bytes.len()),
            Place::Head if self.head.is_empty() => self.head(bytes),
            Place::Head => {
                self.head.extend_from_slice(bytes);
                let whole = std::mem::take(&mut self.head);
                self.head(&whole)
            }
        }
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
        self.body(length, rest.len())
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
    fn a_refusal_is_no_good_reply_and_an_unknown_end_is_bad() {
        let mut reply = Reply::default();
        assert_eq!(reply.feed(b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n"), Fed::Whole { good: false });
        assert_eq!(reply.feed(b"HTTP/1.1 200 OK\r\n\r\n"), Fed::Bad);
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
