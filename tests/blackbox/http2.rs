//! HTTP/2 from outside, frame by frame: what is served, what is refused, and how a connection ends.

use std::io::Write;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::http2_client::{
    ACK, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY_UPDATE, PROTOCOL_ERROR,
    RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block, frame, get, request,
};
use crate::node::{Node, also_on_epoll};
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::issue;
use crate::websocket::echo;

also_on_epoll!(a_request_is_served_by_prior_knowledge_and_http11_beside_it a_cancelled_stream_cancels_its_upstream_work);

#[test]
fn a_request_is_served_by_prior_knowledge_and_http11_beside_it() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    for stream in [1, 3, 5] {
        assert_eq!(client.ask(stream, "/a?b"), (200, b"ok".to_vec()));
        let record = node.assert_outcome("served");
        assert_eq!((&record["protocol"], &record["host"]), (&"h2".into(), &"api.test".into()), "{record}");
        let head = upstream.head();
        assert!(head.starts_with("GET /a?b HTTP/1.1\r\nHost: api.test\r\n"), "{head}");
        assert!(head.contains("\r\nvia: 2 "), "{head}");
    }
    assert_eq!(node.connect().ask("GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n").text(), "ok");
    assert_eq!(node.record()["protocol"], "http/1.1");
    node.wait_metric("ringway_http2_connections_open", "", |open| open == 1.0);
    drop(client);
    node.wait_metric("ringway_http2_connections_open", "", |open| open == 0.0);
}

#[test]
fn a_listener_without_http2_takes_its_preface_for_no_request() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply = node.connect().send(crate::http2_client::PREFACE).reply();
    assert_eq!(reply.status, 505);
    upstream.assert_untouched();
}

#[test]
fn content_and_trailers_go_both_ways_and_interim_replies_first() {
    let upstream = Scripted::start(|connection| {
        let (head, body) = connection.request().unwrap();
        assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
        assert_eq!(body, b"hello");
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n");
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nok\r\n0\r\nx-sum: abcdef\r\n\r\n");
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    client.send(HEADERS, END_HEADERS, 1, request("POST", "/up", &[("te", "trailers")]));
    client.send(DATA, 0, 1, "hel").send(DATA, 0, 1, "lo");
    client.send(HEADERS, WHOLE, 1, block(&[("x-t", "v")]));
    let interim = client.next_of_stream();
    assert_eq!((interim.status(), interim.ends()), (103, false));
    let head = client.next_of_stream();
    assert_eq!((head.status(), head.ends()), (200, false));
    assert!(!head.holds("keep-alive"));
    assert_eq!(client.next_of_stream().payload, b"ok");
    let trailers = client.next_of_stream();
    assert_eq!((trailers.kind, trailers.ends()), (HEADERS, true));
    assert!(trailers.holds("abcd"), "{trailers:?}");
    node.assert_outcome("served");
}

#[test]
fn a_head_request_and_an_expectation_are_answered_as_they_should_be() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, body)) = connection.request() {
            if head.starts_with("HEAD") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n");
            } else {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
                connection.send(body);
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    client.send(HEADERS, WHOLE, 1, request("HEAD", "/", &[]));
    let head = client.next_of_stream();
    assert_eq!((head.status(), head.ends()), (200, true));
    client.send(HEADERS, END_HEADERS, 3, request("POST", "/", &[("expect", "100-continue")]));
    assert_eq!(client.next_of_stream().status(), 100);
    client.send(DATA, END_STREAM, 3, "body");
    assert_eq!(client.reply(3), (200, b"body".to_vec()));
}

