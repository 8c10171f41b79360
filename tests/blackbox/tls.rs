//! TLS listeners, as a client of another make sees them.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore};

use crate::node::{Node, also_on_epoll};
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(the_name_that_a_client_asks_for_chooses_the_certificate);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A certificate that signs itself.
pub(crate) struct Issued {
    /// PEM.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    /// The leaf.
    pub(crate) der: rustls::pki_types::CertificateDer<'static>,
}

/// Issues one for these names.
pub(crate) fn issue(names: &[&str]) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Issued { chain: certificate.pem(), key: key.serialize_pem(), der: certificate.der().clone() }
}

/// A client that trusts these alone.
fn client(trusted: &[&Issued]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for issued in trusted {
        roots.add(issued.der.clone()).unwrap();
    }
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn connect(node: &Node, client: &Arc<ClientConfig>, name: &str) -> std::io::Result<Raw> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    Raw::connect(node.address).secure(ClientConnection::new(Arc::clone(client), name).unwrap())
}

fn secured(site: Site, one: &Issued, other: &Issued) -> Site {
    site.only_listener("{address: \"127.0.0.2:0\", tls: both}")
        .more(concat!(
            "tls: {both: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}, ",
            "{chain: \"file:b.pem\", key: \"file:b.key\"}]}}"
        ))
        .file("a.pem", one.chain.as_str())
        .file("a.key", one.key.as_str())
        .file("b.pem", other.chain.as_str())
        .file("b.key", other.key.as_str())
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let upstream = Scripted::ok();
    let (one, other) = (issue(&["api.test"]), issue(&["*.shop.test"]));
    let node = Node::start(&secured(Site::to(upstream.address), &one, &other));
    let both = client(&[&one, &other]);
    for (name, certificate) in [("api.test", &one), ("a.shop.test", &other), ("b.shop.test", &other)] {
        let mut client = connect(&node, &both, name).unwrap();
        assert_eq!(client.tls().peer_certificates().unwrap()[0], certificate.der, "{name}");
        for _ in 0..2 {
            assert_eq!(client.ask(GET).text(), "ok");
            let record = node.assert_outcome("served");
            assert_eq!(record["tls"], true, "{record}");
        }
        let head = upstream.head().to_ascii_lowercase();
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{head}");
        upstream.head();
    }
    for name in ["other.test", "a.b.shop.test", "shop.test"] {
        let refused = connect(&node, &both, name).err().expect("an unknown name is refused").to_string();
        assert!(refused.contains("UnrecognisedName"), "{name}: {refused}");
    }
    node.wait_metric("ringway_tls_handshakes_failed_total", "", |failed| failed == 3.0);
    node.wait_metric("ringway_tls_handshakes_total", "", |done| done == 3.0);
}

#[test]
fn a_ticket_of_one_worker_is_taken_by_every_other() {
    let upstream = Scripted::ok();
    let (one, other) = (issue(&["api.test"]), issue(&["other.test"]));
    let node = Node::start_with(&secured(Site::to(upstream.address), &one, &other), 2);
    let config = client(&[&one]);
    for round in 0..8 {
        let mut client = connect(&node, &config, "api.test").unwrap();
        assert_eq!(client.ask(GET).text(), "ok");
        node.assert_outcome("served");
        let expected = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
        let kind = client.tls().handshake_kind();
        let again = kind == Some(HandshakeKind::FullWithHelloRetryRequest) && round == 0;
        assert!(kind == Some(expected) || again, "round {round}: {kind:?}");
    }
    node.wait_metric("ringway_tls_handshakes_resumed_total", "", |resumed| resumed == 7.0);
}

#[test]
fn plain_text_on_a_tls_listener_is_closed_and_harms_nobody() {
    let upstream = Scripted::ok();
    let (one, other) = (issue(&["api.test"]), issue(&["other.test"]));
    let site = secured(Site::to(upstream.address), &one, &other);
    let node = Node::start(&site.clone().settings("timeouts: {handshake: 300ms}"));
    let got = node.connect().send(GET).rest();
    assert!(!got.starts_with(b"HTTP/"), "{:?}", String::from_utf8_lossy(&got));
    node.connect().assert_closed();
    upstream.assert_untouched();
    node.apply(&site);
    assert_eq!(connect(&node, &client(&[&one]), "api.test").unwrap().ask(GET).text(), "ok");
}

#[test]
fn a_reply_that_is_cut_does_not_end_its_tls_in_order() {
    let (arrived, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let upstream = Scripted::start(move |connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        told.lock().unwrap().recv().unwrap();
    });
    let (one, other) = (issue(&["api.test"]), issue(&["other.test"]));
    let node = Node::start(&secured(Site::to(upstream.address), &one, &other));
    let mut client = connect(&node, &client(&[&one]), "api.test").unwrap();
    client.send(GET).until(b"half");
    arrived.send(()).unwrap();
    assert!(client.ends_in_disorder(), "close_notify after half a reply says that it was whole");
    node.assert_outcome("upstream_body_short");
}

#[test]
fn a_certificate_is_changed_without_a_listener_restart() {
    let upstream = Scripted::ok();
    let (one, other, fresh) = (issue(&["api.test"]), issue(&["other.test"]), issue(&["api.test"]));
    let node = Node::start(&secured(Site::to(upstream.address), &one, &other));
    let mut kept = connect(&node, &client(&[&one]), "api.test").unwrap();
    assert_eq!(kept.ask(GET).text(), "ok");
    node.apply(&secured(Site::to(upstream.address), &fresh, &other));
    let mut renewed = connect(&node, &client(&[&fresh]), "api.test").unwrap();
    assert_eq!(renewed.ask(GET).text(), "ok");
    assert_eq!(kept.ask(GET).text(), "ok", "what is open goes on");
}

#[test]
fn a_certificate_that_is_replaced_on_disk_is_served_and_a_bad_one_is_not() {
    let upstream = Scripted::ok();
    let (one, other, next) = (issue(&["api.test"]), issue(&["*.shop.test"]), issue(&["api.test"]));
    let node = Node::start(&secured(Site::to(upstream.address), &one, &other));
    let all = client(&[&one, &other, &next]);
    let served = || {
        let client = connect(&node, &all, "api.test").unwrap();
        client.tls().peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(served(), one.der);
    std::fs::write(node.state().join("a.key"), &next.key).unwrap();
    std::fs::write(node.state().join("a.pem"), &next.chain).unwrap();
    let changed = std::time::Instant::now();
    while served() != next.der {
        assert!(changed.elapsed() < std::time::Duration::from_secs(50), "it is not noticed");
    }
    std::fs::write(node.state().join("a.pem"), "no certificate").unwrap();
    let status = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["status", "--state"])
            .arg(node.state())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let changed = std::time::Instant::now();
    while !status().contains("a.pem has changed and is not applied") {
        assert!(changed.elapsed() < std::time::Duration::from_secs(50), "{}", status());
    }
    assert_eq!(served(), next.der);
}
