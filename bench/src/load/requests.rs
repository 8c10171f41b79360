//! Requests, written once before the load begins.

use super::content;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/1.1: one of the requests after the other.
    Http,
    /// An upgrade, then messages of so many bytes.
    WebSocket(u8),
    /// HTTP/2: one request on a connection, and no more (RFC 9113).
    Http2Once,
}

/// What is sent, in turn.
#[derive(Debug, Clone)]
pub(crate) struct Requests {
    list: Vec<Vec<u8>>,
    pub(super) speech: Speech,
    message: Vec<u8>,
}

impl Requests {
    /// Requests for (host, target, further field lines); with a body where `body_bytes` is more than none.
    pub(crate) fn all(list: impl IntoIterator<Item = (String, String, String)>, body_bytes: usize) -> Self {
        let write = |(host, target, fields): (String, String, String)| {
            let (method, length) = match body_bytes {
                0 => ("GET", String::new()),
                bytes => ("POST", format!("Content-Length: {bytes}\r\n")),
            };
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1\r\nAccept: */*\r\n{fields}{length}\r\n"
            );
            let mut bytes = head.into_bytes();
            content::append(&mut bytes, body_bytes);
            bytes
        };
        Self { list: list.into_iter().map(write).collect(), speech: Speech::Http, message: Vec::new() }
    }

    /// Messages over WebSocket, masked by zeroes (RFC 6455 §5.3), echoed by the endpoint.
    pub(crate) fn websocket(host: &str, bytes: u8) -> Self {
        let bytes = bytes.min(125);
        let upgrade = format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut message = vec![0x81, 0x80 | bytes, 0, 0, 0, 0];
        message.resize(message.len() + usize::from(bytes), b'm');
        Self { list: vec![upgrade.into_bytes()], speech: Speech::WebSocket(bytes), message }
    }

    /// The beginning of an HTTP/2 connection and a GET on its first stream: preface, empty SETTINGS, HEADERS.
    pub(crate) fn http2_once(host: &str, target: &str) -> Self {
        // HPACK (RFC 7541): indexed `:method: GET` and `:scheme: https`, then `:authority` and `:path` as plain literals.
        let mut fields = vec![0x82, 0x87];
        for (name, value) in [(1, host), (4, target)] {
            fields.extend([name, value.len().min(126) as u8]);
            fields.extend(value.bytes().take(126));
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        // Length, HEADERS with END_STREAM and END_HEADERS, stream 1.
        bytes.extend([0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1]);
        bytes.extend(fields);
        Self { list: vec![bytes], speech: Speech::Http2Once, message: Vec::new() }
    }

    /// Request number `number`; over WebSocket the upgrade, where nothing was said yet.
    pub(super) fn at(&self, number: usize, upgraded: bool) -> &[u8] {
        if upgraded {
            return &self.message;
        }
        self.list.get(number % self.list.len().max(1)).map_or(&[], Vec::as_slice)
    }
}
