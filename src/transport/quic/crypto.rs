//! TLS inside QUIC: rustls's, but for the one alert that it does not choose as TLS over TCP does here, for one extension that it
//! takes in place of another, and for what it does not tell: whether a session was resumed.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn_proto::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;

use crate::limits::CLIENT_HELLO_BYTES_MAX;
use crate::tls::hello::has_extension;

/// A listener's TLS.
pub(super) struct Crypto(pub(super) Arc<QuicServerConfig>);

impl ServerConfig for Crypto {
    fn initial_keys(&self, version: u32, id: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, id)
    }

    fn retry_tag(&self, version: u32, id: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, id, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, parameters: &TransportParameters) -> Box<dyn Session> {
        let session = Arc::clone(&self.0).start_session(version, parameters);
        Box::new(Told { session, flight: Flight::default(), hello: Some(Vec::new()) })
    }
}

/// What is known of a connection once its ClientHello was answered: what [`Session::handshake_data`] of a listener's is.
pub(super) struct Known {
    /// The name that the client asked for.
    pub(super) server_name: Option<String>,
    /// A session was resumed.
    pub(super) resumed: bool,
}

/// What our flight of the handshake said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Flight {
    certificate: bool,
    finished: bool,
}

/// Types of handshake messages (RFC 8446 §4).
const CERTIFICATE: u8 = 11;
const FINISHED: u8 = 20;

impl Flight {
    /// Looks at whole handshake messages: who resumes a session is shown no certificate (RFC 8446 §2.2).
    fn see(&mut self, mut messages: &[u8]) {
        while let Some(([kind, a, b, c], rest)) = messages.split_first_chunk() {
            if !self.finished {
                self.certificate |= *kind == CERTIFICATE;
                self.finished = *kind == FINISHED;
            }
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            messages = rest.get(length..).unwrap_or_default();
        }
    }

    fn resumes(self) -> bool {
        self.finished && !self.certificate
    }
}

/// A session whose client is told `unrecognized_name` when no certificate is for the name that it asks for (RFC 6066 §3):
/// rustls says `access_denied`, and says it for nothing else.
struct Told {
    session: Box<dyn Session>,
    flight: Flight,
    /// What has come of the ClientHello, until it has been looked at.
    hello: Option<Vec<u8>>,
}

/// quic_transport_parameters (RFC 9001 §8.2).
const TRANSPORT_PARAMETERS: u16 = 57;

impl Told {
    /// A client must bring transport parameters (RFC 9001 §8.2); rustls also takes those of a draft, which had another number.
    fn look_at_hello(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        let Some(hello) = &mut self.hello else { return Ok(()) };
        hello.extend_from_slice(bytes);
        match has_extension(hello, TRANSPORT_PARAMETERS) {
            Some(false) => {
                let code = TransportErrorCode::crypto(AlertDescription::MissingExtension.into());
                return Err(TransportError { code, frame: None, reason: String::new() });
            }
            // What is no ClientHello is rustls' to refuse.
            None if hello.len() <= CLIENT_HELLO_BYTES_MAX => {}
            Some(true) | None => self.hello = None,
        }
        Ok(())
    }
}

impl Session for Told {
    fn initial_keys(&self, id: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(id, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let data = self.session.handshake_data()?.downcast::<HandshakeData>().ok()?;
        Some(Box::new(Known { server_name: data.server_name, resumed: self.flight.resumes() }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.look_at_hello(bytes)?;
        let code = |alert: AlertDescription| TransportErrorCode::crypto(alert.into());
        self.session.read_handshake(bytes).map_err(|mut error| {
            if error.code == code(AlertDescription::AccessDenied) {
                error.code = code(AlertDescription::UnrecognisedName);
                error.reason = String::new();
            }
            error
        })
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, into: &mut Vec<u8>) -> Option<Keys> {
        let before = into.len();
        let keys = self.session.write_handshake(into);
        self.flight.see(into.get(before..).unwrap_or_default());
        keys
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.session.next_1rtt_keys()
    }

    fn is_valid_retry(&self, id: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(id, header, payload)
    }

    fn export_keying_material(
        &self,
        into: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(into, label, context)
    }
}

#[cfg(test)]
mod tests {
    use super::Flight;

    #[test]
    fn who_is_shown_no_certificate_resumes() {
        let message =
            |kind: u8, length: u8| [&[kind, 0, 0, length][..], &vec![kind; usize::from(length)]].concat();
        let flight = |kinds: &[u8]| {
            let mut flight = Flight::default();
            // However many at a time: the hello comes alone, the rest at once.
            flight.see(&message(2, 90));
            flight.see(&kinds.iter().flat_map(|kind| message(*kind, 40)).collect::<Vec<_>>());
            flight
        };
        assert!(!flight(&[8, 11, 15, 20]).resumes());
        assert!(flight(&[8, 20]).resumes());
        assert!(!flight(&[8]).resumes(), "it is not over");
        let mut later = flight(&[8, 20]);
        later.see(&message(11, 5));
        assert!(later.resumes(), "what comes after it is no part of it");
        let mut cut = Flight::default();
        cut.see(&[20, 0]);
        assert_eq!(cut, Flight::default());
    }
}
