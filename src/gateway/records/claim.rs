//! Who owns a directory of segments, and what becomes of those whose owners are gone.
//!
//! A running gateway holds a lock (flock) on the file `owner` of its directory; the kernel lets go of it when the process
//! ends, however it does. The file names the state directory, so that a directory whose node will never come back is
//! told from one whose node was killed and will be started again.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::limits::{RECORDS_LEFT_BYTES_MAX, RECORDS_LEFT_MAX};

/// The file whose lock is the proof.
const OWNER: &str = "owner";
/// What the names of these directories begin with.
pub(crate) const NAME: &str = "ringway-";
/// How long a lock that is held is tried again: another node's sweep holds it for a moment, a gateway for as long as it lives.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A directory of segments that is ours.
#[derive(Debug)]
pub(crate) struct Claim {
    directory: PathBuf,
    /// Locked for as long as it is open.
    owner: File,
}

impl Claim {
    /// Makes the directory where there is none and claims it for the node of this state directory. `None`: another
    /// gateway has it, and did not end while we were patient.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn take(directory: &Path, state: &Path, patience: Duration) -> io::Result<Option<Self>> {
        let until = Instant::now() + patience;
        loop {
            fs::create_dir_all(directory)?;
            if let Some(mut owner) = lock(directory, Missing::Make)? {
                owner.set_len(0)?;
                owner.write_all(mount_namespace().as_bytes())?;
                owner.write_all(b"\n")?;
                owner.write_all(std::path::absolute(state)?.as_os_str().as_bytes())?;
                return Ok(Some(Self { directory: directory.to_owned(), owner }));
            }
            if Instant::now() > until {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The directory that is claimed.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Says that the owner lives: how long a dead one has been dead is counted from here.
    pub(crate) fn touch(&self) {
        if let Err(error) = self.owner.set_modified(SystemTime::now()) {
            tracing::debug!(%error, "the owner of the record segments is not touched");
        }
    }

    /// Removes the directory and what is in it.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn remove(&self) -> io::Result<()> {
        remove(&self.directory)
    }
}

/// What to do where there is no `owner`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// The locked `owner` of a directory. `None`: somebody else holds it, or it is gone.
fn lock(directory: &Path, missing: Missing) -> io::Result<Option<File>> {
    let path = directory.join(OWNER);
    let make = missing == Missing::Make;
    let file = match File::options().read(true).write(true).create(make).truncate(false).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // INVARIANT: who holds the lock holds it on the file that has the name. Whoever removed the directory meanwhile removed the file
    // that was opened, and the next comer would lock another one.
    let same =
        fs::metadata(&path).is_ok_and(|named| file.metadata().is_ok_and(|held| held.ino() == named.ino()));
    Ok(same.then_some(file))
}

/// What a sweep took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Directories.
    pub(crate) directories: u32,
    /// Bytes of their segments.
    pub(crate) bytes: u64,
}

/// A directory whose owner is dead.
struct Dead {
    directory: PathBuf,
    /// Locked, so that an owner that comes back now waits.
    owner: File,
    bytes: u64,
    since: SystemTime,
}

/// Removes what dead gateways of this user left beside `own`: at once where their state directory is gone, else what is beyond
/// [`RECORDS_LEFT_MAX`] in age or [`RECORDS_LEFT_BYTES_MAX`] in all, the oldest first. A directory whose owner lives is never touched, nor
/// is one that never had an owner.
///
/// # Errors
/// The folder of all of them cannot be read; what cannot be removed is left and logged.
pub(crate) fn sweep(own: &Path, now: SystemTime) -> io::Result<Swept> {
    let Some(parent) = own.parent() else { return Ok(Swept::default()) };
    let us = fs::metadata(own)?.uid();
    let (mut swept, mut dead) = (Swept::default(), Vec::new());
    for entry in fs::read_dir(parent)? {
        let directory = entry?.path();
        let ours = fs::symlink_metadata(&directory).is_ok_and(|found| found.is_dir() && found.uid() == us);
        if directory == own || !ours || id_of(&directory).is_none() {
            continue;
        }
        let Ok(Some(mut owner)) = lock(&directory, Missing::Leave) else { continue };
        let since = owner.metadata()?.modified()?;
        let lost = is_lost(&mut owner, id_of(&directory));
        let bytes = bytes_of(&directory);
        let found = Dead { directory, owner, bytes, since };
        if lost { take_away(found, &mut swept) } else { dead.push(found) }
    }
    dead.sort_unstable_by_key(|dead| std::cmp::Reverse(dead.since));
    let mut kept_bytes = 0;
    for dead in dead {
        kept_bytes += dead.bytes;
        let age = now.duration_since(dead.since).unwrap_or_default();
        if age > RECORDS_LEFT_MAX || kept_bytes > RECORDS_LEFT_BYTES_MAX {
            take_away(dead, &mut swept);
        }
    }
    Ok(swept)
}

fn take_away(dead: Dead, swept: &mut Swept) {
    match remove(&dead.directory) {
        Ok(()) => {
            swept.directories += 1;
            swept.bytes += dead.bytes;
        }
        Err(error) => {
            tracing::warn!(%error, directory = %dead.directory.display(), "record segments of a gateway that is gone stay");
        }
    }
    drop(dead.owner);
}

