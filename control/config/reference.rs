//! Files and variables that a document refers to: read once, checked, and sealed or digested at once.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ringway_snapshot::keys::api_key_digest;
use ringway_snapshot::seal::CERTIFICATE_KEY;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::definitions::Material;
use super::diagnostic::{Class, Diagnostic, Span};
use super::environment::CompileEnvironment;
use super::limits::{API_KEY_BYTES_MAX, API_KEY_BYTES_MIN, REFERENCE_BYTES_MAX};
use super::scalar::Referent;
use super::value::{Digest, Referred, Value};

/// What is kept of a referent, or why it cannot be.
type TakeIn = Result<Taken, (Class, String)>;

/// What is kept of a referent.
#[derive(Clone)]
struct Taken {
    digest: Digest,
    key_id: u32,
    shown: String,
}

impl Taken {
    fn content(digest: Digest) -> Self {
        Self { digest, key_id: 0, shown: String::new() }
    }
}

/// What was read so far.
pub(crate) struct Referents<'a> {
    environment: &'a CompileEnvironment<'a>,
    known: HashMap<(PathBuf, String, u8), TakeIn>,
    /// By digest, for the definitions.
    pub(crate) materials: BTreeMap<Digest, Material>,
    /// Literals in secret fields, to be hidden from what is shown.
    pub(crate) literals: Vec<Span>,
}

/// One reference in a document.
pub(crate) struct Request<'a> {
    pub(crate) referent: Referent,
    pub(crate) text: &'a str,
    pub(crate) folder: &'a Path,
    pub(crate) span: Span,
}

impl<'a> Referents<'a> {
    pub(crate) fn new(environment: &'a CompileEnvironment<'a>) -> Self {
        Self { environment, known: HashMap::new(), materials: BTreeMap::new(), literals: Vec::new() }
    }

    /// Reads what is referred to; the clear text does not leave this function.
    pub(crate) fn read(&mut self, request: &Request<'_>, found: &mut Vec<Diagnostic>) -> Option<Value> {
        let text = request.text;
        let known_scheme = text.starts_with("file:") || text.starts_with("env:");
        if text.starts_with("vault:") {
            let diagnostic =
                Diagnostic::error(Class::Unavailable, request.span, "`vault:` is not available yet");
            found.push(diagnostic.saying("write file:PATH or env:NAME"));
            return None;
        }
        if !known_scheme && request.referent.is_secret() {
            self.literals.push(request.span);
            let diagnostic = Diagnostic::error(
                Class::SecretLiteral,
                request.span,
                "a secret stands in the file itself",
            )
            .saying("write file:PATH or env:NAME")
            .hint(
                "whoever reads this file, its backups or its history has the secret: replace it by a new one",
            );
            found.push(diagnostic);
            return None;
        }
        if !known_scheme {
            let diagnostic =
                Diagnostic::error(Class::BadValue, request.span, "not a reference to a file or variable");
            found.push(diagnostic.saying("write file:PATH or env:NAME"));
            return None;
        }
        let cache = (request.folder.to_path_buf(), text.to_owned(), request.referent as u8);
        let outcome = match self.known.get(&cache) {
            Some(outcome) => outcome.clone(),
            None => {
                let outcome = self.take_in(request);
                self.known.insert(cache, outcome.clone());
                outcome
            }
        };
        match outcome {
            Ok(Taken { digest, key_id, shown }) => Some(Value::Referred(Box::new(Referred {
                reference: text.to_owned(),
                digest,
                key_id,
                shown,
            }))),
            Err((class, reason)) => {
                let what = match request.referent {
                    Referent::Certificates => "certificates",
                    Referent::RevocationLists => "revocation lists",
                    Referent::PrivateKey => "the private key",
                    Referent::ApiKey => "the API key",
                };
                let message = format!("{what} cannot be read from `{text}`");
                found.push(Diagnostic::error(class, request.span, message).saying(reason));
                None
            }
        }
    }

