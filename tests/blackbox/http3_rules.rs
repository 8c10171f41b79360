//! The rules of HTTP/3 from outside (RFC 9114, RFC 9204, RFC 9110): what a client may send, what it is told otherwise, and what
//! becomes of the others. QUIC is aioquic's; what is written on its streams is each test's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http3::{ca, over_http3, resident_kib};
use crate::node::{Node, also_on_epoll};
use crate::peers;
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(
    content_and_trailers_go_both_ways_and_interim_replies_first
    a_drain_says_goaway_twice_and_serves_what_is_open
    requests_that_are_reset_at_once_end_their_connection_and_no_other
);

/// Codes of RFC 9114 §8.1 and RFC 9204 §6.
mod code {
    pub(super) const NO_ERROR: u64 = 0x100;
    pub(super) const STREAM_CREATION: u64 = 0x103;
    pub(super) const CLOSED_CRITICAL_STREAM: u64 = 0x104;
    pub(super) const FRAME_UNEXPECTED: u64 = 0x105;
    pub(super) const FRAME: u64 = 0x106;
    pub(super) const EXCESSIVE_LOAD: u64 = 0x107;
    pub(super) const ID: u64 = 0x108;
    pub(super) const SETTINGS: u64 = 0x109;
    pub(super) const MISSING_SETTINGS: u64 = 0x10a;
    pub(super) const REQUEST_REJECTED: u64 = 0x10b;
    pub(super) const REQUEST_CANCELLED: u64 = 0x10c;
    pub(super) const REQUEST_INCOMPLETE: u64 = 0x10d;
    pub(super) const MESSAGE: u64 = 0x10e;
    pub(super) const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
    pub(super) const QPACK_ENCODER_STREAM: u64 = 0x201;
    pub(super) const QPACK_DECODER_STREAM: u64 = 0x202;
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// A HEADERS frame of these fields, as they stand.
pub(crate) fn fields(fields: Fields<'_>) -> Value {
    json!(["headers", fields])
}

/// The head of a request to `api.test`.
pub(crate) fn head(method: &str, path: &str, more: Fields<'_>) -> Value {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "api.test"), (":path", path)];
    fields(&[&pseudo[..], more].concat())
}

/// These bytes, in hexadecimal digits.
fn raw(hex: &str) -> Value {
    json!(["raw", hex.replace(' ', "")])
}

/// Opens a request stream, writes these frames, and waits for its end.
fn ask(stream: &str, frames: &[Value]) -> Vec<Value> {
    let sent = json!({"send": stream, "frames": frames, "end": true});
    vec![json!({"open": stream}), sent, json!({"end": stream})]
}

/// Opens a unidirectional stream and writes these bytes.
fn uni(stream: &str, hex: &str) -> Vec<Value> {
    vec![json!({"open": stream, "uni": true}), json!({"send": stream, "frames": [raw(hex)]})]
}

fn arguments(node: &Node, scripts: &[Vec<Value>]) -> Vec<String> {
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    vec![ip, port, ca(node), "api.test".to_owned(), json!(scripts).to_string()]
}

/// Plays scripts, each on a connection of its own: what each said at its end.
#[track_caller]
fn play_all(node: &Node, scripts: &[Vec<Value>]) -> Vec<Value> {
    let arguments = arguments(node, scripts);
    peers::run("h3_script.py", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Plays one script: what it said at its end.
#[track_caller]
pub(crate) fn play(node: &Node, script: Vec<Value>) -> Value {
    play_all(node, &[script]).pop().unwrap()
}

/// Starts playing scripts.
pub(crate) fn begin(node: &Node, scripts: &[Vec<Value>]) -> peers::Running {
    let arguments = arguments(node, scripts);
    peers::start("h3_script.py", &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A fixed reply at `/fixed`, everything else to an endpoint.
fn site(upstream: &Scripted) -> Site {
    over_http3(Site::to(upstream.address)).route("/fixed: {respond: {status: 200, body: hello}}")
}

/// A request that is always answered.
fn good(stream: &str) -> Vec<Value> {
    ask(stream, &[head("GET", "/fixed", &[])])
}

#[track_caller]
fn assert_good(told: &Value, stream: &str) {
    let seen = &told["streams"][stream];
    assert_eq!(
        (&seen["status"], &seen["text"], &seen["ended"]),
        (&json!(200), &json!("hello"), &json!(true)),
        "{told}"
    );
}

/// Others are served, before a client's patience ends.
#[track_caller]
fn assert_others_go_on(node: &Node) {
    assert_good(&play(node, good("b")), "b");
}

#[test]
fn content_and_trailers_go_both_ways_and_interim_replies_first() {
    let upstream = Scripted::start(|connection| {
        connection.head();
        let content = String::from_utf8(connection.until(b"\r\n\r\n").unwrap()).unwrap();
        assert!(content.ends_with("\r\n0\r\nx-up: 1\r\n\r\n"), "{content}");
        connection.send("HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n");
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nX-Cased: V\r\n\r\n");
        connection.send("2\r\nok\r\n0\r\nX-Sum: 9\r\nContent-Length: 5\r\n\r\n");
    });
    let node = Node::start(&site(&upstream));
    let frames = [
        head("POST", "/up", &[("te", "trailers"), ("cookie", "a=1"), ("cookie", "b=2")]),
        json!(["data", "one"]),
        json!(["data", "two"]),
        fields(&[("x-up", "1")]),
    ];
    let told = play(&node, ask("a", &frames));
    let seen = &told["streams"]["a"];
    assert_eq!((&seen["statuses"], &seen["text"]), (&json!([103, 200]), &json!("ok")), "{told}");
    assert_eq!((&seen["trailers"], &seen["ended"]), (&json!([["x-sum", "9"]]), &json!(true)), "{told}");
    assert_eq!(seen["fields"]["x-cased"], "V", "{told}");
    for gone in ["transfer-encoding", "connection", "keep-alive", "x-hop"] {
        assert!(seen["fields"].get(gone).is_none(), "{gone}: {told}");
    }
    let asked = upstream.head().to_ascii_lowercase();
    assert!(
        asked.contains("\r\ntransfer-encoding: chunked\r\n") && asked.contains("\r\ncookie: a=1; b=2\r\n"),
        "{asked}"
    );
    assert!(asked.contains("\r\nvia: 3 "), "{asked}");
    node.assert_outcome("served");
}

#[test]
fn replies_that_have_no_content_have_none() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(match head.split(' ').nth(1).unwrap() {
                "/none" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/same" => "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n",
            });
        }
    });
    let node = Node::start(&site(&upstream));
    let script = [
        ask("head", &[head("HEAD", "/", &[])]),
        ask("own", &[head("HEAD", "/fixed", &[])]),
        ask("none", &[head("GET", "/none", &[])]),
        ask("same", &[head("GET", "/same", &[])]),
    ];
    let told = play(&node, script.concat());
    for (stream, status, length) in [
        ("head", 200, json!("77")),
        ("own", 200, json!("5")),
        ("none", 204, Value::Null),
        ("same", 304, json!("5")),
    ] {
        let seen = &told["streams"][stream];
        assert_eq!(
            (&seen["status"], &seen["fields"]["content-length"]),
            (&json!(status), &length),
            "{stream}: {told}"
        );
        assert_eq!((&seen["length"], &seen["ended"]), (&json!(0), &json!(true)), "{stream}: {told}");
    }
}

#[test]
fn a_request_whose_end_comes_by_itself_is_forwarded_without_content() {
    let upstream = Scripted::start(|connection| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET / ") && head.to_ascii_lowercase().contains("transfer-encoding") {
                assert_eq!(connection.until(b"\r\n\r\n").unwrap(), b"0\r\n\r\n");
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let node = Node::start(&site(&upstream));
    // The end is waited for, but not for long: on a busy machine it may take some attempts until it comes in time.
    let bare = (0..100).any(|_| {
        let script = vec![
            json!({"open": "a"}),
            json!({"send": "a", "frames": [head("GET", "/", &[])]}),
            json!({"send": "a", "frames": [], "end": true}),
            json!({"end": "a"}),
        ];
        assert_eq!(play(&node, script)["streams"]["a"]["text"], "ok");
        !upstream.head().to_ascii_lowercase().contains("transfer-encoding")
    });
    assert!(bare);
    // One that never comes holds nothing up.
    let script = vec![
        json!({"open": "a"}),
        json!({"send": "a", "frames": [head("GET", "/open", &[])]}),
        json!({"head": "a"}),
    ];
    assert_eq!(play(&node, script)["streams"]["a"]["status"], 200);
}

/// Heads that are none, and how their requests are recorded.
fn malformed_heads() -> Vec<(Value, &'static str)> {
    let pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", "api.test"), (":path", "/")];
    let without =
        |name: &str| fields(&pseudo.iter().copied().filter(|pair| pair.0 != name).collect::<Vec<_>>());
    let with = |more: Fields<'_>| fields(&[&pseudo[..], more].concat());
    let instead = |name: &'static str, value: &'static str| {
        fields(&pseudo.map(|pair| if pair.0 == name { (name, value) } else { pair }))
    };
    vec![
        (with(&[("X-Upper", "b")]), "malformed_head"),
        (with(&[("connection", "close")]), "malformed_head"),
        (with(&[("keep-alive", "5")]), "malformed_head"),
        (with(&[("proxy-connection", "close")]), "malformed_head"),
        (with(&[("transfer-encoding", "chunked")]), "malformed_head"),
        (with(&[("upgrade", "websocket")]), "malformed_head"),
        (with(&[("te", "gzip")]), "malformed_head"),
        (with(&[("x a", "b")]), "malformed_head"),
        (with(&[("", "b")]), "malformed_head"),
        (with(&[("x-a", "b\r\nc: d")]), "malformed_head"),
        (with(&[("x-a", "b\0")]), "malformed_head"),
        (with(&[("x-a", " b")]), "malformed_head"),
        (with(&[(":path", "/b")]), "malformed_head"),
        (with(&[(":method", "GET")]), "malformed_head"),
        (with(&[(":scheme", "https")]), "malformed_head"),
        (with(&[(":authority", "api.test")]), "malformed_head"),
        (with(&[("x-a", "b"), (":path", "/")]), "malformed_head"),
        (with(&[(":status", "200")]), "malformed_head"),
        (with(&[(":unknown", "x")]), "malformed_head"),
        (with(&[(":protocol", "websocket")]), "malformed_head"),
        (without(":method"), "malformed_head"),
        (without(":scheme"), "malformed_head"),
        (without(":path"), "malformed_head"),
        (instead(":path", ""), "malformed_head"),
        (instead(":path", "a"), "malformed_head"),
        (instead(":path", "/a b"), "malformed_head"),
        (instead(":path", "*"), "malformed_target"),
        (without(":authority"), "invalid_host"),
        (instead(":authority", ""), "invalid_host"),
        (instead(":authority", "user@api.test"), "invalid_host"),
        (with(&[("host", "other.test")]), "invalid_host"),
        (with(&[("host", "api.test"), ("host", "api.test")]), "invalid_host"),
        (with(&[("content-length", "4")]), "framing_conflict"),
        (with(&[("content-length", "+0")]), "framing_conflict"),
        (with(&[("content-length", "0"), ("content-length", "1")]), "framing_conflict"),
    ]
}

#[test]
fn malformed_heads_are_reset_and_recorded_and_reach_nobody() {
    let upstream = Scripted::ok();
    let node = Node::start(&site(&upstream));
    let cases = malformed_heads();
    let mut script = Vec::new();
    for (at, (head, _)) in cases.iter().enumerate() {
        script.extend(ask(&format!("{at}a"), std::slice::from_ref(head)));
    }
    script.extend(good("b"));
    let told = play(&node, script);
    for (at, (head, outcome)) in cases.iter().enumerate() {
        let seen = &told["streams"][&format!("{at}a")];
        assert_eq!(
            (&seen["reset"], &seen["statuses"]),
            (&json!(code::MESSAGE), &json!([])),
            "{head}: {seen}"
        );
        let record = node.record();
        assert_eq!(
            (&record["outcome"], &record["protocol"], &record["generation"]),
            (&json!(outcome), &json!("h3"), &json!(1)),
            "{head}: {record}"
        );
        assert_ne!(record["detail"], "", "{record}");
    }
    assert_good(&told, "b");
    assert_eq!(told["closed"], Value::Null, "the connection goes on");
    upstream.assert_untouched();
}

#[test]
fn content_that_contradicts_its_length_or_is_no_message_is_reset_and_recorded() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&site(&upstream));
    let four = json!(["data", "four"]);
    let of_length = |path, length| head("POST", path, &[("content-length", length)]);
    let cases = [
        (vec![of_length("/", "5"), four.clone()], "framing_conflict"),
        (vec![of_length("/", "3"), four.clone()], "framing_conflict"),
        (vec![of_length("/fixed", "5"), four.clone()], "framing_conflict"),
        (vec![of_length("/fixed", "3"), four.clone()], "framing_conflict"),
        (vec![head("POST", "/", &[]), four.clone(), fields(&[(":path", "/")])], "malformed_trailer"),
        (vec![head("POST", "/", &[]), four.clone(), fields(&[("X-Upper", "b")])], "malformed_trailer"),
        (vec![head("POST", "/", &[]), four.clone(), fields(&[("connection", "close")])], "malformed_trailer"),
    ];
    for (frames, outcome) in cases {
        let told = play(&node, [ask("a", &frames), good("b")].concat());
        let seen = &told["streams"]["a"];
        assert_eq!(
            (&seen["reset"], &seen["statuses"]),
            (&json!(code::MESSAGE), &json!([])),
            "{frames:?}: {told}"
        );
        assert_good(&told, "b");
        let record = node.assert_outcome(outcome);
        assert_ne!(record["detail"], "", "{record}");
        node.assert_outcome("served");
    }
    // The end comes a moment later, when an upstream has been asked already.
    let script = [
        vec![
            json!({"open": "a"}),
            json!({"send": "a", "frames": [of_length("/late", "5"), four]}),
            json!({"say": "sent"}),
        ],
        vec![json!({"hear": true}), json!({"send": "a", "frames": [], "end": true}), json!({"end": "a"})],
    ];
    let mut client = begin(&node, &[script.concat()]);
    assert_eq!(client.next()["said"], "sent");
    while !upstream_head_is(&node) {}
    client.go_on();
    let told = client.next();
    assert_eq!(told["streams"]["a"]["reset"], code::MESSAGE, "{told}");
    node.assert_outcome("framing_conflict");
}

