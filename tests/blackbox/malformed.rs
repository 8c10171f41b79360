//! One row for each class of malformed request: its status, a closed connection, a record, an upstream that saw nothing.

use std::collections::BTreeSet;

use ringway_wire::reject::Reject;

use crate::node::{Node, also_on_epoll};
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(every_class_of_malformed_head_is_refused_and_closed);

/// The class, what is sent, and the outcome that the record has.
type Class = (Reject, &'static str, &'static str);

const HEADS: &[Class] = &[
    (Reject::LeadingBytes, "\r\n\r\nGET / HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_head"),
    (Reject::BareLf, "GET / HTTP/1.1\nHost: api.test\n\n", "malformed_head"),
    (Reject::BareLf, "GET / HTTP/1.1\r\nHost: api.test\nX: 1\r\n\r\n", "malformed_head"),
    (Reject::RequestLine, "GET  / HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_head"),
    (Reject::RequestLine, "GET /\r\nHost: api.test\r\n\r\n", "malformed_head"),
    (Reject::RequestLine, "G(T / HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_head"),
    (Reject::RequestLine, "\x16\x03\x01\x02\r\n\r\n", "malformed_head"),
    (Reject::TargetByte, "GET /a#b HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_target"),
    (Reject::TargetByte, "GET /\u{e9} HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_target"),
    (Reject::TargetForm, "GET a HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_target"),
    (Reject::TargetForm, "GET * HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_target"),
    (Reject::TargetForm, "GET ftp://api.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n", "malformed_target"),
    (Reject::Version, "GET / HTTP/2.0\r\nHost: api.test\r\n\r\n", "version_unsupported"),
    (Reject::Version, "GET / HTTP/0.9\r\nHost: api.test\r\n\r\n", "version_unsupported"),
    (Reject::Connect, "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", "connect_not_allowed"),
    (Reject::FieldName, "GET / HTTP/1.1\r\nHost: api.test\r\nX : 1\r\n\r\n", "malformed_head"),
    (Reject::FieldName, "GET / HTTP/1.1\r\nHost: api.test\r\n: 1\r\n\r\n", "malformed_head"),
    (Reject::FieldName, "GET / HTTP/1.1\r\nHost: api.test\r\nX(: 1\r\n\r\n", "malformed_head"),
    (Reject::FieldValue, "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\0b\r\n\r\n", "malformed_head"),
    (Reject::FieldValue, "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\rb\r\n\r\n", "malformed_head"),
    (Reject::ObsFold, "GET / HTTP/1.1\r\nHost: api.test\r\nX: a\r\n b\r\n\r\n", "malformed_head"),
    (Reject::HostMissing, "GET / HTTP/1.1\r\nX: 1\r\n\r\n", "invalid_host"),
    (Reject::HostTwice, "GET / HTTP/1.1\r\nHost: api.test\r\nHost: api.test\r\n\r\n", "invalid_host"),
    (Reject::HostSyntax, "GET / HTTP/1.1\r\nHost: api.test/x\r\n\r\n", "invalid_host"),
    (Reject::HostSyntax, "GET / HTTP/1.1\r\nHost: a@api.test\r\n\r\n", "invalid_host"),
    (
        Reject::CodingInHttp10,
        "POST / HTTP/1.0\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "framing_conflict",
    ),
    (
        Reject::CodingWithLength,
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "framing_conflict",
    ),
    (
        Reject::Coding,
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "framing_conflict",
    ),
    (
        Reject::Coding,
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "framing_conflict",
    ),
    (
        Reject::Coding,
        "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "framing_conflict",
    ),
    (
        Reject::LengthSyntax,
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: +1\r\n\r\na",
        "framing_conflict",
    ),
    (
        Reject::LengthSyntax,
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1, 1\r\n\r\na",
        "framing_conflict",
    ),
    (
        Reject::LengthSyntax,
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 99999999999999999999999\r\n\r\na",
        "framing_conflict",
    ),
    (
        Reject::LengthConflict,
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "framing_conflict",
    ),
    (
        Reject::ConnectionSyntax,
        "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: a b\r\n\r\n",
        "malformed_head",
    ),
    (
        Reject::Nomination,
        "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close, authorization\r\n\r\n",
        "forbidden_nomination",
    ),
    (
        Reject::Nomination,
        "GET / HTTP/1.1\r\nHost: api.test\r\nConnection: X-Forwarded-For\r\n\r\n",
        "forbidden_nomination",
    ),
    (Reject::Expectation, "GET / HTTP/1.1\r\nHost: api.test\r\nExpect: 200-ok\r\n\r\n", "expectation_failed"),
    (
        Reject::Upgrade,
        "GET /ws/ HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 1\r\n\r\na",
        "upgrade_not_allowed",
    ),
    (
        Reject::Upgrade,
        "GET /ws/ HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
        "upgrade_not_allowed",
    ),
    (Reject::PathEncoded, "GET /a%2Fb HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathEncoded, "GET /a%00b HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathEncoded, "GET /a\\b HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathEncoded, "GET /a%5cb HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathPercent, "GET /a%2 HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathDots, "GET /a/../../b HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
    (Reject::PathDots, "GET /%2e%2e/b HTTP/1.1\r\nHost: api.test\r\n\r\n", "forbidden_path"),
];

/// What follows a head of a chunked request.
const CHUNKS: &[Class] = &[
    (Reject::ChunkSize, "z\r\n", "malformed_chunk"),
    (Reject::ChunkSize, "0x5\r\nhello\r\n0\r\n\r\n", "malformed_chunk"),
    (Reject::ChunkSize, "-1\r\n", "malformed_chunk"),
    (Reject::ChunkSize, "\r\n", "malformed_chunk"),
    (Reject::ChunkSize, "5 \r\nhello\r\n0\r\n\r\n", "malformed_chunk"),
    (Reject::ChunkSize, "00000000000000005\r\nhello\r\n", "malformed_chunk"),
    (Reject::ChunkExtension, "5;a\nb\r\nhello\r\n0\r\n\r\n", "malformed_chunk"),
    (Reject::ChunkExtension, "5;a\0\r\nhello\r\n0\r\n\r\n", "malformed_chunk"),
    (Reject::ChunkEnd, "5\r\nhelloX\r\n0\r\n\r\n", "malformed_chunk"),
    (Reject::ChunkEnd, "5\r\nhello\n0\r\n\r\n", "malformed_chunk"),
    (Reject::TrailerSyntax, "0\r\nX : 1\r\n\r\n", "malformed_trailer"),
    (Reject::TrailerSyntax, "0\r\nX\r\n\r\n", "malformed_trailer"),
];

/// Classes that need more than a line to write: they have tests of their own below, or no HTTP/1.1 request can be of them.
const ELSEWHERE: &[Reject] = &[
    Reject::TargetTooLong,
    Reject::HeadTooLarge,
    Reject::TooManyFields,
    Reject::ChunkOverhead,
    Reject::TrailersTooLarge,
    Reject::BodyCut,
    Reject::PseudoField,
    Reject::ConnectionField,
    Reject::StreamContent,
    Reject::Unparsed,
];

/// Sends one malformed request on a connection of its own, and reads its refusal.
#[track_caller]
fn refused(node: &Node, reject: Reject, bytes: &[u8]) {
    let mut client = node.connect();
    let reply = client.ask(bytes);
    let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    assert_eq!(reply.status, reject.status(), "{reject:?} {sent:?}: {}", reply.head);
    assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{sent:?}");
    assert_eq!(reply.field("connection"), Some("close"), "{sent:?}: {}", reply.head);
    let id = reply.field("x-request-id").unwrap_or_else(|| panic!("{sent:?} has no id: {}", reply.head));
    assert!(reply.text().contains(id), "{sent:?}: {}", reply.text());
    client.assert_closed();
}

/// Fails unless the next record is of such a request.
#[track_caller]
fn assert_recorded(node: &Node, reject: Reject, outcome: &str) {
    let record = node.record();
    let said = (record["outcome"].as_str(), record["detail"].as_str(), record["status"].as_u64());
    assert_eq!(said, (Some(outcome), Some(reject.name()), Some(u64::from(reject.status()))), "{record}");
}

#[track_caller]
fn assert_refused(node: &Node, reject: Reject, bytes: &[u8], outcome: &str) {
    refused(node, reject, bytes);
    assert_recorded(node, reject, outcome);
}

#[test]
fn every_class_of_malformed_request_has_a_row() {
    let rows: BTreeSet<&str> = HEADS
        .iter()
        .chain(CHUNKS)
        .map(|(reject, ..)| reject.name())
        .chain(ELSEWHERE.iter().map(|reject| reject.name()))
        .collect();
    let all: BTreeSet<&str> = Reject::ALL.iter().map(|reject| reject.name()).collect();
    assert_eq!(rows, all);
}

#[test]
fn every_class_of_malformed_head_is_refused_and_closed() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    for (reject, bytes, _) in HEADS {
        refused(&node, *reject, bytes.as_bytes());
        upstream.assert_untouched();
    }
    for (reject, _, outcome) in HEADS {
        assert_recorded(&node, *reject, outcome);
    }
}

