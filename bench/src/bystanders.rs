//! Who is there while the configuration is loaded anew, and must live through it: WebSockets, readers of endless bodies.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::peer::HOST;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Readers need little.
const STACK_BYTES: usize = 64 * 1024;

/// WebSockets and readers that are open throughout.
pub(crate) struct Bystanders {
    tunnels: Vec<TcpStream>,
    readers: Vec<JoinHandle<bool>>,
    stop: Arc<AtomicBool>,
}

impl Bystanders {
    /// Opens them, by an endpoint that is being served meanwhile.
    pub(crate) fn open(port: u16, tunnels: usize, streams: usize) -> Result<Self, String> {
        let opened: io::Result<Vec<TcpStream>> = (0..tunnels).map(|_| tunnel(port)).collect();
        let mut own = Self {
            tunnels: opened.map_err(|error| format!("a WebSocket could not be opened: {error}"))?,
            readers: Vec::new(),
            stop: Arc::default(),
        };
        for _ in 0..streams {
            let stream =
                endless(port).map_err(|error| format!("an endless body could not be opened: {error}"))?;
            let stop = Arc::clone(&own.stop);
            let reader = std::thread::Builder::new().stack_size(STACK_BYTES);
            own.readers.push(reader.spawn(move || flows(stream, &stop)).map_err(|error| error.to_string())?);
        }
        Ok(own)
    }

    /// Ends them; how many had been cut.
    pub(crate) fn cut(mut self) -> u64 {
        let cut = self.tunnels.iter_mut().filter_map(|stream| echoes(stream).err()).count();
        self.stop.store(true, Ordering::Relaxed);
        let stopped =
            self.readers.into_iter().filter_map(|reader| reader.join().ok()).filter(|flowed| !flowed).count();
        (cut + stopped) as u64
    }
}

/// Asks, and reads the head of the reply.
fn ask(port: u16, request: &str) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok((stream, head))
}

/// The stream, where the head begins as it should.
fn begins(wanted: &[u8], stream: TcpStream, head: &[u8]) -> io::Result<TcpStream> {
    match head.starts_with(wanted) {
        true => Ok(stream),
        false => Err(io::Error::other(String::from_utf8_lossy(head).into_owned())),
    }
}

fn tunnel(port: u16) -> io::Result<TcpStream> {
    let (stream, head) = ask(
        port,
        &format!(
            "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ),
    )?;
    begins(b"HTTP/1.1 101", stream, &head)
}

fn endless(port: u16) -> io::Result<TcpStream> {
    let (stream, head) = ask(port, &format!("GET /endless HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))?;
    begins(b"HTTP/1.1 200", stream, &head)
}

fn echoes(stream: &mut TcpStream) -> io::Result<()> {
    // A masked text frame, as a client sends it, by a mask of zeroes; the endpoint sends it back without the mask.
    stream.write_all(b"\x81\x84\0\0\0\0ping")?;
    let mut back = [0; 6];
    stream.read_exact(&mut back)?;
    if back == *b"\x81\x04ping" { Ok(()) } else { Err(io::Error::other("other bytes came back")) }
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
