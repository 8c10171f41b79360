//! How TLS fails: a closed list with a name for records and metrics and a hint for who is on call.

use std::{fmt, io};

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why a TLS connection was not made, or ended badly.
///
/// The name ([`TlsFailure::name`]) is what records, metrics and logs show; it stands nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The handshake was not complete at its deadline.
    HandshakeTimeout,
    /// The first bytes are those of an HTTP request in plain text.
    PlainHttp,
    /// The first bytes are not TLS.
    NotTls,
    /// The peer closed its side before the handshake was complete.
    PeerClosed,
    /// The peer closed its side without `close_notify`: what was read may have been cut short.
    Truncated,
    /// Handshake bytes beyond the limit.
    HandshakeTooLarge,
    /// No certificate is configured for the name that the client asked for.
    UnrecognizedName,
    /// The client named no host and no certificate is configured for that.
    MissingServerName,
    /// No protocol version in common.
    NoSharedVersion,
    /// No cipher suite, key exchange group or signature scheme in common.
    NoSharedCipher,
    /// No application protocol in common (RFC 7301).
    NoSharedProtocol,
    /// A client certificate is demanded and none was shown.
    ClientCertificateRequired,
    /// The peer's certificate is malformed, wrongly signed or not meant for this use.
    BadCertificate,
    /// The peer's certificate is not valid at this time.
    CertificateExpired,
    /// The peer's certificate was revoked, or its revocation status could not be determined.
    CertificateRevoked,
    /// The peer's certificate leads to none of the configured roots.
    UnknownIssuer,
    /// The peer's certificate is for another name.
    NameMismatch,
    /// The peer ended the connection with this fatal alert (RFC 8446 §6.2, the code).
    AlertReceived(u8),
    /// A message or record that the protocol does not allow, or that cannot be decoded.
    Malformed,
    /// A record did not authenticate.
    BadRecord,
    /// The keys of a TLS 1.2 connection are used up and cannot be renewed.
    KeysExhausted,
    /// A write was not repeated with the bytes that were accepted before it would have blocked.
    WriteChanged,
    /// The socket failed.
    Socket(io::ErrorKind),
    /// Ours: a configuration or library failure.
    Internal,
}

impl TlsFailure {
    /// The name in records, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::PlainHttp => "plain_http",
            Self::NotTls => "not_tls",
            Self::PeerClosed => "peer_closed",
            Self::Truncated => "truncated",
            Self::HandshakeTooLarge => "handshake_too_large",
            Self::UnrecognizedName => "unrecognized_name",
            Self::MissingServerName => "missing_server_name",
            Self::NoSharedVersion => "no_shared_version",
            Self::NoSharedCipher => "no_shared_cipher",
            Self::NoSharedProtocol => "no_shared_protocol",
            Self::ClientCertificateRequired => "client_certificate_required",
            Self::BadCertificate => "bad_certificate",
            Self::CertificateExpired => "certificate_expired",
            Self::CertificateRevoked => "certificate_revoked",
            Self::UnknownIssuer => "unknown_issuer",
            Self::NameMismatch => "name_mismatch",
            Self::AlertReceived(_) => "alert_received",
            Self::Malformed => "malformed",
            Self::BadRecord => "bad_record",
            Self::KeysExhausted => "keys_exhausted",
            Self::WriteChanged => "write_changed",
            Self::Socket(_) => "socket",
            Self::Internal => "internal",
        }
    }

    /// What the person on call should do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "a slow or absent peer; many at once are a connection flood",
            Self::PlainHttp => "the client speaks plain HTTP to a TLS port: use https:// or another port",
            Self::NotTls | Self::Malformed | Self::BadRecord | Self::HandshakeTooLarge => {
                "the peer does not speak TLS, or a box on the way changes it"
            }
            Self::PeerClosed | Self::Truncated | Self::Socket(_) => {
                "the peer or the network ended the connection"
            }
            Self::UnrecognizedName | Self::MissingServerName => {
                "add a certificate for the name; `without_sni: first` in the TLS profile serves clients that name none"
            }
            Self::NoSharedVersion | Self::NoSharedCipher => {
                "the peer is too old or too strict: compare `minimum` and its ciphers"
            }
            Self::NoSharedProtocol => {
                "compare the protocols of the listener with what the client offers by ALPN"
            }
            Self::ClientCertificateRequired => "the client must show a certificate",
            Self::BadCertificate | Self::NameMismatch => {
                "look at the peer's certificate and at the name that is asked for"
            }
            Self::CertificateExpired => "renew the peer's certificate, or set the clock",
            Self::CertificateRevoked => "the certificate is on a revocation list, or the list is out of date",
            Self::UnknownIssuer => "add the issuer to the CA bundle, or let the peer send its intermediates",
            Self::AlertReceived(_) => "the peer refused: its log says why",
            Self::KeysExhausted => "a TLS 1.2 connection carried 2^24 records; it is made anew",
            Self::WriteChanged | Self::Internal => "a fault in Ringway: report it with the log line",
        }
    }

    /// The failure inside an I/O error that a TLS stream returned.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }

    /// As an I/O error; [`TlsFailure::of`] finds it again.
    pub fn into_io(self) -> io::Error {
        let kind = match self {
            Self::HandshakeTimeout => io::ErrorKind::TimedOut,
            Self::PeerClosed | Self::Truncated => io::ErrorKind::UnexpectedEof,
            Self::AlertReceived(_) => io::ErrorKind::ConnectionAborted,
            Self::WriteChanged => io::ErrorKind::InvalidInput,
            Self::Socket(kind) => kind,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }

    /// The alert that tells the peer, where one is due (RFC 8446 §6.2).
    pub(crate) fn alert(self) -> Option<AlertDescription> {
        match self {
            Self::UnrecognizedName => Some(AlertDescription::UnrecognisedName),
            Self::MissingServerName => Some(AlertDescription::MissingExtension),
            Self::Malformed => Some(AlertDescription::UnexpectedMessage),
            Self::HandshakeTooLarge => Some(AlertDescription::RecordOverflow),
            Self::BadRecord => Some(AlertDescription::BadRecordMac),
            Self::Internal => Some(AlertDescription::InternalError),
            _ => None,
        }
    }
}

