//! Sleeping, and the sweep of the deadlines, both on one timerfd.
//!
//! monoio's own timers run only when its queue of tasks is empty. A timerfd is an I/O event: it is served in every round,
//! busy or not, and the driver reads no clock for it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use crate::local::{self, Worker};
use crate::sys;
use crate::watched::Watched;

/// How often deadlines are swept.
pub(crate) const SWEEP_NS: u64 = 100_000_000;

/// Sleeps until the monotonic clock shows `mono_ns` ([`crate::Now::mono_ns`]). On a worker. May be given up at any time.
pub async fn sleep_until_ns(mono_ns: u64) {
    Sleep { at_ns: mono_ns, key: None }.await;
}

/// What `future` comes to, or `None` once the monotonic clock shows `mono_ns`. For futures that may be given up at any time:
/// a wait for readiness, never a pinned read. On a worker.
pub async fn until_ns<F: Future>(mono_ns: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut sleep = pin!(Sleep { at_ns: mono_ns, key: None });
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// (instant, order of arrival): unique.
type Key = (u64, u64);

/// Counts workers, so that each has timers of its own number.
static WORKERS: AtomicU64 = AtomicU64::new(0);

/// The timers of one worker.
pub(crate) struct Timers {
    timerfd: Watched,
    /// Tells these timers from those of every other worker of the process.
    id: u64,
    sleepers: RefCell<BTreeMap<Key, Waker>>,
    sequence: Cell<u64>,
    /// What the timerfd is set to.
    set_to_ns: Cell<u64>,
}

impl Timers {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            timerfd: Watched::new(sys::timerfd()?)?,
            id: WORKERS.fetch_add(1, Ordering::Relaxed),
            sleepers: RefCell::new(BTreeMap::new()),
            sequence: Cell::new(0),
            set_to_ns: Cell::new(u64::MAX),
        })
    }

    /// Enters somebody to be woken at `at_ns`.
    fn enter(&self, at_ns: u64, waker: Waker) -> Key {
        self.sequence.set(self.sequence.get() + 1);
        let key = (at_ns, self.sequence.get());
        self.sleepers.borrow_mut().insert(key, waker);
        if at_ns < self.set_to_ns.get() {
            self.set(at_ns);
        }
        key
    }

    fn strike(&self, key: Key) {
        let waker = self.sleepers.borrow_mut().remove(&key);
        drop(waker);
    }

    fn set(&self, at_ns: u64) {
        self.set_to_ns.set(at_ns);
        sys::timerfd_set(self.timerfd.fd(), at_ns);
    }

    /// Wakes every sleeper that is due.
    fn wake_due(&self, now_ns: u64) {
        loop {
            let due = {
                let mut sleepers = self.sleepers.borrow_mut();
                match sleepers.first_entry() {
                    Some(first) if first.key().0 <= now_ns => first.remove(),
                    _ => return,
                }
            };
            due.wake();
        }
    }
}

/// The ticker: one task per worker.
pub(crate) async fn tick(worker: Rc<Worker>) {
    let mut sweep_ns = sys::monotonic_ns() + SWEEP_NS;
    loop {
        let first_ns = worker.timers.sleepers.borrow().first_key_value().map_or(u64::MAX, |(key, _)| key.0);
        worker.timers.set(sweep_ns.min(first_ns));
        if let Err(error) = worker.timers.timerfd.readable().await {
            tracing::error!(%error, "waiting for the timer failed");
            return;
        }
        sys::timerfd_drain(worker.timers.timerfd.fd());
        let now_ns = sys::monotonic_ns();
        worker.timers.wake_due(now_ns);
        if now_ns >= sweep_ns {
            worker.deadlines.sweep(now_ns);
            sweep_ns = now_ns + SWEEP_NS;
        }
    }
}

struct Sleep {
    at_ns: u64,
    key: Option<Key>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if sys::monotonic_ns() >= self.at_ns {
            return Poll::Ready(());
        }
        let Some(worker) = local::worker() else { return Poll::Pending };
        let timers = &worker.timers;
        let key = self.key.unwrap_or_else(|| {
            timers.sequence.set(timers.sequence.get() + 1);
            (self.at_ns, timers.sequence.get())
        });
        self.key = Some(key);
        timers.sleepers.borrow_mut().insert(key, cx.waker().clone());
        if self.at_ns < timers.set_to_ns.get() {
            timers.set(self.at_ns);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(key), Some(worker)) = (self.key, local::worker()) {
            worker.timers.sleepers.borrow_mut().remove(&key);
        }
    }
}

/// A timer that is set anew far more often than it fires: one of a QUIC connection moves with each packet.
///
/// Moving it later is a store: the wake-up that is entered already comes first, early, and the poll after it enters the
/// instant of then. It may be sent to another thread, where it never fires; it belongs to the worker that polls it first.
#[derive(Debug)]
pub struct Timer {
    at_ns: u64,
    entered: Option<Entered>,
}

#[derive(Debug)]
struct Entered {
    key: Key,
    /// [`Timers::id`] of where it is entered.
    home: u64,
    waker: Waker,
}

impl Timer {
    /// A timer for the instant `mono_ns` of the monotonic clock ([`crate::Now::mono_ns`]).
    pub fn new(mono_ns: u64) -> Self {
        Self { at_ns: mono_ns, entered: None }
    }

    /// Sets it to another instant. It must be polled after that.
    #[inline]
    pub fn reset(&mut self, mono_ns: u64) {
        self.at_ns = mono_ns;
    }

    /// Whether its instant has come; if not, the task is woken then, or before. On a worker.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(worker) = local::worker() else { return Poll::Pending };
        let timers = &worker.timers;
        let now_ns = sys::monotonic_ns();
        if let Some(entered) = &self.entered {
            if entered.home != timers.id {
                return Poll::Pending;
            }
            // What is entered for later than now has not been taken out: it still wakes us, if it is early enough.
            let wakes = entered.key.0 > now_ns && entered.key.0 <= self.at_ns;
            if wakes && entered.waker.will_wake(cx.waker()) {
                return Poll::Pending;
            }
            timers.strike(entered.key);
            self.entered = None;
        }
        if now_ns >= self.at_ns {
            return Poll::Ready(());
        }
        let key = timers.enter(self.at_ns, cx.waker().clone());
        self.entered = Some(Entered { key, home: timers.id, waker: cx.waker().clone() });
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let (Some(entered), Some(worker)) = (&self.entered, local::worker())
            && entered.home == worker.timers.id
        {
            worker.timers.strike(entered.key);
        }
    }
}
