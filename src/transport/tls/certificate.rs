//! Certificates and keys: how they come in, and which of them a name gets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

/// A private key in DER (PKCS#8, PKCS#1 or SEC1). Cannot be printed; its memory is overwritten when dropped.
pub struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    /// Takes the bytes over.
    pub fn new(der: Vec<u8>) -> Self {
        Self(Zeroizing::new(der))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A chain with its key, and the names that it is for.
#[derive(Debug)]
pub struct Certificate {
    /// DNS names and one-label wildcards (`*.example.com`), lower case. Not used towards upstreams.
    pub names: Vec<String>,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// The leaf's key.
    pub key: PrivateKey,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// The chain is empty.
    #[error("the chain has no certificate")]
    Empty,
    /// It is for no name, so no client would ever get it.
    #[error("it has no names")]
    Nameless,
    /// Not a host name, or a wildcard that is not the first label alone.
    #[error("{0:?} is no host name")]
    BadName(String),
    /// The key is none that aws-lc-rs takes.
    #[error("the key cannot be read")]
    Key(#[source] rustls::Error),
    /// The leaf cannot be read, or is for another key.
    #[error("the key is not that of the leaf")]
    Mismatch(#[source] rustls::Error),
}

impl Certificate {
    /// # Errors
    /// See [`CertificateFault`].
    pub(crate) fn certified(&self) -> Result<Arc<CertifiedKey>, CertificateFault> {
        if self.chain.is_empty() {
            return Err(CertificateFault::Empty);
        }
        let chain = self.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        // Borrowed, so that no further copy of the key is made but the library's own.
        let der = PrivateKeyDer::try_from(self.key.0.as_slice())
            .map_err(|why| CertificateFault::Key(rustls::Error::General(why.to_owned())))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(CertificateFault::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(CertificateFault::Mismatch)?;
        Ok(Arc::new(certified))
    }
}

/// What belongs to a name: exact first, then the wildcard of its first label.
#[derive(Debug)]
pub(crate) struct Names<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T: Default> Names<T> {
    /// The value of a name as it is configured, made when it is new.
    ///
    /// # Errors
    /// [`CertificateFault::BadName`].
    pub(crate) fn entry(&mut self, name: &str) -> Result<&mut T, CertificateFault> {
        let (map, key) = match name.strip_prefix("*.") {
            Some(suffix) => (&mut self.wildcard, suffix),
            None => (&mut self.exact, name),
        };
        let label = |label: &str| !label.is_empty() && label.len() <= 63;
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if key.len() > 253 || !key.bytes().all(allowed) || !key.split('.').all(label) {
            return Err(CertificateFault::BadName(name.to_owned()));
        }
        Ok(map.entry(key.into()).or_default())
    }
}

impl<T> Names<T> {
    /// The value for a host in lower case.
    pub(crate) fn find(&self, host: &str) -> Option<&T> {
        self.exact.get(host).or_else(|| self.wildcard.get(host.split_once('.')?.1))
    }
}

/// Chooses the certificate inside one profile.
///
/// The profile itself was chosen by the name that [`super::hello`] read; rustls reads it once more, and a name
/// that is not this profile's gets no certificate. So the two can never disagree to anybody's advantage.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    pub(crate) names: Names<Vec<Arc<CertifiedKey>>>,
    pub(crate) without_sni: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(name) = hello.server_name() else { return self.without_sni.clone() };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let certificates = self.names.find(&name)?;
        // The first that the client can verify; where there is none, rustls says so with the right alert.
        let fits =
            |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        certificates.iter().find(fits).or_else(|| certificates.first()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_comes_before_the_wildcard_of_one_label() {
        let mut names: Names<u8> = Names::default();
        *names.entry("a.example.com").unwrap() = 1;
        *names.entry("*.example.com").unwrap() = 2;
        for (host, found) in [
            ("a.example.com", Some(1)),
            ("b.example.com", Some(2)),
            ("x.b.example.com", None),
            ("example.com", None),
            ("com", None),
            ("", None),
        ] {
            assert_eq!(names.find(host).copied(), found, "{host}");
        }
    }

    #[test]
    fn names_that_no_client_can_send_are_refused() {
        for name in ["", "*", "*.", "a..b", "*.*.a", "A.b", "a.*.b", "ä.de", "a b", "*a.b"] {
            assert!(Names::<u8>::default().entry(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        assert_eq!(format!("{:?}", PrivateKey::new(vec![1, 2, 3])), "PrivateKey(..)");
    }
}
