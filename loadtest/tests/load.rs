//! `ringway-load` from outside: real processes and sockets, against peers that behave as each test needs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

#[path = "load/multiplexed.rs"]
mod multiplexed;
#[path = "load/outputs.rs"]
mod outputs;
#[path = "load/peer.rs"]
mod peer;
#[path = "load/protocols.rs"]
mod protocols;

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;

use peer::{Answer, Peer, reply, stall};

/// The program with these arguments, to its end.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway-load")).args(arguments).output().unwrap()
}

/// Its JSON report. Everything else that it says is shown where the test fails.
fn report(arguments: &[&str]) -> Value {
    let output = run(&[arguments, &["-q", "--json", "-", "-t", "1"]].concat());
    let json = serde_json::from_slice(&output.stdout);
    json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {report:#}"))
}

fn percentile(latency: &Value, percentile: f64) -> f64 {
    let all = latency["percentiles"].as_array().unwrap();
    number(all.iter().find(|known| known["percentile"].as_f64() == Some(percentile)).unwrap(), "/ns") / 1e6
}

fn failures(report: &Value) -> Vec<(String, u64)> {
    let rows = report["failures"].as_array().unwrap().iter();
    rows.map(|row| (row["class"].as_str().unwrap().to_owned(), row["count"].as_u64().unwrap())).collect()
}

fn quick() -> Peer {
    Peer::start(|_| Answer::Keep(reply(200, "hello")))
}

/// A peer that stands still for a second, once, for all its connections.
fn stalling() -> Peer {
    let still = Mutex::new(());
    Peer::start(move |request| {
        let _standing = still.lock().unwrap();
        if request.number == 200 {
            stall(Duration::from_secs(1));
        }
        Answer::Keep(reply(200, "hello"))
    })
}

#[test]
fn a_stall_is_not_hidden_in_an_open_loop() {
    let peer = stalling();
    let open = report(&["-r", "200", "-d", "3s", "-c", "4", "--drain", "30s", &peer.url("/")]);
    assert_eq!(number(&open, "/requests/answered"), 600.0);
    // A third of the requests were due while the peer stood still: they waited half a second on average.
    let corrected = percentile(&open["latency"], 90.0);
    assert!((500.0..30_000.0).contains(&corrected), "p90 of the latency is {corrected} ms");
    assert!(percentile(&open["latency"], 99.0) > 900.0);
    // Four connections saw it: that is what a tool that waits for replies before it sends would show.
    let service = percentile(&open["service"], 90.0);
    assert!(
        service < corrected / 2.0,
        "p90 of the service time is {service} ms, and {corrected} of the latency"
    );
    assert!(number(&open, "/requests/waited") > 150.0);

    let closed = report(&["-n", "600", "-d", "30s", "-c", "4", &stalling().url("/")]);
    let (most, all) = (percentile(&closed["latency"], 90.0), number(&closed, "/latency/max_ns") / 1e6);
    assert!(all > 900.0 && most < all / 2.0, "a closed loop cannot see it: {most} of {all} ms");
}

#[test]
fn the_rate_is_kept_within_one_per_cent() {
    let peer = quick();
    let report = report(&["-r", "500", "-d", "2s", "-c", "8", "--drain", "30s", &peer.url("/")]);
    assert!((number(&report, "/rates/due") - 500.0).abs() < 5.0);
    let received = peer.received();
    assert!(received.len().abs_diff(1000) <= 10, "{} came", received.len());
    let first = received.iter().map(|request| request.at).min().unwrap();
    let last = received.iter().map(|request| request.at).max().unwrap();
    let seconds = (last - first).as_secs_f64();
    // The first and the last may be as late as the slowest: what the machine did to both sides is in the latencies.
    let late = number(&report, "/latency/max_ns") / 1e9;
    assert!((1.97 - late..2.02 + late).contains(&seconds), "they came within {seconds} s");
}

/// How they are spread is the law of the schedule, and tested there without a clock; here, that it is the one in use.
#[test]
fn poisson_arrivals_are_drawn_by_the_seed() {
    let due = |arguments: &[&str]| {
        let peer = quick();
        let all = ["-r", "400", "-d", "500ms", "-c", "8"];
        number(&report(&[&all, arguments, &[&peer.url("/")]].concat()), "/requests/due")
    };
    assert_eq!(due(&[]), 200.0);
    let one = due(&["--arrivals", "poisson", "--seed", "7"]);
    assert_eq!(one, due(&["--arrivals", "poisson", "--seed", "7"]));
    assert!(one != 200.0 && (130.0..270.0).contains(&one), "{one}");
    assert_ne!(one, due(&["--arrivals", "poisson", "--seed", "8"]));
}

#[test]
fn places_are_filled_in_from_files_and_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.csv");
    std::fs::write(&users, "id,token\n7,abc\n8,\"d,e\"\n").unwrap();
    let peer = quick();
    let data = format!("users={}", users.display());
    let body = "{\"n\": {{seq}}, \"id\": \"{{uuid}}\"}";
    let header = "Authorization: Bearer {{users:token}}";
    let url = peer.url("/u/{{users:id}}?r={{rand:1:6}}");
    report(&["-n", "40", "-c", "2", "--data", &data, "-H", header, "-b", body, &url]);
    let received = peer.received();
    assert_eq!(received.len(), 40);
    let mut bodies = BTreeSet::new();
    for request in received.iter() {
        let (user, random) = request.target().strip_prefix("/u/").unwrap().split_once("?r=").unwrap();
        let token = match user {
            "7" => "Bearer abc",
            "8" => "Bearer d,e",
            other => panic!("user {other}"),
        };
        assert_eq!(request.field("authorization"), Some(token), "cells of one request are of one row");
        assert!((1..=6).contains(&random.parse::<u32>().unwrap()));
        assert!(request.head.starts_with("POST "));
        assert!(bodies.insert(request.body.clone()), "no body comes twice");
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert!(body["n"].as_u64().unwrap() < 40 && body["id"].as_str().unwrap().len() == 36);
    }
}

