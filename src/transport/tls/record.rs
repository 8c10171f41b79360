//! Record protection after the handshake (RFC 8446 §5, RFC 5246 §6.2.3.3): opens and seals records in place.
//!
//! Pure: bytes in, bytes out. rustls makes the handshake and derives every key; from then on records
//! are opened in the buffer that they were received into and sealed in the buffer that they are sent
//! from, which its own buffers do not allow. What rustls 0.23 checks on a record is checked here.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::ConnectionTrafficSecrets;

use crate::limits::{
    RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX_12, RECORD_PAYLOAD_BYTES_MAX_13, RECORD_PLAIN_BYTES_MAX,
};

use super::failure::TlsFailure;

/// Content types (RFC 8446 §B.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Alert = 21,
    Handshake = 22,
    Data = 23,
}

impl Content {
    fn from_code(code: u8) -> Result<Self, TlsFailure> {
        match code {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::Data),
            // A change_cipher_spec is not allowed once the handshake is complete (RFC 8446 §5).
            _ => Err(TlsFailure::Malformed),
        }
    }
}

/// How nonce, additional data and inner plaintext are formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 8446 §5.2: the type is inside, the nonce is implicit.
    Tls13,
    /// RFC 5288: eight bytes of the nonce stand before the ciphertext.
    Tls12Gcm,
    /// RFC 7905: the nonce is implicit.
    Tls12ChaCha,
}

const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;
const EXPLICIT_NONCE_BYTES: usize = 8;

/// One direction's key, nonce base and count of records.
struct Protection {
    key: LessSafeKey,
    iv: [u8; NONCE_BYTES],
    sequence: u64,
    scheme: Scheme,
}

impl Protection {
    fn new(secrets: &ConnectionTrafficSecrets, sequence: u64, version: Version) -> Result<Self, TlsFailure> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(TlsFailure::Internal),
        };
        let scheme = match (version, secrets) {
            (Version::Tls13, _) => Scheme::Tls13,
            (Version::Tls12, ConnectionTrafficSecrets::Chacha20Poly1305 { .. }) => Scheme::Tls12ChaCha,
            (Version::Tls12, _) => Scheme::Tls12Gcm,
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| TlsFailure::Internal)?;
        let iv = iv.as_ref().try_into().map_err(|_| TlsFailure::Internal)?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, scheme })
    }

    /// `iv` xor the sequence number (RFC 8446 §5.3; rustls forms its TLS 1.2 GCM nonces alike).
    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, count) in nonce.iter_mut().skip(NONCE_BYTES - 8).zip(self.sequence.to_be_bytes()) {
            *byte ^= count;
        }
        nonce
    }

    /// Additional data: in TLS 1.3 the header as it stands on the wire (RFC 8446 §5.2), in TLS 1.2
    /// sequence number, type, version and length of the plaintext (RFC 5246 §6.2.3.3).
    fn additional(&self, header: [u8; RECORD_HEADER_BYTES], plain_len: usize) -> AdditionalData {
        if self.scheme == Scheme::Tls13 {
            return AdditionalData::Tls13(header);
        }
        let [kind, major, minor, _, _] = header;
        let [.., high, low] = plain_len.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = self.sequence.to_be_bytes();
        AdditionalData::Tls12([a, b, c, d, e, f, g, h, kind, major, minor, high, low])
    }
}

/// Protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

enum AdditionalData {
    Tls13([u8; RECORD_HEADER_BYTES]),
    Tls12([u8; 13]),
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Tls13(bytes) => bytes,
            Self::Tls12(bytes) => bytes,
        }
    }
}

/// Length in bytes of the record at the front, header included; `None` while the header is not there.
///
/// # Errors
/// [`TlsFailure::Malformed`] for what is no protected record or is longer than any may be.
#[inline]
pub(crate) fn length(bytes: &[u8], version: Version) -> Result<Option<usize>, TlsFailure> {
    let Some(&[_, major, _, high, low]) = bytes.first_chunk::<RECORD_HEADER_BYTES>() else { return Ok(None) };
    let payload = usize::from(u16::from_be_bytes([high, low]));
    let max = match version {
        Version::Tls13 => RECORD_PAYLOAD_BYTES_MAX_13,
        Version::Tls12 => RECORD_PAYLOAD_BYTES_MAX_12,
    };
    if major != 3 || payload == 0 || payload > max {
        return Err(TlsFailure::Malformed);
    }
    Ok(Some(RECORD_HEADER_BYTES + payload))
}

/// An opened record: what it is, and where in the record's bytes its content lies.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content: Content,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Opens what the peer sealed.
pub(crate) struct Opener(Protection);

impl Opener {
    pub(crate) fn new(
        secrets: &ConnectionTrafficSecrets,
        sequence: u64,
        version: Version,
    ) -> Result<Self, TlsFailure> {
        Protection::new(secrets, sequence, version).map(Self)
    }

