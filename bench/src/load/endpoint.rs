//! The endpoint behind the proxy: answers `GET /x?b=128` with so many bytes, reads bodies, echoes WebSocket messages; late by
//! a known law where the path says so, and without end on `/endless`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::content;
use super::delay::Law;

/// Largest body that is answered with.
const BODY_BYTES_MAX: usize = 100 << 20;
/// Bodies up to here are written with their head; what is longer is filled up.
const WHOLE_BYTES_MAX: usize = content::READY_BYTES;
/// Between two pieces of an endless body.
const PIECE_EVERY: Duration = Duration::from_millis(50);
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const PIECE: &[u8] = b"5\r\nmore\n\r\n";
/// The answer to the one key that the load sends (RFC 6455 §1.3, the example's).
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A connection from the proxy.
struct Conversation {
    stream: TcpStream,
    /// The beginning of a head or of a message.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// How much of it has been sent.
    sent: usize,
    /// Bytes of content that go behind it, and where they begin in it.
    fill: usize,
    fill_at: usize,
    /// Bytes of a request's body, and those that are still to come.
    body: usize,
    body_left: usize,
    /// The reply, of so many bytes, to a request whose body is still to come.
    owed: Option<usize>,
    /// Chunks of a request's body are still to come: over HTTP/3 a proxy may not know yet that there is none.
    chunked: bool,
    websocket: bool,
    /// Tells it from others that had its place before.
    id: u64,
}

/// What is sent later: when (nanoseconds since the start), on which conversation.
type Later = Reverse<(u64, usize, u64, What)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A reply with so many bytes.
    Reply(usize),
    /// The next piece of an endless body.
    Piece,
}

/// What conversations share.
struct Common {
    replies: HashMap<usize, Vec<u8>>,
    later: BinaryHeap<Later>,
    law: Law,
    started: Instant,
    conversations: u64,
    /// Bodies of requests are compared with what they should be.
    compares: bool,
}

impl Common {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Listens on a port of loopback that the system chose.
pub(crate) struct Endpoint {
    listener: TcpListener,
    base: u64,
    conversations: Vec<Option<Conversation>>,
    vacant: Vec<usize>,
    common: Common,
}

impl Endpoint {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let common = Common {
            replies: HashMap::new(),
            later: BinaryHeap::new(),
            law: Law::default(),
            started: Instant::now(),
            conversations: 0,
            compares: false,
        };
        Ok(Self { listener, base: 0, conversations: Vec::new(), vacant: Vec::new(), common })
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Ends every connection: those of a proxy that is gone.
    pub(crate) fn close_all(&mut self) {
        self.conversations.clear();
        self.vacant.clear();
        self.common.later.clear();
    }

    /// Whether bodies of requests are compared with what they should be from here on; one that is not ends its connection.
    pub(crate) fn compare(&mut self, compares: bool) {
        self.common.compares = compares;
    }

    /// Nanoseconds until something is to be sent; none where nothing is.
    pub(super) fn next_in_ns(&self) -> Option<u64> {
        let Reverse((due_ns, ..)) = self.common.later.peek()?;
        Some(due_ns.saturating_sub(self.common.now_ns()))
    }

    /// Sends what is due by now.
    pub(super) fn send_due(&mut self) {
        if self.common.later.is_empty() {
            return;
        }
        let now_ns = self.common.now_ns();
        while self.common.later.peek().is_some_and(|Reverse((due_ns, ..))| *due_ns <= now_ns) {
            let Some(Reverse((due_ns, slot, id, what))) = self.common.later.pop() else { return };
            let Some(Some(conversation)) = self.conversations.get_mut(slot) else { continue };
            if conversation.id != id {
                continue;
            }
            // What breaks here is seen when reading.
            match what {
                What::Reply(size) => conversation.reply(size, &mut self.common.replies).ok(),
                What::Piece => {
                    let next_ns = due_ns + PIECE_EVERY.as_nanos() as u64;
                    self.common.later.push(Reverse((next_ns, slot, id, What::Piece)));
                    conversation.send(PIECE).ok()
                }
            };
        }
    }

    /// Watches the listener and all connections under tokens from `base` on.
    pub(super) fn watch(&mut self, poller: &OwnedFd, base: u64) -> io::Result<()> {
        self.base = base;
        epoll::add(poller, &self.listener, EventData::new_u64(base), EventFlags::IN)?;
        for (slot, conversation) in self.conversations.iter().enumerate() {
            if let Some(conversation) = conversation {
                watch(poller, &conversation.stream, base + 1 + slot as u64)?;
            }
        }
        Ok(())
    }

