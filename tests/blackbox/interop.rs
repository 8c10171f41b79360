//! HTTP/2 with clients that others wrote: curl, and nghttp and h2load of nghttp2. A client that is not there fails its test
//! (`.ci/run` installs them).

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::node::Node;
use crate::scripted::Scripted;
use crate::site::Site;
use crate::tls::issue;

/// Runs a client to its end.
#[track_caller]
fn run(command: &mut Command, input: &[u8]) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name} is needed here (Debian: curl, nghttp2-client): {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// An endpoint that sends back the content of each request.
fn mirror() -> Scripted {
    Scripted::start(|connection| {
        while let Some((_, body)) = connection.request() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            connection.send(body);
        }
    })
}

#[test]
fn curl_sends_and_gets_megabytes_by_prior_knowledge_and_by_alpn() {
    let upstream = mirror();
    let issued = issue(&["api.test"]);
    let site = Site::to(upstream.address)
        .http2()
        .listener("{address: \"127.0.0.3:0\", tls: one, protocols: [http1, http2]}")
        .more("tls: {one: {certificates: [{chain: \"file:a.pem\", key: \"file:a.key\"}]}}")
        .file("a.pem", issued.chain.as_str())
        .file("a.key", issued.key.as_str());
    let node = Node::start(&site);
    let secure = node.listener("127.0.0.3:0");
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at % 251) as u8).collect();
    for (scheme, address, flag) in
        [("http", node.address, "--http2-prior-knowledge"), ("https", secure, "--http2")]
    {
        let url = format!("{scheme}://api.test:{}/", address.port());
        let resolve = format!("api.test:{}:{}", address.port(), address.ip());
        let arguments =
            ["-sS", "-k", flag, "--max-time", "60", "--resolve", &resolve, "--data-binary", "@-", &url];
        let output = run(Command::new("curl").args(arguments).args(["-w", "%{http_version}"]), &content);
        assert_eq!(output.stdout.len(), content.len() + 1, "{scheme}");
        assert!(output.stdout.starts_with(&content) && output.stdout.ends_with(b"2"), "{scheme}");
        let record = node.assert_outcome("served");
        assert_eq!((&record["protocol"], &record["tls"]), (&"h2".into(), &(scheme == "https").into()));
    }
}

#[test]
fn nghttp_gets_many_at_once_and_uploads() {
    let upstream = mirror();
    let node = Node::start(&Site::to(upstream.address).http2());
    let url = format!("http://{}/", node.address);
    let host = ["-H", ":authority: api.test"];
    let output = run(Command::new("nghttp").args(["-n", "-s", "-m", "20"]).args(host).arg(&url), b"");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(shown.lines().filter(|line| line.contains(" 200 ")).count(), 20, "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("content");
    std::fs::write(&file, vec![7; 500_000]).unwrap();
    let output = run(Command::new("nghttp").arg("-d").arg(&file).args(host).arg(&url), b"");
    assert_eq!(output.stdout, vec![7; 500_000]);
}

#[test]
fn h2load_is_served_whole() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let url = format!("http://{}/", node.address);
    let arguments = ["-n", "2000", "-c", "8", "-m", "16", "-H", ":authority: api.test"];
    let output = run(Command::new("h2load").args(arguments).arg(&url), b"");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{shown}");
    assert!(shown.contains("2000 2xx"), "{shown}");
    node.wait_metric("ringway_http2_connections_open", "", |open| open == 0.0);
}
