//! Gateways of other hosts: enrolled with a token, spoken to over mutual TLS, renewed, and refused where they are unknown.
//! Each has a state directory of its own, as on a host of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};

use crate::node::{Lines, apply, own_address, start_control_with, start_gateway_with, value};
use crate::raw::Raw;
use crate::site::Site;

const GET: &str = "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n";

/// A control daemon with a door for nodes of other hosts.
struct Control {
    state: tempfile::TempDir,
    process: Child,
    url: String,
}

impl Control {
    fn start(more: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        // While control is down, nobody else is given its port.
        let (process, url) = Self::run(state.path(), &format!("{}:0", own_address()), more);
        Self { state, process, url }
    }

    fn run(state: &Path, address: &str, more: &[&str]) -> (Child, String) {
        let (process, line) = start_control_with(state, &[&["--nodes", address], more].concat());
        let url = line.split_once("on https://").map(|(_, rest)| format!("https://{}", rest.trim()));
        (process, url.expect("no door for nodes"))
    }

    /// Ends it and starts it again at the same address.
    fn restart(&mut self, more: &[&str]) {
        self.end();
        let address = self.url.strip_prefix("https://").unwrap().to_owned();
        (self.process, self.url) = Self::run(self.state.path(), &address, more);
    }

    fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(arguments)
            .arg("--state")
            .arg(self.state.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn token(&self) -> String {
        self.command(&["join-token"])
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}

/// A gateway that shares nothing with control but the way to it.
struct Far {
    state: tempfile::TempDir,
    process: Child,
    log: Lines,
}

impl Far {
    fn start(more: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (process, log, _) = start_gateway_with(state.path(), 1, more);
        Self { state, process, log }
    }

    fn restart(&mut self, more: &[&str]) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let (process, log, _) = start_gateway_with(self.state.path(), 1, more);
        (self.process, self.log) = (process, log);
    }

    /// Waits until it serves, and asks it.
    fn ask(&self) -> String {
        let address: SocketAddr =
            self.log.find("a listener", |line| value(line, " listening configured", "address"));
        Raw::connect(address).ask(GET).text().to_owned()
    }

    fn says(&self, words: &str) -> String {
        self.log.find(words, |line| line.contains(words).then(|| line.to_owned()))
    }

    fn identity(&self) -> String {
        std::fs::read_to_string(self.state.path().join("trust/node.identity")).unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Ok(id) = std::fs::read_to_string(self.state.path().join("node.id")) {
            let _ = std::fs::remove_dir_all(format!("/dev/shm/ringway-{}", id.trim()));
        }
    }
}

fn site(body: &str) -> Site {
    Site::bare().route(&format!("/a: {{respond: {{status: 200, body: {body}}}}}"))
}

#[test]
fn a_gateway_of_another_host_is_enrolled_fetches_acknowledges_and_follows() {
    let control = Control::start(&[]);
    apply(control.state.path(), &site("one"));
    let token = control.token();
    let mut far = Far::start(&["--control", &control.url, "--join", &token]);
    assert_eq!(far.ask(), "one");
    for name in ["node.identity", "seal.key", "signing.pub"] {
        let mode = std::fs::metadata(far.state.path().join("trust").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let applied = apply(control.state.path(), &site("two"));
    assert_eq!((&applied["live"]["nodes"], &applied["live"]["live"]), (&1.into(), &1.into()), "{applied}");
    assert_eq!(far.ask(), "two");
    let status = control.command(&["status"]);
    let id = std::fs::read_to_string(far.state.path().join("node.id")).unwrap();
    assert!(status.contains(&format!("node {}: connected, serves generation 2", id.trim())), "{status}");
    // The token is used up, and not needed any more.
    far.restart(&["--control", &control.url]);
    assert_eq!(far.ask(), "two");
    let mut other = Far::start(&["--control", &control.url, "--join", &token]);
    assert!(other.says("join token is used up").contains("make a new token with `ringway join-token`"));
    assert_eq!(other.process.wait().unwrap().code(), Some(1));
}

#[test]
fn who_is_not_enrolled_is_refused_and_told_what_to_do() {
    let control = Control::start(&[]);
    let mut far = Far::start(&["--control", &control.url]);
    assert!(far.says("is not enrolled at the control daemon").contains("start it once with `--join`"));
    assert_eq!(far.process.wait().unwrap().code(), Some(1));
    // A token of another cluster does not prove this control to the node.
    let foreign = Control::start(&[]);
    let mut far = Far::start(&["--control", &control.url, "--join", &foreign.token()]);
    far.says("this is not the control daemon that the token or the enrolment is of");
    assert_eq!(far.process.wait().unwrap().code(), Some(1));
    // Nor is a node of another cluster one of this one.
    apply(foreign.state.path(), &site("foreign"));
    let mut far = Far::start(&["--control", &foreign.url, "--join", &foreign.token()]);
    assert_eq!(far.ask(), "foreign");
    far.says("generation is live generation=1");
    far.restart(&["--control", &control.url]);
    far.says("this is not the control daemon that the token or the enrolment is of");
    assert_eq!(far.ask(), "foreign", "from its disk");
}

#[test]
fn a_node_that_was_removed_is_refused_and_serves_on() {
    let mut control = Control::start(&[]);
    apply(control.state.path(), &site("one"));
    let far = Far::start(&["--control", &control.url, "--join", &control.token()]);
    assert_eq!(far.ask(), "one");
    let id = std::fs::read_to_string(far.state.path().join("node.id")).unwrap();
    control.command(&["remove-node", id.trim()]);
    // Also one that has just started knows it.
    control.restart(&[]);
    assert!(far.says("is not enrolled here, or was removed").contains("ringway join-token"));
    apply(control.state.path(), &site("two"));
    assert_eq!(far.ask(), "one");
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_one_that_has_ended_is_refused() {
    let mut control = Control::start(&["--node-life", "15s"]);
    apply(control.state.path(), &site("one"));
    let mut far = Far::start(&["--control", &control.url, "--join", &control.token()]);
    assert_eq!(far.ask(), "one");
    let first = far.identity();
    // The next one is a short one.
    let life = ["--node-life", "3s"];
    control.restart(&life);
    far.says("certificate for control was renewed");
    assert_ne!(far.identity(), first);
    // While it cannot be renewed, it ends.
    control.end();
    let expired = |identity: &str| {
        let expires = identity.lines().find_map(|line| line.strip_prefix("expires ")).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u128::from(expires.parse::<u64>().unwrap()) < now.as_millis()
    };
    // One that was on its way may still be written.
    while !expired(&far.identity()) {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    control.restart(&["--node-life", "1d"]);
    assert!(far.says("certificate has expired").contains("enrol it again with `--join`"));
    far.restart(&["--control", &control.url, "--join", &control.token()]);
    apply(control.state.path(), &site("two"));
    far.says("generation is live generation=2");
    assert_eq!(far.ask(), "two");
}
