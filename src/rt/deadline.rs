//! Deadlines of streams: a dense table per worker, swept every 100 ms. Arming is two stores; nothing is queued per operation.
//!
//! The table is made of chunks of 64 slots. Each chunk keeps a lower bound of its deadlines, so that a sweep over 100,000
//! connections reads some 1,600 words and looks into a chunk only when something in it may be due.

use std::cell::{Cell, RefCell};
use std::os::fd::RawFd;
use std::rc::{Rc, Weak};
use std::task::Waker;

use crate::local::DEADLINES_EXPIRED;
use crate::sys;

/// Which of a stream's two deadlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Side {
    /// For what we wait to receive. Expiry shuts down receiving only: a reply (408) can still be sent.
    Read = 1,
    /// For what we wait to send, and for connecting. Expiry shuts the connection down.
    Write = 2,
}

const SLOTS: usize = 64;
/// Not armed.
const NEVER: u64 = u64::MAX;

/// The two deadlines of one stream. Reached within 100 ms after the instant that was armed.
#[derive(Debug)]
pub struct Deadline {
    chunk: Rc<Chunk>,
    slot: u8,
}

impl Deadline {
    /// Sets the deadline of `which`, in nanoseconds of the monotonic clock ([`crate::Now::mono_ns`]), in place of the one
    /// before.
    #[inline]
    pub fn arm(&self, which: Side, at_mono_ns: u64) {
        if let Some(slot) = self.chunk.slots.get(usize::from(self.slot)) {
            match which {
                Side::Read => slot.read_ns.set(at_mono_ns),
                Side::Write => slot.write_ns.set(at_mono_ns),
            }
            if at_mono_ns < self.chunk.earliest_ns.get() {
                self.chunk.earliest_ns.set(at_mono_ns);
            }
        }
    }

    /// Takes the deadline of `which` away. One that has expired stays expired.
    #[inline]
    pub fn disarm(&self, which: Side) {
        self.arm(which, NEVER);
    }

    /// Wakes the owner of `waker` within 100 ms after this instant, in place of the one before; nothing is shut down. For who
    /// waits for something else and wants to look around when that takes long. As cheap as [`Self::arm`].
    #[inline]
    pub fn nudge(&self, at_mono_ns: u64, waker: &Waker) {
        if let Some(slot) = self.chunk.slots.get(usize::from(self.slot)) {
            let known = slot.waker.take().filter(|known| known.will_wake(waker));
            slot.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
            slot.nudge_ns.set(at_mono_ns);
            if at_mono_ns < self.chunk.earliest_ns.get() {
                self.chunk.earliest_ns.set(at_mono_ns);
            }
        }
    }

    /// Takes the nudge away. The waker is kept for the next one: its task owns the stream.
    #[inline]
    pub fn calm(&self) {
        if let Some(slot) = self.chunk.slots.get(usize::from(self.slot)) {
            slot.nudge_ns.set(NEVER);
        }
    }

    /// Whether no nudge is to come: it came, or there was none.
    #[inline]
    pub fn is_calm(&self) -> bool {
        self.chunk.slots.get(usize::from(self.slot)).is_none_or(|slot| slot.nudge_ns.get() == NEVER)
    }

    /// Which deadline was reached, `Write` first. The stream is then shut down on that side for good.
    #[inline]
    pub fn expired(&self) -> Option<Side> {
        let expired = self.chunk.slots.get(usize::from(self.slot)).map_or(0, |slot| slot.expired.get());
        if expired == 0 {
            None
        } else if expired & Side::Write as u8 != 0 {
            Some(Side::Write)
        } else {
            Some(Side::Read)
        }
    }
}

impl Drop for Deadline {
    /// INVARIANT: the slot is freed before the stream's descriptor is closed, so a sweep never meets a reused number.
    fn drop(&mut self) {
        let was_full = self.chunk.taken.get() == u64::MAX;
        self.chunk.taken.set(self.chunk.taken.get() & !(1 << self.slot));
        if let Some(slot) = self.chunk.slots.get(usize::from(self.slot)) {
            slot.clear(-1);
        }
        if was_full && let Some(table) = self.chunk.table.upgrade() {
            table.open.borrow_mut().push(self.chunk.clone());
        }
    }
}

