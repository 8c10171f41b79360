//! gRPC end to end: grpcio at both ends, in plain text and over TLS, and endpoints that do what a script says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::frames::{self, CANCEL, DATA, END_STREAM, HEADERS, RST_STREAM, endpoint, frame, head};
use crate::http2_client::{self as caller, Client};
use crate::node::{Node, also_on_epoll};
use crate::peers::{self, Running};
use crate::scripted::{Scripted, refusing};
use crate::site::Site;
use crate::tls::{Issued, issue};

also_on_epoll!(calls_of_all_forms_pass_and_refusals_are_statuses);

const PEER: &str = "grpc_peer.py";

/// A service of grpcio's, and its address.
fn service(arguments: &[&str]) -> (Running, SocketAddr) {
    let mut service = peers::start(PEER, &[&["serve"], arguments].concat());
    let port = service.next()["port"].as_u64().unwrap();
    (service, ([127, 0, 0, 1], u16::try_from(port).unwrap()).into())
}

/// Routes for everything that `grpc_peer.py call` calls; `tls` is the upstream's.
fn site(service: SocketAddr, tls: &str) -> Site {
    let keys = format!("protocol: http2{tls}");
    Site::bare()
        // A stream of messages may rest: none of these calls keeps up with any rate.
        .settings("body: {grace: 1ms, rate: 1MiB}")
        .http2()
        .upstream("one", &[service], &format!("{keys}, timeout: {{connect: 15s}}"))
        .upstream("slow", &[service], &format!("{keys}, timeout: {{connect: 15s, request: 5s}}"))
        .upstream("down", &[refusing()], "protocol: http2")
        .upstream_at("unnamed", "nowhere.invalid:1", "protocol: http2")
        .more("authenticators: {key: {api_key: {in: header, name: X-API-Key}}}")
        .more("limits: {one: {rate: 1/h, by: ip}}")
        .route("/ringway.Test/*: {to: one}")
        .route("/grpc.health.v1.Health/*: {to: one}")
        .route("/locked/*: {to: one, chain: [{authenticate: {any_of: [key]}}]}")
        .route("/limited/*: {to: one, rewrite: {prefix: /ringway.Test}, chain: [{limit: one}]}")
        .route("/down/*: {to: down}")
        .route("/unnamed/*: {to: unnamed}")
        .route("/slow/*: {to: slow, rewrite: {prefix: /ringway.Test}}")
}

/// A call that is answered, as both ends and the record see it.
struct Expected {
    told: Value,
    outcome: &'static str,
    /// The service sees that nobody waits any more.
    cancelled: bool,
}

fn served(told: Value) -> Expected {
    Expected { told, outcome: "served", cancelled: false }
}

fn refused(call: &str, code: &str, details: &str, outcome: &'static str) -> Expected {
    Expected { told: json!({"call": call, "code": code, "details": details}), outcome, cancelled: false }
}

/// Which of caller and gateway was the first to give up is not known: they watch the same clock. Where a deadline comes, so does the
/// service, whose own status is then passed on.
fn given_up(told: Value) -> Expected {
    Expected { told, outcome: "", cancelled: true }
}

