//! What comes out: exit codes, JSON, CSV, the page, the histogram log, the comparison.

use std::process::{Command, Stdio};

use expect_test::expect_file;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::peer::{Answer, Peer, reply};
use super::{number, quick, run};

#[test]
fn exit_codes_say_what_happened() {
    let peer = quick();
    let url = peer.url("/");
    let code = |arguments: &[&str]| run(&[&["-q"], arguments].concat()).status.code();
    assert_eq!(code(&["-n", "10", &url, "--fail-if", "p99>10s", "--fail-if", "errors>0%"]), Some(0));
    assert_eq!(code(&["-n", "10", &url, "--fail-if", "p50>1ns"]), Some(3));
    assert_eq!(code(&["-n", "10", &url, "--expect-status", "404", "--fail-if", "errors>=100%"]), Some(3));
    assert_eq!(code(&["-n", "10", "http://127.0.0.1:1/"]), Some(1), "nobody listens there");
    assert_eq!(code(&["-n", "10", "not-a-url"]), Some(1));
    assert_eq!(code(&["-r", "10", "--closed", &url]), Some(2));
}

#[test]
fn an_interrupted_run_reports_what_it_has() {
    let peer = Peer::start(|_| Answer::Keep(reply(200, "hello")));
    let url = peer.url("/");
    let child = Command::new(env!("CARGO_BIN_EXE_ringway-load"))
        .args(["-r", "100", "-d", "1h", "-c", "2", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while peer.received().len() < 20 {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("interrupted") && text.contains("latency"), "{text}");
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains('\x1b'),
        "no control codes where there is no terminal"
    );
}

/// Every member's path; elements of an array are one.
fn members(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(name, value)| members(value, &format!("{path}.{name}"), into))
        }
        Value::Array(array) if array.iter().any(Value::is_object) => {
            members(&array[0], &format!("{path}[]"), into)
        }
        _ => into.push(path.trim_start_matches('.').to_owned()),
    }
}

#[test]
fn the_form_of_the_json_report_is_stable() {
    let peer = Peer::start(|_| Answer::Keep(reply(500, "")));
    let mut url = peer.url("/");
    url.push_str("?x");
    let report = super::report(&["--steps", "50,60/200ms", "--fail-if", "max>1h", &url]);
    let mut all = Vec::new();
    members(&report, "", &mut all);
    expect_file!["members.txt"].assert_eq(&all.join("\n"));
    assert_eq!(report["schema"], "ringway-load/1");
}

#[test]
fn all_outputs_tell_the_same_numbers() {
    let peer = quick();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, csv, html, log) = (file("a.json"), file("a.csv"), file("a.html"), file("a.hlog"));
    let url = peer.url("/");
    let output = run(&[
        "-r",
        "200",
        "-d",
        "1s",
        "-c",
        "4",
        "-q",
        "--name",
        "<one> & only",
        "--json",
        &json,
        "--csv",
        &csv,
        "--html",
        &html,
        "--histogram-log",
        &log,
        &url,
    ]);
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(number(&report, "/requests/answered"), 200.0);
    let rows = std::fs::read_to_string(&csv).unwrap();
    let answered: u64 =
        rows.lines().skip(1).map(|row| row.split(',').nth(2).unwrap().parse::<u64>().unwrap()).sum();
    let sampled: u64 =
        report["series"].as_array().unwrap().iter().map(|s| s["answered"].as_u64().unwrap()).sum();
    assert_eq!(answered, sampled);
    let page = std::fs::read_to_string(&html).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let row: Vec<char> =
        text.lines().find(|line| line.starts_with("    intended")).unwrap().chars().collect();
    for column in 0..7 {
        let cell: String = row[12 + 10 * column..22 + 10 * column].iter().collect();
        assert!(
            page.contains(&format!("<td>{}</td>", cell.trim())),
            "{cell} of column {column} is not in the page"
        );
    }
    let rate = format!("<b>{:.0}</b><span>answered/s", number(&report, "/rates/answered"));
    assert!(
        number(&report, "/rates/answered") < 100.0 || page.contains(&rate),
        "the tile of the rate: {rate}"
    );
    assert!(page.contains("&lt;one&gt; &amp; only") && !page.contains("<one>"));
    assert!(page.matches("<svg").count() == 3 && !page.contains("http-equiv") && !page.contains("<script"));
    assert!(text.contains("200 due, 200 answered, 0 failed"));
    logged(&std::fs::read(&log).unwrap());
}

/// The log is read by another implementation's reader: every interval decodes, and all requests are in it.
fn logged(log: &[u8]) {
    let (mut intervals, mut sent) = (0, 0);
    for entry in IntervalLogIterator::new(log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = decode(interval.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            assert!((histogram.max() as f64 / 1e6 - interval.max()).abs() < 0.001);
            match interval.tag() {
                None => intervals += histogram.len(),
                Some(_) => sent += histogram.len(),
            }
        }
    }
    assert_eq!((intervals, sent), (200, 200));
}

fn decode(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let whole = bits.chunks(4).flat_map(|four| {
        let word = four.iter().fold(0u32, |word, six| word << 6 | u32::from(*six)) << (6 * (4 - four.len()));
        word.to_be_bytes()[1..four.len()].to_vec()
    });
    whole.collect()
}

#[test]
fn reports_are_compared_in_one_page() {
    let peer = quick();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (one, other, page) = (file("one.json"), file("other.json"), file("compare.html"));
    let url = peer.url("/");
    for (name, path) in [("one", &one), ("other", &other)] {
        assert!(run(&["-q", "-n", "20", "--name", name, "--json", path, &url]).status.success());
    }
    assert!(run(&["compare", &one, &other, "-o", &page]).status.success());
    let text = std::fs::read_to_string(&page).unwrap();
    assert!(
        text.contains("<h1>one / other</h1>")
            && text.contains("×)")
            && text.matches("<path class=\"line").count() == 2
    );
    std::fs::write(&other, "{\"schema\": \"ringway-load/0\"}").unwrap();
    let refused = run(&["compare", &one, &other, "-o", &page]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("`ringway-load/0`"));
}