    fn take_in(&mut self, request: &Request<'_>) -> TakeIn {
        let bytes = self.fetch(request).map_err(|reason| (Class::Unreadable, reason))?;
        if bytes.len() > REFERENCE_BYTES_MAX {
            return Err((Class::TooLarge, format!("larger than {} MiB", REFERENCE_BYTES_MAX >> 20)));
        }
        match request.referent {
            Referent::Certificates => self.certificates(&bytes),
            Referent::RevocationLists => self.revocation_lists(&bytes),
            Referent::PrivateKey => self.private_key(&bytes),
            Referent::ApiKey => self.api_key(&bytes),
        }
        .map_err(|reason| (Class::Unreadable, reason))
    }

    fn fetch(&self, request: &Request<'_>) -> Result<Vec<u8>, String> {
        if let Some(name) = request.text.strip_prefix("env:") {
            let value = (self.environment.read_variable)(name);
            return value.map(String::into_bytes).ok_or_else(|| format!("the variable {name} is not set"));
        }
        let path = request.text.strip_prefix("file:").unwrap_or(request.text);
        (self.environment.read_file)(&request.folder.join(path))
    }

    fn certificates(&mut self, pem: &[u8]) -> Result<Taken, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let chain: Vec<Vec<u8>> =
            chain.map_err(|error| format!("not PEM: {error}"))?.iter().map(|der| der.to_vec()).collect();
        if chain.is_empty() {
            return Err("there is no PEM section CERTIFICATE in it".to_owned());
        }
        let digest = digest_of_list(&chain);
        self.materials.insert(digest, Material::Certificates(chain));
        Ok(Taken::content(digest))
    }

    fn revocation_lists(&mut self, pem: &[u8]) -> Result<Taken, String> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
        let lists: Vec<Vec<u8>> =
            lists.map_err(|error| format!("not PEM: {error}"))?.iter().map(|der| der.to_vec()).collect();
        if lists.is_empty() {
            return Err("there is no PEM section X509 CRL in it".to_owned());
        }
        let digest = digest_of_list(&lists);
        self.materials.insert(digest, Material::RevocationLists(lists));
        Ok(Taken::content(digest))
    }

    fn private_key(&mut self, pem: &[u8]) -> Result<Taken, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "there is no PEM section PRIVATE KEY in it".to_owned())?;
        self.keep_key(&key).map(Taken::content)
    }

    fn keep_key(&mut self, key: &PrivateKeyDer<'_>) -> Result<Digest, String> {
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(key).map_err(|_| {
            "this kind of key is not supported: use ECDSA (P-256, P-384), Ed25519 or RSA".to_owned()
        })?;
        let public = signing.public_key().ok_or_else(|| "the key has no public half".to_owned())?;
        let digest = digest_of_public_key(&public);
        let sealed = self
            .environment
            .seal_key
            .seal(key.secret_der(), CERTIFICATE_KEY)
            .map_err(|error| error.to_string())?;
        self.materials.insert(digest, Material::PrivateKey(sealed));
        Ok(digest)
    }

    fn api_key(&self, bytes: &[u8]) -> Result<Taken, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?.trim();
        if text.len() < API_KEY_BYTES_MIN || text.len() > API_KEY_BYTES_MAX {
            return Err(format!("an API key has {API_KEY_BYTES_MIN} to {API_KEY_BYTES_MAX} characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("an API key has no blanks and no characters beyond ASCII".to_owned());
        }
        let pepper = self.environment.pepper;
        let digest = Digest(api_key_digest(pepper, text.as_bytes()));
        Ok(Taken { digest, key_id: pepper.id(), shown: shown_prefix(text) })
    }
}

fn digest_of_list(list: &[Vec<u8>]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for der in list {
        hasher.update(&(der.len() as u64).to_le_bytes());
        hasher.update(der);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Names a private key by its public half (SubjectPublicKeyInfo), so that a chain and its key can be compared without
/// opening the key.
pub(crate) fn digest_of_public_key(public: &[u8]) -> Digest {
    Digest(*blake3::hash(public).as_bytes())
}

/// `rw_live_ab12cd34` of our own keys; of others eight characters, but never more than a quarter.
fn shown_prefix(key: &str) -> String {
    let own = key.strip_prefix("rw_").and_then(|rest| rest.find('_')).map(|at| at + 4);
    let length = match own {
        Some(start) if key.len() >= start + 24 => start + 8,
        _ => (key.len() / 4).min(8),
    };
    key.get(..length).unwrap_or_default().to_owned()
}
