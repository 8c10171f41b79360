//! Ways to an upstream: names, TLS, whole and early replies, and what is left when descriptors run out.

use std::net::TcpStream;
use std::sync::Arc;

use rustix::process::{Pid, Resource, Rlimit};

use crate::node::{Node, also_on_epoll};
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls;

also_on_epoll!(running_out_of_descriptors_is_counted_and_recovered_from);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

#[test]
fn an_endpoint_may_be_a_name_and_one_that_nobody_knows_is_503() {
    let upstream = Scripted::ok();
    let site = Site::bare()
        .more(&format!(
            "upstreams: {{named: {{endpoints: [\"localhost:{}\"]}}, lost: {{endpoints: [\"nothing.invalid:80\"]}}}}",
            upstream.address.port()
        ))
        .route("/a: {to: named}")
        .route("/lost: {to: lost}");
    let node = Node::start(&site);
    node.log.find("localhost", |line| line.contains("endpoint name resolved").then_some(()));
    assert_eq!(node.connect().ask(GET).text(), "ok");
    node.assert_outcome("served");
    let reply = node.connect().ask("GET /lost HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")), "{}", reply.head);
    node.assert_outcome("name_unresolved");
}

/// Serves every request with `ok` over TLS.
fn over_tls(issued: &tls::Issued) -> std::net::SocketAddr {
    let key = rustls::pki_types::pem::PemObject::from_pem_slice(issued.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.der.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || {
                let mut stream = rustls::StreamOwned::new(tls, stream);
                let mut read = Vec::new();
                let mut byte = [0];
                while let Ok(1) = std::io::Read::read(&mut stream, &mut byte) {
                    read.push(byte[0]);
                    if read.ends_with(b"\r\n\r\n") {
                        let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        std::io::Write::write_all(&mut stream, reply).unwrap();
                    }
                }
            });
        }
    });
    address
}

#[test]
fn tls_to_an_upstream_verifies_its_certificate_and_keeps_the_connection() {
    let (good, other) = (tls::issue(&["inner.test"]), tls::issue(&["inner.test"]));
    let endpoint = over_tls(&good);
    let site = Site::bare()
        .upstream("good", &[endpoint], "tls: {name: inner.test, ca: \"file:good.pem\"}")
        .upstream("stranger", &[endpoint], "tls: {name: inner.test, ca: \"file:other.pem\"}")
        .upstream("misnamed", &[endpoint], "tls: {name: outer.test, ca: \"file:good.pem\"}")
        .route("/a: {to: good}")
        .route("/stranger: {to: stranger}")
        .route("/misnamed: {to: misnamed}")
        .file("good.pem", good.chain.as_str())
        .file("other.pem", other.chain.as_str());
    let node = Node::start(&site);
    for round in 0..3 {
        assert_eq!(node.connect().ask(GET).text(), "ok");
        assert_eq!(node.assert_outcome("served")["reused"], round > 0);
    }
    for path in ["/stranger", "/misnamed"] {
        let reply = node.connect().ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!(reply.status, 502, "{path}");
        node.assert_outcome("upstream_tls_failed");
    }
}

#[test]
fn a_connection_that_its_upstream_wants_closed_is_not_used_again() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            connection.send(if head.starts_with("GET /old ") {
                "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
            });
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for path in ["/old", "/new", "/old"] {
        let reply = client.ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
        assert_eq!((reply.text(), reply.field("connection")), ("ok", None), "the caller's own is kept");
        assert!(reply.head.starts_with("HTTP/1.1 200"), "{}", reply.head);
        assert_eq!(node.assert_outcome("served")["reused"], false);
    }
}

