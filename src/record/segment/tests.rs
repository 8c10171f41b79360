//! Laws of segments, and one segment whose writer is killed.

use std::process::{Command, Stdio};

use memmap2::{Mmap, MmapMut};
use proptest::prelude::*;

use super::*;
use crate::record::Text;

const HEADER: SegmentHeader = SegmentHeader {
    key: SegmentKey { node: [7; 16], segment: 3 },
    worker: 1,
    created_unix_ms: 1_795_000_000_000,
    capacity_bytes: 0,
};

fn region(bytes: usize) -> MmapMut {
    MmapMut::map_anon(bytes).unwrap()
}

/// A record of which every part says which one it is.
fn numbered(number: u32, path: &[u8]) -> Record<'_> {
    let mut request_id = [0; 16];
    request_id[..4].copy_from_slice(&number.to_le_bytes());
    Record { request_id, route_id: u64::from(number) * 3, path: Text::new(path), ..Record::default() }
}

fn path(number: u32) -> Vec<u8> {
    vec![b'a' + (number % 26) as u8; (number % 97) as usize]
}

fn filled(count: u32) -> MmapMut {
    let mut writer = SegmentWriter::create(region(64 << 10), HEADER).unwrap();
    for number in 0..count {
        assert_eq!(writer.append(&numbered(number, &path(number))), Ok(number));
    }
    writer.into_region()
}

#[test]
fn what_was_appended_is_read_back_in_order() {
    let bytes = filled(100);
    let reader = SegmentReader::open(&bytes).unwrap();
    assert_eq!(reader.header(), SegmentHeader { capacity_bytes: 64 << 10, ..HEADER });
    let read: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(read.len(), 100);
    for (sequence, record) in read {
        assert_eq!(record, numbered(sequence, &path(sequence)));
    }
}

#[test]
fn a_full_segment_says_so_and_keeps_what_it_has() {
    for extra in 0..16 {
        let mut region = region(16 << 10);
        let mut writer = SegmentWriter::create(&mut region[..8192 + extra], HEADER).unwrap();
        let mut count = 0;
        let error = loop {
            match writer.append(&numbered(count, &path(count))) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, SegmentError::Full);
        let bytes = writer.into_region();
        let reader = SegmentReader::open(bytes).unwrap();
        assert_eq!(reader.records().filter(Result::is_ok).count(), count as usize);
        assert!(reader.records().all(|record| record.is_ok()));
    }
}

#[test]
fn a_region_that_is_too_short_is_refused() {
    let error = SegmentWriter::create(&mut region(4096)[..SEGMENT_BYTES_MIN - 1], HEADER).unwrap_err();
    assert_eq!(error, SegmentError::Region);
}

#[test]
fn a_foreign_file_and_a_newer_schema_are_refused() {
    let mut bytes = filled(1);
    bytes[8] = 9;
    assert_eq!(SegmentReader::open(&bytes).unwrap_err(), SegmentError::Schema { found: 9 });
    bytes[0] = b'X';
    assert_eq!(SegmentReader::open(&bytes).unwrap_err(), SegmentError::Magic);
    assert_eq!(SegmentReader::open(b"RWREC").unwrap_err(), SegmentError::Magic);
}

#[test]
fn a_reader_goes_on_where_it_stopped() {
    let mut region = region(64 << 10);
    let mut writer = SegmentWriter::create(&mut region[..], HEADER).unwrap();
    let mut cursor = Cursor::default();
    for number in 0..10 {
        writer.append(&numbered(number, b"")).unwrap();
        let mut records = SegmentReader::open(writer.region).unwrap().records_from(cursor);
        assert_eq!(records.by_ref().map(|record| record.unwrap().0).collect::<Vec<_>>(), [number]);
        cursor = records.cursor();
    }
}

proptest! {
    #[test]
    fn a_torn_segment_yields_only_whole_committed_records(count in 0u32..60, part in 0.0..=1.0f64) {
        let bytes = filled(count);
        let mut copy = Vec::new();
        SegmentReader::open(&bytes).unwrap().copy_committed(&mut copy);
        let whole = copy.len();
        let torn = &copy[..(whole as f64 * part) as usize];
        if let Ok(reader) = SegmentReader::open(torn) {
            for (expected, (sequence, record)) in (0..).zip(reader.records().map_while(Result::ok)) {
                prop_assert_eq!(sequence, expected);
                let path = path(sequence);
                prop_assert_eq!(record, numbered(sequence, &path));
            }
            let error = reader.records().find_map(Result::err);
            prop_assert_eq!(error.is_none(), torn.len() == whole);
        }
    }

    #[test]
    fn damage_is_an_error_or_another_record_and_ends(at in 0usize..8192, byte in any::<u8>()) {
        let mut bytes = filled(20);
        bytes[at] = byte;
        if let Ok(reader) = SegmentReader::open(&bytes) {
            prop_assert!(reader.records().count() <= 21);
        }
    }
}

const CHILD: &str = "RINGWAY_SEGMENT_CHILD";

/// Maps a file for writing.
fn map(path: &std::path::Path) -> MmapMut {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    super::map_for_test(&file)
}

/// The child of the test below: appends until it is killed or the segment is full, then waits for the end.
fn append_for_ever(path_of_segment: &str) -> ! {
    let mut writer = SegmentWriter::create(map(path_of_segment.as_ref()), HEADER).unwrap();
    for number in 0.. {
        if writer.append(&numbered(number, &path(number))).is_err() {
            break;
        }
    }
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_writer_loses_no_committed_record() {
    if let Ok(path) = std::env::var(CHILD) {
        append_for_ever(&path);
    }
    let directory =
        if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let file = tempfile::NamedTempFile::new_in(directory).unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "segment::tests::a_killed_writer_loses_no_committed_record"])
        .env(CHILD, file.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mapped = map(file.path()).make_read_only().unwrap();
    let seen = wait_for_records(&mapped, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();

    let reader = SegmentReader::open(&mapped).unwrap();
    let mut count = 0;
    for record in reader.records() {
        let (sequence, record) = record.unwrap();
        assert_eq!(sequence, count);
        assert_eq!(record, numbered(sequence, &path(sequence)));
        count += 1;
    }
    assert!(count >= seen, "{count} records after the kill, {seen} before it");
}

/// Spins until the child has committed some megabytes; how many records that were.
fn wait_for_records(mapped: &Mmap, child: &mut std::process::Child) -> u32 {
    loop {
        assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
        if let Ok(reader) = SegmentReader::open(mapped)
            && reader.committed_bytes() > 4 << 20
        {
            return reader.records().filter(Result::is_ok).count() as u32;
        }
        std::thread::yield_now();
    }
}
