//! Segments of records in shared memory: whose they are, and that they do not outlive what they are for.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::node::Node;
use crate::scripted::Scripted;
use crate::site::Site;

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

fn site() -> Site {
    Site::bare().route("/a: {respond: {status: 200, body: ok}}")
}

fn segments(state: &Path) -> PathBuf {
    let id = std::fs::read_to_string(state.join("node.id")).unwrap();
    Path::new("/dev/shm").join(format!("ringway-{}", id.trim()))
}

#[test]
fn an_orderly_end_takes_the_segments_away_and_a_kill_leaves_them() {
    let mut node = Node::start(&site());
    assert_eq!(node.connect().ask(GET).status, 200);
    node.assert_outcome("served");
    let segments = segments(node.state());
    assert!(segments.join("owner").exists());
    node.restart_gateway();
    assert!(segments.exists());
    node.signal(Signal::KILL);
    node.wait();
    assert!(std::fs::read_dir(&segments).unwrap().count() > 1, "a killed process loses no record");
    node.restart_gateway();
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
    assert!(!segments.exists());
}

#[test]
fn requests_in_flight_are_counted_until_they_end() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let upstream = Scripted::start(move |connection| {
        connection.request().unwrap();
        released.lock().unwrap().recv().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let node = Node::start(&Site::to(upstream.address));
    let mut clients = [node.connect(), node.connect()];
    for client in &mut clients {
        client.send(GET);
    }
    node.wait_metric("ringway_requests_in_flight", "", |open| open == 2.0);
    // Either may be the first to be answered.
    clients.iter().for_each(|_| release.send(()).unwrap());
    for client in &mut clients {
        assert_eq!(client.reply().status, 200);
    }
    node.wait_metric("ringway_requests_in_flight", "", |open| open == 0.0);
}

#[test]
fn what_a_killed_gateway_left_goes_once_its_state_directory_is_gone_and_what_a_live_one_has_stays() {
    let (killed, live, mut sweeping) = (Node::start(&site()), Node::start(&site()), Node::start(&site()));
    let (lost, kept) = (segments(killed.state()), segments(live.state()));
    killed.signal(Signal::KILL);
    killed.wait();
    std::fs::remove_file(killed.state().join("node.id")).unwrap();
    std::fs::remove_file(live.state().join("node.id")).unwrap();
    sweeping.restart_gateway();
    assert!(!lost.exists() && kept.exists());
    assert_eq!(live.connect().ask(GET).status, 200);
    live.assert_outcome("served");
    live.signal(Signal::TERM);
    live.wait();
}

#[test]
fn a_second_gateway_on_a_state_directory_ends_and_leaves_the_first_as_it_is() {
    let node = Node::start(&site());
    let second = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["gateway", "--workers", "1", "--state"])
        .arg(node.state())
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another gateway runs on the state directory"), "{said}");
    assert_eq!(node.connect().ask(GET).status, 200);
    node.assert_outcome("served");
}
