//! A value that stays on its thread, inside types of which quinn asks that they could be sent.

#![expect(unsafe_code, reason = "promises Send and Sync for what never leaves its thread")]

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

static THREADS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The number of this thread; 0 until it is asked for. Never used twice in a process.
    static THREAD: Cell<u64> = const { Cell::new(0) };
}

fn this_thread() -> u64 {
    THREAD.with(|thread| {
        if thread.get() == 0 {
            thread.set(THREADS.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

/// A value that only the thread that made it can reach. Elsewhere there is nothing to be had of it, and dropping it there
/// leaks it. On a worker nothing is ever elsewhere: quinn's tasks are spawned where they are made and never move.
pub(crate) struct Bound<T> {
    value: ManuallyDrop<T>,
    thread: u64,
}

// SAFETY: the value is reached by `home` and by `drop` alone, and both first see that they run on the thread that made
// it; numbers of threads are never used twice. So no other thread ever has a reference to it, nor drops it.
unsafe impl<T> Send for Bound<T> {}
// SAFETY: as above: a shared `Bound` gives a reference on one thread only.
unsafe impl<T> Sync for Bound<T> {}

impl<T> Bound<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), thread: this_thread() }
    }

    /// The value, on its own thread.
    #[inline]
    pub(crate) fn home(&self) -> Option<&T> {
        (self.thread == this_thread()).then_some(&*self.value)
    }
}

impl<T> Drop for Bound<T> {
    fn drop(&mut self) {
        if self.thread == this_thread() {
            // SAFETY: on its own thread, once, and never touched after.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

impl<T> fmt::Debug for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").field("thread", &self.thread).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::Bound;

    #[test]
    fn nothing_is_had_of_it_on_another_thread() {
        let value = Rc::new(7);
        let bound = Bound::new(Rc::clone(&value));
        assert_eq!(bound.home().map(|value| **value), Some(7));
        let bound = std::thread::spawn(move || {
            assert!(bound.home().is_none());
            bound
        })
        .join()
        .unwrap();
        assert!(bound.home().is_some());
        drop(bound);
        assert_eq!(Rc::strong_count(&value), 1);
    }

    #[test]
    fn dropped_elsewhere_it_is_leaked() {
        let value = Rc::new(7);
        let bound = Bound::new(Rc::clone(&value));
        std::thread::spawn(move || drop(bound)).join().unwrap();
        assert_eq!(Rc::strong_count(&value), 2);
    }
}
