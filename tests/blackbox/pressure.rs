//! Peers that are slow, silent or many: bounded, counted, recovered from.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::node::{Node, also_on_epoll};
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(
    a_head_that_takes_too_long_is_408_however_steadily_it_comes
    a_caller_that_half_closes_still_gets_its_reply
    connections_beyond_the_limit_are_refused_and_counted
    a_caller_that_leaves_while_its_reply_is_awaited_costs_the_upstream_nothing_more
    a_caller_that_half_closes_gets_a_reply_that_takes_a_moment
    a_refusal_lets_its_caller_send_all_of_the_content_first
);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// Sends a byte every 20 ms until the other side answers or closes; a thousand never come that far.
#[track_caller]
fn drip(client: &Raw, byte: &[u8]) {
    let mut stream = client.stream();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    // Waiting for an answer is the pace: nobody sleeps.
    let unanswered = |_: &i32| stream.write_all(byte).is_ok() && stream.peek(&mut [0]).is_err();
    assert!((0..1000).take_while(unanswered).count() < 1000, "its time is not counted in all");
    client.stream().set_read_timeout(Some(Duration::from_secs(50))).unwrap();
}

#[test]
fn a_head_that_takes_too_long_is_408_however_steadily_it_comes() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).status, 200);
    node.assert_outcome("served");
    upstream.head();
    // A short time for its next head, which begins with its first byte.
    node.apply(&Site::to(upstream.address).settings("timeouts: {head: 400ms}"));
    client.send("GET /a HTTP/1.1\r\nHost: api.test\r\nX: ");
    drip(&client, b"a");
    assert_eq!(client.reply().status, 408);
    client.assert_closed();
    node.assert_outcome("head_timeout");
    upstream.assert_untouched();
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_record() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("timeouts: {head: 200ms}"));
    node.connect().assert_closed();
    node.apply(&Site::to(upstream.address).settings("timeouts: {keep_alive: 200ms}"));
    let mut served = node.connect();
    assert_eq!(served.ask(GET).status, 200);
    served.assert_closed();
    node.assert_outcome("served");
}

#[test]
fn a_body_that_comes_too_slowly_is_408() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address).settings("body: {rate: 10KiB, grace: 300ms}"));
    let mut client = node.connect();
    client.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1000000\r\n\r\n");
    drip(&client, b"b");
    assert_eq!(client.reply().status, 408);
    client.assert_closed();
    node.assert_outcome("body_timeout");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_and_counted() {
    let upstream = Scripted::start(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            connection.send(vec![b'x'; 100_000_000]);
        }
    });
    let node = Node::start(&Site::to(upstream.address).settings("timeouts: {write_stall: 300ms}"));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&node.address.into()).unwrap();
    let mut stalled = TcpStream::from(socket);
    stalled.write_all(GET.as_bytes()).unwrap();
    let record = node.assert_outcome("client_stalled");
    assert!(record["body_out_bytes"].as_u64().unwrap() < 100_000_000, "{record}");
    let mut got = Vec::new();
    let _ = stalled.read_to_end(&mut got);
    assert!(got.len() < 100_000_000, "what is cut never looks whole");
}

/// Fails unless a caller that half-closes behind this request gets `ok`. It is waited for during a second: where the machine stood
/// still for as long, it is taken for one that left, and another one asks.
#[track_caller]
fn assert_served_half_closed(node: &Node, request: &str) {
    for _ in 0..20 {
        let began = Instant::now();
        let mut client = node.connect();
        client.send(request).finish();
        if client.more_or_read() {
            assert_eq!(client.reply().text(), "ok");
            client.assert_closed();
            node.assert_outcome("served");
            return;
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "given up after {:?}", began.elapsed());
        node.assert_outcome("client_closed");
    }
    panic!("it is never answered");
}

#[test]
fn a_caller_that_half_closes_still_gets_its_reply() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    assert_served_half_closed(&node, GET);
    let post = "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\n\r\nabc";
    assert_served_half_closed(&node, post);
}

#[test]
fn a_caller_that_leaves_in_the_middle_of_a_reply_is_recorded_and_harms_nobody() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /endless ") {
                connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while connection.try_send("5\r\nhello\r\n") {}
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send("GET /endless HTTP/1.1\r\nHost: api.test\r\n\r\n").until(b"hello");
    drop(client);
    let record = node.record();
    assert_eq!(record["kind"], "client", "{record}");
    assert_eq!(node.connect().ask(GET).text(), "ok");
}

