//! Who goes through the gateway meanwhile: requests at a steady rate, WebSockets, readers of endless bodies.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::node::why;
use crate::windows::Windows;

/// Connections that send requests, and how often each does.
const REQUESTERS: usize = 8;
const REQUEST_EVERY: Duration = Duration::from_millis(8);
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads here need little.
const STACK_BYTES: usize = 64 * 1024;
/// Between the looks at two WebSockets.
const LOOK_EVERY: Duration = Duration::from_millis(2);

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads a reply's head. Its status, and what came behind it.
fn read_head(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((bytes, rest));
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
        }
    }
}

/// WebSockets that are open throughout.
pub(crate) struct Tunnels {
    open: Vec<TcpStream>,
    cut: usize,
    next: usize,
}

impl Tunnels {
    pub(crate) fn open(count: usize, to: SocketAddr) -> Result<Self, String> {
        let open: io::Result<Vec<TcpStream>> = (0..count).map(|_| Self::one(to)).collect();
        Ok(Self { open: open.map_err(why("open a WebSocket"))?, cut: 0, next: 0 })
    }

    fn one(to: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connect(to)?;
        stream.write_all(
            b"GET /ws/echo HTTP/1.1\r\nHost: load.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )?;
        let (head, _) = read_head(&mut stream)?;
        if head.starts_with(b"HTTP/1.1 101") { Ok(stream) } else { Err(io::Error::other("no 101")) }
    }

    /// Looks whether the next one still echoes.
    pub(crate) fn check_next(&mut self) -> Result<(), String> {
        std::thread::sleep(LOOK_EVERY);
        let at = self.next;
        self.next = (self.next + 1) % self.open.len().max(1);
        match self.open.get_mut(at).map(echoes) {
            Some(Err(error)) => Err(format!("a WebSocket was cut before the first reload: {error}")),
            _ => Ok(()),
        }
    }

    /// How many echo no more.
    pub(crate) fn cut(&mut self) -> usize {
        self.cut = self.open.iter_mut().filter_map(|stream| echoes(stream).err()).count();
        self.cut
    }
}

fn echoes(stream: &mut TcpStream) -> io::Result<()> {
    // A masked text frame, as a client sends it; the endpoint echoes bytes.
    let frame = [0x81, 0x84, 1, 2, 3, 4, b'p' ^ 1, b'i' ^ 2, b'n' ^ 3, b'g' ^ 4];
    stream.write_all(&frame)?;
    let mut back = [0; 10];
    stream.read_exact(&mut back)?;
    if back == frame { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
}

/// Readers of bodies that never end.
pub(crate) struct Streams {
    readers: Vec<JoinHandle<bool>>,
    stop: Arc<AtomicBool>,
}

impl Streams {
    pub(crate) fn open(count: usize, to: SocketAddr) -> Result<Self, String> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut readers = Vec::with_capacity(count);
        for _ in 0..count {
            let mut stream = connect(to).map_err(why("open an endless body"))?;
            let asked = stream.write_all(b"GET /endless/body HTTP/1.1\r\nHost: load.test\r\n\r\n");
            asked.map_err(why("ask for an endless body"))?;
            let (head, _) = read_head(&mut stream).map_err(why("read the head of an endless body"))?;
            if !head.starts_with(b"HTTP/1.1 200") {
                return Err(format!("an endless body began with {}", String::from_utf8_lossy(&head)));
            }
            let stop = Arc::clone(&stop);
            let reader = std::thread::Builder::new().stack_size(STACK_BYTES);
            let reader = reader.spawn(move || flows(stream, &stop)).map_err(why("start a reader"))?;
            readers.push(reader);
        }
        Ok(Self { readers, stop })
    }

    /// How many have stopped to flow.
    pub(crate) fn cut(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.readers.into_iter().filter_map(|reader| reader.join().ok()).filter(|flowed| !flowed).count()
    }
}

fn flows(mut stream: TcpStream, stop: &AtomicBool) -> bool {
    let mut piece = [0; 1024];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

/// Requests at a steady rate on connections that must live.
pub(crate) struct Requests {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

struct Shared {
    began: Instant,
    stop: AtomicBool,
    failed: AtomicU64,
    /// (millisecond, microseconds)
    samples: Mutex<Vec<(u64, u64)>>,
}

impl Requests {
    pub(crate) fn start(to: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            samples: Mutex::new(Vec::new()),
        });
        let senders = (0..REQUESTERS).map(|_| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) && shared.send(to).is_err() {
                    // A connection that was closed, or a reply that was none: it goes on with a new one.
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let senders = senders.collect();
        Self { shared, senders }
    }

    /// What was measured since the last look.
    pub(crate) fn windows(&self) -> Windows {
        let mut samples = self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.sort_unstable();
        let windows = Windows::of(&samples);
        samples.clear();
        windows
    }

    /// Ends them. How many failed.
    pub(crate) fn stop(self) -> u64 {
        self.shared.stop.store(true, Ordering::Relaxed);
        for sender in self.senders {
            // One that panicked has failed.
            if sender.join().is_err() {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Sends on one connection until it is time to stop.
    fn send(&self, to: SocketAddr) -> io::Result<()> {
        let mut stream = connect(to)?;
        let mut due = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            stream.write_all(b"GET /small HTTP/1.1\r\nHost: load.test\r\n\r\n")?;
            let (head, mut body) = read_head(&mut stream)?;
            while body.len() < 2 {
                let mut piece = [0; 16];
                match stream.read(&mut piece)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => body.extend_from_slice(piece.get(..count).unwrap_or_default()),
                }
            }
            if !head.starts_with(b"HTTP/1.1 200") || body != b"ok" {
                return Err(io::Error::other("another reply"));
            }
            let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.samples.lock().unwrap_or_else(PoisonError::into_inner).push((ms, us));
            due += REQUEST_EVERY;
        }
        Ok(())
    }
}
