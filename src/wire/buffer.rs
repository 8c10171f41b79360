//! Pooled byte buffers of five sizes: each worker thread keeps its own free lists, bounded in bytes.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The sizes in which buffers come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// 4 KiB: an ordinary head.
    K4,
    /// 16 KiB: a TLS record.
    K16,
    /// 32 KiB: the largest head by default.
    K32,
    /// 64 KiB: a flowing body.
    K64,
    /// 256 KiB: a fast body.
    K256,
}

impl Class {
    /// All, from small to large.
    pub const ALL: [Self; 5] = [Self::K4, Self::K16, Self::K32, Self::K64, Self::K256];

    /// Capacity in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::K4 => 4 * 1024,
            Self::K16 => 16 * 1024,
            Self::K32 => 32 * 1024,
            Self::K64 => 64 * 1024,
            Self::K256 => 256 * 1024,
        }
    }

    /// The smallest class that holds so many bytes.
    #[must_use]
    pub fn holding(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.bytes() >= bytes)
    }

    /// The next larger one.
    #[must_use]
    pub const fn larger(self) -> Option<Self> {
        match self {
            Self::K4 => Some(Self::K16),
            Self::K16 => Some(Self::K32),
            Self::K32 => Some(Self::K64),
            Self::K64 => Some(Self::K256),
            Self::K256 => None,
        }
    }
}

/// A byte vector of a class's capacity that goes back to this thread's free list when dropped.
///
/// It owns its memory: it may move between threads and then joins the free list of the thread that drops it.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    class: Class,
    /// Where the first line begins that a head parser has not looked at yet.
    searched: u32,
}

impl Buffer {
    /// An empty buffer, from the free list when there is one.
    #[must_use]
    pub fn take(class: Class) -> Self {
        let bytes = POOL
            .try_with(|pool| pool.borrow_mut().take(class))
            .unwrap_or_else(|_| Vec::with_capacity(class.bytes()));
        Self { bytes, class, searched: 0 }
    }

    /// A copy of `content` in the smallest class that holds it, or in a plain vector when none does.
    #[must_use]
    pub fn copied_from(content: &[u8]) -> Self {
        let mut buffer = Self::take(Class::holding(content.len()).unwrap_or(Class::K256));
        buffer.bytes.extend_from_slice(content);
        buffer
    }

    /// Its size class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Bytes that fit without reallocation.
    #[must_use]
    pub fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// The vector inside. A buffer that was made to reallocate is not pooled again.
    pub fn vec_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Drops all content.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.searched = 0;
    }

    /// Drops the first `count` bytes and moves the rest to the front.
    pub fn consume(&mut self, count: usize) {
        let end = self.bytes.len();
        if count >= end {
            self.bytes.clear();
        } else {
            self.bytes.copy_within(count..end, 0);
            self.bytes.truncate(end - count);
        }
        self.searched = 0;
    }

    /// The same content in a buffer of the next larger class; itself where there is none.
    #[must_use]
    pub fn grown(self) -> Self {
        let Some(class) = self.class.larger() else { return self };
        let mut larger = Self::take(class);
        larger.bytes.extend_from_slice(&self.bytes);
        larger.searched = self.searched;
        larger
    }

    pub(crate) fn searched(&self) -> usize {
        (self.searched as usize).min(self.bytes.len())
    }

    pub(crate) fn set_searched(&mut self, at: usize) {
        self.searched = u32::try_from(at).unwrap_or(0);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let class = self.class;
        // A thread that is ending has no list left: the memory is freed.
        let _ = POOL.try_with(|pool| pool.borrow_mut().put(class, bytes));
    }
}

