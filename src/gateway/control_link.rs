//! The link to control: one HTTP protocol over a Unix socket (docs/reference/control-protocol.md), blocking, off the workers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::Framing;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn, Parse, RequestFacts, parse_response};
use ringway_wire::limits::{ChunkLimits, HeadLimits};
use ringway_wire::method::Method;

/// A long poll of control answers within this time.
const PATIENCE: Duration = Duration::from_secs(45);
/// Largest reply but a snapshot.
const REPLY_BYTES_MAX: usize = 1 << 20;
/// Largest snapshot.
const SNAPSHOT_BYTES_MAX: usize = 2 << 30;

/// A reply of control's.
pub(crate) struct ControlReply {
    /// Status.
    pub(crate) status: u16,
    /// Body.
    pub(crate) body: Vec<u8>,
}

/// A connection to control, made when it is needed.
pub(crate) struct ControlLink {
    path: PathBuf,
    open: Option<UnixStream>,
}

impl ControlLink {
    /// A link to this socket.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    /// Asks for a path.
    ///
    /// # Errors
    /// Control cannot be reached or answers no HTTP.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<ControlReply> {
        let body_max = if path.contains("/snapshots/") { SNAPSHOT_BYTES_MAX } else { REPLY_BYTES_MAX };
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: control\r\n\r\n"), body_max)
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// As [`ControlLink::get`].
    pub(crate) fn post(&mut self, path: &str, json: &serde_json::Value) -> io::Result<ControlReply> {
        let body = json.to_string();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: control\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.ask(&request, REPLY_BYTES_MAX)
    }

    /// Sends a request; a connection that control closed meanwhile is made anew once.
    fn ask(&mut self, request: &str, body_max: usize) -> io::Result<ControlReply> {
        if let Some(open) = self.open.take()
            && let Ok(reply) = self.exchange(open, request, body_max)
        {
            return Ok(reply);
        }
        let open = UnixStream::connect(&self.path)?;
        open.set_read_timeout(Some(PATIENCE))?;
        open.set_write_timeout(Some(PATIENCE))?;
        self.exchange(open, request, body_max)
    }

    fn exchange(&mut self, mut open: UnixStream, request: &str, body_max: usize) -> io::Result<ControlReply> {
        open.write_all(request.as_bytes())?;
        let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
        let mut buffer = Buffer::take(Class::K64);
        let head = loop {
            if read_more(&mut open, buffer.vec_mut())? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match parse_response(buffer, facts, &HeadLimits::DEFAULT) {
                Parse::Complete(head) if head.is_interim() => buffer = head.into_rest(),
                Parse::Complete(head) => break head,
                Parse::Partial(back) => buffer = back,
                Parse::Reject(reject, _) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reject.name()));
                }
            }
        };
        let body = read_body(&mut open, &head, body_max)?;
        if head.persistent() && head.framing() != Framing::UntilClose {
            self.open = Some(open);
        }
        Ok(ControlReply { status: head.status(), body })
    }
}

fn read_body(
    open: &mut UnixStream,
    head: &ringway_wire::head::ResponseHead,
    body_max: usize,
) -> io::Result<Vec<u8>> {
    let mut reader = BodyReader::new(head.framing(), ChunkLimits::DEFAULT);
    let mut body = Vec::new();
    let mut chunk = head.rest().to_vec();
    loop {
        let mut input = BytesIn::new(&chunk);
        loop {
            match reader
                .next(&mut input)
                .map_err(|reject| io::Error::new(io::ErrorKind::InvalidData, reject.name()))?
            {
                BodyEvent::Data(range) => body.extend_from_slice(chunk.get(range).unwrap_or_default()),
                BodyEvent::End => return Ok(body),
                BodyEvent::NeedMore => break,
            }
        }
        if body.len() > body_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "reply is too large"));
        }
        chunk.clear();
        if read_more(open, &mut chunk)? == 0 {
            reader.finish().map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            return Ok(body);
        }
    }
}

/// Appends what one read gives, up to 64 KiB.
fn read_more(open: &mut UnixStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 64 * 1024];
    let count = open.read(&mut chunk)?;
    into.extend_from_slice(chunk.get(..count).unwrap_or_default());
    Ok(count)
}
