//! gRPC-Web: by hand over HTTP/1.1, and from Chromium over HTTP/2.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::frames::{self, DATA, END_STREAM, HEADERS, endpoint, frame, head};
use crate::node::{Node, also_on_epoll};
use crate::peers;
use crate::raw::{Raw, Reply};
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::issue;

also_on_epoll!(grpc_web_becomes_grpc_and_its_trailers_the_last_of_the_content);

const REPLY: &[u8] = b"\0\0\0\0\x02hi";

/// An endpoint that answers each call with a message and trailers, and tells what content it got.
fn answering() -> (Scripted, Receiver<Vec<u8>>) {
    let (told, got) = channel();
    let told = Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        let mut content = Vec::new();
        while let Some(next) = served.next() {
            if next.kind == DATA {
                content.extend(&next.payload);
            }
            if next.ends() {
                told.lock().unwrap().send(std::mem::take(&mut content)).unwrap();
                answer(served, next.stream);
            }
        }
    });
    (upstream, got)
}

fn answer(served: &mut frames::Served<'_>, stream: u32) {
    served.send(head(stream, 0, &[(":status", "200"), ("content-type", "application/grpc+proto")]));
    served.send(frame(DATA, 0, stream, REPLY));
    served.send(head(stream, END_STREAM, &[("grpc-status", "0"), ("grpc-message", "fine")]));
}

fn site(upstream: SocketAddr) -> Site {
    Site::bare()
        .upstream("one", &[upstream], "protocol: http2")
        .route("/web/*: {to: one, grpc_web: true}")
        .route("/plain/*: {to: one}")
}

fn ask(to: &mut Raw, path: &str, content_type: &str, content: &str) -> Reply {
    to.ask(format!(
        "POST {path} HTTP/1.1\r\nHost: api.test\r\nContent-Type: {content_type}\r\nX-Grpc-Web: 1\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    ))
}

#[test]
fn grpc_web_becomes_grpc_and_its_trailers_the_last_of_the_content() {
    let (upstream, got) = answering();
    let node = Node::start(&site(upstream.address));
    let trailers = b"\x80\0\0\0\x24grpc-status: 0\r\ngrpc-message: fine\r\n";
    // One connection: nothing of a call is left behind for the next.
    let mut client = node.connect();
    for _ in 0..2 {
        let reply = ask(&mut client, "/web/s.S/M", "application/grpc-web+proto", "\0\0\0\0\u{3}abc");
        assert_eq!(reply.field("content-type"), Some("application/grpc-web+proto"));
        assert_eq!(reply.body, [REPLY, trailers].concat());
        assert_eq!(got.recv().unwrap(), b"\0\0\0\0\x03abc");
        node.assert_outcome("served");

        let reply = ask(&mut client, "/web/s.S/M", "application/grpc-web-text+proto", "AAAAAANhYmM=");
        assert_eq!(reply.field("content-type"), Some("application/grpc-web-text+proto"));
        let text = String::from_utf8(reply.body).unwrap();
        // "hi" in its frame, and then the trailers in theirs.
        assert_eq!(text, "AAAAAAJoaQ==gAAAACRncnBjLXN0YXR1czogMA0KZ3JwYy1tZXNzYWdlOiBmaW5lDQo=");
        assert_eq!(got.recv().unwrap(), b"\0\0\0\0\x03abc");
        node.assert_outcome("served");
    }
}

#[test]
fn content_that_is_no_base64_is_refused_as_a_status() {
    let (upstream, _got) = answering();
    let node = Node::start(&site(upstream.address));
    for content in ["!!!!", "AAAA=", "AA=A"] {
        let reply = ask(&mut node.connect(), "/web/s.S/M", "application/grpc-web-text", content);
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("13")), "{content}");
        assert_eq!(reply.field("content-type"), Some("application/grpc-web-text"));
        node.assert_outcome("framing_conflict");
    }
}