struct Pool {
    free: [Vec<Vec<u8>>; 5],
    idle_bytes: usize,
    /// The least that was idle since the last look: what nobody needed.
    idle_bytes_least: usize,
    idle_bytes_max: usize,
    in_use_bytes: usize,
    in_use_bytes_max: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const {
        RefCell::new(Pool {
            free: [const { Vec::new() }; 5],
            idle_bytes: 0,
            idle_bytes_least: 0,
            idle_bytes_max: memory::IDLE_BYTES_MAX_DEFAULT,
            in_use_bytes: 0,
            in_use_bytes_max: usize::MAX,
        })
    };
}

impl Pool {
    #[inline]
    fn take(&mut self, class: Class) -> Vec<u8> {
        self.in_use_bytes += class.bytes();
        match self.free.get_mut(class as usize).and_then(Vec::pop) {
            Some(bytes) => {
                self.idle_bytes -= class.bytes();
                self.idle_bytes_least = self.idle_bytes_least.min(self.idle_bytes);
                bytes
            }
            None => Vec::with_capacity(class.bytes()),
        }
    }

    fn put(&mut self, class: Class, mut bytes: Vec<u8>) {
        // A buffer from another thread was not counted here.
        self.in_use_bytes = self.in_use_bytes.saturating_sub(class.bytes());
        if bytes.capacity() != class.bytes() || self.idle_bytes + class.bytes() > self.idle_bytes_max {
            return;
        }
        bytes.clear();
        if let Some(list) = self.free.get_mut(class as usize) {
            self.idle_bytes += class.bytes();
            list.push(bytes);
        }
    }

    /// Frees buffers, large ones first, until `bytes` of them are idle at most.
    fn shrink(&mut self, bytes: usize) {
        for class in Class::ALL.into_iter().rev() {
            while self.idle_bytes > bytes && self.free.get_mut(class as usize).and_then(Vec::pop).is_some() {
                self.idle_bytes -= class.bytes();
            }
        }
    }
}

/// What this thread's buffers weigh.
pub mod memory {
    use super::POOL;

    /// How many free bytes a thread keeps unless told otherwise.
    pub const IDLE_BYTES_MAX_DEFAULT: usize = 8 * 1024 * 1024;

    /// Bytes (by class) of this thread's buffers that somebody holds.
    #[must_use]
    pub fn in_use() -> usize {
        POOL.try_with(|pool| pool.borrow().in_use_bytes).unwrap_or(0)
    }

    /// Whether this thread's buffers weigh as much as they may: nothing new is taken on.
    #[must_use]
    #[inline]
    pub fn is_full() -> bool {
        POOL.try_with(|pool| {
            let pool = pool.borrow();
            pool.in_use_bytes >= pool.in_use_bytes_max
        })
        .unwrap_or(false)
    }

    /// Whether they weigh four fifths of it: from here on bodies flow through small buffers only.
    #[must_use]
    pub fn is_short() -> bool {
        POOL.try_with(|pool| {
            let pool = pool.borrow();
            pool.in_use_bytes >= pool.in_use_bytes_max / 5 * 4
        })
        .unwrap_or(false)
    }

    /// Bytes that are held elsewhere than in a buffer, such as in a pipe, and count like a buffer's for as long as this lives: on the
    /// thread that made it.
    #[derive(Debug)]
    pub struct Weight(usize);

    impl Weight {
        /// So many bytes.
        #[must_use]
        pub fn of(bytes: usize) -> Self {
            let _ = POOL.try_with(|pool| pool.borrow_mut().in_use_bytes += bytes);
            Self(bytes)
        }
    }

