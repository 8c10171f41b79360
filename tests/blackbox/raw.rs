//! A client that sends exactly the bytes it is told to and reads replies without interpreting more than it must.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use rustls::ClientConnection;

/// How long any single read may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(50);

/// A connection that sends raw bytes.
pub(crate) struct Raw {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    read: Vec<u8>,
}

/// A reply as it came.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Status code.
    pub(crate) status: u16,
    /// Head as text, empty line excluded.
    pub(crate) head: String,
    /// Content, chunks decoded.
    pub(crate) body: Vec<u8>,
    /// Trailer lines of a chunked reply.
    pub(crate) trailers: String,
}

impl Reply {
    /// Value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Content as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Raw {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, tls: None, read: Vec::new() }
    }

    /// Speaks TLS from here on.
    ///
    /// # Errors
    /// The handshake's.
    pub(crate) fn secure(mut self, mut tls: ClientConnection) -> std::io::Result<Self> {
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(tls));
        Ok(self)
    }

    /// The TLS of [`Raw::secure`].
    pub(crate) fn tls(&self) -> &ClientConnection {
        self.tls.as_ref().unwrap()
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What was read and not asked for yet.
    pub(crate) fn take_read(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Gives back what was taken by [`Raw::take_read`] and is still to be read.
    pub(crate) fn put_back(&mut self, rest: Vec<u8>) {
        self.read = rest;
    }

    /// Sends bytes; a peer that has closed meanwhile is no error here.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).write_all(bytes.as_ref()),
            None => self.stream.write_all(bytes.as_ref()),
        };
        self
    }

    /// Half-closes.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// Reads at least one more byte; `false` at the end of the stream (a reset counts as one).
    pub(crate) fn more(&mut self) -> bool {
        let mut chunk = [0; 64 * 1024];
        let read = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).read(&mut chunk),
            None => self.stream.read(&mut chunk),
        };
        match read {
            Ok(0) => false,
            Ok(count) => {
                self.read.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing came: {error}; so far {:?}", String::from_utf8_lossy(&self.read)),
        }
    }

    /// Whether something is there to be read: what was read before, or what comes; `false` at the end.
    pub(crate) fn more_or_read(&mut self) -> bool {
        !self.read.is_empty() || self.more()
    }

    /// Reads to the end; `true`: by a reset, or by TLS that was not closed in order.
    pub(crate) fn ends_in_disorder(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { panic!("in plain text, no end is in order") };
        let ended = rustls::Stream::new(tls.as_mut(), &mut self.stream).read_to_end(&mut self.read);
        ended.is_err()
    }

    /// Reads until `needle` has come; returns everything up to and with it.
    pub(crate) fn until(&mut self, needle: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.read.windows(needle.len()).position(|window| window == needle) {
                return self.read.drain(..at + needle.len()).collect();
            }
            assert!(
                self.more(),
                "ended before {:?}: {:?}",
                String::from_utf8_lossy(needle),
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    /// Reads exactly so many bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.more(), "ended after {} of {count} bytes", self.read.len());
        }
        self.read.drain(..count).collect()
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.read)
    }

    /// Fails unless the peer has closed and nothing more came, not even a reset, which can take back what was sent before.
    pub(crate) fn assert_ends_in_order(&mut self) {
        assert!(self.tls.is_none(), "for plain connections");
        let ended = self.stream.read_to_end(&mut self.read);
        assert!(ended.is_ok(), "{ended:?}");
        assert!(self.read.is_empty(), "more came: {:?}", String::from_utf8_lossy(&self.read));
    }

    /// Fails unless the peer has closed and nothing more came.
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more came: {:?}", String::from_utf8_lossy(&rest));
    }

    /// One final reply to a request that was no HEAD; interim replies are skipped.
    pub(crate) fn reply(&mut self) -> Reply {
        loop {
            let reply = self.reply_to("GET");
            if reply.status >= 200 || reply.status == 101 {
                return reply;
            }
        }
    }

    /// One reply, interim or final, to a request of this method.
    pub(crate) fn reply_to(&mut self, method: &str) -> Reply {
        let head = self.until(b"\r\n\r\n");
        let head = String::from_utf8(head).expect("a head is ASCII").trim_end().to_owned();
        let status: u16 = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no reply: {head:?}"));
        let mut reply = Reply { status, head, body: Vec::new(), trailers: String::new() };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return reply;
        }
        if reply.field("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            loop {
                let line = String::from_utf8(self.until(b"\r\n")).unwrap();
                let size =
                    usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
                if size == 0 {
                    break;
                }
                reply.body.extend(self.exactly(size));
                assert_eq!(self.exactly(2), b"\r\n");
            }
            loop {
                let line = String::from_utf8(self.until(b"\r\n")).unwrap();
                if line == "\r\n" {
                    break;
                }
                reply.trailers.push_str(&line);
            }
        } else if let Some(length) = reply.field("content-length") {
            let length = length.parse().unwrap();
            reply.body = self.exactly(length);
        } else {
            reply.body = self.rest();
        }
        reply
    }

    /// Sends a request and reads its reply.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request).reply()
    }
}
