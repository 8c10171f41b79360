//! Hundreds of requests that readers of HTTP/1.1 are known to take for different things, through a real gateway: whatever
//! reaches the endpoint is what an independent reader makes of what was sent, and nothing else does.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::node::{Node, also_on_epoll};
use crate::scripted::Scripted;
use crate::site::Site;

/// The reader of the differential tests in `wire`: it shares no line with the gateway.
#[path = "../../src/wire/http1/reference.rs"]
mod reference;

also_on_epoll!(what_reaches_the_endpoint_is_what_was_sent);

const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "Transfer-Encoding:chunked",
    "Transfer-Encoding:\tchunked\t",
    "transfer-ENCODING: Chunked ",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding:",
    "Transfer-Encoding",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: chu\u{ff}nked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\r\n\rTransfer-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Content-Encoding: chunked",
    "TE: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\n chunked",
    "Transfer-Encoding:\r\n \r\n chunked",
    "Transfer-Encoding\r: chunked",
    "Transfer-Encoding\n : chunked",
    "Transfer\r-Encoding: chunked",
    "Transfer-\r\nEncoding: chunked",
    "Transfer Encoding: chunked",
    "Transfer\\Encoding: chunked",
    "Transfer-%45ncoding: chunked",
    "Transfer-Encoding x: chunked",
    "Transfer-Encoding chunked : x",
    "Transfer-Encoding\u{85}: chunked",
    "Transfer-Encoding\u{7f}: chunked",
    "Transfer-Encoding:\u{a0}chunked",
    "Transfer-Encoding:\u{c}chunked",
    "Transfer-Encoding: =?UTF-8?B?Y2h1bmtlZA==?=",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: chunked\r",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    "\0Transfer-Encoding: chunked",
    ":transfer-encoding: chunked",
    ":\r\nTransfer-Encoding: chunked",
    "X: y\r\n \r\nTransfer-Encoding: chunked",
    "X: y\n\nTransfer-Encoding: chunked",
    "X: y\r\0\n\r\nTransfer-Encoding: chunked",
    "X: \"\r\n\r\n\"\r\nTransfer-Encoding: chunked",
    "Expect: 100-continue\r\nTransfer-Encoding: chunked",
    "Expect: x 100-continue\r\nTransfer-Encoding: chunked",
    "Range: bytes=0-0\r\nTransfer-Encoding: chunked",
    "",
];

const LENGTHS: &[&str] = &[
    "",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: 05",
    "Content-Length: 6",
    "Content-Length: 4294967301",
    "Content-Length: 18446744073709551621",
    "Content-Length: +5",
    "Content-Length: -1",
    "Content-Length: 0x5",
    "Content-Length: 5e0",
    "Content-Length: 1_0",
    "Content-Length: \"5\"",
    "Content-Length: 5;a",
    "Content-Length: 5,",
    "Content-Length: 5, 5",
    "Content-Length: 5 5",
    "Content-Length:",
    "Content-Length:\t5\t",
    "Content-Length : 5",
    "Content-Length: 5\u{b}",
    "Content-Length: 5\r\n 6",
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content_Length: 5",
    "Content-Length: 5\r\nContent_Length: 3",
    "Connection: Content-Length\r\nContent-Length: 5",
    "Content-Length: 5.0",
    "Content-Length: 0 5",
    "Content-Length: 0, 5",
    "Content-Length: 5, 0",
    "Content-Length: \u{665}",
    "Content-Length:\r\n 5",
    "Content-Length\r: 5",
    "Content-Length\u{a0}: 5",
    " Content-Length: 5",
    "X-Invalid Y: \r\nContent-Length: 5",
    "Expect: 100-continue\r\nContent-Length: 5",
    "Content-Length: 5\r\nExpect: 100-continue, x",
];

const CONTENTS: &[&str] = &["0\r\n\r\n", "hello", "5\r\nhello\r\n0\r\n\r\n", ""];

