//! WebSockets over HTTP/1.1, HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220), frame by frame (RFC 6455): whatever the two ends say to each
//! other, right or wrong, reaches the other one byte for byte, and so does each of the ways to end.

use std::io::{Read, Write};
use std::process::ChildStdin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http2_client::{
    Client, DATA, END_HEADERS, END_STREAM, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
};
use crate::http3::{ca, chromium, over_http3};
use crate::node::{Node, also_on_epoll};
use crate::peers;
use crate::raw::Raw;
use crate::scripted::{Accepted, Scripted};
use crate::site::Site;
use crate::tls::issue;
use crate::websocket::{SWITCHING, UPGRADE};

also_on_epoll!(frames_pass_unchanged_over_every_protocol);

/// A tunnel, whatever carries it.
trait Tunnel {
    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]);
    /// Reads exactly so many bytes.
    fn exactly(&mut self, count: usize) -> Vec<u8>;
    /// Ends our half.
    fn finish(&mut self);
    /// Everything up to the end of the other half; `false`: it was broken off. Ours may end with it.
    fn rest(&mut self) -> (Vec<u8>, bool);
}

impl Tunnel for Raw {
    fn send(&mut self, bytes: &[u8]) {
        Self::send(self, bytes);
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        Self::exactly(self, count)
    }

    fn finish(&mut self) {
        Self::finish(self);
    }

    fn rest(&mut self) -> (Vec<u8>, bool) {
        (Self::rest(self), true)
    }
}

/// A stream of HTTP/2, with its windows.
struct OverHttp2 {
    client: Client,
    windows: [i64; 2],
    read: Vec<u8>,
    /// The other half has ended, in order or not.
    ended: Option<bool>,
}

impl OverHttp2 {
    fn open(node: &Node) -> Self {
        let mut client = Client::with_settings(Raw::connect(node.address), &[(1, 0), (4, i32::MAX as u32)]);
        client.send(WINDOW_UPDATE, 0, 0, 0x7f00_0000u32.to_be_bytes());
        let head = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":authority", "api.test"),
            (":path", "/ws/chat"),
            ("sec-websocket-version", "13"),
        ];
        client.send(HEADERS, END_HEADERS, 1, block(&head));
        let mut tunnel = Self { client, windows: [65_535; 2], read: Vec::new(), ended: None };
        let head = loop {
            if let Some(head) = tunnel.hear() {
                break head;
            }
        };
        assert_eq!(head, 200);
        tunnel
    }

    /// Reads a frame; the status of a head.
    fn hear(&mut self) -> Option<u16> {
        let frame = self.client.next().expect("the connection goes on");
        let number = |at: usize| u32::from_be_bytes(frame.payload[at..at + 4].try_into().unwrap());
        match frame.kind {
            HEADERS => return Some(frame.status()),
            DATA => {
                self.read.extend(&frame.payload);
                self.ended = frame.ends().then_some(true);
            }
            RST_STREAM => self.ended = Some(false),
            WINDOW_UPDATE => self.windows[usize::from(frame.stream != 0)] += i64::from(number(0)),
            SETTINGS if frame.flags == 0 => {
                let pairs = frame.payload.chunks(6).enumerate();
                for (at, _) in pairs.filter(|(_, pair)| pair[..2] == [0, 4]) {
                    self.windows[1] += i64::from(number(at * 6 + 2)) - 65_535;
                }
            }
            _ => {}
        }
        None
    }
}

impl Tunnel for OverHttp2 {
    fn send(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.windows[0].min(self.windows[1]).min(16_384);
            if room <= 0 {
                self.hear();
                continue;
            }
            let (piece, rest) = bytes.split_at(bytes.len().min(room as usize));
            self.client.send(DATA, 0, 1, piece);
            self.windows = self.windows.map(|window| window - piece.len() as i64);
            bytes = rest;
        }
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert_eq!(self.ended, None, "ended after {} of {count} bytes", self.read.len());
            self.hear();
        }
        self.read.drain(..count).collect()
    }

    fn finish(&mut self) {
        self.client.send(DATA, END_STREAM, 1, "");
    }

    fn rest(&mut self) -> (Vec<u8>, bool) {
        while self.ended.is_none() {
            self.hear();
        }
        (std::mem::take(&mut self.read), self.ended == Some(true))
    }
}

/// A stream of HTTP/3 in another process.
struct OverHttp3 {
    peer: peers::Running,
    input: Option<ChildStdin>,
}

