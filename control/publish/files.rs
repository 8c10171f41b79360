//! `snapshots/`: files named by content hash, the signed pointer `current`, and beside it those that it followed.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ringway_snapshot::current::{ContentHash, Current};
use ringway_snapshot::keys::{SigningKey, Trust};
use tokio::sync::watch;

use crate::domain::{Generation, GenerationNumber, GenerationState};
use crate::state::{StateDir, sync_folder, write_whole};

/// What gateways are told to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The generation.
    pub number: GenerationNumber,
    /// Its snapshot.
    pub hash: ContentHash,
    /// The signed pointer, as it stands on disk and is sent to nodes.
    pub pointer: Arc<str>,
}

/// Writes snapshots and the pointer, and tells whoever waits for news.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    news: watch::Sender<Option<Published>>,
}

impl Publisher {
    /// Over the state directory's folder; nothing is published yet.
    pub fn new(state: &StateDir) -> Self {
        Self { folder: state.snapshots(), news: watch::Sender::new(None) }
    }

    /// The newest publication, and a way to wait for the next.
    pub fn subscribe(&self) -> watch::Receiver<Option<Published>> {
        self.news.subscribe()
    }

    /// Number of the newest publication.
    pub fn published(&self) -> Option<GenerationNumber> {
        self.news.borrow().as_ref().map(|published| published.number)
    }

    /// Where the snapshot with this hash lies, if it does.
    pub fn path(&self, hash: ContentHash) -> PathBuf {
        self.folder.join(hash.file_name())
    }

    /// Brings a snapshot to disk under its hash, and tells whether it did: one that is there already is left as it is. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn keep(&self, hash: ContentHash, bytes: &[u8]) -> io::Result<bool> {
        let path = self.path(hash);
        // INVARIANT: only whole files carry the name, so a file of the right length is the right one.
        match fs::metadata(&path) {
            Ok(found) if found.len() == bytes.len() as u64 => Ok(false),
            _ => write_whole(&path, 0o600, bytes).map(|()| true),
        }
    }

    /// Brings a snapshot to disk in place of what has its name. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn replace(&self, hash: ContentHash, bytes: &[u8]) -> io::Result<()> {
        write_whole(&self.path(hash), 0o600, bytes)?;
        sync_folder(&self.folder)
    }

    /// Points `current` at a generation whose snapshot was kept, notes it in `published`, then tells the nodes. Blocks. One sync
    /// of the folder covers the renames of all files.
    ///
    /// # Errors
    /// The file system's; nodes are told nothing then.
    pub fn point(&self, generation: &Generation, signing: &SigningKey) -> io::Result<()> {
        let (number, hash) = (generation.number, generation.snapshot);
        let pointer = Current { generation: number.0, hash }.encode(signing);
        write_whole(&self.folder.join("current"), 0o600, pointer.as_bytes())?;
        let path = self.folder.join("published");
        // One that cannot be read holds nothing to fall back on.
        let published = after(&fs::read(&path).unwrap_or_default(), generation, signing);
        write_whole(&path, 0o600, &published)?;
        sync_folder(&self.folder)?;
        self.news.send_replace(Some(Published { number, hash, pointer: pointer.into() }));
        Ok(())
    }

    /// Writes `published` from the history, newest first, where another version or a copy of the state left none, or a damaged
    /// one. Blocks.
    ///
    /// # Errors
    /// The file system's.
    pub fn retrace(&self, history: &[Generation], signing: &SigningKey) -> io::Result<()> {
        let published =
            history.iter().rev().filter(|generation| generation.state != GenerationState::Compiled);
        let text = published.fold(Vec::new(), |before, generation| after(&before, generation, signing));
        write_whole(&self.folder.join("published"), 0o600, &text)
    }

    /// What `current` says on disk, whoever signed it.
    pub fn pointer_on_disk(&self) -> Option<String> {
        fs::read_to_string(self.folder.join("current")).ok()
    }

    /// Removes snapshots that are not in the set, and leftovers of crashes. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read; a file that cannot be removed is skipped and tried again next time.
    pub fn prune(&self, kept: &HashSet<ContentHash>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stale = match name.strip_suffix(".rws") {
                Some(hash) => ContentHash::parse(hash).is_none_or(|hash| !kept.contains(&hash)),
                None => name.ends_with(".rws.tmp"),
            };
            if stale && fs::remove_file(&path).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// The `published` file after a generation.
fn after(before: &[u8], generation: &Generation, signing: &SigningKey) -> Vec<u8> {
    let current = Current { generation: generation.number.0, hash: generation.snapshot };
    let pointer = current.encode(signing);
    current.published_after(pointer.as_bytes(), generation.restores.is_some(), before, &Trust::of(signing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_removes_all_but_what_is_kept_and_the_pointer() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let publisher = Publisher::new(&state);
        let hashes = [1, 2, 3].map(|byte| ContentHash([byte; 32]));
        for hash in hashes {
            publisher.keep(hash, b"snapshot").unwrap();
        }
        fs::write(state.snapshots().join("current"), b"pointer").unwrap();
        fs::write(state.snapshots().join("aa.rws.tmp"), b"half").unwrap();
        assert_eq!(publisher.prune(&HashSet::from([hashes[1]])).unwrap(), 3);
        assert!(publisher.path(hashes[1]).exists());
        assert_eq!(publisher.pointer_on_disk().as_deref(), Some("pointer"));
    }

    #[test]
    fn a_file_of_the_wrong_length_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let publisher = Publisher::new(&state);
        let hash = ContentHash([7; 32]);
        fs::write(publisher.path(hash), b"snap").unwrap();
        publisher.keep(hash, b"snapshot").unwrap();
        assert_eq!(fs::read(publisher.path(hash)).unwrap(), b"snapshot");
    }
}