#[test]
fn a_malformed_chunk_is_refused_and_its_request_never_completes_upstream() {
    let upstream = Scripted::start(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncompleted");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let head = "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (reject, bytes, _) in CHUNKS {
        refused(&node, *reject, format!("{head}{bytes}").as_bytes());
        upstream.assert_untouched();
        // And once the head alone has reached the upstream.
        let mut client = node.connect();
        client.send(head);
        upstream.head();
        let reply = client.ask(bytes);
        assert_eq!(reply.status, reject.status(), "{bytes:?} after the head");
        client.assert_closed();
    }
    for (reject, _, outcome) in CHUNKS {
        assert_recorded(&node, *reject, outcome);
        assert_recorded(&node, *reject, outcome);
    }
}

#[test]
fn a_reply_of_ours_does_not_hide_that_a_chunk_is_malformed() {
    let node = Node::start(
        &Site::bare()
            .route("/own: {respond: {status: 200, body: ok}}")
            .route("/away: {redirect: {path: /own}}"),
    );
    for path in ["/own", "/away"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (reject, bytes, outcome) in CHUNKS {
            assert_refused(&node, *reject, format!("{head}{bytes}").as_bytes(), outcome);
        }
        let good = node.connect().ask(format!("{head}2;a=b\r\nok\r\n0\r\nX: 1\r\n\r\n"));
        assert!(good.status < 400, "{}", good.head);
        node.assert_outcome("served");
    }
}

#[test]
fn heads_beyond_their_limits_are_refused() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let target = format!("GET /{} HTTP/1.1\r\nHost: api.test\r\n\r\n", "a".repeat(9000));
    assert_refused(&node, Reject::TargetTooLong, target.as_bytes(), "target_too_long");
    let large = format!("GET / HTTP/1.1\r\nHost: api.test\r\nX: {}\r\n\r\n", "a".repeat(33 * 1024));
    assert_refused(&node, Reject::HeadTooLarge, large.as_bytes(), "head_too_large");
    let endless = format!("GET / HTTP/1.1\r\nHost: api.test\r\nX: {}", "a".repeat(33 * 1024));
    assert_refused(&node, Reject::HeadTooLarge, endless.as_bytes(), "head_too_large");
    let many = format!("GET / HTTP/1.1\r\nHost: api.test\r\n{}\r\n", "X: 1\r\n".repeat(100));
    assert_refused(&node, Reject::TooManyFields, many.as_bytes(), "head_too_large");
    upstream.assert_untouched();
    let just = format!("GET / HTTP/1.1\r\nHost: api.test\r\n{}\r\n", "X: 1\r\n".repeat(99));
    assert_eq!(node.connect().ask(just).status, 200, "a hundred fields are allowed");
}