fn expected() -> Vec<Expected> {
    let mut slow = refused("slow", "DEADLINE_EXCEEDED", "Upstream reply timed out", "upstream_head_timeout");
    slow.cancelled = true;
    vec![
        served(
            json!({"call": "unary", "reply": "olleh", "early": "yes", "many": "1,2", "raw": true, "left": "True"}),
        ),
        served(json!({"call": "unary without a deadline", "left": "False"})),
        refused("failing", "FAILED_PRECONDITION", "100 % wrong\u{e9}", "served"),
        refused("unknown method", "UNIMPLEMENTED", "Method not found!", "served"),
        served(json!({"call": "server streaming", "replies": ["3", "2", "1"]})),
        served(json!({"call": "client streaming", "reply": "6"})),
        served(json!({"call": "both streaming", "replies": ["0", "1", "2", "3", "4"]})),
        served(json!({"call": "large messages", "one": true, "many": [true, true]})),
        served(json!({"call": "large messages", "one": true, "many": [true, true]})),
        served(json!({"call": "health", "status": "SERVING"})),
        given_up(json!({"call": "deadline", "code": "DEADLINE_EXCEEDED"})),
        given_up(
            json!({"call": "deadline in the middle", "replies": ["first"], "code": "DEADLINE_EXCEEDED"}),
        ),
        given_up(json!({"call": "cancelled before a reply", "code": "CANCELLED"})),
        given_up(json!({"call": "cancelled in the middle", "replies": ["first"], "code": "CANCELLED"})),
        given_up(json!({"call": "cancelled while sending", "replies": ["first"], "code": "CANCELLED"})),
        refused("failing while sending", "INVALID_ARGUMENT", "no number", "served"),
        refused("refused while sending", "UNAUTHENTICATED", "Credential missing", "credential_missing"),
        refused("nowhere", "UNIMPLEMENTED", "No route", "no_route"),
        refused("locked", "UNAUTHENTICATED", "Credential missing", "credential_missing"),
        served(json!({"call": "limited", "reply": "olleh"})),
        refused("limited", "RESOURCE_EXHAUSTED", "Quota exceeded", "rate_limited"),
        refused("down", "UNAVAILABLE", "Upstream refused the connection", "connect_refused"),
        refused("unnamed", "UNAVAILABLE", "Upstream name not resolved", "name_unresolved"),
        slow,
    ]
}

/// What a service has said of calls that wait: a call may begin before it says that the one before was cancelled.
#[derive(Default)]
struct Seen(Vec<String>);

impl Seen {
    /// Listens until `count` calls had this.
    #[track_caller]
    fn until(&mut self, service: &mut Running, event: &str, count: usize) {
        while self.0.iter().filter(|seen| *seen == event).count() < count {
            let next = service.next()["event"].as_str().unwrap().to_owned();
            assert_ne!(next, "still there", "the service is told that nobody waits");
            self.0.push(next);
        }
    }
}

/// Makes all calls and compares what comes of them.
fn call_all(node: &Node, address: SocketAddr, service: &mut Running, more: &[&str]) {
    let address = address.to_string();
    let mut caller = peers::start(PEER, &[&["call", &address, "api.test"], more].concat());
    let mut told = Value::Null;
    let (mut seen, mut calls) = (Seen::default(), 0);
    for Expected { told: wanted, outcome, cancelled } in expected() {
        if cancelled {
            calls += 1;
            seen.until(service, "waiting", calls);
            if wanted["call"] == "cancelled before a reply" {
                caller.go_on();
            }
            seen.until(service, "cancelled", calls);
        }
        let record = node.record();
        if outcome.is_empty() {
            let ended = record["outcome"].as_str().unwrap();
            let given_up = ["deadline_exceeded", "client_closed", "client_reset"].contains(&ended);
            let by_the_service = wanted["code"] == "DEADLINE_EXCEEDED" && ended == "served";
            assert!(given_up || by_the_service, "{record}");
        } else {
            assert_eq!(record["outcome"], outcome, "{record}");
        }
        // Two calls are told of as one.
        if told["call"] != wanted["call"] || wanted["call"] == "limited" {
            told = caller.next();
        }
        if outcome.is_empty() {
            told.as_object_mut().unwrap().remove("details");
        }
        assert_eq!(told, wanted);
    }
}

#[test]
fn calls_of_all_forms_pass_and_refusals_are_statuses() {
    let (mut service, address) = service(&[]);
    let node = Node::start(&site(address, ""));
    call_all(&node, node.address, &mut service, &[]);
}

