//! The commands against a real control process: what they print, and how they exit.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const RINGWAY: &str = env!("CARGO_BIN_EXE_ringway");

/// A control process on a state directory of its own; killed when dropped.
struct Control {
    folder: tempfile::TempDir,
    process: Child,
}

impl Control {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = start(folder.path());
        Self { folder, process }
    }

    /// Ends the process without warning, and starts another one.
    fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = start(self.folder.path());
    }

    fn site(&self, name: &str, upstream_port: u16) -> PathBuf {
        self.write(
            name,
            &format!(
                "version: 1\nlisteners: [{{address: \"127.0.0.1:8080\"}}]\n\
                 upstreams: {{one: {{endpoints: [\"127.0.0.1:{upstream_port}\"]}}}}\n\
                 hosts: {{api.example.com: {{/a/*: {{to: one}}}}}}\n"
            ),
        )
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        ringway(arguments, self.folder.path())
    }

    fn exits(&self, arguments: &[&str], code: i32) -> String {
        let output = self.run(arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        text(&output.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        serde_json::from_str(&self.exits(&arguments, 0)).unwrap()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Starts a control daemon and waits for its ready line.
fn start(state: &Path) -> Child {
    let mut process = Command::new(RINGWAY)
        .args(["control", "--api", "127.0.0.1:0", "--state"])
        .arg(state)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("control is ready on http://127.0.0.1:"), "{line}");
    process
}

fn ringway(arguments: &[&str], state: &Path) -> Output {
    Command::new(RINGWAY)
        .args(arguments)
        .env("RINGWAY_STATE", state)
        .env_remove("RINGWAY_LOG")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn check_needs_no_daemon_and_exits_0_or_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.yaml");
    let site = |status: u16| {
        format!(
            "version: 1\nlisteners: [{{address: \"127.0.0.1:8080\"}}]\nhosts:\n  api.example.com:\n    \
             \"GET /status\": {{respond: {{status: 200, body: ok}}}}\n\
             tests:\n  - {{request: \"GET https://api.example.com/status\", expect: {{status: {status}}}}}\n  \
             - {{request: \"POST https://api.example.com/status\", expect: {{status: 405}}}}\n"
        )
    };
    fs::write(&file, site(200)).unwrap();
    let good = ringway(&["check", path(&file)], folder.path());
    assert_eq!((good.status.code(), text(&good.stdout).contains("2 of 2 tests pass")), (Some(0), true));
    fs::write(&file, site(201)).unwrap();
    let failing = ringway(&["check", path(&file)], folder.path());
    assert_eq!(failing.status.code(), Some(1));
    assert!(text(&failing.stdout).contains("status: expected 201, came 200"), "{}", text(&failing.stdout));
    fs::write(&file, "version: 1\nlimits: {slow: {rate: 100, burst: 1}}\nhsots: {}\n").unwrap();
    let broken = ringway(&["check", path(&file)], folder.path());
    let said = text(&broken.stderr);
    assert_eq!(broken.status.code(), Some(1));
    assert!(said.contains("site.yaml:2:23") && said.contains("site.yaml:3:1"), "both at once: {said}");
    let json = ringway(&["check", path(&file), "--output", "json"], folder.path());
    let value: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["diagnostics"].as_array().unwrap().len(), 2);
}

#[test]
fn plan_exits_0_without_changes_2_with_and_1_on_mistakes() {
    let control = Control::start();
    let (one, two) = (control.site("one.yaml", 1), control.site("two.yaml", 2));
    control.exits(&["plan", path(&one)], 2);
    control.exits(&["apply", path(&one)], 0);
    assert!(control.exits(&["plan", path(&one)], 0).contains("no changes"));
    let said = control.exits(&["plan", path(&two)], 2);
    assert!(said.contains("127.0.0.1:1") && said.contains("127.0.0.1:2"), "{said}");
    control.exits(&["plan", path(&two), "--against", "1"], 2);
    control.exits(&["plan", path(&two), "--against", "9"], 1);
    let broken = control.write("broken.yaml", "version: 1\nhosts: {a.example: {/*: {to: nowhere}}}\n");
    control.exits(&["plan", path(&broken)], 1);
    control.exits(&["plan"], 1);
}

#[test]
fn apply_exits_4_when_another_came_first() {
    let control = Control::start();
    let (one, two) = (control.site("one.yaml", 1), control.site("two.yaml", 2));
    let said = control.exits(&["apply", path(&one), "--if-match", "0", "--message", "first"], 0);
    assert!(said.starts_with("compiled generation 1 in "), "{said}");
    control.exits(&["apply", path(&two), "--if-match", "0"], 4);
    control.exits(&["apply", path(&two), "--if-match", "1"], 0);
    let history = control.json(&["history"]);
    let numbers: Vec<u64> = history["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(history["generations"][1]["message"], "first");
}

#[test]
fn a_rollback_is_a_new_generation_of_the_old_snapshot() {
    let control = Control::start();
    control.exits(&["apply", path(&control.site("site.yaml", 1))], 0);
    control.exits(&["apply", path(&control.site("site.yaml", 2))], 0);
    let said = control.exits(&["rollback", "--message", "oops"], 0);
    assert!(said.starts_with("generation 1 is back as generation 3"), "{said}");
    let rows = control.json(&["history"]);
    assert_eq!(rows["generations"][0]["snapshot"], rows["generations"][2]["snapshot"]);
    assert!(control.exits(&["diff", "1", "3"], 0).contains("say the same"));
    assert!(control.exits(&["diff", "1", "2"], 0).contains("127.0.0.1:2"));
    assert!(control.exits(&["export"], 0).contains("127.0.0.1:1"));
    control.exits(&["rollback", "77"], 1);
    control.exits(&["rollback", "2", "--pin"], 0);
    assert!(control.exits(&["pin", "1"], 0).contains("generation 1 is pinned"));
    let pinned = || -> Vec<bool> {
        let rows = control.json(&["history"]);
        rows["generations"].as_array().unwrap().iter().map(|row| row["pinned"].as_bool().unwrap()).collect()
    };
    assert_eq!(pinned(), [true, false, false, true]);
    assert!(control.exits(&["history"], 0).contains("  pinned"));
    control.exits(&["pin", "1", "--release"], 0);
    assert_eq!(pinned(), [true, false, false, false]);
    control.exits(&["pin", "77"], 1);
}

#[test]
fn what_export_prints_says_the_same() {
    let control = Control::start();
    control.exits(&["apply", path(&control.site("site.yaml", 1))], 0);
    let exported = control.write("exported.yaml", &control.exits(&["export"], 0));
    assert!(control.exits(&["plan", path(&exported)], 0).contains("no changes"));
}

#[test]
fn a_killed_control_comes_back_with_its_history() {
    let mut control = Control::start();
    control.exits(&["apply", path(&control.site("site.yaml", 1))], 0);
    let before = control.json(&["history"])["generations"][0]["snapshot"].clone();
    control.kill_and_start_again();
    let after = control.json(&["history"]);
    assert_eq!(after["generations"][0]["snapshot"], before);
    assert_eq!(control.json(&["status"])["newest"]["number"], 1);
    let pointer = fs::read_to_string(control.folder.path().join("snapshots/current")).unwrap();
    assert!(pointer.contains(before.as_str().unwrap()), "{pointer}");
}

#[test]
fn a_second_control_on_the_same_state_is_refused() {
    let control = Control::start();
    let second = control.run(&["control", "--api", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("another control daemon runs on it"), "{}", text(&second.stderr));
}

#[test]
fn explain_says_which_route_and_why_not_the_others() {
    let control = Control::start();
    let site = control.site("site.yaml", 1);
    let slow = fs::read_to_string(&site).unwrap().replace("{to: one}", "{to: one, timeout: {request: 2m}}");
    fs::write(&site, slow).unwrap();
    control.exits(&["apply", path(&site)], 0);
    let said = control.exits(&["explain", "GET https://api.example.com/a/b"], 0);
    assert!(said.contains("route /a/*: takes the request") && said.contains("forwards to one"), "{said}");
    assert!(
        said.contains("timeouts: connect 1s, request 2m (of the route), idle 1m, tunnel_idle 1h"),
        "{said}"
    );
    let said = control.exits(&["explain", "GET https://other.example.com/a/b"], 0);
    assert!(said.contains("status 404"), "{said}");
    control.exits(&["explain", "config", "upstreams"], 0);
    control.exits(&["explain", "nonsense"], 1);
}

#[test]
fn without_a_daemon_the_hint_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = ringway(&["status"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("hint: start one with `ringway up`"));
}

#[test]
fn schema_and_completions_print_without_anything_else() {
    let folder = tempfile::tempdir().unwrap();
    let schema = ringway(&["schema"], folder.path());
    assert!(serde_json::from_slice::<Value>(&schema.stdout).unwrap().is_object());
    let completions = ringway(&["completions", "bash"], folder.path());
    assert!(text(&completions.stdout).contains("_ringway"));
    assert_eq!(ringway(&["nonsense"], folder.path()).status.code(), Some(1), "2 means changes");
}

#[test]
fn what_cannot_be_done_is_said_for_programs_too() {
    let mut control = Control::start();
    for arguments in [
        ["history", "-n", "0"].as_slice(),
        &["diff", "a", "b"],
        &["status", "--token-file", "/nonexistent/token"],
        &["status", "--api", "localhost:9091"],
        &["remove-node", "zz"],
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let said: Value = serde_json::from_str(&control.exits(&arguments, 1)).unwrap();
        assert_eq!(said["exit"], 1, "{arguments:?}");
        let (error, hint) = (said["error"].as_str().unwrap(), said["hint"].as_str().unwrap_or_default());
        let expected = match arguments[1] {
            "-n" => error.contains("is not in 1.."),
            "a" => error.contains("invalid value 'a'"),
            "--token-file" => error.contains("cannot use /nonexistent/token"),
            "--api" => error.contains("a URL such as http://127.0.0.1:9091"),
            _ => hint.contains("`ringway status` lists the nodes"),
        };
        assert!(expected, "{arguments:?}: {error} ({hint})");
    }
    // SIGHUP is how a changed token comes into force.
    control.exits(&["status"], 0);
    fs::write(control.folder.path().join("control.token"), "another\n").unwrap();
    control.exits(&["status"], 1);
    let hung_up = format!("kill -HUP {}", control.process.id());
    assert!(Command::new("sh").args(["-c", &hung_up]).status().unwrap().success());
    while !control.run(&["status"]).status.success() {
        assert!(control.process.try_wait().unwrap().is_none());
    }
}

#[test]
fn a_damaged_store_is_called_damaged() {
    let mut control = Control::start();
    control.process.kill().unwrap();
    control.process.wait().unwrap();
    let state = control.folder.path();
    for beside in ["control.db-wal", "control.db-shm"] {
        fs::remove_file(state.join(beside)).ok();
    }
    fs::write(state.join("control.db"), "no store at all\n".repeat(1000)).unwrap();
    let output = ringway(&["control", "--api", "127.0.0.1:0"], state);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("control.db is damaged"), "{}", text(&output.stderr));
}
