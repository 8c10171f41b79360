//! Which route a request takes, what the gateway answers itself, and what it tells the upstream.

use crate::node::Node;
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;

fn ask(node: &Node, line: &str, fields: &str) -> crate::raw::Reply {
    node.connect().ask(format!("{line} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"))
}

#[test]
fn unknown_hosts_and_paths_are_404_and_other_methods_405_with_allow() {
    let upstream = Scripted::ok();
    let site = Site::bare()
        .upstream("one", &[upstream.address], "")
        .route("/a: {to: one}")
        .route("\"GET,POST /m\": {to: one}");
    let node = Node::start(&site);
    let reply = node.connect().ask("GET /a HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(reply.status, 404);
    node.assert_outcome("unknown_host");
    assert_eq!(ask(&node, "GET /b", "").status, 404);
    node.assert_outcome("no_route");
    let reply = ask(&node, "DELETE /m", "");
    assert_eq!(reply.status, 405);
    let allow = reply.field("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST") && !allow.contains("DELETE"), "{allow}");
    node.assert_outcome("method_not_allowed");
    upstream.assert_untouched();
    assert_eq!(ask(&node, "POST /m", "Content-Length: 0\r\n").status, 200);
    assert_eq!(node.assert_outcome("served")["route"], "api.test GET,POST /m");
}

