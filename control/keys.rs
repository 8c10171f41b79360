//! The cluster's keys in `trust/`: made at the first start, read at every other.

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use ringway_snapshot::keys::{KeyFileError, Pepper, SigningKey, Trust};
use ringway_snapshot::seal::{KeyRing, SealKey};

use crate::state::{StateDir, sync_folder, write_whole};

/// What control signs, seals and digests with.
#[derive(Debug)]
pub struct Keys {
    /// Seal keys, newest first.
    pub ring: KeyRing,
    /// Signs snapshots and `current`.
    pub signing: SigningKey,
    /// What gateways verify with.
    pub trust: Trust,
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Reading or writing a file failed.
    #[error("cannot read or write {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is there and is not a key file.
    #[error("{path} cannot be used")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyFileError,
    },
    /// The cryptographic library gave no randomness or refused a key.
    #[error("the cryptographic library refused to make a key")]
    Refused,
}

impl KeysError {
    /// What the person on call should do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::File { .. } => "check owner and permissions of the state directory",
            Self::Damaged { source, .. } => source.hint(),
            Self::Refused => "check that the system's random source works",
        }
    }
}

impl Keys {
    /// Reads the keys, and makes those that are missing.
    ///
    /// # Errors
    /// A file cannot be read or written, or is damaged: a damaged key is never replaced, because what it sealed
    /// would be lost.
    pub fn load_or_make(state: &StateDir) -> Result<Self, KeysError> {
        let folder = state.trust();
        let ring = load_or_make(&folder.join("seal.key"), KeyRing::decode, || {
            let key = SealKey::from_bytes(random()?).ok_or(KeysError::Refused)?;
            let ring = KeyRing::new(vec![key]).ok_or(KeysError::Refused)?;
            Ok((ring.encode().expose().to_vec(), ring))
        })?;
        let signing = load_or_make(&folder.join("signing.key"), SigningKey::decode, || {
            let key = SigningKey::from_seed(random()?).ok_or(KeysError::Refused)?;
            Ok((key.encode().expose().to_vec(), key))
        })?;
        let public = folder.join("signing.pub");
        let trust = load_or_make(&public, Trust::decode, || {
            let trust = Trust::of(&signing);
            Ok((trust.encode().into_bytes(), trust))
        })?;
        sync_folder(&folder).map_err(|source| KeysError::File { path: folder, source })?;
        Ok(Self { ring, signing, trust })
    }

    /// The key that seals now.
    pub fn seal(&self) -> Result<&SealKey, KeysError> {
        self.ring.newest().ok_or(KeysError::Refused)
    }

    /// Under which API keys are digested.
    pub fn pepper(&self) -> Result<Pepper, KeysError> {
        Pepper::of(self.seal()?).ok_or(KeysError::Refused)
    }
}

/// 32 bytes of the system's randomness.
pub(crate) fn random() -> Result<[u8; 32], KeysError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeysError::Refused)?;
    Ok(bytes)
}

fn load_or_make<T>(
    path: &Path,
    decode: impl FnOnce(&[u8]) -> Result<T, KeyFileError>,
    make: impl FnOnce() -> Result<(Vec<u8>, T), KeysError>,
) -> Result<T, KeysError> {
    let failed = |source| KeysError::File { path: path.to_owned(), source };
    match std::fs::read(path) {
        Ok(content) => {
            decode(&content).map_err(|source| KeysError::Damaged { path: path.to_owned(), source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (content, made) = make()?;
            write_whole(path, 0o600, &content).map_err(failed)?;
            Ok(made)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let first = Keys::load_or_make(&state).unwrap();
        let again = Keys::load_or_make(&state).unwrap();
        assert_eq!(first.seal().unwrap().id(), again.seal().unwrap().id());
        assert_eq!(first.trust, again.trust);
        for name in ["seal.key", "signing.key"] {
            let mode = std::fs::metadata(state.trust().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_key_stops_the_start_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        Keys::load_or_make(&state).unwrap();
        let path = state.trust().join("seal.key");
        std::fs::write(&path, b"ringway seal keys 1\nnot hex\n").unwrap();
        assert!(matches!(Keys::load_or_make(&state), Err(KeysError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"ringway seal keys 1\nnot hex\n");
    }
}
