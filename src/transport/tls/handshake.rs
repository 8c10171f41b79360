//! Drives rustls through a handshake over a socket: bounded in bytes and in time, alerts sent on failure.
//!
//! rustls is given one record at a time, so that it stops exactly where the handshake ends and every
//! later byte is left to [`Session`].

use std::io;

use ringway_rt::{self as rt, Side};
use ringway_wire::buffer::{Buffer, Class};
use rustls::pki_types::CertificateDer;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedConnectionCommon, UnbufferedStatus};
use rustls::{AlertDescription, CommonState, HandshakeKind, ProtocolVersion};

use crate::limits::{
    HANDSHAKE_BYTES_MAX, LINGER_BYTES_MAX, LINGER_NS_MAX, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX_12,
};

use super::failure::TlsFailure;
use super::record::Version;

/// What a handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Protocol version.
    pub version: Version,
    /// Application protocol, where one was negotiated.
    pub alpn: Option<Alpn>,
    /// The host that the client asked for, in lower case; `None` without SNI, and on our own connections.
    pub server_name: Option<Box<str>>,
    /// The peer's verified chain in DER, leaf first; empty without one.
    pub certificates: Vec<Vec<u8>>,
    /// Whether a session was resumed.
    pub resumed: bool,
}

/// Application protocols (RFC 7301) that Ringway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// `http/1.1`
    Http1,
    /// `h2`
    Http2,
    /// `h3`, over QUIC only
    Http3,
    /// `acme-tls/1` (RFC 8737)
    AcmeTls,
}

impl Alpn {
    /// The name on the wire.
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
            Self::Http3 => b"h3",
            Self::AcmeTls => b"acme-tls/1",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Http1, Self::Http2, Self::Http3, Self::AcmeTls].into_iter().find(|alpn| alpn.name() == name)
    }
}

impl Handshake {
    /// # Errors
    /// [`TlsFailure::Internal`] for what cannot be after a handshake.
    pub(crate) fn of(common: &CommonState, server_name: Option<Box<str>>) -> Result<Self, TlsFailure> {
        let version = match common.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => Version::Tls12,
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => return Err(TlsFailure::Internal),
        };
        let certificates = common.peer_certificates().unwrap_or_default();
        Ok(Self {
            version,
            alpn: common.alpn_protocol().and_then(Alpn::from_name),
            server_name,
            certificates: certificates.iter().map(|der: &CertificateDer<'_>| der.to_vec()).collect(),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// Bytes that came and were not consumed, and how many of them rustls was shown.
pub(crate) struct Incoming {
    buffer: Buffer,
    /// End of the records that rustls was shown; the rest of them stays at the front until it is consumed.
    shown: usize,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        Self { buffer: Buffer::take(Class::K4), shown: 0 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    #[cfg(test)]
    pub(crate) fn receive_from(&mut self, bytes: &[u8]) {
        while self.buffer.spare() < bytes.len() {
            let buffer = std::mem::replace(&mut self.buffer, Buffer::take(Class::K4));
            self.buffer = buffer.grown();
        }
        self.buffer.vec_mut().extend_from_slice(bytes);
    }

    /// Shows one more record. Whether there was a whole one.
    fn show_next(&mut self) -> bool {
        let rest = self.buffer.get(self.shown..).unwrap_or_default();
        let Some(&[kind, major, _, high, low]) = rest.first_chunk::<RECORD_HEADER_BYTES>() else {
            return false;
        };
        let length = RECORD_HEADER_BYTES + usize::from(u16::from_be_bytes([high, low]));
        let record = (20..=24).contains(&kind)
            && major == 3
            && length <= RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX_12;
        if !record {
            // rustls says what is wrong with it, and sends the alert.
            self.shown = self.buffer.len();
            return true;
        }
        if rest.len() < length {
            return false;
        }
        self.shown += length;
        true
    }

    fn shown_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.shown).unwrap_or_default()
    }

    fn discard(&mut self, count: usize) {
        self.buffer.consume(count);
        self.shown = self.shown.saturating_sub(count);
    }

    /// Receives more, waiting for it.
    ///
    /// # Errors
    /// The socket's, the end of the stream, the deadline, and [`TlsFailure::HandshakeTooLarge`].
    pub(crate) async fn receive(&mut self, io: &rt::Stream) -> Result<(), TlsFailure> {
        if self.buffer.len() >= HANDSHAKE_BYTES_MAX {
            return Err(TlsFailure::HandshakeTooLarge);
        }
        if self.buffer.spare() == 0 {
            let buffer = std::mem::replace(&mut self.buffer, Buffer::take(Class::K4));
            self.buffer = buffer.grown();
        }
        loop {
            match io.try_read_append(self.buffer.vec_mut()).map_err(|error| failed(io, &error))? {
                Some(0) => return Err(expired(io).unwrap_or(TlsFailure::PeerClosed)),
                Some(_) => return Ok(()),
                None => io.readable().await.map_err(|error| failed(io, &error))?,
            }
        }
    }

    /// What rustls was not given, for the session. Nothing of a handshake may be left.
    pub(crate) fn into_rest(self) -> Result<Option<Buffer>, TlsFailure> {
        match (self.shown, self.buffer.is_empty()) {
            (0, true) => Ok(None),
            (0, false) => Ok(Some(self.buffer)),
            _ => Err(TlsFailure::Malformed),
        }
    }
}

/// rustls' step over received bytes, of a server's or a client's connection.
pub(crate) type Process<D> =
    for<'c, 'i> fn(&'c mut UnbufferedConnectionCommon<D>, &'i mut [u8]) -> UnbufferedStatus<'c, 'i, D>;

/// What a step ended with.
pub(crate) enum Step {
    NeedInput,
    Done,
}

/// Runs the handshake to its end. On a failure the alert is sent and the peer is given a moment to take it.
///
/// # Errors
/// Why there is no connection.
pub(crate) async fn run<D>(
    io: &rt::Stream,
    connection: &mut UnbufferedConnectionCommon<D>,
    process: Process<D>,
    mut incoming: Incoming,
) -> Result<Option<Buffer>, TlsFailure> {
    let mut outgoing = Vec::new();
    loop {
        let step = advance(connection, process, &mut incoming, &mut outgoing);
        // The alert of a failed step is in `outgoing` too.
        let sent = send(io, &mut outgoing).await;
        match step {
            Ok(Step::Done) => {
                sent?;
                return incoming.into_rest();
            }
            Ok(Step::NeedInput) => {
                sent?;
                incoming.receive(io).await?;
            }
            Err(failure) => {
                linger(io).await;
                return Err(failure);
            }
        }
    }
}

/// Takes rustls as far as the received bytes go; what it has to say is appended to `outgoing`.
pub(crate) fn advance<D>(
    connection: &mut UnbufferedConnectionCommon<D>,
    process: Process<D>,
    incoming: &mut Incoming,
    outgoing: &mut Vec<u8>,
) -> Result<Step, TlsFailure> {
    let mut failed = None;
    loop {
        let UnbufferedStatus { discard, state } = process(connection, incoming.shown_mut());
        let mut step = None;
        match state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(outgoing, |space| data.encode(space))?,
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::BlockedHandshake) => step = Some(Step::NeedInput),
            Ok(ConnectionState::WriteTraffic(_)) => step = Some(Step::Done),
            // Nothing but handshake records was shown: data or an end among them is a fault of the peer.
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => return Err(TlsFailure::PeerClosed),
            Ok(_) => return Err(TlsFailure::Malformed),
            Err(error) => failed = Some(TlsFailure::from(&error)),
        }
        if let Some(failure) = failed {
            // What is queued, the alert, still comes out; but no further record may be processed.
            if connection.wants_write() {
                continue;
            }
            return Err(failure);
        }
        incoming.discard(discard);
        match step {
            Some(Step::NeedInput) if incoming.show_next() => {}
            Some(step) => return Ok(step),
            None => {}
        }
    }
}

fn encode(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), TlsFailure> {
    let before = outgoing.len();
    let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) else {
        return Err(TlsFailure::Internal);
    };
    outgoing.resize(before + needed.required_size, 0);
    let space = outgoing.get_mut(before..).ok_or(TlsFailure::Internal)?;
    encode(space).map(|_| ()).map_err(|_| TlsFailure::Internal)
}

