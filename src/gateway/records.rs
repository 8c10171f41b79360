//! Where records go: pre-faulted segments on tmpfs, one open per worker.
//!
//! A worker appends with a memory copy. When its segment is full it takes another under a lock that is held for a push and a pop:
//! while nobody reads records that is the one that it filled before, so that it writes two in turn and their memory stays in its
//! core's cache. While somebody does (the access log), full ones go to the helper, which reads them and gives them back. A killed
//! process loses nothing that was appended: the files stay on tmpfs and the next process of this node keeps them; one that
//! ends in order takes them with it, because everything was read. Memory is bounded: when the reader is behind, records are
//! lost and counted.

pub(crate) mod claim;
mod numbers;
mod region;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memmap2::Mmap;
use ringway_record::Record;
use ringway_record::segment::{
    Cursor, HEADER_BYTES, SegmentError, SegmentHeader, SegmentKey, SegmentReader, SegmentWriter,
};

use crate::access_log::Log;
use crate::limits::SEGMENT_NUMBERS_STEP;
use claim::Claim;
use numbers::Numbers;
use region::{Region, SEGMENT_BYTES};

/// Segments kept ready beside the open ones: 8 MiB, what workers may fill before the helper has its turn.
const READY_MIN: usize = 32;
/// Beyond so many ready ones, which a reader left that was behind, their memory is given back.
const READY_MAX: usize = 2 * READY_MIN;
/// Full segments that wait for whoever reads the access log: 64 MiB. Beyond that records are lost.
const UNREAD_MAX: usize = 256;
/// Full segments of each worker that stay as they are for as long as it lives: what a killed process leaves beside the open one.
const KEPT: usize = 1;
/// Of what an earlier process left, so many bytes are kept.
const LEFT_BYTES_MAX: u64 = 8 << 20;
/// How often the reader looks for new records when nobody rings.
const READ_EVERY: Duration = Duration::from_millis(100);
/// How long the end of the process waits for whoever reads the access log.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// How often the directory's owner says that it lives.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

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
    /// Those used last on top.
    ready: Vec<Region>,
    /// Open or full, oldest first; what the reader goes through.
    written: VecDeque<Written>,
    /// Full ones that nobody wants to read any more, oldest first.
    read: VecDeque<Region>,
    /// Numbers that the state directory knows to be taken, and no segment has yet.
    numbers: Range<u64>,
    reader: Reader,
}

/// Whether records are read, so that full segments are the helper's to give back.
#[derive(Debug, Clone, Copy, Default)]
struct Reader {
    /// They are wanted, as the helper saw it in the publication `seen`.
    wanted: bool,
    seen: u64,
    /// The publication from which on they are wanted whatever the helper saw before it.
    wanted_from: u64,
}

impl Reader {
    fn reads(self) -> bool {
        self.wanted || self.wanted_from > self.seen
    }
}

/// The cursor of a segment that cannot be read: it is used again like one that was read to its end.
const GIVEN_UP: Cursor = Cursor { offset: u64::MAX, sequence: u32::MAX };

struct Written {
    number: u64,
    path: PathBuf,
    view: Arc<Mmap>,
    worker: u16,
    /// The maps, once its worker is done with it.
    full: Option<Region>,
    cursor: Cursor,
}

impl Shelves {
    /// Takes a worker's full segment.
    fn put_away(&mut self, full: Region) {
        let Some(at) = self.written.iter().position(|written| written.number == full.number) else { return };
        if self.reader.reads() {
            if let Some(written) = self.written.get_mut(at) {
                written.full = Some(full);
            }
        } else {
            self.written.remove(at);
            self.read.push_back(full);
        }
    }

    /// The memory that a worker writes next: what it wrote itself before the last, where that was read.
    fn take(&mut self, worker: u16) -> Option<Region> {
        let own = || self.read.iter().enumerate().filter(|(_, region)| region.worker == worker);
        let oldest = if own().count() > KEPT { own().next().map(|(at, _)| at) } else { None };
        match oldest {
            Some(at) => self.read.remove(at),
            None => self.ready.pop().or_else(|| self.read.pop_front()),
        }
    }

