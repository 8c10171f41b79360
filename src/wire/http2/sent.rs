//! What goes out on a connection, frame by frame. The protocol library writes the frames and keeps the streams' states; the
//! blocks of heads and trailers are ours ([`super::hpack`]) and are put in the place of its own (RFC 9113 §4.1, §6.2, §6.4).

use super::hpack::size_updates;

/// What was written on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'a> {
    /// What goes out as it is.
    Bytes(&'a [u8]),
    /// A HEADERS frame, whole. It does not go out: [`write_block`] writes another.
    Head {
        /// The stream.
        stream: u32,
        /// The frame's flags.
        flags: u8,
        /// Changes of the peer's table, which must go out at the front of the block.
        updates: &'a [u8],
    },
    /// RST_STREAM; its bytes were shown before.
    Reset {
        /// The stream.
        stream: u32,
        /// Why (RFC 9113 §7).
        code: u32,
    },
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// PADDED and PRIORITY: such a frame begins with something else than its block.
const PREFIXED: u8 = 0x28;
const HEADER_BYTES: usize = 9;
const RESET_BYTES: usize = HEADER_BYTES + 4;
/// What is kept of a block's front: two changes of the table's size, the most that may stand there (RFC 7541 §4.2).
const FRONT_BYTES: usize = 16;
/// What every peer takes in one frame (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16 * 1024;

/// Reads the frames of one connection as they are written.
#[derive(Debug, Clone, Default)]
pub struct SentReader {
    /// The header of the frame that has begun; that of RST_STREAM with its payload.
    header: [u8; RESET_BYTES],
    header_len: u8,
    /// Bytes of the frame's payload that are still to come.
    payload_left: u32,
    /// The frame is one of HEADERS that does not go out.
    head: bool,
    front: [u8; FRONT_BYTES],
    front_len: u8,
}

impl SentReader {
    /// Reads the next bytes, in order and each once.
    pub fn read(&mut self, mut bytes: &[u8], mut see: impl FnMut(Sent<'_>)) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = bytes.len().min(self.payload_left as usize);
                let (part, rest) = bytes.split_at_checked(taken).unwrap_or_default();
                self.payload_left -= taken as u32;
                bytes = rest;
                if self.head {
                    self.keep(part);
                    self.tell_head(&mut see);
                } else {
                    see(Sent::Bytes(part));
                }
                continue;
            }
            let at = usize::from(self.header_len);
            let taken = bytes.len().min(self.wanted() - at);
            let (part, rest) = bytes.split_at_checked(taken).unwrap_or_default();
            if let Some(place) = self.header.get_mut(at..at + taken) {
                place.copy_from_slice(part);
            }
            self.header_len += taken as u8;
            bytes = rest;
            if usize::from(self.header_len) == self.wanted() {
                self.begin(&mut see);
            }
        }
    }

    /// How long the header of this frame is, as far as is known.
    fn wanted(&self) -> usize {
        let [a, b, c, kind, ..] = self.header;
        let reset = kind == RST_STREAM && [a, b, c] == [0, 0, 4];
        if reset && usize::from(self.header_len) >= HEADER_BYTES { RESET_BYTES } else { HEADER_BYTES }
    }

    fn stream(&self) -> u32 {
        let [_, _, _, _, _, s, t, u, v, ..] = self.header;
        u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff
    }

    /// A frame's header is whole.
    fn begin(&mut self, see: &mut impl FnMut(Sent<'_>)) {
        let [a, b, c, kind, flags, _, _, _, _, code @ ..] = self.header;
        if usize::from(self.header_len) == RESET_BYTES {
            see(Sent::Bytes(&self.header));
            see(Sent::Reset { stream: self.stream(), code: u32::from_be_bytes(code) });
        } else {
            self.payload_left = u32::from_be_bytes([0, a, b, c]);
            self.head = kind == HEADERS && flags & (END_HEADERS | PREFIXED) == END_HEADERS;
            self.front_len = 0;
            if self.head {
                self.tell_head(see);
            } else {
                see(Sent::Bytes(self.header.get(..HEADER_BYTES).unwrap_or_default()));
            }
        }
        self.header_len = 0;
    }

    /// Keeps the front of a block.
    fn keep(&mut self, part: &[u8]) {
        let at = usize::from(self.front_len);
        let kept = part.len().min(FRONT_BYTES - at);
        if let (Some(place), Some(part)) = (self.front.get_mut(at..at + kept), part.get(..kept)) {
            place.copy_from_slice(part);
            self.front_len += kept as u8;
        }
    }

    /// Tells of a HEADERS frame once it is whole.
    fn tell_head(&mut self, see: &mut impl FnMut(Sent<'_>)) {
        if self.payload_left > 0 {
            return;
        }
        let [_, _, _, _, flags, ..] = self.header;
        let front = self.front.get(..usize::from(self.front_len)).unwrap_or_default();
        let updates = front.get(..size_updates(front)).unwrap_or_default();
        see(Sent::Head { stream: self.stream(), flags, updates });
    }
}

/// Shows the frames of a field block: HEADERS, and CONTINUATION where it is longer than a frame. `flags` are those of a frame that
/// holds all of it; `updates` go first.
pub fn write_block(stream: u32, flags: u8, updates: &[u8], block: &[u8], mut put: impl FnMut(&[u8])) {
    let (mut updates, mut rest, mut kind, mut flags) = (updates, block, HEADERS, flags & !END_HEADERS);
    loop {
        let taken = rest.len().min(FRAME_BYTES_MAX - updates.len());
        let (part, left) = rest.split_at_checked(taken).unwrap_or_default();
        let [_, a, b, c] = ((updates.len() + part.len()) as u32).to_be_bytes();
        let [s, t, u, v] = stream.to_be_bytes();
        let last = if left.is_empty() { END_HEADERS } else { 0 };
        put(&[a, b, c, kind, flags | last, s, t, u, v]);
        put(updates);
        put(part);
        if left.is_empty() {
            return;
        }
        (updates, rest, kind, flags) = (&[], left, CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Sent, SentReader, write_block};

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Seen {
        passed: Vec<u8>,
        heads: Vec<(u32, u8, Vec<u8>)>,
        resets: Vec<(u32, u32)>,
    }

    #[test]
    fn heads_are_held_back_and_all_else_passes_however_it_is_cut() {
        let passed = [
            frame(4, 0, 0, &[]),
            frame(3, 0, 7, &[0, 0, 0, 1]),
            frame(3, 0, 9, &[0, 0, 0, 7]),
            frame(0, 1, 5, &[1; 300]),
            frame(1, 0, 15, &[0x88]),
            frame(9, 4, 15, &[]),
            frame(7, 0, 0, &[3; 8]),
            frame(3, 0, 13, &[0, 0, 1, 0]),
        ];
        let heads = [
            frame(1, 4, 5, &[3; 70]),
            frame(1, 5, 11, &[]),
            frame(1, 4, 17, &[0x20, 0x3f, 0xe1, 0x1f, 0x88]),
        ];
        let [a, b, c, d, e, f, g, h] = &passed;
        let bytes = [&heads[0], a, b, c, d, &heads[1], e, f, g, &heads[2], h].map(Vec::as_slice).concat();
        let expected = Seen {
            passed: passed.concat(),
            heads: vec![(5, 4, vec![]), (11, 5, vec![]), (17, 4, vec![0x20, 0x3f, 0xe1, 0x1f])],
            resets: vec![(7, 1), (9, 7), (13, 256)],
        };
        for size in [1, 2, 3, 8, 9, 10, 13, 100, 1000] {
            let (mut reader, mut seen) = (SentReader::default(), Seen::default());
            for piece in bytes.chunks(size) {
                reader.read(piece, |sent| match sent {
                    Sent::Bytes(bytes) => seen.passed.extend_from_slice(bytes),
                    Sent::Head { stream, flags, updates } => {
                        seen.heads.push((stream, flags, updates.to_vec()))
                    }
                    Sent::Reset { stream, code } => seen.resets.push((stream, code)),
                });
            }
            assert_eq!(seen, expected, "{size}");
        }
    }

    #[test]
    fn a_block_that_is_longer_than_a_frame_goes_on_in_others() {
        let written = |updates: &[u8], block: &[u8]| {
            let mut out = Vec::new();
            write_block(3, 5, updates, block, |bytes| out.extend_from_slice(bytes));
            out
        };
        assert_eq!(written(&[], b"abc"), frame(1, 5, 3, b"abc"));
        assert_eq!(written(&[], b""), frame(1, 5, 3, b""));
        let block = vec![b'x'; 40_000];
        let expected = [
            frame(1, 1, 3, &[&[0x20][..], &block[..16_383]].concat()),
            frame(9, 0, 3, &block[..16_384]),
            frame(9, 4, 3, &block[32_767..]),
        ];
        assert_eq!(written(&[0x20], &block), expected.concat());
        assert_eq!(written(&[], &block[..16_384]), frame(1, 5, 3, &block[..16_384]));
    }
}
