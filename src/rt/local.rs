//! What one worker keeps: its driver, timers, turns, tasks and deadlines; and the counters of the process.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::deadline::Table;
use crate::driver::Driver;
use crate::outbox::Outbox;
use crate::pipe::Pipes;
use crate::ring::Completions;
use crate::task::{Failure, Tasks};
use crate::timer::Timers;
use crate::turn::Turns;

/// The state of the worker on this thread.
pub(crate) struct Worker {
    pub(crate) tasks: Tasks,
    pub(crate) completions: Completions,
    pub(crate) timers: Timers,
    pub(crate) turns: Turns,
    pub(crate) outbox: Outbox,
    pub(crate) pipes: Pipes,
    pub(crate) deadlines: Rc<Table>,
    pub(crate) failure: Failure,
    pub(crate) on_panic: fn(&str),
}

thread_local! {
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
    static ON_RING: Cell<bool> = const { Cell::new(false) };
}

/// The worker of this thread; none outside [`crate::run`].
pub(crate) fn worker() -> Option<Rc<Worker>> {
    WORKER.try_with(|worker| worker.borrow().clone()).ok().flatten()
}

/// What `look` makes of the worker of this thread; it must neither end it nor make another.
#[inline]
pub(crate) fn with_worker<R>(look: impl FnOnce(&Worker) -> R) -> Option<R> {
    WORKER.try_with(|worker| worker.borrow().as_deref().map(look)).ok().flatten()
}

/// Makes `worker` the one of this thread, or none.
pub(crate) fn set_worker(worker: Option<Rc<Worker>>) {
    let before = WORKER.replace(worker);
    drop(before);
}

/// Whether the driver of this thread's runtime (the last one, after its end) is io_uring.
#[inline]
pub(crate) fn on_ring() -> bool {
    ON_RING.try_with(Cell::get).unwrap_or(true)
}

pub(crate) fn set_driver(driver: Driver) {
    ON_RING.set(driver != Driver::Epoll);
}

/// A counter of the process, for metrics.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) static TASKS_PANICKED: Counter = Counter(AtomicU64::new(0));
pub(crate) static DEADLINES_EXPIRED: Counter = Counter(AtomicU64::new(0));
pub(crate) static ACCEPTS_SHED: Counter = Counter(AtomicU64::new(0));
pub(crate) static ACCEPTS_BACKED_OFF: Counter = Counter(AtomicU64::new(0));

/// What happened on all workers since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Tasks that ended by a panic.
    pub tasks_panicked: u64,
    /// Deadlines of streams and connects that were reached.
    pub deadlines_expired: u64,
    /// Connections accepted on the reserve descriptor and closed at once, for want of descriptors.
    pub accepts_shed: u64,
    /// Times that a listener paused because descriptors or memory had run out.
    pub accepts_backed_off: u64,
}

/// Reads the counters of the process. On any thread.
pub fn counters() -> Counters {
    Counters {
        tasks_panicked: TASKS_PANICKED.value(),
        deadlines_expired: DEADLINES_EXPIRED.value(),
        accepts_shed: ACCEPTS_SHED.value(),
        accepts_backed_off: ACCEPTS_BACKED_OFF.value(),
    }
}
