//! A doorbell: any thread rings it, one task on a worker hears it, or one helper thread. One eventfd.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

    /// Blocks a helper thread until the bell has been rung since it was last heard, something is to be read from `other` or accepted on
    /// it, or `patience` is over; without one it waits for as long as it takes. May return early.
    pub fn wait_beside(&self, other: Option<BorrowedFd<'_>>, patience: Option<Duration>) -> io::Result<()> {
        // Rounded up: a wait that is over too soon would be a busy one.
        let ms_max = patience.map(|patience| i32::try_from(patience.as_millis() + 1).unwrap_or(i32::MAX));
        let waited =
            sys::wait_readable(self.bell.event.as_raw_fd(), other.map(|other| other.as_raw_fd()), ms_max);
        self.take();
        match waited {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Hears the bell without waiting. Drains the eventfd *before* clearing the flag: a ring in between is covered by
    /// this hearing and leaves a count behind, which costs the next hearing one empty turn.
    fn take(&self) -> bool {
        sys::eventfd_drain(&self.bell.event);
        self.bell.rung.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::{Doorbell, Duration};

    #[test]
    fn a_helper_thread_hears_it_and_what_else_it_waits_for() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        bell.wait_beside(None, None).unwrap();
        // It was heard: nothing is left of it.
        bell.wait_beside(None, Some(Duration::from_millis(1))).unwrap();

        let (mut here, there) = UnixStream::pair().unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| bell.wait_beside(Some(there.as_fd()), None).unwrap());
            bell.ring();
            waits.join().unwrap();
            let waits = scope.spawn(|| bell.wait_beside(Some(there.as_fd()), None).unwrap());
            here.write_all(b"x").unwrap();
            waits.join().unwrap();
        });
    }
}