/// Whether a request has begun.
fn upstream_head_is(node: &Node) -> bool {
    node.metric("ringway_requests_in_flight", "") == 1.0
}

/// What closes a connection, and with which code.
fn faults() -> Vec<(&'static str, Vec<Value>, u64)> {
    let on_control = |frames: &str| uni("c", &format!("000400 {frames}"));
    let get = head("GET", "/fixed", &[]);
    let on_request = |frames: &[Value]| ask("a", frames);
    let after_head = |hex: &str| ask("a", &[head("POST", "/", &[]), raw(hex)]);
    let ended = |hex: &str| [uni("c", hex), vec![json!({"send": "c", "frames": [], "end": true})]].concat();
    // A reset takes back what was not read yet: the type of the stream is, once a request was served.
    let reset =
        [on_control(""), good("b"), vec![json!({"reset": "c", "code": code::REQUEST_CANCELLED})]].concat();
    let twice = |hex: &str| [uni("c", hex), uni("d", hex)].concat();
    vec![
        ("no SETTINGS", uni("c", "00 070100"), code::MISSING_SETTINGS),
        ("MAX_PUSH_ID before SETTINGS", uni("c", "00 0d0101"), code::MISSING_SETTINGS),
        ("SETTINGS twice", on_control("0400"), code::FRAME_UNEXPECTED),
        ("a setting of HTTP/2: table", uni("c", "00 04020001"), code::SETTINGS),
        ("a setting of HTTP/2: push", uni("c", "00 04020200"), code::SETTINGS),
        ("a setting of HTTP/2: streams", uni("c", "00 04020301"), code::SETTINGS),
        ("a setting of HTTP/2: window", uni("c", "00 04020401"), code::SETTINGS),
        ("a setting of HTTP/2: frame", uni("c", "00 04020501"), code::SETTINGS),
        ("a setting twice", uni("c", "00 040406010602"), code::SETTINGS),
        ("DATA on the control stream", on_control("000178"), code::FRAME_UNEXPECTED),
        ("empty DATA on the control stream", on_control("0000"), code::FRAME_UNEXPECTED),
        ("HEADERS on the control stream", on_control("010178"), code::FRAME_UNEXPECTED),
        ("empty HEADERS on the control stream", on_control("0100"), code::FRAME_UNEXPECTED),
        ("PUSH_PROMISE on the control stream", on_control("050100"), code::FRAME_UNEXPECTED),
        ("PING on the control stream", on_control("0600"), code::FRAME_UNEXPECTED),
        ("a cut GOAWAY", on_control("070140"), code::FRAME),
        ("a GOAWAY with more", on_control("07020000"), code::FRAME),
        ("a GOAWAY that grows", on_control("070100 070104"), code::ID),
        ("MAX_PUSH_ID that shrinks", on_control("0d0105 0d0104"), code::ID),
        ("CANCEL_PUSH of nothing", on_control("030100"), code::ID),
        ("a priority of no request", on_control("800f0700 0103"), code::ID),
        ("the control stream ends", ended("000400"), code::CLOSED_CRITICAL_STREAM),
        ("the control stream is reset", reset, code::CLOSED_CRITICAL_STREAM),
        ("the encoder stream ends", ended("02"), code::CLOSED_CRITICAL_STREAM),
        ("the decoder stream ends", ended("03"), code::CLOSED_CRITICAL_STREAM),
        ("two control streams", twice("000400"), code::STREAM_CREATION),
        ("two encoder streams", twice("02"), code::STREAM_CREATION),
        ("two decoder streams", twice("03"), code::STREAM_CREATION),
        ("a push of a client's", uni("c", "0100"), code::STREAM_CREATION),
        ("a table", uni("c", "02 3f01"), code::QPACK_ENCODER_STREAM),
        ("a large table", uni("c", "02 3fe1c7afa025"), code::QPACK_ENCODER_STREAM),
        ("an insert", uni("c", "02 c100"), code::QPACK_ENCODER_STREAM),
        ("an increment of 0", uni("c", "03 00"), code::QPACK_DECODER_STREAM),
        ("an acknowledgement of nothing", uni("c", "03 80"), code::QPACK_DECODER_STREAM),
        ("DATA first", on_request(&[raw("000178")]), code::FRAME_UNEXPECTED),
        ("empty DATA first", on_request(&[raw("0000"), get.clone()]), code::FRAME_UNEXPECTED),
        ("CANCEL_PUSH first", on_request(&[raw("0300"), get.clone()]), code::FRAME_UNEXPECTED),
        ("CANCEL_PUSH on a request", after_head("030100"), code::FRAME_UNEXPECTED),
        ("SETTINGS on a request", after_head("0400"), code::FRAME_UNEXPECTED),
        ("PUSH_PROMISE on a request", after_head("05020000"), code::FRAME_UNEXPECTED),
        ("GOAWAY on a request", after_head("070100"), code::FRAME_UNEXPECTED),
        ("MAX_PUSH_ID on a request", after_head("0d0100"), code::FRAME_UNEXPECTED),
        ("PRIORITY of HTTP/2", after_head("0200"), code::FRAME_UNEXPECTED),
        ("PING of HTTP/2", after_head("0600"), code::FRAME_UNEXPECTED),
        ("WINDOW_UPDATE of HTTP/2", after_head("0800"), code::FRAME_UNEXPECTED),
        ("CONTINUATION of HTTP/2", after_head("0900"), code::FRAME_UNEXPECTED),
        ("DATA after trailers", after_head("01020000 000178"), code::FRAME_UNEXPECTED),
        ("trailers twice", after_head("01020000 01020000"), code::FRAME_UNEXPECTED),
        ("a cut frame", on_request(&[get, raw("2105 78")]), code::FRAME),
        ("a cut head", on_request(&[raw("0110 0000")]), code::FRAME),
        ("no such row", on_request(&[raw("0104 0000 ff24")]), code::QPACK_DECOMPRESSION_FAILED),
        ("a dynamic row", on_request(&[raw("0103 0000 80")]), code::QPACK_DECOMPRESSION_FAILED),
        ("a head that waits", on_request(&[raw("0103 0200 80")]), code::QPACK_DECOMPRESSION_FAILED),
        ("a name that is cut", on_request(&[raw("0104 0000 2778")]), code::QPACK_DECOMPRESSION_FAILED),
        ("a code that is none", on_request(&[raw("0105 0000 51 81 00")]), code::QPACK_DECOMPRESSION_FAILED),
    ]
}

