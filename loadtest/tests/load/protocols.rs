//! What else than plain HTTP/1.1 is spoken: TLS, WebSocket, chunks, long bodies; and on both drivers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::peer::{Answer, Peer, Wrap, reply};
use super::{failures, number, report, run};

struct Tls(Arc<ServerConfig>);

impl Wrap for Tls {
    type Io = StreamOwned<ServerConnection, TcpStream>;
    fn wrap(&self, socket: TcpStream) -> Self::Io {
        StreamOwned::new(ServerConnection::new(self.0.clone()).unwrap(), socket)
    }
}

#[test]
fn tls_is_verified_unless_told_otherwise() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, certified.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let peer = Peer::start_with(Tls(Arc::new(config)), |_| Answer::Keep(reply(200, &"x".repeat(100_000))));
    let url = format!("https://localhost:{}/", peer.address.port());
    let connect = peer.address.to_string();
    let trusted = ["-n", "20", "-c", "2", "--connect", &connect, "--cacert", roots.to_str().unwrap(), &url];
    let verified = report(&trusted);
    assert_eq!((number(&verified, "/requests/answered"), number(&verified, "/requests/failed")), (20.0, 0.0));
    assert_eq!(verified["settings"]["tls"], true);
    let insecure =
        report(&["-n", "5", "-c", "1", "--connect", &connect, "-k", "--requests-per-connection", "1", &url]);
    assert_eq!(number(&insecure, "/requests/answered"), 5.0);
    let refused = run(&["-q", "-n", "5", "-c", "1", "--connect", &connect, &url]);
    assert_eq!(refused.status.code(), Some(1), "nobody vouches for it");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no TLS with localhost"));
}

#[test]
fn bodies_are_read_to_their_end_however_they_are_framed() {
    let chunked = Peer::start(|request| {
        let mut reply =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..request.number % 5 {
            reply.extend_from_slice(b"5\r\nhello\r\n");
        }
        reply.extend_from_slice(b"0\r\n\r\n");
        Answer::Keep(reply)
    });
    for driver in ["uring", "epoll"] {
        let read = report(&["-n", "50", "-c", "1", "--driver", driver, &chunked.url("/")]);
        assert_eq!((number(&read, "/requests/answered"), failures(&read).len()), (50.0, 0), "{driver}");
        let named = read["generator"]["threads"][0]["driver"].as_str().unwrap();
        assert!(named.contains(if driver == "uring" { "uring" } else { "epoll" }), "{named}");
    }
    let long = Peer::start(|_| Answer::Keep(reply(200, &"y".repeat(3_000_000))));
    let read = report(&["-n", "10", "-c", "2", "--expect-length", "3000000", &long.url("/")]);
    assert_eq!((number(&read, "/requests/answered"), failures(&read).len()), (10.0, 0));
    assert!(number(&read, "/requests/bytes_in") > 30e6);
    let until_close = Peer::start(|_| Answer::Close(b"HTTP/1.1 200 OK\r\n\r\nall".to_vec()));
    let read = report(&["-n", "5", "-c", "1", "--expect-body", "all", &until_close.url("/")]);
    assert_eq!((number(&read, "/requests/answered"), failures(&read).len()), (5.0, 0));
    let head = Peer::start(|_| Answer::Keep(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n".to_vec()));
    let read = report(&["-n", "5", "-c", "1", "-m", "HEAD", &head.url("/")]);
    assert_eq!((number(&read, "/requests/answered"), failures(&read).len()), (5.0, 0));
}

/// Echoes frames of any length after the handshake; every tenth message with one byte changed.
fn echo(mut socket: TcpStream) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while !bytes.ends_with(b"\r\n\r\n") {
        let count = socket.read(&mut chunk).unwrap();
        bytes.extend_from_slice(&chunk[..count]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let hashed =
        digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let accept = base64(hashed.as_ref());
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    socket.write_all(reply.as_bytes()).unwrap();
    for number in 1.. {
        let mut head = [0; 4];
        if socket.read_exact(&mut head).is_err() {
            return;
        }
        assert_eq!(
            (head[0], head[1]),
            (0x82, 0x80 | 126),
            "a whole binary message of 126 bytes and more, masked"
        );
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut rest = vec![0; 4 + length];
        socket.read_exact(&mut rest).unwrap();
        let (mask, payload) = rest.split_at_mut(4);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        if number % 10 == 0 {
            payload[0] ^= 1;
        }
        // A ping first, and the message in two parts.
        let (first, second) = payload.split_at(100);
        let mut frames = vec![0x89, 2, b'h', b'i', 0x02, 100];
        frames.extend_from_slice(first);
        frames.extend_from_slice(&[0x80, second.len() as u8]);
        frames.extend_from_slice(second);
        socket.write_all(&frames).unwrap();
        let mut pong = [0; 8];
        socket.read_exact(&mut pong).unwrap();
        assert_eq!((pong[0], pong[1]), (0x8a, 0x82));
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let known = place <= chunk.len();
            text.push(if known { DIGITS[(word >> (18 - 6 * place)) as usize & 63] as char } else { '=' });
        }
    }
    text
}

#[test]
fn websocket_messages_are_echoed_and_compared() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming() {
            thread::spawn(move || echo(socket.unwrap()));
        }
    });
    let url = format!("ws://{address}/chat");
    let report = report(&["-n", "30", "-c", "1", "--message-bytes", "200", &url]);
    assert_eq!(number(&report, "/requests/answered"), 30.0);
    assert_eq!(failures(&report), [("body".to_owned(), 3)]);
    assert_eq!(report["settings"]["protocol"], "WebSocket");
    let plain = Peer::start(|_| Answer::Keep(reply(200, "no")));
    let refused = run(&["-q", "--websocket", "-n", "1", "-c", "1", &plain.url("/")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the reply's status is 200"));
}