    /// Handles an event; `token` counts from the base.
    pub(super) fn handle(
        &mut self,
        poller: &OwnedFd,
        token: u64,
        flags: EventFlags,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let Some(slot) = token.checked_sub(1).and_then(|slot| usize::try_from(slot).ok()) else {
            return self.accept(poller);
        };
        let Some(Some(conversation)) = self.conversations.get_mut(slot) else { return Ok(()) };
        if flags.contains(EventFlags::OUT) && !conversation.is_flushed() {
            conversation.flush();
        }
        if conversation.receive(slot, buffer, &mut self.common).is_err()
            && let Some(place) = self.conversations.get_mut(slot)
        {
            *place = None;
            self.vacant.push(slot);
        }
        Ok(())
    }

    fn accept(&mut self, poller: &OwnedFd) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.vacant.pop().unwrap_or_else(|| {
                self.conversations.push(None);
                self.conversations.len() - 1
            });
            watch(poller, &stream, self.base + 1 + slot as u64)?;
            self.common.conversations += 1;
            let conversation = Conversation {
                stream,
                partial: Vec::new(),
                unsent: Vec::new(),
                sent: 0,
                fill: 0,
                fill_at: 0,
                body: 0,
                body_left: 0,
                owed: None,
                chunked: false,
                websocket: false,
                id: self.common.conversations,
            };
            if let Some(place) = self.conversations.get_mut(slot) {
                *place = Some(conversation);
            }
        }
    }
}

fn watch(poller: &OwnedFd, stream: &TcpStream, token: u64) -> io::Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    Ok(epoll::add(poller, stream, EventData::new_u64(token), flags)?)
}

/// Whether a thread sleeps where there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Sleep,
    /// It has its core to itself: no send to it wakes a sleeper, and what is due is sent to the microsecond.
    Spin,
}

/// Serves from this thread until told to stop; for load that comes from another process.
pub(crate) fn serve_until(endpoint: &mut Endpoint, stop: &AtomicBool, rest: Rest) -> io::Result<()> {
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    endpoint.watch(&poller, 0)?;
    let mut buffer = vec![0; 64 << 10];
    let mut events: Vec<Event> = Vec::with_capacity(256);
    while !stop.load(Ordering::Relaxed) {
        let wait_ns = match rest {
            Rest::Spin => 0,
            Rest::Sleep => endpoint.next_in_ns().unwrap_or(u64::MAX).min(20_000_000),
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::try_from(wait_ns).unwrap_or(0) };
        events.clear();
        match epoll::wait(&poller, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            endpoint.handle(&poller, event.data.u64(), event.flags, &mut buffer)?;
        }
        endpoint.send_due();
    }
    Ok(())
}