#[test]
fn faults_of_framing_close_the_connection_with_their_code() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&site(&upstream));
    let cases = faults();
    let closed = [json!({"closed": true})];
    let scripts: Vec<Vec<Value>> =
        cases.iter().map(|(_, script, _)| [&script[..], &closed].concat()).collect();
    for ((name, _, code), told) in cases.iter().zip(play_all(&node, &scripts)) {
        assert_eq!(told["closed"], json!(code), "{name}: {told}");
    }
    let ended = cases.len() as f64;
    node.wait_metric("ringway_http3_malformed_total", "", |count| count == ended);
    assert_others_go_on(&node);
}

#[test]
fn what_a_peer_must_ignore_changes_nothing() {
    let upstream = Scripted::ok();
    let node = Node::start(&site(&upstream));
    let script = [
        // Reserved and unknown settings; GOAWAY, MAX_PUSH_ID, a priority, and frames of reserved types.
        uni("c", "00 0407 21 05 4040 01 20 00 070100 0d0105 0d0105 800f0700 04 00 753d31 2103 616263 405f00"),
        uni("d", "02 20 20"),
        uni("e", "03 40 44"),
        uni("f", "21 616263"),
        vec![json!({"send": "f", "frames": [], "end": true})],
        uni("g", "4054 00"),
        ask(
            "a",
            &[
                raw("2103 616263"),
                head("POST", "/", &[]),
                raw("405f 00"),
                json!(["data", "x"]),
                fields(&[]),
                raw("2101 00"),
            ],
        ),
        good("b"),
    ];
    let told = play(&node, script.concat());
    assert_eq!(
        (&told["streams"]["a"]["status"], &told["streams"]["a"]["text"]),
        (&json!(200), &json!("ok")),
        "{told}"
    );
    assert_good(&told, "b");
    assert_eq!(
        (&told["closed"], &told["streams"]["g"]["stopped"]),
        (&Value::Null, &json!(code::STREAM_CREATION)),
        "{told}"
    );
}

