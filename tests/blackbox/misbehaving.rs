//! Upstreams that refuse, reset, stall, lie and babble: the failure of the table, and never a poisoned connection.

use std::net::SocketAddr;

use crate::node::{Node, also_on_epoll};
use crate::scripted::{Accepted, Scripted, refusing};
use crate::site::Site;

also_on_epoll!(
    every_garbled_reply_is_answered_by_502_and_its_connection_is_never_used_again
    a_reply_that_ends_early_is_cut_and_never_looks_whole
    a_reply_that_fails_before_any_of_it_went_out_is_answered_by_502
    a_stale_pooled_connection_is_tried_again_for_get_and_not_for_post
);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\n\r\nx";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An endpoint whose first connection does this after its first request, and whose later ones serve.
fn first(misbehave: impl Fn(&mut Accepted) + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |connection| {
        while connection.request().is_some() {
            if connection.number == 0 {
                return misbehave(connection);
            }
            connection.send(OK);
        }
    })
}

/// Fails unless a fresh client, and the same one if its connection is kept, are served as if nothing had happened.
#[track_caller]
fn assert_unharmed(node: &Node) {
    let mut client = node.connect();
    for _ in 0..2 {
        assert_eq!(client.ask(GET).text(), "ok");
        node.assert_outcome("served");
    }
}