    /// Makes those ready again that their worker has more of than it takes up, and hands out what is ready beyond
    /// [`READY_MAX`], to be given back.
    fn tidy(&mut self) -> Vec<Region> {
        let mut at = 0;
        while let Some(region) = self.read.get(at) {
            let worker = region.worker;
            if self.read.iter().skip(at).filter(|region| region.worker == worker).count() > KEPT + 1 {
                self.ready.extend(self.read.remove(at));
            } else {
                at += 1;
            }
        }
        let surplus = self.ready.len().saturating_sub(READY_MAX);
        self.ready.drain(..surplus).collect()
    }

    /// Whether the helper has something to prepare.
    fn is_short(&self) -> bool {
        self.wants_more() || self.numbers_are_short()
    }

    fn wants_more(&self) -> bool {
        self.ready.len() < READY_MIN
            && self.written.iter().filter(|written| written.full.is_some()).count() < UNREAD_MAX
    }

    fn numbers_are_short(&self) -> bool {
        self.numbers.end.saturating_sub(self.numbers.start) < SEGMENT_NUMBERS_STEP / 2
    }
}

impl Depot {
    /// Goes on in the directory of segments that was claimed for the node of this state directory, where earlier
    /// ones may lie, and prepares the first.
    ///
    /// # Errors
    /// Those of making files; a full tmpfs is one.
    pub(crate) fn open(claim: Claim, state: &Path, node: [u8; 16]) -> io::Result<Arc<Self>> {
        let directory = claim.directory().to_owned();
        let newest = keep_newest(&directory)?;
        let depot = Self {
            directory,
            claim,
            node,
            numbers: Mutex::new(Numbers::open(state, newest)?),
            shelves: Mutex::default(),
            bell: Condvar::new(),
            stopped: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        };
        let made = depot.make_ready();
        // A tmpfs that is too small for all of them is enough for some.
        if depot.lock().ready.is_empty() {
            made?;
        }
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

    /// Records of the publication `turn` and of those after it are to be read: told before it is made, so that none is filed whose
    /// segment its worker takes for its own.
    pub(crate) fn want_from(&self, turn: u64) {
        self.lock().reader.wanted_from = turn;
    }

    fn told(&self, wanted: bool, seen: u64) {
        let mut shelves = self.lock();
        shelves.reader = Reader { wanted, seen, ..shelves.reader };
    }

    /// Takes over what a worker left that panicked: its segment is read to its end and used again, as if it were full.
    /// Its own map leaks with it, as all of the worker does; nobody writes there again.
    pub(crate) fn take_over(&self, worker: u16) {
        let left = |written: &&mut Written| written.worker == worker && written.full.is_none();
        for written in self.lock().written.iter_mut().filter(left) {
            match Region::take_over(&written.path, written.number, worker) {
                Ok(region) => written.full = Some(region),
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
        let mut end: Option<Instant> = None;
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
            let (wanted, seen) = log.follow();
            self.told(wanted, seen);
            let through = !wanted || self.read(log);
            self.retire(!wanted);
            if stopped
                && (through || *end.get_or_insert_with(|| Instant::now() + END_PATIENCE) <= Instant::now())
            {
                return;
            }
            let shelves = self.lock();
            if crowded || !shelves.is_short() {
                drop(self.bell.wait_timeout(shelves, READ_EVERY).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Takes a segment for a worker and takes back its full one.
    fn exchange(&self, worker: u16, full: Option<Region>, unix_ms: u64) -> Option<SegmentWriter<Region>> {
        let mut shelves = self.lock();
        if let Some(full) = full {
            shelves.put_away(full);
        }
        let writer = self.begin(&mut shelves, worker, unix_ms);
        if writer.is_none() || shelves.reader.reads() || shelves.is_short() {
            self.bell.notify_one();
        }
        writer
    }

    fn begin(&self, shelves: &mut Shelves, worker: u16, unix_ms: u64) -> Option<SegmentWriter<Region>> {
        let mut region = shelves.take(worker)?;
        let Some(number) = shelves.numbers.next() else {
            shelves.ready.push(region);
            return None;
        };
        (region.number, region.worker) = (number, worker);
        let (path, view) = (region.path().to_owned(), Arc::clone(&region.view));
        let key = SegmentKey { node: self.node, segment: number };
        let header =
            SegmentHeader { key, worker, created_unix_ms: unix_ms, capacity_bytes: SEGMENT_BYTES as u64 };
        // INVARIANT: the reader sees a segment only after its header was made: one that is used again still holds the
        // records of its last life before.
        let writer = SegmentWriter::create(region, header).ok()?;
        shelves.written.push_back(Written {
            number,
            path,
            view,
            worker,
            full: None,
            cursor: Cursor::default(),
        });
        Some(writer)
    }

    fn make_ready(&self) -> io::Result<()> {
        if self.lock().numbers_are_short() {
            let more = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).reserve()?;
            let mut shelves = self.lock();
            // INVARIANT: they follow those that were reserved before.
            let start = if shelves.numbers.is_empty() { more.start } else { shelves.numbers.start };
            shelves.numbers = start..more.end;
        }
        loop {
            let mut shelves = self.lock();
            if !shelves.wants_more() {
                return Ok(());
            }
            // Files keep the names that they are made with; a segment's number stands in its header.
            let Some(name) = shelves.numbers.next() else { return Ok(()) };
            drop(shelves);
            let region = Region::make(self.directory.join(format!("{name}.seg")))?;
            // Below those that were used lately.
            self.lock().ready.insert(0, region);
        }
    }

    /// Shows what is new in each written segment, as far as the log takes it. `true`: all of it.
    fn read(&self, log: &mut Log<'_>) -> bool {
        if log.is_behind() && !log.flush() {
            return false;
        }
        let looked_at: Vec<(u64, Arc<Mmap>, Cursor)> = self
            .lock()
            .written
            .iter()
            .filter(|written| written.cursor != GIVEN_UP)
            .map(|written| (written.number, Arc::clone(&written.view), written.cursor))
            .collect();
        for (number, view, cursor) in looked_at {
            if log.is_behind() {
                return false;
            }
            let cursor = read_one(&view, cursor, log).unwrap_or_else(|error| {
                tracing::error!(%error, segment = number, "record segment not read");
                GIVEN_UP
            });
            if let Some(written) = self.lock().written.iter_mut().find(|written| written.number == number) {
                written.cursor = cursor;
            }
        }
        log.flush()
    }

    /// Moves full segments that were read to their end to those that may be used again.
    fn retire(&self, unread_too: bool) {
        let mut shelves = self.lock();
        let mut kept = VecDeque::new();
        while let Some(mut written) = shelves.written.pop_front() {
            let read = || {
                SegmentReader::open(&written.view)
                    .is_ok_and(|segment| segment.committed_bytes() <= written.cursor.offset)
            };
            let done = written.full.is_some() && (unread_too || read());
            match written.full.take() {
                Some(region) if done => shelves.read.push_back(region),
                full => kept.push_back(Written { full, ..written }),
            }
        }
        shelves.written = kept;
        let surplus = shelves.tidy();
        drop(shelves);
        for region in surplus {
            if let Err(error) = std::fs::remove_file(region.path()) {
                tracing::warn!(%error, path = %region.path().display(), "a record segment is not given back");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_one(view: &[u8], cursor: Cursor, log: &mut Log<'_>) -> io::Result<Cursor> {
    let segment = SegmentReader::open(view).map_err(io::Error::other)?;
    let mut records = segment.records_from(cursor);
    for record in records.by_ref() {
        let (_, record) = record.map_err(io::Error::other)?;
        log.write(&record);
        if log.is_behind() {
            break;
        }
    }
    Ok(records.cursor())
}

/// Of what an earlier process left in this directory, removes what holds no record and the oldest beyond [`LEFT_BYTES_MAX`]. The
/// greatest number of a segment.
fn keep_newest(directory: &Path) -> io::Result<Option<u64>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            left.push(left_behind(path)?);
        }
    }
    left.sort_unstable();
    let newest = left.last().and_then(|(number, ..)| *number);
    let mut kept_bytes = 0;
    for (_, bytes, path) in left.into_iter().rev() {
        kept_bytes += bytes;
        if bytes == 0 || kept_bytes > LEFT_BYTES_MAX {
            std::fs::remove_file(path)?;
        }
    }
    Ok(newest)
}

/// Number and bytes of a segment file; no bytes where it holds no record.
fn left_behind(path: PathBuf) -> io::Result<(Option<u64>, u64, PathBuf)> {
    let file = File::open(&path)?;
    let mut head = Vec::with_capacity(HEADER_BYTES);
    (&file).take(HEADER_BYTES as u64).read_to_end(&mut head)?;
    let segment = SegmentReader::open(&head);
    let empty = match &segment {
        Ok(segment) => segment.committed_bytes() == 0,
        // One that another version wrote is kept like our own.
        Err(error) => *error == SegmentError::Magic,
    };
    // The name is a number as well: the file was made under it.
    let name = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    let number = segment.ok().map(|segment| segment.header().key.segment).max(name);
    Ok((number, if empty { 0 } else { file.metadata()?.len() }, path))
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
    #[inline]
    pub(crate) fn append(&self, record: &Record<'_>) {
        let mut open = self.open.borrow_mut();
        if let Some(writer) = open.as_mut()
            && writer.append(record).is_ok()
        {
            return;
        }
        self.begin(&mut open, record);
    }

    #[cold]
    fn begin(&self, open: &mut Option<SegmentWriter<Region>>, first: &Record<'_>) {
        let full = open.take().map(SegmentWriter::into_region);
        *open = self.depot.exchange(self.worker, full, first.started_unix_ms);
        let appended = open.as_mut().is_some_and(|writer| writer.append(first).is_ok());
        if !appended {
            self.depot.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(writer) = self.open.borrow_mut().take() {
            self.depot.lock().put_away(writer.into_region());
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

    /// Fills the open segment of a ledger and begins the next.
    fn fill(ledger: &Ledger) {
        let number = || ledger.depot.lock().written.back().map(|written| written.number);
        let before = number();
        while number() == before {
            ledger.append(&Record::default());
        }
    }

    #[test]
    fn a_worker_writes_two_segments_in_turn_while_nobody_reads() {
        let home = Home::new();
        let depot = home.depot();
        let ledger = Ledger::new(Arc::clone(&depot), 0);
        let mut paths = Vec::new();
        for turn in 0..6 {
            fill(&ledger);
            let shelves = depot.lock();
            let written = shelves.written.back().unwrap();
            let segment = SegmentReader::open(&written.view).unwrap();
            assert_eq!((segment.records().count(), segment.header().key.segment), (1, written.number));
            paths.push(written.path.clone());
            assert_eq!((shelves.written.len(), shelves.read.len()), (1, KEPT.min(turn)));
        }
        assert!(paths.windows(3).all(|three| three[0] == three[2] && three[0] != three[1]));
        assert_eq!((depot.lost(), depot.lock().ready.len()), (0, READY_MIN - 2));
    }

    #[test]
    fn what_is_wanted_is_given_back_by_the_helper_alone() {
        let home = Home::new();
        let depot = home.depot();
        depot.told(false, 4);
        depot.want_from(5);
        let ledger = Ledger::new(Arc::clone(&depot), 0);
        fill(&ledger);
        fill(&ledger);
        // A look from before the publication changes nothing.
        depot.told(false, 4);
        fill(&ledger);
        depot.told(true, 5);
        fill(&ledger);
        depot.retire(false);
        let counts = |shelves: &Shelves| (shelves.written.len(), shelves.read.len());
        assert_eq!(counts(&depot.lock()), (4, 0), "nothing of it was read");
        depot.told(false, 6);
        depot.retire(true);
        assert_eq!(counts(&depot.lock()), (1, KEPT + 1));
    }

    #[test]
    fn memory_is_bounded_and_what_finds_no_room_is_counted() {
        let home = Home::new();
        let depot = home.depot();
        depot.told(true, 1);
        let ledger = Ledger::new(Arc::clone(&depot), 0);
        for _ in 0..READY_MIN {
            fill(&ledger);
        }
        let records = SEGMENT_BYTES / Record::default().encoded_bytes() + 1;
        (0..records).for_each(|_| ledger.append(&Record::default()));
        assert!(depot.lost() > 0);
        depot.make_ready().unwrap();
        for _ in 0..READY_MIN {
            fill(&ledger);
        }
        depot.make_ready().unwrap();
        assert_eq!(home.segments(), 3 * READY_MIN);
        depot.retire(true);
        assert!(home.segments() <= READY_MAX + KEPT + 2, "{}", home.segments());
    }

    #[test]
    fn what_nobody_reads_is_bounded() {
        let home = Home::new();
        let depot = home.depot();
        depot.told(true, 1);
        let ledger = Ledger::new(Arc::clone(&depot), 0);
        let mut lost = 0;
        while lost == depot.lost() || !depot.lock().ready.is_empty() {
            lost = depot.lost();
            ledger.append(&Record::default());
            if depot.lost() > lost {
                depot.make_ready().unwrap();
            }
        }
        assert!(!depot.lock().is_short(), "the helper waits");
        let segments = home.segments();
        assert!((UNREAD_MAX..=UNREAD_MAX + READY_MIN).contains(&segments), "{segments}");
        depot.retire(true);
        assert!(home.segments() <= READY_MAX + KEPT + 2, "{}", home.segments());
    }

    #[test]
    fn the_segments_of_workers_that_panic_are_taken_over() {
        let home = Home::new();
        let depot = home.depot();
        let other = Ledger::new(Arc::clone(&depot), 1);
        other.append(&Record::default());
        for _ in 0..2 * READY_MAX {
            // What a worker holds is never dropped when it panics.
            Box::leak(Box::new(Ledger::new(Arc::clone(&depot), 0))).append(&Record::default());
            depot.take_over(0);
            depot.retire(true);
            depot.make_ready().unwrap();
        }
        assert_eq!(depot.lock().written.len(), 1, "the other worker goes on");
        assert!(home.segments() <= READY_MAX, "{}", home.segments());
    }

    #[test]
    fn what_a_killed_process_left_is_kept_and_numbers_go_on() {
        let home = Home::new();
        let depot = home.depot();
        let ledger = Ledger::new(Arc::clone(&depot), 0);
        fill(&ledger);
        fill(&ledger);
        let newest = depot.lock().written.back().unwrap().number;
        // Nothing was closed in order: this is what a kill leaves.
        assert_eq!(keep_newest(&home.directory()).unwrap().map(|number| number >= newest), Some(true));
        assert_eq!(home.segments(), 2, "the open one and the one before");
    }

    #[test]
    fn an_orderly_end_leaves_nothing_and_numbers_go_on() {
        let home = Home::new();
        let next = |depot: &Depot| depot.lock().numbers.start;
        let depot = home.depot();
        let first = next(&depot);
        depot.remove();
        assert!(!home.directory().exists());
        drop(depot);
        assert!(next(&home.depot()) > first);
    }
}
