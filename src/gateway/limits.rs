//! Bounds of the gateway's shell, by name and unit, with the relations between them.

use std::time::Duration;

/// Bytes of pooled buffers that one worker may hold: beyond it connections are turned away and requests get 503.
pub(crate) const MEMORY_BYTES_MAX: usize = 512 << 20;
/// From here on bodies flow through small buffers only: four fifths of the most.
pub(crate) const MEMORY_BYTES_SHORT: usize = MEMORY_BYTES_MAX / 5 * 4;

const _: () = assert!(MEMORY_BYTES_SHORT < MEMORY_BYTES_MAX);

/// What killed gateways whose state directories still stand may leave on tmpfs, all together.
pub(crate) const RECORDS_LEFT_BYTES_MAX: u64 = 128 << 20;
/// And for how long.
pub(crate) const RECORDS_LEFT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Numbers of segments that are taken from the state directory at once.
pub(crate) const SEGMENT_NUMBERS_STEP: u64 = 1 << 16;

/// Requests of one worker that wait for a free HTTP/2 stream of one endpoint.
pub(crate) const STREAM_WAITERS_MAX: usize = 1024;
/// A handshake with an upstream has at least this long, however short its time to connect is, in nanoseconds.
pub(crate) const TLS_NS_MIN: u64 = 2_000_000_000;
/// Bytes of a request's content that are kept while it may have to be sent once more (contract §3).
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;
