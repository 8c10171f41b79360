//! System calls that neither std nor monoio offers in the form needed here. Thin: one function, one call.

#![expect(unsafe_code, reason = "system calls through libc")]

pub(crate) mod udp;

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_storage, socklen_t};

use crate::stream::PeerState;

pub(crate) const POLL_IN: u32 = libc::POLLIN as u32;

/// Parts handed to one `sendmsg`.
const PARTS_MAX: usize = 64;

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Wraps a descriptor that a call has just made.
fn made(result: c_int) -> io::Result<OwnedFd> {
    // SAFETY: `check` let only a descriptor through, it was made by the call before, and nobody else has it.
    check(result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes a descriptor that the caller owns and forgets.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller took the descriptor out of its owner.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// The descriptor of `owner`, which is its own and open as long as it lives.
pub(crate) fn borrowed<'o>(fd: RawFd, _owner: &'o crate::watched::Watched) -> BorrowedFd<'o> {
    // SAFETY: the caller passes the descriptor of `owner`, which closes it only when it is dropped.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

// Clocks and threads.

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable. The call cannot fail for the two clocks that are used here.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

pub(crate) fn unix_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

pub(crate) fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: a zeroed set is an empty one; `core` is within it; the set outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)).map(drop)
    }
}

pub(crate) fn schedule_idle() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` outlives the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &priority) }).map(drop)
}

pub(crate) fn nice_last() -> io::Result<()> {
    // SAFETY: no memory is passed; on Linux 0 is the calling thread.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) }).map(drop)
}

// Event and timer descriptors.

pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    made(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Adds one. Fails only when the count is at its end, and then it is not zero, which is all that matters.
pub(crate) fn eventfd_write(event: &OwnedFd) {
    eventfd_write_raw(event.as_raw_fd());
}

pub(crate) fn eventfd_write_raw(fd: RawFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight readable bytes.
    unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
}

pub(crate) fn eventfd_drain(event: &OwnedFd) {
    eventfd_drain_raw(event.as_raw_fd());
}

/// Sets the count to zero; nothing happens if it is.
pub(crate) fn eventfd_drain_raw(fd: RawFd) {
    let mut count = [0u8; 8];
    // SAFETY: eight writable bytes; the descriptor does not block.
    unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

pub(crate) fn timerfd() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    made(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) })
}

/// Sets the timer to an instant of the monotonic clock; one that has passed fires at once.
pub(crate) fn timerfd_set(fd: RawFd, at_ns: u64) {
    // Zero would disarm it.
    let at_ns = at_ns.max(1);
    let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let at = libc::timespec {
        tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: (at_ns % 1_000_000_000) as i64,
    };
    let setting = libc::itimerspec { it_interval: never, it_value: at };
    // SAFETY: `setting` outlives the call; the old setting is not asked for.
    unsafe { libc::timerfd_settime(fd, libc::TFD_TIMER_ABSTIME, &setting, ptr::null_mut()) };
}

pub(crate) fn timerfd_drain(fd: RawFd) {
    eventfd_drain_raw(fd);
}

/// A descriptor held in reserve; none where none is left.
pub(crate) fn reserve() -> Option<OwnedFd> {
    // SAFETY: the path is a C string.
    made(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) }).ok()
}

/// Puts an entry that names no memory into the ring's submission queue.
pub(crate) fn push_pinless(ring: &mut io_uring::IoUring, entry: &io_uring::squeue::Entry) -> io::Result<()> {
    // SAFETY: the entry points at no memory.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)
}

/// Has the kernel put what is complete into the ring's completion queue: IORING_ENTER_GETEVENTS, for none at least. Fails where the
/// descriptor is no ring, or one with DEFER_TASKRUN of another thread.
pub(crate) fn ring_events(ring: RawFd) -> io::Result<()> {
    const NONE: c_int = 0;
    const GET_EVENTS: c_int = 1;
    let no_mask = ptr::null::<c_void>();
    // SAFETY: no memory is passed. What the kernel writes is the ring's own completion queue, behind what its reader has seen.
    let submitted =
        unsafe { libc::syscall(libc::SYS_io_uring_enter, ring, NONE, NONE, GET_EVENTS, no_mask, 0_usize) };
    if submitted < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// Sockets.

/// A TCP socket for the family of `address`: CLOEXEC, non-blocking.
pub(crate) fn stream_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    made(unsafe { libc::socket(family, kind, libc::IPPROTO_TCP) })
}

fn set_option<T>(fd: RawFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as socklen_t;
    // SAFETY: `value` is readable for `length` bytes.
    check(unsafe { libc::setsockopt(fd, level, option, ptr::from_ref(value).cast(), length) }).map(drop)
}

pub(crate) fn set_nodelay(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32)
}

/// Silence, in seconds, after which the kernel asks whether a peer that we connected to is still there.
const KEEPALIVE_IDLE_S: i32 = 60;
/// Between two such questions.
const KEEPALIVE_INTERVAL_S: i32 = 10;
/// Questions without an answer after which the connection is broken: two minutes of silence in all.
const KEEPALIVE_PROBES: i32 = 6;

/// A peer that is gone without a word (a host that lost its power, a path that forgot the connection) is found, however long the
/// silence may last that is allowed to it.
pub(crate) fn set_keepalive(socket: &OwnedFd) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1i32)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, &KEEPALIVE_IDLE_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, &KEEPALIVE_INTERVAL_S)?;
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, &KEEPALIVE_PROBES)
}

pub(crate) fn set_listener_options(
    socket: &OwnedFd,
    address: &SocketAddr,
    reuseport: bool,
    v6only: bool,
) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1i32)?;
    if reuseport {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1i32)?;
    }
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &i32::from(v6only))?;
    }
    Ok(())
}

pub(crate) fn bind(socket: &OwnedFd, address: &SocketAddr) -> io::Result<()> {
    let (storage, length) = to_storage(address);
    // SAFETY: `storage` holds an address of `length` bytes.
    check(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&storage).cast(), length) }).map(drop)
}

pub(crate) fn bind_and_listen(socket: &OwnedFd, address: &SocketAddr, backlog: u32) -> io::Result<()> {
    bind(socket, address)?;
    let backlog = c_int::try_from(backlog).unwrap_or(c_int::MAX);
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }).map(drop)
}

/// Starts connecting; `true`: connected already.
pub(crate) fn connect(socket: &OwnedFd, address: &SocketAddr) -> io::Result<bool> {
    let (storage, length) = to_storage(address);
    // SAFETY: `storage` holds an address of `length` bytes.
    match check(unsafe { libc::connect(socket.as_raw_fd(), ptr::from_ref(&storage).cast(), length) }) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// SO_ERROR: the outcome of connecting.
pub(crate) fn take_error(fd: RawFd) -> io::Result<()> {
    let mut error: c_int = 0;
    let mut length = size_of::<c_int>() as socklen_t;
    // SAFETY: `error` is writable for `length` bytes.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, ptr::from_mut(&mut error).cast(), &mut length)
    })?;
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Why nothing was accepted.
pub(crate) enum AcceptError {
    /// This connection was gone again: the next may be good.
    Connection,
    /// Descriptors or memory have run out.
    Exhausted,
    /// The listening socket is broken.
    Listener(io::Error),
}

impl From<AcceptError> for io::Error {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Connection => io::ErrorKind::ConnectionAborted.into(),
            AcceptError::Exhausted => io::Error::from_raw_os_error(libc::EMFILE),
            AcceptError::Listener(error) => error,
        }
    }
}

/// Accepts what is waiting: CLOEXEC, non-blocking. The errors of `accept(2)` that belong to one connection are `Connection`.
pub(crate) fn accept(fd: RawFd) -> Result<Option<(OwnedFd, SocketAddr)>, AcceptError> {
    let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `storage` is writable for `length` bytes.
    let accepted = made(unsafe { libc::accept4(fd, storage.as_mut_ptr().cast(), &mut length, flags) });
    match accepted {
        // SAFETY: zeroed, then written by the kernel: every byte is initialised, and any bytes are a valid value.
        Ok(descriptor) => match from_storage(unsafe { storage.assume_init_ref() }) {
            Some(peer) => Ok(Some((descriptor, peer))),
            None => Err(AcceptError::Connection),
        },
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(None),
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS) => Err(AcceptError::Exhausted),
            Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP | libc::EFAULT) => {
                Err(AcceptError::Listener(error))
            }
            _ => Err(AcceptError::Connection),
        },
    }
}

/// The outcome of a call that may find nothing to do. EINTR counts as that.
#[inline]
fn tried(result: isize) -> io::Result<Option<usize>> {
    if result >= 0 {
        return Ok(Some(result as usize));
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Ok(None),
        _ => Err(error),
    }
}

#[inline]
pub(crate) fn receive(fd: RawFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: `into` is writable for its length.
    tried(unsafe { recvfrom(fd, into.as_mut_ptr().cast(), into.len()) })
}

#[inline]
pub(crate) fn receive_append(fd: RawFd, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let spare = into.spare_capacity_mut();
    // SAFETY: the spare capacity is writable for its length.
    let read = tried(unsafe { recvfrom(fd, spare.as_mut_ptr().cast::<c_void>(), spare.len()) })?;
    if let Some(read) = read {
        // SAFETY: the kernel has written `read` bytes of the spare capacity.
        unsafe { into.set_len(into.len() + read) };
    }
    Ok(read)
}

/// `recv` without being a cancellation point: glibc's wrapper costs two atomic operations a call for a feature that nobody
/// here uses (measured: 1.1 % of a proxied request).
///
/// # Safety
/// As `recv`: `into` is writable for `length` bytes.
#[inline]
unsafe fn recvfrom(fd: RawFd, into: *mut c_void, length: usize) -> isize {
    let none = std::ptr::null_mut::<c_void>();
    // SAFETY: the caller's; no address is asked for.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, into, length, libc::MSG_DONTWAIT, none, none) as isize }
}

/// `send`, likewise.
///
/// # Safety
/// As `send`: `bytes` is readable for `length` bytes.
#[inline]
unsafe fn sendto(fd: RawFd, bytes: *const c_void, length: usize) -> isize {
    let none = std::ptr::null::<c_void>();
    // SAFETY: the caller's; no address is given.
    unsafe { libc::syscall(libc::SYS_sendto, fd, bytes, length, SEND_FLAGS, none, 0) as isize }
}

const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

#[inline]
pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<Option<usize>> {
    // SAFETY: `bytes` is readable for its length.
    tried(unsafe { sendto(fd, bytes.as_ptr().cast(), bytes.len()) })
}

/// Whether something else is sent at once behind it, so that nothing has to leave yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    Nothing,
    More,
}

#[inline]
pub(crate) fn send_vectored(fd: RawFd, parts: &[IoSlice<'_>], behind: Behind) -> io::Result<Option<usize>> {
    let flags = match behind {
        Behind::Nothing => SEND_FLAGS,
        Behind::More => SEND_FLAGS | libc::MSG_MORE,
    };
    // SAFETY: a zeroed header is an empty one. `IoSlice` has the layout of `iovec` (std guarantees it), each describes
    // readable bytes, and `sendmsg` does not write through them.
    tried(unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len().min(PARTS_MAX);
        libc::sendmsg(fd, &message, flags)
    })
}

/// A pipe, its end to read from first: CLOEXEC, non-blocking, of this size if that is allowed.
pub(crate) fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
    let [read, write] = ends;
    // SAFETY: no memory is passed. A size that is refused leaves the one that pipes have.
    unsafe { libc::fcntl(write, libc::F_SETPIPE_SZ, c_int::try_from(bytes).unwrap_or(c_int::MAX)) };
    Ok((made(read)?, made(write)?))
}

/// Moves up to so many bytes between a socket and a pipe, whichever way. A peer that is gone is an error and no signal, because std
/// has SIGPIPE ignored.
pub(crate) fn splice(from: RawFd, to: RawFd, bytes_max: usize) -> io::Result<Option<usize>> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: no memory is passed but null, for "no offset".
    tried(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), bytes_max, flags) })
}

fn shutdown(fd: RawFd, how: c_int) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::shutdown(fd, how) }).map(drop)
}

/// Ends both sides, and every wait on them. An error means that they have ended already.
pub(crate) fn shutdown_both(fd: RawFd) {
    let _ = shutdown(fd, libc::SHUT_RDWR);
}

/// Blocks the thread until something can be read from either descriptor, or an accept from it would not block, or the time is over.
pub(crate) fn wait_readable(one: RawFd, other: Option<RawFd>, ms_max: Option<c_int>) -> io::Result<()> {
    let ask = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // A descriptor below 0 is not looked at.
    let mut asked = [ask(one), ask(other.unwrap_or(-1))];
    // SAFETY: two entries, which outlive the call.
    check(unsafe { libc::poll(asked.as_mut_ptr(), 2, ms_max.unwrap_or(-1)) }).map(drop)
}

/// How the other end of a connection stands, whatever waits to be read.
pub(crate) fn peer_state(fd: RawFd) -> PeerState {
    let mut asked = libc::pollfd { fd, events: libc::POLLIN | libc::POLLRDHUP, revents: 0 };
    // SAFETY: one entry, which outlives the call; with no time to wait it returns at once.
    let answered = unsafe { libc::poll(&raw mut asked, 1, 0) };
    match asked.revents {
        _ if answered <= 0 => PeerState::Here,
        said if said & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0 => PeerState::Gone,
        said if said & libc::POLLRDHUP != 0 => PeerState::Ended,
        _ => PeerState::Spoke,
    }
}

/// Ends receiving, and every wait for it. An error means that it has ended already.
pub(crate) fn shutdown_read(fd: RawFd) {
    let _ = shutdown(fd, libc::SHUT_RD);
}

pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    shutdown(fd, libc::SHUT_WR)
}

/// Makes the close a reset.
pub(crate) fn linger_none(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
}

pub(crate) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    // SAFETY: `storage` is writable for `length` bytes.
    check(unsafe { libc::getsockname(fd, storage.as_mut_ptr().cast::<sockaddr>(), &mut length) })?;
    // SAFETY: zeroed, then written by the kernel: every byte is initialised, and any bytes are a valid value.
    from_storage(unsafe { storage.assume_init_ref() }).ok_or_else(|| io::ErrorKind::Unsupported.into())
}

fn to_storage(address: &SocketAddr) -> (sockaddr_storage, socklen_t) {
    // SAFETY: all zeroes is a valid storage.
    let mut storage: sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let raw = sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: a storage is large enough and aligned for every kind of address.
            unsafe { ptr::from_mut(&mut storage).cast::<sockaddr_in>().write(raw) };
            size_of::<sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let raw = sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { ptr::from_mut(&mut storage).cast::<sockaddr_in6>().write(raw) };
            size_of::<sockaddr_in6>()
        }
    };
    (storage, length as socklen_t)
}

fn from_storage(storage: &sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address it is; a storage is aligned for each.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in>() };
            let ip = std::net::Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let raw = unsafe { &*ptr::from_ref(storage).cast::<sockaddr_in6>() };
            let ip = std::net::Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddr::V6(std::net::SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)))
        }
        _ => None,
    }
}
