//! The plain relay: what a request and a reply look like on the other side.

use std::io::{Read, Write};

use crate::node::{Node, also_on_epoll};
use crate::scripted::{Accepted, Scripted};
use crate::site::Site;

also_on_epoll!(
    a_get_reaches_the_upstream_and_its_reply_comes_back
    pipelined_requests_are_answered_in_order
    fifty_mebibytes_flow_both_ways_at_once
    an_event_reaches_the_caller_before_the_next_one_exists
    a_chunked_request_keeps_its_content_and_its_framing
);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// The value of a field of a head as the upstream read it.
fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[test]
fn a_get_reaches_the_upstream_and_its_reply_comes_back() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply = node.connect().ask("GET /a/b?c=d HTTP/1.1\r\nHost: api.test\r\nX-Mine: 1\r\n\r\n");
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    let head = upstream.head();
    assert!(head.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("api.test"));
    assert_eq!(field(&head, "x-mine"), Some("1"));
    assert_eq!(field(&head, "content-length"), None, "a GET without content says nothing of a length");
    let record = node.assert_outcome("served");
    assert_eq!(
        (record["status"].as_u64(), record["upstream"].as_str()),
        (Some(200), Some("one")),
        "{record}"
    );
    assert_eq!(record["body_out_bytes"], 2);
}