#[test]
fn base64_is_decoded_wherever_it_is_cut() {
    let (upstream, got) = answering();
    let node = Node::start(&site(upstream.address));
    let mut client = node.connect();
    client.send("POST /web/s.S/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc-web-text\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["A", "AAAAA", "Nh", "YmM", "="] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
    }
    assert_eq!(client.send("0\r\n\r\n").reply().status, 200);
    assert_eq!(got.recv().unwrap(), b"\0\0\0\0\x03abc");
}

#[test]
fn a_call_that_was_refused_is_sent_again_as_it_was_decoded() {
    let (told, got) = channel::<Vec<u8>>();
    let told = Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        let (mut content, mut calls) = (Vec::new(), 0);
        while let Some(next) = served.next() {
            if next.kind == DATA {
                content.extend(&next.payload);
            }
            if next.ends() {
                calls += 1;
                told.lock().unwrap().send(std::mem::take(&mut content)).unwrap();
                if calls == 1 {
                    served.send(frames::reset(next.stream, frames::REFUSED_STREAM));
                } else {
                    answer(served, next.stream);
                }
            }
        }
    });
    let node = Node::start(&site(upstream.address));
    let reply = ask(&mut node.connect(), "/web/s.S/M", "application/grpc-web-text", "AAAAAANhYmM=");
    assert_eq!(reply.status, 200);
    assert_eq!([got.recv().unwrap(), got.recv().unwrap()], [b"\0\0\0\0\x03abc", b"\0\0\0\0\x03abc"]);
    assert_eq!(node.assert_outcome("served")["attempts"], 2);
}

#[test]
fn what_is_decoded_has_no_length_towards_an_upstream_of_text_and_its_trailers_are_found() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n\0\0\0\0\u{2}hi\r\n0\r\nGrpc-Status: 0\r\n\r\n",
    );
    let site = Site::bare()
        .upstream("one", &[upstream.address], "protocol: auto")
        .route("/web/*: {to: one, grpc_web: true}");
    let node = Node::start(&site);
    let reply = ask(&mut node.connect(), "/web/s.S/M", "application/grpc-web-text", "AAAAAANhYmM=");
    assert_eq!(reply.text(), "AAAAAAJoaQ==gAAAABBncnBjLXN0YXR1czogMA0K");
    let head = upstream.head().to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    assert!(head.contains("te: trailers") && !head.contains("x-grpc-web"), "{head}");
    assert!(head.contains("content-type: application/grpc\r\n"), "{head}");
    node.assert_outcome("served");
}

#[test]
fn a_caller_of_http10_gets_no_chunks() {
    let (upstream, _got) = answering();
    let node = Node::start(&site(upstream.address));
    let mut client = node.connect();
    client.send("POST /web/s.S/M HTTP/1.0\r\nHost: api.test\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0");
    let reply = client.reply();
    assert_eq!(reply.field("transfer-encoding"), None);
    assert!(reply.body.starts_with(REPLY) && reply.body.ends_with(b"fine\r\n"), "{reply:?}");
}

#[test]
fn where_the_route_does_not_say_so_nothing_is_translated() {
    let (upstream, got) = answering();
    let node = Node::start(&site(upstream.address));
    let reply = ask(&mut node.connect(), "/plain/s.S/M", "application/grpc-web-text", "AAAAAANhYmM=");
    assert_eq!(got.recv().unwrap(), b"AAAAAANhYmM=");
    assert_eq!(reply.body, REPLY);
    node.assert_outcome("served");
}

#[test]
fn a_reply_of_trailers_only_stays_one_and_a_reply_that_is_no_grpc_stays_as_it_is() {
    let upstream = endpoint(&[], |served| {
        let mut calls = 0;
        while let Some(next) = served.next() {
            if !next.ends() {
                continue;
            }
            calls += 1;
            if calls == 1 {
                let fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")];
                served.send(head(next.stream, END_STREAM, &fields));
            } else {
                served.send(head(next.stream, 0, &[(":status", "503"), ("content-type", "text/plain")]));
                served.send(frame(DATA, END_STREAM, next.stream, b"no"));
            }
        }
    });
    let node = Node::start(&site(upstream.address));
    let reply = ask(&mut node.connect(), "/web/s.S/M", "application/grpc-web", "");
    assert_eq!((reply.field("grpc-status"), &reply.body[..]), (Some("5"), &b""[..]));
    assert_eq!(reply.field("content-type"), Some("application/grpc-web"));
    let reply = ask(&mut node.connect(), "/web/s.S/M", "application/grpc-web", "");
    assert_eq!((reply.status, reply.field("content-type"), reply.text()), (503, Some("text/plain"), "no"));
}

