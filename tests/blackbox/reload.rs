//! Generations come and go, processes end and begin: no request is lost.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use rustix::process::Signal;

use crate::node::{Node, also_on_epoll, own_address};
use crate::scripted::Scripted;
use crate::site::Site;
use crate::websocket;

also_on_epoll!(
    reloads_lose_no_request_and_close_no_connection
    a_drain_finishes_what_has_begun_and_begins_nothing
    who_connects_once_a_gateway_has_ended_is_refused
);

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// Serves `ok`, and WebSockets below `/ws/`.
fn serving() -> Scripted {
    Scripted::start(|connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /ws/") {
                return websocket::echo_after(connection);
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

#[test]
fn reloads_lose_no_request_and_close_no_connection() {
    let upstream = serving();
    let site = Site::to(upstream.address).settings("trace: none");
    let node = Node::start_with(&site, 2);
    let mut tunnel = node.connect();
    assert_eq!(tunnel.ask(websocket::UPGRADE).status, 101);
    let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
    // On a slow machine the reloads take long: more requests than this would be more records than segments hold.
    let allowed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // One connection throughout: were it closed, the next request would fail.
                let mut client = node.connect();
                while !done.load(Ordering::Relaxed) {
                    if asked.load(Ordering::Relaxed) >= allowed.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                        continue;
                    }
                    assert_eq!(client.ask(GET).text(), "ok");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..15 {
            let before = asked.load(Ordering::Relaxed);
            allowed.store(before + 1000, Ordering::Relaxed);
            node.apply(&site.clone().route(&format!("/other/{number}: {{to: one}}")));
            let during = asked.load(Ordering::Relaxed);
            allowed.store(during + 100, Ordering::Relaxed);
            while asked.load(Ordering::Relaxed) == during {
                std::thread::yield_now();
            }
            assert_eq!(tunnel.send("still here").exactly(10), b"still here");
        }
        done.store(true, Ordering::Relaxed);
    });
    for _ in 0..asked.load(Ordering::Relaxed) {
        node.assert_outcome("served");
    }
    node.wait_metric("ringway_connections_accepted_total", "", |accepted| accepted == 4.0);
    node.wait_metric("ringway_generations_live", "", |live| live == 1.0);
    tunnel.finish().rest();
    node.assert_outcome("tunnel_closed");
}

#[test]
fn a_kept_connection_is_decided_by_the_newest_generation() {
    let node = Node::start(&Site::bare().route("/a: {respond: {status: 200, body: one}}"));
    let mut client = node.connect();
    assert_eq!(client.ask(GET).text(), "one");
    assert_eq!(node.assert_outcome("served")["generation"], 1);
    node.apply(&Site::bare().route("/a: {respond: {status: 200, body: two}}"));
    assert_eq!(client.ask(GET).text(), "two");
    assert_eq!(node.assert_outcome("served")["generation"], 2);
    assert_eq!(node.metric("ringway_generation", ""), 2.0);
}

#[test]
fn listeners_come_and_go_without_harm_to_the_others() {
    let site = Site::bare().route("/a: {respond: {status: 200, body: ok}}");
    let node = Node::start(&site);
    let mut kept = node.connect();
    assert_eq!(kept.ask(GET).status, 200);
    node.apply(&site.clone().listener("{address: \"127.0.0.3:0\"}").listener("{address: \"[::1]:0\"}"));
    let added = node.listener("127.0.0.3:0");
    let mut there = crate::raw::Raw::connect(added);
    assert_eq!(there.ask(GET).status, 200);
    assert_eq!(crate::raw::Raw::connect(node.listener("[::1]:0")).ask(GET).status, 200);
    node.apply(&site);
    while TcpStream::connect(added).is_ok() {
        // The workers hear of it one after another.
        std::thread::yield_now();
    }
    assert_eq!(kept.ask(GET).status, 200);
    assert_eq!(node.connect().ask(GET).status, 200);
}

