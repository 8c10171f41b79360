//! What is told of a caller and what it may say of itself: spoofed, disguised and counted fields.

use crate::node::Node;
use crate::scripted::Scripted;
use crate::site::Site;

/// Fields by which a caller would pass for somebody else, or for a proxy of ours.
const SPOOFED: &str = "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_ssl: 6.6.6.6\r\n\
     X-Forwarded-User: 6.6.6.6\r\nX-Forwarded-Port: 6\r\nForwarded: for=6.6.6.6\r\nContent_Length: 6\r\n";

#[test]
fn a_caller_cannot_pass_for_another_whatever_the_spelling() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply =
        node.connect().ask(format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{SPOOFED}X_Mine: 1\r\n\r\n"));
    assert_eq!(reply.status, 200);
    let head = upstream.head();
    for never in ["6.6.6.6", "X-Forwarded-Port", "Content_Length"] {
        assert!(!head.contains(never), "{never}: {head}");
    }
    assert!(head.contains("\r\nX_Mine: 1\r\n"), "{head}");
}

#[test]
fn what_a_trusted_peer_says_passes_but_never_disguised() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("trusted: [127.0.0.0/8]"));
    let reply = node.connect().ask(format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{SPOOFED}\r\n"));
    assert_eq!(reply.status, 200);
    let head = upstream.head();
    for told in ["X-Real-IP: 6.6.6.6", "X-Forwarded-User: 6.6.6.6", "x-forwarded-for: 6.6.6.6, 127."] {
        assert!(head.contains(told), "{told}: {head}");
    }
    for never in ["X_Forwarded_For", "x-forwarded_ssl", "Content_Length"] {
        assert!(!head.contains(never), "{never}: {head}");
    }
}

#[test]
fn a_chain_has_the_last_word_on_the_fields_that_it_sets() {
    let upstream = Scripted::ok();
    let site = Site::bare()
        .upstream("one", &[upstream.address], "")
        .route("/*: {to: one, chain: edge, rewrite: {prefix: /inner}}")
        .more("chains: {edge: [{headers: {request: {set: {X-Real-IP: ours}}}}]}");
    let node = Node::start(&site);
    let spoofed = "X-Real-IP: 6.6.6.6\r\nX-Forwarded-Prefix: /evil\r\n";
    let reply = node.connect().ask(format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{spoofed}\r\n"));
    assert_eq!(reply.status, 200);
    let head = upstream.head();
    assert!(head.starts_with("GET /inner/a "), "{head}");
    assert!(head.contains("\r\nx-real-ip: ours\r\n") && head.contains("\r\nX-Forwarded-Prefix: "), "{head}");
    assert!(!head.contains("6.6.6.6") && !head.contains("evil"), "{head}");
}

#[test]
fn trace_and_options_go_as_far_as_max_forwards_says() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    let ask = |method: &str, hops: &str| {
        format!(
            "{method} /a HTTP/1.1\r\nHost: api.test\r\nAuthorization: secret\r\nMax-Forwards: {hops}\r\n\r\n"
        )
    };
    assert_eq!(client.ask(ask("OPTIONS", "0")).status, 204);
    node.assert_outcome("served");
    let traced = client.ask(ask("TRACE", "0"));
    assert_eq!(traced.status, 405);
    assert!(traced.field("allow").is_some_and(|allow| !allow.contains("TRACE")), "{}", traced.head);
    assert!(!traced.text().contains("secret"), "credentials are not reflected");
    node.assert_outcome("method_not_allowed");
    upstream.assert_untouched();
    for (method, sent, arrives) in
        [("OPTIONS", "5", "4"), ("TRACE", "1", "0"), ("GET", "0", "0"), ("OPTIONS", "x", "x")]
    {
        assert_eq!(client.ask(ask(method, sent)).status, 200);
        let head = upstream.head();
        assert!(head.contains(&format!("Max-Forwards: {arrives}\r\n")), "{method} {sent}: {head}");
    }
}

/// RFC 9110 §7.6: a message that comes round is not forwarded for ever.
#[test]
fn a_request_that_goes_round_in_a_circle_is_refused() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("name: edge"));
    let ask =
        |via: &str| node.connect().ask(format!("GET /a HTTP/1.1\r\nHost: api.test\r\nVia: {via}\r\n\r\n"));
    for via in ["1.1 other, ".repeat(40), "1.1 edge, ".repeat(15), "1.1 edges, ".repeat(20)] {
        assert_eq!(ask(&via).status, 200, "{via}");
        node.assert_outcome("served");
        upstream.head();
    }
    let reply = ask(&"1.1 edge (a), 2 other, ".repeat(16));
    assert_eq!(reply.status, 502);
    assert!(reply.field("proxy-status").unwrap().contains("error=proxy_loop_detected"), "{}", reply.head);
    node.assert_outcome("loop_detected");
    upstream.assert_untouched();
}

/// RFC 9112 §3.2.4: for the whole of the endpoint, a proxy's form of the target has no path.
#[test]
fn options_of_an_authority_alone_asks_for_the_whole_of_it() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    for (target, asked) in [("http://api.test", "*"), ("http://api.test/", "/"), ("*", "*"), ("/a", "/a")] {
        let reply = node.connect().ask(format!("OPTIONS {target} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!(reply.status, 200, "{target}");
        let head = upstream.head();
        assert!(head.starts_with(&format!("OPTIONS {asked} HTTP/1.1\r\nHost: api.test\r\n")), "{head}");
    }
}
