//! Bounds of the gateway's shell, by name and unit, with the relations between them.

use std::time::Duration;

/// Requests that one HTTP/3 connection may have open.
pub(crate) const HTTP3_STREAMS_MAX: u32 = 128;
/// After how long without a packet the other end of a QUIC connection is taken for gone. It is probed at half of it; when an
/// idle connection ends is `settings.timeouts.keep_alive`'s business.
pub(crate) const QUIC_SILENCE_MS_MAX: u32 = 60_000;
/// Before a QUIC endpoint that failed is started again.
pub(crate) const QUIC_RESTART_NS: u64 = 100_000_000;
/// How long the end of QUIC connections that a drain has cut is given to go out.
pub(crate) const QUIC_CLOSE_NS_MAX: u64 = 300_000_000;

/// What killed gateways whose state directories still stand may leave on tmpfs, all together.
pub(crate) const RECORDS_LEFT_BYTES_MAX: u64 = 128 << 20;
/// And for how long.
pub(crate) const RECORDS_LEFT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Numbers of segments that are taken from the state directory at once.
pub(crate) const SEGMENT_NUMBERS_STEP: u64 = 1 << 16;

/// How long a reply is waited for before it is looked whether its HTTP/1 caller is still there, and listened from then on.
pub(crate) const CALLER_LOOK_NS: u64 = 200_000_000;
/// Between two looks where bytes of a next request wait, so that listening says nothing.
pub(crate) const CALLER_LOOK_AGAIN_NS: u64 = 1_000_000_000;
/// How long a caller that has ended its side of the connection is still kept a reply for.
pub(crate) const HALF_CLOSED_NS_MAX: u64 = 1_000_000_000;

/// How often a request may have passed gateways of this name; one of them more is a loop. Some may follow one another in good faith and
/// share the default name.
pub(crate) const PASSES_MAX: usize = 16;

/// Requests of one worker that wait for a free HTTP/2 stream of one endpoint.
pub(crate) const STREAM_WAITERS_MAX: usize = 1024;
/// A handshake with an upstream has at least this long, however short its time to connect is, in nanoseconds.
pub(crate) const TLS_NS_MIN: u64 = 2_000_000_000;
/// Bytes of a request's content that are kept while it may have to be sent once more (contract §3).
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// Snapshots that were fetched from control and are kept beside the one that is served.
pub(crate) const FETCHED_SNAPSHOTS_KEPT: usize = 3;
/// Removed listeners whose redirect is remembered for the connections that they had accepted.
pub(crate) const RETIRED_LISTENERS_MAX: usize = 256;
