//! A snapshot file as bytes that nobody can change or cut: a private read-only map of a sealed memfd.
//!
//! The file on disk may be truncated or rewritten by anybody with access to the directory; a map of
//! it would turn that into a SIGBUS on a worker. The copy costs some milliseconds per ten MiB, on the
//! reload thread.

#![expect(unsafe_code, reason = "memfd_create and the map have no safe wrapper")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

use memmap2::{Mmap, MmapOptions};

/// Largest snapshot that is opened: 2 GiB.
const SNAPSHOT_BYTES_MAX: u64 = 2 << 30;

/// An immutable, page-aligned copy of a file. The map goes when it is dropped.
#[derive(Debug)]
pub(crate) struct SealedMap(Mmap);

impl AsRef<[u8]> for SealedMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl SealedMap {
    /// Copies the file at `path` into a memfd, seals it against every change and maps it.
    ///
    /// # Errors
    /// Those of opening and reading; `InvalidData` for an empty file or one above 2 GiB.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length == 0 || length > SNAPSHOT_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("snapshot of {length} bytes")));
        }
        Self::copy(file.take(SNAPSHOT_BYTES_MAX))
    }

    /// As [`SealedMap::open`], from anything that can be read to its end.
    ///
    /// # Errors
    /// Those of reading and of the system calls.
    pub(crate) fn copy(mut from: impl Read) -> io::Result<Self> {
        let mut memory = memfd()?;
        io::copy(&mut from, &mut memory)?;
        memory.seek(SeekFrom::Start(0))?;
        seal(&memory)?;
        // SAFETY: the file is sealed against writing, growing and shrinking, so that the bytes under
        // the map cannot change for as long as it lives.
        let map = unsafe { MmapOptions::new().populate().map_copy_read_only(&memory)? };
        Ok(Self(map))
    }
}

fn memfd() -> io::Result<File> {
    // SAFETY: the name is a C string literal; the result is checked before it is owned.
    let fd = unsafe {
        libc::memfd_create(c"ringway-snapshot".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just made and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn seal(memory: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: fcntl on a descriptor that lives through the call.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_outlives_the_truncation_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, vec![7u8; 100_000]).unwrap();
        let map = SealedMap::open(&path).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(map.as_ref().len(), 100_000);
        assert!(map.as_ref().iter().all(|&byte| byte == 7));
        assert_eq!(map.as_ref().as_ptr() as usize % 4096, 0);
    }

    #[test]
    fn an_empty_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"").unwrap();
        assert_eq!(SealedMap::open(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