/// A file of a certificate or key.
fn kept(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A site whose listener speaks TLS with this certificate.
fn secured(site: Site, issued: &Issued) -> Site {
    site.only_listener("{address: \"127.0.0.2:0\", tls: one, protocols: [http1, http2]}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str())
}

#[test]
fn calls_of_all_forms_pass_with_tls_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let (down, up) = (issue(&["api.test"]), issue(&["service.test"]));
    let key = kept(&folder, "up.key", &up.key);
    let certificate = kept(&folder, "up.pem", &up.chain);
    let trusted = kept(&folder, "down.pem", &down.chain);
    let (mut service, address) = service(&[&key, &certificate]);
    let site =
        site(address, ", tls: {name: service.test, ca: \"file:up.pem\"}").file("up.pem", up.chain.as_str());
    let node = Node::start(&secured(site, &down));
    call_all(&node, node.address, &mut service, &[&trusted]);
}

#[test]
fn a_watch_over_the_health_of_a_service_is_told_of_each_change() {
    let (mut service, address) = service(&[]);
    let node = Node::start(&site(address, ""));
    let mut watch = peers::start(PEER, &["watch", &node.address.to_string(), "api.test"]);
    assert_eq!(watch.next()["status"], "SERVING");
    service.go_on();
    assert_eq!(watch.next()["status"], "NOT_SERVING");
}

#[test]
fn a_call_over_http3_has_its_trailers_and_its_refusals() {
    let upstream = endpoint(&[], |served| {
        while let Some(next) = served.next() {
            if next.ends() {
                served.send(head(next.stream, 0, BEGUN));
                served.send(frame(DATA, 0, next.stream, MESSAGE));
                served.send(head(next.stream, END_STREAM, &[("grpc-status", "0")]));
            }
        }
    });
    let issued = issue(&["api.test"]);
    let site = one(upstream.address, "")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .more("authenticators: {key: {api_key: {in: header, name: X-API-Key}}}")
        .route("/locked: {to: one, chain: [{authenticate: {any_of: [key]}}]}")
        .only_listener("{address: \"127.0.0.2:0\", protocols: [http1, http3], tls: one}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str());
    let node = Node::start(&site);
    let ca = node.state().join("a.pem").display().to_string();
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    let call = |path| peers::run("grpc3.py", &[&ip, &port, &ca, path]).remove(0);
    let served = call("/s/M");
    assert_eq!(
        (&served["body"], &served["trailers"]),
        (&json!("00000000026869"), &json!([{"grpc-status": "0"}]))
    );
    node.assert_outcome("served");
    let refused = call("/locked");
    assert_eq!(
        (&refused["status"], &refused["body"], &refused["head"]["grpc-status"]),
        (&json!(200), &json!(""), &json!("16"))
    );
    node.assert_outcome("credential_missing");
}

/// A call's head: a POST that content follows.
fn call_head(stream: u32, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = [&[("content-type", "application/grpc+proto"), ("te", "trailers")], more].concat();
    caller::frame(HEADERS, caller::END_HEADERS, stream, caller::request("POST", path, &fields))
}

const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";
const BEGUN: &[(&str, &str)] = &[(":status", "200"), ("content-type", "application/grpc+proto")];

/// What frame by frame endpoints tell of the streams that they see reset: the code.
fn told_of_resets(begin: bool) -> (Scripted, std::sync::mpsc::Receiver<u32>) {
    let (told, resets) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        while let Some(next) = served.next() {
            match next.kind {
                HEADERS if begin => {
                    served.send(head(next.stream, 0, BEGUN));
                    served.send(frame(DATA, 0, next.stream, MESSAGE));
                }
                RST_STREAM => told.lock().unwrap().send(next.code()).unwrap(),
                _ => {}
            }
        }
    });
    (upstream, resets)
}

fn one(upstream: SocketAddr, keys: &str) -> Site {
    Site::bare()
        .http2()
        .upstream("one", &[upstream], &format!("protocol: http2{keys}"))
        .route("/*: {to: one}")
}

/// DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and UNAVAILABLE as they are written: a length, and the number.
const STATUS_4: &[u8] = b"\x014";
const STATUS_8: &[u8] = b"\x018";
const STATUS_14: &[u8] = b"\x0214";

/// Whether a field section has this `grpc-status`.
fn has_status(section: &caller::Frame, status: &[u8]) -> bool {
    let field = [&b"grpc-status"[..], status].concat();
    section.payload.windows(field.len()).any(|window| window == field)
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(50);

#[test]
fn a_deadline_that_comes_is_a_status_before_a_reply_and_malformed_ones_are_refused() {
    let (upstream, resets) = told_of_resets(false);
    let node = Node::start(&one(upstream.address, ""));
    let ended = |timeout: &str, status: &str, outcome: &str| {
        let reply = node.connect().ask(format!(
            "POST /s/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc+proto\r\nGrpc-Timeout: {timeout}\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some(status)), "{timeout}");
        assert_eq!(reply.field("content-type"), Some("application/grpc+proto"));
        node.assert_outcome(outcome)
    };
    ended("0S", "4", "deadline_exceeded");
    ended("soon", "13", "malformed_head");
    assert!(resets.try_recv().is_err(), "they never got there");
    // Where the machine stands still, a deadline may come before its call was sent.
    assert!((0..20).any(|_| {
        let record = ended("200m", "4", "deadline_exceeded");
        let waited = record["own_us"].as_u64().unwrap() < 100_000;
        resets.recv_timeout(PATIENCE / 10) == Ok(CANCEL) && waited
    }));
}

#[test]
fn the_upstream_is_told_what_is_left_of_a_deadline() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    node.connect().ask(
        "POST /s/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc\r\nGrpc-Timeout: 60S\r\nContent-Length: 0\r\n\r\n",
    );
    let head = upstream.head().to_ascii_lowercase();
    let told: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("grpc-timeout: ")).collect();
    assert_eq!(told.len(), 1, "{head}");
    let left_us: u64 = told[0].strip_suffix('u').expect("in microseconds").parse().unwrap();
    assert!((30_000_000..60_000_000).contains(&left_us), "{left_us}");
}

#[test]
fn a_deadline_in_the_middle_of_a_reply_is_told_in_its_trailers_and_cancels_the_upstreams_work() {
    let (upstream, resets) = told_of_resets(true);
    let node = Node::start(&one(upstream.address, ""));
    let mut client = Client::connect(node.address);
    // Where the machine stands still, a deadline may come before the reply has begun.
    assert!((0..20).any(|call| {
        client.send_bytes(call_head(2 * call + 1, "/s/M", &[("grpc-timeout", "300m")]));
        let mut frames = vec![client.next_of_stream()];
        while !frames.last().unwrap().ends() {
            frames.push(client.next_of_stream());
        }
        node.assert_outcome("deadline_exceeded");
        let trailers = frames.pop().unwrap();
        assert!(trailers.kind == HEADERS && has_status(&trailers, STATUS_4), "{trailers:?}");
        let [head, message] = &frames[..] else { return false };
        assert_eq!((head.kind, head.status()), (HEADERS, 200));
        assert_eq!((message.kind, &message.payload[..]), (DATA, MESSAGE));
        true
    }));
    assert_eq!(resets.recv_timeout(PATIENCE), Ok(CANCEL));
}

#[test]
fn a_reply_that_its_upstream_breaks_off_ends_with_a_status() {
    let upstream = endpoint(&[], |served| {
        while let Some(next) = served.next() {
            if next.kind == HEADERS {
                served.send(head(next.stream, 0, BEGUN));
                served.send(frame(DATA, 0, next.stream, &MESSAGE[..6]));
                served.send(frames::reset(next.stream, 2));
            }
        }
    });
    let node = Node::start(&one(upstream.address, ""));
    let mut client = Client::connect(node.address);
    client.send_bytes(call_head(1, "/s/M", &[]));
    assert_eq!(client.next_of_stream().status(), 200);
    let mut last = client.next_of_stream();
    if last.kind == DATA {
        last = client.next_of_stream();
    }
    assert!(last.kind == HEADERS && last.ends() && has_status(&last, STATUS_14), "{last:?}");
    node.assert_outcome("upstream_body_short");
}

#[test]
fn calls_that_are_given_up_one_after_the_other_break_no_call_of_others() {
    let (told, resting) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let cancelled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&cancelled);
    let upstream = endpoint(&[], move |served| {
        let mut first = 0;
        while let Some(next) = served.next() {
            match next.kind {
                HEADERS if served.connection.number == 0 && first == 0 => {
                    first = next.stream;
                    served.send(head(first, 0, BEGUN));
                    told.lock().unwrap().send(()).unwrap();
                }
                // Its content ends when the caller's does.
                DATA if next.stream == first && next.ends() => {
                    served.send(head(first, END_STREAM, &[("grpc-status", "0")]));
                }
                // What was cancelled is answered all the same: it was on its way.
                RST_STREAM => {
                    counted.fetch_add(1, Ordering::Relaxed);
                    served.send(head(next.stream, 0, BEGUN));
                    served.send(head(next.stream, END_STREAM, &[("grpc-status", "0")]));
                }
                _ => {}
            }
        }
    });
    let node = Node::start(&one(upstream.address, ""));
    let mut client = Client::connect(node.address);
    client.send_bytes(call_head(1, "/s/M", &[]));
    resting.recv_timeout(PATIENCE).unwrap();
    let mut hasty = node.connect();
    // On a busy machine many a deadline comes before its call has been sent.
    while cancelled.load(Ordering::Relaxed) < 1500 {
        let reply = hasty.ask(
            "POST /s/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc\r\nGrpc-Timeout: 1m\r\nContent-Length: 0\r\n\r\n",
        );
        assert_eq!(reply.field("grpc-status"), Some("4"));
    }
    client.send(DATA, END_STREAM, 1, MESSAGE);
    assert_eq!(client.next_of_stream().status(), 200);
    let last = client.next_of_stream();
    assert!(last.kind == HEADERS && last.ends() && !has_status(&last, STATUS_14), "{last:?}");
    let opened = node.metric("ringway_upstream_connections_opened_total", "");
    assert!(opened >= 2.0, "{opened}: one for each 256 calls, and those that nobody waited for any more");
}