#[test]
fn trailers_and_chunk_overhead_beyond_their_limits_are_refused() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address));
    let head = "POST / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let trailers = format!("{head}0\r\nX: {}\r\n\r\n", "a".repeat(9000));
    assert_refused(&node, Reject::TrailersTooLarge, trailers.as_bytes(), "head_too_large");
    let many = format!("{head}0\r\n{}\r\n", "X: 1\r\n".repeat(33));
    assert_refused(&node, Reject::TrailersTooLarge, many.as_bytes(), "head_too_large");
    let chunk = format!("1;{}\r\na\r\n", "e".repeat(200));
    let overhead = format!("{head}{}0\r\n\r\n", chunk.repeat(2000));
    assert_refused(&node, Reject::ChunkOverhead, overhead.as_bytes(), "malformed_chunk");
    let extension = format!("{head}1;{}\r\na\r\n0\r\n\r\n", "e".repeat(300));
    assert_refused(&node, Reject::ChunkExtension, extension.as_bytes(), "malformed_chunk");
}

#[test]
fn a_body_that_is_cut_reaches_no_reply_and_is_recorded() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send("POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\nhello").finish();
    client.assert_closed();
    node.assert_outcome("client_body_short");
}

#[test]
fn what_follows_a_malformed_request_on_its_connection_is_never_read_as_a_request() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let mut client = node.connect();
    let reply = client.ask(format!(
        "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
    ));
    assert_eq!(reply.status, 400);
    client.assert_closed();
    upstream.assert_untouched();
    node.assert_outcome("framing_conflict");
    let mut dotted = node.connect();
    assert_eq!(dotted.ask(format!("GET /%2f HTTP/1.1\r\nHost: api.test\r\n\r\n{smuggled}")).status, 400);
    dotted.assert_closed();
    upstream.assert_untouched();
}

