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

/// The timers of one worker.
pub(crate) struct Timers {
    timerfd: Watched,
    sleepers: RefCell<BTreeMap<Key, Waker>>,
    sequence: Cell<u64>,
    /// What the timerfd is set to.
    set_to_ns: Cell<u64>,
}

impl Timers {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            timerfd: Watched::new(sys::timerfd()?)?,
            sleepers: RefCell::new(BTreeMap::new()),
            sequence: Cell::new(0),
            set_to_ns: Cell::new(u64::MAX),
        })
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