#[test]
fn a_reply_that_is_cut_is_broken_off_and_never_taken_for_whole() {
    let (arrived, told) = channel::<()>();
    let told = Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        while let Some(next) = served.next() {
            if next.kind == HEADERS {
                served.send(head(
                    next.stream,
                    0,
                    &[(":status", "200"), ("content-type", "application/grpc")],
                ));
                served.send(frame(DATA, 0, next.stream, &REPLY[..6]));
                told.lock().unwrap().recv().unwrap();
                served.send(frames::reset(next.stream, 2));
            }
        }
    });
    let node = Node::start(&site(upstream.address));
    let mut client = node.connect();
    client.send("POST /web/s.S/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: application/grpc-web\r\nContent-Length: 0\r\n\r\n");
    client.until(&REPLY[..6]);
    arrived.send(()).unwrap();
    let came = client.rest();
    assert!(!came.windows(11).any(|window| window == b"grpc-status"), "{}", String::from_utf8_lossy(&came));
    assert!(!came.ends_with(b"0\r\n\r\n"));
    node.assert_outcome("upstream_body_short");
}

/// Long before the silence of an upstream counts: that is a minute.
#[test]
fn a_caller_that_leaves_a_resting_stream_ends_it_upstream() {
    let (told, resets) = channel();
    let told = Mutex::new(told);
    let upstream = endpoint(&[], move |served| {
        while let Some(next) = served.next() {
            if next.ends() {
                let fields = [(":status", "200"), ("content-type", "application/grpc+proto")];
                served.send(head(next.stream, 0, &fields));
                served.send(frame(DATA, 0, next.stream, REPLY));
            }
            if next.kind == frames::RST_STREAM {
                told.lock().unwrap().send(next.code()).unwrap();
            }
        }
    });
    let node = Node::start(&site(upstream.address));
    for (content_type, message) in
        [("application/grpc-web", "hi"), ("application/grpc-web-text", "AAAAAAJoaQ==")]
    {
        for resets_us in [false, true] {
            let mut client = node.connect();
            client.send(format!(
                "POST /web/s.S/M HTTP/1.1\r\nHost: api.test\r\nContent-Type: {content_type}\r\nContent-Length: 0\r\n\r\n"
            ));
            client.until(message.as_bytes());
            if resets_us {
                socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(client);
            assert_eq!(resets.recv_timeout(Duration::from_secs(50)), Ok(frames::CANCEL), "{content_type}");
            node.assert_outcome("client_closed");
        }
    }
}

/// What a page does with its own site: calls in both forms, a failing one, a refused one, and a stream of messages that comes
/// message by message. Each says what it got, in one line.
const PAGE: &str = r#"<!doctype html><title>calls</title><pre id="told"></pre><script>
const frame = text => { const bytes = new Uint8Array(5 + text.length); bytes[4] = text.length; bytes.set(new TextEncoder().encode(text), 5); return bytes; };
const parsed = bytes => { const frames = []; let at = 0; while (at < bytes.length) { const length = new DataView(bytes.buffer).getUint32(at + 1); frames.push((bytes[at] ? "trailers " : "message ") + new TextDecoder().decode(bytes.slice(at + 5, at + 5 + length)).split("\r\n").filter(line => line && !line.startsWith("x-")).map(line => line.trim()).join(", ")); at += 5 + length; } return frames; };
const decoded = text => Uint8Array.from(text.match(/[^=]+=*/g).map(part => atob(part)).join(""), letter => letter.charCodeAt(0));
const call = async (name, path, form, text) => {
  const body = form.includes("text") ? btoa(String.fromCharCode(...frame(text))) : frame(text);
  const reply = await fetch(path, {method: "POST", headers: {"content-type": form, "x-grpc-web": "1"}, body});
  const type = reply.headers.get("content-type"), status = reply.headers.get("grpc-status");
  const content = form.includes("text") ? decoded((await reply.text()) || "=") : new Uint8Array(await reply.arrayBuffer());
  return {name, type, status, frames: parsed(content)};
};
(async () => {
  const told = [];
  const make = async (...what) => told.push(await call(...what).catch(error => ({name: what[0], error: String(error)})));
  await make("unary", "/ringway.Test/Unary", "application/grpc-web+proto", "hello");
  await make("text", "/ringway.Test/Unary", "application/grpc-web-text+proto", "hello");
  await make("failing", "/ringway.Test/Unary", "application/grpc-web+proto", "fail");
  await make("streaming", "/ringway.Test/CountDown", "application/grpc-web-text+proto", "3");
  await make("refused", "/nowhere", "application/grpc-web+proto", "");
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
})();
</script>"#;

#[test]
fn a_page_in_chromium_calls_a_service_of_grpcio() {
    let (mut service, told) = (peers::start("grpc_peer.py", &["serve"]), channel());
    let port = u16::try_from(service.next()["port"].as_u64().unwrap()).unwrap();
    let teller = Mutex::new(told.0);
    let pages = Scripted::start(move |connection| {
        while let Some((head, body)) = connection.request() {
            if head.starts_with("POST /told ") {
                teller.lock().unwrap().send(body).unwrap();
                connection.send("HTTP/1.1 204 No Content\r\n\r\n");
            } else {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{PAGE}",
                    PAGE.len()
                ));
            }
        }
    });
    let issued = issue(&["api.test"]);
    let site = Site::bare()
        .only_listener("{address: \"127.0.0.2:0\", tls: one, protocols: [http1, http2]}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str())
        .upstream("pages", &[pages.address], "")
        .upstream("calls", &[([127, 0, 0, 1], port).into()], "protocol: http2")
        .route("/: {to: pages}")
        .route("/told: {to: pages}")
        .route("/ringway.Test/*: {to: calls, grpc_web: true}");
    let node = Node::start(&site);
    let certificate = node.state().join("a.pem").to_str().unwrap().to_owned();
    let hash = peers::run("h3.py", &["spki", &certificate])[0]["hash"].as_str().unwrap().to_owned();
    let profile = tempfile::tempdir().unwrap();
    let mut browser = peers::chromium(profile.path())
        .arg(format!("--ignore-certificate-errors-spki-list={hash}"))
        .arg(format!("--host-resolver-rules=MAP api.test {}", node.address.ip()))
        .args(["--remote-debugging-port=0", &format!("https://api.test:{}/", node.address.port())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium is installed");
    let came = told.1.recv_timeout(std::time::Duration::from_secs(60));
    browser.kill().unwrap();
    browser.wait().unwrap();
    let came: Value = serde_json::from_slice(&came.expect("the page told what it got")).unwrap();
    let (binary, text) = ("application/grpc-web+proto", "application/grpc-web-text+proto");
    // grpcio says neither `+proto` nor `+json` of its replies.
    let plain = |form: &str| form.trim_end_matches("+proto").to_owned();
    let ok = "trailers grpc-status: 0, grpc-message:";
    assert_eq!(
        came,
        json!([
            {"name": "unary", "type": plain(binary), "status": null, "frames": ["message olleh", ok]},
            {"name": "text", "type": plain(text), "status": null, "frames": ["message olleh", ok]},
            {"name": "failing", "type": plain(binary), "status": null,
             "frames": ["trailers grpc-status: 9, grpc-message: 100 %25 wrong%C3%A9"]},
            {"name": "streaming", "type": plain(text), "status": null, "frames": ["message 3", "message 2", "message 1", ok]},
            {"name": "refused", "type": binary, "status": "12", "frames": []},
        ])
    );
}