#[test]
fn targets_are_taken_by_their_weights() {
    let peer = quick();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mixed.scenario");
    let (one, other) = (peer.url("/one"), peer.url("/other"));
    let text = format!(
        "target GET {one}\n  weight 3\n  name one\ntarget PUT {other}\n  body x\n  expect-status 201\n"
    );
    std::fs::write(&path, text).unwrap();
    let report = report(&["-n", "400", "-c", "4", "--scenario", path.to_str().unwrap()]);
    let ones = peer.received().iter().filter(|request| request.target() == "/one").count();
    assert!((240..360).contains(&ones), "{ones} of 400");
    assert_eq!(number(&report, "/targets/0/answered"), ones as f64);
    assert_eq!(report["targets"][0]["name"], "one");
    assert_eq!(
        failures(&report),
        [("status".to_owned(), 400 - ones as u64)],
        "only the other one expects 201"
    );
}

#[test]
fn failed_checks_are_counted_by_their_class() {
    let peer = Peer::start(|request| match request.number % 4 {
        0 => Answer::Keep(reply(500, "fine")),
        1 => Answer::Keep(reply(200, "longer than fine")),
        2 => Answer::Keep(reply(200, "fin!")),
        _ => Answer::Keep(reply(200, "fine")),
    });
    let url = peer.url("/");
    let checked = report(&["-n", "40", "-c", "1", "--expect-length", "4", "--expect-body", "fine", &url]);
    let expected = [("status", 10), ("length", 10), ("substring", 10)];
    assert_eq!(failures(&checked), expected.map(|(class, count)| (class.to_owned(), count)));
    assert_eq!(number(&checked, "/requests/failed_share"), 0.75);
    assert_eq!(number(&checked, "/requests/answered"), 40.0);
    assert_eq!(checked["statuses"][1]["status"], 500);
    // printf fine | sha256sum
    let hash = "18d0bb2c5ca46b56b92bb18b86d9e3ab9ce2b2b94eeb19f06f93b9c08bb8a9a4";
    let hashed = report(&["-n", "8", "-c", "1", "--expect-status", "200,500", "--expect-sha256", hash, &url]);
    assert_eq!(failures(&hashed)[0].0, "body");
}

#[test]
fn what_breaks_is_counted_by_its_class() {
    let broken = Peer::start(|request| match request.number % 3 {
        0 => Answer::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec()),
        1 => Answer::Close(b"NONSENSE\r\n\r\n".to_vec()),
        _ => Answer::Keep(reply(200, "")),
    });
    let report = report(&["-n", "30", "-c", "1", &broken.url("/")]);
    let counted = [("closed".to_owned(), 10), ("malformed".to_owned(), 10)];
    assert_eq!(failures(&report), counted);
    assert_eq!(number(&report, "/requests/due"), 30.0);
}

