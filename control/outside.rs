//! What compiling needs from outside: files, variables, keys, self-signed certificates.
//!
//! Self-signed certificates are kept in `trust/self-signed/`, key sealed, and made again a month before they end, so
//! that a reload does not change what browsers were told to trust.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ringway_snapshot::keys::Pepper;
use ringway_snapshot::seal::{SealKey, Sealed};
use serde::{Deserialize, Serialize};

use crate::config::{CompileEnvironment, SelfSigned};
use crate::keys::{Keys, KeysError, random};
use crate::state::write_whole;

/// A self-signed certificate lives this long.
const SELF_SIGNED_MS: u64 = 397 * 24 * 3_600_000;
/// It is made again when it ends sooner than this.
const SELF_SIGNED_RENEW_MS: u64 = 30 * 24 * 3_600_000;
/// Largest file that is referred to.
const REFERENCE_BYTES_MAX: u64 = 16 << 20;
/// What the sealed key of a self-signed certificate is for.
const CONTEXT: &str = "self-signed key";

/// The world as the compiler sees it.
#[derive(Debug)]
pub struct Outside {
    keys: Arc<Keys>,
    pepper: Pepper,
    folder: Option<PathBuf>,
    made: Mutex<HashMap<Vec<String>, Kept>>,
}

/// Files that were read, with the digest of what each held; none where it could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesRead(pub BTreeMap<PathBuf, Option<String>>);

/// The digest of what a file that is referred to holds now.
pub(crate) fn digest_of_file(path: &Path) -> Option<String> {
    read_file(path).ok().as_deref().map(digest)
}

fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// A certificate with its sealed key, as it stands in its file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    names: Vec<String>,
    certificate: Vec<u8>,
    key_id: u32,
    nonce: [u8; 12],
    ciphertext: Vec<u8>,
    not_after_unix_ms: u64,
}

impl Outside {
    /// With the cluster's keys; self-signed certificates are kept below `trust`.
    ///
    /// # Errors
    /// [`KeysError::Refused`].
    pub fn new(keys: Arc<Keys>, trust: &Path) -> Result<Self, KeysError> {
        let pepper = keys.pepper()?;
        Ok(Self { keys, pepper, folder: Some(trust.join("self-signed")), made: Mutex::default() })
    }

    /// With keys that are forgotten when it is dropped: for `check`, which leaves nothing behind.
    ///
    /// # Errors
    /// [`KeysError::Refused`].
    pub fn ephemeral() -> Result<Self, KeysError> {
        let keys = Arc::new(Keys::ephemeral()?);
        let pepper = keys.pepper()?;
        Ok(Self { keys, pepper, folder: None, made: Mutex::default() })
    }

