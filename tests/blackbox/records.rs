//! Segments of records in shared memory: whose they are, and that they do not outlive what they are for.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// A named pipe that takes what it holds, and a node that logs to it more than that.
fn behind(folder: &Path) -> (Node, File) {
    let pipe = folder.join("access.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let node = Node::start(&site().access_log(&format!("file:{}", pipe.display())));
    let mut client = node.connect();
    for _ in 0..REQUESTS {
        assert_eq!(
            client.ask(format!("GET /{} HTTP/1.1\r\nHost: api.test\r\n\r\n", "x".repeat(900))).status,
            404
        );
    }
    node.log.find("nobody reads it", |line| line.contains("access log not written").then_some(()));
    (node, reader)
}

/// What their lines take is more than a pipe holds, and less than the segments do.
const REQUESTS: usize = 300;

#[test]
fn an_access_log_that_is_read_late_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (node, reader) = behind(folder.path());
    assert_eq!(node.connect().ask(GET).status, 200);
    let lines = BufReader::new(reader).lines().take(REQUESTS + 1);
    let paths: Vec<usize> = lines
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            record["path"].as_str().unwrap().len()
        })
        .collect();
    assert_eq!(paths.iter().filter(|length| **length == 901).count(), REQUESTS);
}

#[test]
fn an_access_log_into_a_pipe_that_nobody_has_opened_waits_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("access.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let node = Node::start(&site().access_log(&format!("file:{}", pipe.display())));
    assert_eq!(node.connect().ask(GET).status, 200);
    let mut line = String::new();
    BufReader::new(File::open(&pipe).unwrap()).read_line(&mut line).unwrap();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["outcome"], "served");
}

#[test]
fn an_access_log_that_nobody_reads_keeps_no_gateway_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let (node, _reader) = behind(folder.path());
    assert_eq!(node.connect().ask(GET).status, 200);
    node.signal(Signal::TERM);
    assert_eq!(node.wait(), Some(0));
    node.log.find("the end of the log", |line| line.contains("its last lines are lost").then_some(()));
}

#[test]
fn a_gateway_whose_own_log_is_closed_ends_in_order() {
    let node = Node::start(&site());
    let segments = segments(node.state());
    node.signal(Signal::TERM);
    node.wait();
    assert!(!segments.exists());
    let (reader, log) = std::io::pipe().unwrap();
    drop(reader);
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["gateway", "--workers", "1", "--state"])
        .arg(node.state())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    // It knows its signals before it makes segments, and has something to log after that.
    while !segments.join("owner").exists() {
        assert!(gateway.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    let id = rustix::process::Pid::from_raw(i32::try_from(gateway.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert_eq!(gateway.wait().unwrap().code(), Some(0));
}
