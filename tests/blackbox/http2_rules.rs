//! The rules of HTTP/2 that the h2spec suite brought up (docs/conformance.md), and what is recorded of requests that are none.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::http2_client::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, PROTOCOL_ERROR,
    RST_STREAM, WHOLE, block, request,
};
use crate::node::{Node, also_on_epoll};
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::issue;

also_on_epoll!(a_preface_that_is_none_ends_the_connection requests_that_are_none_are_recorded);

/// FRAME_SIZE_ERROR (RFC 9113 §7).
const FRAME_SIZE_ERROR: u32 = 6;
const GARBAGE: &str = "INVALID CONNECTION PREFACE\r\n\r\n";

#[test]
fn a_preface_that_is_none_ends_the_connection() {
    let issued = issue(&["api.test"]);
    let site = Site::bare()
        .only_listener("{address: \"127.0.0.2:0\", tls: one, protocols: [http1, http2]}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str());
    let node = Node::start(&site);
    let mut roots = RootCertStore::empty();
    roots.add(issued.der.clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("api.test".to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut raw = Raw::connect(node.address).secure(tls).unwrap();
    raw.send(GARBAGE);
    Client::resumed(raw).assert_goes_away(PROTOCOL_ERROR);
    node.wait_metric("ringway_http2_malformed_total", "", |ended| ended == 1.0);
}

#[test]
fn a_first_line_of_neither_protocol_is_answered_in_neither() {
    let site = Site::bare()
        .only_listener("{address: \"127.0.0.2:0\", protocols: [http1, http2]}")
        .listener("{address: \"127.0.0.3:0\", protocols: [http2]}");
    let node = Node::start(&site);
    node.connect().send(GARBAGE).assert_closed();
    let record = node.assert_outcome("malformed_head");
    assert_eq!((&record["detail"], &record["generation"]), (&"request-line".into(), &1.into()), "{record}");
    Raw::connect(node.listener("127.0.0.3:0")).send(GARBAGE).assert_closed();
    // What may be HTTP/1 in some version is answered as that.
    for line in [
        "GET / HTTP/3.0\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / a HTTP/1.1\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET http://api.test/ http/1.1\r\n\r\n",
        "GET / XTTP/1.1\r\n\r\n",
        "\x16\x03\x01\r\n\r\n",
    ] {
        assert!(node.connect().send(line).reply().status >= 400, "{line:?}");
    }
}

#[test]
fn a_fixed_reply_waits_for_content_that_contradicts_its_length() {
    let node = Node::start(&Site::bare().http2().route("/fixed: {respond: {status: 200, body: ok}}"));
    let mut client = Client::connect(node.address);
    let head = |length| request("POST", "/fixed", &[("content-length", length)]);
    client.send(HEADERS, END_HEADERS, 1, head("8")).send(DATA, 0, 1, "some");
    // Another stream is served meanwhile.
    assert_eq!(client.ask(3, "/fixed"), (200, b"ok".to_vec()));
    client.send(DATA, END_STREAM, 1, "").assert_reset(1, PROTOCOL_ERROR);
    node.assert_outcome("served");
    node.assert_outcome("framing_conflict");
    client
        .send(HEADERS, END_HEADERS, 5, head("8"))
        .send(DATA, 0, 5, "some")
        .send(DATA, END_STREAM, 5, "more");
    assert_eq!(client.reply(5), (200, b"ok".to_vec()));
    // Who is asked to be told to go on is not kept waiting, nor is who sends much.
    let more = [("content-length", "100000")];
    client.send(HEADERS, END_HEADERS, 7, request("POST", "/fixed", &more));
    assert_eq!(client.reply(7), (200, b"ok".to_vec()));
}

#[test]
fn requests_that_are_none_are_recorded() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    let pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "api.test")];
    let mut stream = 1;
    for head in [
        request("GET", "/", &[("connection", "close")]),
        request("GET", "/", &[("te", "gzip")]),
        request("GET", "/", &[(":path", "/b")]),
        request("GET", "/", &[("content-length", "4")]),
        block(&pseudo),
    ] {
        client.send(HEADERS, WHOLE, stream, &head).assert_reset(stream, PROTOCOL_ERROR);
        let record = node.assert_outcome("malformed_head");
        assert_eq!(
            (&record["protocol"], &record["detail"]),
            (&"h2".into(), &"unparsed-head".into()),
            "{record}"
        );
        stream += 2;
    }
    let large = "v".repeat(40_000);
    let head = request("GET", "/", &[("x-large", &large)]);
    let pieces: Vec<&[u8]> = head.chunks(16_000).collect();
    client.send(HEADERS, END_STREAM, stream, pieces[0]).send(CONTINUATION, 0, stream, pieces[1]);
    client.send(CONTINUATION, END_HEADERS, stream, pieces[2]);
    assert_eq!(client.next_of_stream().status(), 431);
    let record = node.assert_outcome("head_too_large");
    assert_eq!((&record["protocol"], &record["status"]), (&"h2".into(), &431.into()), "{record}");
    // Requests in one packet: the good ones are served, and each has one record.
    let get = |stream| crate::http2_client::frame(HEADERS, WHOLE, stream, request("GET", "/", &[]));
    let bad = crate::http2_client::frame(HEADERS, WHOLE, stream + 4, block(&pseudo));
    client.send_bytes([get(stream + 2), bad, get(stream + 6)].concat());
    let (mut replies, mut resets) = (0, 0);
    while replies < 2 || resets < 1 {
        let frame = client.next_of_stream();
        replies += usize::from(frame.ends());
        resets += usize::from(frame.kind == RST_STREAM && frame.stream == stream + 4);
    }
    let mut outcomes: Vec<_> =
        (0..3).map(|_| node.record()["outcome"].as_str().unwrap().to_owned()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["malformed_head", "served", "served"]);
    // One that ends its connection is a request as well.
    client
        .send(HEADERS, WHOLE, stream + 8, request("GET", "/", &[("X-Upper", "1")]))
        .assert_goes_away(PROTOCOL_ERROR);
    node.assert_outcome("malformed_head");
    node.wait_metric("ringway_requests_in_flight", "", |open| open == 0.0);
    // What is none, is none: not even a stream.
    Client::connect(node.address).send_bytes(&PREFACE[..9]).assert_goes_away(FRAME_SIZE_ERROR);
    Client::connect(node.address).send(DATA, 0, 0, "x").assert_goes_away(PROTOCOL_ERROR);
    assert_eq!(node.connect().ask("GET /last HTTP/1.1\r\nHost: api.test\r\n\r\n").status, 200);
    assert_eq!(node.assert_outcome("served")["path"], "/last");
}

/// SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
const MAX_HEADER_LIST_SIZE: u16 = 6;

#[test]
fn a_reply_beyond_the_header_list_that_a_client_takes_is_refused() {
    let large = "v".repeat(2_000);
    let upstream = Scripted::start(move |connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(match head.split(' ').nth(1).unwrap() {
                "/large" => format!("HTTP/1.1 200 OK\r\nX-Large: {large}\r\nContent-Length: 2\r\n\r\nok"),
                "/interim" => format!(
                    "HTTP/1.1 103 Early Hints\r\nLink: {large}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                ),
                "/trailers" => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Large: {large}\r\n\r\n"
                ),
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            });
        }
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let ask = |client: &mut Client, stream: u32, path: &str| {
        client.send(HEADERS, WHOLE, stream, request("GET", path, &[("te", "trailers")]));
    };
    let refused = |outcome: &str| {
        let record = node.assert_outcome(outcome);
        assert_eq!(record["detail"], "over-the-callers-limit", "{record}");
        record
    };
    let mut client =
        Client::with_settings(Raw::connect(node.address), &[(1, 0), (MAX_HEADER_LIST_SIZE, 1_000)]);
    assert_eq!(client.ask(1, "/small"), (200, b"ok".to_vec()));
    node.assert_outcome("served");
    assert_eq!(client.ask(3, "/large").0, 502);
    refused("upstream_head_too_large");
    ask(&mut client, 5, "/interim");
    assert_eq!(client.reply(5), (200, b"ok".to_vec()), "without the interim head");
    node.assert_outcome("served");
    ask(&mut client, 7, "/trailers");
    let mut last = client.next_of_stream();
    while last.kind != RST_STREAM {
        assert!(!last.ends(), "a reply without its trailers was passed off as whole");
        last = client.next_of_stream();
    }
    assert_eq!(last.stream, 7);
    refused("upstream_head_too_large");
    // Not even a refusal of ours fits.
    let mut client =
        Client::with_settings(Raw::connect(node.address), &[(1, 0), (MAX_HEADER_LIST_SIZE, 100)]);
    for (stream, path) in [(1, "/small"), (3, "/large")] {
        ask(&mut client, stream, path);
        let frame = client.next_of_stream();
        assert_eq!((frame.kind, frame.stream), (RST_STREAM, stream), "{frame:?}");
        assert_eq!(refused("upstream_head_too_large")["status"], serde_json::Value::Null);
    }
}