impl OverHttp3 {
    fn open(node: &Node) -> Self {
        let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
        let mut peer = peers::start("h3_tunnel.py", &[&ip, &port, &ca(node), "api.test", "/ws/chat"]);
        assert_eq!(peer.next()["status"], 200);
        let input = Some(peer.input());
        Self { peer, input }
    }
}

impl Tunnel for OverHttp3 {
    fn send(&mut self, bytes: &[u8]) {
        self.input.as_ref().unwrap().write_all(bytes).unwrap();
    }

    fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut read = vec![0; count];
        self.peer.says().read_exact(&mut read).unwrap();
        read
    }

    fn finish(&mut self) {
        self.input = None;
    }

    fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut read = Vec::new();
        self.peer.says().read_to_end(&mut read).unwrap();
        self.finish();
        (read, self.peer.wait() == Some(0))
    }
}

/// What carries a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
    Http3,
}

impl Over {
    const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];

    /// A gateway that speaks it.
    fn node(self, upstream: &Scripted, keys: &str) -> Node {
        let site = Site::with_keys(&[upstream.address], keys);
        Node::start(&match self {
            Self::Http1 => site,
            Self::Http2 => site.http2(),
            Self::Http3 => over_http3(site),
        })
    }

    fn open(self, node: &Node) -> Box<dyn Tunnel> {
        match self {
            Self::Http1 => {
                let mut raw = node.connect();
                assert_eq!(raw.ask(UPGRADE).status, 101);
                Box::new(raw)
            }
            Self::Http2 => Box::new(OverHttp2::open(node)),
            Self::Http3 => Box::new(OverHttp3::open(node)),
        }
    }
}

/// A frame (RFC 6455 §5.2): its first byte, the mask where it has one, and its payload.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        length @ ..126 => out.push(masked | length as u8),
        length @ ..65_536 => {
            out.push(masked | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(masked | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
    out
}

const KEY: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// What one end says, and what the other answers.
struct Exchange {
    name: &'static str,
    up: Vec<u8>,
    down: Vec<u8>,
}

fn exchanges() -> Vec<Exchange> {
    let said =
        |name, up: Vec<Vec<u8>>, down: Vec<Vec<u8>>| Exchange { name, up: up.concat(), down: down.concat() };
    let same = |name: &'static str, first: u8, payload: &[u8]| {
        said(name, vec![frame(first, KEY, payload)], vec![frame(first, None, payload)])
    };
    let pattern = |length: usize| -> Vec<u8> { (0..length).map(|at| (at * 7 % 251) as u8).collect() };
    let mut all = vec![
        same("a text", TEXT, b"Hello"),
        same("no text at all", TEXT, b""),
        said("a ping and its pong", vec![frame(PING, KEY, b"x")], vec![frame(PONG, None, b"x")]),
        said("an empty ping", vec![frame(PING, KEY, b"")], vec![frame(PONG, None, b"")]),
        said("a pong that nobody asked for", vec![frame(PONG, KEY, b"y")], vec![frame(PING, None, b"z")]),
        said(
            "fragments with a ping between them",
            vec![
                frame(0x01, KEY, b"Hel"),
                frame(PING, KEY, &[9; 125]),
                frame(0x00, KEY, b""),
                frame(0x80, KEY, b"lo"),
            ],
            vec![frame(PONG, None, &[9; 125]), frame(0x01, None, b"H"), frame(0x80, None, b"i")],
        ),
        // What the other end would refuse is its business, and not ours.
        same("a compressed one", 0xc1, &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]),
        same("reserved bits", 0xf2, b"x"),
        same("a reserved kind", 0x83, b"x"),
        same("a control frame in fragments", 0x09, b"x"),
        same("no UTF-8", TEXT, &[0xce, 0xba, 0xed, 0xa0, 0x80]),
        said("no mask", vec![frame(TEXT, None, b"x")], vec![frame(TEXT, KEY, b"x")]),
        said("a mask of zeros", vec![frame(TEXT, Some([0; 4]), b"x")], vec![frame(TEXT, None, b"x")]),
        said("no frame at all", vec![b"GET / HTTP/1.1\r\n\r\n".to_vec()], vec![b"0\r\n\r\n".to_vec()]),
    ];
    for length in [125, 126, 127, 128, 4_095, 65_535, 65_536, 1 << 20] {
        all.push(same("a length", BINARY, &pattern(length)));
    }
    let pieces = (0..512).map(|at| {
        frame([0x02, 0x00, 0x80][usize::from(at > 0) + usize::from(at == 511)], KEY, &pattern(8192))
    });
    all.push(said("4 MiB in fragments", pieces.collect(), vec![frame(BINARY, None, &pattern(4 << 20))]));
    all.push(same("16 MiB", BINARY, &pattern(16 << 20)));
    all
}