impl Conversation {
    /// Reads what is there and answers it. Bodies that nobody looks at are counted and not copied. An error ends the connection.
    fn receive(&mut self, slot: usize, buffer: &mut [u8], common: &mut Common) -> io::Result<()> {
        loop {
            let unseen = self.body_left > 0 && !common.compares;
            let room = match (unseen, self.body_left == 0 && self.body >= content::LONG_BYTES) {
                (true, _) => self.body_left,
                (false, true) => content::HEAD_BYTES,
                (false, false) => buffer.len(),
            };
            let asked = room.min(buffer.len());
            let into = buffer.get_mut(..asked).unwrap_or_default();
            let came = if unseen { content::discard(&self.stream, into) } else { self.stream.read(into) };
            let read = match came {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match unseen {
                true => self.skip(read, common)?,
                false => self.take(slot, buffer.get(..read).unwrap_or_default(), common)?,
            }
            if read < asked {
                return Ok(());
            }
        }
    }

    fn take(&mut self, slot: usize, bytes: &[u8], common: &mut Common) -> io::Result<()> {
        let (body, mut rest) = bytes.split_at(self.body_left.min(bytes.len()));
        self.body(body, common)?;
        let joined;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        while !rest.is_empty() {
            let used = match (self.websocket, self.chunked) {
                (true, _) => self.message(rest)?,
                (_, true) => self.chunk(rest),
                _ => self.request(slot, rest, common)?,
            };
            if used == 0 {
                self.partial.extend_from_slice(rest);
                break;
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Bytes of a request's body that came.
    fn body(&mut self, bytes: &[u8], common: &mut Common) -> io::Result<()> {
        // Of chunks the length of the whole is not known, and where they begin in it neither.
        if common.compares && self.body > 0 && !content::is(self.body - self.body_left, bytes) {
            return Err(ErrorKind::InvalidData.into());
        }
        self.skip(bytes.len(), common)
    }

    /// So many bytes of a request's body are done with; it is answered after the last of them.
    fn skip(&mut self, come: usize, common: &mut Common) -> io::Result<()> {
        self.body_left -= come;
        match (self.body_left, self.owed.take()) {
            (0, Some(size)) => self.reply(size, &mut common.replies),
            (_, owed) => {
                self.owed = owed;
                Ok(())
            }
        }
    }

    /// Answers a whole head, or notes what is owed once its body has come; bytes that it and its body took, 0 for no whole head.
    fn request(&mut self, slot: usize, bytes: &[u8], common: &mut Common) -> io::Result<usize> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
        let head = bytes.get(..end).unwrap_or_default();
        let line = head.get(..memchr::memchr(b'\r', head).unwrap_or(head.len())).unwrap_or_default();
        if line.starts_with(b"GET /ws ") {
            self.websocket = true;
            self.send(UPGRADED)?;
            return Ok(end + 4);
        }
        if line.starts_with(b"GET /endless") {
            self.send(ENDLESS)?;
            common.later.push(Reverse((common.now_ns(), slot, self.id, What::Piece)));
            return Ok(end + 4);
        }
        let size = memmem::find(line, b"b=").and_then(|at| number(line.get(at + 2..)?)).unwrap_or(128);
        let size = size.min(BODY_BYTES_MAX);
        let now_ns = common.now_ns();
        let due_ns = match line.get(..7) {
            Some(b"GET /sp") => Some(common.law.spread(now_ns)),
            Some(b"GET /st") => Some(common.law.stall(now_ns)),
            _ => None,
        };
        self.chunked = memmem::find(head, b"chunked").is_some();
        self.body = if line.starts_with(b"P") { content_length(head) } else { 0 };
        self.body_left = self.body;
        match due_ns {
            Some(due_ns) => common.later.push(Reverse((due_ns, slot, self.id, What::Reply(size)))),
            None if self.body > 0 => self.owed = Some(size),
            None => self.reply(size, &mut common.replies)?,
        }
        let body = bytes.get(end + 4..).unwrap_or_default();
        let body = body.get(..self.body).unwrap_or(body);
        self.body(body, common)?;
        Ok(end + 4 + body.len())
    }

    /// Passes a chunk, or the end of them (RFC 9112 §7.1) without trailers; bytes that it took, 0 where its head is not whole.
    fn chunk(&mut self, bytes: &[u8]) -> usize {
        let Some(line) = memmem::find(bytes, b"\r\n") else { return 0 };
        let digits =
            bytes.get(..line).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
        let size = usize::from_str_radix(digits, 16).unwrap_or(0);
        self.chunked = size > 0;
        // Its own line, its bytes, and the end of their line.
        let whole = line + 2 + size + 2;
        (self.body, self.body_left) = (0, whole.saturating_sub(bytes.len()));
        whole.min(bytes.len())
    }

    /// Echoes a whole, short, masked message without its mask.
    fn message(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(length) = bytes.get(1).map(|length| usize::from(length & 0x7f)) else { return Ok(0) };
        let Some(content) = bytes.get(6..6 + length) else { return Ok(0) };
        let mut echo = [0u8; 128];
        if let (Some(head), Some(body)) = (echo.get_mut(..2), bytes.first()) {
            head.copy_from_slice(&[*body, length as u8]);
        }
        if let Some(body) = echo.get_mut(2..2 + length) {
            body.copy_from_slice(content);
        }
        self.send(echo.get(..2 + length).unwrap_or_default())?;
        Ok(6 + length)
    }

    fn reply(&mut self, size: usize, replies: &mut HashMap<usize, Vec<u8>>) -> io::Result<()> {
        let reply = replies.entry(size).or_insert_with_key(|size| reply(*size));
        self.send(reply)?;
        self.fill = size.saturating_sub(WHOLE_BYTES_MAX);
        self.fill_at = size - self.fill;
        if self.fill > 0 {
            self.flush();
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match (self.is_flushed(), bytes) {
            (false, _) => 0,
            (true, bytes) => match self.stream.write(bytes) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            },
        };
        self.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
        Ok(())
    }

    fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.fill == 0
    }

    /// Writes until nothing is left, or nothing more goes; what is broken, reading will tell.
    fn flush(&mut self) {
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(sent) => self.sent += sent,
                Err(_) => return,
            }
        }
        self.unsent.clear();
        self.sent = 0;
        while self.fill > 0 {
            match self.stream.write(content::from(self.fill_at, self.fill)) {
                Ok(sent) => (self.fill, self.fill_at) = (self.fill - sent, self.fill_at + sent),
                Err(_) => return,
            }
        }
    }
}

fn number(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..digits)?).ok()?.parse().ok()
}

fn content_length(head: &[u8]) -> usize {
    let lower = head.to_ascii_lowercase();
    let at = memmem::find(&lower, b"\r\ncontent-length:").map(|at| at + 17);
    at.and_then(|at| number(lower.get(at..)?.trim_ascii_start())).unwrap_or(0)
}

/// A head and the beginning of its body, all of it where it is not long.
fn reply(size: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: endpoint\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    content::append(&mut bytes, size.min(WHOLE_BYTES_MAX));
    bytes
}
