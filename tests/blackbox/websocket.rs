//! WebSocket upgrades end to end, and what must never pass through one.

use crate::node::{Node, also_on_epoll};
use crate::scripted::{Accepted, Scripted};
use crate::site::Site;

also_on_epoll!(a_tunnel_carries_bytes_both_ways_and_half_closes);

pub(crate) const UPGRADE: &str = concat!(
    "GET /ws/chat HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
);
pub(crate) const SWITCHING: &str = concat!(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
);

/// Agrees to the upgrade and sends back what comes until the other side half-closes; then says `bye`.
pub(crate) fn echo(connection: &mut Accepted) {
    if connection.head().is_some() {
        echo_after(connection);
    }
}

/// As [`echo`], the request's head being read.
pub(crate) fn echo_after(connection: &mut Accepted) {
    connection.send(SWITCHING);
    while let Some(bytes) = connection.some() {
        connection.send(bytes);
    }
    connection.send("bye");
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_half_closes() {
    let upstream = Scripted::start(echo);
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    let reply = client.ask(UPGRADE);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.field("upgrade"), Some("websocket"));
    assert!(reply.field("connection").unwrap().eq_ignore_ascii_case("upgrade"), "{}", reply.head);
    assert_eq!(reply.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let head = upstream.head().to_ascii_lowercase();
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "rewritten, not relayed: {head}");
    assert!(head.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{head}");
    node.wait_metric("ringway_tunnels_open", "", |open| open == 1.0);
    for round in 0..3 {
        let bytes = vec![round; 100_000];
        assert!(client.send(&bytes).exactly(bytes.len()) == bytes);
    }
    client.finish();
    assert_eq!(client.rest(), b"bye", "the other direction stays open after a half close");
    let record = node.assert_outcome("tunnel_closed");
    assert_eq!((&record["status"], &record["protocol"]), (&101.into(), &"websocket".into()), "{record}");
    assert_eq!((&record["body_in_bytes"], &record["body_out_bytes"]), (&300_000.into(), &300_003.into()));
    node.wait_metric("ringway_tunnels_open", "", |open| open == 0.0);
}

/// RFC 9110 §15.5.22: a 426 names the protocol, and the upstream's naming ends at this hop.
#[test]
fn a_reply_that_demands_an_upgrade_names_it() {
    let upstream = Scripted::answering(
        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n",
    );
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    let old = UPGRADE.replace("Version: 13", "Version: 8");
    for request in ["GET /ws/a HTTP/1.1\r\nHost: api.test\r\n\r\n", &old] {
        let reply = client.ask(request);
        assert_eq!((reply.status, reply.field("upgrade")), (426, Some("websocket")), "{}", reply.head);
        assert_eq!(reply.field("sec-websocket-version"), Some("13"), "{}", reply.head);
        assert_eq!(reply.field("connection"), Some("upgrade"), "{}", reply.head);
    }
}

#[test]
fn an_upgrade_on_a_route_without_websocket_is_refused() {
    let upstream = Scripted::start(echo);
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(UPGRADE.replace("/ws/chat", "/other")).status, 400);
    let record = node.assert_outcome("upgrade_not_allowed");
    assert_eq!(record["detail"], "not-on-this-route");
    upstream.assert_untouched();
}

#[test]
fn bytes_before_101_wait_and_are_never_forwarded_when_it_is_declined() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            assert!(!head.contains("smuggled"), "{head}");
            connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send(format!("{UPGRADE}GET /smuggled HTTP/1.1\r\nHost: internal.test\r\n\r\n"));
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (403, "no"));
    node.assert_outcome("upgrade_declined");
    let head = upstream.head();
    assert!(head.starts_with("GET /ws/chat "), "{head}");
    // Behind a declined upgrade they are an ordinary request, or the connection has ended.
    let after = String::from_utf8(client.finish().rest()).unwrap();
    assert!(after.is_empty() || after.starts_with("HTTP/1.1 404 "), "{after}");
    upstream.assert_untouched();
}

#[test]
fn bytes_that_came_with_the_handshake_follow_it_once_it_is_accepted() {
    let upstream = Scripted::start(|connection| {
        connection.head();
        // Nothing of the tunnel may be here before it is agreed to.
        connection.stream().set_nonblocking(true).unwrap();
        assert!(connection.some().is_none(), "tunnel bytes came before 101");
        connection.stream().set_nonblocking(false).unwrap();
        connection.send(format!("{SWITCHING}hello"));
        let early = connection.exactly(5).unwrap();
        connection.send(early);
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    client.send(format!("{UPGRADE}early"));
    assert_eq!(client.reply_to("GET").status, 101);
    assert_eq!(client.exactly(10), b"helloearly");
    client.finish().assert_closed();
    node.assert_outcome("tunnel_closed");
}

#[test]
fn a_tunnel_that_falls_silent_is_ended() {
    let upstream = Scripted::start(echo);
    let node = Node::start(&Site::with_keys(&[upstream.address], "timeout: {tunnel_idle: 300ms}"));
    let mut client = node.connect();
    assert_eq!(client.ask(UPGRADE).status, 101);
    // Where the machine stood still meanwhile, it has ended already.
    let rest = client.send("x").rest();
    assert!(rest.is_empty() || rest == b"x");
    node.assert_outcome("tunnel_idle");
}

#[test]
fn a_tunnel_whose_upstream_is_reset_is_cut() {
    let upstream = Scripted::start(|connection| {
        connection.head();
        connection.send(SWITCHING);
        connection.exactly(1);
        connection.reset();
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    assert_eq!(client.ask(UPGRADE).status, 101);
    client.send("x").assert_closed();
    node.assert_outcome("tunnel_cut");
}

#[test]
fn other_upgrades_are_not_forwarded() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply = node.connect().ask(
        "GET /ws/a HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    assert_eq!(reply.status, 200);
    let head = upstream.head().to_ascii_lowercase();
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
    node.assert_outcome("served");
}