#[test]
fn every_garbled_reply_is_answered_by_502_and_its_connection_is_never_used_again() {
    const GARBLED: &[(&str, &str)] = &[
        ("garbage\r\n\r\n", "upstream_malformed"),
        ("\0\0\0\0\r\n\r\n", "upstream_malformed"),
        ("HTTP/1.1 OK\r\n\r\n", "upstream_malformed"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "upstream_malformed"),
        ("HTTP/1.1 099 Odd\r\n\r\n", "upstream_malformed"),
        ("HTTP/2.0 200 OK\r\n\r\n", "upstream_malformed"),
        ("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "upstream_malformed"),
        ("HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 2\r\n\r\nok", "upstream_malformed"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "upstream_malformed"),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", "upstream_malformed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "upstream_framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", "upstream_framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "upstream_framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream_framing"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "upstream_framing"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "upgrade_failed",
        ),
    ];
    for (index, (garbled, _)) in GARBLED.iter().enumerate() {
        assert!(!GARBLED[..index].iter().any(|(other, _)| other == garbled), "a row twice: {garbled:?}");
    }
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            let row = head.strip_prefix("GET /garbled/").and_then(|rest| rest.split(' ').next());
            match row {
                Some(row) => connection.send(GARBLED[row.parse::<usize>().unwrap()].0),
                None => connection.send(OK),
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for (index, (garbled, outcome)) in GARBLED.iter().enumerate() {
        let reply = client.ask(format!("GET /garbled/{index} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!(reply.status, 502, "{garbled:?}");
        assert!(reply.text().contains(&outcome.replace('_', "-")), "{garbled:?}: {}", reply.text());
        assert_eq!(client.ask(GET).text(), "ok", "the same client goes on after {garbled:?}");
    }
    for (garbled, outcome) in GARBLED {
        let record = node.record();
        assert_eq!((&record["outcome"], &record["status"]), (&(*outcome).into(), &502.into()), "{garbled:?}");
        let next = node.assert_outcome("served");
        assert_eq!(next["reused"], false, "the connection of {garbled:?} was used again");
    }
}

#[test]
fn a_reply_head_that_is_too_large_is_502() {
    let upstream = first(|connection| {
        connection.send(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000)));
    });
    let node = Node::start(&Site::to(upstream.address));
    assert_eq!(node.connect().ask(GET).status, 502);
    node.assert_outcome("upstream_head_too_large");
    assert_unharmed(&node);
}

#[test]
fn an_upstream_that_closes_or_resets_before_or_in_its_head_is_502() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            match head.split(' ').nth(1) {
                Some("/closes") => return,
                Some("/resets") => return connection.reset(),
                Some("/closes-in-head") => return connection.send("HTTP/1.1 200 O"),
                Some("/resets-in-head") => {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Le");
                    return connection.reset();
                }
                _ => connection.send(OK),
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for path in ["/closes", "/resets", "/closes-in-head", "/resets-in-head"] {
        let reply =
            client.ask(format!("POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\n\r\nx"));
        assert_eq!(reply.status, 502, "{path}");
        let record = node.assert_outcome("upstream_reset");
        assert_eq!(record["attempts"], 1, "a POST that was sent is never sent again: {record}");
        // Without a connection in the pool the next request opens its own.
    }
    assert_unharmed(&node);
}

/// An endpoint that begins its first reply so, goes on once it is told to, and closes. Later connections serve.
fn breaking(begun: &'static str, rest: &'static str) -> (Scripted, std::sync::mpsc::Sender<()>) {
    let (arrived, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = first(move |connection| {
        connection.send(begun);
        told.lock().unwrap().recv().unwrap();
        connection.send(rest);
    });
    (upstream, arrived)
}

#[test]
fn a_reply_that_ends_early_is_cut_and_never_looks_whole() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhalf";
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    let rows = [
        (short, "", "upstream_body_short"),
        (long, "", "upstream_body_short"),
        (chunks, "", "upstream_body_short"),
        (chunks, "zz\r\n", "upstream_chunk_malformed"),
    ];
    for (begun, rest, outcome) in rows {
        let (upstream, arrived) = breaking(begun, rest);
        let node = Node::start(&Site::to(upstream.address));
        let mut client = node.connect();
        let got = String::from_utf8(client.send(GET).until(b"half")).unwrap();
        assert!(got.starts_with("HTTP/1.1 200 "), "{outcome}: {got:?}");
        arrived.send(()).unwrap();
        let got = String::from_utf8(client.rest()).unwrap();
        assert!(got.is_empty() || got == "\r\n", "{outcome}: a cut body looks whole: {got:?}");
        node.assert_outcome(outcome);
        assert_unharmed(&node);
    }
}

#[test]
fn what_came_right_before_a_reply_broke_off_still_arrives() {
    let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for _ in 0..8 {
        let (upstream, arrived) = breaking(begun, "6\r\nsecond\r\n");
        let node = Node::start(&Site::to(upstream.address));
        let mut client = node.connect();
        client.send(GET).until(b"half");
        arrived.send(()).unwrap();
        let got = String::from_utf8(client.rest()).unwrap();
        assert!(got.contains("second"), "{got:?}");
        node.assert_outcome("upstream_body_short");
    }
}

/// What had not gone out when the fault was seen never does, and can be taken back.
#[test]
fn a_reply_that_fails_before_any_of_it_went_out_is_answered_by_502() {
    let head = |fields: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{rest}");
    let rows = [
        (head("Content-Length: 10", ""), "upstream-body-short"),
        (head("Content-Length: 10", "half"), "upstream-body-short"),
        (head("Content-Length: 1000000", ""), "upstream-body-short"),
        (head("Transfer-Encoding: chunked", ""), "upstream-body-short"),
        (head("Transfer-Encoding: chunked", "4\r\nhalf\r\n"), "upstream-body-short"),
        (head("Transfer-Encoding: chunked", "zz\r\n"), "upstream-chunk-malformed"),
        (head("Transfer-Encoding: chunked", "4\r\nhalf\r\nzz\r\n"), "upstream-chunk-malformed"),
    ];
    for (bytes, problem) in rows {
        let last = bytes.clone();
        let upstream = first(move |connection| connection.send_last(&last));
        let node = Node::start(&Site::to(upstream.address));
        let mut client = node.connect();
        let reply = client.ask(GET);
        assert_eq!(reply.status, 502, "{bytes:?}: {}", reply.head);
        assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{}", reply.head);
        assert!(reply.text().contains(&format!("urn:ringway:problem/{problem}")), "{}", reply.text());
        let record = node.assert_outcome(&problem.replace('-', "_"));
        assert_eq!((&record["status"], &record["attempts"]), (&502.into(), &1.into()), "{record}");
        assert_eq!(client.ask(POST).text(), "ok", "the caller's connection goes on");
        node.assert_outcome("served");
        assert_unharmed(&node);
    }
}

#[test]
fn a_coding_beside_a_length_drops_the_length_and_the_connection() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..2 {
        let reply = client.ask(GET);
        assert_eq!((reply.text(), reply.field("content-length")), ("ok", None), "{}", reply.head);
        assert_eq!(node.assert_outcome("served")["reused"], false);
    }
}