    impl Drop for Weight {
        fn drop(&mut self) {
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                pool.in_use_bytes = pool.in_use_bytes.saturating_sub(self.0);
            });
        }
    }

    /// Sets how much this thread's buffers may weigh. It is asked for, and not enforced here.
    pub fn set_in_use_bytes_max(bytes: usize) {
        let _ = POOL.try_with(|pool| pool.borrow_mut().in_use_bytes_max = bytes);
    }

    /// Bytes (by class) on this thread's free lists.
    #[must_use]
    pub fn idle() -> usize {
        POOL.try_with(|pool| pool.borrow().idle_bytes).unwrap_or(0)
    }

    /// Sets how many free bytes this thread keeps, and frees what is beyond it.
    pub fn set_idle_bytes_max(bytes: usize) {
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            pool.idle_bytes_max = bytes;
            pool.shrink(bytes);
        });
    }

    /// Frees what this thread has kept and not needed since the last call: to be called about once a second, so that the buffers of
    /// a burst do not outlive it.
    pub fn give_back_surplus() {
        let _ = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            let needed = pool.idle_bytes.saturating_sub(pool.idle_bytes_least);
            pool.shrink(needed);
            pool.idle_bytes_least = pool.idle_bytes;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Class, memory};

    #[test]
    fn a_dropped_buffer_is_taken_again_and_empty() {
        let mut first = Buffer::take(Class::K16);
        first.vec_mut().extend_from_slice(b"abc");
        let address = first.as_ptr();
        assert_eq!(memory::in_use(), 16 * 1024);
        drop(first);
        assert_eq!((memory::in_use(), memory::idle()), (0, 16 * 1024));
        let second = Buffer::take(Class::K16);
        assert!(second.is_empty());
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.spare(), 16 * 1024);
    }

    #[test]
    fn what_is_held_is_weighed_against_its_most() {
        memory::set_in_use_bytes_max(20 * 1024);
        let mut held: Vec<Buffer> = (0..3).map(|_| Buffer::take(Class::K4)).collect();
        assert!(!memory::is_short() && !memory::is_full());
        held.push(Buffer::take(Class::K4));
        assert!(memory::is_short() && !memory::is_full());
        held.push(Buffer::take(Class::K4));
        assert!(memory::is_full());
        held.clear();
        assert!(!memory::is_short());
    }

    #[test]
    fn what_is_held_elsewhere_weighs_as_much() {
        memory::set_in_use_bytes_max(20 * 1024);
        let buffer = Buffer::take(Class::K4);
        let weight = memory::Weight::of(16 * 1024);
        assert!(memory::is_full());
        drop(weight);
        assert_eq!(memory::in_use(), 4 * 1024);
        drop(buffer);
    }

    #[test]
    fn free_lists_are_bounded_in_bytes() {
        memory::set_idle_bytes_max(8 * 1024);
        let held: Vec<Buffer> = (0..4).map(|_| Buffer::take(Class::K4)).collect();
        drop(held);
        assert_eq!(memory::idle(), 8 * 1024);
        memory::set_idle_bytes_max(4 * 1024);
        assert_eq!(memory::idle(), 4 * 1024);
    }

    #[test]
    fn what_nobody_needed_for_a_while_is_given_back() {
        let held: Vec<Buffer> = (0..8).map(|_| Buffer::take(Class::K4)).collect();
        drop(held);
        memory::give_back_surplus();
        assert_eq!(memory::idle(), 32 * 1024, "they were needed since the look before");
        drop([Buffer::take(Class::K4), Buffer::take(Class::K4)]);
        memory::give_back_surplus();
        assert_eq!(memory::idle(), 8 * 1024);
        memory::give_back_surplus();
        assert_eq!(memory::idle(), 0);
    }

    #[test]
    fn a_reallocated_buffer_is_not_pooled() {
        let mut buffer = Buffer::take(Class::K4);
        buffer.vec_mut().resize(5000, 0);
        drop(buffer);
        assert_eq!(memory::idle(), 0);
    }

    #[test]
    fn growing_and_consuming_keep_the_content() {
        let mut buffer = Buffer::copied_from(b"hello world").grown();
        assert_eq!((&buffer[..], buffer.class()), (&b"hello world"[..], Class::K16));
        buffer.consume(6);
        assert_eq!(&buffer[..], b"world");
        buffer.consume(99);
        assert!(buffer.is_empty());
    }
}
