//! Asking for memory before it is needed: what is not in a core's cache is otherwise waited for, as long as hundreds of instructions take.
#![expect(unsafe_code, reason = "a prefetch has no safe form")]

/// Asks for the line of the cache in which this begins, and waits for nothing.
#[inline(always)]
pub(crate) fn fetch<T>(of: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is in every x86-64 processor; it is a hint that reads and writes nothing a program sees and never
        // faults, and the address is that of a live reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(of).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = of;
}