/// Agrees to the upgrade.
fn agree(connection: &mut Accepted) {
    connection.head().unwrap();
    connection.send(SWITCHING);
}

#[test]
fn frames_pass_unchanged_over_every_protocol() {
    let exchanges = Arc::new(exchanges());
    let theirs = Arc::clone(&exchanges);
    let upstream = Scripted::start(move |connection| {
        agree(connection);
        for Exchange { name, up, down } in theirs.iter() {
            let came = connection.exactly(up.len());
            assert!(came.as_ref() == Some(up), "{name} of {} bytes came otherwise", up.len());
            connection.send(down);
        }
        // A half that has ended leaves the other one open.
        assert_eq!(connection.some(), None);
        connection.send(frame(TEXT, None, b"bye"));
    });
    for over in Over::ALL {
        let node = over.node(&upstream, "");
        let mut tunnel = over.open(&node);
        for Exchange { name, up, down } in exchanges.iter() {
            tunnel.send(up);
            assert!(tunnel.exactly(down.len()) == *down, "{name} over {over:?}, {} bytes", down.len());
        }
        tunnel.finish();
        assert_eq!(tunnel.rest(), (frame(TEXT, None, b"bye"), true), "{over:?}");
        let record = node.assert_outcome("tunnel_closed");
        let sum = |bytes: fn(&Exchange) -> usize| exchanges.iter().map(bytes).sum::<usize>();
        assert_eq!(record["body_in_bytes"], sum(|exchange| exchange.up.len()), "{over:?}: {record}");
        assert_eq!(record["body_out_bytes"], sum(|exchange| exchange.down.len()) + 5, "{over:?}: {record}");
    }
}

/// Payloads of close frames: codes that may stand there, those that may not, reasons, and what is none.
fn closes() -> Vec<Vec<u8>> {
    let codes =
        [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999, 1005, 1006, 1015, 0, 65_535];
    let mut payloads: Vec<Vec<u8>> = codes.iter().map(|code| code.to_be_bytes().to_vec()).collect();
    payloads.push(Vec::new());
    payloads.push(vec![3]);
    payloads.push([&1001u16.to_be_bytes()[..], "going away ".repeat(11).as_bytes()].concat());
    payloads
}

#[test]
fn close_frames_of_either_end_reach_the_other_and_end_the_tunnel() {
    let upstream = Scripted::start(|connection| {
        agree(connection);
        // The first frame says who begins to close; the bytes of a close frame follow.
        let begins = connection.exactly(1).unwrap()[0];
        let length = connection.exactly(1).unwrap()[0].into();
        let payload = connection.exactly(length).unwrap();
        if begins == b'u' {
            connection.send(frame(CLOSE, None, &payload));
        }
        assert_eq!(connection.exactly(6 + length), Some(frame(CLOSE, KEY, &payload)));
        if begins == b'd' {
            connection.send(frame(CLOSE, None, &payload));
        }
    });
    for over in Over::ALL {
        let node = over.node(&upstream, "");
        let closes = closes();
        // Another process each: not all of them over HTTP/3.
        let step = if over == Over::Http3 { 6 } else { 1 };
        for (at, payload) in closes.iter().step_by(step).enumerate() {
            let begins = if at % 2 == 0 { b'd' } else { b'u' };
            let mut tunnel = over.open(&node);
            tunnel.send(&[&[begins, payload.len() as u8][..], payload].concat());
            if begins == b'u' {
                assert_eq!(tunnel.exactly(2 + payload.len()), frame(CLOSE, None, payload));
            }
            tunnel.send(&frame(CLOSE, KEY, payload));
            // The server's side closes first (RFC 6455 §7.1.1), and only then do we.
            let expected = if begins == b'u' { Vec::new() } else { frame(CLOSE, None, payload) };
            assert_eq!(tunnel.rest(), (expected, true), "{over:?} {payload:?}");
            tunnel.finish();
            node.assert_outcome("tunnel_closed");
        }
    }
}

