//! Bounds of the generator itself.

/// Connections that one thread opens at a time before the run: fewer than the listen backlogs that are met.
pub(crate) const OPENING_MAX: usize = 64;
/// Entries of a thread's submission queue.
pub(crate) const RING_ENTRIES: u32 = 4096;
/// How long replies are still waited for when the run is interrupted.
pub(crate) const INTERRUPT_DRAIN_NS_MAX: u64 = 500_000_000;
/// First and longest pause of a closed loop's connection after it could not be opened.
pub(crate) const RETRY_NS_MIN: u64 = 10_000_000;
/// See [`RETRY_NS_MIN`].
pub(crate) const RETRY_NS_MAX: u64 = 1_000_000_000;
/// Interim replies (1xx) before the final one.
pub(crate) const INTERIM_REPLIES_MAX: u8 = 16;
/// How often a lane looks whether a shared connection has been opened, or has room for its request.
pub(crate) const MULTIPLEX_LOOK_NS: u64 = 5_000_000;
/// Milliseconds of silence after which a QUIC connection is gone.
pub(crate) const QUIC_IDLE_MS: u32 = 60_000;
/// Bytes of a WebSocket message that is received.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Points of a plot over time: more seconds are drawn together.
pub(crate) const PLOT_POINTS_MAX: usize = 600;
/// From a share of a core like this on a thread is called busy.
pub(crate) const THREAD_BUSY_SHARE: f64 = 0.90;
/// From a share of time like this spent waiting for a core, a thread is called starved.
pub(crate) const THREAD_STARVED_SHARE: f64 = 0.05;
/// From a 99th percentile of lateness like this, and from a tenth of the median latency, sending is called late.
pub(crate) const LATE_NS: u64 = 1_000_000;

const _: () = assert!(RETRY_NS_MIN < RETRY_NS_MAX);
