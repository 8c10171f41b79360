//! A doorbell: any thread rings it, one task on a worker hears it. One eventfd.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys;
use crate::watched::Watched;

/// A bell between threads. Rings that nobody has heard yet count as one; none is lost. Clones ring the same bell; at most
/// one task may wait in [`Doorbell::heard`].
#[derive(Clone, Debug)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    /// Rung and not yet heard: a second ring makes no system call.
    rung: AtomicBool,
}

impl Doorbell {
    /// A bell that has not been rung. Fails where no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Arc::new(Bell { event: sys::eventfd()?, rung: AtomicBool::new(false) }) })
    }

    /// Rings, from any thread. What was written before is seen by the task that hears it.
    pub fn ring(&self) {
        if !self.bell.rung.swap(true, Ordering::AcqRel) {
            sys::eventfd_write(&self.bell.event);
        }
    }

    /// Waits until the bell has been rung since it was last heard. On a worker. May be given up at any time: the ring is
    /// then heard by the next call.
    pub async fn heard(&self) -> io::Result<()> {
        if self.bell.rung.load(Ordering::Acquire) && self.take() {
            return Ok(());
        }
        let watched = Watched::new(self.bell.event.try_clone()?)?;
        loop {
            watched.readable().await?;
            if self.take() {
                return Ok(());
            }
        }
    }

    /// Hears the bell without waiting. Drains the eventfd *before* clearing the flag: a ring in between is covered by
    /// this hearing and leaves a count behind, which costs the next hearing one empty turn.
    fn take(&self) -> bool {
        sys::eventfd_drain(&self.bell.event);
        self.bell.rung.swap(false, Ordering::AcqRel)
    }
}