#[test]
fn a_caller_that_takes_its_time_with_a_fixed_response_holds_no_generation() {
    let site = |more: &str| {
        let body = "x".repeat(4 << 20);
        Site::bare().route(&format!("/large: {{respond: {{status: 200, body: {body}}}}}")).route(more)
    };
    let node = Node::start(&site("/own: {respond: {status: 200, body: one}}"));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&node.address.into()).unwrap();
    let mut reader = TcpStream::from(socket);
    std::io::Write::write_all(&mut reader, b"GET /large HTTP/1.1\r\nHost: api.test\r\n\r\n").unwrap();
    // Its first bytes are there: it is being answered.
    reader.peek(&mut [0]).unwrap();
    let mut writer = node.connect();
    writer.send("POST /own HTTP/1.1\r\nHost: api.test\r\nContent-Length: 60000\r\n\r\nabc");
    assert_eq!(writer.reply().text(), "one");
    node.apply(&site("/own: {respond: {status: 200, body: two}}"));
    node.wait_metric("ringway_generations_live", "", |live| live == 1.0);
    assert_eq!(node.connect().ask("GET /own HTTP/1.1\r\nHost: api.test\r\n\r\n").text(), "two");
    // The reader still gets all of what it asked for.
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(&mut reader, 4 << 20), &mut got).unwrap();
    assert_eq!(got.len(), 4 << 20);
}

