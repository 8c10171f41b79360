//! The content of replies and of requests: bytes that tell where they belong, and how they are read: counted without being
//! copied while something is measured, and compared byte by byte in the round before.

use std::io;
use std::net::TcpStream;
use std::sync::LazyLock;

use rustix::net::RecvFlags;

/// Distinct bytes in a row. Prime, so that what is moved by a page or a power of two is not what it should be.
const PERIOD: usize = 89;
/// How much lies ready to be sent at once: a little less than 256 KiB.
pub(super) const READY_BYTES: usize = PERIOD * 2944;
/// Content from here on is long: worth a read of its own, so that it is not copied.
pub(super) const LONG_BYTES: usize = 8 << 10;
/// Bytes read at once where a head is next and long content behind it.
pub(super) const HEAD_BYTES: usize = 1 << 10;

static READY: LazyLock<Vec<u8>> = LazyLock::new(|| (b'!'..).take(PERIOD).cycle().take(READY_BYTES).collect());

/// Content from its byte `at` on, up to `most` bytes: as many as lie ready.
pub(super) fn from(at: usize, most: usize) -> &'static [u8] {
    let ready = READY.get(at % PERIOD..).unwrap_or_default();
    ready.get(..most).unwrap_or(ready)
}

/// Appends the first `length` bytes of content.
pub(super) fn append(bytes: &mut Vec<u8>, length: usize) {
    let end = bytes.len() + length;
    while bytes.len() < end {
        let left = end - bytes.len();
        bytes.extend_from_slice(from(length - left, left));
    }
}

/// Whether these are the bytes of content from `at` on.
pub(super) fn is(mut at: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let wanted = from(at, bytes.len());
        let Some((come, rest)) = bytes.split_at_checked(wanted.len()) else { return false };
        if come != wanted {
            return false;
        }
        (at, bytes) = (at + come.len(), rest);
    }
    true
}

/// Takes up to as many bytes as `room` has off the stream, without copying them anywhere (tcp(7), `MSG_TRUNC`); how many.
pub(super) fn discard(stream: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let (_, taken) = rustix::net::recv(stream, room, RecvFlags::TRUNC)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_from_what_is_moved_or_cut() {
        let mut bytes = b"head".to_vec();
        append(&mut bytes, 3 * READY_BYTES + 5);
        let content = bytes.split_off(4);
        assert_eq!(content.len(), 3 * READY_BYTES + 5);
        assert!(is(0, &content) && is(70_000, &content[70_000..]));
        assert!(!is(0, &content[4096..]) && !is(1, &content));
        let mut spoilt = content;
        spoilt[600_000] ^= 1;
        assert!(!is(0, &spoilt) && is(600_001, &spoilt[600_001..]));
    }

    #[test]
    fn what_is_discarded_is_counted_and_not_copied() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        sender.write_all(b"abcdefgh").unwrap();
        let mut room = *b"------";
        let mut taken = 0;
        while taken < 6 {
            taken += discard(&receiver, &mut room[taken..]).unwrap();
        }
        assert_eq!(&room, b"------");
        let mut rest = [0; 2];
        receiver.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"gh");
    }
}