#[test]
fn a_head_that_is_longer_than_a_frame_goes_on_in_others() {
    let values = ["a".repeat(20_000), "b".repeat(20_000), "c".repeat(20_000)];
    let [a, b, c] = values.clone();
    let upstream = Scripted::start(move |connection| {
        while connection.request().is_some() {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nX-A: {a}\r\nX-B: {b}\r\nX-C: {c}\r\nContent-Length: 2\r\n\r\nok"
            ));
        }
    });
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut client = Client::connect(node.address);
    for stream in [1, 3] {
        client.send(HEADERS, WHOLE, stream, request("GET", "/", &[]));
        let mut head = client.next_of_stream();
        assert_eq!((head.status(), head.ends(), head.flags & END_HEADERS), (200, false, 0));
        while head.flags & END_HEADERS == 0 {
            let next = client.next().unwrap();
            assert_eq!((next.kind, next.stream), (CONTINUATION, stream), "nothing comes between them");
            assert!(next.payload.len() <= 16_384);
            head.payload.extend(next.payload);
            head.flags |= next.flags & END_HEADERS;
        }
        assert!(values.iter().all(|value| head.holds(&value[..19_900])));
        assert_eq!(client.next_of_stream().payload, b"ok");
    }
}

/// A request in the place of a part of one.
const LINE: &str = "/ HTTP/1.1\r\nHost: x\r\n\r\nGET /smuggled";

/// Pseudo-fields that would be more than they are, or nothing, once they are written as HTTP/1.1.
const PSEUDO: &[(&str, &[&str])] = &[
    (":path", &[LINE, "", "a", "/a b", "/a\r\nx: y", "/a\nb", "/a\tb", "/\0", "http://x/", "?a"]),
    (":method", &[LINE, "", "GE T", "GET\n", "POST / HTTP/1.1", "P\0", "G(T"]),
    (":scheme", &["", "ftp", "http ", "http://x/?", "http\r\nx: y"]),
    (":authority", &["", "a b", "x@api.test", "api.test/x", "api.test#", "api.test,x", "api.test\r\nx: y"]),
];

/// Fields of the same kind.
const MORE: &[&[(&str, &str)]] = &[
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "")],
    &[("transfer-encoding ", "chunked")],
    &[(" transfer-encoding", "chunked")],
    &[("transfer-encoding:", "chunked")],
    &[("transfer-encoding: chunked\r\nx", "y")],
    &[("x\r\ntransfer-encoding", "chunked")],
    &[("x\ny", "z")],
    &[("x\0", "y")],
    &[("x:y", "z")],
    &[("x y", "z")],
    &[("x(", "z")],
    &[("x\"", "z")],
    &[("X", "y")],
    &[("", "y")],
    &[(":", "y")],
    &[(":x", "y")],
    &[(":status", "200")],
    &[(":protocol", "websocket")],
    &[("x", "a\r\ntransfer-encoding: chunked")],
    &[("x", "a\nb")],
    &[("x", "a\rb")],
    &[("x", "a\0b")],
    &[("x", " a")],
    &[("x", "a\t")],
    &[("connection", "x")],
    &[("keep-alive", "1")],
    &[("proxy-connection", "close")],
    &[("upgrade", "h2c")],
    &[("http2-settings", "AA")],
    &[("host", "other.test")],
    &[("host", "a b")],
    &[("host", "api.test"), ("host", "api.test")],
    &[("content-length", "0"), ("content-length", "1")],
    &[("content-length", "+0")],
    &[("content-length", "0, 0")],
    &[("content-length", "")],
    &[("content-length", "1")],
    &[("expect", "100-continue, x")],
];

/// What would be another request, or another field, once it is written as HTTP/1.1.
#[test]
fn nothing_is_smuggled_through_a_downgrade() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let pseudo = |name: &str, value: &str| {
        let usual = [(":method", "POST"), (":scheme", "http"), (":authority", "api.test"), (":path", "/")];
        block(&usual.map(|(known, usual)| (known, if known == name { value } else { usual })))
    };
    let mut heads = Vec::new();
    for (name, values) in PSEUDO {
        heads.extend(values.iter().map(|value| pseudo(name, value)));
    }
    for more in MORE {
        heads.push(request("POST", "/", more));
    }
    for head in &heads {
        let mut client = Client::connect(node.address);
        client.send(HEADERS, WHOLE, 1, head);
        let said = loop {
            let frame = client.next().expect("it is told");
            if matches!(frame.kind, HEADERS | RST_STREAM | GOAWAY) {
                break frame;
            }
        };
        let refused = said.kind != HEADERS || matches!(said.status(), 400 | 417 | 501);
        assert!(refused, "{}: {said:?}", head.escape_ascii());
        upstream.assert_untouched();
    }
    // Content that reads like a request stays content, whatever the method.
    let content = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for method in ["GET", "HEAD", "POST", "DELETE", "TRACE"] {
        let mut client = Client::connect(node.address);
        client.send(HEADERS, END_HEADERS, 1, request(method, "/", &[])).send(DATA, END_STREAM, 1, content);
        assert_eq!(client.next_of_stream().status(), 200, "{method}");
        let head = upstream.head();
        assert!(head.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    }
    upstream.assert_untouched();
}
