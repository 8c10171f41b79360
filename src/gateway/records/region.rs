//! One segment file and its maps: the worker's, which is written, and the reader's.

#![expect(unsafe_code, reason = "shared maps of segment files")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Bytes of one segment: about 850 small records. The two that a worker writes in turn stay in its core's cache; a dozen of 4 MiB did not,
/// which took up to a tenth of the time of a small reply on a busy machine (`docs/decision/0003-records-stay-on-tmpfs.md`).
pub(super) const SEGMENT_BYTES: usize = 256 << 10;

/// One segment file and its maps.
pub(crate) struct Region {
    map: MmapMut,
    /// For the reader, who looks below the committed length only.
    pub(super) view: Arc<Mmap>,
    path: PathBuf,
    /// Number of the segment that it holds, or held last.
    pub(super) number: u64,
    /// The worker that writes it, or wrote it last.
    pub(super) worker: u16,
}

impl Region {
    /// Makes a file whose space is allocated, and maps it with every page in memory.
    ///
    /// # Errors
    /// The file system's; no file is left then.
    pub(super) fn make(path: PathBuf) -> io::Result<Self> {
        let made = (|| {
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
            allocate(&file)?;
            Ok((mapped(&file)?, viewed(&file)?))
        })();
        match made {
            Ok((map, view)) => Ok(Self { map, view: Arc::new(view), path, number: 0, worker: 0 }),
            Err(error) => {
                let _ = std::fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Maps a file that a worker has left for good, whose map leaks.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn take_over(path: &Path, number: u64, worker: u16) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let view = Arc::new(viewed(&file)?);
        Ok(Self { map: mapped(&file)?, view, path: path.to_owned(), number, worker })
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsMut<[u8]> for Region {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

/// Maps a segment file of the node's own, whose space is allocated.
fn mapped(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file was made by this node, in a directory that is claimed by this process, and is truncated by
    // nobody: its space is allocated, so that a full file system cannot become a SIGBUS. Of two such maps of one file
    // only one is written to: `take_over` maps that of a worker whose thread has left it for good.
    unsafe { MmapOptions::new().len(SEGMENT_BYTES).populate().map_mut(file) }
}

/// Maps such a file for reading.
fn viewed(file: &File) -> io::Result<Mmap> {
    // SAFETY: as above. Its writer only appends and publishes with the atomic committed length, beyond which the reader does not
    // look; it begins anew only once nobody reads it any more.
    unsafe { MmapOptions::new().len(SEGMENT_BYTES).map(file) }
}

fn allocate(file: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let length = libc::off_t::try_from(SEGMENT_BYTES).map_err(io::Error::other)?;
    // SAFETY: a descriptor that lives through the call.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
