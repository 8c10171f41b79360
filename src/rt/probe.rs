//! What this host's kernel grants, found out by trying: for `ringway doctor`. Nothing here stays behind.

#![expect(unsafe_code, reason = "system calls through libc")]

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use libc::{c_int, socklen_t};

pub use crate::ring::try_driver;

/// A limit of this process: what holds now, and how far it may be raised without privilege. `u64::MAX`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessLimit {
    /// What holds.
    pub soft: u64,
    /// How far it may be raised.
    pub hard: u64,
}

/// RLIMIT_NOFILE, in descriptors.
pub fn descriptors_limit() -> io::Result<ProcessLimit> {
    process_limit(libc::RLIMIT_NOFILE)
}

/// RLIMIT_MEMLOCK, in bytes.
pub fn locked_memory_limit() -> io::Result<ProcessLimit> {
    process_limit(libc::RLIMIT_MEMLOCK)
}

fn process_limit(resource: libc::__rlimit_resource_t) -> io::Result<ProcessLimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable and outlives the call.
    check(unsafe { libc::getrlimit(resource, &raw mut limit) })?;
    Ok(ProcessLimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

/// Whether a UDP socket may hand the kernel one buffer of many datagrams (UDP_SEGMENT, kernel 4.18).
pub fn udp_segmentation() -> io::Result<()> {
    set(&udp_socket()?, libc::SOL_UDP, libc::UDP_SEGMENT, &1200i32)
}

/// Whether the kernel may hand a UDP socket one buffer of many datagrams (UDP_GRO, kernel 5.0).
pub fn udp_coalescing() -> io::Result<()> {
    set(&udp_socket()?, libc::SOL_UDP, libc::UDP_GRO, &1i32)
}

/// Whether a classic BPF program may choose the socket of a SO_REUSEPORT group, by which QUIC packets find their worker.
pub fn steering() -> io::Result<()> {
    // `ret #0`: the first socket of the group.
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let fprog = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    let socket = udp_socket()?;
    set(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1i32)?;
    // The kernel copies the program before the call returns.
    set(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &fprog)
}

/// Whether the kernel's clock is held in step by somebody (NTP, PTP, the hypervisor): `STA_UNSYNC` is not set.
pub fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: all zeroes is a valid `timex`: nothing is to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: `state` is writable and outlives the call.
    check(unsafe { libc::adjtimex(&raw mut state) })?;
    Ok(state.status & libc::STA_UNSYNC == 0)
}

/// Bytes that an unprivileged process may still write to the file system that holds `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(io::Error::other)?;
    let mut room = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `path` is a C string, `room` is writable, and both outlive the call.
    check(unsafe { libc::statvfs(path.as_ptr(), room.as_mut_ptr()) })?;
    // SAFETY: zeroed, then written by the call: any bytes are a valid value.
    let room = unsafe { room.assume_init() };
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// A UDP socket that is bound to nothing.
fn udp_socket() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    check(socket)?;
    // SAFETY: the call before made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

fn set<T>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: `value` is readable for `length` bytes, and so is what it points at.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
