//! What goes out on a connection, frame by frame, as far as it tells of streams that were answered or refused before anybody
//! but the protocol library saw their requests (RFC 9113 §4.1, §6.4).

/// What was sent on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The beginning of a head, or of trailers.
    Head {
        /// The stream.
        stream: u32,
    },
    /// RST_STREAM.
    Reset {
        /// The stream.
        stream: u32,
        /// Why (RFC 9113 §7).
        code: u32,
    },
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const HEADER_BYTES: usize = 9;
const RESET_BYTES: usize = HEADER_BYTES + 4;

/// Reads the frames of one connection as they are written.
#[derive(Debug, Clone, Default)]
pub struct SentReader {
    /// The header of the frame that has begun; that of RST_STREAM with its payload.
    header: [u8; RESET_BYTES],
    header_len: u8,
    /// Bytes of the frame's payload that are still to come.
    payload_left: u32,
}

impl SentReader {
    /// Reads the next bytes, in order and each once.
    pub fn read(&mut self, mut bytes: &[u8], mut see: impl FnMut(Sent)) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken = bytes.len().min(self.payload_left as usize);
                self.payload_left -= taken as u32;
                bytes = bytes.get(taken..).unwrap_or_default();
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

    /// A frame's header is whole.
    fn begin(&mut self, see: &mut impl FnMut(Sent)) {
        let [a, b, c, kind, _, s, t, u, v, code @ ..] = self.header;
        let stream = u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff;
        if usize::from(self.header_len) == RESET_BYTES {
            see(Sent::Reset { stream, code: u32::from_be_bytes(code) });
        } else {
            self.payload_left = u32::from_be_bytes([0, a, b, c]);
            if kind == HEADERS {
                see(Sent::Head { stream });
            }
        }
        self.header_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::{Sent, SentReader};

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn heads_and_resets_are_seen_however_they_are_cut() {
        let bytes = [
            frame(4, 0, &[]),
            frame(1, 5, &[3; 70]),
            frame(3, 7, &[0, 0, 0, 1]),
            frame(3, 9, &[0, 0, 0, 7]),
            frame(0, 5, &[1; 300]),
            frame(1, 11, &[]),
            frame(7, 0, &[3; 8]),
            frame(3, 13, &[0, 0, 1, 0]),
        ]
        .concat();
        let expected = [
            Sent::Head { stream: 5 },
            Sent::Reset { stream: 7, code: 1 },
            Sent::Reset { stream: 9, code: 7 },
            Sent::Head { stream: 11 },
            Sent::Reset { stream: 13, code: 256 },
        ];
        for size in [1, 2, 3, 8, 9, 10, 13, 100, 1000] {
            let (mut reader, mut seen) = (SentReader::default(), Vec::new());
            for piece in bytes.chunks(size) {
                reader.read(piece, |sent| seen.push(sent));
            }
            assert_eq!(seen, expected, "{size}");
        }
    }
}