    /// Opens one whole record (header and payload) in place.
    ///
    /// # Errors
    /// [`TlsFailure::BadRecord`] when it does not authenticate, [`TlsFailure::Malformed`] otherwise.
    #[inline]
    pub(crate) fn open(&mut self, record: &mut [u8]) -> Result<Opened, TlsFailure> {
        let protection = &mut self.0;
        let (header, payload) =
            record.split_first_chunk_mut::<RECORD_HEADER_BYTES>().ok_or(TlsFailure::Malformed)?;
        let explicit = if protection.scheme == Scheme::Tls12Gcm { EXPLICIT_NONCE_BYTES } else { 0 };
        let (prefix, sealed) = payload.split_at_mut_checked(explicit).ok_or(TlsFailure::BadRecord)?;
        let plain_len = sealed.len().checked_sub(TAG_BYTES).ok_or(TlsFailure::BadRecord)?;
        let mut nonce = protection.nonce();
        if let Some(part) = nonce.last_chunk_mut::<EXPLICIT_NONCE_BYTES>().filter(|_| explicit > 0) {
            *part = (&*prefix).try_into().map_err(|_| TlsFailure::BadRecord)?;
        }
        let additional = Aad::from(protection.additional(*header, plain_len));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain =
            &*protection.key.open_in_place(nonce, additional, sealed).map_err(|_| TlsFailure::BadRecord)?;
        protection.sequence = protection.sequence.checked_add(1).ok_or(TlsFailure::KeysExhausted)?;
        let start = RECORD_HEADER_BYTES + explicit;
        if protection.scheme != Scheme::Tls13 {
            let [code, ..] = *header;
            return opened(Content::from_code(code)?, start, plain.len());
        }
        if *header.first_chunk::<1>().ok_or(TlsFailure::Malformed)? != [Content::Data as u8] {
            return Err(TlsFailure::Malformed);
        }
        // The type is the last byte that is not zero; zeros after it are padding (RFC 8446 §5.4).
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or(TlsFailure::Malformed)?;
        let code = plain.get(end).copied().ok_or(TlsFailure::Malformed)?;
        opened(Content::from_code(code)?, start, end)
    }
}

fn opened(content: Content, start: usize, length: usize) -> Result<Opened, TlsFailure> {
    if length > RECORD_PLAIN_BYTES_MAX || (length == 0 && content != Content::Data) {
        return Err(TlsFailure::Malformed);
    }
    Ok(Opened { content, start, end: start + length })
}

/// Seals what is sent.
pub(crate) struct Sealer(Protection);

impl Sealer {
    pub(crate) fn new(
        secrets: &ConnectionTrafficSecrets,
        sequence: u64,
        version: Version,
    ) -> Result<Self, TlsFailure> {
        Protection::new(secrets, sequence, version).map(Self)
    }

    /// How many records this key has sealed.
    #[inline]
    pub(crate) fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Appends one record with this content to `out`; `fill` appends exactly `length` bytes of it.
    ///
    /// # Errors
    /// [`TlsFailure::Internal`] when the content is not of that length or does not fit a record.
    #[inline]
    pub(crate) fn seal(
        &mut self,
        out: &mut Vec<u8>,
        content: Content,
        length: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), TlsFailure> {
        let protection = &mut self.0;
        let (explicit, inner) = match protection.scheme {
            Scheme::Tls13 => (0, 1),
            Scheme::Tls12Gcm => (EXPLICIT_NONCE_BYTES, 0),
            Scheme::Tls12ChaCha => (0, 0),
        };
        let payload = explicit + length + inner + TAG_BYTES;
        let outer = if inner == 1 { Content::Data } else { content };
        let [high, low] = u16::try_from(payload).map_err(|_| TlsFailure::Internal)?.to_be_bytes();
        // The version on the wire is that of TLS 1.2 in both (RFC 8446 §5.2).
        let header = [outer as u8, 3, 3, high, low];
        let nonce = protection.nonce();
        out.extend_from_slice(&header);
        if let Some(part) = nonce.last_chunk::<EXPLICIT_NONCE_BYTES>().filter(|_| explicit > 0) {
            out.extend_from_slice(part);
        }
        let start = out.len();
        fill(out);
        if out.len() - start != length || length > RECORD_PLAIN_BYTES_MAX {
            return Err(TlsFailure::Internal);
        }
        if inner == 1 {
            out.push(content as u8);
        }
        let additional = Aad::from(protection.additional(header, length));
        let plain = out.get_mut(start..).ok_or(TlsFailure::Internal)?;
        let tag = protection
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), additional, plain)
            .map_err(|_| TlsFailure::Internal)?;
        protection.sequence = protection.sequence.checked_add(1).ok_or(TlsFailure::KeysExhausted)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }
}