/// Answers `/slow` once it is released, anything else at once.
fn releasable() -> (Scripted, Sender<()>) {
    let (release, released) = channel();
    let released = Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        while let Some((head, _)) = connection.request() {
            if head.starts_with("GET /slow ") {
                let _ = released.lock().unwrap().recv();
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (upstream, release)
}

#[test]
fn a_drain_finishes_what_has_begun_and_begins_nothing() {
    let (upstream, release) = releasable();
    let node = Node::start(&Site::to(upstream.address));
    let mut idle = node.connect();
    assert_eq!(idle.ask(GET).status, 200);
    node.assert_outcome("served");
    upstream.head();
    let mut busy = node.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n");
    upstream.head();
    node.signal(Signal::TERM);
    idle.assert_closed();
    assert_eq!(node.admin("/ready").status, 503);
    let late = TcpStream::connect(node.address);
    assert!(late.is_err(), "a connection was taken that nobody serves");
    release.send(()).unwrap();
    let reply = busy.reply();
    assert_eq!((reply.text(), reply.field("connection")), ("ok", Some("close")), "{}", reply.head);
    busy.assert_closed();
    assert_eq!(node.wait(), Some(0));
    node.assert_outcome("served");
}

/// A ring that ends with its process holds what is waited for some milliseconds longer: a socket that went on listening would take
/// connections that nobody serves, and reset them.
#[test]
fn who_connects_once_a_gateway_has_ended_is_refused() {
    let mut node = Node::start(&Site::to(serving().address));
    for _ in 0..8 {
        node.signal(Signal::TERM);
        assert_eq!(node.wait(), Some(0));
        let late = TcpStream::connect(node.address).map(drop);
        assert_eq!(late.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        node.restart_gateway();
    }
    assert_eq!(node.connect().ask(GET).status, 200);
}

#[test]
fn a_drain_opens_no_tunnel_that_it_would_have_to_cut() {
    let (upstream, release) = releasable();
    let node = Node::start(&Site::to(upstream.address));
    let mut idle = node.connect();
    assert_eq!(idle.ask(GET).status, 200);
    node.assert_outcome("served");
    upstream.head();
    let mut busy = node.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n");
    upstream.head();
    let mut late = node.connect();
    // Its first bytes are there before the drain begins: the connection is not idle.
    let (begin, rest) = websocket::UPGRADE.split_at(10);
    late.send(begin);
    node.wait_metric("ringway_connections_open", "", |open| open >= 3.0);
    node.signal(Signal::TERM);
    // The worker itself knows by now.
    idle.assert_closed();
    let reply = late.ask(rest);
    assert_eq!((reply.status, reply.field("connection")), (503, Some("close")), "{}", reply.head);
    assert!(reply.field("retry-after").is_some(), "{}", reply.head);
    late.assert_closed();
    node.assert_outcome("draining");
    upstream.assert_untouched();
    release.send(()).unwrap();
    assert_eq!(busy.reply().text(), "ok");
    assert_eq!(node.wait(), Some(0));
}

#[test]
fn a_drain_cuts_what_is_left_at_its_deadline() {
    let (upstream, _release) = releasable();
    let node = Node::start(&Site::to(upstream.address).settings("timeouts: {drain: 200ms}"));
    let mut busy = node.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n");
    upstream.head();
    let mut tunnel = node.connect();
    node.signal(Signal::TERM);
    tunnel.assert_closed();
    busy.rest();
    assert_eq!(node.wait(), Some(0));
    assert_eq!(node.record()["outcome"], "drain_cut");
}

#[test]
fn a_gateway_serves_and_starts_again_without_control_and_catches_up_when_it_returns() {
    let site = |body: &str| Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"));
    let mut node = Node::start(&site("one"));
    node.kill_control();
    assert_eq!(node.connect().ask(GET).text(), "one");
    node.wait_metric("ringway_control_reachable", "", |reachable| reachable == 0.0);
    node.restart_gateway();
    assert_eq!(node.connect().ask(GET).text(), "one", "from disk");
    node.start_control();
    node.apply(&site("two"));
    assert_eq!(node.connect().ask(GET).text(), "two");
}

#[test]
fn a_corrupt_snapshot_or_pointer_is_refused_while_the_last_good_one_serves() {
    let site = |body: &str| Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"));
    let node = Node::start(&site("one"));
    let snapshots = node.state().join("snapshots");
    let first_pointer = std::fs::read(snapshots.join("current")).unwrap();
    let first: Vec<_> = std::fs::read_dir(&snapshots)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rws"))
        .collect();
    assert_eq!(first.len(), 1);
    node.apply(&site("two"));
    node.kill_control();

    // The pointer goes back to the first one, whose file has lost a bit.
    let mut bytes = std::fs::read(&first[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&first[0], &bytes).unwrap();
    replace(&snapshots, &first_pointer);
    node.log.find("a refusal", |line| line.contains("its checksum differs").then_some(()));
    assert_eq!(node.connect().ask(GET).text(), "two");
    node.wait_metric("ringway_generations_rejected_total", "", |rejected| rejected >= 1.0);

    // A pointer that is none, and one whose signature does not hold.
    replace(&snapshots, b"nonsense");
    let complaint = |words: &'static str| {
        node.log
            .find(words, |line| (line.contains("snapshot refused") && line.contains(words)).then_some(()));
    };
    complaint("pointer to the current snapshot is damaged");
    assert_eq!(node.connect().ask(GET).text(), "two");
    let mut forged = first_pointer.clone();
    let last = forged.iter().rposition(u8::is_ascii_hexdigit).unwrap();
    forged[last] = if forged[last] == b'0' { b'1' } else { b'0' };
    replace(&snapshots, &forged);
    complaint("pointer to the current snapshot is not signed by a trusted key");
    assert_eq!(node.connect().ask(GET).text(), "two");
}

#[test]
fn a_snapshot_that_the_disk_damaged_is_refused_and_fetched_again() {
    let mut node = Node::start(&Site::bare().route("/a: {respond: {status: 200, body: one}}"));
    let snapshots = node.state().join("snapshots");
    let file = std::fs::read_dir(&snapshots)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "rws"))
        .unwrap();
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for damaged in [bad.as_slice(), &good[..good.len() / 2], b""] {
        node.signal(Signal::TERM);
        node.wait();
        std::fs::write(&file, damaged).unwrap();
        node.restart_gateway();
        node.log.find("it is fetched", |line| line.contains("snapshot fetched from control").then_some(()));
        assert_eq!(node.connect().ask(GET).text(), "one");
        assert!(std::fs::read(&file).unwrap() == good);
    }
}

#[test]
fn a_start_without_control_serves_what_was_published_last_and_is_good() {
    let site = |body: &str| Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"));
    let mut node = Node::start(&site("one"));
    let snapshots = node.state().join("snapshots");
    for (body, pointer, served) in [("two", true, "one"), ("three", false, "two")] {
        let generation = node.apply(&site(body));
        node.kill_control();
        node.signal(Signal::TERM);
        node.wait();
        let text = std::fs::read_to_string(snapshots.join("current")).unwrap();
        let hash = text.lines().find_map(|line| line.strip_prefix("snapshot ")).unwrap();
        std::fs::write(snapshots.join(format!("{hash}.rws")), b"cut off").unwrap();
        if pointer {
            std::fs::write(snapshots.join("current"), b"").unwrap();
        }
        node.restart_gateway();
        node.log.find("what it serves", |line| {
            line.contains("published last and is good is taken").then_some(())
        });
        assert_eq!(node.connect().ask(GET).text(), served);
        node.start_control();
        let newest = format!("generation is live generation={generation} ");
        node.log.find(&newest, |line| line.contains(&newest).then_some(()));
    }
}

#[test]
fn a_start_without_control_serves_nothing_that_was_taken_back() {
    let site = |body: &str| Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"));
    let mut node = Node::start(&site("one"));
    for body in ["two", "leak"] {
        node.apply(&site(body));
    }
    let back = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["rollback", "--state"])
        .arg(node.state())
        .output()
        .unwrap();
    assert!(back.status.success(), "{back:?}");
    assert_eq!(node.connect().ask(GET).text(), "two");
    node.kill_control();
    let snapshots = node.state().join("snapshots");
    let pointer = std::fs::read_to_string(snapshots.join("current")).unwrap();
    let hash = pointer.lines().find_map(|line| line.strip_prefix("snapshot ")).unwrap();
    let file = format!("{hash}.rws");
    for (damaged, content, served) in
        [("current", "", "two"), ("current", &*pointer, "two"), (&*file, "cut off", "one")]
    {
        node.signal(Signal::TERM);
        node.wait();
        std::fs::write(snapshots.join(damaged), content).unwrap();
        node.restart_gateway();
        node.log.find("what is live", |line| line.contains("generation is live").then_some(()));
        assert_eq!(node.connect().ask(GET).text(), served, "{damaged}");
    }
}

