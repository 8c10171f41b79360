//! Upstreams that speak HTTP/2: requests share connections, and whatever one of them meets is its own affair.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::frames::{
    self, CANCEL, DATA, END_STREAM, HEADERS, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, endpoint, frame,
    goaway, head, reply, reset,
};
use crate::node::{Node, also_on_epoll};
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(
    requests_share_one_connection_and_a_slow_one_holds_nobody_up
    what_a_goaway_did_not_take_is_sent_again_elsewhere_and_the_rest_is_answered
    each_fault_of_a_reply_is_its_own_outcome_and_the_next_request_is_served
    ten_mebibytes_flow_both_ways_under_flow_control
);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nhello";

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(50);

const NO_ERROR: u32 = 0;
const WINDOW: u16 = 4;
const STREAMS: u16 = 3;

fn site(upstream: &Scripted, keys: &str) -> Site {
    Site::bare()
        .upstream("one", &[upstream.address], &format!("protocol: http2{keys}"))
        .route("/*: {to: one}")
}

/// A head of a reply that content follows.
const OK: &[(&str, &str)] = &[(":status", "200")];

/// Answers every request with its stream's number.
fn serve(served: &mut frames::Served<'_>) {
    while let Some(next) = served.next() {
        if next.ends() {
            served.send(reply(next.stream, format!("stream {}", next.stream).as_bytes()));
        }
    }
}

#[test]
fn requests_share_one_connection_and_a_slow_one_holds_nobody_up() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (told, came) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        counted.fetch_add(1, Ordering::SeqCst);
        let slow = served.request().unwrap();
        told.lock().unwrap().send(()).unwrap();
        // The first is answered when three others have been.
        for _ in 0..3 {
            let stream = served.request().unwrap();
            served.send(reply(stream, b"quick"));
        }
        served.send(reply(slow, b"slow"));
        serve(served);
    });
    let node = Node::start(&site(&upstream, ""));
    let mut waiting = node.connect();
    waiting.send(GET);
    came.recv_timeout(PATIENCE).unwrap();
    for _ in 0..3 {
        assert_eq!(node.connect().ask(GET).text(), "quick");
        node.assert_outcome("served");
    }
    assert_eq!(waiting.reply().text(), "slow");
    node.assert_outcome("served");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    let reply = node.connect().ask(POST);
    assert_eq!((reply.status, reply.text()), (200, "stream 9"));
    node.assert_outcome("served");
}

#[test]
fn a_reply_that_ends_with_its_head_is_whole_over_http11() {
    let upstream = endpoint(&[], |served| {
        for status in ["200", "404", "204", "304", "200"] {
            let Some(stream) = served.request() else { return };
            served.send(head(stream, END_STREAM, &[(":status", status)]));
        }
        serve(served);
    });
    let node = Node::start(&site(&upstream, ""));
    let mut client = node.connect();
    for (status, length) in [(200, Some("0")), (404, Some("0")), (204, None), (304, None)] {
        let reply = client.ask(GET);
        assert_eq!((reply.status, reply.field("content-length")), (status, length));
        node.assert_outcome("served");
    }
    let reply = client.send("HEAD /a HTTP/1.1\r\nHost: api.test\r\n\r\n").reply_to("HEAD");
    assert_eq!((reply.status, reply.field("content-length")), (200, None));
    assert_eq!(client.ask(GET).text(), "stream 11", "on the same connection");
}

#[test]
fn requests_that_come_at_once_to_a_cold_endpoint_make_one_connection() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let upstream = endpoint(&[], move |served| {
        counted.fetch_add(1, Ordering::SeqCst);
        let streams: Vec<u32> = (0..20).map(|_| served.request().unwrap()).collect();
        streams.iter().for_each(|stream| served.send(reply(*stream, b"ok")));
        serve(served);
    });
    let node = Node::start(&site(&upstream, ""));
    let mut clients: Vec<_> = (0..20).map(|_| node.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    for client in &mut clients {
        assert_eq!(client.reply().text(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_goaway_did_not_take_is_sent_again_elsewhere_and_the_rest_is_answered() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        if served.connection.number > 0 {
            return serve(served);
        }
        let first = served.request().unwrap();
        told.lock().unwrap().send("came").unwrap();
        let second = loop {
            let next = served.next().unwrap();
            if next.ends() && next.stream != first {
                break next.stream;
            }
        };
        assert!(second > first);
        served.send(goaway(first, 0));
        served.send(reply(first, b"first"));
        while served.next().is_some_and(|next| next.kind != HEADERS) {}
        told.lock().unwrap().send("ended").unwrap();
    });
    let node = Node::start(&site(&upstream, ""));
    let mut first = node.connect();
    first.send(GET);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("came"));
    let again = node.connect().ask(POST);
    assert_eq!((again.status, again.text()), (200, "stream 1"), "content and all, on another connection");
    assert_eq!(first.reply().text(), "first");
    let mut attempts = [node.assert_outcome("served"), node.assert_outcome("served")]
        .map(|record| record["attempts"].as_u64().unwrap());
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(heard.recv_timeout(PATIENCE), Ok("ended"), "the gateway closed the connection in order");
    assert_eq!(node.connect().ask(GET).text(), "stream 3");
}

