//! The cluster's own small certificate authority: it vouches for control and for each enrolled node, and for nothing else.
//!
//! Its key and certificate lie in `trust/`. Certificates of nodes live for a month and are renewed by the nodes themselves; that of
//! control is made anew for each day it is used.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm,
};
use ringway_snapshot::enrolment::{CONTROL_NAME, NODE_DOMAIN};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::state::{StateDir, write_whole};

/// A certificate is good from a little before it was issued: clocks differ.
const BACKDATED_MS: u64 = 3_600_000;
/// The authority's own life.
const AUTHORITY_MS: u64 = 3_650 * 24 * 3_600_000;
/// Of control's certificate.
const CONTROL_MS: u64 = 30 * 24 * 3_600_000;
/// Of a node's, unless told otherwise.
pub const NODE_MS: u64 = 30 * 24 * 3_600_000;
/// Bytes of a public key: an uncompressed point of P-256.
const PUBLIC_KEY_BYTES: usize = 65;

/// The authority, ready to issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    node_ms: AtomicU64,
}

/// Why there is no authority, or it does not issue.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file of it cannot be read or written.
    #[error("cannot read or write {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of it is there and holds something else.
    #[error("{path} cannot be used")]
    Damaged {
        /// Which.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Refused(#[source] rcgen::Error),
    /// What was sent as a public key is none.
    #[error("this is no public key of P-256")]
    PublicKey,
    /// The clock shows a time that no certificate can hold.
    #[error("the clock is wrong")]
    Clock,
}

/// A certificate for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// When it was issued, Unix milliseconds.
    pub issued_unix_ms: u64,
    /// When it ends.
    pub expires_unix_ms: u64,
}

impl Authority {
    /// Reads the authority, and makes it at the first start.
    ///
    /// # Errors
    /// [`AuthorityError`]; a damaged key is never replaced, because every node would have to be enrolled again.
    pub fn load_or_make(state: &StateDir, now_unix_ms: u64) -> Result<Self, AuthorityError> {
        let (key_file, certificate_file) =
            (state.trust().join("authority.key"), state.trust().join("authority.pem"));
        let key = match std::fs::read_to_string(&key_file) {
            Ok(text) => KeyPair::from_pem(&text).map_err(|_| AuthorityError::Damaged { path: key_file })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Refused)?;
                // The certificate first: a key without one would be a damaged authority for ever.
                let made = params(now_unix_ms)?.self_signed(&key).map_err(AuthorityError::Refused)?;
                for (path, text) in [(&certificate_file, made.pem()), (&key_file, key.serialize_pem())] {
                    write_whole(path, 0o600, text.as_bytes())
                        .map_err(|source| AuthorityError::File { path: path.clone(), source })?;
                }
                key
            }
            Err(source) => return Err(AuthorityError::File { path: key_file, source }),
        };
        let certificate = CertificateDer::from_pem_file(&certificate_file)
            .map_err(|_| AuthorityError::Damaged { path: certificate_file })?;
        // Name and usages are the same in every certificate of an authority's: they need not be read back.
        let issuer = Issuer::new(params(now_unix_ms)?, key);
        Ok(Self { issuer, certificate, node_ms: AtomicU64::new(NODE_MS) })
    }

    /// How long certificates of nodes live from now on.
    pub fn set_node_life(&self, ms: u64) {
        self.node_ms.store(ms, Ordering::Relaxed);
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// BLAKE3 of its certificate, for join tokens.
    pub fn fingerprint(&self) -> [u8; 32] {
        *blake3::hash(&self.certificate).as_bytes()
    }

    /// A certificate for a node's public key, an uncompressed point of P-256.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn issue(&self, node: &str, public_key: &[u8], now_unix_ms: u64) -> Result<Issued, AuthorityError> {
        let life_ms = self.node_ms.load(Ordering::Relaxed);
        let fits = public_key.len() == PUBLIC_KEY_BYTES && public_key.first() == Some(&4);
        let key = NodeKey(public_key);
        if !fits {
            return Err(AuthorityError::PublicKey);
        }
        let mut params = leaf(&format!("{node}{NODE_DOMAIN}"), now_unix_ms, life_ms)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let made = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Refused)?;
        let expires_unix_ms = now_unix_ms.saturating_add(life_ms);
        Ok(Issued { certificate: made.der().to_vec(), issued_unix_ms: now_unix_ms, expires_unix_ms })
    }

    /// Control's own certificate with its key, good for a month.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn own(
        &self,
        now_unix_ms: u64,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Refused)?;
        let mut params = leaf(CONTROL_NAME, now_unix_ms, CONTROL_MS)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let made = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Refused)?;
        Ok((made.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &blake3::Hash::from(self.fingerprint()))
            .finish_non_exhaustive()
    }
}

/// A public key that came from a node.
struct NodeKey<'k>(&'k [u8]);

impl PublicKeyData for NodeKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn params(now_unix_ms: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Ringway nodes");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = date(now_unix_ms.saturating_sub(BACKDATED_MS))?;
    params.not_after = date(now_unix_ms.saturating_add(AUTHORITY_MS))?;
    Ok(params)
}

fn leaf(name: &str, now_unix_ms: u64, life_ms: u64) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new([name.to_owned()]).map_err(AuthorityError::Refused)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = date(now_unix_ms.saturating_sub(BACKDATED_MS))?;
    params.not_after = date(now_unix_ms.saturating_add(life_ms))?;
    Ok(params)
}

fn date(unix_ms: u64) -> Result<time::OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(unix_ms / 1000).map_err(|_| AuthorityError::Clock)?;
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Clock)
}

/// The id in a node's certificate that was verified by a handshake.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    parsed.valid_dns_names().find_map(|name| Some(name.strip_suffix(NODE_DOMAIN)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let first = Authority::load_or_make(&state, NOW).unwrap().fingerprint();
        assert_eq!(Authority::load_or_make(&state, NOW + 1).unwrap().fingerprint(), first);
        let mode = std::fs::metadata(state.trust().join("authority.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(state.trust().join("authority.key"), "nonsense").unwrap();
        assert!(matches!(Authority::load_or_make(&state, NOW), Err(AuthorityError::Damaged { .. })));
    }

    #[test]
    fn a_nodes_certificate_names_it_and_only_a_key_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_make(&StateDir::open(folder.path()).unwrap(), NOW).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let issued = authority.issue("0a1b", key.der_bytes(), NOW).unwrap();
        assert_eq!(node_of(&issued.certificate.clone().into()).as_deref(), Some("0a1b"));
        assert_eq!(issued.expires_unix_ms, NOW + NODE_MS);
        assert!(matches!(authority.issue("0a1b", &[4; 64], NOW), Err(AuthorityError::PublicKey)));
        let (own, _) = authority.own(NOW).unwrap();
        assert_eq!(node_of(&own), None);
    }
}
