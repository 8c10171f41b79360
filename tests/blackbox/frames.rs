//! HTTP/2 frame by frame, for endpoints that do exactly what a test's script says.

use crate::scripted::{Accepted, Scripted};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;

/// A frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// Whether it is the last of its stream's.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The code of a RST_STREAM, the bytes of a WINDOW_UPDATE.
    pub(crate) fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field section without any table and without Huffman.
pub(crate) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let text = |out: &mut Vec<u8>, text: &str| {
        let length = text.len();
        if length < 127 {
            out.push(u8::try_from(length).unwrap());
        } else {
            out.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                out.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            out.push(u8::try_from(rest).unwrap());
        }
        out.extend(text.as_bytes());
    };
    for (name, value) in fields {
        bytes.push(0);
        text(&mut bytes, name);
        text(&mut bytes, value);
    }
    bytes
}

/// A HEADERS frame.
pub(crate) fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &section(fields))
}

/// A whole reply: 200 and this content.
pub(crate) fn reply(stream: u32, content: &[u8]) -> Vec<u8> {
    [head(stream, 0, &[(":status", "200")]), frame(DATA, END_STREAM, stream, content)].concat()
}

/// A GOAWAY.
pub(crate) fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), code.to_be_bytes()].concat())
}

/// A RST_STREAM.
pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// The server's side of one connection.
pub(crate) struct Served<'a> {
    /// Below.
    pub(crate) connection: &'a mut Accepted,
    /// Bytes of content that may be sent on a stream, where a test uses one alone.
    pub(crate) window: i64,
    ponged: bool,
}

impl<'a> Served<'a> {
    /// On a connection whose prefaces are exchanged.
    pub(crate) fn over(connection: &'a mut Accepted) -> Self {
        Self { connection, window: 0, ponged: false }
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.send(bytes);
    }

    /// The next frame that is no matter of the connection; those are answered on the way. `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take()? {
                return Some(frame);
            }
        }
    }

    fn take(&mut self) -> Option<Option<Frame>> {
        let front = self.connection.exactly(9)?;
        let length = u32::from_be_bytes([0, front[0], front[1], front[2]]);
        let payload = self.connection.exactly(length as usize)?;
        let stream = u32::from_be_bytes(front[5..9].try_into().unwrap());
        let came = Frame { kind: front[3], flags: front[4], stream, payload };
        match (came.kind, came.flags & ACK) {
            (SETTINGS, 0) => {
                for setting in came.payload.chunks(6).filter(|setting| setting[1] == 4) {
                    self.window = i64::from(u32::from_be_bytes(setting[2..6].try_into().unwrap()));
                }
                self.send(frame(SETTINGS, ACK, 0, &[]));
            }
            (PING, 0) => self.send(frame(PING, ACK, 0, &came.payload)),
            (PING, _) => self.ponged = true,
            (WINDOW_UPDATE, _) if stream > 0 => self.window += i64::from(came.code()),
            (SETTINGS | WINDOW_UPDATE, _) => {}
            _ => return Some(Some(came)),
        }
        Some(None)
    }

    /// Takes what comes until the gateway has answered a PING.
    pub(crate) fn pong(&mut self) {
        self.ponged = false;
        while !self.ponged && self.take().is_some() {}
    }

    /// The next head of a request: its stream.
    pub(crate) fn request(&mut self) -> Option<u32> {
        loop {
            let next = self.next()?;
            if next.kind == HEADERS {
                return Some(next.stream);
            }
        }
    }
}

/// An endpoint that speaks HTTP/2 by prior knowledge: `script` runs for each connection, once the prefaces are exchanged.
/// `settings` are sent as they are: identifiers and values.
pub(crate) fn endpoint(
    settings: &'static [(u16, u32)],
    script: impl Fn(&mut Served<'_>) + Send + Sync + 'static,
) -> Scripted {
    Scripted::start(move |connection| {
        let Some(_) = connection.until(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") else { return };
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        connection.send(frame(SETTINGS, 0, 0, &payload));
        script(&mut Served::over(connection));
    })
}