#[test]
fn a_refused_stream_is_sent_again_once_whatever_its_method() {
    let refusals = AtomicUsize::new(1);
    let upstream = endpoint(&[], move |served| {
        while let Some(next) = served.next() {
            if !next.ends() {
                continue;
            }
            match refusals.fetch_sub(1, Ordering::SeqCst) {
                0 => {
                    refusals.store(2, Ordering::SeqCst);
                    served.send(reply(next.stream, b"ok"));
                }
                _ => served.send(reset(next.stream, REFUSED_STREAM)),
            }
        }
    });
    let node = Node::start(&site(&upstream, ""));
    assert_eq!(node.connect().ask(POST).text(), "ok");
    node.assert_outcome("served");
    assert_eq!(node.connect().ask(POST).status, 502, "refused twice");
    let record = node.assert_outcome("upstream_reset");
    assert_eq!(record["attempts"], 2, "{record}");
}

type Fault = (&'static str, fn(&mut frames::Served<'_>, u32), u16, &'static str);

/// What an upstream does with a GET, the status that the caller gets (0: a reply that is cut, or 502 where nothing of it had gone out
/// when its fault was seen), and the outcome.
const FAULTS: &[Fault] = &[
    ("reset before a head", |served, stream| served.send(reset(stream, CANCEL)), 502, "upstream_reset"),
    (
        "reset with its head",
        |served, stream| {
            let head = head(stream, 0, &[(":status", "200"), ("content-length", "10")]);
            served.send([head, reset(stream, CANCEL)].concat());
        },
        502,
        "upstream_body_short",
    ),
    (
        "reset in the middle of the content",
        |served, stream| {
            served.send(head(stream, 0, &[(":status", "200"), ("content-length", "10")]));
            served.send(frame(DATA, 0, stream, b"hello"));
            served.send(reset(stream, CANCEL));
        },
        0,
        "upstream_body_short",
    ),
    (
        "less content than announced",
        |served, stream| {
            served.send(head(stream, 0, &[(":status", "200"), ("content-length", "10")]));
            served.send(frame(DATA, END_STREAM, stream, b"hello"));
        },
        0,
        "upstream_chunk_malformed",
    ),
    (
        "no status",
        |served, stream| served.send(head(stream, END_STREAM, &[("x-a", "b")])),
        502,
        "upstream_malformed",
    ),
    (
        "a name in upper case",
        |served, stream| served.send(head(stream, END_STREAM, &[(":status", "200"), ("X-A", "b")])),
        502,
        "upstream_malformed",
    ),
    (
        "a field of the connection",
        |served, stream| {
            served.send(head(stream, END_STREAM, &[(":status", "200"), ("connection", "close")]))
        },
        502,
        "upstream_malformed",
    ),
    (
        "101",
        |served, stream| served.send(head(stream, END_STREAM, &[(":status", "101")])),
        502,
        "upstream_malformed",
    ),
    (
        "a length and no content",
        |served, stream| {
            served.send(head(stream, END_STREAM, &[(":status", "200"), ("content-length", "10")]));
        },
        502,
        "upstream_malformed",
    ),
    (
        "interim replies without end",
        |served, stream| (0..40).for_each(|_| served.send(head(stream, 0, &[(":status", "103")]))),
        502,
        "upstream_malformed",
    ),
    (
        "more fields than are taken",
        |served, stream| {
            let fields: Vec<(String, String)> =
                (0..300).map(|at| (format!("x-{at}"), "v".to_owned())).collect();
            let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let all: Vec<(&str, &str)> = OK.iter().copied().chain(fields).collect();
            served.send(head(stream, END_STREAM, &all));
        },
        502,
        "upstream_head_too_large",
    ),
    (
        "a larger head than is taken",
        |served, stream| {
            let value = "v".repeat(12_000);
            let section = frames::section(&[(":status", "200"), ("x-a", &value)]);
            served.send(frame(HEADERS, END_STREAM, stream, &section));
            for _ in 0..6 {
                served.send(frame(9, 0, stream, &frames::section(&[("x-a", &value)])));
            }
            served.send(frame(9, 4, stream, &[]));
        },
        502,
        "upstream_head_too_large",
    ),
    (
        "content before a head",
        |served, stream| served.send(frame(DATA, 0, stream, b"hello")),
        502,
        "upstream_malformed",
    ),
    (
        "a push that nobody asked for",
        |served, stream| {
            let mut payload = 2u32.to_be_bytes().to_vec();
            payload.extend(frames::section(&[
                (":method", "GET"),
                (":path", "/"),
                (":scheme", "http"),
                (":authority", "a"),
            ]));
            served.send(frame(PUSH_PROMISE, 4, stream, &payload));
        },
        502,
        "upstream_malformed",
    ),
    (
        "a frame that is larger than allowed",
        |served, stream| served.send(frame(DATA, 0, stream, &[0; 20_000])),
        502,
        "upstream_malformed",
    ),
];