/// All deadlines of one worker.
pub(crate) struct Table {
    chunks: RefCell<Vec<Rc<Chunk>>>,
    /// Chunks with a free slot; a full one is taken out when it is met.
    open: RefCell<Vec<Rc<Chunk>>>,
}

#[derive(Debug)]
struct Chunk {
    slots: [Slot; SLOTS],
    /// One bit per slot in use.
    taken: Cell<u64>,
    /// INVARIANT: no armed deadline of this chunk is earlier.
    earliest_ns: Cell<u64>,
    table: Weak<Table>,
}

struct Slot {
    read_ns: Cell<u64>,
    write_ns: Cell<u64>,
    /// When `waker` is to be woken.
    nudge_ns: Cell<u64>,
    waker: Cell<Option<Waker>>,
    fd: Cell<RawFd>,
    /// The sides that expired, as a set of `Side`s.
    expired: Cell<u8>,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("fd", &self.fd).finish_non_exhaustive()
    }
}

impl Slot {
    fn clear(&self, fd: RawFd) {
        self.read_ns.set(NEVER);
        self.write_ns.set(NEVER);
        self.nudge_ns.set(NEVER);
        drop(self.waker.take());
        self.fd.set(fd);
        self.expired.set(0);
    }

    /// Expires what is due and returns the earliest that is left.
    fn sweep(&self, now_ns: u64) -> u64 {
        if self.write_ns.get() <= now_ns {
            self.write_ns.set(NEVER);
            self.read_ns.set(NEVER);
            self.expired.set(self.expired.get() | Side::Write as u8);
            DEADLINES_EXPIRED.add_one();
            sys::shutdown_both(self.fd.get());
        } else if self.read_ns.get() <= now_ns {
            self.read_ns.set(NEVER);
            self.expired.set(self.expired.get() | Side::Read as u8);
            DEADLINES_EXPIRED.add_one();
            sys::shutdown_read(self.fd.get());
        }
        if self.nudge_ns.get() <= now_ns {
            self.nudge_ns.set(NEVER);
            if let Some(waker) = self.waker.take() {
                waker.wake_by_ref();
                self.waker.set(Some(waker));
            }
        }
        self.read_ns.get().min(self.write_ns.get()).min(self.nudge_ns.get())
    }
}

impl Table {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self { chunks: RefCell::new(Vec::new()), open: RefCell::new(Vec::new()) })
    }

    /// A free slot for the stream `fd`.
    pub(crate) fn take(self: &Rc<Self>, fd: RawFd) -> Deadline {
        let mut open = self.open.borrow_mut();
        let chunk = loop {
            match open.last() {
                Some(chunk) if chunk.taken.get() != u64::MAX => break chunk.clone(),
                Some(_) => drop(open.pop()),
                None => {
                    let chunk = Rc::new(Chunk::new(Rc::downgrade(self)));
                    self.chunks.borrow_mut().push(chunk.clone());
                    open.push(chunk);
                }
            }
        };
        let slot = chunk.taken.get().trailing_ones() as u8;
        chunk.taken.set(chunk.taken.get() | 1 << slot);
        if chunk.taken.get() == u64::MAX {
            open.pop();
        }
        if let Some(slot) = chunk.slots.get(usize::from(slot)) {
            slot.clear(fd);
        }
        Deadline { chunk, slot }
    }

    /// Expires every deadline that is due.
    pub(crate) fn sweep(&self, now_ns: u64) {
        for chunk in self.chunks.borrow().iter().filter(|chunk| chunk.earliest_ns.get() <= now_ns) {
            let earliest_ns = chunk.slots.iter().map(|slot| slot.sweep(now_ns)).min().unwrap_or(NEVER);
            chunk.earliest_ns.set(earliest_ns);
        }
    }

    /// Shuts every stream down: after a panic nobody else will.
    pub(crate) fn shut_down_all(&self) {
        for chunk in self.chunks.borrow().iter() {
            for slot in chunk.slots.iter().filter(|slot| slot.fd.get() >= 0) {
                sys::shutdown_both(slot.fd.get());
            }
        }
    }
}

