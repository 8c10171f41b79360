//! An upstream endpoint that does exactly what the test's script says, byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An address that refuses connections, and is nobody else's while this process lives.
pub(crate) fn refusing() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    // It is bound and does not listen, for as long as the process lives.
    let _: &'static socket2::Socket = Box::leak(Box::new(socket));
    address
}

/// A listening endpoint. Each accepted connection runs the script on a thread of its own.
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    heads: Mutex<Receiver<String>>,
}

/// One accepted connection.
pub(crate) struct Accepted {
    stream: TcpStream,
    read: Vec<u8>,
    /// Which connection this is, from 0.
    pub(crate) number: usize,
    heads: Sender<String>,
}

impl Scripted {
    /// Starts an endpoint with this script.
    pub(crate) fn start(script: impl Fn(&mut Accepted) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = channel();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let (script, heads) = (Arc::clone(&script), sender.clone());
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                std::thread::spawn(move || {
                    script(&mut Accepted { stream, read: Vec::new(), number, heads });
                });
            }
        });
        Self { address, heads: Mutex::new(heads) }
    }

    /// An endpoint that answers every request with 200 and `ok`, and keeps its connections.
    pub(crate) fn ok() -> Self {
        Self::start(|connection| {
            while connection.request().is_some() {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        })
    }

    /// An endpoint that answers each request with these very bytes and keeps its connections.
    pub(crate) fn answering(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(move |connection| {
            while connection.request().is_some() {
                connection.send(&reply);
            }
        })
    }

    /// An endpoint that answers the first request of each connection with these very bytes and closes.
    pub(crate) fn answering_once(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::start(move |connection| {
            if connection.request().is_some() {
                connection.send(&reply);
            }
        })
    }

    /// The next request head that any of its connections read with [`Accepted::request`].
    pub(crate) fn head(&self) -> String {
        self.heads
            .lock()
            .unwrap()
            .recv_timeout(Duration::from_secs(50))
            .expect("a request reached the endpoint")
    }

    /// A request head that has reached it already, if there is one.
    pub(crate) fn try_head(&self) -> Option<String> {
        self.heads.lock().unwrap().try_recv().ok()
    }

    /// Fails if any request head has reached it that [`Scripted::head`] did not return.
    pub(crate) fn assert_untouched(&self) {
        if let Ok(head) = self.heads.lock().unwrap().try_recv() {
            panic!("the endpoint was reached: {head:?}");
        }
    }
}

impl Accepted {
    /// Reads a request head and its content by Content-Length or chunks; returns head and content.
    pub(crate) fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = String::from_utf8(self.until(b"\r\n\r\n")?).unwrap();
        let _ = self.heads.send(head.clone());
        let lower = head.to_ascii_lowercase();
        let mut content = Vec::new();
        if let Some(length) = lower.lines().find_map(|line| line.strip_prefix("content-length:")) {
            content = self.exactly(length.trim().parse().unwrap())?;
        } else if lower.contains("transfer-encoding: chunked") {
            loop {
                let line = String::from_utf8(self.until(b"\r\n")?).unwrap();
                let size = usize::from_str_radix(line.trim(), 16).unwrap();
                if size == 0 {
                    while self.until(b"\r\n")? != b"\r\n" {}
                    break;
                }
                content.extend(self.exactly(size)?);
                self.exactly(2)?;
            }
        }
        Some((head, content))
    }

    /// Reads a request head alone, leaving its content.
    pub(crate) fn head(&mut self) -> Option<String> {
        let head = String::from_utf8(self.until(b"\r\n\r\n")?).unwrap();
        let _ = self.heads.send(head.clone());
        Some(head)
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Sends bytes; `false` when nobody takes them any more.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends bytes with the end of the connection behind them, in one segment: whoever reads them finds the end there already.
    pub(crate) fn send_last(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let sent = socket2::SockRef::from(&self.stream).send_with_flags(bytes, libc::MSG_MORE).unwrap();
        assert_eq!(sent, bytes.len());
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Makes the end of the script a reset instead of an end.
    pub(crate) fn reset(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Reads what there is, at least a byte; `None` when the connection ended.
    pub(crate) fn some(&mut self) -> Option<Vec<u8>> {
        if self.read.is_empty() {
            self.more()?;
        }
        Some(std::mem::take(&mut self.read))
    }

    /// Reads until `needle`, with it; `None` when the connection ended first.
    pub(crate) fn until(&mut self, needle: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(needle.len()).position(|window| window == needle) {
                return Some(self.read.drain(..at + needle.len()).collect());
            }
            self.more()?;
        }
    }

    /// Reads exactly so many bytes; `None` when the connection ended first.
    pub(crate) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            self.more()?;
        }
        Some(self.read.drain(..count).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut chunk = [0; 64 * 1024];
        let count = self.stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        self.read.extend_from_slice(&chunk[..count]);
        Some(())
    }
}
