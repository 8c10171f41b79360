//! API keys, rate limits, edits of fields and shadow mode, as callers and upstreams see them.

use crate::node::Node;
use crate::raw::Reply;
use crate::scripted::Scripted;
use crate::site::Site;

const KEYS: &str = concat!(
    "authenticators: {keys: {api_key: {in: header, name: X-API-Key}}}\n",
    "applications:\n  acme: {credentials: [{api_key: \"file:good.key\"}, {api_key: \"file:old.key\", expires: 2020-01-31}]}"
);
const GOOD: &str = "0123456789abcdef-good";
const OLD: &str = "0123456789abcdef-old";

fn guarded(upstream: &Scripted, chain: &str) -> Site {
    Site::bare()
        .upstream("one", &[upstream.address], "")
        .route(&format!("/*: {{to: one, chain: [{chain}]}}"))
        .more(KEYS)
        .file("good.key", GOOD)
        .file("old.key", OLD)
}

fn ask(node: &Node, fields: &str) -> Reply {
    node.connect().ask(format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"))
}

#[test]
fn a_request_without_a_valid_key_is_401_with_a_challenge() {
    let upstream = Scripted::ok();
    let node = Node::start(&guarded(&upstream, "{authenticate: keys}"));
    let rows = [
        (String::new(), "credential_missing"),
        ("X-API-Key: 0123456789abcdef-wrong\r\n".to_owned(), "credential_invalid"),
        (format!("X-API-Key: {OLD}\r\n"), "credential_expired"),
    ];
    for (fields, outcome) in rows {
        let reply = ask(&node, &fields);
        assert_eq!(reply.status, 401, "{outcome}");
        assert_eq!(reply.field("www-authenticate"), Some("ApiKey realm=\"keys\""), "{}", reply.head);
        assert!(!reply.text().contains("0123456789"), "no key is ever repeated: {}", reply.text());
        let record = node.assert_outcome(outcome);
        assert_eq!(record["stage"], "authenticate", "{record}");
        assert!(!record.to_string().contains("0123456789abcdef"), "{record}");
    }
    upstream.assert_untouched();
    assert_eq!(ask(&node, &format!("X-API-Key: {GOOD}\r\n")).status, 200);
    let record = node.assert_outcome("served");
    assert!(record["application"].is_string() && record["credential"].is_string(), "{record}");
    assert!(!upstream.head().contains(GOOD), "the key is hidden from the upstream");
}

#[test]
fn an_application_that_is_known_and_not_allowed_is_403() {
    let other = "0123456789abcdef-other";
    let upstream = Scripted::ok();
    let chain = "{authenticate: {any_of: [keys], applications: [beta]}}";
    let node = Node::start(
        &guarded(&upstream, chain)
            .route(&format!("/shadow: {{to: one, chain: [{}]}}", chain.replace("}}", "}, mode: shadow}")))
            .route(&format!("/off: {{to: one, chain: [{}]}}", chain.replace("}}", "}, mode: \"off\"}")))
            .more("  beta: {credentials: [{api_key: \"file:other.key\"}]}")
            .file("other.key", other),
    );
    let reply = ask(&node, &format!("X-API-Key: {GOOD}\r\n"));
    assert_eq!((reply.status, reply.field("www-authenticate")), (403, None), "{}", reply.head);
    assert_eq!(reply.field("content-type"), Some("application/problem+json"), "{}", reply.head);
    assert!(reply.text().contains("urn:ringway:problem/forbidden"), "{}", reply.text());
    let record = node.assert_outcome("forbidden");
    assert_eq!((&record["stage"], &record["status"]), (&"authenticate".into(), &403.into()), "{record}");
    assert!(record["application"].is_string(), "whom to let in is known: {record}");
    upstream.assert_untouched();

    assert_eq!(ask(&node, &format!("X-API-Key: {other}\r\n")).status, 200);
    node.assert_outcome("served");
    assert_eq!(ask(&node, "").status, 401, "who is unknown is asked who it is");
    node.assert_outcome("credential_missing");

    let to = |path: &str| {
        node.connect().ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nX-API-Key: {GOOD}\r\n\r\n"))
    };
    assert_eq!(to("/shadow").status, 200);
    let record = node.assert_outcome("served");
    assert!(record["shadow_refused"].to_string().contains("authenticate"), "{record}");
    assert_eq!(to("/off").status, 200);
    let record = node.assert_outcome("served");
    assert!(record.get("shadow_refused").is_none(), "{record}");
}

#[test]
fn requests_beyond_the_rate_are_429_and_say_when_to_come_back() {
    let upstream = Scripted::ok();
    let site = guarded(&upstream, "{limit: slow}").more("limits: {slow: {rate: 2/h, by: ip}}");
    let node = Node::start_with(&site, 2);
    for left in [1, 0] {
        let reply = ask(&node, "");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.field("ratelimit-policy"), Some("\"slow\";q=2;w=3600"), "{}", reply.head);
        let counted = reply.field("ratelimit").unwrap();
        assert!(counted.starts_with(&format!("\"slow\";r={left};t=")), "{}", reply.head);
        node.assert_outcome("served");
    }
    let reply = ask(&node, "");
    assert_eq!(reply.status, 429);
    let seconds: u64 = reply.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert!(reply.field("ratelimit").unwrap().starts_with("\"slow\";r=0;"), "{}", reply.head);
    let record = node.assert_outcome("rate_limited");
    assert_eq!((&record["limit"], &record["stage"]), (&"slow".into(), &"limit".into()), "{record}");
}

