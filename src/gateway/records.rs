//! Where records go: pre-faulted segments on tmpfs, one open per worker, made and kept by a helper.
//!
//! A worker appends with a memory copy; when its segment is full it takes a ready one under a lock
//! that is held for a push and a pop. A killed process loses nothing that was appended: the files stay
//! on tmpfs and the next process of this node keeps them; one that ends in order takes them with it, because
//! everything was read. Memory is bounded: the oldest full segment that has been read is used again, and when
//! the reader is behind, records are lost and counted.

#![expect(unsafe_code, reason = "shared maps of segment files")]

pub(crate) mod claim;
mod numbers;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memmap2::{MmapMut, MmapOptions};
use ringway_record::Record;
use ringway_record::segment::{Cursor, SegmentHeader, SegmentKey, SegmentReader, SegmentWriter};

use crate::access_log::Log;
use claim::Claim;
use numbers::Numbers;

/// Bytes of one segment: about ten thousand records.
const SEGMENT_BYTES: usize = 4 << 20;
/// Segments kept ready beside the open ones.
const READY_MIN: usize = 2;
/// Full segments kept before the oldest is used again.
const FULL_MAX: usize = 8;
/// How often the reader looks for new records when nobody rings.
const READ_EVERY: Duration = Duration::from_millis(100);
/// How often the directory's owner says that it lives.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// One segment file and its writable map.
pub(crate) struct Region {
    map: MmapMut,
    path: PathBuf,
}

impl Region {
    fn renamed(mut self, path: PathBuf) -> io::Result<Self> {
        std::fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(self)
    }
}

impl AsMut<[u8]> for Region {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

/// The node's segments.
pub(crate) struct Depot {
    directory: PathBuf,
    claim: Claim,
    node: [u8; 16],
    numbers: Mutex<Numbers>,
    shelves: Mutex<Shelves>,
    bell: Condvar,
    stopped: AtomicBool,
    lost: AtomicU64,
}

#[derive(Default)]
struct Shelves {
    ready: Vec<Region>,
    /// Open or full, oldest first; what the reader goes through.
    written: VecDeque<Written>,
    /// Full ones that were read to their end, oldest first.
    read: VecDeque<Region>,
}

/// The cursor of a segment that cannot be read: it is used again like one that was read to its end.
const GIVEN_UP: Cursor = Cursor { offset: u64::MAX, sequence: u32::MAX };

struct Written {
    path: PathBuf,
    worker: u16,
    /// The map, once its worker is done with it.
    full: Option<Region>,
    cursor: Cursor,
}

impl Depot {
    /// Goes on in the directory of segments that was claimed for the node of this state directory, where earlier
    /// ones may lie, and prepares the first.
    ///
    /// # Errors
    /// Those of making files; a full tmpfs is one.
    pub(crate) fn open(claim: Claim, state: &Path, node: [u8; 16]) -> io::Result<Arc<Self>> {
        let directory = claim.directory();
        let newest = std::fs::read_dir(directory)?
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str()?.parse::<u64>().ok())
            .max();
        let depot = Self {
            directory: directory.to_owned(),
            claim,
            node,
            numbers: Mutex::new(Numbers::open(state, newest)?),
            shelves: Mutex::default(),
            bell: Condvar::new(),
            stopped: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        };
        depot.drop_oldest_files()?;
        depot.make_ready()?;
        Ok(Arc::new(depot))
    }