#[test]
fn status_shows_what_each_node_serves_and_when_it_was_seen() {
    let node = Node::start(&Site::bare().route("/a: {respond: {status: 200, body: one}}"));
    let status = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["status", "--output", "json", "--state"])
            .arg(node.state())
            .output()
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["nodes"][0].clone()
    };
    let first = status();
    assert_eq!((&first["connected"], &first["generation"]), (&true.into(), &1.into()), "{first}");
    // Nothing but heartbeats makes it say more.
    let began = std::time::Instant::now();
    while status()["heard_at"] == first["heard_at"] {
        assert!(began.elapsed() < std::time::Duration::from_secs(50), "no heartbeat came");
    }
    assert!(status()["silent_ms"].as_u64().unwrap() < 20_000);
}

#[test]
fn a_generation_whose_port_is_taken_is_refused_until_it_is_free() {
    let site = |body: &str| Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"));
    let node = Node::start(&site("one"));
    let taken = std::net::TcpListener::bind((own_address(), 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let two = site("two").listener(&format!("{{address: \"{address}\"}}"));
    let (applied, ended) = crate::node::try_apply(node.state(), &two);
    assert_eq!(ended.status.code(), Some(1), "{applied}");
    let refused = &applied["live"]["refused"][0]["reason"];
    assert!(
        refused.as_str().is_some_and(|reason| reason.contains(&format!("bind listener {address}"))),
        "{applied}"
    );
    assert_eq!(node.connect().ask(GET).text(), "one");
    let began = std::time::Instant::now();
    drop(taken);
    node.log
        .find("the second attempt", |line| line.contains("generation is live generation=2").then_some(()));
    // Not only once there is news from control.
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(crate::raw::Raw::connect(address).ask(GET).text(), "two");
}

#[test]
fn an_admin_port_that_is_taken_is_seen_in_status() {
    let site = Site::bare().route("/a: {respond: {status: 200, body: ok}}");
    let node = Node::start(&site);
    let taken = std::net::TcpListener::bind((own_address(), 0)).unwrap();
    node.apply(&site.admin(taken.local_addr().unwrap()));
    let status = || {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["status", "--state"])
            .arg(node.state())
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shows = |wanted: bool| {
        let began = std::time::Instant::now();
        while status().contains(&format!("the admin listener is not bound to {}:", own_address())) != wanted {
            assert!(began.elapsed() < std::time::Duration::from_secs(50), "{}", status());
        }
    };
    shows(true);
    drop(taken);
    shows(false);
}

#[test]
fn a_drain_does_not_wait_for_who_leaves_its_side_open() {
    // Were it waited for, that would take two seconds every time; a machine that stands still does so now and then.
    let ends_soon = |_| {
        let (upstream, release) = releasable();
        let node = Node::start(&Site::to(upstream.address));
        let mut busy = node.connect();
        busy.send("GET /slow HTTP/1.1\r\nHost: api.test\r\n\r\n");
        upstream.head();
        node.signal(Signal::TERM);
        node.log.find("it drains", |line| line.contains("draining").then_some(()));
        release.send(()).unwrap();
        assert_eq!(busy.reply().text(), "ok");
        let answered = std::time::Instant::now();
        assert_eq!(node.wait(), Some(0));
        answered.elapsed() < std::time::Duration::from_millis(1500)
    };
    assert!((0..10).any(ends_soon));
}

fn replace(snapshots: &std::path::Path, pointer: &[u8]) {
    let fresh = snapshots.join("fresh");
    std::fs::write(&fresh, pointer).unwrap();
    std::fs::rename(fresh, snapshots.join("current")).unwrap();
}

#[test]
fn the_admin_listener_says_what_the_node_is_doing() {
    let upstream = serving();
    let node = Node::start(&Site::to(upstream.address));
    assert_eq!((node.admin("/live").status, node.admin("/ready").text()), (200, "ready\n"));
    assert_eq!(node.connect().ask(GET).status, 200);
    node.assert_outcome("served");
    let labels = "{outcome=\"served\",kind=\"served\",status_class=\"2xx\",protocol=\"http/1.1\"}";
    node.wait_metric("ringway_requests_total", labels, |requests| requests == 1.0);
    let upstreams: serde_json::Value = serde_json::from_slice(&node.admin("/upstreams").body).unwrap();
    assert_eq!(upstreams[0]["name"], "one", "{upstreams}");
    assert_eq!(upstreams[0]["endpoints"][0]["address"], upstream.address.to_string());
    assert_eq!(node.admin("/nothing").status, 404);
}

#[test]
fn the_admin_thread_waits_and_looks_for_nothing() {
    let silent = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(silent.address).route("/silent: {to: one, timeout: {request: 2s}}"));
    assert_eq!(node.admin("/live").status, 200);
    let before = node.sleeps_of("admin");
    assert_eq!(node.connect().ask("GET /silent HTTP/1.1\r\nHost: api.test\r\n\r\n").status, 504);
    let slept = node.sleeps_of("admin") - before;
    // It may have been on its way to sleep when it was first looked at.
    assert!(before > 0 && slept <= 2, "{slept} times in two seconds");
}

#[test]
fn who_asks_when_as_many_are_served_as_may_be_is_served_when_one_has_gone() {
    let node = Node::start(&Site::bare().route("/a: {respond: {status: 200, body: ok}}"));
    let mut held: Vec<_> = (0..16).map(|_| node.connect_to_admin()).collect();
    let mut late = node.connect_to_admin();
    late.send("GET /live HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    held.pop();
    assert_eq!(late.reply().status, 200);
}