#[test]
fn requests_that_are_none_are_refused_with_their_status_or_code() {
    let upstream = Scripted::ok();
    let node = Node::start(&site(&upstream));
    let long = format!("/{}", "a".repeat(9000));
    let large = "v".repeat(40_000);
    let many = [("x-a", "b"); 101];
    let connect = [(":method", "CONNECT"), (":authority", "api.test:443")];
    let udp = [
        (":method", "CONNECT"),
        (":protocol", "connect-udp"),
        (":scheme", "https"),
        (":authority", "api.test"),
        (":path", "/"),
    ];
    for (frame, status, outcome) in [
        (raw("01 ffffffffffffffff 00"), 431, "head_too_large"),
        (head("GET", "/", &[("x-a", &large)]), 431, "head_too_large"),
        (head("GET", "/", &many), 431, "head_too_large"),
        (head("GET", &long, &[]), 414, "target_too_long"),
        (head("GET", "/", &[("expect", "other")]), 417, "expectation_failed"),
        (fields(&connect), 501, "connect_not_allowed"),
        (fields(&udp), 501, "connect_not_allowed"),
        (head("GET", "/a%00b", &[]), 400, "forbidden_path"),
    ] {
        // The stream does not end by itself: what follows the refusal is not asked for.
        let open = [json!({"open": "a"}), json!({"send": "a", "frames": [frame]}), json!({"end": "a"})];
        let told = play(&node, [&open[..], &good("b")].concat());
        let seen = &told["streams"]["a"];
        assert_eq!((&seen["status"], &seen["ended"]), (&json!(status), &json!(true)), "{outcome}: {told}");
        assert_eq!(seen["stopped"], code::NO_ERROR, "{outcome}: {told}");
        assert_good(&told, "b");
        node.assert_outcome(outcome);
        node.assert_outcome("served");
    }
    let told = play(&node, [ask("a", &[]), ask("c", &[raw("2103 616263")]), good("b")].concat());
    for stream in ["a", "c"] {
        assert_eq!(told["streams"][stream]["reset"], code::REQUEST_INCOMPLETE, "{told}");
        node.assert_outcome("client_reset");
    }
    upstream.assert_untouched();
}