#[test]
fn connections_beyond_the_limit_are_refused_and_counted() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("connections: 16"));
    let mut held: Vec<Raw> = (0..16).map(|_| node.connect()).collect();
    for client in &mut held {
        assert_eq!(client.ask(GET).status, 200);
        node.assert_outcome("served");
    }
    for _ in 0..10 {
        node.connect().assert_closed();
    }
    node.wait_metric("ringway_connections_refused_total", "", |refused| refused == 10.0);
    for client in &mut held {
        assert_eq!(client.ask(GET).status, 200, "those that are open go on");
    }
    held.clear();
    node.wait_metric("ringway_connections_open", "", |open| open == 0.0);
    assert_eq!(node.connect().ask(GET).status, 200, "and there is room again");
}

/// Fails if anything comes from there within 400 ms.
fn assert_quiet(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    assert!(stream.peek(&mut [0]).is_err());
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
}

/// A caller that takes next to nothing of what it is sent.
fn stalled(address: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).ok()?;
    let mut stream = TcpStream::from(socket);
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: api.test\r\n\r\n").ok()?;
    Some(stream)
}

#[test]
fn requests_beyond_the_memory_get_503_until_there_is_room_again() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /large ") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                connection.send(vec![b'x'; 100_000_000]);
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let node = Node::start(&Site::to(upstream.address).settings("memory: 1MiB"));
    let mut kept = node.connect();
    assert_eq!(kept.ask(GET).status, 200);
    let mut readers = Vec::new();
    let refused = loop {
        readers.extend(stalled(node.address));
        let reply = kept.ask(GET);
        if reply.status == 503 {
            break reply;
        }
        assert!(readers.len() < 500, "{} readers do not fill a mebibyte", readers.len());
    };
    assert!(refused.field("retry-after").is_some(), "{}", refused.head);
    assert!(refused.text().contains("temporary-reduced-capacity"), "{}", refused.text());
    node.wait_metric("ringway_memory_in_use_bytes", "", |bytes| bytes >= 1_048_576.0);
    node.connect().assert_closed();
    node.wait_metric("ringway_connections_refused_total", "", |refused| refused >= 1.0);
    let memory = node.metric("ringway_memory_in_use_bytes", "");
    assert!(memory < 1_572_864.0, "{memory} bytes: it is exceeded by what was under way at most");
    drop(readers);
    let began = Instant::now();
    while kept.ask(GET).status != 200 {
        assert!(began.elapsed() < Duration::from_secs(50), "there is no room again");
    }
    let outcomes: Vec<_> = std::iter::from_fn(|| Some(node.record()["outcome"].as_str()?.to_owned()))
        .take_while(|outcome| outcome != "overload")
        .collect();
    assert!(outcomes.iter().all(|outcome| outcome == "served"), "{outcomes:?}");
    assert_eq!(node.connect().ask(GET).status, 200);
}

