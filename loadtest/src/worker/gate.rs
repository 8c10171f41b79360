//! Waiting until a number of tasks of one thread have ended, or for no longer than some time.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};

use ringway_rt::sleep_until_ns;

/// Counts those inside, and tells when the last has left.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Cell<usize>,
    /// When it is not waited any longer, once somebody wants it sooner.
    hurried_ns: Cell<Option<u64>>,
    waiting: RefCell<Option<Waker>>,
}

impl Gate {
    /// One more.
    pub(super) fn enter(&self) {
        self.inside.set(self.inside.get() + 1);
    }

    /// One less.
    pub(super) fn leave(&self) {
        self.inside.set(self.inside.get().saturating_sub(1));
        if self.inside.get() == 0 {
            self.wake();
        }
    }

    /// Not to be waited for beyond this time.
    pub(super) fn hurry(&self, until_ns: u64) {
        self.hurried_ns.set(Some(until_ns));
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waiting.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Until nobody is inside, or until `until_ns` (monotonic), or what [`Self::hurry`] said.
    pub(super) async fn closed(&self, until_ns: u64) {
        let mut until_ns = until_ns;
        loop {
            let mut sleep = pin!(sleep_until_ns(until_ns));
            let hurried = poll_fn(|cx| {
                if self.inside.get() == 0 {
                    return Poll::Ready(None);
                }
                if let Some(sooner_ns) = self.hurried_ns.take() {
                    return Poll::Ready(Some(sooner_ns));
                }
                *self.waiting.borrow_mut() = Some(cx.waker().clone());
                sleep.as_mut().poll(cx).map(|()| None)
            })
            .await;
            match hurried {
                Some(sooner_ns) => until_ns = until_ns.min(sooner_ns),
                None => return,
            }
        }
    }
}