#[test]
fn a_head_that_never_ends_is_given_up_and_others_are_served() {
    let upstream = Scripted::ok();
    let node = Node::start(&site(&upstream).settings("timeouts: {head: 500ms}"));
    // As many as there may be: each announces a head of a kilobyte and sends a part of it.
    let mut script = vec![json!({"times": 100, "do": [
        {"open": "w*"}, {"send": "w*", "frames": [raw("014400 0000 d1 d7")]},
    ]})];
    script.extend([json!({"open": "a"}), json!({"send": "a", "frames": [raw("014400 0000")]})]);
    script.extend(good("b"));
    script.push(json!({"end": "a"}));
    let told = play(&node, script);
    assert_good(&told, "b");
    assert_eq!(told["streams"]["a"]["reset"], code::REQUEST_REJECTED, "{told}");
    // Where the machine stood still, some were given up before the good one came.
    let mut outcomes: Vec<Value> = (0..102).map(|_| node.record()["outcome"].clone()).collect();
    outcomes.retain(|outcome| outcome != "head_timeout");
    assert_eq!(outcomes, ["served"]);
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn a_reply_beyond_the_field_section_that_a_client_takes_is_refused() {
    let large = "v".repeat(2_000);
    let upstream = Scripted::start(move |connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(match head.split(' ').nth(1).unwrap() {
                "/large" | "/until" => format!("HTTP/1.1 200 OK\r\nX-Large: {large}\r\nContent-Length: 2\r\n\r\nok"),
                "/interim" => format!(
                    "HTTP/1.1 103 Early Hints\r\nLink: {large}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
                ),
                "/trailers" => format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Large: {large}\r\n\r\n"
                ),
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
            });
        }
    });
    let node = Node::start(&site(&upstream));
    let get = |stream: &str, path: &str| ask(stream, &[head("GET", path, &[("te", "trailers")])]);
    // Requests may overtake SETTINGS: these are asked until one is refused, and prove nothing else.
    let limit = |settings: &str| {
        let until = json!({"refused": "until*", "do": get("until*", "/until")});
        [uni("c", settings), vec![until]].concat()
    };
    // SETTINGS_MAX_FIELD_SECTION_SIZE is 1,000, then 100.
    let roomy = [limit("00 0403 06 43e8"), get("small", "/small"), get("large", "/large")];
    let more = [get("interim", "/interim"), get("trailers", "/trailers")];
    let told = play(&node, [roomy.concat(), more.concat()].concat());
    let streams = &told["streams"];
    assert_eq!(streams["small"]["status"], 200, "{told}");
    let large = &streams["large"];
    assert_eq!((&large["status"], &large["ended"]), (&json!(502), &json!(true)), "{told}");
    let interim = &streams["interim"];
    assert_eq!((&interim["statuses"], &interim["text"]), (&json!([200]), &json!("ok")), "{told}");
    // What went before them may have arrived or not.
    assert_eq!(streams["trailers"]["ended"], false, "{told}");
    assert!(streams["trailers"]["reset"].is_u64(), "{told}");
    assert_refused(&node, 4, &["/large", "/trailers"]);
    let tight = [limit("00 0403 06 4064"), good("own"), get("small", "/small"), get("large", "/large")];
    let told = play(&node, tight.concat());
    for stream in ["own", "small", "large"] {
        let seen = &told["streams"][stream];
        let nothing = seen["reset"].is_u64() && seen["status"].is_null();
        assert!(nothing, "not even a refusal of ours fits: {told}");
    }
    for record in assert_refused(&node, 3, &["/fixed", "/small", "/large"]) {
        assert_eq!(record["status"], Value::Null, "{record}");
    }
}