#[test]
fn malformed_heads_reset_their_stream_or_get_their_status_and_reach_nobody() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    let pseudo = |fields: &[(&str, &str)]| block(fields);
    let (method, scheme, authority, path) =
        ((":method", "GET"), (":scheme", "http"), (":authority", "api.test"), (":path", "/"));
    let mut stream = 1;
    for head in [
        request("GET", "/", &[("connection", "close")]),
        request("GET", "/", &[("transfer-encoding", "chunked")]),
        request("GET", "/", &[("te", "gzip")]),
        request("GET", "/", &[(":path", "/b")]),
        request("GET", "/", &[("x-a", "b"), (":method", "GET")]),
        request("GET", "/", &[(":status", "200")]),
        request("GET", "/", &[("content-length", "4")]),
        pseudo(&[method, authority, path]),
        pseudo(&[method, scheme, authority]),
        pseudo(&[scheme, authority, path]),
        pseudo(&[method, scheme, authority, (":path", "")]),
    ] {
        client.send(HEADERS, WHOLE, stream, &head);
        let reset = client.next_of_stream();
        assert_eq!((reset.kind, reset.stream), (RST_STREAM, stream), "{:?}", String::from_utf8_lossy(&head));
        assert_eq!(reset.code(), PROTOCOL_ERROR);
        node.assert_outcome("malformed_head");
        stream += 2;
    }
    for (head, status, outcome) in [
        (pseudo(&[method, scheme, path]), 400, "invalid_host"),
        (request("GET", "/", &[("host", "other.test")]), 400, "invalid_host"),
        (request("GET", "/", &[("expect", "x")]), 417, "expectation_failed"),
        (request("CONNECT", "/", &[(":protocol", "connect-udp")]), 501, "connect_not_allowed"),
        (request("GET", "/", &[("x-a", " b")]), 400, "malformed_head"),
        (request("GET", &format!("/{}", "a".repeat(9000)), &[]), 414, "target_too_long"),
        (request("GET", "/a%00b", &[]), 400, "forbidden_path"),
    ] {
        client.send(HEADERS, END_HEADERS, stream, head);
        assert_eq!(client.reply(stream).0, status, "{outcome}");
        let record = node.assert_outcome(outcome);
        assert_eq!(record["protocol"], "h2", "{record}");
        // Its request has no end: it is told that none is wanted.
        client.assert_reset(stream, 0);
        stream += 2;
    }
    upstream.assert_untouched();
    assert_eq!(client.ask(stream, "/").0, 200, "the connection goes on");
    // What is no field name at all ends the connection.
    for name in ["X-Upper", "x y", ""] {
        let mut client = Client::connect(node.address);
        client.send(HEADERS, WHOLE, 1, request("GET", "/", &[(name, "1")])).assert_goes_away(PROTOCOL_ERROR);
    }
    node.wait_metric("ringway_http2_malformed_total", "", |ended| ended == 3.0);
}

#[test]
fn a_head_over_the_limit_gets_431_and_the_connection_goes_on() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    let value = "v".repeat(1000);
    let names: Vec<String> = (0..34).map(|number| format!("x-{number}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let head = request("GET", "/", &fields);
    let pieces: Vec<&[u8]> = head.chunks(16_000).collect();
    client.send(HEADERS, END_STREAM, 1, pieces[0]);
    client.send(crate::http2_client::CONTINUATION, 0, 1, pieces[1]);
    client.send(crate::http2_client::CONTINUATION, END_HEADERS, 1, pieces[2]);
    let head = client.next_of_stream();
    assert_eq!((head.status(), head.stream), (431, 1));
    upstream.assert_untouched();
    client.send(HEADERS, WHOLE, 3, get("/"));
    while client.next_of_stream().payload != b"ok" {}
}

#[test]
fn content_that_contradicts_its_length_ends_the_stream_and_its_upstream_connection() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    for (stream, flags) in [(1, 0), (3, END_STREAM)] {
        client.send(HEADERS, END_HEADERS, stream, request("POST", "/", &[("content-length", "8")]));
        let content = if flags == 0 { "much too long" } else { "short" };
        client.send(DATA, flags, stream, content).assert_reset(stream, PROTOCOL_ERROR);
        let record = node.record();
        assert_ne!(record["outcome"], "served", "{record}");
    }
    assert_eq!(client.send(PING, 0, 0, "12345678").next_ping(), b"12345678");
}

