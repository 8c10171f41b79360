//! The two clocks: monotonic for timeouts and limits, unix for quotas and certificates.

use std::cell::Cell;

use crate::sys;

/// How long the offset between the two clocks is kept before the wall clock is read again.
const OFFSET_AGE_NS_MAX: u64 = 100_000_000;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Nanoseconds of CLOCK_MONOTONIC: never steps back, has no meaning outside this boot.
    pub mono_ns: u64,
    /// Milliseconds since 1970-01-01 UTC. A step of the wall clock shows within 100 ms.
    pub unix_ms: u64,
}

thread_local! {
    /// (monotonic reading at which it was taken, unix minus monotonic), both in nanoseconds.
    static OFFSET: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Reads the clocks. On any thread. Costs one `clock_gettime` through the vDSO: the wall clock is the monotonic one plus
/// an offset that is at most 100 ms old.
#[inline]
pub fn now() -> Now {
    let mono_ns = sys::monotonic_ns();
    let (taken_ns, mut offset_ns) = OFFSET.get();
    if offset_ns == 0 || mono_ns.wrapping_sub(taken_ns) > OFFSET_AGE_NS_MAX {
        offset_ns = sys::unix_ns().saturating_sub(mono_ns);
        OFFSET.set((mono_ns, offset_ns));
    }
    Now { mono_ns, unix_ms: mono_ns.wrapping_add(offset_ns) / 1_000_000 }
}