#[test]
fn the_rest_of_a_body_that_was_answered_early_is_never_a_request() {
    let upstream = Scripted::start(|connection| {
        while let Some(head) = connection.head() {
            assert!(!head.contains("smuggled"), "{head}");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if head.starts_with("POST ") && connection.exactly(46).is_none() {
                return;
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let mut client = node.connect();
    client.send(format!(
        "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: {}\r\n\r\nab",
        smuggled.len() + 2
    ));
    let reply = client.reply();
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    client.send(smuggled).send(GET).finish();
    let rest = String::from_utf8(client.rest()).unwrap();
    assert!(rest.matches("HTTP/1.1").count() <= 1, "{rest}");
    assert!(upstream.head().starts_with("POST /a "));
    assert_eq!(node.connect().ask(GET).text(), "ok", "nothing is poisoned");
    assert!(upstream.head().starts_with("GET /a "));
}

/// Such an endpoint often reads no more of the request, and closes without a word.
#[test]
fn a_connection_that_was_answered_on_before_the_request_was_whole_carries_no_other() {
    let upstream = Scripted::start(|connection| {
        while let Some(head) = connection.head() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
            if head.starts_with("POST ") && connection.exactly(65536).is_none() {
                return;
            }
            connection.send("k");
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut client = node.connect();
    for _ in 0..3 {
        client
            .send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 65536\r\n\r\n")
            .until(b"\r\n\r\no");
        assert_eq!(client.send([7; 65536]).exactly(1), b"k");
        assert_eq!(node.assert_outcome("served")["reused"], false);
    }
    for reused in [false, true] {
        assert_eq!(client.ask(GET).text(), "ok");
        assert_eq!(node.assert_outcome("served")["reused"], reused);
    }
}

#[test]
fn an_upstream_that_takes_no_body_is_504() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        connection.head();
        let _ = released.lock().unwrap().recv();
    });
    let node = Node::start(&Site::to(upstream.address).settings("timeouts: {write_stall: 300ms}"));
    let client = node.connect();
    let mut writer = client.stream().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let head = "POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 200000000\r\n\r\n";
        let _ = std::io::Write::write_all(&mut writer, head.as_bytes());
        let chunk = vec![b'x'; 1 << 20];
        while std::io::Write::write_all(&mut writer, &chunk).is_ok() {}
    });
    let record = node.assert_outcome("upstream_write_timeout");
    assert_eq!(record["status"], 504, "{record}");
    drop(client);
    sender.join().unwrap();
    drop(release);
}

#[test]
fn running_out_of_descriptors_is_counted_and_recovered_from() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address));
    let mut kept = node.connect();
    assert_eq!(kept.ask(GET).text(), "ok");
    let gateway = Pid::from_raw(i32::try_from(node.gateway_id()).unwrap()).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.gateway_id())).unwrap().count();
    let limit = |descriptors: u64| {
        let limit = Rlimit { current: Some(descriptors), maximum: Some(4096) };
        rustix::process::prlimit(Some(gateway), Resource::Nofile, limit).unwrap();
    };
    limit(u64::try_from(open).unwrap() + 10);
    let flood: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(node.address).unwrap()).collect();
    // The counter is asked for on a connection that needs a descriptor as well: it is read once there are some again.
    for _ in 0..20 {
        assert_eq!(kept.ask(GET).text(), "ok", "those that are open are served");
    }
    limit(4096);
    node.wait_metric("ringway_accept_descriptors_exhausted_total", "", |times| times >= 1.0);
    drop(flood);
    assert_eq!(node.connect().ask(GET).text(), "ok");
    node.wait_metric("ringway_connections_open", "", |open| open <= 2.0);
    node.wait_metric("ringway_workers_restarted_total", "", |restarted| restarted == 0.0);
}

#[test]
fn a_routes_own_timeouts_hold_instead_of_its_upstreams() {
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /silent") {
                connection.some();
                return;
            }
            if head.starts_with("GET /stops") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
                connection.some();
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let site = Site::bare()
        .upstream("one", &[upstream.address], "timeout: {request: 1h, idle: 1h}")
        .upstream("hasty", &[upstream.address], "timeout: {request: 1ms, idle: 1ms}")
        .route("/silent: {to: one, timeout: {request: 100ms}}")
        .route("/stops: {to: one, timeout: {idle: 100ms}}")
        .route("/patient: {to: hasty, timeout: {request: 1h}}");
    let node = Node::start(&site);
    assert_eq!(node.connect().ask("GET /silent HTTP/1.1\r\nHost: api.test\r\n\r\n").status, 504);
    node.assert_outcome("upstream_head_timeout");
    node.connect().send("GET /stops HTTP/1.1\r\nHost: api.test\r\n\r\n").rest();
    node.assert_outcome("upstream_idle_timeout");
    assert_eq!(node.connect().ask("GET /patient HTTP/1.1\r\nHost: api.test\r\n\r\n").text(), "ok");
    node.assert_outcome("served");
}

