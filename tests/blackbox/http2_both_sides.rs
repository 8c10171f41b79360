//! HTTP/2 callers and HTTP/2 upstreams at once, over TLS by ALPN too: trailers, cancelling in both directions, events that are not
//! held back, and nghttpd as an upstream that others wrote.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use crate::frames::{self, CANCEL, DATA, END_STREAM, HEADERS, RST_STREAM, endpoint, frame, head, reset};
use crate::http2_client::{self as caller, Client};
use crate::node::{Node, also_on_epoll, own_address};
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::{Issued, issue};

also_on_epoll!(
    a_caller_that_cancels_cancels_the_upstreams_work_wherever_it_is
    each_event_arrives_before_the_next_is_made
);

const PATIENCE: Duration = Duration::from_secs(50);

/// HTTP/2 on both sides.
fn site(upstream: SocketAddr) -> Site {
    Site::bare().http2().upstream("one", &[upstream], "protocol: http2").route("/*: {to: one}")
}

/// A POST whose content follows.
fn post(stream: u32, path: &str) -> Vec<u8> {
    caller::frame(HEADERS, caller::END_HEADERS, stream, caller::request("POST", path, &[("te", "trailers")]))
}

#[test]
fn content_and_trailers_pass_both_ways() {
    let upstream = endpoint(&[], |served| {
        let mut content = Vec::new();
        let mut sections = 0;
        while let Some(next) = served.next() {
            match next.kind {
                HEADERS => sections += 1,
                DATA => content.extend(&next.payload),
                _ => {}
            }
            if next.ends() {
                assert_eq!(sections, 2, "a head and trailers");
                served.send(head(next.stream, 0, &[(":status", "200")]));
                served.send(frame(DATA, 0, next.stream, &content));
                served.send(head(next.stream, END_STREAM, &[("x-sum", "2")]));
            }
        }
    });
    let node = Node::start(&site(upstream.address));
    let mut client = Client::connect(node.address);
    client.send_bytes(post(1, "/a")).send(DATA, 0, 1, b"hello");
    client.send(HEADERS, caller::WHOLE, 1, caller::block(&[("x-sum", "1")]));
    assert_eq!(client.next_of_stream().status(), 200);
    assert_eq!(client.next_of_stream().payload, b"hello");
    let trailers = client.next_of_stream();
    assert!(trailers.ends() && trailers.holds("x-sum"), "{trailers:?}");
    node.assert_outcome("served");
}

/// An endpoint that begins to answer paths of `begin`, and tells the codes of resets.
fn waiting(begin: bool) -> (Scripted, Receiver<(u32, u32)>) {
    let (told, resets) = channel();
    let told = Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        while let Some(next) = served.next() {
            match next.kind {
                HEADERS if begin => {
                    served.send(head(next.stream, 0, &[(":status", "200")]));
                    served.send(frame(DATA, 0, next.stream, b"begun"));
                }
                HEADERS => told.lock().unwrap().send((next.stream, 0)).unwrap(),
                RST_STREAM => told.lock().unwrap().send((next.stream, next.code())).unwrap(),
                _ => {}
            }
        }
    });
    (upstream, resets)
}