impl TlsFailure {
    /// The failure of a connection that the peer ended with this alert.
    pub(crate) fn of_alert_received(code: u8) -> Self {
        match AlertDescription::from(code) {
            AlertDescription::UnrecognisedName => Self::UnrecognizedName,
            _ => Self::AlertReceived(code),
        }
    }

    /// The failure for which a handshake over QUIC was ended by us with this alert: the library's own error is not to
    /// be had there.
    pub(crate) fn of_alert_sent(code: u8) -> Self {
        match AlertDescription::from(code) {
            AlertDescription::UnrecognisedName => Self::UnrecognizedName,
            AlertDescription::NoApplicationProtocol => Self::NoSharedProtocol,
            AlertDescription::ProtocolVersion => Self::NoSharedVersion,
            AlertDescription::HandshakeFailure => Self::NoSharedCipher,
            AlertDescription::CertificateRequired => Self::ClientCertificateRequired,
            AlertDescription::BadCertificate | AlertDescription::DecryptError => Self::BadCertificate,
            AlertDescription::CertificateExpired => Self::CertificateExpired,
            AlertDescription::CertificateRevoked => Self::CertificateRevoked,
            AlertDescription::UnknownCA => Self::UnknownIssuer,
            AlertDescription::InternalError => Self::Internal,
            _ => Self::Malformed,
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlertReceived(code) => write!(f, "alert_received ({:?})", AlertDescription::from(*code)),
            Self::Socket(kind) => write!(f, "socket ({kind})"),
            other => f.write_str(other.name()),
        }
    }
}

impl std::error::Error for TlsFailure {}

impl From<&io::Error> for TlsFailure {
    fn from(error: &io::Error) -> Self {
        Self::of(error).unwrap_or(Self::Socket(error.kind()))
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::ClientCertificateRequired,
            Error::NoApplicationProtocol => Self::NoSharedProtocol,
            Error::AlertReceived(alert) => Self::of_alert_received(u8::from(*alert)),
            Error::InvalidCertificate(error) => certificate(error),
            Error::InvalidCertRevocationList(_) => Self::CertificateRevoked,
            Error::PeerIncompatible(why) => incompatible(why),
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_) => Self::Malformed,
            Error::PeerSentOversizedRecord => Self::HandshakeTooLarge,
            Error::DecryptError => Self::BadRecord,
            Error::UnsupportedNameType => Self::NameMismatch,
            _ => Self::Internal,
        }
    }
}

fn certificate(error: &CertificateError) -> TlsFailure {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFailure::CertificateExpired,
        CertificateError::Revoked
        | CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => TlsFailure::CertificateRevoked,
        CertificateError::UnknownIssuer => TlsFailure::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::NameMismatch
        }
        _ => TlsFailure::BadCertificate,
    }
}

fn incompatible(why: &PeerIncompatible) -> TlsFailure {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsFailure::NoSharedVersion,
        _ => TlsFailure::NoSharedCipher,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_way_through_an_io_error() {
        let error = TlsFailure::AlertReceived(116).into_io();
        assert_eq!(TlsFailure::of(&error), Some(TlsFailure::AlertReceived(116)));
        assert_eq!(TlsFailure::from(&error), TlsFailure::AlertReceived(116));
        let socket = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(TlsFailure::from(&socket), TlsFailure::Socket(io::ErrorKind::ConnectionReset));
    }
}
