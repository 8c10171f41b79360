//! Tasks that die alone: a panic in one ends that task and nothing else.

#![expect(
    unsafe_code,
    reason = "the futures inside the wrappers are pinned with them, and one is dropped in place"
)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use crate::local::{self, TASKS_PANICKED, Worker};
use crate::turn::defer;

/// Starts a task on this worker. If it panics, in a poll or in its drop, it ends alone: its future is dropped, the panic is
/// counted ([`tasks_panicked`]) and told to [`crate::Options::on_panic`].
///
/// The task must wait for I/O, timers or other tasks. One that wakes itself starves the others: it calls [`crate::turn`]
/// instead, or is started by [`spawn_foreign`].
///
/// Outside [`crate::run`] there is no worker, and the future is dropped.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let Some(worker) = local::worker() else { return };
    worker.tasks.live.set(worker.tasks.live.get() + 1);
    drop(monoio::spawn(Guarded { future: ManuallyDrop::new(future), alive: true, key: None, worker }));
}

/// Starts a task whose future is not ours (h2, quinn) and may wake itself: such wakes take effect only after the driver's
/// next round, so that it never starves the other tasks, the timers or I/O. Else as [`spawn`]. Its wakers may be used on
/// any thread.
pub fn spawn_foreign(future: impl Future<Output = ()> + 'static) {
    let wakes = Arc::new(ForeignWakes { state: AtomicU8::new(IDLE), task: OnceLock::new() });
    let waker = Waker::from(wakes.clone());
    spawn(Foreign { future, wakes, waker });
}

/// Starts a task as [`spawn_foreign`] does, whose panic ends the worker as one outside of a task does: for a future that others
/// cannot go on without, nor even be dropped safely after (quinn's drivers, which leave poisoned locks behind). From the
/// panic on no other task is polled or dropped.
pub fn spawn_vital(future: impl Future<Output = ()> + 'static) {
    let Some(worker) = local::worker() else { return };
    let mut future = Box::pin(future);
    spawn_foreign(poll_fn(move |cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))).unwrap_or_else(|panic| {
            TASKS_PANICKED.add_one();
            worker.failure.fail(panic_message(panic.as_ref()));
            Poll::Pending
        })
    }));
}

/// Whether a vital task has panicked.
#[derive(Default)]
pub(crate) struct Failure {
    failed: Cell<bool>,
    message: RefCell<String>,
    /// Of the worker's main future, which ends the worker.
    main: RefCell<Option<Waker>>,
}

impl Failure {
    fn fail(&self, message: &str) {
        self.failed.set(true);
        message.clone_into(&mut self.message.borrow_mut());
        let main = self.main.borrow_mut().take();
        if let Some(main) = main {
            main.wake();
        }
    }

    /// Polls the main future, or panics as the vital task did.
    pub(crate) fn poll_main<F: Future>(&self, main: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if self.failed.get() {
            resume_unwind(Box::new(self.message.take()));
        }
        *self.main.borrow_mut() = Some(cx.waker().clone());
        main.poll(cx)
    }
}

/// The number of tasks that ended by a panic since the process started.
pub fn tasks_panicked() -> u64 {
    TASKS_PANICKED.value()
}

thread_local! {
    /// Pinned reads of this thread's worker whose buffer the kernel may still own.
    static PINNED: Cell<usize> = const { Cell::new(0) };
}

/// A pinned read begins.
#[inline]
pub(crate) fn pin_one() {
    PINNED.set(PINNED.get() + 1);
}

/// A pinned read has ended, and let go of its buffer.
#[inline]
pub(crate) fn unpin_one() {
    let left = PINNED.get().saturating_sub(1);
    PINNED.set(left);
    if left == 0 {
        local::with_worker(|worker| worker.tasks.tell_drained());
    }
}

/// The live tasks of one worker, so that they can be ended inside the runtime.
pub(crate) struct Tasks {
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    live: Cell<usize>,
    /// Each task ends at its next poll.
    closing: Cell<bool>,
    drained: RefCell<Option<Waker>>,
}

impl Tasks {
    /// Of a worker that begins: what one before it on this thread has leaked is not waited for.
    pub(crate) fn new() -> Self {
        PINNED.set(0);
        Self {
            wakers: RefCell::default(),
            free: RefCell::default(),
            live: Cell::new(0),
            closing: Cell::new(false),
            drained: RefCell::default(),
        }
    }

    fn add(&self, waker: Waker) -> usize {
        let mut wakers = self.wakers.borrow_mut();
        let key = self.free.borrow_mut().pop().unwrap_or(wakers.len());
        match wakers.get_mut(key) {
            Some(place) => *place = Some(waker),
            None => wakers.push(Some(waker)),
        }
        key
    }