/// What follows a head with `Transfer-Encoding: chunked`.
const CHUNKS: &[&str] = &[
    "5\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\r\nhello\r\n0\n\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5;a=\n\r\nhello\r\n0\r\n\r\n",
    "5;\nxx\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\n0\r\n\r\n\"\r\nhello\r\n0\r\n\r\n",
    "5;\0\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\t\r\nhello\r\n0\r\n\r\n",
    "05\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5_\r\nhello\r\n0\r\n\r\n",
    "5,5\r\nhello\r\n0\r\n\r\n",
    "5.0\r\nhello\r\n0\r\n\r\n",
    "5\0\r\nhello\r\n0\r\n\r\n",
    "100000005\r\nhello\r\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n00\r\n\r\n",
    "5\r\nhello\r\n0000000000000000000\r\n\r\n",
    "5\r\nhello\r\n\r\n0\r\n\r\n",
    "5\r\nhello\r\n-0\r\n\r\n",
    "5\r\nhello\r\n0;end\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n0\r\nX y\r\n\r\n",
    "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
    "5\r\nhello\r\n0\r\nX: y\n\r\n",
    "5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
    "5\r\nhello\r\n0\r\nGET /x HTTP/1.1\r\n\r\n",
    "\r\n5\r\nhello\r\n0\r\n\r\n",
    ";5\r\nhello\r\n0\r\n\r\n",
    "a;x=y;z=\"q;\"\r\n0123456789\r\n0\r\n\r\n",
    "5;\r\r\nhello\r\n0\r\n\r\n",
    "5\r\r;a\nhello\r\n0\r\n\r\n",
    "5\rXhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\rX\r\n",
    "5\r\nhello\r\n0\r\n\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r",
    "5\r\nhello\r\n0\r\nX:POST / HTTP/1.1\r\n\r\n",
    "0_5\r\nhello\r\n0\r\n\r\n",
    "5\u{85}\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n",
];

/// What stands behind each: a request of its own to some readers, content to others.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";

fn variants() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut add = |method: &str, version: &str, fields: [&str; 2], content: &str| {
        let fields: String =
            fields.iter().filter(|field| !field.is_empty()).map(|field| format!("{field}\r\n")).collect();
        let head = format!("{method} /first HTTP/1.{version}\r\nHost: api.test\r\n{fields}\r\n");
        all.push(format!("{head}{content}{NEXT}").into_bytes());
    };
    for coding in CODINGS {
        for length in &LENGTHS[..3] {
            for content in &CONTENTS[..3] {
                add("POST", "1", [length, coding], content);
                add("OPTIONS", "1", [coding, length], content);
            }
        }
    }
    for length in LENGTHS {
        for coding in ["", "Transfer-Encoding: chunked"] {
            for content in CONTENTS {
                add("POST", "1", [length, coding], content);
                add("GET", "0", [coding, length], content);
            }
        }
    }
    for chunks in CHUNKS {
        add("POST", "1", ["Transfer-Encoding: chunked", ""], chunks);
        add("POST", "0", ["Transfer-Encoding: chunked", ""], chunks);
        add("POST", "2", ["Transfer-Encoding: chunked", ""], chunks);
    }
    all
}

/// Answers each request with its target and content.
fn echoing() -> Scripted {
    Scripted::start(|connection| {
        while let Some((head, content)) = connection.request() {
            let target = head.split(' ').nth(1).unwrap();
            let echo = format!("{target} {}", content.escape_ascii());
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{echo}", echo.len()));
        }
    })
}

/// Sends one variant on a connection of its own. How many requests were answered by the endpoint.
fn judge(node: &Node, sent: &[u8]) -> usize {
    let mut client = node.connect();
    client.send(sent).finish();
    let mut rest = sent;
    let mut answered = 0;
    while client.more_or_read() {
        let reply = client.reply();
        let shown = sent.escape_ascii();
        if reply.status != 200 {
            assert!(matches!(reply.status, 400 | 413 | 417), "{shown}: {}", reply.head);
            assert_eq!(reply.field("connection"), Some("close"), "{shown}: {}", reply.head);
            client.assert_closed();
            return answered;
        }
        let reading = reference::read(rest).unwrap_or_else(|unread| {
            panic!("request {answered} of {shown} was answered with {:?}, and is {unread:?}", reply.text())
        });
        let meant = format!("{} {}", reading.target.escape_ascii(), reading.body.escape_ascii());
        assert_eq!(reply.text(), meant, "request {answered} of {shown}");
        rest = &rest[reading.message_len..];
        answered += 1;
    }
    answered
}

#[test]
fn what_reaches_the_endpoint_is_what_was_sent() {
    let upstream = echoing();
    let node = Node::start(&Site::to(upstream.address));
    let variants = variants();
    assert!(variants.len() > 1800, "{}", variants.len());
    let (next, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(variant) = variants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    answered.fetch_add(judge(&node, variant), Ordering::Relaxed);
                }
            });
        }
    });
    let mut reached = Vec::new();
    while let Some(head) = upstream.try_head() {
        reached.push(head);
    }
    for head in &reached {
        let lower = head.to_ascii_lowercase();
        let framed = lower.matches("content-length:").count() + lower.matches("transfer-encoding:").count();
        assert!(framed <= 1 && !lower.contains("_length") && !lower.contains("_encoding"), "{head}");
    }
    let answered = answered.load(Ordering::Relaxed);
    assert!(answered > 200, "only {answered} were answered");
    assert!(reached.len() >= answered, "{} reached the endpoint and {answered} were answered", reached.len());
}
