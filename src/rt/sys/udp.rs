//! System calls of UDP sockets: binding, the steering filter of a reuseport group, and many datagrams in one call.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use libc::{c_int, c_void};

use super::{check, made, set_option, to_storage};

/// Most datagrams of one `sendmmsg`.
const DATAGRAMS_MAX: usize = 64;

/// A UDP socket bound to `address`: CLOEXEC, non-blocking.
pub(crate) fn bound_socket(address: &SocketAddr, reuseport: bool, v6only: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no memory is passed.
    let socket = made(unsafe { libc::socket(family, kind, libc::IPPROTO_UDP) })?;
    let fd = socket.as_raw_fd();
    if reuseport {
        set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, &1i32)?;
    }
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, &i32::from(v6only))?;
    }
    let (storage, length) = to_storage(address);
    // SAFETY: `storage` holds an address of `length` bytes.
    check(unsafe { libc::bind(fd, ptr::from_ref(&storage).cast(), length) })?;
    Ok(socket)
}

/// Binds the socket to an interface that there is not: it receives nothing from here on, and is in no reuseport group any more, because
/// the kernel enters it anew. Linux 5.0; needs no privilege.
pub(crate) fn leave_group(fd: RawFd) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, &i32::MAX)
}

/// Asks for socket buffers of this size; the kernel caps them at `net.core.rmem_max` and `wmem_max`.
pub(crate) fn ask_for_buffers(fd: RawFd, bytes: i32) {
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes);
    let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes);
}

/// Attaches the filter that chooses the socket of a reuseport group by the first byte of a QUIC packet's destination
/// connection id (RFC 8999 §5): at offset 6 behind a long header, at offset 1 behind a short one; modulo `members`. A
/// datagram that is too short for it goes to the first socket.
pub(crate) fn steer(fd: RawFd, members: u32) -> io::Result<()> {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        #[expect(clippy::cast_possible_truncation, reason = "an instruction's code has 16 bits")]
        code: code as u16,
        jt,
        jf,
        k,
    };
    let mut program = [
        step(LOAD_BYTE, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 2, 0x80),
        step(LOAD_BYTE, 0, 0, 6),
        step(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        step(LOAD_BYTE, 0, 0, 1),
        step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, members.max(1)),
        step(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
    ];
    // The kernel copies the program during the call.
    let filter = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &filter)
}

/// Datagrams of one size (the last may be shorter) to one peer.
#[derive(Debug, Clone, Copy)]
pub struct Segments<'a> {
    /// Whom they are for.
    pub destination: SocketAddr,
    /// The local address that they come from; the kernel's choice without.
    pub source: Option<IpAddr>,
    /// The two ECN bits (RFC 3168 §5).
    pub ecn: u8,
    /// All datagrams, one after the other.
    pub contents: &'a [u8],
    /// Bytes of each.
    pub segment_bytes: usize,
}

/// Control messages, built by hand: each a header of length, level and type, and data; both aligned to a word.
#[repr(C, align(8))]
struct Control {
    bytes: [u8; 96],
    length: usize,
}

impl Control {
    fn add(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        const WORD: usize = size_of::<usize>();
        let header = WORD + 2 * size_of::<c_int>();
        let fields =
            [(header + data.len()).to_ne_bytes().as_slice(), &level.to_ne_bytes(), &kind.to_ne_bytes(), data]
                .concat();
        let end = self.length + fields.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(&fields);
            self.length = end.next_multiple_of(WORD).min(self.bytes.len());
        }
    }

    fn of(segments: &Segments<'_>) -> Self {
        let mut control = Self { bytes: [0; 96], length: 0 };
        let ecn = c_int::from(segments.ecn & 3).to_ne_bytes();
        let four = match segments.destination.ip() {
            IpAddr::V4(_) => true,
            IpAddr::V6(ip) => ip.to_ipv4_mapped().is_some(),
        };
        match four {
            true => control.add(libc::IPPROTO_IP, libc::IP_TOS, &ecn),
            false => control.add(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &ecn),
        }
        match segments.source {
            None => {}
            // in_pktinfo: interface index, local address, destination (ignored).
            Some(IpAddr::V4(ip)) => {
                let info = [[0; 4], ip.octets(), [0; 4]].concat();
                control.add(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // in6_pktinfo: address, interface index.
            Some(IpAddr::V6(ip)) => {
                let info = [ip.octets().as_slice(), &[0; 4]].concat();
                control.add(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        control
    }
}

/// Sends datagrams one by one, in as few calls as there may be, without segmentation offload. How many went out; an error
/// only where none did.
pub(crate) fn send_segments(fd: RawFd, segments: &Segments<'_>) -> io::Result<usize> {
    let (mut storage, length) = to_storage(&segments.destination);
    let mut control = Control::of(segments);
    let mut parts: Vec<libc::iovec> = segments
        .contents
        .chunks(segments.segment_bytes.max(1))
        .take(DATAGRAMS_MAX)
        .map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
        .collect();
    let mut messages: Vec<libc::mmsghdr> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: all zeroes is an empty header.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_name = ptr::from_mut(&mut storage).cast::<c_void>();
            message.msg_hdr.msg_namelen = length;
            message.msg_hdr.msg_iov = ptr::from_mut(part);
            message.msg_hdr.msg_iovlen = 1;
            message.msg_hdr.msg_control = control.bytes.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = control.length;
            message
        })
        .collect();
    let count = messages.len() as libc::c_uint;
    // SAFETY: each header names the address, one part of `contents` and the control bytes, all of which outlive the call;
    // sending writes through none of them. `messages` has `count` entries.
    let sent = check(unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), count, libc::MSG_DONTWAIT) })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}
