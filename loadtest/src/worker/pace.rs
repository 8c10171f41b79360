//! When each request of a thread is sent. In an open loop a request that is due goes to a free connection, and where
//! there is none the first that becomes free takes it: the schedule itself is the queue, so that a backlog costs nothing
//! and no arrival is ever forgotten.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use ringway_rt::{now, sleep_until_ns, turn};

use super::Shared;
use crate::schedule::Schedule;

/// A request that is to be sent now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    /// When it was intended (monotonic); in a closed loop, now.
    pub(super) intended_ns: u64,
    /// Which piece of the rate it belongs to.
    pub(super) piece: u16,
    /// Whether a connection was free when it came due: if not, the time until now is the peer's doing and not ours.
    pub(super) was_free: bool,
}

#[derive(Debug, Default)]
struct Slot {
    due: Cell<Option<Due>>,
    waker: RefCell<Option<Waker>>,
    in_flight: Cell<Option<Due>>,
}

/// The pace of one thread.
#[derive(Debug)]
pub(super) struct Pace {
    /// None in a closed loop.
    schedule: Option<RefCell<Schedule>>,
    begin_ns: Cell<u64>,
    slots: Vec<Slot>,
    /// Lanes without a request, the one that has been so for longest first.
    free: RefCell<VecDeque<usize>>,
    keeper: RefCell<Option<Waker>>,
}

impl Pace {
    pub(super) fn new(schedule: Option<Schedule>, lanes: usize) -> Self {
        Self {
            schedule: schedule.map(RefCell::new),
            begin_ns: Cell::new(0),
            slots: std::iter::repeat_with(Slot::default).take(lanes).collect(),
            free: RefCell::new(VecDeque::with_capacity(lanes)),
            keeper: RefCell::default(),
        }
    }

    pub(super) fn begin(&self, begin_ns: u64) {
        self.begin_ns.set(begin_ns);
    }

    /// The next arrival of the schedule; none when it has ended.
    fn peek(&self) -> Option<Due> {
        let arrival = self.schedule.as_ref()?.borrow().peek()?;
        Some(Due { intended_ns: self.begin_ns.get() + arrival.at_ns, piece: arrival.piece, was_free: false })
    }

    fn advance(&self) {
        if let Some(schedule) = &self.schedule {
            schedule.borrow_mut().advance();
        }
    }

    /// Nothing more is due.
    pub(super) fn stop(&self) {
        if let Some(schedule) = &self.schedule {
            schedule.borrow_mut().end();
        }
        self.wake_keeper();
    }

    /// The next request of an open loop for the lane `lane`, which is free at `now_ns`. None: there are no more.
    pub(super) async fn next(&self, lane: usize, now_ns: u64) -> Option<Due> {
        let first = self.peek()?;
        if first.intended_ns <= now_ns && self.free.borrow().is_empty() {
            self.advance();
            return Some(first);
        }
        self.free.borrow_mut().push_back(lane);
        self.wake_keeper();
        let slot = self.slots.get(lane)?;
        poll_fn(|cx| {
            if let Some(due) = slot.due.take() {
                return Poll::Ready(Some(due));
            }
            if self.peek().is_none() {
                return Poll::Ready(None);
            }
            *slot.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// What the lane is waiting for a reply to.
    #[inline]
    pub(super) fn set_in_flight(&self, lane: usize, due: Option<Due>) {
        if let Some(slot) = self.slots.get(lane) {
            slot.in_flight.set(due);
        }
    }

    /// All that replies are waited for.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = Due> {
        self.slots.iter().filter_map(|slot| slot.in_flight.take().or_else(|| slot.due.take()))
    }

    /// Takes what is left of the schedule.
    pub(super) fn never_sent(&self) -> impl Iterator<Item = Due> {
        std::iter::from_fn(|| {
            let due = self.peek()?;
            self.advance();
            Some(due)
        })
    }

    fn wake_keeper(&self) {
        let waker = self.keeper.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Gives everything that is due to free lanes. What comes next, if a lane is free for it.
    fn hand_out(&self, now_ns: u64) -> Next {
        loop {
            let Some(due) = self.peek() else {
                for slot in &self.slots {
                    slot.wake();
                }
                return Next::Never;
            };
            let mut free = self.free.borrow_mut();
            if free.is_empty() {
                return Next::WhenFree;
            }
            if due.intended_ns > now_ns {
                return Next::At(due.intended_ns);
            }
            let lane = free.pop_front();
            drop(free);
            self.advance();
            if let Some(slot) = lane.and_then(|lane| self.slots.get(lane)) {
                slot.due.set(Some(Due { was_free: true, ..due }));
                slot.wake();
            }
        }
    }
}

impl Slot {
    fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

enum Next {
    At(u64),
    WhenFree,
    Never,
}

/// The keeper of the pace: one task a thread. In a closed loop it has nothing to do.
pub(super) async fn keep(shared: Rc<Shared>) {
    let pace = &shared.pace;
    loop {
        match pace.hand_out(now().mono_ns) {
            Next::At(_) if shared.plan.busy => turn().await,
            Next::At(at_ns) => sleep_until_ns(at_ns).await,
            Next::WhenFree => {
                let mut parked = false;
                poll_fn(|cx| {
                    if std::mem::replace(&mut parked, true) {
                        return Poll::Ready(());
                    }
                    *pace.keeper.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await;
            }
            Next::Never => return,
        }
    }
}