#[test]
fn a_problem_has_its_type_its_status_and_the_id_of_the_request() {
    let node = Node::start(&Site::bare().route("/a: {respond: {status: 200, body: ok}}"));
    let reply = ask(&node, "GET /nowhere", "");
    assert_eq!(reply.field("content-type"), Some("application/problem+json"));
    assert_eq!(reply.field("cache-control"), Some("no-store"));
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(problem["type"], "urn:ringway:problem/no-route", "{problem}");
    assert_eq!((&problem["status"], &problem["instance"]), (&404.into(), &"/nowhere".into()), "{problem}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    let record = node.assert_outcome("no_route");
    assert_eq!(problem["request_id"], record["request_id"]);
    assert_eq!(reply.field("x-request-id"), record["request_id"].as_str());
    let head = node.connect().send("HEAD /nowhere HTTP/1.1\r\nHost: api.test\r\n\r\n").reply_to("HEAD");
    assert_eq!(head.status, 404);
}

#[test]
fn fixed_responses_and_redirects_are_made_here() {
    let site = Site::bare()
        .route("/fixed: {respond: {status: 418, body: teapot, headers: {X-Kind: pot}}}")
        .route("/old/*: {redirect: {status: \"301\", host: new.test, path: /new}}")
        .route("/secure: {redirect: {scheme: https}}");
    let node = Node::start(&site);
    let fixed = ask(&node, "GET /fixed", "");
    assert_eq!((fixed.status, fixed.text(), fixed.field("x-kind")), (418, "teapot", Some("pot")));
    node.assert_outcome("served");
    let moved = ask(&node, "GET /old/x?q=1", "");
    assert_eq!((moved.status, moved.field("location")), (301, Some("http://new.test/new?q=1")));
    node.assert_outcome("served");
    let secure = ask(&node, "GET /secure?q=1", "");
    assert_eq!((secure.status, secure.field("location")), (308, Some("https://api.test/secure?q=1")));
    node.assert_outcome("served");
}

/// A fixed response is written with its generation, where nothing of the request changes it: neither the caller nor the record may
/// see a difference.
#[test]
fn a_fixed_response_is_the_same_however_it_is_asked_for() {
    let node = Node::start(
        &Site::bare().route("/fixed: {respond: {status: 418, body: teapot, headers: {X-Kind: pot}}}"),
    );
    let mut caller = node.connect();
    let asked = [
        ("GET", "HTTP/1.1", "", None),
        ("HEAD", "HTTP/1.1", "", None),
        ("POST", "HTTP/1.1", "Content-Length: 3\r\n\r\nabc", None),
        ("GET", "HTTP/1.0", "Connection: keep-alive\r\n", Some("keep-alive")),
        ("GET", "HTTP/1.1", "", None),
        ("GET", "HTTP/1.1", "Connection: close\r\n", Some("close")),
    ];
    for (method, version, rest, connection) in asked {
        let end = if rest.ends_with("abc") { "" } else { "\r\n" };
        caller.send(format!("{method} /fixed {version}\r\nHost: api.test\r\n{rest}{end}"));
        let reply = caller.reply_to(method);
        let content = if method == "HEAD" { "" } else { "teapot" };
        assert_eq!((reply.status, reply.text(), reply.field("x-kind")), (418, content, Some("pot")));
        assert_eq!((reply.field("content-length"), reply.field("connection")), (Some("6"), connection));
        assert!(reply.field("date").is_some_and(|date| date.ends_with(" GMT")), "{method} {version}");
        let record = node.assert_outcome("served");
        assert_eq!(
            (&record["status"], &record["body_out_bytes"]),
            (&418.into(), &content.len().into()),
            "{record}"
        );
        assert_eq!(reply.field("x-request-id"), record["request_id"].as_str());
    }
    caller.assert_ends_in_order();
}

#[test]
fn a_listener_may_send_everyone_to_https() {
    let site = Site::bare()
        .only_listener("{address: \"127.0.0.2:0\", redirect: \"https:8443\"}")
        .route("/a: {respond: {status: 200, body: ok}}");
    let node = Node::start(&site);
    let reply = ask(&node, "GET /a?b=c", "");
    assert_eq!((reply.status, reply.field("location")), (308, Some("https://api.test:8443/a?b=c")));
    node.assert_outcome("served");
}

#[test]
fn a_connection_of_a_listener_that_was_removed_is_still_sent_to_https() {
    let routes = |site: Site| site.route("/a: {respond: {status: 200, body: ok}}");
    let kept = "{address: \"127.0.0.3:0\"}";
    let both = routes(
        Site::bare().only_listener("{address: \"127.0.0.2:0\", redirect: \"https:8443\"}").listener(kept),
    );
    let node = Node::start(&both);
    let mut client = Raw::connect(node.listener("127.0.0.2:0"));
    let get = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";
    assert_eq!(client.ask(get).status, 308);
    node.apply(&routes(Site::bare().only_listener(kept)));
    assert_eq!(Raw::connect(node.listener("127.0.0.3:0")).ask(get).status, 200);
    assert_eq!(client.ask(get).status, 308);
}

#[test]
fn rewrites_change_path_and_host_and_keep_the_query() {
    let upstream = Scripted::ok();
    let site = Site::bare()
        .upstream("one", &[upstream.address], "")
        .route("/v1/*: {to: one, rewrite: {prefix: /v2}}")
        .route("/whole: {to: one, rewrite: {path: /other, host: internal.test}}");
    let node = Node::start(&site);
    assert_eq!(ask(&node, "GET /v1/a/b?q=1", "").status, 200);
    let head = upstream.head();
    assert!(head.starts_with("GET /v2/a/b?q=1 HTTP/1.1\r\n"), "{head}");
    assert!(values(&head, "x-forwarded-prefix") == ["/v1"], "{head}");
    assert_eq!(ask(&node, "GET /whole?q=1", "").status, 200);
    let head = upstream.head();
    assert!(head.starts_with("GET /other?q=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nhost: internal.test\r\n"), "{head}");
    assert_eq!(node.assert_outcome("served")["path"], "/v1/a/b", "the record has the path as it was matched");
}

#[test]
fn matching_and_forwarding_see_the_same_normalised_path() {
    let upstream = Scripted::ok();
    let site = Site::bare()
        .upstream("one", &[upstream.address], "")
        .route("/open/*: {to: one}")
        .route("/closed/*: {respond: {status: 403}}")
        .route("/item/{id}: {to: one}")
        .route("\"~/num/[0-9]+\": {to: one}")
        .route("/search: [{match: {headers: {X-Beta: \"1\"}}, respond: {status: 202}}, {match: {query: {lang: fr}}, respond: {status: 203}}]");
    let node = Node::start(&site);
    assert_eq!(ask(&node, "GET /open/../closed/x", "").status, 403);
    assert_eq!(ask(&node, "GET /open/%2e%2e/clos%65d/x", "").status, 403);
    upstream.assert_untouched();
    assert_eq!(ask(&node, "GET /open/./a%7Eb", "").status, 200);
    let head = upstream.head();
    assert!(head.starts_with("GET /open/a~b HTTP/1.1\r\n"), "{head}");
    assert_eq!(ask(&node, "GET /item/7", "").status, 200);
    assert_eq!(ask(&node, "GET /item/7/8", "").status, 404);
    assert_eq!(ask(&node, "GET /num/12", "").status, 200);
    assert_eq!(ask(&node, "GET /num/12x", "").status, 404);
    assert_eq!(ask(&node, "GET /search", "X-Beta: 1\r\n").status, 202);
    assert_eq!(ask(&node, "GET /search?lang=fr", "").status, 203);
    assert_eq!(ask(&node, "GET /search?lang=de", "").status, 404);
}

/// The values of all fields of this name in a head.
fn values<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

const CLAIMS: &str = concat!(
    "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed.test\r\nX-Forwarded-Port: 1\r\n",
    "Forwarded: for=203.0.113.9;proto=https\r\nX-Request-Id: theirs-1\r\n",
    "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nTracestate: a=b\r\nVia: 1.0 before\r\n"
);

#[test]
fn what_an_untrusted_caller_claims_is_replaced() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let reply = ask(&node, "GET /a", CLAIMS);
    let record = node.assert_outcome("served");
    let head = upstream.head();
    let peer = record["client"].as_str().unwrap();
    assert_eq!(values(&head, "x-forwarded-for"), [peer], "{head}");
    assert_eq!(values(&head, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["api.test"]);
    assert!(values(&head, "x-forwarded-port").is_empty(), "{head}");
    let forwarded = values(&head, "forwarded").join(",");
    assert!(forwarded.contains(peer) && !forwarded.contains("203.0.113.9"), "{head}");
    let id = record["request_id"].as_str().unwrap();
    assert_eq!((values(&head, "x-request-id"), reply.field("x-request-id")), (vec![id], Some(id)));
    let trace = record["trace_id"].as_str().unwrap();
    assert_eq!(record["linked_trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(values(&head, "traceparent")[0].starts_with(&format!("00-{trace}-")), "{head}");
    assert!(values(&head, "tracestate").is_empty(), "{head}");
    assert_eq!(values(&head, "via").join(", "), "1.0 before, 1.1 ringway");
}

#[test]
fn what_a_trusted_caller_says_is_continued() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).settings("trusted: [127.0.0.0/8], name: edge"));
    let reply = ask(&node, "GET /a", CLAIMS);
    let record = node.assert_outcome("served");
    let head = upstream.head();
    assert_eq!(record["client"], "203.0.113.9");
    let chain = values(&head, "x-forwarded-for").join(", ");
    assert!(chain.starts_with("203.0.113.9, 127.0.0."), "{head}");
    assert_eq!(values(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&head, "x-forwarded-host"), ["claimed.test"]);
    assert!(values(&head, "forwarded").join(", ").starts_with("for=203.0.113.9;proto=https, for="), "{head}");
    assert_eq!(
        (values(&head, "x-request-id"), reply.field("x-request-id")),
        (vec!["theirs-1"], Some("theirs-1"))
    );
    let traceparent = values(&head, "traceparent")[0];
    assert!(traceparent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{head}");
    assert!(!traceparent.contains("00f067aa0ba902b7"), "the span is ours: {head}");
    assert_eq!(values(&head, "tracestate"), ["a=b"]);
    assert_eq!(values(&head, "via").join(", "), "1.0 before, 1.1 edge");
}

#[test]
fn hop_by_hop_fields_and_what_connection_names_stop_here() {
    let upstream = Scripted::answering(concat!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n",
        "Proxy-Authenticate: Basic\r\nX-Kept: 1\r\n\r\nok"
    ));
    let node = Node::start(&Site::to(upstream.address));
    let reply = ask(
        &node,
        "GET /a",
        "Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 1\r\nProxy-Connection: keep-alive\r\nTE: gzip, trailers\r\nProxy-Authorization: x\r\nX-Kept: 1\r\n",
    );
    for hop in ["x-hop", "keep-alive", "proxy-authenticate"] {
        assert_eq!(reply.field(hop), None, "{}", reply.head);
    }
    assert_eq!(reply.field("x-kept"), Some("1"));
    let head = upstream.head();
    for hop in ["x-mine", "keep-alive", "proxy-connection", "proxy-authorization"] {
        assert!(values(&head, hop).is_empty(), "{hop}: {head}");
    }
    assert!(!head.contains("gzip"), "{head}");
    assert_eq!(values(&head, "x-kept"), ["1"]);
}
