//! Reads any bytes as a segment, and what it finds must survive everything that is done with records.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ringway_record::access_log::{AddressPolicy, write_line};
use ringway_record::metrics::{Metrics, Nameless};
use ringway_record::record::{FIXED_BYTES, RECORD_BYTES_MAX};
use ringway_record::segment::{HEADER_BYTES, SEGMENT_BYTES_MIN, SegmentHeader};
use ringway_record::{Record, SegmentKey, SegmentReader, SegmentWriter};

/// Where the committed length stands in a segment.
const COMMITTED: std::ops::Range<usize> = 64..72;

fuzz_target!(|data: &[u8]| {
    read(data);
    read(&with_header(data));
    read(&with_header(&with_frame(data)));
});

/// The node's metrics outlive the inputs, as they outlive requests.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::new(1));

/// The bytes as the first record of a segment: its frame is good, its own lengths are what they are.
fn with_frame(data: &[u8]) -> Vec<u8> {
    let length = data.len().clamp(FIXED_BYTES, RECORD_BYTES_MAX);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(data.get(..length).unwrap_or(data));
    bytes.resize((8 + length).next_multiple_of(8), 0);
    bytes[8..10].copy_from_slice(&(FIXED_BYTES as u16).to_le_bytes());
    bytes
}

/// The bytes as the body of a segment whose header is good, all of them committed.
fn with_header(body: &[u8]) -> Vec<u8> {
    let key = SegmentKey { node: [1; 16], segment: 2 };
    let header = SegmentHeader { key, worker: 3, created_unix_ms: 4, capacity_bytes: 0 };
    let empty = SegmentWriter::create(vec![0; SEGMENT_BYTES_MIN], header).map(SegmentWriter::into_region);
    let mut bytes = empty.unwrap_or_default();
    bytes.truncate(HEADER_BYTES);
    bytes[COMMITTED].copy_from_slice(&(body.len() as u64).to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

fn read(bytes: &[u8]) {
    let Ok(reader) = SegmentReader::open(bytes) else { return };
    let mut copy = Vec::new();
    reader.copy_committed(&mut copy);
    let mut whole = 0u64;
    for (_, record) in reader.records().map_while(Result::ok) {
        check(&record);
        if let Some(shard) = METRICS.shard(0) {
            shard.fold(&record);
        }
        whole += 1;
    }
    assert_eq!(
        SegmentReader::open(&copy).map(|copy| copy.records().filter(Result::is_ok).count() as u64),
        Ok(whole)
    );
}

fn check(record: &Record<'_>) {
    let mut bytes = [0; RECORD_BYTES_MAX];
    let length = record.encode(&mut bytes).expect("the largest record fits");
    let again = Record::decode(&bytes[..length]).expect("what we wrote is a record");
    let mut twice = [0; RECORD_BYTES_MAX];
    assert_eq!(again.encode(&mut twice), Some(length));
    assert_eq!(bytes[..length], twice[..length], "writing is stable");
    let mut line = Vec::new();
    write_line(&mut line, record, &Nameless, AddressPolicy::Whole);
    assert!(line.ends_with(b"}\n") && std::str::from_utf8(&line).is_ok());
    assert_eq!(line.iter().filter(|byte| byte.is_ascii_control()).count(), 1);
}