#[test]
fn each_fault_of_a_reply_is_its_own_outcome_and_the_next_request_is_served() {
    let turn = AtomicUsize::new(0);
    let upstream = endpoint(&[], move |served| {
        while let Some(stream) = served.request() {
            let turn = turn.fetch_add(1, Ordering::SeqCst);
            match FAULTS.get(turn / 2) {
                Some((_, misbehave, ..)) if turn.is_multiple_of(2) => misbehave(served, stream),
                _ => served.send(reply(stream, b"ok")),
            }
        }
    });
    let node = Node::start(&site(&upstream, ""));
    for (what, _, status, outcome) in FAULTS {
        let mut client = node.connect();
        if *status == 0 {
            client.send("GET /a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
            let cut = String::from_utf8(client.rest()).unwrap();
            let (head, content) = cut.split_once("\r\n\r\n").unwrap();
            match head.split(' ').nth(1) {
                Some("200") => assert!(content.len() < 10, "{what}: {cut}"),
                status => assert_eq!(status, Some("502"), "{what}: {cut}"),
            }
        } else {
            client.send(GET);
            assert_eq!(client.reply().status, *status, "{what}");
        }
        let record = node.record();
        assert_eq!(record["outcome"], *outcome, "{what}: {record}");
        assert_eq!(node.connect().ask(GET).text(), "ok", "after {what}");
        node.assert_outcome("served");
    }
}

/// RFC 9113 §8.1: a whole reply, and a reset without an error, because the rest of the content is not needed.
#[test]
fn an_early_reply_is_whole_though_its_stream_is_reset_without_an_error() {
    let upstream = endpoint(&[], |served| {
        while let Some(stream) = served.request() {
            let length =
                if stream % 4 == 1 { OK } else { &[(":status", "200"), ("content-length", "5")][..] };
            let content = frame(DATA, END_STREAM, stream, b"early");
            served.send([head(stream, 0, length), content, reset(stream, NO_ERROR)].concat());
        }
    });
    let node = Node::start(&site(&upstream, "").http2());
    let content = "x".repeat(64 * 1024);
    let mut text = node.connect();
    let post = format!("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 65536\r\n\r\n{content}");
    for _ in 0..20 {
        let reply = text.ask(&post);
        assert_eq!((reply.status, reply.text()), (200, "early"), "{}", reply.head);
        node.assert_outcome("served");
        text = node.connect();
    }
}

#[test]
fn a_connection_that_ends_without_a_word_is_tried_again_for_get_and_not_for_post() {
    let upstream = endpoint(&[], |served| {
        let stream = served.request().unwrap();
        served.send(reply(stream, b"ok"));
        served.request();
    });
    let node = Node::start(&site(&upstream, ""));
    assert_eq!(node.connect().ask(GET).text(), "ok");
    node.assert_outcome("served");
    assert_eq!(node.connect().ask(GET).text(), "ok");
    assert_eq!(node.assert_outcome("served")["attempts"], 2);
    assert_eq!(node.connect().ask(POST).status, 502);
    node.assert_outcome("upstream_reset");
}

#[test]
fn what_speaks_no_http2_or_says_nothing_fails_like_a_connection() {
    let text = Scripted::start(|connection| {
        connection.until(b"SM\r\n\r\n");
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        while connection.some().is_some() {}
    });
    let node = Node::start(&site(&text, ""));
    assert_eq!(node.connect().ask(GET).status, 502);
    node.assert_outcome("upstream_malformed");
    let silent = Scripted::start(|connection| while connection.some().is_some() {});
    node.apply(&site(&silent, ", timeout: {connect: 200ms}"));
    assert_eq!(node.connect().ask(GET).status, 504);
    node.assert_outcome("connect_timeout");
    let closing = Scripted::start(|_| {});
    node.apply(&site(&closing, ""));
    assert_eq!(node.connect().ask(GET).status, 502);
    node.assert_outcome("upstream_reset");
}

#[test]
fn a_head_that_is_late_cancels_its_stream_alone() {
    let (told, cancelled) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        let first = served.request().unwrap();
        served.send(reply(first, b"first"));
        let late = served.request().unwrap();
        let next = served.next().unwrap();
        assert_eq!((next.kind, next.stream, next.code()), (RST_STREAM, late, CANCEL));
        told.lock().unwrap().send(served.connection.number).unwrap();
        serve(served);
    });
    let node = Node::start(&site(&upstream, "").route("/late: {to: one, timeout: {request: 200ms}}"));
    // The connection is there: nothing holds the late one up but its reply.
    assert_eq!(node.connect().ask(GET).text(), "first");
    node.assert_outcome("served");
    assert_eq!(node.connect().ask("GET /late HTTP/1.1\r\nHost: api.test\r\n\r\n").status, 504);
    node.assert_outcome("upstream_head_timeout");
    assert_eq!(cancelled.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(node.connect().ask(GET).text(), "stream 5", "the connection answered a PING and goes on");
}

