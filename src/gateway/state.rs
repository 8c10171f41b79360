//! The state directory as the gateway sees it: trust, the pointer to the current snapshot, snapshots by hash.

use std::path::{Path, PathBuf};

use ringway_snapshot::current::{ContentHash, Current};
use ringway_snapshot::keys::{Purpose, Trust};
use ringway_snapshot::reader::Snapshot;
use ringway_snapshot::seal::KeyRing;
use ringway_transport::{QuicKeys, TicketSeed};

use crate::error::{GatewayError, GenerationError};
use crate::limits::FETCHED_SNAPSHOTS_KEPT;
use crate::sealed_map::SealedMap;

/// The directory and the trust in it.
pub(crate) struct State {
    root: PathBuf,
    /// Whose snapshots are believed.
    pub(crate) trust: Trust,
    /// Opens sealed secrets.
    pub(crate) keys: KeyRing,
    /// Of session tickets, shared by all nodes of the cluster.
    pub(crate) tickets: TicketSeed,
    /// Of QUIC's resets and Retry tokens.
    pub(crate) quic: QuicKeys,
    /// This node's id: 16 random bytes made at its first start.
    pub(crate) node: [u8; 16],
}

impl State {
    /// Reads keys and the node's id; makes the id where there is none.
    ///
    /// # Errors
    /// A key file is missing or damaged: the node has not been enrolled.
    pub(crate) fn open(root: &Path) -> Result<Self, GatewayError> {
        let trust_file = root.join("trust/signing.pub");
        let trust = match read(&trust_file) {
            // Whoever may not look is not told that there is nothing.
            Err(GatewayError::State { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(GatewayError::NoTrust { path: root.join("trust") });
            }
            text => text?,
        };
        let trust = Trust::decode(&trust).map_err(|source| GatewayError::Key { path: trust_file, source })?;
        let keys_file = root.join("trust/seal.key");
        warn_if_readable(&keys_file);
        let keys = KeyRing::decode(&read(&keys_file)?)
            .map_err(|source| GatewayError::Key { path: keys_file, source })?;
        let tickets = TicketSeed::new(derived(&keys, Purpose::Tickets)?);
        let node = node_id(&root.join("node.id"))?;
        // Window 0: a connection, and what resets it after a restart, may be older than any window.
        let reset = derived(&keys, Purpose::StatelessReset)?;
        let quic = QuicKeys::new(&reset, &derived(&keys, Purpose::Retry)?, &node);
        let quic = quic.ok_or(GatewayError::Random)?;
        Ok(Self { root: root.to_owned(), trust, keys, tickets, quic, node })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What `snapshots/current` points to; none where there is no such file yet.
    ///
    /// # Errors
    /// It is there and cannot be believed.
    pub(crate) fn current(&self) -> Result<Option<Current>, GenerationError> {
        let path = self.root.join("snapshots/current");
        match std::fs::read(&path) {
            Ok(text) => Current::decode(&text, &self.trust).map(Some).map_err(GenerationError::Pointer),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(GenerationError::File { path, source }),
        }
    }

    /// Opens a snapshot that was fetched from control, and keeps it in place of what has its name.
    ///
    /// # Errors
    /// It cannot be written, or is not what its name says; then everything stays as it was.
    pub(crate) fn keep(&self, hash: &ContentHash, bytes: &[u8]) -> Result<Snapshot, GenerationError> {
        let path = self.root.join("snapshots").join(hash.file_name());
        let failed = |source| GenerationError::File { path: path.clone(), source };
        std::fs::create_dir_all(self.root.join("snapshots")).map_err(failed)?;
        let fetched = path.with_extension("fetched");
        write_whole(&fetched, bytes).map_err(failed)?;
        let snapshot =
            self.open_file(&fetched, hash).inspect_err(|_| drop(std::fs::remove_file(&fetched)))?;
        std::fs::rename(&fetched, &path).map_err(failed)?;
        Ok(snapshot)
    }

    /// Keeps the signed pointer to what is served, to boot from, notes it in `published`, and keeps of fetched snapshots the newest
    /// few. `goes_back` where the snapshot was first compiled for an older generation. For a node whose control is on another host;
    /// on one host control does all this.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn point(&self, pointer: &[u8], current: &Current, goes_back: bool) -> std::io::Result<()> {
        let folder = self.root.join("snapshots");
        write_private(&folder.join("current"), pointer)?;
        let path = folder.join("published");
        let before = std::fs::read(&path).unwrap_or_default();
        write_private(&path, &current.published_after(pointer, goes_back, &before, &self.trust))?;
        let hash = &current.hash;
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let snapshot =
                path.extension().is_some_and(|extension| extension == "rws" || extension == "fetched");
            if snapshot && path.file_name() != Some(hash.file_name().as_ref()) {
                files.push((std::cmp::Reverse(entry.metadata()?.modified()?), path));
            }
        }
        files.sort_unstable();
        for (_, path) in files.into_iter().skip(FETCHED_SNAPSHOTS_KEPT) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// What was published and not taken back since, newest first; nothing where that is not known.
    pub(crate) fn published(&self) -> Vec<Current> {
        let text = std::fs::read(self.root.join("snapshots/published")).unwrap_or_default();
        Current::decode_published(&text, &self.trust).into_iter().map(|(current, _)| current).collect()
    }

    /// The snapshots that are there and good, newest first by the generation that they were first compiled for, up to
    /// `at_most`. Without those of `tried`, which the bad ones join.
    pub(crate) fn good(&self, at_most: u64, tried: &mut Vec<ContentHash>) -> Vec<Current> {
        let entries = std::fs::read_dir(self.root.join("snapshots")).into_iter().flatten().flatten();
        let hashes =
            entries.filter_map(|entry| ContentHash::parse(entry.file_name().to_str()?.strip_suffix(".rws")?));
        let mut good = Vec::new();
        for hash in hashes {
            if tried.contains(&hash) {
                continue;
            }
            match self.snapshot(&hash).map(|snapshot| snapshot.header().generation) {
                Ok(generation) if generation <= at_most => good.push(Current { generation, hash }),
                _ => tried.push(hash),
            }
        }
        good.sort_unstable_by_key(|current| std::cmp::Reverse(current.generation));
        good
    }

    /// Opens the snapshot of this hash.
    ///
    /// # Errors
    /// It is missing, damaged or not what its name says.
    pub(crate) fn snapshot(&self, hash: &ContentHash) -> Result<Snapshot, GenerationError> {
        self.open_file(&self.root.join("snapshots").join(hash.file_name()), hash)
    }

    fn open_file(&self, path: &Path, hash: &ContentHash) -> Result<Snapshot, GenerationError> {
        let map = SealedMap::open(path)
            .map_err(|source| GenerationError::File { path: path.to_owned(), source })?;
        let snapshot = Snapshot::open(map, &self.trust)?;
        if snapshot.header().hash != *hash {
            return Err(GenerationError::Hash);
        }
        Ok(snapshot)
    }
}

/// What the newest seal key gives for a purpose.
fn derived(keys: &KeyRing, purpose: Purpose) -> Result<[u8; 32], GatewayError> {
    let secret = keys.newest().and_then(|key| key.derive(purpose, 0));
    secret.as_ref().and_then(|secret| secret.expose().try_into().ok()).ok_or(GatewayError::Random)
}

/// Writes bytes under a temporary name, flushes them and gives them their own.
///
/// # Errors
/// The file system's.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::File::create(&temporary)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// As [`write_whole`], for its owner alone.
///
/// # Errors
/// The file system's.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let temporary = path.with_extension("new");
    // One that a crash has left may be anybody's to read.
    drop(std::fs::remove_file(&temporary));
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}