impl Chunk {
    fn new(table: Weak<Table>) -> Self {
        let slots = std::array::from_fn(|_| Slot {
            read_ns: Cell::new(NEVER),
            write_ns: Cell::new(NEVER),
            nudge_ns: Cell::new(NEVER),
            waker: Cell::new(None),
            fd: Cell::new(-1),
            expired: Cell::new(0),
        });
        Self { slots, taken: Cell::new(0), earliest_ns: Cell::new(NEVER), table }
    }
}

#[cfg(test)]
mod tests {
    use super::{NEVER, Side, Table};

    /// No such descriptor: shutting it down does nothing.
    const NOBODY: i32 = i32::MAX;

    #[test]
    fn slots_are_reused_and_expire_each_for_itself() {
        let table = Table::new();
        let mut deadlines: Vec<_> = (0..1000).map(|_| table.take(NOBODY)).collect();
        assert_eq!(table.chunks.borrow().len(), 16);
        for (place, deadline) in deadlines.iter().enumerate() {
            deadline.arm(if place % 2 == 0 { Side::Read } else { Side::Write }, 1000 + place as u64);
        }
        table.sweep(1499);
        for (place, deadline) in deadlines.iter().enumerate() {
            let side = if place % 2 == 0 { Side::Read } else { Side::Write };
            assert_eq!(deadline.expired(), (place < 500).then_some(side), "{place}");
        }
        deadlines.truncate(300);
        deadlines.extend((300..1000).map(|_| table.take(NOBODY)));
        assert_eq!(table.chunks.borrow().len(), 16);
        table.sweep(NEVER - 1);
        assert!(deadlines[300..].iter().all(|deadline| deadline.expired().is_none()));
    }

    #[test]
    fn a_nudge_wakes_once_and_shuts_nothing_down() {
        #[derive(Default)]
        struct Count(std::sync::atomic::AtomicU32);
        impl std::task::Wake for Count {
            fn wake(self: std::sync::Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = std::sync::Arc::new(Count::default());
        let waker = std::task::Waker::from(count.clone());
        let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        let table = Table::new();
        let deadline = table.take(NOBODY);
        assert!(deadline.is_calm());
        deadline.nudge(1000, &waker);
        table.sweep(999);
        assert_eq!((woken(), deadline.is_calm()), (0, false));
        table.sweep(1000);
        table.sweep(2000);
        assert_eq!((woken(), deadline.is_calm(), deadline.expired()), (1, true, None));
        deadline.nudge(3000, &waker);
        deadline.calm();
        table.sweep(4000);
        assert_eq!(woken(), 1);
        drop(deadline);
        assert_eq!(std::sync::Arc::strong_count(&count), 2, "the waker goes with the stream");
    }

    #[test]
    fn a_sweep_looks_only_where_something_may_be_due() {
        let table = Table::new();
        let deadlines: Vec<_> = (0..128).map(|_| table.take(NOBODY)).collect();
        for deadline in &deadlines {
            deadline.arm(Side::Read, 5000);
        }
        deadlines[0].arm(Side::Read, 1000);
        deadlines[0].arm(Side::Read, 9000);
        let earliest = |chunk: usize| table.chunks.borrow()[chunk].earliest_ns.get();
        assert_eq!((earliest(0), earliest(1)), (1000, 5000));
        table.sweep(2000);
        assert_eq!((earliest(0), earliest(1)), (5000, 5000), "the bound is made exact by a visit");
        table.sweep(5000);
        assert_eq!((earliest(0), earliest(1)), (9000, NEVER));
        assert_eq!(deadlines[0].expired(), None);
    }
}