/// The node's id in the name of its directory.
fn id_of(directory: &Path) -> Option<&str> {
    let id = directory.file_name()?.to_str()?.strip_prefix(NAME)?;
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// Whether the state directory that it names is gone or another node's, which only its own mount namespace can tell.
fn is_lost(owner: &mut File, id: Option<&str>) -> bool {
    let mut text = Vec::new();
    if owner.read_to_end(&mut text).is_err() {
        return false;
    }
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else { return false };
    let (mounts, state) = text.split_at(end);
    let state = Path::new(OsStr::from_bytes(state.get(1..).unwrap_or_default()));
    if mounts != mount_namespace().as_bytes() || state.as_os_str().is_empty() {
        return false;
    }
    match fs::read_to_string(state.join("node.id")) {
        Ok(text) => Some(text.trim()) != id,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn bytes_of(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

/// `owner` goes last: as long as it is there, nobody else claims the directory.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("seg")) {
            fs::remove_file(path)?;
        }
    }
    fs::remove_file(directory.join(OWNER))?;
    fs::remove_dir(directory)
}

/// Names this process' view of the file system; empty where it cannot be told.
fn mount_namespace() -> String {
    fs::read_link("/proc/self/ns/mnt")
        .ok()
        .and_then(|link| link.into_os_string().into_string().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000000000000000000000000007";

    /// A folder of segment directories, and one of state directories.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new() -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            host.claim(1);
            host
        }

        fn segments(&self, id: u8) -> PathBuf {
            self.0.path().join(format!("ringway-{id:032x}"))
        }

        fn state(&self, id: u8) -> PathBuf {
            self.0.path().join(format!("state-{id}"))
        }

        /// The claim of a gateway with one segment of a megabyte.
        fn claim(&self, id: u8) -> Option<Claim> {
            fs::create_dir_all(self.state(id)).unwrap();
            fs::write(self.state(id).join("node.id"), format!("{id:032x}\n")).unwrap();
            let claim = Claim::take(&self.segments(id), &self.state(id), Duration::ZERO).unwrap();
            File::create(self.segments(id).join("0.seg")).unwrap().set_len(1 << 20).unwrap();
            claim
        }

        fn sweep(&self, now: SystemTime) -> Swept {
            sweep(&self.segments(1), now).unwrap()
        }
    }

    #[test]
    fn a_directory_has_one_owner() {
        let host = Host::new();
        let first = host.claim(7);
        assert!(first.is_some() && host.claim(7).is_none());
        drop(first);
        assert!(host.claim(7).is_some(), "the lock goes with its holder");
    }

    #[test]
    fn a_live_owner_is_left_alone_whatever_became_of_its_state() {
        let host = Host::new();
        let _alive = host.claim(7);
        fs::remove_dir_all(host.state(7)).unwrap();
        assert_eq!(host.sweep(SystemTime::now() + 2 * RECORDS_LEFT_MAX), Swept::default());
        assert!(host.segments(7).join("0.seg").exists());
    }

    #[test]
    fn what_a_dead_owner_left_goes_with_its_state_directory() {
        let host = Host::new();
        drop(host.claim(7));
        assert_eq!(host.sweep(SystemTime::now()).directories, 0, "it may be started again");
        fs::write(host.state(7).join("node.id"), "another").unwrap();
        assert_eq!(host.sweep(SystemTime::now()).directories, 1);
        drop(host.claim(8));
        fs::remove_dir_all(host.state(8)).unwrap();
        assert!(host.sweep(SystemTime::now()).bytes >= 1 << 20);
        assert!(!host.segments(7).exists() && !host.segments(8).exists() && host.segments(1).exists());
    }

    #[test]
    fn what_dead_owners_left_is_bounded_in_age_and_in_all() {
        let host = Host::new();
        drop(host.claim(7));
        assert_eq!(host.sweep(SystemTime::now() + RECORDS_LEFT_MAX + Duration::from_secs(60)).directories, 1);
        let fit = u8::try_from(RECORDS_LEFT_BYTES_MAX >> 20).unwrap();
        for id in 2..fit + 4 {
            drop(host.claim(id));
        }
        host.sweep(SystemTime::now());
        let left = (2..fit + 4).filter(|id| host.segments(*id).exists()).count();
        assert!(left < usize::from(fit) && left > usize::from(fit) / 2, "{left}");
    }

    #[test]
    fn only_directories_of_segments_are_looked_at() {
        let host = Host::new();
        let (foreign, unowned) = (host.0.path().join("ringway-notes"), host.segments(9));
        for directory in [&foreign, &unowned] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("0.seg"), b"x").unwrap();
        }
        File::create(foreign.join(OWNER)).unwrap();
        assert_eq!(host.sweep(SystemTime::now() + 2 * RECORDS_LEFT_MAX), Swept { directories: 0, bytes: 0 });
        assert!(foreign.exists() && unowned.exists());
        assert_eq!(id_of(Path::new("/x/ringway-00000000000000000000000000000007")), Some(ID));
    }
}