#[test]
fn a_cancelled_stream_cancels_its_upstream_work() {
    let (gone, went) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Scripted::start(move |connection| {
        let path = connection.head().unwrap();
        if path.starts_with("GET /body") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
        }
        while connection.some().is_some() {}
        gone.lock().unwrap().send(()).unwrap();
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    client.send(HEADERS, WHOLE, 1, get("/head"));
    upstream.head();
    client.send(RST_STREAM, 0, 1, 8u32.to_be_bytes());
    went.recv_timeout(std::time::Duration::from_secs(50)).unwrap();
    node.assert_outcome("client_closed");
    client.send(HEADERS, WHOLE, 3, get("/body"));
    assert_eq!(client.next_of_stream().status(), 200);
    assert_eq!(client.next_of_stream().payload, b"some");
    client.send(RST_STREAM, 0, 3, 8u32.to_be_bytes());
    went.recv_timeout(std::time::Duration::from_secs(50)).unwrap();
    node.assert_outcome("client_closed");
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn a_reply_that_is_cut_resets_its_stream_and_no_other() {
    let upstream = Scripted::answering_once("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let node = Node::start(&Site::to(upstream.address).http2().route("/ok: {respond: {status: 204}}"));
    let mut client = Client::connect(node.address);
    client.send(HEADERS, WHOLE, 1, get("/"));
    let mut last = client.next_of_stream();
    while last.kind != RST_STREAM {
        assert!(!last.ends(), "half a reply was passed off as whole");
        last = client.next_of_stream();
    }
    assert_eq!((last.kind, last.code()), (RST_STREAM, 2));
    node.assert_outcome("upstream_body_short");
    assert_eq!(client.ask(3, "/ok").0, 204);
}

#[test]
fn a_reply_that_fails_before_its_content_is_answered_by_502() {
    let upstream = Scripted::start(|connection| {
        connection.request();
        connection.send_last("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    for stream in [1, 3] {
        let (status, body) = client.ask(stream, "/");
        assert_eq!(status, 502);
        assert!(String::from_utf8(body).unwrap().contains("urn:ringway:problem/upstream-body-short"));
        node.assert_outcome("upstream_body_short");
    }
}

#[test]
fn a_websocket_comes_by_extended_connect() {
    let upstream = Scripted::start(echo);
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    let connect = |path| {
        let more = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
        let pseudo =
            [(":method", "CONNECT"), (":scheme", "http"), (":authority", "api.test"), (":path", path)];
        block(&[&pseudo[..], &more[..]].concat())
    };
    client.send(HEADERS, END_HEADERS, 1, connect("/ws/chat"));
    let head = client.next_of_stream();
    assert_eq!((head.status(), head.ends()), (200, false));
    let asked = upstream.head().to_ascii_lowercase();
    for line in
        ["get /ws/chat http/1.1", "upgrade: websocket", "sec-websocket-key: ", "sec-websocket-version: 13"]
    {
        assert!(asked.contains(line), "{asked}");
    }
    node.wait_metric("ringway_tunnels_open", "", |open| open == 1.0);
    for _ in 0..3 {
        client.send(DATA, 0, 1, [7; 10_000]);
        let mut back = 0;
        while back < 10_000 {
            back += client.next_of_stream().payload.len();
        }
    }
    client.send(DATA, END_STREAM, 1, "");
    let mut bye: Vec<u8> = Vec::new();
    loop {
        let frame = client.next_of_stream();
        bye.extend(&frame.payload);
        if frame.ends() {
            break;
        }
    }
    assert_eq!(bye, b"bye");
    let record = node.assert_outcome("tunnel_closed");
    assert_eq!((&record["protocol"], &record["status"]), (&"websocket".into(), &200.into()), "{record}");
    assert_eq!(record["body_in_bytes"], 30_000);
    client.send(HEADERS, END_HEADERS, 3, connect("/other"));
    assert_eq!(client.reply(3).0, 400);
    node.assert_outcome("upgrade_not_allowed");
}

#[test]
fn a_tunnel_whose_stream_is_reset_closes_its_upstream() {
    let (gone, went) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Scripted::start(move |connection| {
        connection.head().unwrap();
        connection.send("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
        while connection.some().is_some() {}
        gone.lock().unwrap().send(()).unwrap();
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    let more = [(":protocol", "websocket")];
    client.send(HEADERS, END_HEADERS, 1, request("CONNECT", "/ws/x", &more));
    assert_eq!(client.next_of_stream().status(), 200);
    client.send(RST_STREAM, 0, 1, 8u32.to_be_bytes());
    went.recv_timeout(std::time::Duration::from_secs(50)).unwrap();
    node.assert_outcome("tunnel_cut");
}

#[test]
fn a_drain_says_goaway_twice_and_serves_what_is_open() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Scripted::start(move |connection| {
        connection.request().unwrap();
        held.lock().unwrap().recv().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    client.send(HEADERS, WHOLE, 1, get("/"));
    upstream.head();
    node.signal(rustix::process::Signal::TERM);
    let mut goaways = Vec::new();
    while goaways.len() < 2 {
        let frame = client.next().unwrap();
        match frame.kind {
            GOAWAY => goaways.push(frame),
            PING if frame.flags & ACK == 0 => {
                client.send(PING, ACK, 0, &frame.payload);
            }
            _ => {}
        }
    }
    let last =
        |frame: &crate::http2_client::Frame| u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
    assert_eq!((last(&goaways[0]), goaways[0].code()), (0x7fff_ffff, 0));
    assert_eq!((last(&goaways[1]), goaways[1].code()), (1, 0));
    release.send(()).unwrap();
    assert_eq!(client.reply(1), (200, b"ok".to_vec()));
    assert!(client.rest().iter().all(|frame| frame.kind != RST_STREAM));
    assert_eq!(node.wait(), Some(0));
}

/// A connection on which stream 1 was served. Where the machine stood still, its time was over before that.
fn served(node: &Node) -> Client {
    let asked = |_| {
        let mut client = Client::connect(node.address);
        client.send(HEADERS, WHOLE, 1, get("/"));
        let frames = std::iter::from_fn(|| client.next()).take_while(|frame| frame.kind != GOAWAY);
        let replied = { frames }.any(|frame| frame.stream == 1 && frame.ends());
        replied.then_some(client)
    };
    (0..20).find_map(asked).expect("it is never served")
}

#[test]
fn an_idle_connection_and_a_slow_head_get_goaway_in_time() {
    let upstream = Scripted::ok();
    let site = Site::to(upstream.address).http2().settings("timeouts: {head: 500ms, keep_alive: 700ms}");
    let node = Node::start(&site);
    // Nothing after a connection; a head without its end, while another stream is served; nothing after a reply.
    Client::connect(node.address).assert_goes_away(0);
    served(&node).send(HEADERS, END_STREAM, 3, get("/")).assert_goes_away(0);
    served(&node).assert_goes_away(0);
    // Not even a preface.
    Raw::connect(node.address).send(&crate::http2_client::PREFACE[..10]).rest();
}

#[test]
fn the_more_urgent_reply_goes_first_once_the_window_opens() {
    let content = "x".repeat(300_000);
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len());
    let upstream = Scripted::answering(reply);
    let node = Node::start(&Site::to(upstream.address).http2());
    // Stream windows are wide and the connection's is shut after 64 KiB: what goes next is the gateway's choice.
    let mut client = Client::with_settings(Raw::connect(node.address), &[(1, 0), (4, 1 << 20)]);
    client.send(PRIORITY_UPDATE, 0, 0, [&7u32.to_be_bytes()[..], b"u=0"].concat());
    for stream in [1, 3, 5, 7] {
        client.send(HEADERS, WHOLE, stream, request("GET", "/", &[("priority", "u=5")]));
    }
    let (mut got, mut ended) = ([0usize; 8], Vec::new());
    // Nothing is granted before each of them has begun.
    let (mut begun, mut granted) = (0, 65_535usize);
    while ended.len() < 4 {
        let frame = client.next().unwrap();
        if frame.kind == DATA {
            got[frame.stream as usize] += frame.payload.len();
            if frame.ends() {
                ended.push(frame.stream);
            }
        }
        begun += usize::from(frame.kind == HEADERS);
        let all: usize = got.iter().sum();
        if begun == 4 && all + 1000 > granted {
            granted += 100_000;
            client.send(WINDOW_UPDATE, 0, 0, 100_000u32.to_be_bytes());
        }
    }
    assert_eq!(ended[0], 7, "the urgent one, asked for last, ends first: {ended:?}");
}

#[test]
fn alpn_chooses_the_protocol_and_a_host_of_another_certificate_is_misdirected() {
    let upstream = Scripted::ok();
    let (one, other) = (issue(&["api.test", "also.test"]), issue(&["shop.test"]));
    let site = Site::to(upstream.address)
        .only_listener("{address: \"127.0.0.2:0\", tls: both, protocols: [http1, http2]}")
        .more(concat!(
            "tls: {both: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}, ",
            "{chain: \"file:b.pem\", key: \"file:b.key\"}]}}"
        ))
        .file("a.pem", one.chain.as_str())
        .file("a.key", one.key.as_str())
        .file("b.pem", other.chain.as_str())
        .file("b.key", other.key.as_str());
    let node = Node::start(&site);
    let mut roots = RootCertStore::empty();
    roots.add(one.der.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("api.test".to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let raw = Raw::connect(node.address).secure(tls).unwrap();
    assert_eq!(raw.tls().alpn_protocol(), Some(&b"h2"[..]));
    let mut client = Client::over(raw);
    assert_eq!(client.ask(1, "/"), (200, b"ok".to_vec()));
    node.assert_outcome("served");
    for (stream, authority, status, outcome) in [
        (3, "shop.test", 421, "misdirected"),
        (5, "also.test", 404, "unknown_host"),
        (7, "nobody.test", 404, "unknown_host"),
        (9, "API.test:443", 200, "served"),
    ] {
        let head =
            block(&[(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/")]);
        client.send(HEADERS, WHOLE, stream, head);
        assert_eq!(client.reply(stream).0, status, "{authority}");
        node.assert_outcome(outcome);
    }
}

#[test]
fn frames_of_unknown_types_and_settings_change_nothing() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let raw = Raw::connect(node.address);
    let mut bytes = crate::http2_client::PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, [&[0x0a, 0x0a][..], &[0; 4], &[0, 1], &[0; 4]].concat()));
    bytes.extend(frame(0xee, 0xff, 9, "grease"));
    bytes.extend(frame(HEADERS, WHOLE, 1, get("/")));
    // Byte by byte: nothing depends on how they come.
    for byte in bytes {
        raw.stream().write_all(&[byte]).unwrap();
    }
    let mut client = Client::resumed(raw);
    assert_eq!(client.reply(1), (200, b"ok".to_vec()));
}
