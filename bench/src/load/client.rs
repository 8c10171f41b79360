//! One connection to the proxy.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::content;
use super::reply::{Fed, Reply};
use super::requests::{Requests, Speech};

/// TLS as all peers are asked for it: TLS 1.3, X25519, no resumption, so that each handshake is a full one and the same.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    settings: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ClientTls {
    /// For this name and this protocol of ALPN; certificates are not checked, because that is not what is measured.
    pub(crate) fn new(name: &str, protocol: &str) -> Result<Self, String> {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let settings = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| error.to_string())?;
        let trust = Arc::new(TrustsAll { schemes });
        let mut settings = settings.dangerous().with_custom_certificate_verifier(trust).with_no_client_auth();
        settings.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        settings.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self { settings: Arc::new(settings), name })
    }
}

#[derive(Debug)]
struct TrustsAll {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// What reading came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Answered {
        good: bool,
    },
    /// The proxy closed, and nothing was under way.
    ClosedIdle,
    /// The proxy closed a connection that it had kept, before a byte of the reply: a client sends again.
    ClosedBefore,
    Failed,
}

/// A connection, open or not.
#[derive(Default)]
pub(super) struct Client {
    stream: Option<TcpStream>,
    tls: Option<Box<ClientConnection>>,
    reply: Reply,
    unsent: Vec<u8>,
    busy: bool,
    upgraded: bool,
    /// Replies on this connection.
    answered: u64,
    /// Whether a byte of the reply that is under way has come.
    begun: bool,
    due_ns: u64,
    number: usize,
}

impl Client {
    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    /// Whether it has carried a reply.
    pub(super) fn was_used(&self) -> bool {
        self.answered > 0
    }

    /// When the request under way was due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// The request under way: when it was due, its number.
    pub(super) fn pending(&self) -> (u64, usize) {
        (self.due_ns, self.number)
    }

    /// Whether the proxy said that it closes.
    pub(super) fn must_close(&self) -> bool {
        self.reply.closes()
    }

    /// Connects (at once, on loopback) and watches the connection under this token.
    pub(super) fn open(
        &mut self,
        port: u16,
        tls: Option<&ClientTls>,
        poller: &OwnedFd,
        token: u64,
    ) -> io::Result<()> {
        *self = Self::default();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // Closing resets: so that the ports of many short connections do not wait for a minute each.
        rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(poller, &stream, EventData::new_u64(token), flags)?;
        if let Some(tls) = tls {
            let connection = ClientConnection::new(Arc::clone(&tls.settings), tls.name.clone());
            self.tls = Some(Box::new(connection.map_err(io::Error::other)?));
        }
        self.stream = Some(stream);
        Ok(())
    }

    /// Closes; the kernel stops watching.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    pub(super) fn send(&mut self, requests: &Requests, number: usize, due_ns: u64) -> io::Result<()> {
        (self.busy, self.begun, self.due_ns, self.number) = (true, false, due_ns, number);
        let bytes = requests.at(number, self.upgraded);
        if let (Speech::WebSocket(bytes), true) = (requests.speech, self.upgraded) {
            self.reply.expect_bytes(usize::from(bytes) + 2);
        }
        if requests.speech == Speech::Http2Once {
            self.reply.expect_frames();
        }
        self.upgraded = matches!(requests.speech, Speech::WebSocket(_));
        if let Some(tls) = self.tls.as_mut() {
            tls.writer().write_all(bytes)?;
            return self.flush_tls();
        }
        let Some(stream) = self.stream.as_mut() else { return Err(ErrorKind::NotConnected.into()) };
        let sent = match stream.write(bytes) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    fn flush_tls(&mut self) -> io::Result<()> {
        let (Some(tls), Some(stream)) = (self.tls.as_mut(), self.stream.as_mut()) else { return Ok(()) };
        while tls.wants_write() {
            match tls.write_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// There is room again. What fails here is seen when reading.
    pub(super) fn flush(&mut self) {
        if self.tls.is_some() {
            self.flush_tls().ok();
        } else if let (Some(stream), false) = (self.stream.as_mut(), self.unsent.is_empty())
            && let Ok(sent) = stream.write(&self.unsent)
        {
            self.unsent.drain(..sent);
        }
    }

    /// Content of replies is compared from here on, on this connection.
    pub(super) fn compare(&mut self) {
        self.reply.compare();
    }

    /// Reads what is there. Content that nobody looks at is counted and not copied.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Progress {
        loop {
            let Some(stream) = self.stream.as_mut() else { return Progress::Waiting };
            let (unseen, room) = match (self.tls.is_some(), self.reply.uncompared()) {
                (true, _) => (false, buffer.len()),
                (false, 0) if self.reply.is_before_long() => (false, content::HEAD_BYTES),
                (false, 0) => (false, buffer.len()),
                (false, left) => (true, left),
            };
            let asked = room.min(buffer.len());
            let into = buffer.get_mut(..asked).unwrap_or_default();
            let came = if unseen { content::discard(stream, into) } else { stream.read(into) };
            let read = match came {
                Ok(0) => return self.ended(),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.ended(),
            };
            let (come, rest) = buffer.split_at_mut(read);
            let fed = match (self.tls.is_some(), unseen) {
                (true, _) => self.decrypt(come, rest),
                (false, true) => Ok(self.reply.skip(read)),
                (false, false) => Ok(self.feed(come)),
            };
            match fed {
                Ok(Fed::More) if read == asked => {}
                // A short read has emptied the socket: the next event says when there is more.
                Ok(Fed::More) => return Progress::Waiting,
                Ok(Fed::Whole { good }) => {
                    self.busy = false;
                    self.answered += 1;
                    return Progress::Answered { good };
                }
                Ok(Fed::Bad) | Err(_) => return Progress::Failed,
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Fed {
        if !self.busy {
            return Fed::Bad;
        }
        self.begun = true;
        self.reply.feed(bytes)
    }

    fn decrypt(&mut self, mut come: &[u8], plain: &mut [u8]) -> Result<Fed, io::Error> {
        let mut fed = Fed::More;
        while !come.is_empty() {
            let Some(tls) = self.tls.as_mut() else { return Ok(Fed::Bad) };
            tls.read_tls(&mut come)?;
            tls.process_new_packets().map_err(io::Error::other)?;
            loop {
                let Some(tls) = self.tls.as_mut() else { return Ok(Fed::Bad) };
                let read = match tls.reader().read(plain) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                fed = self.feed(plain.get(..read).unwrap_or_default());
            }
        }
        self.flush_tls()?;
        Ok(fed)
    }

    fn ended(&self) -> Progress {
        match (self.busy, self.answered > 0 && !self.begun) {
            (false, _) => Progress::ClosedIdle,
            (true, true) => Progress::ClosedBefore,
            (true, false) => Progress::Failed,
        }
    }
}