#[test]
fn who_waits_for_a_connection_that_another_gives_up_makes_the_next_one_alone() {
    // Two connections say nothing: those of callers who do not wait for long.
    let upstream = Scripted::start(|connection| {
        let Some(_) = connection.until(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") else { return };
        if connection.number < 2 {
            while connection.some().is_some() {}
            return;
        }
        connection.send(frame(frames::SETTINGS, 0, 0, &[]));
        let mut served = frames::Served::over(connection);
        while let Some(next) = served.next() {
            if next.ends() {
                served.send(head(next.stream, 0, BEGUN));
                served.send(head(next.stream, END_STREAM, &[("grpc-status", "0")]));
            }
        }
    });
    let node = Node::start(&one(upstream.address, ", timeout: {connect: 15s}"));
    let mut client = Client::connect(node.address);
    let calls = [(1, "1S"), (3, "10S"), (5, "20S")];
    let calls = calls.map(|(stream, timeout)| {
        let head = call_head(stream, "/s/M", &[("grpc-timeout", timeout)]);
        [head, caller::frame(DATA, END_STREAM, stream, MESSAGE)].concat()
    });
    client.send_bytes(calls.concat());
    let given_up = client.next_of_stream();
    assert!(given_up.stream == 1 && has_status(&given_up, STATUS_4), "{given_up:?}");
    let served = client.next_of_stream();
    assert_eq!(
        (served.stream, served.status(), served.ends()),
        (5, 200, false),
        "before the second gives up"
    );
}

#[test]
fn messages_beyond_the_limit_end_a_call_with_a_status_before_and_in_its_reply() {
    for begin in [false, true] {
        let (upstream, resets) = told_of_resets(begin);
        let node = Node::start(
            &Site::bare()
                .http2()
                .upstream("one", &[upstream.address], "protocol: http2")
                .route("/*: {to: one, body: 20KiB}"),
        );
        let mut client = Client::connect(node.address);
        client.send_bytes(call_head(1, "/s/M", &[]));
        if begin {
            assert_eq!(client.next_of_stream().status(), 200);
            assert_eq!(client.next_of_stream().payload, MESSAGE);
        }
        for _ in 0..2 {
            client.send(DATA, 0, 1, vec![7; 16 * 1024]);
        }
        let last = client.next_of_stream();
        assert!(last.kind == HEADERS && last.ends() && has_status(&last, STATUS_8), "{begin}: {last:?}");
        assert_eq!(resets.recv_timeout(PATIENCE), Ok(CANCEL));
        node.assert_outcome("body_too_large");
    }
}

#[test]
fn a_stream_of_messages_rests_where_another_reply_is_too_silent() {
    // Its time is that of a plain reply, which began later and is cut for its silence.
    let upstream = endpoint(&[], |served| {
        let call = served.request().unwrap();
        served.send(head(call, 0, BEGUN));
        served.send(frame(DATA, 0, call, MESSAGE));
        let plain = served.request().unwrap();
        served.send(head(plain, 0, &[(":status", "200")]));
        while served.next().is_some_and(|next| next.kind != RST_STREAM) {}
        served.send(frame(DATA, 0, call, MESSAGE));
        served.send(head(call, END_STREAM, &[("grpc-status", "0")]));
        while served.next().is_some() {}
    });
    let node = Node::start(&one(upstream.address, ", timeout: {idle: 300ms}"));
    let mut client = Client::connect(node.address);
    client.send_bytes(call_head(1, "/s/M", &[]));
    assert_eq!(client.next_of_stream().status(), 200);
    assert_eq!(client.next_of_stream().payload, MESSAGE);
    client.send(HEADERS, caller::WHOLE, 3, caller::get("/a"));
    let next = client.next_of_stream();
    assert_eq!((next.stream, next.status()), (3, 200));
    let (mut cut, mut ended) = (false, false);
    while !(cut && ended) {
        let next = client.next_of_stream();
        match (next.stream, next.kind) {
            (3, RST_STREAM) => cut = true,
            (1, DATA) => assert_eq!(next.payload, MESSAGE),
            (1, HEADERS) => ended = next.ends() && next.holds("grpc-status"),
            _ => panic!("{next:?}"),
        }
    }
    let mut outcomes =
        [node.record(), node.record()].map(|record| record["outcome"].as_str().unwrap().to_owned());
    outcomes.sort();
    assert_eq!(outcomes, ["served", "upstream_idle_timeout"]);
}

#[test]
fn a_media_type_buys_no_patience_where_grpc_cannot_be() {
    let upstream = Scripted::ok();
    let silent = endpoint(&[], |served| while served.next().is_some() {});
    let site = Site::to(upstream.address)
        .http2()
        .settings("body: {grace: 1ms, rate: 1MiB}")
        .upstream("two", &[silent.address], "protocol: http2")
        .route("/two/*: {to: two}");
    let node = Node::start(&site);
    // An upstream of HTTP/1.1.
    let mut client = Client::connect(node.address);
    client.send_bytes(call_head(1, "/s/M", &[]));
    let refused = client.next_of_stream();
    assert!(refused.ends() && has_status(&refused, STATUS_4), "{refused:?}");
    node.assert_outcome("body_timeout");
    // A caller of HTTP/1.1.
    let mut client = node.connect();
    client.send("POST /two/a HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(client.reply().field("grpc-status"), Some("4"));
    node.assert_outcome("body_timeout");
}
