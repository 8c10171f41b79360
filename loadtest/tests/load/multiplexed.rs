//! HTTP/2, HTTP/3 and gRPC, against the server's side of our own transport.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender as Told, channel};
use std::thread;

use ringway_rt::{BindOptions, Listener, Options, UdpSocket, now, spawn, spawn_foreign};
use ringway_transport::{
    After, Alpn, Certificate, ClientAuth, MessageEnd, PrivateKey, QuicEndpoint, QuicIdentity, QuicKeys,
    QuicLimits, QuicTls, Received, Receiver, Sender, ServerProfile, ServerTls, Stream, TicketSeed, Version,
    accept, http2, http3,
};
use ringway_wire::message::OutgoingHead;
use ringway_wire::{ChunkLimits, Framing, HeadLimits, Overlay, RequestHead, Trailers};

use super::{failures, number, report};

const SECOND: u64 = 1_000_000_000;

/// What is served, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serve {
    Http2,
    Http2Tls,
    Http3,
}

/// A peer on a thread of its own that lives as long as the test process.
struct Peer {
    address: SocketAddr,
    roots: tempfile::NamedTempFile,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    fn start(serve: Serve) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let roots = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(roots.path(), certified.cert.pem()).unwrap();
        let profile = ServerProfile {
            name: "peer".to_owned(),
            certificates: vec![Certificate {
                names: vec!["localhost".to_owned()],
                chain: vec![certified.cert.der().to_vec()],
                key: PrivateKey::new(certified.signing_key.serialize_der()),
            }],
            serve_without_sni: true,
            minimum: Version::Tls12,
            client: ClientAuth::None,
            client_ca: Vec::new(),
            client_crls: Vec::new(),
            alpn: vec![Alpn::Http2],
        };
        let connections: Arc<AtomicUsize> = Arc::default();
        let (told, heard) = channel();
        let counted = connections.clone();
        thread::spawn(move || {
            let serving = move |_| async move {
                match serve {
                    Serve::Http3 => serve_quic(profile, told, counted).await,
                    _ => serve_tcp(serve, profile, told, counted).await,
                }
            };
            ringway_rt::run(&Options::default(), serving).unwrap();
        });
        Self { address: heard.recv().unwrap(), roots, connections }
    }

    /// A run against it: the scheme by what it serves.
    fn load(&self, serve: Serve, target: &str, arguments: &[&str]) -> serde_json::Value {
        let scheme = if serve == Serve::Http2 { "http" } else { "https" };
        let url = format!("{scheme}://localhost:{}{target}", self.address.port());
        let connect = self.address.to_string();
        let roots = self.roots.path().to_str().unwrap();
        report(&[&["--connect", &connect, "--cacert", roots, &url], arguments].concat())
    }
}

