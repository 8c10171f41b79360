//! [`Bell`]: tasks of one worker that wait for the same thing, woken in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Rung when something changed that others wait for. Who hears it looks again: a ring promises nothing.
#[derive(Debug, Default)]
pub struct Bell {
    /// In the order of their numbers.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

impl Bell {
    /// Wakes who waits longest.
    pub fn ring_one(&self) {
        let first = self.waiting.borrow_mut().pop_front();
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }

    /// Wakes all who wait.
    pub fn ring_all(&self) {
        let all = self.waiting.take();
        all.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.borrow().len()
    }

    /// Waits for a ring. May be given up at any time: a ring that was meant for it goes on to the next.
    pub fn heard(&self) -> Heard<'_> {
        Heard { bell: self, number: None }
    }

    fn place(&self, number: u64) -> Option<usize> {
        self.waiting.borrow().binary_search_by_key(&number, |(number, _)| *number).ok()
    }
}

/// A wait for a [`Bell`].
#[derive(Debug)]
pub struct Heard<'b> {
    bell: &'b Bell,
    /// Its place in the order, from the first poll until it was told of a ring.
    number: Option<u64>,
}

impl Future for Heard<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(number) = self.number else {
            let number = self.bell.next.get();
            self.bell.next.set(number + 1);
            self.bell.waiting.borrow_mut().push_back((number, context.waker().clone()));
            self.number = Some(number);
            return Poll::Pending;
        };
        let Some(place) = self.bell.place(number) else {
            self.number = None;
            return Poll::Ready(());
        };
        if let Some((_, waker)) = self.bell.waiting.borrow_mut().get_mut(place) {
            waker.clone_from(context.waker());
        }
        Poll::Pending
    }
}

impl Drop for Heard<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        match self.bell.place(number) {
            Some(place) => drop(self.bell.waiting.borrow_mut().remove(place)),
            None => self.bell.ring_one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::Bell;

    fn poll(future: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_ring_reaches_who_waits_longest_and_passes_who_gave_up() {
        let bell = Bell::default();
        let (mut first, mut second) = (Box::pin(bell.heard()), pin!(bell.heard()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        assert_eq!(bell.waiting(), 2);
        bell.ring_one();
        assert!(poll(second.as_mut()).is_pending(), "it was not its turn");
        drop(first);
        assert!(poll(second.as_mut()).is_ready(), "the first never heard it");
        let mut third = Box::pin(bell.heard());
        assert!(poll(third.as_mut()).is_pending());
        drop(third);
        assert_eq!(bell.waiting(), 0);
    }

    #[test]
    fn all_hear_a_ring_for_all() {
        let bell = Bell::default();
        let (mut first, mut second) = (pin!(bell.heard()), pin!(bell.heard()));
        assert!(poll(first.as_mut()).is_pending() && poll(second.as_mut()).is_pending());
        bell.ring_all();
        assert!(poll(first.as_mut()).is_ready() && poll(second.as_mut()).is_ready());
    }
}
