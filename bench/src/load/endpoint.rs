//! The endpoint behind the proxy: answers `GET /x?b=128` with so many bytes, reads bodies, echoes WebSocket messages.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Largest body that is answered with.
const BODY_BYTES_MAX: usize = 16 << 20;
/// The answer to the one key that the load sends (RFC 6455 §1.3, the example's).
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A connection from the proxy.
struct Conversation {
    stream: TcpStream,
    /// The beginning of a head or of a message.
    partial: Vec<u8>,
    unsent: Vec<u8>,
    /// Bytes of a request's body that are still to come.
    body_left: usize,
    websocket: bool,
}

/// Listens on a port of loopback that the system chose.
pub(crate) struct Endpoint {
    listener: TcpListener,
    base: u64,
    conversations: Vec<Option<Conversation>>,
    vacant: Vec<usize>,
    replies: HashMap<usize, Vec<u8>>,
}

impl Endpoint {
    pub(crate) fn new() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, base: 0, conversations: Vec::new(), vacant: Vec::new(), replies: HashMap::new() })
    }

    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Ends every connection: those of a proxy that is gone.
    pub(crate) fn close_all(&mut self) {
        self.conversations.clear();
        self.vacant.clear();
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
        if flags.contains(EventFlags::OUT) && !conversation.unsent.is_empty() {
            conversation.flush();
        }
        if conversation.receive(buffer, &mut self.replies).is_err()
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
            let conversation = Conversation {
                stream,
                partial: Vec::new(),
                unsent: Vec::new(),
                body_left: 0,
                websocket: false,
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

/// Serves from this thread, without spinning, until told to stop; for load that comes from another process.
pub(crate) fn serve_until(endpoint: &mut Endpoint, stop: &AtomicBool) -> io::Result<()> {
    let poller = epoll::create(CreateFlags::CLOEXEC)?;
    endpoint.watch(&poller, 0)?;
    let mut buffer = vec![0; 64 << 10];
    let timeout = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::Relaxed) {
        let mut events: Vec<Event> = Vec::with_capacity(256);
        match epoll::wait(&poller, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            endpoint.handle(&poller, event.data.u64(), event.flags, &mut buffer)?;
        }
    }
    Ok(())
}

impl Conversation {
    /// Reads what is there and answers it. An error ends the connection.
    fn receive(&mut self, buffer: &mut [u8], replies: &mut HashMap<usize, Vec<u8>>) -> io::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let full = read == buffer.len();
            self.take(buffer.get(..read).unwrap_or_default(), replies)?;
            if !full {
                return Ok(());
            }
        }
    }

    fn take(&mut self, bytes: &[u8], replies: &mut HashMap<usize, Vec<u8>>) -> io::Result<()> {
        let skipped = self.body_left.min(bytes.len());
        self.body_left -= skipped;
        let mut rest = bytes.get(skipped..).unwrap_or_default();
        let joined;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(rest);
            joined = std::mem::take(&mut self.partial);
            rest = &joined;
        }
        while !rest.is_empty() {
            let used = if self.websocket { self.message(rest)? } else { self.request(rest, replies)? };
            if used == 0 {
                self.partial.extend_from_slice(rest);
                break;
            }
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Answers a whole head; bytes that it and its body took, 0 for no whole head.
    fn request(&mut self, bytes: &[u8], replies: &mut HashMap<usize, Vec<u8>>) -> io::Result<usize> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
        let head = bytes.get(..end).unwrap_or_default();
        let line = head.get(..memchr::memchr(b'\r', head).unwrap_or(head.len())).unwrap_or_default();
        if line.starts_with(b"GET /ws ") {
            self.websocket = true;
            self.send(UPGRADED)?;
            return Ok(end + 4);
        }
        let size = memmem::find(line, b"b=").and_then(|at| number(line.get(at + 2..)?)).unwrap_or(128);
        let reply = replies.entry(size.min(BODY_BYTES_MAX)).or_insert_with_key(|size| reply(*size));
        self.send(reply)?;
        let body = if line.starts_with(b"P") { content_length(head) } else { 0 };
        let here = body.min(bytes.len() - end - 4);
        self.body_left = body - here;
        Ok(end + 4 + here)
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

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = match (self.unsent.is_empty(), bytes) {
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

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                // Full again; or broken, which reading will tell.
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

fn reply(size: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: endpoint\r\nDate: Sat, 21 Nov 2026 09:00:00 GMT\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    );
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + size, b'x');
    bytes
}