#[test]
fn bytes_behind_a_reply_belong_to_nobody() {
    let upstream = first(|connection| {
        connection.send(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
        // Keeps the connection open: were it used again, the poison would be read.
        while connection.request().is_some() {}
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..3 {
        assert_eq!(client.ask(GET).text(), "ok");
        node.assert_outcome("served");
    }
}

#[test]
fn an_idle_connection_that_speaks_unasked_is_closed() {
    let (speak, told) = std::sync::mpsc::channel::<()>();
    let (said, heard) = std::sync::mpsc::channel();
    let (told, said) = (std::sync::Mutex::new(told), std::sync::Mutex::new(said));
    let upstream = first(move |connection| {
        connection.send(OK);
        told.lock().unwrap().recv().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
        said.lock().unwrap().send(()).unwrap();
        while connection.request().is_some() {}
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).text(), "ok");
    assert_eq!(node.assert_outcome("served")["reused"], false);
    speak.send(()).unwrap();
    heard.recv().unwrap();
    assert_eq!(client.ask(GET).text(), "ok");
    assert_eq!(node.assert_outcome("served")["reused"], false);
}

#[test]
fn silence_before_the_head_is_504_and_in_the_body_a_cut() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            match head.split(' ').nth(1) {
                Some("/silent") => {}
                Some("/half") => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
                _ => connection.send(OK),
            }
        }
    });
    let hasty = Site::to(upstream.address)
        .route("/silent: {to: one, timeout: {request: 300ms}}")
        .route("/half: {to: one, timeout: {idle: 300ms}}");
    let node = Node::start(&hasty);
    let mut client = node.connect();
    let reply = client.ask("GET /silent HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(reply.status, 504);
    node.assert_outcome("upstream_head_timeout");
    assert_eq!(client.ask(GET).text(), "ok", "the caller's connection is kept");
    assert_eq!(node.assert_outcome("served")["reused"], false, "the silent connection is not");
    client.send("GET /half HTTP/1.1\r\nHost: api.test\r\n\r\n").until(b"half");
    client.assert_closed();
    node.assert_outcome("upstream_idle_timeout");
    assert_unharmed(&node);
}

#[test]
fn a_refused_connection_is_502_and_the_next_endpoint_serves() {
    let refused = Node::start(&Site::to(refusing()));
    let reply = refused.connect().ask(POST);
    assert_eq!(reply.status, 502);
    assert!(reply.field("proxy-status").unwrap().contains("error=connection_refused"), "{}", reply.head);
    refused.assert_outcome("connect_refused");
    let upstream = Scripted::ok();
    let node = Node::start(&Site::with_keys(&[refusing(), upstream.address], "balance: round_robin"));
    let mut client = node.connect();
    for _ in 0..4 {
        assert_eq!(client.ask(POST).status, 200, "nothing was sent: even a POST goes to the next endpoint");
        node.assert_outcome("served");
    }
    assert!(node.metric("ringway_upstream_connections_failed_total", "") >= 1.0);
}

#[test]
fn an_address_that_never_answers_is_504_after_the_connect_timeout() {
    // Its backlog of one is full: further connections get no answer.
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let _fills = std::net::TcpStream::connect(address).unwrap();
    let node = Node::start(&Site::with_keys(&[address], "timeout: {connect: 200ms}"));
    assert_eq!(node.connect().ask(GET).status, 504);
    node.assert_outcome("connect_timeout");
}

/// Serves one request on its first connection, closes it once told and says so.
fn going_stale() -> (Scripted, std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>) {
    let (close, told) = std::sync::mpsc::channel::<()>();
    let (said, closed) = std::sync::mpsc::channel();
    let (told, said) = (std::sync::Mutex::new(told), std::sync::Mutex::new(said));
    let upstream = first(move |connection| {
        connection.send(OK);
        told.lock().unwrap().recv().unwrap();
        // The next request has come and is not answered: the close crosses it on the way.
        connection.head();
        said.lock().unwrap().send(()).unwrap();
    });
    (upstream, close, closed)
}

#[test]
fn a_stale_pooled_connection_is_tried_again_for_get_and_not_for_post() {
    let (upstream, close, _closed) = going_stale();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).text(), "ok");
    node.assert_outcome("served");
    close.send(()).unwrap();
    assert_eq!(client.ask(GET).text(), "ok", "tried again on a new connection");
    let record = node.assert_outcome("served");
    assert_eq!((&record["attempts"], &record["reused"]), (&2.into(), &false.into()), "{record}");
    node.wait_metric("ringway_upstream_retries_total", "", |retries| retries == 1.0);

    let (upstream, close, _closed) = going_stale();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).text(), "ok");
    node.assert_outcome("served");
    close.send(()).unwrap();
    assert_eq!(client.ask(POST).status, 502, "it may have been carried out");
    let record = node.assert_outcome("upstream_reset");
    assert_eq!((&record["attempts"], &record["reused"]), (&1.into(), &true.into()), "{record}");
    assert_unharmed(&node);
}

#[test]
fn seventeen_interim_replies_are_too_many() {
    let reply = format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17));
    let upstream = first(move |connection| connection.send(&reply));
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.send(GET).reply().status, 502);
    node.assert_outcome("upstream_malformed");
    assert_unharmed(&node);
}

#[test]
fn an_early_refusal_reaches_a_caller_that_is_still_sending() {
    let upstream = Scripted::start(|connection| {
        connection.head();
        connection
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100000000\r\n\r\nbegin");
    let reply = client.reply();
    assert_eq!((reply.status, reply.text(), reply.field("connection")), (413, "big", Some("close")));
    client.assert_closed();
    node.assert_outcome("served");
}