/// Fails unless of the next so many records but those of `/until`, in whatever order, these paths' say that the reply was more
/// than the caller takes, and all others that it was served; returns them.
#[track_caller]
fn assert_refused(node: &Node, count: usize, refused: &[&str]) -> Vec<Value> {
    let all = std::iter::repeat_with(|| node.record());
    let records: Vec<Value> = all.filter(|record| record["path"] != "/until").take(count).collect();
    for record in &records {
        let wanted = if refused.contains(&record["path"].as_str().unwrap()) {
            ("upstream_head_too_large", Some(&json!("over-the-callers-limit")))
        } else {
            ("served", None)
        };
        assert_eq!((record["outcome"].as_str().unwrap(), record.get("detail")), wanted, "{record}");
    }
    for path in refused {
        assert!(records.iter().any(|record| record["path"] == *path), "{path}: {records:?}");
    }
    records
}

#[test]
fn a_request_that_is_taken_back_cancels_its_upstream_work() {
    let (gone, went) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let upstream = Scripted::start(move |connection| {
        connection.head().unwrap();
        while connection.some().is_some() {}
        gone.lock().unwrap().send(()).unwrap();
    });
    let node = Node::start(&site(&upstream));
    let cancel = |how: &str| json!({how: "a", "code": code::REQUEST_CANCELLED});
    for (how, ends, outcome) in [("stop", true, "client_closed"), ("reset", false, "client_reset")] {
        let sent = json!({"send": "a", "frames": [head("POST", "/", &[]), ["data", "x"]], "end": ends});
        let script = vec![
            json!({"open": "a"}),
            sent,
            json!({"say": "sent"}),
            json!({"hear": true}),
            cancel(how),
            json!({"end": "a"}),
        ];
        let mut client = begin(&node, &[script]);
        assert_eq!(client.next()["said"], "sent");
        upstream.head();
        client.go_on();
        went.recv_timeout(Duration::from_secs(50)).unwrap();
        node.assert_outcome(outcome);
    }
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn an_early_reply_is_whole_and_stops_the_upload() {
    let upstream = Scripted::start(|connection| {
        connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        while connection.some().is_some() {}
    });
    let node = Node::start(&site(&upstream));
    let script = vec![
        json!({"open": "a"}),
        json!({"send": "a", "frames": [head("POST", "/", &[("content-length", "100")]), ["data", "some"]]}),
        json!({"end": "a"}),
    ];
    let told = play(&node, [script, good("b")].concat());
    let seen = &told["streams"]["a"];
    assert_eq!(
        (&seen["text"], &seen["ended"], &seen["reset"]),
        (&json!("early"), &json!(true), &Value::Null),
        "{told}"
    );
    assert_eq!(seen["stopped"], code::NO_ERROR, "{told}");
    assert_good(&told, "b");
}

#[test]
fn a_drain_says_goaway_twice_and_serves_what_is_open() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        while connection.request().is_some() {
            let _ = released.lock().unwrap().recv();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    let node = Node::start(&site(&upstream));
    let script = [
        vec![
            json!({"open": "a"}),
            json!({"send": "a", "frames": [head("GET", "/", &[])], "end": true}),
            json!({"say": "asked"}),
        ],
        vec![json!({"goaway": 2})],
        ask("late", &[head("GET", "/fixed", &[])]),
        vec![json!({"say": "refused"}), json!({"end": "a"}), json!({"closed": true})],
    ];
    let mut client = begin(&node, &[script.concat()]);
    assert_eq!(client.next()["said"], "asked");
    upstream.head();
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(client.next()["said"], "refused");
    release.send(()).unwrap();
    let told = client.next();
    // The largest id of a request first; then that of the first one which is not served.
    assert_eq!(told["goaways"], json!([(1u64 << 62) - 4, 4]), "{told}");
    assert_eq!(told["streams"]["late"]["reset"], code::REQUEST_REJECTED, "{told}");
    assert_eq!(
        (&told["streams"]["a"]["text"], &told["streams"]["a"]["ended"]),
        (&json!("late"), &json!(true)),
        "{told}"
    );
    assert_eq!(told["closed"], code::NO_ERROR, "{told}");
    node.assert_outcome("served");
    assert_eq!(node.wait(), Some(0));
}

/// Seconds that the gateway has computed.
fn computed(node: &Node) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", node.gateway_id())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: Vec<f64> = rest.split(' ').skip(11).take(2).map(|field| field.parse().unwrap()).collect();
    ticks.iter().sum::<f64>() / 100.0
}

