//! The state directory: where what lies, and files that are there whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Paths in one state directory.
///
/// ```text
/// snapshots/<hash>.rws   what gateways serve          trust/seal.key     0600
/// snapshots/current      which of them                trust/signing.key  0600
/// control.db             the store                    trust/signing.pub
/// control.sock    0600   gateway protocol             control.token      0600
/// control.address        where the API listens        control.lock       held while control runs
/// ```
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Makes the directory and its folders where they are missing, for this user alone.
    ///
    /// # Errors
    /// The file system's.
    pub fn open(root: &Path) -> io::Result<Self> {
        let state = Self::at(root);
        for folder in [state.0.clone(), state.snapshots(), state.trust()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        Ok(state)
    }

    /// The paths alone, whether they are there or not.
    pub fn at(root: &Path) -> Self {
        Self(root.to_owned())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Folder of the snapshots and `current`.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Folder of the keys.
    pub fn trust(&self) -> PathBuf {
        self.0.join("trust")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.0.join("control.db")
    }

    /// Socket of the gateway protocol.
    pub fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// The API's bearer token.
    pub fn token(&self) -> PathBuf {
        self.0.join("control.token")
    }

    /// URL of the API of the control daemon that runs, or ran last.
    pub fn address(&self) -> PathBuf {
        self.0.join("control.address")
    }

    /// Takes the directory for one control daemon; free again when the returned file is closed, also by a crash.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] if another process holds it.
    pub fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("control.lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Writes a file so that readers and a crash see the old content or the new, never a part: temporary file, fsync,
/// rename. The caller syncs the folder ([`sync_folder`]) when the rename itself must survive power loss.
///
/// # Errors
/// The file system's; the temporary file is gone then.
pub fn write_whole(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&temporary)?;
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // What cannot be removed is overwritten by the next attempt.
        fs::remove_file(&temporary).ok();
    }
    written
}

/// Makes renames and removals in a folder survive power loss.
///
/// # Errors
/// The file system's.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_directory_is_its_owners_alone_and_has_one_control() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(state.trust()).unwrap().permissions().mode() & 0o777, 0o700);
        let held = state.lock().unwrap();
        assert_eq!(state.lock().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(held);
        assert!(state.lock().is_ok());
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("current");
        write_whole(&path, 0o600, b"a longer first content").unwrap();
        write_whole(&path, 0o600, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
