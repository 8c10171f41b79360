//! HTTP/3 with clients that others wrote: aioquic, curl on ngtcp2, Chromium; and with hostile ones.

use std::path::Path;

use serde_json::Value;

use crate::node::{Node, also_on_epoll, own_address};
use crate::peers;
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::issue;

also_on_epoll!(
    requests_of_aioquic_are_served_one_after_the_other_and_at_once
    a_client_that_changes_its_address_keeps_its_connection
    who_sends_once_a_gateway_has_ended_is_refused
    a_flood_of_first_packets_is_answered_by_retry_and_others_are_served
);

/// A site over HTTP/1.1 and HTTP/3.
pub(crate) fn over_http3(site: Site) -> Site {
    let issued = issue(&["api.test"]);
    site.only_listener("{address: \"127.0.0.2:0\", protocols: [http1, http3], tls: one}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str())
}

/// Runs a command of `h3.py` against a node.
#[track_caller]
fn h3(node: &Node, command: &str, more: &[&str]) -> Vec<Value> {
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    let mut arguments = vec![command, &ip, &port];
    arguments.extend(more);
    peers::run("h3.py", &arguments)
}

pub(crate) fn ca(node: &Node) -> String {
    node.state().join("a.pem").display().to_string()
}

#[test]
fn requests_of_aioquic_are_served_one_after_the_other_and_at_once() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let replies = h3(&node, "get", &[&ca(&node), "/a", "/b?c=d", "/e"]);
    assert_eq!(replies.len(), 3);
    for reply in &replies {
        assert_eq!((&reply["status"], &reply["body"]), (&Value::from(200), &Value::from("ok")));
        let record = node.assert_outcome("served");
        assert_eq!(
            (&record["protocol"], &record["tls"]),
            (&Value::from("h3"), &Value::from(true)),
            "{record}"
        );
    }
    let head = upstream.head().to_ascii_lowercase();
    assert!(
        head.starts_with("get /a http/1.1\r\n") && head.contains("x-forwarded-proto: https\r\n"),
        "{head}"
    );
    let replies = h3(&node, "together", &[&ca(&node), "/a", "100"]);
    assert_eq!(
        (&replies[0]["statuses"], &replies[0]["replies"]),
        (&Value::from(vec![200]), &Value::from(100))
    );
    node.wait_metric("ringway_tls_handshakes_total", "", |done| done == 2.0);
}

#[test]
fn a_reply_that_fails_before_its_content_is_answered_by_502() {
    let upstream = Scripted::start(|connection| {
        connection.request();
        connection.send_last("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    });
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    for reply in h3(&node, "get", &[&ca(&node), "/a", "/b"]) {
        assert_eq!(reply["status"], 502, "{reply}");
        assert!(
            reply["body"].as_str().unwrap().contains("urn:ringway:problem/upstream-body-short"),
            "{reply}"
        );
        node.assert_outcome("upstream_body_short");
    }
}

#[test]
fn a_connection_rests_between_requests_no_longer_than_it_may_however_long_a_head_may_take() {
    let upstream = Scripted::ok();
    let site = over_http3(Site::to(upstream.address)).settings("timeouts: {head: 1h, keep_alive: 300ms}");
    let node = Node::start(&site);
    let mut client = h3_start(&node, "waiting", &[&ca(&node), "/a"]);
    assert_eq!(client.next()["asked"], true);
    assert_eq!(client.next()["body"], "ok");
    let closed = client.next();
    // H3_NO_ERROR: it was ended by us, and not given up by QUIC.
    assert_eq!((&closed["closed"], &closed["code"]), (&true.into(), &0x100.into()));
}

#[test]
fn curl_on_ngtcp2_is_served() {
    let body = "x".repeat(300_000);
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstream = Scripted::answering(reply);
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    let replies = peers::run("curl3.py", &[&ip, &port, &ca(&node), "/a", "/b"]);
    assert_eq!(replies.len(), 2);
    for reply in replies {
        assert_eq!(
            (&reply["status"], &reply["length"]),
            (&Value::from(200), &Value::from(body.len())),
            "{reply}"
        );
        assert_eq!(node.assert_outcome("served")["protocol"], "h3");
    }
}

#[test]
fn a_body_goes_there_and_back() {
    let upstream = Scripted::start(|connection| {
        while let Some((_, content)) = connection.request() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()));
            connection.send(content);
        }
    });
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    for length in ["1", "70000", "3000000"] {
        let replies = h3(&node, "post", &[&ca(&node), "/a", length]);
        assert_eq!(
            (&replies[0]["status"], &replies[0]["same"]),
            (&Value::from(200), &Value::from(true)),
            "{length}"
        );
    }
}