#[test]
fn a_caller_that_cancels_cancels_the_upstreams_work_wherever_it_is() {
    // While the head is waited for, with the request whole and not; and in the middle of the reply, likewise.
    let (upstream, told) = waiting(false);
    let node = Node::start(&site(upstream.address));
    let mut client = Client::connect(node.address);
    client.send(HEADERS, caller::WHOLE, 1, caller::get("/a"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok((1, 0)));
    client.send(RST_STREAM, 0, 1, CANCEL.to_be_bytes());
    assert_eq!(told.recv_timeout(PATIENCE), Ok((1, CANCEL)));
    node.assert_outcome("client_closed");
    client.send_bytes(post(3, "/a")).send(DATA, 0, 3, b"part");
    assert_eq!(told.recv_timeout(PATIENCE), Ok((3, 0)));
    client.send(RST_STREAM, 0, 3, CANCEL.to_be_bytes());
    assert_eq!(told.recv_timeout(PATIENCE), Ok((3, CANCEL)));
    let record = node.record();
    assert!(["client_reset", "client_closed"].contains(&record["outcome"].as_str().unwrap()), "{record}");

    let (upstream, told) = waiting(true);
    let node = Node::start(&site(upstream.address));
    let mut client = Client::connect(node.address);
    for (stream, request) in
        [(1, caller::frame(HEADERS, caller::WHOLE, 1, caller::get("/a"))), (3, post(3, "/a"))]
    {
        client.send_bytes(request);
        assert_eq!(client.next_of_stream().status(), 200);
        assert_eq!(client.next_of_stream().payload, b"begun");
        client.send(RST_STREAM, 0, stream, CANCEL.to_be_bytes());
        assert_eq!(told.recv_timeout(PATIENCE), Ok((stream, CANCEL)));
        let record = node.record();
        assert!(["client_reset", "client_closed"].contains(&record["outcome"].as_str().unwrap()), "{record}");
    }
}

#[test]
fn an_upstream_that_cancels_resets_the_callers_stream_and_no_other() {
    let upstream = endpoint(&[], |served| {
        let first = served.request().unwrap();
        let second = served.request().unwrap();
        served.send(head(first, 0, &[(":status", "200")]));
        served.send(frame(DATA, 0, first, b"begun"));
        served.send(reset(first, CANCEL));
        served.send(frames::reply(second, b"whole"));
        while served.next().is_some() {}
    });
    let node = Node::start(&site(upstream.address));
    let mut client = Client::connect(node.address);
    client.send(HEADERS, caller::WHOLE, 1, caller::get("/a"));
    client.send(HEADERS, caller::WHOLE, 3, caller::get("/b"));
    let (mut cut, mut whole) = (false, false);
    while !(cut && whole) {
        let next = client.next_of_stream();
        match (next.stream, next.kind) {
            (1, RST_STREAM) => cut = true,
            (1, DATA) => assert!(!next.ends(), "a part is never taken for the whole"),
            (3, DATA) => whole = next.ends(),
            _ => {}
        }
    }
    let mut outcomes =
        [node.record(), node.record()].map(|record| record["outcome"].as_str().unwrap().to_owned());
    outcomes.sort();
    assert_eq!(outcomes, ["served", "upstream_body_short"]);
}

/// Three events, each made when the one before has arrived: `next` says so.
fn events() -> (Sender<()>, Arc<Mutex<Receiver<()>>>) {
    let (arrived, next) = channel();
    (arrived, Arc::new(Mutex::new(next)))
}

fn event(number: u32) -> String {
    format!("data: {number}\n\n")
}

/// An endpoint of either protocol that makes them.
fn making_events(http2: bool, next: Arc<Mutex<Receiver<()>>>) -> Scripted {
    let wait = move || next.lock().unwrap().recv_timeout(PATIENCE).expect("the event before has arrived");
    if http2 {
        return endpoint(&[], move |served| {
            let stream = served.request().unwrap();
            served.send(head(stream, 0, &[(":status", "200"), ("content-type", "text/event-stream")]));
            for number in 0..3 {
                served.send(frame(DATA, 0, stream, event(number).as_bytes()));
                wait();
            }
            served.send(frame(DATA, END_STREAM, stream, b""));
            while served.next().is_some() {}
        });
    }
    Scripted::start(move |connection| {
        connection.request();
        connection
            .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..3 {
            let event = event(number);
            connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            wait();
        }
        connection.send("0\r\n\r\n");
    })
}

#[test]
fn each_event_arrives_before_the_next_is_made() {
    for (protocol, http2) in [("http1", false), ("http2", true)] {
        let (arrived, next) = events();
        let upstream = making_events(http2, next);
        let site = Site::bare()
            .http2()
            .upstream("one", &[upstream.address], &format!("protocol: {protocol}"))
            .route("/*: {to: one}");
        let node = Node::start(&site);
        let mut client = Client::connect(node.address);
        client.send(HEADERS, caller::WHOLE, 1, caller::get("/events"));
        assert_eq!(client.next_of_stream().status(), 200, "before an event is there");
        for number in 0..3 {
            assert_eq!(client.next_of_stream().payload, event(number).as_bytes(), "{protocol}");
            arrived.send(()).unwrap();
        }
        assert!(client.next_of_stream().ends());
        node.assert_outcome("served");
    }
    // And to a caller of HTTP/1.1.
    let (arrived, next) = events();
    let upstream = making_events(true, next);
    let node = Node::start(&site(upstream.address));
    let mut client = node.connect();
    client.send("GET /events HTTP/1.1\r\nHost: api.test\r\n\r\n").until(b"\r\n\r\n");
    for number in 0..3 {
        client.until(event(number).as_bytes());
        arrived.send(()).unwrap();
    }
    client.until(b"0\r\n\r\n");
}

/// nghttpd, ended when it is dropped.
struct Nghttpd(Child, SocketAddr);

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts nghttpd on a folder; with TLS if there is a key and a certificate.
fn nghttpd(folder: &Path, tls: Option<(&Path, &Path)>) -> Nghttpd {
    let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let mut command = Command::new("nghttpd");
    command.args(["-v", "--echo-upload", "--trailer", "x-end: yes", "-d"]).arg(folder);
    command.arg("-a").arg(address.ip().to_string());
    if tls.is_none() {
        command.arg("--no-tls");
    }
    command.arg(address.port().to_string());
    if let Some((key, certificate)) = tls {
        command.args([key, certificate]);
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("nghttpd is needed here (Debian: nghttp2-server)");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listens = format!("listen {}", address.ip());
    let listening = lines.by_ref().map_while(Result::ok).any(|line| line.contains(&listens));
    assert!(listening, "nghttpd listens");
    std::thread::spawn(move || lines.map_while(Result::ok).count());
    Nghttpd(child, address)
}

/// A file of so many bytes, and its content.
fn content(folder: &Path) -> Vec<u8> {
    let content: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(folder.join("large"), &content).unwrap();
    content
}

/// What curl gets from the gateway with these arguments.
#[track_caller]
fn curl(address: SocketAddr, scheme: &str, path: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["-sS", "-k", "--max-time", "60", "--fail", "--resolve"])
        .arg(format!("api.test:{}:{}", address.port(), address.ip()))
        .args(arguments)
        .arg(format!("{scheme}://api.test:{}{path}", address.port()))
        .output()
        .expect("curl is needed here");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn nghttpd_is_served_from_and_uploaded_to_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let content = content(folder.path());
    let upstream = nghttpd(folder.path(), None);
    let node = Node::start(&site(upstream.1));
    for flag in ["--http2-prior-knowledge", "--http1.1"] {
        assert!(curl(node.address, "http", "/large", &[flag]) == content, "{flag}");
        node.assert_outcome("served");
        let file = format!("@{}", folder.path().join("large").display());
        let echoed = curl(node.address, "http", "/up", &[flag, "-H", "Expect:", "--data-binary", &file]);
        assert!(echoed == content, "{flag}: {} bytes", echoed.len());
        node.assert_outcome("served");
    }
    let load = Command::new("h2load")
        .args(["-n", "500", "-c", "4", "-m", "16", "-H", ":authority: api.test"])
        .arg(format!("http://{}/large", node.address).replace("/large", "/none"))
        .output()
        .expect("h2load is needed here (Debian: nghttp2-client)");
    let shown = String::from_utf8_lossy(&load.stdout).into_owned();
    assert!(shown.contains("500 done") && shown.contains("500 4xx"), "{shown}");
    assert!(node.metric("ringway_upstream_connections_opened_total", "") <= 2.0, "streams share connections");
}

/// A site whose listener speaks TLS, and whose upstream does.
fn both_secured(upstream: SocketAddr, protocol: &str, down: &Issued, up: &Issued) -> Site {
    Site::bare()
        .only_listener("{address: \"127.0.0.2:0\", tls: one, protocols: [http1, http2]}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", down.chain.as_str())
        .file("a.key", down.key.as_str())
        .file("up.pem", up.chain.as_str())
        .upstream(
            "one",
            &[upstream],
            &format!("protocol: {protocol}, tls: {{name: up.test, ca: \"file:up.pem\"}}"),
        )
        .route("/*: {to: one}")
        .route("/ws/*: {to: two, websocket: true}")
        .upstream("two", &[upstream], "tls: {name: up.test, ca: \"file:up.pem\"}")
}

#[test]
fn alpn_finds_http2_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let content = content(folder.path());
    let (down, up) = (issue(&["api.test"]), issue(&["up.test"]));
    let (key, certificate) = (folder.path().join("up.key"), folder.path().join("up.pem"));
    std::fs::write(&key, &up.key).unwrap();
    std::fs::write(&certificate, &up.chain).unwrap();
    let upstream = nghttpd(folder.path(), Some((&key, &certificate)));
    for protocol in ["http2", "auto"] {
        let node = Node::start(&both_secured(upstream.1, protocol, &down, &up));
        for flag in ["--http2", "--http1.1"] {
            // nghttpd speaks nothing but HTTP/2 here: an answer proves what was agreed on.
            assert!(curl(node.address, "https", "/large", &[flag]) == content, "{protocol} {flag}");
            node.assert_outcome("served");
            let file = format!("@{}", folder.path().join("large").display());
            let echoed = curl(node.address, "https", "/up", &[flag, "-H", "Expect:", "--data-binary", &file]);
            assert!(echoed == content, "{protocol} {flag}: {} bytes", echoed.len());
            node.assert_outcome("served");
        }
        assert_eq!(node.metric("ringway_upstream_connections_opened_total", ""), 1.0, "{protocol}");
    }
}

