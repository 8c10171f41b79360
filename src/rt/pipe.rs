//! Pipes between two connections: what one of them receives goes to the other by reference, and is never copied.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::local;
use crate::sys;

/// Pipes of one worker that hold bytes at once: 16 MiB in the kernel.
const PIPES_MAX: u32 = 64;
/// Empty ones that are kept: two descriptors each.
const PIPES_KEPT_MAX: usize = 8;
/// What one holds at most.
const PIPE_BYTES: usize = 256 * 1024;

/// The pipes of one worker.
#[derive(Default)]
pub(crate) struct Pipes {
    empty: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    taken: Cell<u32>,
}

/// Bytes on their way from one [`crate::Stream`] to another, which stay where the kernel received them. For as long as it has some it
/// is one of a bounded number; it holds at most 256 KiB.
pub struct Pipe {
    /// The end that is read and the one that is written; `None` once it has been given back.
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
}

impl Pipe {
    /// An empty one. `None`: the worker's are all in use, or there are no descriptors for one; then bytes are copied.
    pub fn take() -> Option<Self> {
        let worker = local::worker()?;
        let pipes = &worker.pipes;
        if pipes.taken.get() >= PIPES_MAX {
            return None;
        }
        let kept = pipes.empty.borrow_mut().pop();
        let ends = match kept {
            Some(ends) => ends,
            None => sys::pipe(PIPE_BYTES).ok()?,
        };
        pipes.taken.set(pipes.taken.get() + 1);
        Some(Self { ends: Some(ends), held: 0 })
    }

    /// Bytes in it.
    #[inline]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Where it is read from, and where it is written to.
    pub(crate) fn descriptors(&self) -> Option<(RawFd, RawFd)> {
        self.ends.as_ref().map(|(read, write)| (read.as_raw_fd(), write.as_raw_fd()))
    }

    pub(crate) fn filled(&mut self, bytes: usize) {
        self.held += bytes;
    }

    pub(crate) fn emptied(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }
}

impl Drop for Pipe {
    /// INVARIANT: a pipe that still holds bytes is closed: they are nobody else's.
    fn drop(&mut self) {
        let Some(worker) = local::worker() else { return };
        let pipes = &worker.pipes;
        pipes.taken.set(pipes.taken.get().saturating_sub(1));
        let mut empty = pipes.empty.borrow_mut();
        if let Some(ends) = self.ends.take_if(|_| self.held == 0 && empty.len() < PIPES_KEPT_MAX) {
            empty.push(ends);
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipe").field("held", &self.held).finish_non_exhaustive()
    }
}