async fn serve_tcp(
    serve: Serve,
    profile: ServerProfile,
    told: Told<SocketAddr>,
    connections: Arc<AtomicUsize>,
) {
    let listening = Listener::bind(([127, 0, 0, 1], 0).into(), BindOptions::default()).unwrap();
    told.send(listening.local_addr().unwrap()).unwrap();
    let listener = Listener::from_std(listening).unwrap();
    let tls = Arc::new(ServerTls::build(&[profile], &TicketSeed::new([7; 32])).unwrap());
    while let Ok((io, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        let tls = tls.clone();
        spawn_foreign(async move {
            let stream = if serve == Serve::Http2 {
                Stream::Plain(io)
            } else {
                match accept(io, &tls, now().mono_ns + 20 * SECOND).await {
                    Ok((stream, _)) => stream,
                    Err(_) => return,
                }
            };
            let patience =
                http2::Patience { head_ns: 20 * SECOND, idle_ns: 60 * SECOND, stall_ns: 20 * SECOND };
            let mut accepting = http2::Accepting::new(stream, None, patience, HeadLimits::DEFAULT);
            while let Some(http2::Arrived::Request(incoming)) = poll_fn(|cx| accepting.poll_next(cx)).await {
                let http2::Incoming { head, receiver, sender } = incoming;
                spawn(async move {
                    let _ = answer(&head.unwrap(), Receiver::from(receiver), Sender::Http2(sender)).await;
                });
            }
            accepting.linger().await;
        });
    }
}

async fn serve_quic(profile: ServerProfile, told: Told<SocketAddr>, connections: Arc<AtomicUsize>) {
    let limits = QuicLimits { streams: 64, idle_ms: 30_000 };
    let keys = QuicKeys::new(&[3; 32], &[4; 32], &[5; 16]).unwrap();
    let tls = QuicTls::build(&profile, &TicketSeed::new([7; 32]), &keys, limits).unwrap();
    let socket = UdpSocket::bind_group(([127, 0, 0, 1], 0).into(), 1).unwrap().remove(0);
    told.send(socket.local_addr().unwrap()).unwrap();
    let endpoint = QuicEndpoint::new(socket, &QuicIdentity { worker: 0, workers: 1, keys }, &tls).unwrap();
    while let Some(arriving) = endpoint.accept().await {
        connections.fetch_add(1, Ordering::SeqCst);
        spawn(async move {
            let Ok((connection, _)) = arriving.handshake(now().mono_ns + 20 * SECOND).await else { return };
            let patience = http3::Patience { head_ns: 20 * SECOND, idle_ns: 60 * SECOND };
            let mut accepting =
                http3::Accepting::new(connection, patience, HeadLimits::DEFAULT, limits.streams);
            while let Some(arrived) = accepting.next().await {
                spawn(async move {
                    if let Ok(http3::Incoming { head, receiver, sender }) = arrived.head().await {
                        let _ = answer(&head, Receiver::from(receiver), Sender::Http3(sender)).await;
                    }
                });
            }
        });
    }
}

/// Sends the content back with `grpc-status` in a trailer: 0, or 7 for `/denied`.
async fn answer(head: &RequestHead, mut receiver: Receiver, mut sender: Sender) -> Result<(), MessageEnd> {
    let mut content = Vec::new();
    loop {
        match receiver.try_next()? {
            Received::Data(data) => {
                content.extend_from_slice(&data);
                receiver.consumed(data.len());
            }
            Received::Nothing => receiver.readable().await,
            Received::Trailers(_) => {}
            Received::End => break,
        }
    }
    let status = if head.path() == b"/missing" { 404 } else { 200 };
    let overlay = Overlay::take();
    let own = OutgoingHead::own(status, &[(b"x-own", b"yes")], &overlay, Framing::Chunked, None).unwrap();
    sender.send_head(&own, After::Content)?;
    let mut rest = content.as_slice();
    while !rest.is_empty() {
        match sender.try_send(rest)? {
            0 => sender.writable().await,
            count => rest = &rest[count..],
        }
    }
    let mut trailers = Trailers::default();
    let code: &[u8] = if head.path() == b"/denied" { b"7" } else { b"0" };
    trailers.push(b"grpc-status", code, &ChunkLimits::DEFAULT).unwrap();
    sender.finish(Some(&trailers))?;
    while !sender.flush()? {
        sender.writable().await;
    }
    Ok(())
}

/// What is asked of each protocol.
fn spoken(serve: Serve, version: &str) {
    let peer = Peer::start(serve);
    let gets = peer.load(serve, "/x?y", &["-n", "200", "-c", "2", "--streams", "5", "--http", version]);
    assert_eq!((number(&gets, "/requests/answered"), failures(&gets).len()), (200.0, 0), "{serve:?}");
    assert_eq!(gets["settings"]["protocol"], format!("HTTP/{version}"));
    assert_eq!(peer.connections.load(Ordering::SeqCst), 2, "ten lanes on two connections");

    let body = "b".repeat(100_000);
    let echoed = [
        "-n",
        "20",
        "-c",
        "1",
        "--streams",
        "4",
        "--http",
        version,
        "--expect-length",
        "100000",
        "-b",
        &body,
    ];
    let posts = peer.load(serve, "/", &echoed);
    assert_eq!((number(&posts, "/requests/answered"), failures(&posts).len()), (20.0, 0), "{serve:?}");
    assert!(number(&posts, "/requests/bytes_in") > 2e6);

    let missing = peer.load(
        serve,
        "/missing",
        &["-r", "100", "-d", "500ms", "-c", "1", "--streams", "8", "--http", version],
    );
    assert_eq!(failures(&missing), [("status".to_owned(), 50)]);

    let before = peer.connections.load(Ordering::SeqCst);
    let churn = ["-n", "30", "-c", "1", "--requests-per-connection", "10", "--http", version];
    let renewed = peer.load(serve, "/", &churn);
    assert_eq!((number(&renewed, "/requests/answered"), failures(&renewed).len()), (30.0, 0), "{serve:?}");
    assert_eq!(peer.connections.load(Ordering::SeqCst) - before, 3);
}

#[test]
fn http2_is_spoken_in_plain_text() {
    spoken(Serve::Http2, "2");
}

#[test]
fn http2_is_spoken_over_tls() {
    spoken(Serve::Http2Tls, "2");
}

#[test]
fn http3_is_spoken() {
    spoken(Serve::Http3, "3");
}

#[test]
fn grpc_calls_have_their_status_in_a_trailer() {
    let peer = Peer::start(Serve::Http2);
    let arguments = ["--grpc", "-b", "message", "-n", "20", "-c", "1", "--streams", "2"];
    let good =
        peer.load(Serve::Http2, "/a.Service/Call", &[&arguments[..], &["--expect-length", "12"]].concat());
    assert_eq!((number(&good, "/requests/answered"), failures(&good).len()), (20.0, 0));
    assert_eq!(good["settings"]["protocol"], "gRPC over HTTP/2");
    let denied = peer.load(Serve::Http2, "/denied", &arguments);
    assert_eq!(failures(&denied), [("grpc".to_owned(), 20)]);
}
