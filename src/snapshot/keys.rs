//! Keys of the cluster: the pair that signs snapshots, and what is derived from the seal key.
//!
//! Control holds the signing key; a gateway holds the seal keys and the public half alone (`state/trust/`). The
//! pepper of API keys, ticket, stateless-reset and Retry keys derive from a seal key by HKDF-SHA-256, one for
//! each purpose and time window.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{hkdf, hmac};
use thiserror::Error;
use zeroize::Zeroize;

use crate::hex;
use crate::seal::SealKey;
use crate::secret::Secret;

/// What a derived key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Under which API keys are digested. Window 0: stored digests outlive all rotations of other keys.
    Pepper,
    /// Of stateless TLS session tickets; one a window.
    Tickets,
    /// Of QUIC stateless resets; one a window.
    StatelessReset,
    /// Of QUIC Retry and address-validation tokens; one a window.
    Retry,
    /// The cipher of [`SealKey`] itself.
    Cipher,
    /// The nonces of [`SealKey`].
    Nonces,
    /// The public id of [`SealKey`].
    Id,
}

impl Purpose {
    /// Label in the derivation; changing one changes every key of that purpose.
    fn label(self) -> &'static [u8] {
        match self {
            Self::Pepper => b"ringway pepper",
            Self::Tickets => b"ringway tickets",
            Self::StatelessReset => b"ringway stateless reset",
            Self::Retry => b"ringway retry",
            Self::Cipher => b"ringway seal cipher",
            Self::Nonces => b"ringway seal nonces",
            Self::Id => b"ringway seal id",
        }
    }
}

/// HKDF-SHA-256 (RFC 5869) of `key` for a purpose and a window. None only where the library refuses.
pub(crate) fn expand(key: &[u8; 32], purpose: Purpose, window: u64) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let window = window.to_le_bytes();
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"ringway seal key 1")
        .extract(key)
        .expand(&[purpose.label(), &window], hkdf::HKDF_SHA256)
        .ok()?
        .fill(&mut out)
        .ok()?;
    Some(out)
}

/// Under which API keys are digested, ready for use: the HMAC's key schedule is computed once.
#[derive(Clone)]
pub struct Pepper {
    id: u32,
    key: hmac::Key,
}

impl Pepper {
    /// The pepper of a seal key. None only where the library refuses.
    #[must_use]
    pub fn of(key: &SealKey) -> Option<Self> {
        let secret = key.derive(Purpose::Pepper, 0)?;
        Some(Self { id: key.id(), key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose()) })
    }

    /// Id of the seal key that it derives from; a credential's `pepper_id`.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl std::fmt::Debug for Pepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pepper({:08x})", self.id)
    }
}

/// HMAC-SHA-256 of an API key under the pepper: what is stored and looked up in its stead. Allocates nothing.
#[must_use]
pub fn api_key_digest(pepper: &Pepper, key: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&pepper.key, key);
    let mut out = [0; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Why a key file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyFileError {
    /// Its first line is not the expected title.
    #[error("not a key file of this kind")]
    Foreign,
    /// The title is right and the rest is not.
    #[error("the key file is damaged")]
    Malformed,
}

impl KeyFileError {
    /// What the person on call should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Foreign => "check that the file in trust/ is the one of its name",
            Self::Malformed => "restore the file from a backup or copy it from another node of the cluster",
        }
    }
}

/// First line of the signing key's file.
const SIGNING_TITLE: &str = "ringway signing key 1";
/// First line of the verifying keys' file.
const VERIFYING_TITLE: &str = "ringway verifying keys 1";

/// Signs snapshots and `current` pointers (Ed25519, RFC 8032). It cannot be printed, and is zeroed when dropped.
pub struct SigningKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SigningKey {
    /// Makes a key of 32 bytes from a cryptographic random source. None only where the library refuses.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        Some(Self { seed, pair })
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        let mut out = [0; 32];
        out.iter_mut().zip(self.pair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        VerifyingKey(out)
    }

    /// Signs. `domain` keeps a signature of one kind from passing as one of another.
    pub(crate) fn sign(&self, domain: &[u8], message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        let signature = self.pair.sign(&joined(domain, message));
        out.iter_mut().zip(signature.as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    /// The text of `trust/signing.key` (mode 0600).
    #[must_use]
    pub fn encode(&self) -> Secret {
        let mut digits = hex::encode(&self.seed);
        let text = format!("{SIGNING_TITLE}\n{digits}\n");
        digits.zeroize();
        Secret::new(text.into_bytes())
    }

    /// Reads what [`SigningKey::encode`] wrote.
    ///
    /// # Errors
    /// [`KeyFileError`] where it is anything else.
    pub fn decode(text: &[u8]) -> Result<Self, KeyFileError> {
        let body = body_of(text, SIGNING_TITLE)?;
        let line = body.strip_suffix('\n').unwrap_or(body);
        hex::decode::<32>(line).and_then(Self::from_seed).ok_or(KeyFileError::Malformed)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({:?})", self.verifying_key())
    }
}

impl Drop for SigningKey {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

/// The public half of a [`SigningKey`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifyingKey(pub [u8; 32]);

impl VerifyingKey {
    fn verify(&self, domain: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&joined(domain, message), signature).is_ok()
    }
}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyingKey({})", hex::encode(&self.0))
    }
}

/// Whose signatures a gateway believes. The content of `trust/signing.pub`; more than one while keys rotate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Any of these may have signed.
    pub keys: Vec<VerifyingKey>,
}

impl Trust {
    /// Trust in one key.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self { keys: vec![key.verifying_key()] }
    }

    /// Whether one of the keys signed this.
    pub(crate) fn verifies(&self, domain: &[u8], message: &[u8], signature: &[u8; 64]) -> bool {
        self.keys.iter().any(|key| key.verify(domain, message, signature))
    }

    /// The text of `trust/signing.pub`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = format!("{VERIFYING_TITLE}\n");
        for key in &self.keys {
            out.push_str(&hex::encode(&key.0));
            out.push('\n');
        }
        out
    }

    /// Reads what [`Trust::encode`] wrote.
    ///
    /// # Errors
    /// [`KeyFileError`] where it is anything else, or holds no key.
    pub fn decode(text: &[u8]) -> Result<Self, KeyFileError> {
        let lines = body_of(text, VERIFYING_TITLE)?.lines();
        let keys: Option<Vec<_>> = lines.map(|line| hex::decode::<32>(line).map(VerifyingKey)).collect();
        match keys {
            Some(keys) if !keys.is_empty() => Ok(Self { keys }),
            _ => Err(KeyFileError::Malformed),
        }
    }
}

fn body_of<'a>(text: &'a [u8], title: &str) -> Result<&'a str, KeyFileError> {
    let text = std::str::from_utf8(text).map_err(|_| KeyFileError::Foreign)?;
    text.strip_prefix(title).and_then(|rest| rest.strip_prefix('\n')).ok_or(KeyFileError::Foreign)
}

fn joined(domain: &[u8], message: &[u8]) -> Vec<u8> {
    [domain, &[0], message].concat()
}

#[cfg(test)]
mod tests;