#[test]
fn a_dead_connection_is_found_by_a_ping_and_replaced() {
    let upstream = endpoint(&[], |served| {
        if served.connection.number == 0 {
            while served.connection.some().is_some() {}
        } else {
            serve(served);
        }
    });
    let node = Node::start(&site(&upstream, ", timeout: {request: 100ms, connect: 100ms}"));
    assert_eq!(node.connect().ask(GET).status, 504);
    node.assert_outcome("upstream_head_timeout");
    node.wait_metric("ringway_upstream_connections_open", "", |open| open == 0.0);
    // Its time is as short: a machine that stands still uses it up now and then.
    assert!((0..20).any(|_| node.connect().ask(GET).text().starts_with("stream ")));
}

#[test]
fn content_for_a_window_that_never_opens_is_given_up() {
    let upstream = endpoint(&[(WINDOW, 0)], |served| while served.next().is_some() {});
    let site = site(&upstream, ", timeout: {request: 10s}").settings("timeouts: {write_stall: 200ms}");
    let node = Node::start(&site);
    assert_eq!(node.connect().ask(POST).status, 504);
    node.assert_outcome("upstream_write_timeout");
}

#[test]
fn beyond_the_streams_that_the_peer_allows_a_request_waits_and_not_for_ever() {
    let release = Arc::new(std::sync::Barrier::new(2));
    let (inside, told) = (Arc::clone(&release), std::sync::mpsc::channel());
    let sender = std::sync::Mutex::new(told.0);
    let upstream = endpoint(&[(STREAMS, 1)], move |served| {
        let first = served.request().unwrap();
        sender.lock().unwrap().send(()).unwrap();
        inside.wait();
        served.send(reply(first, b"first"));
        serve(served);
    });
    let patient = ", pool: {connections: 1}, timeout: {connect: 20s}";
    let node = Node::start(&site(&upstream, patient));
    let mut first = node.connect();
    first.send(GET);
    told.1.recv_timeout(PATIENCE).unwrap();
    node.apply(&site(&upstream, ", pool: {connections: 1}, timeout: {connect: 300ms}"));
    assert_eq!(node.connect().ask(GET).status, 503);
    node.assert_outcome("upstream_saturated");
    node.apply(&site(&upstream, patient));
    let mut second = node.connect();
    second.send(GET);
    // Both are the endpoint's by now: one on the stream that there is, one that waits for it.
    let began = std::time::Instant::now();
    loop {
        let page: serde_json::Value = serde_json::from_str(node.admin("/upstreams").text()).unwrap();
        if page.pointer("/0/endpoints/0/in_flight").and_then(serde_json::Value::as_u64) == Some(2) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{page}");
    }
    release.wait();
    assert_eq!(first.reply().text(), "first");
    assert_eq!(second.reply().text(), "stream 3");
}