#[test]
fn idle_connections_are_kept_as_long_as_their_own_upstream_says() {
    let (hasty, patient) = (Scripted::ok(), Scripted::ok());
    let site = Site::bare()
        .upstream("hasty", &[hasty.address], "pool: {idle: 100ms}")
        .upstream("patient", &[patient.address], "pool: {idle: 1h}")
        .route("/hasty: {to: hasty}")
        .route("/patient: {to: patient}");
    let node = Node::start(&site);
    for path in ["hasty", "patient"] {
        let asked = format!("GET /{path} HTTP/1.1\r\nHost: api.test\r\n\r\n");
        assert_eq!(node.connect().ask(asked).text(), "ok");
    }
    let idle = || -> Vec<u64> {
        let upstreams: serde_json::Value = serde_json::from_slice(&node.admin("/upstreams").body).unwrap();
        let idle = |name: &str| {
            let of = upstreams.as_array().unwrap().iter().find(|upstream| upstream["name"] == name).unwrap();
            of["endpoints"][0]["idle"].as_u64().unwrap()
        };
        vec![idle("hasty"), idle("patient")]
    };
    let began = std::time::Instant::now();
    while idle() != [0, 1] || began.elapsed() < std::time::Duration::from_millis(1500) {
        assert!(began.elapsed() < std::time::Duration::from_secs(50), "{:?}", idle());
    }
}

#[test]
fn a_reply_that_comes_before_the_body_is_read_spoils_no_request_behind_it() {
    // The body is read only after its reply was sent; the next request comes right behind the body.
    let upstream = Scripted::start(|connection| {
        while let Some(head) = connection.head() {
            assert!(
                ["POST /a ", "GET /a ", "GET /next "].iter().any(|line| head.starts_with(line)),
                "a body became a request: {head}"
            );
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if head.starts_with("POST ") && connection.exactly(400_000).is_none() {
                return;
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    for _ in 0..3 {
        let mut client = node.connect();
        let body = vec![b'x'; 400_000];
        client
            .send("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: 400000\r\n\r\n")
            .send(&body[..1000]);
        while !upstream.head().starts_with("POST /a ") {}
        client.send(&body[1000..]).send(GET).finish();
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (200, "ok"));
        // An upload that is given up with the reply's end (decisions 24) ends the connection; else the next is answered.
        let rest = String::from_utf8(client.rest()).unwrap();
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("\r\n\r\nok"),
            "{rest}"
        );
        node.assert_outcome("served");
        if !rest.is_empty() {
            node.assert_outcome("served");
        }
        let next = "GET /next HTTP/1.1\r\nHost: api.test\r\n\r\n";
        assert_eq!(node.connect().ask(next).text(), "ok", "nothing is poisoned");
        // The one behind the body may have been begun, and given up with its caller that half-closed.
        while node.record()["path"] != "/next" {}
        while !upstream.head().starts_with("GET /next ") {}
    }
}

#[test]
fn bodies_of_any_length_pass_in_the_same_memory() {
    const BYTES: usize = 256 << 20;
    let upstream = Scripted::start(|connection| {
        let part = vec![b'x'; 1 << 20];
        while let Some(head) = connection.head() {
            if head.starts_with("POST ") {
                for _ in 0..BYTES >> 20 {
                    if connection.exactly(1 << 20).is_none() {
                        return;
                    }
                }
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            } else {
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
                for _ in 0..BYTES >> 20 {
                    if !connection.try_send(&part) {
                        return;
                    }
                }
            }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let resident_kib = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.gateway_id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let mut client = node.connect();
    let part = vec![b'x'; 1 << 20];
    client.send(format!("POST /a HTTP/1.1\r\nHost: api.test\r\nContent-Length: {BYTES}\r\n\r\n"));
    let before = resident_kib();
    for _ in 0..BYTES >> 20 {
        client.send(&part);
    }
    assert_eq!(client.reply().text(), "ok");
    client.send(GET);
    client.until(b"\r\n\r\n");
    for _ in 0..BYTES >> 20 {
        client.exactly(1 << 20);
    }
    let grown = resident_kib() - before;
    assert!(grown < 24 << 10, "512 MiB passed and left {grown} KiB more at the worst moment");
    node.assert_outcome("served");
    let record = node.assert_outcome("served");
    assert_eq!(record["body_out_bytes"], BYTES, "{record}");
}