    fn remove(&self, key: Option<usize>) {
        if let Some(key) = key {
            let waker = self.wakers.borrow_mut().get_mut(key).and_then(Option::take);
            drop(waker);
            self.free.borrow_mut().push(key);
        }
        self.live.set(self.live.get().saturating_sub(1));
        self.tell_drained();
    }

    fn tell_drained(&self) {
        if self.closing.get() && self.live.get() == 0 && PINNED.get() == 0 {
            let drained = self.drained.borrow_mut().take();
            if let Some(drained) = drained {
                drained.wake();
            }
        }
    }

    /// Ends every task and waits until the kernel owns no buffer any more.
    pub(crate) async fn drain(&self) {
        self.closing.set(true);
        let wakers: Vec<Waker> = self.wakers.borrow().iter().flatten().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
        drop(wakers);
        poll_fn(|cx| {
            if self.live.get() == 0 && PINNED.get() == 0 {
                return Poll::Ready(());
            }
            *self.drained.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A task's future; each poll and its drop are in `catch_unwind`.
struct Guarded<F> {
    /// INVARIANT: initialised while `alive`; never moved once polled.
    future: ManuallyDrop<F>,
    alive: bool,
    /// Its place among the worker's tasks, from the first poll on.
    key: Option<usize>,
    worker: Rc<Worker>,
}

impl<F> Guarded<F> {
    /// Drops the future where it lies and signs the task off. Once.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.alive, false) {
            return;
        }
        // SAFETY: `alive` was set, so the future is initialised, and it is cleared, so nobody touches it again. Dropping
        // in place keeps the promise of pinning.
        let dropped = catch_unwind(AssertUnwindSafe(|| unsafe { ManuallyDrop::drop(&mut self.future) }));
        if let Err(panic) = dropped {
            report(&self.worker, panic.as_ref());
        }
        self.worker.tasks.remove(self.key.take());
    }
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is the only field that is pinned; it is neither moved nor replaced below.
        let this = unsafe { self.get_unchecked_mut() };
        if !this.alive {
            return Poll::Ready(());
        }
        if this.worker.failure.failed.get() {
            return Poll::Pending;
        }
        if this.worker.tasks.closing.get() {
            this.end();
            return Poll::Ready(());
        }
        if this.key.is_none() {
            this.key = Some(this.worker.tasks.add(cx.waker().clone()));
        }
        this.worker.completions.count_poll();
        // SAFETY: `this` came out of a pin, and `future` moves with it only.
        let future = unsafe { Pin::new_unchecked(&mut *this.future) };
        match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => report(&this.worker, panic.as_ref()),
        }
        this.end();
        Poll::Ready(())
    }
}

impl<F> Drop for Guarded<F> {
    fn drop(&mut self) {
        self.end();
    }
}

fn report(worker: &Worker, panic: &(dyn Any + Send)) {
    TASKS_PANICKED.add_one();
    let message = panic_message(panic);
    let _ = catch_unwind(AssertUnwindSafe(|| (worker.on_panic)(message)));
}

/// What the panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

/// Not in a poll: a wake goes to the task.
const IDLE: u8 = 0;
/// In a poll: a wake is remembered.
const POLLING: u8 = 1;
/// Woken during the poll.
const WOKEN: u8 = 2;

/// A future of others, polled with a waker of ours.
struct Foreign<F> {
    future: F,
    wakes: Arc<ForeignWakes>,
    waker: Waker,
}

struct ForeignWakes {
    state: AtomicU8,
    /// The task's own waker, from its first poll on; it is the same for all of its life.
    task: OnceLock<Waker>,
}

impl Wake for ForeignWakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let remembered = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| (state != IDLE).then_some(WOKEN))
            .is_ok();
        if !remembered && let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
    }
}

impl<F: Future<Output = ()>> Future for Foreign<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `future` is the only field that is pinned; it is neither moved nor replaced below.
        let this = unsafe { self.get_unchecked_mut() };
        this.wakes.task.get_or_init(|| cx.waker().clone());
        this.wakes.state.store(POLLING, Ordering::Release);
        // SAFETY: `this` came out of a pin, and `future` moves with it only.
        let polled =
            unsafe { Pin::new_unchecked(&mut this.future) }.poll(&mut Context::from_waker(&this.waker));
        let woken = this.wakes.state.swap(IDLE, Ordering::AcqRel) == WOKEN;
        if polled.is_pending() && woken {
            defer(cx.waker().clone());
        }
        polled
    }
}