#[test]
fn interim_replies_trailers_and_heads_without_content_come_through() {
    let upstream = endpoint(&[], |served| {
        while let Some(stream) = served.request() {
            served.send(head(stream, 0, &[(":status", "103"), ("link", "</a>")]));
            served.send(head(stream, 0, &[(":status", "200"), ("x-a", "b")]));
            served.send(frame(DATA, 0, stream, b"hello"));
            served.send(head(stream, END_STREAM, &[("x-sum", "5")]));
            let stream = served.request().unwrap();
            served.send(head(stream, END_STREAM, &[(":status", "200"), ("content-length", "1234")]));
        }
    });
    let node = Node::start(&site(&upstream, ""));
    let mut client = node.connect();
    client.send("GET /a HTTP/1.1\r\nHost: api.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    let interim = String::from_utf8(client.until(b"\r\n\r\n")).unwrap();
    assert!(interim.starts_with("HTTP/1.1 103") && interim.contains("link: </a>"), "{interim}");
    let reply = client.reply();
    assert_eq!((reply.text(), reply.trailers.as_str()), ("hello", "x-sum: 5\r\n"));
    let reply = client.send("HEAD /a HTTP/1.1\r\nHost: api.test\r\n\r\n").reply_to("HEAD");
    assert_eq!(reply.field("content-length"), Some("1234"));
}

#[test]
fn ten_mebibytes_flow_both_ways_under_flow_control() {
    const SIZE: usize = 10 << 20;
    // The endpoint sends back what it gets, and opens its windows only as far.
    let upstream = endpoint(&[], |served| {
        let stream = served.request().unwrap();
        served.send(head(stream, 0, OK));
        let mut unsent = Vec::new();
        while let Some(next) = served.next() {
            if next.kind != DATA {
                continue;
            }
            let credit = u32::try_from(next.payload.len()).unwrap().to_be_bytes();
            if !next.payload.is_empty() {
                served.send(frame(frames::WINDOW_UPDATE, 0, 0, &credit));
                served.send(frame(frames::WINDOW_UPDATE, 0, stream, &credit));
            }
            unsent.extend(&next.payload);
            let room = usize::try_from(served.window.max(0)).unwrap().min(unsent.len());
            for piece in unsent.drain(..room).collect::<Vec<u8>>().chunks(16 * 1024) {
                served.window -= i64::try_from(piece.len()).unwrap();
                served.send(frame(DATA, 0, stream, piece));
            }
            if next.flags & END_STREAM != 0 {
                break;
            }
        }
        // The last of it goes as the gateway gives credit.
        while !unsent.is_empty() {
            let room = usize::try_from(served.window.max(0)).unwrap().min(unsent.len()).min(16 * 1024);
            if room == 0 {
                served.send(frame(frames::PING, 0, 0, &[0; 8]));
                served.pong();
                continue;
            }
            let piece: Vec<u8> = unsent.drain(..room).collect();
            served.window -= i64::try_from(room).unwrap();
            served.send(frame(DATA, 0, stream, &piece));
        }
        served.send(frame(DATA, END_STREAM, stream, &[]));
        // Closed with credit unread, it would be reset, and what the gateway has not read yet be lost.
        while served.next().is_some() {}
    });
    let node = Node::start(&site(&upstream, ""));
    let mut client = node.connect();
    let content: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let mut writer = client.stream().try_clone().unwrap();
    let sent = content.clone();
    let uploading = std::thread::spawn(move || {
        use std::io::Write;
        write!(writer, "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: {SIZE}\r\n\r\n").unwrap();
        writer.write_all(&sent).unwrap();
    });
    let reply = client.reply();
    uploading.join().unwrap();
    assert!(reply.body == content, "{} bytes", reply.body.len());
    let record = node.assert_outcome("served");
    assert_eq!((&record["body_in_bytes"], &record["body_out_bytes"]), (&SIZE.into(), &SIZE.into()));
}
