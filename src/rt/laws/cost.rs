//! What an operation may cost: no allocation once a stream is warm.

#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use super::{in_ms, listener, on_each, worker};
use crate::{DriverChoice, Side, Stream, now, spawn};

on_each! {
    a_warm_stream_allocates_nothing => nothing_allocated;
}

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

async fn answer(stream: Stream) {
    let mut bytes = Vec::with_capacity(64);
    loop {
        bytes.clear();
        match stream.try_read_append(&mut bytes).unwrap() {
            Some(0) => return,
            Some(_) => assert_eq!(stream.try_write(&bytes).unwrap(), Some(bytes.len())),
            None => stream.readable().await.unwrap(),
        }
    }
}

/// One question and its answer, waited for in both ways, with deadlines.
async fn ask(stream: &Stream, mut bytes: Vec<u8>) -> Vec<u8> {
    stream.deadline().arm(Side::Write, now().mono_ns + 60_000_000_000);
    assert_eq!(stream.try_write(b"question").unwrap(), Some(8));
    stream.deadline().disarm(Side::Write);
    stream.deadline().arm(Side::Read, now().mono_ns + 60_000_000_000);
    bytes.clear();
    let (result, mut bytes) = stream.read_pinned(bytes).await;
    assert_eq!(result.unwrap(), 8);
    assert_eq!(stream.try_write(b"again").unwrap(), Some(5));
    bytes.clear();
    while stream.try_read_append(&mut bytes).unwrap().is_none() {
        stream.readable().await.unwrap();
    }
    stream.deadline().disarm(Side::Read);
    bytes
}

fn nothing_allocated(choice: DriverChoice) {
    worker(choice, || async {
        let (listener, address) = listener();
        spawn(async move { answer(listener.accept().await.unwrap().0).await });
        let stream = Stream::connect(address, in_ms(60_000)).await.unwrap();
        let mut bytes = Vec::with_capacity(64);
        for _ in 0..100 {
            bytes = ask(&stream, bytes).await;
        }
        let before = ALLOCATIONS.get();
        for _ in 0..1000 {
            bytes = ask(&stream, bytes).await;
        }
        assert_eq!(ALLOCATIONS.get() - before, 0);
    });
}
