//! Who this node is to a control daemon of another host: its certificate and key, and control's authority.
//!
//! All of it is one file in `trust/`, mode 0600, replaced whole: a certificate with another's key would be worth nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use ringway_snapshot::secret::Secret;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::state::write_private;

/// First line of the file.
const TITLE: &str = "ringway node identity 1";
/// The file, below the state directory.
const FILE: &str = "trust/node.identity";

/// A node's certificate with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// DER.
    pub(crate) certificate: Vec<u8>,
    /// PKCS#8 DER.
    pub(crate) key: Secret,
    /// Control's authority, DER.
    pub(crate) authority: Vec<u8>,
    /// When the certificate was issued.
    pub(crate) issued_unix_ms: u64,
    /// When it ends.
    pub(crate) expires_unix_ms: u64,
}

impl Identity {
    /// Reads it; none where the node was never enrolled.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(crate) fn load(root: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(root.join(FILE)) {
            Ok(text) => Self::decode(&text)
                .map(Some)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the identity of a node")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps it.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn save(&self, root: &Path) -> io::Result<()> {
        write_private(&root.join(FILE), self.encode().as_bytes())
    }

    /// Whether two thirds of the certificate's life are over: then it is time for the next one.
    pub(crate) fn is_due(&self, now_unix_ms: u64) -> bool {
        let life_ms = self.expires_unix_ms.saturating_sub(self.issued_unix_ms);
        self.expires_unix_ms.saturating_sub(now_unix_ms) < life_ms / 3
    }

    /// What connections to control are made with.
    ///
    /// # Errors
    /// Certificate, key or authority are not usable.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let key = PrivatePkcs8KeyDer::from(self.key.expose().to_vec());
        builder()?
            .with_root_certificates(roots(&self.authority)?)
            .with_client_auth_cert(vec![self.certificate.clone().into()], key.into())
    }

    fn encode(&self) -> String {
        format!(
            "{TITLE}\nissued {}\nexpires {}\nauthority {}\ncertificate {}\nkey {}\n",
            self.issued_unix_ms,
            self.expires_unix_ms,
            hex(&self.authority),
            hex(&self.certificate),
            hex(self.key.expose()),
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        (lines.next()? == TITLE).then_some(())?;
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            issued_unix_ms: value("issued")?.parse().ok()?,
            expires_unix_ms: value("expires")?.parse().ok()?,
            authority: unhex(value("authority")?)?,
            certificate: unhex(value("certificate")?)?,
            key: Secret::new(unhex(value("key")?)?),
        })
    }
}

/// A new key: PKCS#8 DER, and its public half as an uncompressed point of P-256. None where the library refuses.
pub(crate) fn new_key() -> Option<(Secret, Vec<u8>)> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok()?;
    let key = pair.to_pkcs8v1().ok()?;
    Some((Secret::new(key.as_ref().to_vec()), pair.public_key().as_ref().to_vec()))
}

/// What an enrolment is made with: control is proved by the hash of its authority.
///
/// # Errors
/// The library refuses.
pub(crate) fn joining_config(authority: [u8; 32]) -> Result<ClientConfig, rustls::Error> {
    let verifier = Joining { authority, provider: Arc::new(provider::default_provider()) };
    Ok(builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
}

fn roots(authority: &[u8]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.to_vec()))?;
    Ok(Arc::new(roots))
}

/// Takes the certificate that an authority of this hash has issued, and only for the name that is asked for.
#[derive(Debug)]
struct Joining {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Joining {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let authority = intermediates.iter().find(|one| *blake3::hash(one).as_bytes() == self.authority);
        let authority = authority.ok_or(CertificateError::UnknownIssuer)?;
        WebPkiServerVerifier::builder_with_provider(roots(authority)?, Arc::clone(&self.provider))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?
            .verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Lower-case digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The inverse of [`hex`].
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity() -> Identity {
        Identity {
            certificate: vec![1, 2],
            key: Secret::new(vec![0xff, 0]),
            authority: vec![3],
            issued_unix_ms: 1_000,
            expires_unix_ms: 4_000,
        }
    }

    #[test]
    fn an_identity_is_private_and_reads_back() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(root.path()).unwrap(), None);
        std::fs::create_dir(root.path().join("trust")).unwrap();
        identity().save(root.path()).unwrap();
        assert_eq!(Identity::load(root.path()).unwrap(), Some(identity()));
        let mode = std::fs::metadata(root.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(root.path().join(FILE), "nonsense").unwrap();
        assert!(Identity::load(root.path()).is_err());
    }

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        assert!(!identity().is_due(2_900));
        assert!(identity().is_due(3_001) && identity().is_due(9_000));
    }

    #[test]
    fn a_new_key_is_one_that_certificates_are_made_for() {
        let (key, public) = new_key().unwrap();
        assert_eq!((public.len(), public[0]), (65, 4));
        assert!(!key.expose().is_empty());
    }
}