#[test]
fn a_caller_that_leaves_while_its_reply_is_awaited_costs_the_upstream_nothing_more() {
    let (said, left) = std::sync::mpsc::channel();
    let said = std::sync::Mutex::new(said);
    let upstream = Scripted::start(move |connection| {
        while let Some((head, _)) = connection.request() {
            if head.contains(" /silent ") || head.contains(" /stream ") {
                if head.contains(" /stream ") {
                    connection.send("HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n");
                }
                // Nothing more is said: the connection ends when the gateway has no use for it any more.
                let ended = connection.some().is_none();
                said.lock().unwrap().send(ended).unwrap();
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    // No time of the gateway's own ends any of it.
    let node = Node::start(&Site::with_keys(&[upstream.address], "timeout: {request: 1h, idle: 1h}"));
    let get = "GET /silent HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let post = "POST /silent HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\n";
    let stream = "GET /stream HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for (sent, then, resets) in
        [(get, "", false), (get, "", true), (get, GET, false), (post, "ok", true), (stream, "", false)]
    {
        let mut client = node.connect();
        client.send(sent);
        upstream.head();
        client.send(then);
        if sent == stream {
            client.until(b"data: 1\n\n");
        }
        if resets {
            socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        assert!(left.recv_timeout(Duration::from_secs(50)).unwrap(), "{sent:?}: more was sent");
        let record = node.assert_outcome("client_closed");
        assert_eq!((&record["attempts"], &record["kind"]), (&1.into(), &"client".into()), "{record}");
        // Who comes next gets a connection of its own, or one that is sound.
        assert_eq!(node.connect().ask(GET).text(), "ok");
        assert_eq!(node.assert_outcome("served")["status"], 200);
    }
}

#[test]
fn a_caller_that_half_closes_gets_a_reply_that_takes_a_moment() {
    let upstream = Scripted::start(|connection| {
        while connection.request().is_some() {
            // Somewhat longer than the moment after which callers are looked for.
            assert_quiet(connection.stream());
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    assert_served_half_closed(&node, GET);
}

/// Fails unless one of some attempts goes well: in each, the machine may stand still at the wrong moment.
#[track_caller]
fn assert_sometimes(attempt: impl FnMut(i32) -> bool) {
    assert!((0..10).any(attempt), "not once");
}

#[test]
fn the_gateways_own_share_is_what_nobody_waited_for() {
    let upstream = Scripted::start(move |connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /ws/") {
                return crate::websocket::echo_after(connection);
            }
            assert_quiet(connection.stream());
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\no");
            assert_quiet(connection.stream());
            connection.send("kay");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    // Its own share is some hundred microseconds; a busy machine may make more of it.
    let is_small = |record: serde_json::Value| {
        let us = |name: &str| record[name].as_u64().unwrap();
        assert!(us("duration_us") >= 300_000 && us("own_us") > 0, "{record}");
        us("own_us") < us("duration_us") / 2
    };
    let mut client = node.connect();
    assert_sometimes(|_| {
        assert_eq!(client.ask(GET).text(), "okay");
        is_small(node.assert_outcome("served"))
    });
    // Both directions wait at once.
    assert_sometimes(|_| {
        client.send("POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
        assert_quiet(client.stream());
        assert_eq!(client.ask("1\r\nb\r\n0\r\n\r\n").text(), "okay");
        is_small(node.assert_outcome("served"))
    });
    assert_sometimes(|_| {
        let mut client = node.connect();
        assert_eq!(client.ask(crate::websocket::UPGRADE).status, 101);
        assert_quiet(client.stream());
        assert_eq!(client.send("hello").exactly(5), b"hello");
        client.finish().rest();
        is_small(node.assert_outcome("tunnel_closed"))
    });
}

#[test]
fn a_body_beyond_its_limit_is_413() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let site =
        Site::to(upstream.address).settings("body: {size: 1KiB}").route("/small: {to: one, body: 10B}");
    let node = Node::start(&site);
    let known = node.connect().ask("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1025\r\n\r\n");
    assert_eq!(known.status, 413);
    node.assert_outcome("body_too_large");
    let route = node.connect().ask("POST /small HTTP/1.1\r\nHost: api.test\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(route.status, 413);
    node.assert_outcome("body_too_large");
    upstream.assert_untouched();
    let head = "POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = node.connect();
    let reply = client.ask(format!("{head}401\r\n{}\r\n0\r\n\r\n", "a".repeat(1025)));
    assert_eq!(reply.status, 413);
    client.assert_closed();
    node.assert_outcome("body_too_large");
}

/// Many clients send all of their content before they read, and tell of nothing but a write that failed.
#[test]
fn a_refusal_lets_its_caller_send_all_of_the_content_first() {
    let upstream = Scripted::ok();
    let site = Site::to(upstream.address)
        .route("/small: {to: one, body: 10B}")
        .route("/fixed: {respond: {status: 200, body: ok}}");
    let node = Node::start(&site);
    let content = vec![b'a'; 16 << 20];
    for (path, status, outcome) in
        [("/small", 413, "body_too_large"), ("/fixed", 200, "served"), ("/a%2f", 400, "forbidden_path")]
    {
        let mut client = node.connect();
        let mut stream = client.stream();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\n", content.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&content).unwrap();
        let reply = client.reply();
        assert_eq!((reply.status, reply.field("connection")), (status, Some("close")), "{path}");
        client.assert_ends_in_order();
        node.assert_outcome(outcome);
    }
    upstream.assert_untouched();
}

/// Opens so many connections that say nothing.
fn flood(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
}

#[test]
fn a_flood_of_silent_connections_leaves_the_others_served() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).status, 200);
    node.apply(&Site::to(upstream.address).settings("timeouts: {head: 500ms}"));
    let silent = flood(node.address, 400);
    for _ in 0..20 {
        assert_eq!(client.ask(GET).status, 200);
    }
    for stream in &silent {
        stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
        let ended = stream.peek(&mut [0]);
        assert!(
            matches!(ended, Ok(0))
                || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    drop(silent);
    node.wait_metric("ringway_connections_open", "", |open| open <= 1.0);
}
