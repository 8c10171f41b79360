//! What is loaded in the tests: a listener of std's, a thread a connection, and a closure that answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A request as it came.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
    /// Its number over all connections, from 0.
    pub(crate) number: usize,
}

impl Received {
    /// The value of a field, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// What is done with a request.
pub(crate) enum Answer {
    /// These bytes are sent, and the connection is kept.
    Keep(Vec<u8>),
    /// These bytes are sent, and it is closed.
    Close(Vec<u8>),
    /// Nothing is ever sent.
    Silence,
}

/// A reply with a body of this text.
pub(crate) fn reply(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Because\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Waits for some time without there being anything to wait for: a peer that stalls on purpose.
pub(crate) fn stall(time: Duration) {
    let (_kept, never): (Sender<()>, Receiver<()>) = channel();
    let _ = never.recv_timeout(time);
}

/// A peer that listens until the test process ends.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

/// What a connection's bytes go through before they are read as HTTP.
pub(crate) trait Wrap: Send + Sync + 'static {
    type Io: Read + Write;
    fn wrap(&self, socket: TcpStream) -> Self::Io;
}

/// Nothing.
struct Plain;

impl Wrap for Plain {
    type Io = TcpStream;
    fn wrap(&self, socket: TcpStream) -> TcpStream {
        socket
    }
}

impl Peer {
    /// Answers each request by `answer`.
    pub(crate) fn start(answer: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(Plain, answer)
    }

    /// The same behind something, such as TLS.
    pub(crate) fn start_with(
        wrap: impl Wrap,
        answer: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let connections: Arc<AtomicUsize> = Arc::default();
        let numbers = Arc::new(AtomicUsize::new(0));
        let (answer, wrap) = (Arc::new(answer), Arc::new(wrap));
        let (list, opened) = (received.clone(), connections.clone());
        thread::spawn(move || {
            for socket in listener.incoming() {
                opened.fetch_add(1, Ordering::SeqCst);
                let (answer, wrap) = (answer.clone(), wrap.clone());
                let (list, numbers) = (list.clone(), numbers.clone());
                thread::spawn(move || {
                    let socket = socket.unwrap();
                    socket.set_nodelay(true).unwrap();
                    serve(wrap.wrap(socket), &*answer, &list, &numbers);
                });
            }
        });
        Self { address, received, connections }
    }

    /// `http://` with the address and this target.
    pub(crate) fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// All that came so far.
    pub(crate) fn received(&self) -> std::sync::MutexGuard<'_, Vec<Received>> {
        self.received.lock().unwrap()
    }

    /// Connections that were accepted so far; so many are waited for, which may be accepted after their client has gone.
    pub(crate) fn connections(&self, wanted: usize) -> usize {
        let began = Instant::now();
        loop {
            let accepted = self.connections.load(Ordering::SeqCst);
            if accepted >= wanted || began.elapsed() > Duration::from_secs(60) {
                return accepted;
            }
            thread::yield_now();
        }
    }
}

fn serve(
    mut io: impl Read + Write,
    answer: &dyn Fn(&Received) -> Answer,
    list: &Mutex<Vec<Received>>,
    numbers: &AtomicUsize,
) {
    let mut bytes = Vec::new();
    while let Some((head, body)) = read_request(&mut io, &mut bytes) {
        let number = numbers.fetch_add(1, Ordering::SeqCst);
        let request = Received { head, body, at: Instant::now(), number };
        let answered = answer(&request);
        list.lock().unwrap().push(request);
        let written = match answered {
            Answer::Keep(reply) => io.write_all(&reply),
            Answer::Close(reply) => {
                let _ = io.write_all(&reply);
                return;
            }
            Answer::Silence => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

/// One request with its body; none at the end.
fn read_request(io: &mut impl Read, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end + 2].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                return Some((head, body));
            }
        }
        let mut chunk = [0; 4096];
        match io.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}
