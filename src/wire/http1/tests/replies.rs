//! Replies: what ends them, and how they are written.

use expect_test::expect;

use super::{reply, reply_verdict};
use crate::http1::{RequestFacts, ResponseExtra, write_interim, write_response_head, write_status_head};
use crate::{Framing, Method, Overlay, Upgrade, Version};

/// Poisoned connections (CVE-2025-4366's family): a reply says itself whether its connection may be used again.
#[test]
fn rules_10_and_11_a_replys_end_is_certain_or_its_connection_closes() {
    for (fields, expected) in [
        ("200 OK\r\nContent-Length: 5", "200 Length(5) keep"),
        ("200\r\nContent-Length: 5", "200 Length(5) keep"),
        ("200 \r\nContent-Length: 5", "200 Length(5) keep"),
        ("200 \u{e9}\r\nContent-Length: 5", "200 Length(5) keep"),
        ("200 OK\r\nContent-Length: 5\r\nConnection: close", "200 Length(5) close"),
        ("200 OK\r\nTransfer-Encoding: chunked", "200 Chunked keep"),
        ("200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", "200 Chunked close"),
        ("200 OK\r\nTransfer-Encoding: gzip, chunked", "502 reply-transfer-encoding"),
        ("200 OK\r\nTransfer-Encoding: gzip", "502 reply-transfer-encoding"),
        ("200 OK\r\nContent-Length: 5\r\nContent-Length: 6", "502 reply-content-length"),
        ("200 OK\r\nContent-Length: 5\r\nContent-Length: 5", "200 Length(5) keep"),
        ("200 OK\r\nContent-Length: -1", "502 reply-content-length"),
        ("200 OK\r\nX: y", "200 UntilClose close"),
        ("204 No Content\r\nX: y", "204 Empty keep"),
        ("204 No Content\r\nContent-Length: 5", "204 Empty close"),
        ("204 No Content\r\nTransfer-Encoding: chunked", "204 Empty close"),
        ("304 Not Modified\r\nContent-Length: 5", "304 Empty keep"),
        ("304 Not Modified\r\nTransfer-Encoding: chunked\r\nContent-Length: 5", "304 Empty close"),
        ("103 Early Hints\r\nLink: x", "103 Empty keep"),
        ("101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket", "502 reply-unasked-upgrade"),
        ("099 X\r\nX: y", "502 reply-status"),
        ("20 X\r\nX: y", "502 reply-status-line"),
        ("2000 X\r\nX: y", "502 reply-status-line"),
        ("200 O\0K\r\nX: y", "502 reply-status-line"),
        ("200 OK\nX: y", "502 reply-bare-lf"),
        ("200 OK\r\nX : y", "502 reply-field"),
        ("200 OK\r\n X: y", "502 reply-field"),
        ("200 OK\r\nConnection: content-length\r\nContent-Length: 5", "502 reply-connection"),
    ] {
        let input = format!("HTTP/1.1 {fields}\r\n\r\n");
        assert_eq!(reply_verdict(&input, Method::Get, false), expected, "{}", fields.escape_default());
    }
    for (input, expected) in [
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", "200 Length(5) close"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", "200 Length(5) keep"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "502 reply-transfer-encoding"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "502 reply-status-line"),
        ("HTTP/1.2 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 Chunked keep"),
        ("HTTP/1.9 200\r\nContent-Length: 5\r\n\r\n", "200 Length(5) keep"),
        ("HTTP/2.0 200 OK\r\n\r\n", "502 reply-status-line"),
        ("HTTP/2 200 OK\r\n\r\n", "502 reply-status-line"),
        ("hello", "502 reply-status-line"),
        ("HTTP/1.1 200 OK\r\n", "partial"),
    ] {
        assert_eq!(reply_verdict(input, Method::Get, false), expected, "{}", input.escape_default());
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(reply_verdict(head, Method::Head, false), "200 Empty keep");
    let facts = RequestFacts { method: Method::Head, upgrade_asked: false };
    assert_eq!(reply(head.as_bytes(), facts).unwrap().announced_length(), Some(5));
}

#[test]
fn replies_are_written_with_our_framing() {
    let input = b"HTTP/1.1 299 Fine\r\nServer: x\r\nTransfer-Encoding: chunked\r\nConnection: x-a\r\nX-A: 1\r\nKeep-Alive: 3\r\n\r\n";
    let head = reply(input, RequestFacts { method: Method::Get, upgrade_asked: false }).unwrap();
    let date = b"Sun, 06 Nov 1994 08:49:37 GMT";
    let mut out = Vec::new();
    let extra = ResponseExtra { version: Version::Http11, close: true, upgrade: None, date: Some(date) };
    write_response_head(&mut out, &head, &Overlay::take(), Framing::Chunked, &extra);
    expect![[r#"
        HTTP/1.1 299 Fine
        Server: x
        Transfer-Encoding: chunked
        Date: Sun, 06 Nov 1994 08:49:37 GMT
        Connection: close

    "#]]
    .assert_eq(&String::from_utf8(out).unwrap().replace("\r\n", "\n"));

    let mut out = Vec::new();
    let extra = ResponseExtra { version: Version::Http10, close: false, upgrade: None, date: None };
    let fields = [(&b"Content-Type"[..], &b"application/problem+json"[..])];
    write_status_head(&mut out, 404, fields, &Overlay::take(), Framing::Length(2), &extra).unwrap();
    assert_eq!(
        out,
        b"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"
    );
    let before = out.len();
    for bad in [(&b"X"[..], &b"a\r\nb"[..]), (b"a b", b""), (b"Content-Length", b"5")] {
        assert!(write_status_head(&mut out, 200, [bad], &Overlay::take(), Framing::Empty, &extra).is_err());
        assert_eq!(out.len(), before);
    }

    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n";
    let head = reply(hints, RequestFacts { method: Method::Get, upgrade_asked: false }).unwrap();
    assert!(head.is_interim());
    let mut out = Vec::new();
    write_interim(&mut out, &head, &Overlay::take());
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
    assert_eq!(&head.into_rest()[..], b"HTTP/1.1 200 OK\r\n");

    let granted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let head = reply(granted, RequestFacts { method: Method::Get, upgrade_asked: true }).unwrap();
    let mut out = Vec::new();
    let extra = ResponseExtra {
        version: Version::Http11,
        close: false,
        upgrade: Some(Upgrade::WebSocket),
        date: None,
    };
    write_response_head(&mut out, &head, &Overlay::take(), head.framing(), &extra);
    assert_eq!(
        out,
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}