async fn send(io: &rt::Stream, outgoing: &mut Vec<u8>) -> Result<(), TlsFailure> {
    let mut rest = outgoing.as_slice();
    while !rest.is_empty() {
        match io.try_write(rest).map_err(|error| failed(io, &error))? {
            Some(count) => rest = rest.get(count..).unwrap_or_default(),
            None => io.writable().await.map_err(|error| failed(io, &error))?,
        }
    }
    outgoing.clear();
    Ok(())
}

/// Sends a fatal alert in plain text: before any key is agreed on.
pub(crate) async fn refuse(io: &rt::Stream, alert: AlertDescription) {
    // The connection is over either way: what the alert meets is not worth telling.
    if send(io, &mut vec![21, 3, 3, 0, 2, 2, u8::from(alert)]).await.is_ok() {
        linger(io).await;
    }
}

/// Waits a moment for the peer to close, so that bytes of it that nobody read do not turn our close into
/// a reset that overtakes the alert. Bounded in time and bytes.
async fn linger(io: &rt::Stream) {
    if expired(io).is_some() || io.shutdown_write().is_err() {
        return;
    }
    io.deadline().arm(Side::Read, rt::now().mono_ns.saturating_add(LINGER_NS_MAX));
    let mut buffer = Buffer::take(Class::K4);
    let mut left = LINGER_BYTES_MAX;
    loop {
        buffer.clear();
        match io.try_read_append(buffer.vec_mut()) {
            Ok(None) if io.readable().await.is_ok() => {}
            Ok(Some(count)) if count > 0 && count < left => left -= count,
            _ => return,
        }
    }
}

/// The deadline explains an error that it caused.
fn failed(io: &rt::Stream, error: &io::Error) -> TlsFailure {
    expired(io).unwrap_or(TlsFailure::from(error))
}

fn expired(io: &rt::Stream) -> Option<TlsFailure> {
    io.deadline().expired().map(|_| TlsFailure::HandshakeTimeout)
}