#[test]
fn a_tunnel_lives_while_anything_moves_and_ends_when_nothing_does() {
    // Long enough for a machine that stands still now and then.
    const IDLE: Duration = Duration::from_secs(3);
    let upstream = Scripted::start(|connection| {
        agree(connection);
        while let Some(bytes) = connection.some() {
            connection.send(bytes);
        }
    });
    for over in Over::ALL {
        let node = over.node(&upstream, "timeout: {tunnel_idle: 3s}");
        let mut tunnel = over.open(&node);
        let (began, ping) = (Instant::now(), frame(PING, KEY, b"?"));
        let mut moved = began;
        while began.elapsed() < IDLE * 4 / 3 {
            moved = Instant::now();
            tunnel.send(&ping);
            assert_eq!(tunnel.exactly(ping.len()), ping);
        }
        let (rest, in_order) = tunnel.rest();
        assert!(rest.is_empty() && moved.elapsed() >= IDLE * 9 / 10, "{over:?}: {:?}", moved.elapsed());
        // A stream is broken off, so that nobody takes it for a close.
        assert_eq!(in_order, over == Over::Http1, "{over:?}");
        node.assert_outcome("tunnel_idle");
    }
}

#[test]
fn an_upstream_that_breaks_off_breaks_the_tunnel_off() {
    let upstream = Scripted::start(|connection| {
        agree(connection);
        connection.exactly(1);
        connection.reset();
    });
    for over in [Over::Http2, Over::Http3] {
        let node = over.node(&upstream, "");
        let mut tunnel = over.open(&node);
        tunnel.send(b"x");
        assert_eq!(tunnel.rest(), (Vec::new(), false), "{over:?}");
        node.assert_outcome("tunnel_cut");
    }
}

/// A page whose script opens a WebSocket, says something and shows the answer. Its image is not there before, and so the page is not
/// whole before.
const PAGE: &str = concat!(
    "<body><p>nothing came.</p><img src=/image><script>",
    "const socket = new WebSocket(`wss://${location.host}/ws/page`);",
    "socket.onopen = () => socket.send('hello');",
    "socket.onmessage = (said) => {",
    " document.querySelector('p').textContent = `it said ${said.data}.`; socket.close(1000); };",
    "</script>"
);

/// A browser opens it on the connection that the page came by.
#[test]
fn chromium_opens_a_websocket_on_its_http2_connection() {
    let (close, closed) = std::sync::mpsc::channel::<()>();
    let (close, closed) = (std::sync::Mutex::new(close), std::sync::Mutex::new(closed));
    let upstream = Scripted::start(move |connection| {
        let head = connection.head().unwrap();
        if head.starts_with("GET /ws/page ") {
            connection.send(SWITCHING);
            let came = connection.exactly(6 + 5).unwrap();
            assert_eq!(came, frame(TEXT, Some(came[2..6].try_into().unwrap()), b"hello"));
            connection.send(frame(TEXT, None, b"hello as well"));
            // The close frame says that the answer is shown.
            assert_eq!(connection.exactly(6 + 2).unwrap()[0], CLOSE);
            connection.send(frame(CLOSE, None, &1000u16.to_be_bytes()));
            close.lock().unwrap().send(()).unwrap();
            return;
        }
        let content = if head.starts_with("GET /image ") { "" } else { PAGE };
        if content.is_empty() {
            let _ = closed.lock().unwrap().recv_timeout(Duration::from_secs(60));
        }
        let length = content.len();
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{content}"
        ));
    });
    let issued = issue(&["api.test"]);
    let site = Site::to(upstream.address)
        .only_listener("{address: \"127.0.0.2:0\", protocols: [http1, http2], tls: one}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str());
    let node = Node::start(&site);
    let hash = peers::run("h3.py", &["spki", &ca(&node)])[0]["hash"].as_str().unwrap().to_owned();
    let profile = tempfile::tempdir().unwrap();
    let page = chromium(
        profile.path(),
        &[
            &format!("--ignore-certificate-errors-spki-list={hash}"),
            &format!("--host-resolver-rules=MAP api.test {}", node.address.ip()),
            "--dump-dom",
            &format!("https://api.test:{}/page", node.address.port()),
        ],
    );
    assert!(page.contains("it said hello as well."), "{page}");
    let record =
        std::iter::repeat_with(|| node.record()).find(|record| record["path"] == "/ws/page").unwrap();
    assert_eq!(record["status"], 200, "101 is HTTP/1.1's: {record}");
}
