//! An HTTP/2 client that sends exactly the frames it is told to, and reads frames without interpreting more than it must.

use std::net::SocketAddr;

use crate::raw::Raw;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const PRIORITY_UPDATE: u8 = 16;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const WHOLE: u8 = END_HEADERS | END_STREAM;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The code of RST_STREAM, or of GOAWAY.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of a reply's head, which is always its first field.
    pub(crate) fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS, "{self:?}");
        let block = self.payload.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
        let block = &self.payload[block..];
        match block[0] {
            indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
            0x08 | 0x48 if block[1] & 0x80 != 0 => digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
            0x08 | 0x48 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
            other => panic!("no status: {other:#x}"),
        }
    }

    /// Whether its head or trailers hold this text, Huffman-coded or not; good for what is rare enough.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let plain = self.payload.windows(text.len()).any(|window| window == text.as_bytes());
        let coded = huffman(text);
        plain || self.payload.windows(coded.len()).any(|window| window == coded)
    }
}

/// Three digits in the Huffman code of HPACK (RFC 7541, appendix B).
fn digits(coded: &[u8]) -> u16 {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let digit = if short <= 2 { short } else { number(&bits[at..at + 6]) - 0x19 + 3 };
        at += if short <= 2 { 5 } else { 6 };
        value = value * 10 + digit;
    }
    value
}

/// Lower-case letters, digits and hyphens in that code; whole bytes of it, as it stands where a string begins with `text`.
fn huffman(text: &str) -> Vec<u8> {
    const LETTERS: [(u32, u32); 26] = [
        (0x3, 5),
        (0x23, 6),
        (0x4, 5),
        (0x24, 6),
        (0x5, 5),
        (0x25, 6),
        (0x26, 6),
        (0x27, 6),
        (0x6, 5),
        (0x74, 7),
        (0x75, 7),
        (0x28, 6),
        (0x29, 6),
        (0x2a, 6),
        (0x7, 5),
        (0x2b, 6),
        (0x76, 7),
        (0x2c, 6),
        (0x8, 5),
        (0x9, 5),
        (0x2d, 6),
        (0x77, 7),
        (0x78, 7),
        (0x79, 7),
        (0x7a, 7),
        (0x7b, 7),
    ];
    let mut bits = Vec::new();
    for byte in text.bytes() {
        let (code, length) = match byte {
            b'a'..=b'z' => LETTERS[usize::from(byte - b'a')],
            b'0'..=b'2' => (u32::from(byte - b'0'), 5),
            b'3'..=b'9' => (u32::from(byte - b'3') + 0x19, 6),
            b'-' => (0x16, 6),
            other => panic!("{other} is not coded here"),
        };
        bits.extend((0..length).rev().map(|at| (code >> at & 1) as u8));
    }
    bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |number, bit| number << 1 | bit)).collect()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals that are never indexed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length & 0x7f | 0x80) as u8);
                    length >>= 7;
                }
                block.push(length as u8);
            }
            block.extend(text.bytes());
        }
    }
    block
}

/// Pseudo-fields of a request to `api.test`, and further fields.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":authority", "api.test"), (":path", path)];
    block(&[&pseudo[..], more].concat())
}

pub(crate) fn get(path: &str) -> Vec<u8> {
    request("GET", path, &[])
}

/// A connection.
pub(crate) struct Client {
    raw: Raw,
}

impl Client {
    /// Connects and says hello: no header table for what it reads.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(Raw::connect(address))
    }

    /// The same on a connection that is there already.
    pub(crate) fn over(raw: Raw) -> Self {
        Self::with_settings(raw, &[(1, 0)])
    }

    /// The same with these settings.
    pub(crate) fn with_settings(mut raw: Raw, settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, payload), &frame(SETTINGS, ACK, 0, b"")].concat());
        Self { raw }
    }

    /// A connection on which everything was said already.
    pub(crate) fn resumed(raw: Raw) -> Self {
        Self { raw }
    }

    /// The payload of the next PING that answers one.
    #[track_caller]
    pub(crate) fn next_ping(&mut self) -> Vec<u8> {
        loop {
            let frame = self.next().expect("the connection goes on");
            if frame.kind == PING && frame.flags & ACK != 0 {
                return frame.payload;
            }
        }
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> &mut Self {
        self.raw.send(frame(kind, flags, stream, payload));
        self
    }

    pub(crate) fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.raw.send(bytes);
        self
    }

    /// The next frame; `None` at the connection's end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let mut read = self.raw.take_read();
        let whole = loop {
            if read.len() >= 9 {
                let length = u32::from_be_bytes([0, read[0], read[1], read[2]]) as usize + 9;
                if read.len() >= length {
                    break length;
                }
            }
            let more = self.raw.more();
            read.extend(self.raw.take_read());
            if !more {
                return None;
            }
        };
        let rest = read.split_off(whole);
        self.raw.put_back(rest);
        let stream = u32::from_be_bytes(read[5..9].try_into().unwrap());
        Some(Frame { kind: read[3], flags: read[4], stream, payload: read[9..].to_vec() })
    }

    /// The next frame that is neither of the connection's alone, but GOAWAY.
    #[track_caller]
    pub(crate) fn next_of_stream(&mut self) -> Frame {
        loop {
            let frame = self.next().expect("the connection goes on");
            if !matches!(frame.kind, SETTINGS | PING | WINDOW_UPDATE) {
                return frame;
            }
        }
    }

    /// Status and content of the reply on this stream; nothing else may come.
    #[track_caller]
    pub(crate) fn reply(&mut self, stream: u32) -> (u16, Vec<u8>) {
        let head = self.next_of_stream();
        assert_eq!(head.stream, stream, "{head:?}");
        let (status, mut ended, mut content) = (head.status(), head.ends(), Vec::new());
        while !ended {
            let frame = self.next_of_stream();
            assert_eq!((frame.kind, frame.stream), (DATA, stream), "{frame:?}");
            ended = frame.ends();
            content.extend(frame.payload);
        }
        (status, content)
    }

    /// Sends a request without content and reads its reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, stream: u32, path: &str) -> (u16, Vec<u8>) {
        self.send(HEADERS, WHOLE, stream, get(path)).reply(stream)
    }

    /// All frames to the connection's end.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Fails unless the connection ends, with this code in its last GOAWAY.
    #[track_caller]
    pub(crate) fn assert_goes_away(&mut self, code: u32) {
        let frames = self.rest();
        let last = frames.iter().rev().find(|frame| frame.kind == GOAWAY);
        let last = last.unwrap_or_else(|| panic!("no GOAWAY in {frames:?}"));
        assert_eq!(last.code(), code, "{last:?}");
    }

    /// Fails unless this stream is reset next, with this code.
    #[track_caller]
    pub(crate) fn assert_reset(&mut self, stream: u32, code: u32) {
        let frame = self.next_of_stream();
        assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "{frame:?}");
        assert_eq!(frame.code(), code);
    }
}
