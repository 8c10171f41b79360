//! Letting everybody else run: a turn that passes through the driver.
//!
//! monoio puts a task that wakes itself at the *front* of its queue, before every other task and before new completions.
//! Here such wakes are collected and passed on only after the driver has been round once: in between every ready task has
//! run and every completion that was there, timers included, has been delivered.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::local::{self, Worker};
use crate::sys;
use crate::watched::{Direction, Watched};

/// Gives the turn away: returns after every other ready task and all I/O that was ready have had theirs. A loop that may
/// find work without ever waiting calls it once in a while, so that its work per turn is bounded.
pub async fn turn() {
    let mut given = false;
    poll_fn(|cx| {
        if mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        defer(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

/// Wakes `waker` after the driver's next round. On a worker; outside of one, at once.
pub(crate) fn defer(waker: Waker) {
    let Some(worker) = local::worker() else { return waker.wake() };
    worker.turns.deferred.borrow_mut().push(waker);
    let keeper = worker.turns.keeper.borrow_mut().take();
    if let Some(keeper) = keeper {
        keeper.wake();
    }
}

/// What waits for the next round.
pub(crate) struct Turns {
    deferred: RefCell<Vec<Waker>>,
    /// The task [`keep`], while it has nothing to do.
    keeper: RefCell<Option<Waker>>,
    /// On the ring its count is 1 for ever: waiting for it is one entry that completes in the next round, and no system
    /// call. On epoll, which reports changes only, it is written and drained for each round.
    event: Watched,
}

impl Turns {
    pub(crate) fn new() -> io::Result<Self> {
        let event = sys::eventfd()?;
        if local::on_ring() {
            sys::eventfd_write(&event);
        }
        Ok(Self { deferred: RefCell::default(), keeper: RefCell::default(), event: Watched::new(event)? })
    }

    /// Waits for one round of the driver.
    async fn round(&self) -> io::Result<()> {
        if local::on_ring() {
            return self.event.readable().await;
        }
        let mut written = false;
        let result = poll_fn(|cx| {
            loop {
                match self.event.poll_ready(Direction::Read, cx) {
                    // A leftover from before the write: not a round.
                    Poll::Ready(Ok(())) if !written => {}
                    Poll::Ready(result) => return Poll::Ready(result),
                    Poll::Pending => {
                        if !mem::replace(&mut written, true) {
                            sys::eventfd_write_raw(self.event.fd());
                        }
                        return Poll::Pending;
                    }
                }
            }
        })
        .await;
        sys::eventfd_drain_raw(self.event.fd());
        result
    }
}

/// Passes deferred wakes on: one task per worker.
pub(crate) async fn keep(worker: Rc<Worker>) {
    let turns = &worker.turns;
    loop {
        poll_fn(|cx| {
            if turns.deferred.borrow().is_empty() {
                *turns.keeper.borrow_mut() = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
        worker.completions.ask();
        if let Err(error) = turns.round().await {
            tracing::error!(%error, "waiting for a turn failed");
        }
        let due = turns.deferred.take();
        for waker in due {
            waker.wake();
        }
    }
}