#[test]
fn a_policy_in_shadow_mode_decides_and_counts_and_does_not_act() {
    let upstream = Scripted::ok();
    let node = Node::start(&guarded(&upstream, "{authenticate: keys, mode: shadow}"));
    let reply = ask(&node, "");
    assert_eq!((reply.status, reply.field("www-authenticate")), (200, None));
    let record = node.assert_outcome("served");
    assert!(record["shadow_refused"].to_string().contains("authenticate"), "{record}");
    node.wait_metric("ringway_requests_shadow_refused_total", "", |refused| refused == 1.0);
    node.apply(&guarded(&upstream, "{authenticate: keys, mode: off}"));
    assert_eq!(ask(&node, "").status, 200);
    assert!(node.assert_outcome("served").get("shadow_refused").is_none());
    node.apply(&guarded(&upstream, "{authenticate: keys}"));
    assert_eq!(ask(&node, "").status, 401);
}

#[test]
fn fields_are_edited_in_both_directions() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: upstream\r\nX-Took: 3\r\nVary: Accept\r\n\r\nok",
    );
    let chain = concat!(
        "{headers: {request: {set: {X-Edge: par1}, remove: [X-Debug], rename: {X-User: X-Customer}, append: {X-Many: b}}, ",
        "response: {remove: [Server], rename: {X-Took: Server-Timing}, set: {X-Frame-Options: DENY}, append: {Vary: Origin}}}}"
    );
    let node = Node::start(&guarded(&upstream, chain));
    let reply = ask(&node, "X-Edge: forged\r\nX-Edge: twice\r\nX-Debug: 1\r\nX-User: ann\r\nX-Many: a\r\n");
    let head = upstream.head().to_ascii_lowercase();
    assert_eq!(head.matches("x-edge: ").count(), 1, "{head}");
    assert!(head.contains("x-edge: par1\r\n") && head.contains("x-customer: ann\r\n"), "{head}");
    assert!(!head.contains("x-debug") && !head.contains("x-user"), "{head}");
    assert!(head.contains("x-many: a\r\n") && head.contains("x-many: b\r\n"), "{head}");
    assert_eq!((reply.field("server"), reply.field("x-took")), (None, None), "{}", reply.head);
    assert_eq!(reply.field("server-timing"), Some("3"));
    assert_eq!(reply.field("x-frame-options"), Some("DENY"));
    let reply_head = reply.head.to_ascii_lowercase();
    assert!(reply_head.contains("vary: accept\r\n") && reply_head.contains("vary: origin"), "{reply_head}");
    node.assert_outcome("served");
}

/// CGI and its heirs know `X-Edge` and `X_Edge` by one name: what the chain says of the one, a caller could undo by the other.
#[test]
fn a_field_that_a_chain_sets_removes_or_hides_passes_in_no_disguise() {
    let upstream = Scripted::ok();
    let chain = concat!(
        "{authenticate: {any_of: [partner]}}, {headers: {request: ",
        "{set: {X-Edge: par1, User-Agent: ours, Under_Score: kept}, remove: [X-Debug-Me], append: {X-Many: b}}}}"
    );
    let site = Site::bare()
        .http2()
        .upstream("one", &[upstream.address], "")
        .route(&format!("/*: {{to: one, chain: [{chain}]}}"))
        .more(&KEYS.replace("keys: ", "partner: ").replace("X-API-Key", "X-Partner"))
        .file("good.key", GOOD)
        .file("old.key", OLD);
    let node = Node::start(&site);
    let forged = ["X_Edge", "x_edge", "User_Agent", "X-Debug_Me", "x_debug_me", "X_Partner", "Under_Score"]
        .map(|name| format!("{name}: forged\r\n"));
    let passed = "X_Many: a\r\nX_Edges: b\r\nX_Edg: c\r\n";
    let reply = ask(&node, &format!("X-Partner: {GOOD}\r\n{}{passed}", forged.concat()));
    assert_eq!(reply.status, 200, "{}", reply.head);
    let head = upstream.head();
    assert!(!head.contains("forged") && !head.contains(GOOD), "{head}");
    for line in ["x-edge: par1", "user-agent: ours", "under_score: kept", "x-many: b"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(head.contains(passed), "others pass as they came: {head}");
    node.assert_outcome("served");
}