#[test]
fn a_client_that_changes_its_address_keeps_its_connection() {
    let upstream = Scripted::ok();
    let node = Node::start_with(&over_http3(Site::to(upstream.address)), 2);
    // With two workers, one address in two would reach the wrong one if packets were not steered.
    let replies = h3(&node, "moving", &[&ca(&node), "/a", "6"]);
    assert_eq!(replies.len(), 6);
    assert!(replies.iter().all(|reply| reply["status"] == 200), "{replies:?}");
    node.wait_metric("ringway_tls_handshakes_total", "", |done| done == 1.0);
}

#[test]
fn a_flood_of_first_packets_is_answered_by_retry_and_others_are_served() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    h3(&node, "get", &[&ca(&node), "/a"]);
    let before_kib = resident_kib(&node);
    // Packets that nobody took in time are lost.
    let floods = (0..20).take_while(|_| {
        h3(&node, "flood", &["600"]);
        node.metric("ringway_quic_retries_total", "") <= 300.0
    });
    assert!(floods.count() < 20);
    let replies = h3(&node, "get", &[&ca(&node), "/a"]);
    assert_eq!(replies[0]["status"], 200);
    let grown_kib = resident_kib(&node).saturating_sub(before_kib);
    assert!(grown_kib < 48 * 1024, "{grown_kib} KiB more");
}

/// Resident memory of the gateway.
pub(crate) fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.gateway_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_first_packet_draws_three_times_its_bytes_and_less_than_one_packet_more() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let answer = &h3(&node, "amplified", &[])[0];
    let (sent, drawn) = (answer["sent"].as_u64().unwrap(), answer["drawn"].as_u64().unwrap());
    // The library begins a packet as long as anything of the budget is left.
    assert!(drawn > 0 && drawn < 3 * sent + 1200, "{answer}");
}

#[test]
fn an_unknown_version_is_told_the_known_one_but_no_short_packet_is() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let answer = &h3(&node, "versions", &[])[0];
    assert_eq!(answer["negotiation"], true, "{answer}");
    assert_eq!((&answer["v1"], &answer["draft"]), (&Value::from(true), &Value::from(false)));
    assert_eq!(answer["to_short"], 0, "RFC 9000 section 5.2.2");
}

#[test]
fn a_listener_takes_http3_up_and_puts_it_down_at_a_reload() {
    let upstream = Scripted::ok();
    let with = over_http3(Site::to(upstream.address));
    let without = with.clone().only_listener("{address: \"127.0.0.2:0\", tls: one}");
    let node = Node::start(&without);
    for _ in 0..2 {
        node.apply(&with);
        assert_eq!(h3(&node, "get", &[&ca(&node), "/a"])[0]["status"], 200);
        node.apply(&without);
        // The worker may hear of it a moment later.
        assert!((0..10).any(|_| h3(&node, "reachable", &[&ca(&node)])[0]["connected"] == false));
    }
}

/// Starts a command of `h3.py` against a node.
fn h3_start(node: &Node, command: &str, more: &[&str]) -> peers::Running {
    let (ip, port) = (node.address.ip().to_string(), node.address.port().to_string());
    let mut arguments = vec![command, &ip, &port];
    arguments.extend(more);
    peers::start("h3.py", &arguments)
}

#[test]
fn a_request_in_progress_ends_before_the_gateway_does() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        while connection.request().is_some() {
            let _ = released.lock().unwrap().recv();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
        }
    });
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let mut client = h3_start(&node, "waiting", &[&ca(&node), "/a"]);
    assert_eq!(client.next()["asked"], true);
    upstream.head();
    node.signal(rustix::process::Signal::TERM);
    node.log.find("draining", |line| line.contains("draining").then_some(()));
    release.send(()).unwrap();
    assert_eq!(client.next()["body"], "late");
    assert_eq!(client.next()["closed"], true);
    assert_eq!(node.wait(), Some(0));
}

