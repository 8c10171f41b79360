//! TLS towards upstreams.

use std::sync::Arc;

use ringway_rt::{self as rt, Side};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs as provider, verify_tls12_signature,
    verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::limits::CLIENT_SESSIONS_MAX;
use crate::stream::Stream;

use super::certificate::Certificate;
use super::failure::TlsFailure;
use super::handshake::{self, Alpn, Handshake, Incoming};
use super::record::Version;
use super::server::{TlsConfigError, roots};
use super::session::{Schedule, Session};
use super::stream::TlsStream;

/// How an upstream is reached by TLS.
#[derive(Debug)]
pub struct ClientProfile {
    /// Name of the upstream, for errors.
    pub name: String,
    /// DER roots; Mozilla's when empty.
    pub ca: Vec<Vec<u8>>,
    /// Our certificate towards it.
    pub certificate: Option<Certificate>,
    /// Offered, in order of preference; empty for none.
    pub alpn: Vec<Alpn>,
    /// Oldest protocol.
    pub minimum: Version,
    /// Whether its certificate is verified.
    pub verify: Verify,
}

/// Whether an upstream's certificate is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Chain, validity and name.
    Full,
    /// Nothing but that it holds the key of the certificate that it shows: anybody can be in between.
    Insecure,
}

/// TLS towards one upstream, with the sessions that can be resumed. Shared by all workers.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Builds it; not on a worker.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn build(profile: &ClientProfile) -> Result<Self, TlsConfigError> {
        Self::build_at(profile, &(Arc::new(DefaultTimeProvider) as Arc<dyn TimeProvider>))
    }

    /// As [`ClientTls::build`], with a clock other than the system's.
    ///
    /// # Errors
    /// See [`TlsConfigError`].
    pub fn build_at(profile: &ClientProfile, time: &Arc<dyn TimeProvider>) -> Result<Self, TlsConfigError> {
        let crypto = Arc::new(provider::default_provider());
        let versions: &[&SupportedProtocolVersion] = match profile.minimum {
            Version::Tls12 => &[&TLS13, &TLS12],
            Version::Tls13 => &[&TLS13],
        };
        let library = |source| TlsConfigError::Library { profile: profile.name.clone(), source };
        let builder = ClientConfig::builder_with_details(Arc::clone(&crypto), Arc::clone(time))
            .with_protocol_versions(versions)
            .map_err(library)?
            .dangerous()
            .with_custom_certificate_verifier(verifier(profile, &crypto)?);
        let mut config = match &profile.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                let certified = certificate.certified().map_err(|fault| TlsConfigError::Certificate {
                    profile: profile.name.clone(),
                    index: 0,
                    fault,
                })?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = profile.alpn.iter().map(|alpn| alpn.name().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config) })
    }

    /// The library's configuration, for QUIC.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

fn verifier(
    profile: &ClientProfile,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    if profile.verify == Verify::Insecure {
        return Ok(Arc::new(AnyCertificate(crypto.signature_verification_algorithms)));
    }
    let roots = if profile.ca.is_empty() {
        RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
    } else {
        roots(&profile.name, &profile.ca)?
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(crypto)).build();
    // The only way to fail is to have no roots or a bad revocation list, and neither is the case.
    let verifier = built.map_err(|error| TlsConfigError::Library {
        profile: profile.name.clone(),
        source: rustls::Error::General(error.to_string()),
    })?;
    Ok(verifier)
}

/// Takes any certificate; the peer must still hold its key.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Makes the client's side of a handshake on a connected socket. `name` (a DNS name or an address) is sent and
/// verified. All of it must be done by `deadline_ns` (monotonic).
///
/// A server that wants a certificate in TLS 1.3 and dislikes ours says so after the handshake: as
/// [`TlsFailure::AlertReceived`] in the first read.
///
/// # Errors
/// Why there is no connection, for the record and the log.
pub async fn connect(
    io: rt::Stream,
    tls: &ClientTls,
    name: &str,
    deadline_ns: u64,
) -> Result<(Stream, Handshake), TlsFailure> {
    let name = ServerName::try_from(name).map_err(|_| TlsFailure::NameMismatch)?.to_owned();
    io.deadline().arm(Side::Read, deadline_ns);
    io.deadline().arm(Side::Write, deadline_ns);
    let (session, agreed) = shake(&io, Arc::clone(&tls.config), name).await?;
    io.deadline().disarm(Side::Read);
    io.deadline().disarm(Side::Write);
    Ok((Stream::Tls(Box::new(TlsStream::new(io, session))), agreed))
}

async fn shake(
    io: &rt::Stream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<(Session, Handshake), TlsFailure> {
    let made = UnbufferedClientConnection::new(config, name).map_err(|error| TlsFailure::from(&error))?;
    let mut connection = Box::new(made);
    let rest = handshake::run(io, &mut connection, |c, i| c.process_tls_records(i), Incoming::new()).await?;
    let agreed = Handshake::of(&connection, None)?;
    let (secrets, kernel) =
        connection.dangerous_into_kernel_connection().map_err(|error| TlsFailure::from(&error))?;
    Ok((Session::new(Schedule::Client(kernel), agreed.version, &secrets, rest)?, agreed))
}