    /// Records that found no room.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Ends the helper after one last look.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.bell.notify_all();
    }

    /// Takes the segments away; nothing may be appended any more. For the end of the process, once all was read.
    pub(crate) fn remove(&self) {
        if let Err(error) = self.claim.remove() {
            tracing::warn!(%error, directory = %self.directory.display(), "record segments stay behind");
        }
    }

    /// Takes over what a worker left that panicked: its segment is read to its end and used again, as if it were full.
    /// Its own map leaks with it, as all of the worker does; nobody writes there again.
    pub(crate) fn take_over(&self, worker: u16) {
        for written in self.lock().written.iter_mut() {
            if written.worker != worker || written.full.is_some() {
                continue;
            }
            match File::options().read(true).write(true).open(&written.path).and_then(|file| mapped(&file)) {
                Ok(map) => written.full = Some(Region { map, path: written.path.clone() }),
                Err(error) => {
                    tracing::warn!(%error, path = %written.path.display(), "a panicked worker's segment is not taken over");
                }
            }
        }
    }

    /// The helper's loop: keeps segments ready and shows each record to the access log, in
    /// each segment's order. Returns when stopped and everything is read.
    pub(crate) fn run(&self, log: &mut Log<'_>) {
        let mut crowded = false;
        let mut touched: Option<Instant> = None;
        loop {
            if touched.is_none_or(|at| at.elapsed() >= TOUCH_EVERY) {
                self.claim.touch();
                touched = Some(Instant::now());
            }
            let stopped = self.stopped.load(Ordering::Acquire);
            let made = self.make_ready();
            if let Err(error) = &made
                && !crowded
            {
                tracing::warn!(%error, "no room for another record segment");
            }
            crowded = made.is_err();
            log.keep_house();
            let wanted = log.follow();
            if wanted {
                self.read(log);
            }
            self.retire(!wanted);
            if stopped {
                return;
            }
            let shelves = self.lock();
            if crowded || shelves.ready.len() >= READY_MIN {
                drop(self.bell.wait_timeout(shelves, READ_EVERY).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Takes a ready segment for a worker and takes back its full one.
    fn exchange(&self, worker: u16, full: Option<Region>, unix_ms: u64) -> Option<SegmentWriter<Region>> {
        let region = {
            let mut shelves = self.lock();
            if let Some(full) = full
                && let Some(written) = shelves.written.iter_mut().find(|written| written.path == full.path)
            {
                written.full = Some(full);
            }
            shelves.ready.pop()?
        };
        let path = region.path.clone();
        let segment = path.file_stem()?.to_str()?.parse().ok()?;
        let key = SegmentKey { node: self.node, segment };
        let header =
            SegmentHeader { key, worker, created_unix_ms: unix_ms, capacity_bytes: SEGMENT_BYTES as u64 };
        let writer = SegmentWriter::create(region, header).ok()?;
        // INVARIANT: the reader sees a segment only after its header was made: one that is used again still holds the
        // records of its last life before.
        self.lock().written.push_back(Written { path, worker, full: None, cursor: Cursor::default() });
        self.bell.notify_one();
        Some(writer)
    }

    fn make_ready(&self) -> io::Result<()> {
        while self.lock().ready.len() < READY_MIN {
            let number = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            let path = self.directory.join(format!("{number}.seg"));
            let mut shelves = self.lock();
            let used = if shelves.read.len() > FULL_MAX { shelves.read.pop_front() } else { None };
            drop(shelves);
            let region = match used {
                Some(region) => region.renamed(path)?,
                None => match preallocated(&path) {
                    Ok(map) => Region { map, path },
                    Err(error) => {
                        // No room for one more (64 MiB is all that many a container has): one that was read goes on sooner.
                        let _ = std::fs::remove_file(&path);
                        let used = self.lock().read.pop_front();
                        used.ok_or(error)?.renamed(path)?
                    }
                },
            };
            self.lock().ready.push(region);
        }
        Ok(())
    }

    /// Shows what is new in each written segment.
    fn read(&self, log: &mut Log<'_>) {
        let looked_at: Vec<(PathBuf, Cursor)> = self
            .lock()
            .written
            .iter()
            .filter(|written| written.cursor != GIVEN_UP)
            .map(|written| (written.path.clone(), written.cursor))
            .collect();
        for (path, cursor) in looked_at {
            let cursor = read_one(&path, cursor, log).unwrap_or_else(|error| {
                tracing::error!(%error, path = %path.display(), "record segment not read");
                GIVEN_UP
            });
            if let Some(written) = self.lock().written.iter_mut().find(|written| written.path == path) {
                written.cursor = cursor;
            }
        }
        log.flush();
    }

    /// Moves full segments that were read to their end to those that may be used again.
    fn retire(&self, unread_too: bool) {
        let mut shelves = self.lock();
        let mut kept = VecDeque::new();
        while let Some(mut written) = shelves.written.pop_front() {
            let done = written.full.as_ref().is_some_and(|region| {
                unread_too
                    || SegmentReader::open(&region.map)
                        .is_ok_and(|segment| segment.committed_bytes() <= written.cursor.offset)
            });
            match written.full.take() {
                Some(region) if done => shelves.read.push_back(region),
                full => kept.push_back(Written { full, ..written }),
            }
        }
        shelves.written = kept;
    }

    /// Of what an earlier process left, keeps as much as this one would.
    fn drop_oldest_files(&self) -> io::Result<()> {
        let mut files: Vec<(u64, PathBuf)> = std::fs::read_dir(&self.directory)?
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                Some((path.file_stem()?.to_str()?.parse().ok()?, path))
            })
            .collect();
        files.sort_unstable();
        let surplus = files.len().saturating_sub(FULL_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_one(path: &Path, cursor: Cursor, log: &mut Log<'_>) -> io::Result<Cursor> {
    let file = File::open(path)?;
    // SAFETY: the file is this node's own, of a fixed, preallocated size; its writer only appends and
    // publishes with the atomic committed length, beyond which the reader does not look.
    let map = unsafe { MmapOptions::new().len(SEGMENT_BYTES).map(&file)? };
    let segment = SegmentReader::open(&map).map_err(io::Error::other)?;
    let mut records = segment.records_from(cursor);
    for record in records.by_ref() {
        let (_, record) = record.map_err(io::Error::other)?;
        log.write(&record);
    }
    Ok(records.cursor())
}

fn preallocated(path: &Path) -> io::Result<MmapMut> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
    allocate(&file)?;
    mapped(&file)
}

/// Maps a segment file of the node's own, whose space is allocated.
fn mapped(file: &File) -> io::Result<MmapMut> {
    // SAFETY: the file was made by this node, in a directory that is claimed by this process, and is truncated by
    // nobody: its space is allocated, so that a full file system cannot become a SIGBUS. Of two maps of one file
    // only one is written to: `take_over` maps that of a worker whose thread has left it for good.
    unsafe { MmapOptions::new().len(SEGMENT_BYTES).populate().map_mut(file) }
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

/// A worker's open segment.
pub(crate) struct Ledger {
    depot: Arc<Depot>,
    worker: u16,
    open: RefCell<Option<SegmentWriter<Region>>>,
}

impl Ledger {
    /// A ledger of this worker; its first segment is taken with its first record.
    pub(crate) fn new(depot: Arc<Depot>, worker: u16) -> Self {
        Self { depot, worker, open: RefCell::new(None) }
    }

    /// Appends one record; counts it as lost when no segment has room.
    pub(crate) fn append(&self, record: &Record<'_>) {
        let mut open = self.open.borrow_mut();
        if let Some(writer) = open.as_mut()
            && writer.append(record).is_ok()
        {
            return;
        }
        let full = open.take().map(SegmentWriter::into_region);
        *open = self.depot.exchange(self.worker, full, record.started_unix_ms);
        let appended = open.as_mut().is_some_and(|writer| writer.append(record).is_ok());
        if !appended {
            self.depot.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(writer) = self.open.borrow_mut().take() {
            let mut shelves = self.depot.lock();
            let region = writer.into_region();
            if let Some(written) = shelves.written.iter_mut().find(|written| written.path == region.path) {
                written.full = Some(region);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Home {
        state: tempfile::TempDir,
        shared: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            Self { state: tempfile::tempdir().unwrap(), shared: tempfile::tempdir().unwrap() }
        }

        fn depot(&self) -> Arc<Depot> {
            let claim = Claim::take(&self.directory(), self.state.path(), Duration::ZERO).unwrap().unwrap();
            Depot::open(claim, self.state.path(), [7; 16]).unwrap()
        }

        fn directory(&self) -> PathBuf {
            self.shared.path().join("segments")
        }

        fn segments(&self) -> usize {
            let files = std::fs::read_dir(self.directory()).unwrap();
            files.filter(|file| file.as_ref().unwrap().path().extension() == Some("seg".as_ref())).count()
        }
    }

    #[test]
    fn a_segment_that_is_used_again_begins_empty_and_their_number_is_bounded() {
        let home = Home::new();
        let depot = home.depot();
        let mut full = None;
        for _ in 0..FULL_MAX + READY_MIN + 4 {
            let mut writer = depot.exchange(0, full.take(), 1).unwrap();
            let path = depot.lock().written.back().unwrap().path.clone();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(SegmentReader::open(&bytes).unwrap().committed_bytes(), 0);
            writer.append(&Record::default()).unwrap();
            full = Some(writer.into_region());
            depot.retire(true);
            depot.make_ready().unwrap();
        }
        assert!(home.segments() <= FULL_MAX + READY_MIN + 3, "{}", home.segments());
        assert_eq!(depot.lost(), 0);
    }

    #[test]
    fn the_segments_of_workers_that_panic_are_taken_over() {
        let home = Home::new();
        let depot = home.depot();
        let other = Ledger::new(Arc::clone(&depot), 1);
        other.append(&Record::default());
        for _ in 0..2 * FULL_MAX {
            // What a worker holds is never dropped when it panics.
            Box::leak(Box::new(Ledger::new(Arc::clone(&depot), 0))).append(&Record::default());
            depot.take_over(0);
            depot.retire(true);
            depot.make_ready().unwrap();
        }
        assert_eq!(depot.lock().written.len(), 1, "the other worker goes on");
        assert!(home.segments() <= FULL_MAX + READY_MIN + 3, "{}", home.segments());
    }

    #[test]
    fn an_orderly_end_leaves_nothing_and_numbers_go_on() {
        let home = Home::new();
        let newest = |depot: &Depot| depot.lock().ready.last().unwrap().path.clone();
        let depot = home.depot();
        let first = newest(&depot);
        depot.remove();
        assert!(!home.directory().exists());
        drop(depot);
        let number = |path: &Path| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        assert!(number(&newest(&home.depot())) > number(&first));
    }
}
