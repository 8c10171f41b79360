//! Settings of the calling thread: its core and its priority.

use std::io;

use crate::sys;

/// Pins the calling thread to the core `core` (numbered from 0 as the kernel does). Fails with `InvalidInput` where this
/// process may not run there.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    sys::pin_to_core(core)
}

/// Gives the calling thread only the time that nobody else wants (SCHED_IDLE, or nice 19 where that is refused). For
/// helper threads on a worker's core; best effort.
pub fn idle_priority() {
    if sys::schedule_idle().is_err() {
        let _ = sys::nice_last();
    }
}