#[test]
fn a_reply_to_head_has_a_length_and_no_content() {
    let upstream = Scripted::start(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..2 {
        let reply = client.send("HEAD /a HTTP/1.1\r\nHost: api.test\r\n\r\n").reply_to("HEAD");
        assert_eq!((reply.status, reply.field("content-length")), (200, Some("1234")));
        node.assert_outcome("served");
    }
}

#[test]
fn a_content_of_known_length_is_relayed_with_its_length() {
    let upstream = Scripted::start(|connection| {
        while let Some((_, content)) = connection.request() {
            connection.send(format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n", content.len()));
            connection.send(content);
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let reply = node.connect().ask("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((reply.status, reply.text()), (201, "hello"));
    let head = upstream.head();
    assert_eq!(field(&head, "content-length"), Some("5"), "{head}");
    assert_eq!(field(&head, "transfer-encoding"), None);
    let record = node.assert_outcome("served");
    assert_eq!((&record["body_in_bytes"], &record["body_out_bytes"]), (&5.into(), &5.into()));
}

#[test]
fn a_chunked_request_keeps_its_content_and_its_framing() {
    let upstream = Scripted::start(|connection| {
        while let Some((_, content)) = connection.request() {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            connection.send(format!("{:x};ext=1\r\n", content.len()));
            connection.send(content);
            connection.send("\r\n0\r\n\r\n");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send("POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n");
    let reply = client.ask("2\r\nlo\r\n0\r\n\r\n");
    assert_eq!((reply.status, reply.text()), (200, "hello"));
    let head = upstream.head();
    assert_eq!(field(&head, "transfer-encoding"), Some("chunked"), "{head}");
    assert_eq!(field(&head, "content-length"), None, "{head}");
    node.assert_outcome("served");
    assert_eq!(client.ask(GET).status, 200, "the connection is kept");
}

#[test]
fn replies_204_and_304_have_no_content_and_keep_the_connection() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(match head.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\n\r\n",
                _ => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n\r\n",
            });
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for (path, status) in [("/204", 204), ("/304", 304), ("/204", 204), ("/304", 304)] {
        let reply = client.ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("transfer-encoding"), None);
        assert!(status == 304 || reply.field("content-length").is_none(), "{}", reply.head);
        node.assert_outcome("served");
    }
}

#[test]
fn requests_of_one_connection_share_an_upstream_connection() {
    let upstream = Scripted::start(|connection| {
        while connection.request().is_some() {
            let number = connection.number.to_string();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{number}", number.len()));
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for index in 0..3 {
        assert_eq!(client.ask(GET).text(), "0");
        assert_eq!(node.assert_outcome("served")["reused"], index > 0);
    }
    assert_eq!(node.connect().ask(GET).text(), "0", "another client's request takes it as well");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, content)) = connection.request() {
            let path = head.split(' ').nth(1).unwrap();
            let body = format!("{path}{}", String::from_utf8_lossy(&content));
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send(concat!(
        "GET /1 HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "POST /2 HTTP/1.1\r\nHost: api.test\r\nContent-Length: 3\r\n\r\nabc",
        "POST /3 HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nd\r\n0\r\n\r\n",
        "GET /4 HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"
    ));
    for body in ["/1", "/2abc", "/3d", "/4"] {
        assert_eq!(client.reply().text(), body);
        node.assert_outcome("served");
    }
    client.assert_closed();
}

#[test]
fn an_http_1_0_caller_gets_no_chunks_and_keeps_its_connection_only_when_it_asks() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(if head.starts_with("GET /length ") {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            } else {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            });
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut once = node.connect();
    let reply = once.ask("GET /length HTTP/1.0\r\nHost: api.test\r\n\r\n");
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    once.assert_closed();
    assert_eq!(node.assert_outcome("served")["protocol"], "http/1.0");
    let mut kept = node.connect();
    for _ in 0..2 {
        let reply = kept.ask("GET /length HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(reply.text(), "ok");
        assert_eq!(reply.field("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
        node.assert_outcome("served");
    }
    let reply = kept.ask("GET /chunks HTTP/1.0\r\nHost: api.test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(reply.field("transfer-encoding"), None, "HTTP/1.0 knows no chunks");
    assert_eq!(reply.text(), "ok");
    kept.assert_closed();
    node.assert_outcome("served");
}

/// Found by fuzzing: what was forwarded had an empty Host.
#[test]
fn an_http_1_0_request_without_host_is_forwarded_with_the_upstreams_name() {
    let upstream = Scripted::ok();
    let any = "hosts: {\"*\": {/*: {to: origin}}}";
    let node = Node::start(&Site::bare().upstream("origin", &[upstream.address], "").more(any));
    let reply = node.connect().ask("GET /a HTTP/1.0\r\n\r\n");
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    assert!(upstream.head().contains("\r\nHost: origin\r\n"));
    node.assert_outcome("served");
}

#[test]
fn an_absolute_target_overrides_host_and_is_forwarded_in_origin_form() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply = node.connect().ask("GET http://api.test/a?b HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(reply.status, 200);
    let head = upstream.head();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "host"), Some("api.test"));
    node.assert_outcome("served");
}

#[test]
fn a_caller_that_expects_100_gets_it_before_it_sends() {
    let upstream = Scripted::start(|connection| {
        while let Some((_, content)) = connection.request() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()));
            connection.send(content);
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send("PUT /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.reply_to("PUT").status, 100);
    assert_eq!(client.ask("body").text(), "body");
    node.assert_outcome("served");
    let refused = node
        .connect()
        .ask("PUT /a HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(refused.status, 404, "who is refused is not told to go on");
    node.assert_outcome("unknown_host");
}

#[test]
fn interim_replies_are_relayed_but_not_to_http_1_0() {
    let upstream = Scripted::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    let hints = client.send(GET).reply_to("GET");
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.reply_to("GET").status, 199);
    assert_eq!(client.reply_to("GET").text(), "ok");
    node.assert_outcome("served");
    let old = node.connect().send("GET /a HTTP/1.0\r\nHost: api.test\r\n\r\n").reply_to("GET");
    assert_eq!((old.status, old.text()), (200, "ok"));
    node.assert_outcome("served");
}

#[test]
fn trailers_go_to_those_who_take_them_and_never_as_framing() {
    let upstream = Scripted::answering(concat!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n",
        "X-Sum: 1\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\nHost: evil.test\r\n\r\n"
    ));
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    let taken = client.ask("GET /a HTTP/1.1\r\nHost: api.test\r\nTE: trailers\r\n\r\n");
    assert!(taken.trailers.to_ascii_lowercase().contains("x-sum: 1"), "{:?}", taken.trailers);
    for never in ["content-length", "transfer-encoding", "host"] {
        assert!(!taken.trailers.to_ascii_lowercase().contains(never), "{:?}", taken.trailers);
    }
    node.assert_outcome("served");
    assert_eq!(client.ask(GET).trailers, "", "who does not say TE: trailers gets none");
    node.assert_outcome("served");
}

#[test]
fn a_reply_that_ends_with_its_connection_is_whole_and_the_caller_keeps_its_own() {
    let upstream = Scripted::answering_once("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).text(), "until the end");
        assert_eq!(node.assert_outcome("served")["reused"], false);
    }
}

#[test]
fn an_event_reaches_the_caller_before_the_next_one_exists() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        for number in 0..3 {
            connection.send(format!("data: {number}\n\n"));
            let _ = released.lock().unwrap().recv();
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send(GET).until(b"\r\n\r\n");
    for number in 0..3 {
        client.until(format!("data: {number}\n\n").as_bytes());
        release.send(()).unwrap();
    }
    client.until(b"0\r\n\r\n");
    node.assert_outcome("served");
}

#[test]
fn a_reply_of_64_kib_comes_whole() {
    let body: Vec<u8> = (0..64 * 1024).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n".to_vec();
    reply.extend_from_slice(&body);
    let upstream = Scripted::answering(reply);
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..3 {
        assert!(client.ask(GET).body == body);
        assert_eq!(node.assert_outcome("served")["body_out_bytes"], 65536);
    }
}

/// Sends back what comes while it comes.
fn echo(connection: &mut Accepted) {
    let head = connection.head().unwrap();
    let length = field(&head, "content-length").unwrap().parse::<usize>().unwrap();
    connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
    let mut left = length;
    while left > 0 {
        let Some(bytes) = connection.some() else { return };
        left -= bytes.len();
        connection.send(bytes);
    }
}

fn mebibyte() -> Vec<u8> {
    (0..1 << 20).map(|index: u32| (index % 253).to_le_bytes()[0]).collect()
}

#[test]
fn fifty_mebibytes_flow_both_ways_at_once() {
    const TOTAL: usize = 50 << 20;
    let upstream = Scripted::start(echo);
    let node = Node::start(&Site::to(upstream.address));
    let client = node.connect();
    let mut writer = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let head = format!("POST /echo HTTP/1.1\r\nHost: api.test\r\nContent-Length: {TOTAL}\r\n\r\n");
        writer.write_all(head.as_bytes()).unwrap();
        let chunk = mebibyte();
        for _ in 0..TOTAL >> 20 {
            writer.write_all(&chunk).unwrap();
        }
    });
    let mut client = client;
    client.until(b"\r\n\r\n");
    let mut stream = client.stream().try_clone().unwrap();
    let mut seen = client.take_read();
    let mut at = 0_usize;
    let twice = [mebibyte(), mebibyte()].concat();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        assert!(twice[at % (1 << 20)..].starts_with(&seen), "other bytes came after {at}");
        at += seen.len();
        if at == TOTAL {
            break;
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "ended after {at} bytes");
        seen = chunk[..count].to_vec();
    }
    sender.join().unwrap();
    let record = node.assert_outcome("served");
    assert_eq!((&record["body_in_bytes"], &record["body_out_bytes"]), (&TOTAL.into(), &TOTAL.into()));
}