/// An endpoint that agrees to HTTP/1.1 alone by ALPN, and tells what each request's first line was.
fn text_over_tls(issued: &Issued) -> (SocketAddr, Receiver<String>) {
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.der.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (told, lines) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (told, config) = (told.clone(), Arc::clone(&config));
            std::thread::spawn(move || {
                let mut stream =
                    rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream);
                let mut read = Vec::new();
                let mut chunk = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut chunk) {
                    read.extend_from_slice(&chunk[..count]);
                    while let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                        let head: Vec<u8> = read.drain(..end + 4).collect();
                        let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
                        told.send(line).unwrap();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    (address, lines)
}

#[test]
fn an_endpoint_that_agrees_to_http11_gets_that_where_it_may_and_nothing_where_it_may_not() {
    let (down, up) = (issue(&["api.test"]), issue(&["up.test"]));
    let (address, lines) = text_over_tls(&up);
    let node = Node::start(&both_secured(address, "auto", &down, &up));
    for _ in 0..2 {
        assert_eq!(curl(node.address, "https", "/a", &["--http2"]), b"ok");
        assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), "GET /a HTTP/1.1");
        node.assert_outcome("served");
    }
    assert_eq!(node.metric("ringway_upstream_connections_opened_total", ""), 1.0, "it is kept");
    node.apply(&both_secured(address, "http2", &down, &up));
    let refused = Command::new("curl")
        .args(["-s", "-k", "--http2", "-o", "/dev/null", "-w", "%{http_code}", "--resolve"])
        .arg(format!("api.test:{}:{}", node.address.port(), node.address.ip()))
        .arg(format!("https://api.test:{}/a", node.address.port()))
        .output()
        .unwrap();
    assert_eq!(refused.stdout, b"502");
    node.assert_outcome("upstream_tls_failed");
    assert!(lines.try_recv().is_err(), "nothing was sent");
}
