//! Sealed secrets: AES-256-GCM under the cluster's seal key, with the key's id.
//!
//! Sealing is deterministic: the nonce is derived from key, context and plaintext. So equal definitions give equal
//! bytes, no caller can repeat a nonce for two different secrets, and nothing here needs a random source. What it
//! tells a reader of the sealed form is whether two secrets of one context are equal.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use rkyv::{Archive, Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroize;

use crate::hex;
use crate::keys::{KeyFileError, Purpose, expand};
use crate::secret::Secret;

/// Key of a listener's or an upstream's certificate.
pub const CERTIFICATE_KEY: &str = "certificate key";

/// A secret that only a holder of the seal key can open. It prints as its key id alone.
#[derive(Clone, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Sealed {
    /// Which seal key.
    pub key_id: u32,
    /// Unique per secret under one key.
    pub nonce: [u8; 12],
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed(key {})", self.key_id)
    }
}

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// The secret names a seal key that is not in the ring.
    #[error("sealed with key {0:08x}, which is not on the key ring")]
    UnknownKey(u32),
    /// The bytes were changed, or the secret belongs to another context.
    #[error("the sealed secret does not open with key {0:08x}")]
    Refused(u32),
    /// The secret is larger than the cipher takes.
    #[error("the secret is too large to seal")]
    TooLarge,
}

impl SealError {
    /// What the person on call should do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownKey(_) => "copy trust/seal.key of the control daemon to this node",
            Self::Refused(_) => "the secret was damaged or sealed elsewhere: apply its definition again",
            Self::TooLarge => "a secret is a key or a password, not a file of this size",
        }
    }
}

/// A key that seals and opens, and from which the others of the cluster are derived. It cannot be printed, and
/// is zeroed when dropped.
pub struct SealKey {
    id: u32,
    bytes: [u8; 32],
    cipher: LessSafeKey,
    nonces: hmac::Key,
}

impl SealKey {
    /// Makes a key of 32 bytes from a cryptographic random source. Its id is derived from the bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        let mut cipher_bytes = expand(&bytes, Purpose::Cipher, 0)?;
        let mut nonce_bytes = expand(&bytes, Purpose::Nonces, 0)?;
        let id_bytes = expand(&bytes, Purpose::Id, 0)?;
        let (id, _) = id_bytes.split_first_chunk::<4>()?;
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cipher_bytes).ok()?);
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, &nonce_bytes);
        cipher_bytes.zeroize();
        nonce_bytes.zeroize();
        Some(Self { id: u32::from_le_bytes(*id), bytes, cipher, nonces })
    }

    /// Names the key in what it sealed.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// 32 bytes for one purpose and time window, with the key's id beside them (HKDF-SHA-256, RFC 5869).
    #[must_use]
    pub fn derive(&self, purpose: Purpose, window: u64) -> Option<Secret> {
        let mut bytes = expand(&self.bytes, purpose, window)?;
        let secret = Secret::new(bytes.to_vec());
        bytes.zeroize();
        Some(secret)
    }

    /// Seals. `context` says what the secret is for; it must be the same when it is opened.
    ///
    /// # Errors
    /// [`SealError::TooLarge`].
    pub fn seal(&self, plaintext: &[u8], context: &str) -> Result<Sealed, SealError> {
        let mut hmac = hmac::Context::with_key(&self.nonces);
        hmac.update(&(context.len() as u64).to_le_bytes());
        hmac.update(context.as_bytes());
        hmac.update(plaintext);
        let tag = hmac.sign();
        let mut nonce = [0; 12];
        nonce.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        // The cipher grows the buffer by its tag; it must not move, or a copy of the secret would stay behind.
        let mut ciphertext = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
        ciphertext.extend_from_slice(plaintext);
        self.cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context.as_bytes()),
                &mut ciphertext,
            )
            .map_err(|_| SealError::TooLarge)?;
        Ok(Sealed { key_id: self.id, nonce, ciphertext })
    }

    /// Opens what [`SealKey::seal`] sealed in the same context.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] where another key sealed it, [`SealError::Refused`] where it does not open.
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<Secret, SealError> {
        if sealed.key_id != self.id {
            return Err(SealError::UnknownKey(sealed.key_id));
        }
        let mut buffer = sealed.ciphertext.clone();
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let opened = self.cipher.open_in_place(nonce, Aad::from(context.as_bytes()), &mut buffer);
        let Ok(length) = opened.map(|plain| plain.len()) else {
            buffer.zeroize();
            return Err(SealError::Refused(self.id));
        };
        buffer.truncate(length);
        Ok(Secret::new(buffer))
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealKey({:08x})", self.id)
    }
}

impl Drop for SealKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The seal keys that a node knows, newest first: the first seals, all open. The content of `trust/seal.key`.
#[derive(Debug)]
pub struct KeyRing(Vec<SealKey>);

/// First line of the file of a key ring.
const RING_TITLE: &str = "ringway seal keys 1";

impl KeyRing {
    /// A ring of these keys, newest first; none without any.
    #[must_use]
    pub fn new(keys: Vec<SealKey>) -> Option<Self> {
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that seals.
    #[must_use]
    pub fn newest(&self) -> Option<&SealKey> {
        self.0.first()
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, id: u32) -> Option<&SealKey> {
        self.0.iter().find(|key| key.id == id)
    }

    /// All keys, newest first.
    #[must_use]
    pub fn keys(&self) -> &[SealKey] {
        &self.0
    }

    /// Opens with whichever key sealed it.
    ///
    /// # Errors
    /// As [`SealKey::open`].
    pub fn open(&self, sealed: &Sealed, context: &str) -> Result<Secret, SealError> {
        self.key(sealed.key_id).ok_or(SealError::UnknownKey(sealed.key_id))?.open(sealed, context)
    }

    /// The text of `trust/seal.key` (mode 0600): a title, then one key a line, newest first.
    #[must_use]
    pub fn encode(&self) -> Secret {
        // Room for all of it at once, so that growing leaves no copy behind.
        let mut out = Vec::with_capacity(RING_TITLE.len() + 1 + self.0.len() * 65);
        out.extend_from_slice(RING_TITLE.as_bytes());
        out.push(b'\n');
        for key in &self.0 {
            let mut line = hex::encode(&key.bytes);
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            line.zeroize();
        }
        Secret::new(out)
    }

    /// Reads what [`KeyRing::encode`] wrote.
    ///
    /// # Errors
    /// [`KeyFileError`] where it is anything else.
    pub fn decode(text: &[u8]) -> Result<Self, KeyFileError> {
        let text = std::str::from_utf8(text).map_err(|_| KeyFileError::Foreign)?;
        let mut lines = text.lines();
        if lines.next() != Some(RING_TITLE) {
            return Err(KeyFileError::Foreign);
        }
        let keys: Option<Vec<SealKey>> =
            lines.map(|line| hex::decode::<32>(line).and_then(SealKey::from_bytes)).collect();
        keys.and_then(Self::new).ok_or(KeyFileError::Malformed)
    }
}

#[cfg(test)]
mod tests;