    /// The keys that it seals and digests with.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Gives the environment to a compilation. May block on files.
    ///
    /// # Errors
    /// [`KeysError::Refused`] without a seal key.
    pub fn with<T>(
        &self,
        now_unix_ms: u64,
        compile: impl FnOnce(&CompileEnvironment<'_>) -> T,
    ) -> Result<T, KeysError> {
        self.with_files(now_unix_ms, compile).map(|(done, _)| done)
    }

    /// As [`Outside::with`], and says which files were read.
    ///
    /// # Errors
    /// [`KeysError::Refused`] without a seal key.
    pub fn with_files<T>(
        &self,
        now_unix_ms: u64,
        compile: impl FnOnce(&CompileEnvironment<'_>) -> T,
    ) -> Result<(T, FilesRead), KeysError> {
        let seal_key = self.keys.seal()?;
        let files = Mutex::new(FilesRead::default());
        let read = |path: &Path| {
            let content = read_file(path);
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.0.insert(path.to_owned(), content.as_deref().ok().map(digest));
            content
        };
        let done = compile(&CompileEnvironment {
            read_file: &read,
            read_variable: &|name| std::env::var(name).ok(),
            seal_key,
            pepper: &self.pepper,
            self_signed: &|names| self.self_signed(names, now_unix_ms),
            now_unix_ms,
        });
        Ok((done, files.into_inner().unwrap_or_else(PoisonError::into_inner)))
    }

    fn self_signed(&self, names: &[String], now_unix_ms: u64) -> Result<SelfSigned, String> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = |kept: &Kept| kept.not_after_unix_ms > now_unix_ms.saturating_add(SELF_SIGNED_RENEW_MS);
        if let Some(kept) = made.get(names).filter(|kept| valid(kept)) {
            return self.open(kept);
        }
        let path = self.folder.as_ref().map(|folder| folder.join(file_name(names)));
        let on_disk = path.as_ref().and_then(|path| fs::read(path).ok());
        let on_disk = on_disk.and_then(|content| serde_json::from_slice::<Kept>(&content).ok());
        if let Some(kept) = on_disk.filter(|kept| kept.names == names && valid(kept))
            && let Ok(opened) = self.open(&kept)
        {
            made.insert(names.to_vec(), kept);
            return Ok(opened);
        }
        let kept = self.make(names, now_unix_ms)?;
        if let Some(path) = path {
            keep(&path, &kept).map_err(|error| format!("cannot keep the certificate: {error}"))?;
        }
        let opened = self.open(&kept)?;
        made.insert(names.to_vec(), kept);
        Ok(opened)
    }

    fn make(&self, names: &[String], now_unix_ms: u64) -> Result<Kept, String> {
        let said = |error: rcgen::Error| format!("cannot make a certificate: {error}");
        let key = rcgen::KeyPair::generate().map_err(said)?;
        let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(said)?;
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, names.first().map_or("ringway", String::as_str));
        let not_after_unix_ms = now_unix_ms.saturating_add(SELF_SIGNED_MS);
        params.not_before = date(now_unix_ms.saturating_sub(24 * 3_600_000))?;
        params.not_after = date(not_after_unix_ms)?;
        let certificate = params.self_signed(&key).map_err(said)?;
        let sealing = self.keys.seal().map_err(|error| error.to_string())?;
        let sealed = sealing.seal(&key.serialize_der(), CONTEXT).map_err(|error| error.to_string())?;
        Ok(Kept {
            names: names.to_vec(),
            certificate: certificate.der().to_vec(),
            key_id: sealed.key_id,
            nonce: sealed.nonce,
            ciphertext: sealed.ciphertext,
            not_after_unix_ms,
        })
    }

    fn open(&self, kept: &Kept) -> Result<SelfSigned, String> {
        let sealed = Sealed { key_id: kept.key_id, nonce: kept.nonce, ciphertext: kept.ciphertext.clone() };
        let key = self.keys.ring.open(&sealed, CONTEXT).map_err(|error| error.to_string())?;
        Ok(SelfSigned { certificate: kept.certificate.clone(), key: key.expose().to_vec() })
    }
}

impl Keys {
    fn ephemeral() -> Result<Self, KeysError> {
        use ringway_snapshot::keys::{SigningKey, Trust};
        use ringway_snapshot::seal::KeyRing;
        let seal = SealKey::from_bytes(random()?).ok_or(KeysError::Refused)?;
        let signing = SigningKey::from_seed(random()?).ok_or(KeysError::Refused)?;
        let ring = KeyRing::new(vec![seal]).ok_or(KeysError::Refused)?;
        let trust = Trust::of(&signing);
        Ok(Self { ring, signing, trust })
    }
}

fn date(unix_ms: u64) -> Result<time::OffsetDateTime, String> {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| "the clock is wrong".to_owned())
}

fn file_name(names: &[String]) -> String {
    let hash = blake3::hash(names.join("\n").as_bytes()).to_hex();
    format!("{}.json", hash.get(..32).unwrap_or_default())
}

fn keep(path: &Path, kept: &Kept) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    write_whole(path, 0o600, &serde_json::to_vec(kept)?)
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".to_owned());
    }
    if metadata.len() > REFERENCE_BYTES_MAX {
        return Err(format!("larger than {} MiB", REFERENCE_BYTES_MAX >> 20));
    }
    fs::read(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::StateDir;

    #[test]
    fn a_self_signed_certificate_stays_the_same_until_a_month_before_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let names = ["localhost".to_owned()];
        let now = 1_800_000_000_000;
        let certificate = |now| {
            let keys = Arc::new(Keys::load_or_make(&state).unwrap());
            let outside = Outside::new(keys, &state.trust()).unwrap();
            outside.with(now, |environment| (environment.self_signed)(&names)).unwrap().unwrap().certificate
        };
        let first = certificate(now);
        assert_eq!(certificate(now + SELF_SIGNED_MS - SELF_SIGNED_RENEW_MS - 1), first);
        assert_ne!(certificate(now + SELF_SIGNED_MS - SELF_SIGNED_RENEW_MS), first);
    }
}
