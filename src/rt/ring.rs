//! The worker's ring: its flags, and what the best of them ask of us.
//!
//! With DEFER_TASKRUN the kernel works off completions only where this thread asks for them (IORING_ENTER_GETEVENTS), and not behind each
//! system call. monoio asks where it waits, and waits only when no task is ready and no other thread has woken one. So it is asked here as
//! well, once in so many polls and before each round of [`crate::turn`]: a queue of tasks that is never empty holds up neither timers nor I/O.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use io_uring::{IoUring, opcode, types};
use monoio::{IoUringDriver, Runtime, RuntimeBuilder};

use crate::driver::Driver;
use crate::sys;

/// Entries of the completion queue: monoio ignores the error of a full one, so it must not fill up. 512 KiB.
const COMPLETIONS: u32 = 32_768;
/// Entries of a ring that is only tried.
const ENTRIES_TRIED: u32 = 8;
/// Polls of tasks between two questions for completions. Asking breaks up the row in which they are worked off: 64 was measurably dearer.
const POLLS_MAX: u32 = 256;
/// Rings that are made until the number of one is known: another thread has to take a descriptor at the same moment for one to be in vain.
const RINGS_MADE_MAX: u32 = 64;

/// Held while a ring is made: no other of this process comes to be meanwhile.
static MAKING: Mutex<()> = Mutex::new(());

/// The completions of one worker that wait to be asked for.
pub(crate) struct Completions {
    /// The ring's descriptor, which the runtime owns and closes after everything else. None where nothing has to be asked for.
    ring: Option<RawFd>,
    /// Polls of tasks, modulo 2³².
    polls: Cell<u32>,
}

impl Completions {
    pub(crate) fn new(ring: Option<RawFd>) -> Self {
        Self { ring, polls: Cell::new(0) }
    }

    /// Counts the poll of a task, and asks when it is time to.
    #[inline]
    pub(crate) fn count_poll(&self) {
        let polls = self.polls.get().wrapping_add(1);
        self.polls.set(polls);
        if polls.is_multiple_of(POLLS_MAX) {
            self.ask();
        }
    }

    /// Has the kernel put what is complete into the completion queue, which monoio empties before it does anything else. Never waits.
    #[cold]
    pub(crate) fn ask(&self) {
        if let Some(ring) = self.ring {
            // It cannot fail but for want of memory, and is then asked again.
            let _ = sys::ring_events(ring);
        }
    }
}

/// A runtime on a ring with these flags, and the descriptor that must be asked for completions, if one must. The worker has to run on this thread.
pub(crate) fn build(driver: Driver, entries: u32) -> io::Result<(Runtime<IoUringDriver>, Option<RawFd>)> {
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let flags = flags(driver, entries);
    probe(&flags)?;
    let runtime =
        || RuntimeBuilder::<IoUringDriver>::new().uring_builder(flags.clone()).with_entries(entries).build();
    if driver != Driver::UringSingleIssuerDefer {
        return Ok((runtime()?, None));
    }
    for _ in 0..RINGS_MADE_MAX {
        // monoio tells nobody the number of its ring's descriptor. It is the lowest that is free, which this one has now.
        let free = sys::eventfd()?.as_raw_fd();
        let runtime = runtime()?;
        // A number that was free before, and is now that of a ring which this thread may ask: no other ring was made meanwhile.
        if sys::ring_events(free).is_ok() {
            return Ok((runtime, Some(free)));
        }
    }
    Err(io::Error::other("other threads took every descriptor that the ring might have had"))
}

fn flags(driver: Driver, entries: u32) -> io_uring::Builder {
    let mut flags = IoUring::builder();
    flags.setup_cqsize(COMPLETIONS.max(entries));
    match driver {
        Driver::UringSingleIssuerDefer => flags.setup_single_issuer().setup_defer_taskrun(),
        Driver::UringSingleIssuerCoop => flags.setup_single_issuer().setup_coop_taskrun(),
        Driver::UringCoop | Driver::Epoll => flags.setup_coop_taskrun(),
    };
    flags
}

/// Whether a worker could have this driver here: a ring with its flags is made and used once. epoll is always to be had.
pub fn try_driver(driver: Driver) -> io::Result<()> {
    match driver {
        Driver::Epoll => Ok(()),
        ring => probe(&flags(ring, ENTRIES_TRIED)),
    }
}

/// Makes a ring with these flags and carries one poll operation through it that waits, fires, and is asked for: a sandbox may allow the one
/// and refuse the other.
fn probe(flags: &io_uring::Builder) -> io::Result<()> {
    let mut ring = flags.build(ENTRIES_TRIED)?;
    if !ring.params().is_feature_nodrop() || !ring.params().is_feature_ext_arg() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let event = sys::eventfd()?;
    let poll = opcode::PollAdd::new(types::Fd(event.as_raw_fd()), sys::POLL_IN).build();
    sys::push_pinless(&mut ring, &poll)?;
    ring.submit()?;
    sys::eventfd_write(&event);
    sys::ring_events(ring.as_raw_fd())?;
    match ring.completion().next() {
        Some(completion) if completion.result() > 0 => Ok(()),
        Some(completion) => Err(io::Error::from_raw_os_error(-completion.result())),
        None => Err(io::ErrorKind::Unsupported.into()),
    }
}