/// Keys are made for their user alone; copies are not always.
fn warn_if_readable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "other users may read this key: chmod 600");
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GatewayError> {
    std::fs::read(path).map_err(|source| GatewayError::State { what: "read", path: path.to_owned(), source })
}

/// The node's id; made where there is none.
///
/// # Errors
/// The file cannot be read or written, or holds something else.
pub(crate) fn node_id(path: &Path) -> Result<[u8; 16], GatewayError> {
    let failed = |what| move |source| GatewayError::State { what, path: path.to_owned(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => parse_id(text.trim()).ok_or_else(|| {
            failed("parse")(std::io::Error::new(std::io::ErrorKind::InvalidData, "not 32 hexadecimal digits"))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut id = [0; 16];
            aws_lc_rs::rand::fill(&mut id).map_err(|_| GatewayError::Random)?;
            std::fs::write(path, format!("{:032x}\n", u128::from_be_bytes(id))).map_err(failed("write"))?;
            Ok(id)
        }
        Err(error) => Err(failed("read")(error)),
    }
}

fn parse_id(text: &str) -> Option<[u8; 16]> {
    (text.len() == 32).then_some(())?;
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_that_are_not_there_are_said_not_to_be() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(State::open(folder.path()), Err(GatewayError::NoTrust { .. })));
        // What may not be entered, for whoever may enter everything.
        std::fs::write(folder.path().join("trust"), b"").unwrap();
        assert!(matches!(State::open(folder.path()), Err(GatewayError::State { .. })));
    }
}
