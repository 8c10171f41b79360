//! A piece of content on its way out, and the gate that keeps the pieces of one connection few and in order.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::Buf;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::priority::Priority;

use crate::limits::{HTTP2_CONNECTION_WINDOW_BYTES_MIN, HTTP2_QUEUED_BYTES_MAX};

/// Content in a pooled buffer. It counts against its connection's gate until it is dropped.
pub(crate) struct Chunk {
    buffer: Option<Buffer>,
    at: usize,
    gate: Rc<Gate>,
}

impl Chunk {
    /// A copy of `bytes`, at most 64 KiB.
    pub(super) fn of(bytes: &[u8], gate: &Rc<Gate>) -> Self {
        gate.queued.set(gate.queued.get() + bytes.len());
        gate.window.set(gate.window.get() - bytes.len() as i64);
        let mut buffer = Buffer::take(Class::holding(bytes.len()).unwrap_or(Class::K64));
        buffer.vec_mut().extend_from_slice(bytes);
        Self { buffer: Some(buffer), at: 0, gate: Rc::clone(gate) }
    }

    /// No content: what ends a stream.
    pub(super) fn empty(gate: &Rc<Gate>) -> Self {
        Self { buffer: None, at: 0, gate: Rc::clone(gate) }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len()) - self.at
    }

    fn chunk(&self) -> &[u8] {
        self.buffer.as_ref().and_then(|buffer| buffer.get(self.at..)).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        self.at += count.min(self.remaining());
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let unsent = self.remaining();
        if let Some(buffer) = self.buffer.take() {
            let gate = &self.gate;
            // What a reset stream did not send, h2 gives to the others.
            gate.window.set(gate.window.get() + unsent as i64);
            gate.queued.set(gate.queued.get().saturating_sub(buffer.len()));
            gate.wake_next();
        }
    }
}

/// What all senders of a connection share: how much content h2 holds for the socket, how much the peer takes on all streams,
/// and who waits to add to it. The most urgent goes first (RFC 9218 §10); those of one rank in the order in which they came, so
/// that each has its turn. So h2's own queue, which knows no ranks, never waits for the connection's window.
pub(crate) struct Gate {
    queued: Cell<usize>,
    /// The connection's window (RFC 9113 §6.9), less what h2 was given. Without a meter nobody counts it, and it has no end.
    window: Cell<i64>,
    waiting: RefCell<Vec<Waiting>>,
}

struct Waiting {
    stream: u32,
    priority: Priority,
    waker: Waker,
}

impl Gate {
    /// For a connection whose window is counted, or is not.
    pub(super) fn new(counted: bool) -> Rc<Self> {
        let window = if counted { i64::from(HTTP2_CONNECTION_WINDOW_BYTES_MIN) } else { i64::MAX / 2 };
        Rc::new(Self { queued: Cell::new(0), window: Cell::new(window), waiting: RefCell::default() })
    }

    /// The peer takes so many bytes more.
    pub(super) fn widen(&self, bytes: u32) {
        self.window.set(self.window.get().saturating_add(i64::from(bytes)));
        self.wake_next();
    }

    /// How much may be added now by whoever goes next.
    fn open(&self) -> usize {
        let window = usize::try_from(self.window.get()).unwrap_or(0);
        HTTP2_QUEUED_BYTES_MAX.saturating_sub(self.queued.get()).min(window)
    }

    /// How much a sender of this rank may add now.
    pub(super) fn room(&self, priority: Priority) -> usize {
        let room = self.open();
        let others = self.waiting.borrow();
        if room > 0 && others.iter().any(|other| other.priority.is_before(priority)) {
            return 0;
        }
        room
    }

    /// Waits for room: woken when it is this sender's turn.
    pub(super) fn wait(&self, stream: u32, priority: Priority, context: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|other| other.stream == stream) {
            Some(own) => {
                own.priority = priority;
                own.waker.clone_from(context.waker());
            }
            None => waiting.push(Waiting { stream, priority, waker: context.waker().clone() }),
        }
    }

    /// This sender does not wait any more.
    pub(super) fn leave(&self, stream: u32) {
        self.waiting.borrow_mut().retain(|other| other.stream != stream);
    }

    /// Wakes who goes next, if there is room. Called wherever room comes about or somebody lets it pass.
    pub(super) fn wake_next(&self) {
        if self.open() == 0 {
            return;
        }
        let next = {
            let mut waiting = self.waiting.borrow_mut();
            let mut first: Option<(usize, Priority)> = None;
            for (place, other) in waiting.iter().enumerate() {
                if first.is_none_or(|(_, best)| other.priority.is_before(best)) {
                    first = Some((place, other.priority));
                }
            }
            first.map(|(place, _)| waiting.remove(place).waker)
        };
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake, Waker};

    use bytes::Buf;
    use ringway_wire::priority::Priority;

    use super::{Chunk, Gate};
    use crate::limits::HTTP2_QUEUED_BYTES_MAX;

    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_most_urgent_is_woken_first_and_those_of_a_rank_in_turn() {
        let gate = Gate::new(false);
        let piece = vec![b'x'; 64 * 1024];
        let held: Vec<Chunk> =
            (0..HTTP2_QUEUED_BYTES_MAX / piece.len()).map(|_| Chunk::of(&piece, &gate)).collect();
        let urgency = |urgency| Priority { urgency, incremental: false };
        assert_eq!(gate.room(urgency(0)), 0, "nobody goes beyond the bound");
        let wakers: Vec<Arc<Woken>> = (0..4).map(|_| Arc::new(Woken(AtomicU32::new(0)))).collect();
        for (stream, priority) in [(0, 3), (1, 5), (2, 0), (3, 3)] {
            let waker = Waker::from(wakers[stream as usize].clone());
            gate.wait(stream, urgency(priority), &Context::from_waker(&waker));
        }
        let woken = || wakers.iter().map(|waker| waker.0.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let mut held = held.into_iter();
        drop(held.next());
        assert_eq!(woken(), [0, 0, 1, 0]);
        assert_eq!(gate.room(urgency(4)), 0, "one of urgency 3 waits");
        assert!(gate.room(urgency(3)) > 0);
        drop(held);
        gate.wake_next();
        assert_eq!(woken()[2..], [1, 1]);
        gate.wake_next();
        assert_eq!(woken(), [1, 1, 1, 1]);
    }

    #[test]
    fn a_chunk_is_read_to_its_end_and_then_no_longer_counts() {
        let gate = Gate::new(true);
        let mut chunk = Chunk::of(b"hello", &gate);
        chunk.advance(2);
        assert_eq!((chunk.chunk(), chunk.remaining()), (&b"llo"[..], 3));
        chunk.advance(99);
        assert_eq!((chunk.remaining(), gate.queued.get()), (0, 5));
        drop(chunk);
        assert_eq!(gate.queued.get(), 0);
        assert_eq!(gate.window.get(), 65_535 - 5);
        drop(Chunk::of(b"never sent", &gate));
        assert_eq!(gate.window.get(), 65_535 - 5, "what was not sent is not spent");
        gate.widen(5);
        assert_eq!(gate.room(Priority::default()), 65_535);
        assert!(!Chunk::empty(&gate).has_remaining());
    }
}