/// Plays a flood while others go on being served; it ends with this code, and cost little.
#[track_caller]
fn assert_flood_ends(node: &Node, script: Vec<Value>, code: u64) -> Value {
    assert_others_go_on(node);
    let (kib, seconds) = (resident_kib(node), computed(node));
    let mut flood = begin(node, &[[script, vec![json!({"closed": true})]].concat()]);
    assert_others_go_on(node);
    let told = flood.next();
    assert_eq!(told["closed"], json!(code), "{told}");
    let (more_kib, more_seconds) = (resident_kib(node).saturating_sub(kib), computed(node) - seconds);
    assert!(more_kib < 16 * 1024, "{more_kib} KiB more");
    assert!(more_seconds < 30.0, "{more_seconds} s");
    told
}

#[test]
fn requests_that_are_reset_at_once_end_their_connection_and_no_other() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&site(&upstream));
    let flood = |frames: Value| {
        vec![json!({"times": 20_000, "do": [
            {"open": "a*"}, {"send": "a*", "frames": frames},
            {"reset": "a*", "code": code::REQUEST_CANCELLED}, {"stop": "a*", "code": code::REQUEST_CANCELLED},
        ]})]
    };
    // Before anything was written, and after a whole head.
    assert_flood_ends(&node, flood(json!([])), code::EXCESSIVE_LOAD);
    assert_flood_ends(&node, flood(json!([head("GET", "/", &[])])), code::EXCESSIVE_LOAD);
    node.wait_metric("ringway_http3_floods_total", "", |floods| floods == 2.0);
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn frames_and_streams_that_do_no_work_end_their_connection_and_no_other() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&site(&upstream));
    let fill = json!({"times": 2_000, "do": [{"send": "a", "frames": [["zeros", 16_384]]}]});
    let open = |frames: Value| vec![json!({"open": "a"}), json!({"send": "a", "frames": frames})];
    let get = head("POST", "/", &[]);
    let endless = raw("21 ffffffffffffffff");
    for script in [
        [open(json!([endless])), vec![fill.clone()]].concat(),
        [open(json!([get, endless])), vec![fill.clone()]].concat(),
        // DATA without content, which zeros are.
        [open(json!([get])), vec![fill.clone()]].concat(),
        [uni("a", "000400 21 ffffffffffffffff"), vec![fill.clone()]].concat(),
        [uni("a", "02"), vec![json!({"times": 200, "do": [{"send": "a", "frames": [raw(&"20".repeat(1000))]}]})]].concat(),
        [uni("a", "03"), vec![json!({"times": 200, "do": [{"send": "a", "frames": [raw(&"40".repeat(1000))]}]})]].concat(),
        [uni("a", "000400"), vec![json!({"times": 40, "do": [{"send": "a", "frames": [raw(&"800f07000400753d31".repeat(50))]}]})]].concat(),
        vec![json!({"times": 150, "do": [{"open": "a*", "uni": true}, {"send": "a*", "frames": [raw("21")], "end": true}]})],
    ] {
        assert_flood_ends(&node, script, code::EXCESSIVE_LOAD);
    }
    node.wait_metric("ringway_http3_floods_total", "", |floods| floods == 8.0);
}
