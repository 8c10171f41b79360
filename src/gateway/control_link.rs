//! The link to control: one HTTP protocol (docs/reference/control-protocol.md) over a Unix socket or, to another host, over
//! mutual TLS; blocking, off the workers.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_snapshot::enrolment::CONTROL_NAME;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::Framing;
use ringway_wire::http1::{BodyEvent, BodyReader, BytesIn, Parse, RequestFacts, parse_response};
use ringway_wire::limits::{ChunkLimits, HeadLimits};
use ringway_wire::method::Method;
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::enrolment::Remote;

/// A long poll of control answers within this time.
const PATIENCE: Duration = Duration::from_secs(45);
/// A host that does not take a connection within this time is not there.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
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

impl ControlReply {
    /// What a reply that is an error says, and what to do (RFC 9457 and our `hint`).
    pub(crate) fn problem(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let member = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
        let mut text = format!("control answers {}", self.status);
        for part in [member("detail"), member("hint")].into_iter().flatten() {
            text.push_str(": ");
            text.push_str(part);
        }
        text
    }
}

/// Where control is.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    /// On this host.
    Socket(PathBuf),
    /// On another, which has enrolled this node.
    Remote(Arc<Remote>),
    /// On another that is to enrol it.
    Joining {
        /// `host:port`.
        at: String,
        /// Proves it by its authority's hash.
        config: Arc<ClientConfig>,
    },
}

/// What control is spoken to over.
trait Line: Read + Write + Send {}

impl<T: Read + Write + Send> Line for T {}

/// A connection to control, made when it is needed.
pub(crate) struct ControlLink {
    address: Address,
    open: Option<Box<dyn Line>>,
}

impl ControlLink {
    /// A link to this address.
    pub(crate) fn new(address: &Address) -> Self {
        Self { address: address.clone(), open: None }
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
        let open = self.connect()?;
        self.exchange(open, request, body_max)
    }

    fn connect(&self) -> io::Result<Box<dyn Line>> {
        match &self.address {
            Address::Socket(path) => {
                let open = UnixStream::connect(path)?;
                open.set_read_timeout(Some(PATIENCE))?;
                open.set_write_timeout(Some(PATIENCE))?;
                Ok(Box::new(open))
            }
            Address::Remote(remote) => connect_tls(&remote.at, remote.config.load_full()),
            Address::Joining { at, config } => connect_tls(at, Arc::clone(config)),
        }
    }

    fn exchange(
        &mut self,
        mut open: Box<dyn Line>,
        request: &str,
        body_max: usize,
    ) -> io::Result<ControlReply> {
        open.write_all(request.as_bytes())?;
        open.flush()?;
        let facts = RequestFacts { method: Method::Get, upgrade_asked: false };
        let mut buffer = Buffer::take(Class::K64);
        let head = loop {
            if read_more(open.as_mut(), buffer.vec_mut())? == 0 {
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
        let body = read_body(open.as_mut(), &head, body_max)?;
        if head.persistent() && head.framing() != Framing::UntilClose {
            self.open = Some(open);
        }
        Ok(ControlReply { status: head.status(), body })
    }
}

fn connect_tls(at: &str, config: Arc<ClientConfig>) -> io::Result<Box<dyn Line>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                let name = ServerName::try_from(CONTROL_NAME).map_err(io::Error::other)?;
                let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
                return Ok(Box::new(StreamOwned::new(tls, stream)));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What the person on call should do about a link that does not stand.
pub(crate) fn hint(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)) => {
            "this node's certificate has expired: enrol it again with `--join` and a token of `ringway join-token`; or its clock is wrong"
        }
        Some(rustls::Error::AlertReceived(_)) => {
            "control does not know the authority of this node's certificate: enrol the node again with `--join` and a token of `ringway join-token`"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::NotValidYet,
        )) => "compare the clocks of both hosts",
        Some(rustls::Error::InvalidCertificate(_)) => {
            "this is not the control daemon that the token or the enrolment is of: check --control, or enrol the node again"
        }
        Some(_) => "does `ringway control --nodes` listen there, and nothing in between that ends TLS?",
        None => "is `ringway control` running, and does nothing block the way to it?",
    }
}

fn read_body(
    open: &mut dyn Line,
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
fn read_more(open: &mut dyn Line, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 64 * 1024];
    let count = open.read(&mut chunk)?;
    into.extend_from_slice(chunk.get(..count).unwrap_or_default());
    Ok(count)
}