/// Normalised as far as it is good, and as it came from the fault on.
#[test]
fn a_path_that_is_refused_is_told_and_recorded() {
    let node = Node::start(&Site::bare().route("/*: {respond: {status: 200}}"));
    for (path, told) in [("/%2e%2e/x%41", "/../x%41"), ("/%61/b/%00%41", "/a/b/%00%41"), ("/%41%zz", "/A%zz")]
    {
        let reply = node.connect().ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.text().contains(&format!("\"instance\":\"{told}\"")), "{path}: {}", reply.text());
        assert_eq!(node.assert_outcome("forbidden_path")["path"], told);
    }
}

/// RFC 9110 §2.5: what is of HTTP/1 and newer than we know is read, answered and passed on as HTTP/1.1.
#[test]
fn a_higher_minor_version_is_taken_for_the_highest_that_is_known() {
    let upstream = Scripted::answering("HTTP/1.3 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for version in ["1.2", "1.9"] {
        let reply = client.ask(format!("GET /a HTTP/{version}\r\nHost: api.test\r\n\r\n"));
        assert!(reply.status == 200 && reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
        let head = upstream.head();
        assert!(head.starts_with("GET /a HTTP/1.1\r\n"), "{head}");
    }
    assert_eq!(client.ask("GET / HTTP/1.2\r\n\r\n").status, 400, "its rules are those of HTTP/1.1");
    client.assert_closed();
}

/// RFC 9112 §2.2: old clients send an empty line too many after a body. That is no request, be it followed by one or by the end.
#[test]
fn an_empty_line_after_a_request_is_no_request() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("timeouts: {head: 2s, keep_alive: 2s}"));
    let post = "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\n\r\na";
    for end in ["\r\n", "\r"] {
        let mut client = node.connect();
        client.send(format!("{post}{end}")).finish();
        assert_eq!(client.reply().status, 200);
        client.assert_ends_in_order();
        node.assert_outcome("served");
    }
    // The same where nothing ends but our patience.
    let mut client = node.connect();
    assert_eq!(client.ask(format!("{post}\r\n")).status, 200);
    client.assert_ends_in_order();
    node.assert_outcome("served");
    // A head that is cut takes no reply back that was sent before it.
    let mut client = node.connect();
    client.send(format!("{post}GET /b HT")).finish();
    assert_eq!(client.reply().status, 200);
    client.assert_ends_in_order();
    node.assert_outcome("served");
    node.assert_outcome("client_closed");
}

#[test]
fn one_leading_empty_line_and_repeated_equal_lengths_are_tolerated() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask("\r\nGET / HTTP/1.1\r\nHost: api.test\r\n\r\n").status, 200);
    let twice = "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(client.ask(twice).status, 200);
    upstream.head();
    assert_eq!(upstream.head().to_ascii_lowercase().matches("content-length").count(), 1, "written once");
}
