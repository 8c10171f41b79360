//! Sends that wait for the end of the worker's turn, and are then made one after the other.
//!
//! The kernel's part of a send and our part of a request do not fit into a core's first instruction cache together. Made in turn, each
//! drives the other out of it, four times a request; made in a row, each is fetched once for all requests of a turn.
//!
//! The end of a turn is when every task that was ready has run: the task [`keep`] is woken by the turn's first send, and the queue
//! brings it behind them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::clock;
use crate::local::{self, Worker};
use crate::sys;
use crate::task::spawn;
use crate::timer::sleep_until_ns;

/// Sends that wait; with one more all are made at once.
const WAITING_MAX: usize = 64;
/// Between two attempts at a send that did not fit and that nobody waits for.
const AGAIN_NS: u64 = 5_000_000;

/// What became of a send: how many bytes went, and the buffer.
pub(crate) type Sent = (io::Result<usize>, Vec<u8>);

/// The sends of one worker.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: RefCell<Vec<Rc<Outgoing>>>,
    keeper: RefCell<Option<Waker>>,
    /// The keeper is among the tasks that are ready.
    due: Cell<bool>,
}

/// What one stream sends at the end of the turn: one buffer at a time.
pub(crate) struct Outgoing {
    /// Negative once the stream is closed.
    fd: Cell<RawFd>,
    stage: Cell<Stage>,
    bytes: Cell<Vec<u8>>,
    /// So many of them went.
    done: Cell<usize>,
    failed: Cell<Option<io::Error>>,
}

/// How far a send is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// There is none, or its result was taken.
    None,
    /// It waits for the end of the turn.
    Put,
    /// It was attempted.
    Tried,
}

impl Outgoing {
    pub(crate) fn new(fd: RawFd) -> Rc<Self> {
        Rc::new(Self {
            fd: Cell::new(fd),
            stage: Cell::new(Stage::None),
            bytes: Cell::default(),
            done: Cell::default(),
            failed: Cell::default(),
        })
    }

    /// Takes bytes that are sent at the end of the turn: what was put before has gone by then, or they fail.
    pub(crate) fn put(self: &Rc<Self>, bytes: Vec<u8>) {
        let before = self.take();
        self.bytes.set(bytes);
        self.done.set(0);
        self.stage.set(Stage::Put);
        if before.is_some_and(|(sent, bytes)| !sent.is_ok_and(|count| count == bytes.len())) {
            self.failed.set(Some(io::ErrorKind::BrokenPipe.into()));
            self.stage.set(Stage::Tried);
            return;
        }
        if local::with_worker(|worker| worker.outbox.add(Rc::clone(self))).is_none() {
            self.attempt();
        }
    }

    /// Sends what has not gone yet, as far as it fits.
    fn attempt(&self) {
        self.stage.set(Stage::Tried);
        let bytes = self.bytes.take();
        match sys::send(self.fd.get(), bytes.get(self.done.get()..).unwrap_or_default()) {
            Ok(count) => self.done.set(self.done.get() + count.unwrap_or(0)),
            Err(error) => self.failed.set(Some(error)),
        }
        self.bytes.set(bytes);
    }

    /// Whether something was put whose result was not taken.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.stage.get() != Stage::None
    }

    /// What became of it; it is sent now if it still waits. `None`: nothing was put.
    pub(crate) fn take(&self) -> Option<Sent> {
        if self.stage.get() == Stage::Put {
            self.attempt();
        }
        (self.stage.replace(Stage::None) == Stage::Tried).then(|| {
            let result = self.failed.take().map_or(Ok(self.done.get()), Err);
            (result, self.bytes.take())
        })
    }

    /// The stream closes: what waits is sent before.
    pub(crate) fn close(&self) {
        if self.stage.replace(Stage::None) == Stage::Put {
            self.attempt();
            self.stage.set(Stage::None);
        }
        self.fd.set(-1);
    }

    /// Whether some of it did not fit and nobody has taken it.
    fn is_partial(&self) -> bool {
        let bytes = self.bytes.take();
        let failed = self.failed.take();
        let partial = self.stage.get() == Stage::Tried && failed.is_none() && self.done.get() < bytes.len();
        self.bytes.set(bytes);
        self.failed.set(failed);
        partial
    }
}

impl Outbox {
    fn add(&self, outgoing: Rc<Outgoing>) {
        let waiting = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push(outgoing);
            waiting.len()
        };
        if waiting >= WAITING_MAX {
            self.send_all();
        } else {
            self.fall_due();
        }
    }

    /// Has the keeper run behind the tasks that are ready.
    fn fall_due(&self) {
        if !self.due.replace(true)
            && let Some(keeper) = &*self.keeper.borrow()
        {
            keeper.wake_by_ref();
        }
    }

    fn send_all(&self) {
        let mut due = self.waiting.take();
        for outgoing in due.drain(..) {
            if outgoing.stage.get() == Stage::Put {
                outgoing.attempt();
            }
            if outgoing.is_partial() {
                spawn(again(outgoing));
            }
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.capacity() == 0 {
            *waiting = due;
        }
    }
}

/// Makes the sends of each turn: one task per worker.
pub(crate) async fn keep(worker: Rc<Worker>) {
    poll_fn(|context| {
        worker.outbox.keeper.borrow_mut().get_or_insert_with(|| context.waker().clone());
        worker.outbox.due.set(false);
        worker.outbox.send_all();
        Poll::<()>::Pending
    })
    .await;
}

/// Sends the rest of what did not fit, though a peer that had answered everything should have room for a head: now and then, until it
/// is gone or the stream is closed, by whose deadlines it is bounded.
async fn again(outgoing: Rc<Outgoing>) {
    while outgoing.is_partial() {
        sleep_until_ns(clock::now().mono_ns.saturating_add(AGAIN_NS)).await;
        if outgoing.is_partial() {
            outgoing.attempt();
        }
    }
}
