//! Reads whose buffer the kernel owns until they end: the only operations of that kind here.

#![expect(
    unsafe_code,
    reason = "monoio's buffer trait is unsafe, and a second handle on a descriptor is made"
)]

use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd};

use monoio::buf::IoBufMut;
use monoio::io::{AsyncReadRent, CancelHandle, CancelableAsyncReadRent, Canceller};
use monoio::net::TcpStream;

use crate::local;
use crate::sys;
use crate::task::{pin_one, unpin_one};
use crate::watched::Watched;

/// A second monoio handle on a stream's descriptor, kept from one pinned read to the next. monoio's `read` wants a handle
/// of its own (`&mut`), and the first one is shared with the waits. It must never close: see [`release`].
pub(crate) struct Alias(Box<ManuallyDrop<TcpStream>>);

/// What ends a pinned read early: asked for with [`CallOff::now`], it takes effect when the kernel says so.
#[derive(Default)]
pub(crate) struct CallOff(Cell<Option<Canceller>>);

impl CallOff {
    fn handle(&self) -> CancelHandle {
        let canceller = self.0.take().unwrap_or_default();
        let handle = canceller.handle();
        self.0.set(Some(canceller));
        handle
    }

    /// Asks the kernel to end the read that is under way, if there is one.
    pub(crate) fn now(&self) {
        if let Some(canceller) = self.0.take() {
            self.0.set(Some(canceller.cancel()));
        }
    }
}

impl std::fmt::Debug for CallOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallOff")
    }
}

/// Appends to `buffer` from the stream; see [`crate::Stream::read_pinned`] and [`crate::Stream::read_warm`].
pub(crate) async fn read(
    watched: &Watched,
    alias: &Cell<Option<Alias>>,
    mut buffer: Vec<u8>,
    call_off: Option<&CallOff>,
) -> (io::Result<usize>, Vec<u8>) {
    if !local::on_ring() || local::with_worker(|_| ()).is_none() {
        return (read_when_ready(watched, &mut buffer).await, buffer);
    }
    let mut handle = match alias.take().map_or_else(|| second_handle(watched), Ok) {
        Ok(handle) => handle,
        Err(error) => return (Err(error), buffer),
    };
    pin_one();
    let spare = Spare(buffer);
    // INVARIANT: if this future is given up, `handle` is leaked (it never closes) and the stream leaves its close to the
    // driver, behind the entry of this read.
    let guard = OrphanOnDrop(watched);
    let (result, mut spare) = match call_off {
        None => handle.0.read(spare).await,
        Some(call_off) => handle.0.cancelable_read(spare, call_off.handle()).await,
    };
    let _ended = ManuallyDrop::new(guard);
    alias.set(Some(handle));
    let mut buffer = std::mem::take(&mut spare.0);
    drop(spare);
    match result {
        // The kernel waits on a non-blocking socket here (O_NONBLOCK concerns `read`, not `recv`); this is for one that
        // would not.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            (read_when_ready(watched, &mut buffer).await, buffer)
        }
        Err(error) if error.raw_os_error() == Some(libc::ECANCELED) => {
            (Err(io::ErrorKind::Interrupted.into()), buffer)
        }
        result => (result, buffer),
    }
}

/// Gives the second handle back without closing the descriptor.
pub(crate) fn release(alias: Option<Alias>) {
    if let Some(Alias(handle)) = alias {
        // The descriptor itself is closed by its owner, `Watched`.
        let _ = ManuallyDrop::into_inner(*handle).into_raw_fd();
    }
}

fn second_handle(watched: &Watched) -> io::Result<Alias> {
    // SAFETY: the descriptor is open, `watched` owns it and outlives the alias; the standard stream made here is consumed
    // at once, and monoio's handle is in `ManuallyDrop`, so the descriptor is not closed through either.
    let stream = unsafe { std::net::TcpStream::from_raw_fd(watched.fd()) };
    Ok(Alias(Box::new(ManuallyDrop::new(TcpStream::from_std(stream)?))))
}

async fn read_when_ready(watched: &Watched, buffer: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        if let Some(read) = sys::receive_append(watched.fd(), buffer)? {
            return Ok(read);
        }
        watched.readable().await?;
    }
}

struct OrphanOnDrop<'a>(&'a Watched);

impl Drop for OrphanOnDrop<'_> {
    fn drop(&mut self) {
        self.0.orphan();
    }
}

/// The spare capacity of a vector, as the kernel's buffer. Lives in the driver until the read has ended, and tells the
/// worker so.
struct Spare(Vec<u8>);

impl Drop for Spare {
    fn drop(&mut self) {
        unpin_one();
    }
}

// SAFETY: pointer and length describe the vector's heap block, which does not move with the vector and is not touched
// while the driver holds this value.
unsafe impl IoBufMut for Spare {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.spare_capacity_mut().as_mut_ptr().cast()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.spare_capacity_mut().len()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        let length = self.0.len() + pos;
        // SAFETY: the caller promises that the kernel wrote `pos` bytes from `write_ptr`, within `bytes_total`.
        unsafe { self.0.set_len(length) };
    }
}