#[test]
fn a_timeout_counts_with_the_time_that_it_took() {
    let silent = Peer::start(|_| Answer::Silence);
    let report = report(&["-n", "4", "-c", "2", "--timeout", "300ms", &silent.url("/")]);
    assert_eq!(failures(&report), [("timeout".to_owned(), 4)]);
    assert!(percentile(&report["latency"], 50.0) >= 300.0);
}

#[test]
fn what_was_never_answered_or_sent_is_not_forgotten() {
    let silent = Peer::start(|_| Answer::Silence);
    let report = report(&["-r", "50", "-d", "1s", "-c", "1", "--drain", "3s", &silent.url("/")]);
    assert_eq!(failures(&report), [("unfinished".to_owned(), 1), ("unsent".to_owned(), 49)]);
    assert_eq!(number(&report, "/latency/count"), 50.0);
    assert!(
        percentile(&report["latency"], 50.0) >= 600.0,
        "half of them waited for more than half of the run"
    );
}

#[test]
fn a_connection_that_was_closed_meanwhile_is_opened_again() {
    let closing = Peer::start(|_| Answer::Close(reply(200, "x")));
    let get = report(&["-n", "10", "-c", "1", &closing.url("/")]);
    assert_eq!((number(&get, "/requests/answered"), number(&get, "/requests/failed")), (10.0, 0.0));
    assert_eq!(number(&get, "/requests/resent"), 9.0);
    let post = report(&["-n", "10", "-c", "1", "-b", "x", &closing.url("/")]);
    assert!(number(&post, "/requests/failed") >= 4.0, "what must not be repeated is not");
}

#[test]
fn connections_are_renewed_and_held_idle() {
    let peer = quick();
    let churn = report(&["-n", "20", "-c", "2", "--requests-per-connection", "1", &peer.url("/")]);
    assert_eq!(number(&churn, "/requests/failed"), 0.0);
    assert_eq!(peer.connections(20), 20);
    assert!(peer.received().iter().all(|request| request.field("connection") == Some("close")));
    let holding = quick();
    let held = report(&["-n", "10", "-c", "2", "--idle", "30", &holding.url("/")]);
    assert_eq!((number(&held, "/connections/idle"), number(&held, "/connections/idle_lost")), (30.0, 0.0));
    assert_eq!(holding.connections(32), 32);
}

#[test]
fn warm_up_is_not_counted() {
    let peer = quick();
    let report = report(&["-r", "100", "-w", "1s", "-d", "1s", "-c", "2", &peer.url("/")]);
    assert_eq!((number(&report, "/requests/due"), peer.received().len()), (100.0, 200));
}

#[test]
fn steps_and_ramps_are_reported_apart() {
    let peer = quick();
    let steps = report(&["--steps", "50,100/1s", "-c", "4", &peer.url("/")]);
    let answered: Vec<f64> = (0..2).map(|step| number(&steps, &format!("/steps/{step}/answered"))).collect();
    assert_eq!(answered, [50.0, 100.0]);
    let ramp = report(&["-r", "0:200", "-d", "1s", "-c", "4", &peer.url("/")]);
    assert_eq!(number(&ramp, "/requests/due"), 100.0);
}

#[test]
fn the_knee_of_a_known_capacity_is_found() {
    // One request at a time, twenty milliseconds each: 50 a second at the very most.
    let one = Mutex::new(());
    let slow = Peer::start(move |_| {
        let _alone = one.lock().unwrap();
        stall(Duration::from_millis(20));
        Answer::Keep(reply(200, ""))
    });
    let arguments = ["--find-knee", "p99<2s", "--knee-from", "5", "-d", "1s", "-c", "32", "--drain", "10s"];
    let report = report(&[&arguments[..], &[&slow.url("/")]].concat());
    let knee = number(&report, "/knee/rate");
    // A second at 150 makes a queue of a hundred, which is two seconds: beyond that the condition cannot hold. Far below, only a
    // machine that stands still for seconds breaks it.
    assert!((10.0..=160.0).contains(&knee), "the knee is {knee}");
    let trials = report["knee"]["trials"].as_array().unwrap();
    assert!(trials.iter().any(|trial| trial["held"] == false && trial["rate"].as_f64().unwrap() > knee));
    assert!((number(&report, "/rates/due") - knee).abs() <= 1.5, "the report is that of the knee");
}