/// A ring that ends with its process holds what is waited for some milliseconds longer: a socket that went on receiving would take
/// what is meant for the next process, and answer nothing.
#[test]
fn who_sends_once_a_gateway_has_ended_is_refused() {
    let upstream = Scripted::ok();
    let address = std::net::UdpSocket::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let listener = format!("{{address: \"{address}\", protocols: [http1, http3], tls: one}}");
    let mut node = Node::start(&over_http3(Site::to(upstream.address)).only_listener(&listener));
    for _ in 0..16 {
        node.signal(rustix::process::Signal::TERM);
        assert_eq!(node.wait(), Some(0));
        let client = std::net::UdpSocket::bind((address.ip(), 0)).unwrap();
        client.connect(address).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        client.send(b"nobody is there").unwrap();
        let refused = client.recv(&mut [0; 1]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "a dead socket has taken it");
        node.restart_gateway();
    }
    assert_eq!(h3(&node, "get", &[&ca(&node), "/a"])[0]["status"], 200);
}

#[test]
fn a_killed_gateway_tells_its_former_clients_when_it_is_back() {
    let upstream = Scripted::ok();
    let address = std::net::UdpSocket::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let listener = format!("{{address: \"{address}\", protocols: [http1, http3], tls: one}}");
    let mut node = Node::start(&over_http3(Site::to(upstream.address)).only_listener(&listener));
    let mut client = h3_start(&node, "outliving", &[&ca(&node), "/a"]);
    assert_eq!(client.next()["status"], 200);
    node.signal(rustix::process::Signal::KILL);
    node.wait();
    node.restart_gateway();
    client.go_on();
    let told = client.next();
    assert_eq!(told["reset"], true, "a stateless reset, and no timeout: {told}");
    assert_eq!(h3(&node, "get", &[&ca(&node), "/a"])[0]["status"], 200);
}

#[test]
fn requests_that_are_reset_at_once_harm_nobody_else() {
    let upstream = Scripted::ok();
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    h3(&node, "get", &[&ca(&node), "/a"]);
    let before_kib = resident_kib(&node);
    let mut flood = h3_start(&node, "resets", &[&ca(&node), "/a", "3000"]);
    assert_eq!(h3(&node, "get", &[&ca(&node), "/a"])[0]["status"], 200);
    let told = flood.next();
    // It ends with its last request, or before: whoever goes beyond the credit for streams is cut off.
    assert!(told["sent"].as_u64().unwrap() > 100, "{told}");
    let grown_kib = resident_kib(&node).saturating_sub(before_kib);
    assert!(grown_kib < 32 * 1024, "{grown_kib} KiB more");
}

#[test]
fn those_who_take_nothing_hold_little_and_harm_nobody() {
    const BODY_BYTES: usize = 30_000_000;
    let upstream = Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /small") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                continue;
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n"));
            connection.send(vec![b'x'; BODY_BYTES]);
        }
    });
    let site = over_http3(Site::to(upstream.address)).settings("timeouts: {write_stall: 2s}");
    let node = Node::start(&site);
    h3(&node, "get", &[&ca(&node), "/small"]);
    let before_kib = resident_kib(&node);
    let mut greedy = h3_start(&node, "greedy", &[&ca(&node), "/a", "30"]);
    for _ in 0..30 {
        assert_eq!(greedy.next()["asked"], true);
    }
    assert_eq!(h3(&node, "get", &[&ca(&node), "/small"])[0]["status"], 200);
    let grown_kib = resident_kib(&node).saturating_sub(before_kib);
    assert!(grown_kib < 30 * 1024, "{grown_kib} KiB more for 30 connections");
    greedy.go_on();
}

/// Chromium asks for the page itself and says what it shows.
#[test]
fn chromium_is_served() {
    let upstream = Scripted::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 26\r\n\r\n<title>x</title><p>served.",
    );
    let node = Node::start(&over_http3(Site::to(upstream.address)));
    let hash = peers::run("h3.py", &["spki", &ca(&node)])[0]["hash"].as_str().unwrap().to_owned();
    let port = node.address.port();
    let profile = tempfile::tempdir().unwrap();
    let page = chromium(
        profile.path(),
        &[
            &format!("--origin-to-force-quic-on=api.test:{port}"),
            &format!("--ignore-certificate-errors-spki-list={hash}"),
            &format!("--host-resolver-rules=MAP api.test {}", node.address.ip()),
            "--dump-dom",
            &format!("https://api.test:{port}/a"),
        ],
    );
    assert!(page.contains("served."), "{page}");
    assert_eq!(node.assert_outcome("served")["protocol"], "h3");
}

/// What a headless Chromium prints; it asks for nothing but what it is told to.
pub(crate) fn chromium(profile: &Path, arguments: &[&str]) -> String {
    let output = peers::chromium(profile).args(arguments).output().expect("chromium is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
