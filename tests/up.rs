//! `ringway up` with real processes: it serves, follows its file, survives its children, and ends in order.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics fails, as it should"
)]

use std::fs;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A supervisor with its output, which the tests wait on.
struct Up {
    folder: tempfile::TempDir,
    process: Child,
    events: Lines<BufReader<ChildStdout>>,
    notices: Lines<BufReader<ChildStderr>>,
    listener: String,
}

impl Up {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("site")).unwrap();
        fs::write(site(folder.path()), definition("first")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["up", "--api", "127.0.0.1:0", "--workers", "1", "--output", "json", "--state"])
            .arg(folder.path().join("state"))
            .arg(site(folder.path()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let events = BufReader::new(process.stdout.take().unwrap()).lines();
        let notices = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut up = Self { folder, process, events, notices, listener: String::new() };
        let ready = up.event("ready");
        up.listener = ready["nodes"][0]["report"]["listeners"][0].as_str().unwrap().to_owned();
        up
    }

    /// The next event of this name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            let line = self.events.next().expect("it ended").unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event["value"].clone();
            }
        }
    }

    /// Waits until standard error says this.
    fn notice(&mut self, words: &str) {
        while !self.notices.next().expect("it ended").unwrap().contains(words) {}
    }

    /// Replaces the file as editors do: a new file is renamed over it.
    fn edit(&self, text: &str) {
        let new = self.folder.path().join("site/.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, site(self.folder.path())).unwrap();
    }

    fn ask(&self) -> String {
        let mut stream = TcpStream::connect(&self.listener).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply.split("\r\n\r\n").nth(1).unwrap().to_owned()
    }

    /// Process id of the child that runs this command.
    fn child(&self, command: &str) -> u32 {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let runs = |child: &&str| {
            let line = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
            line.split('\0').nth(1) == Some(command)
        };
        children.split_whitespace().find(runs).unwrap().parse().unwrap()
    }

    fn signal(&self, signal: &str, process: u32) {
        // The shell's own: not every machine has it as a program.
        let sent = Command::new("sh").args(["-c", &format!("kill {signal} {process}")]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn site(folder: &Path) -> PathBuf {
    folder.join("site/ringway.yaml")
}

fn definition(answer: &str) -> String {
    format!(
        "version: 1\nsettings: {{admin: \"127.0.0.2:0\"}}\nlisteners: [{{address: \"127.0.0.1:0\"}}]\n\
         hosts: {{\"*\": {{/*: {{respond: {{body: {answer}}}}}}}}}\n"
    )
}

#[test]
fn a_changed_file_is_served_and_a_broken_one_is_not() {
    let mut up = Up::start();
    assert_eq!(up.ask(), "first");
    up.edit(&definition("second"));
    assert_eq!(up.event("applied")["generation"]["number"], 2);
    assert_eq!(up.ask(), "second");
    up.edit("version: 1\nhsots: {}\n");
    up.notice("generation 2 goes on serving");
    assert_eq!(up.ask(), "second");
    up.edit(&definition("third"));
    assert_eq!(up.event("applied")["live"]["live"], 1);
    assert_eq!(up.ask(), "third");
}

#[test]
fn a_killed_child_is_started_again_and_the_other_serves_on() {
    let mut up = Up::start();
    up.signal("-KILL", up.child("control"));
    up.notice("control ended");
    assert_eq!(up.ask(), "first");
    up.edit(&definition("second"));
    assert_eq!(up.event("applied")["generation"]["number"], 2);
    assert_eq!(up.ask(), "second");
}

#[test]
fn a_second_one_on_the_same_state_ends_and_leaves_the_first_as_it_is() {
    let mut up = Up::start();
    let second = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["up", "--api", "127.0.0.1:0", "--state"])
        .arg(up.folder.path().join("state"))
        .arg(site(up.folder.path()))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another control daemon runs on it"));
    up.edit(&definition("second"));
    assert_eq!(up.event("applied")["generation"]["number"], 2);
    assert_eq!(up.ask(), "second");
}

#[test]
fn a_termination_ends_all_three_in_order() {
    let mut up = Up::start();
    let children = [up.child("control"), up.child("gateway")];
    let id = fs::read_to_string(up.folder.path().join("state/node.id")).unwrap();
    up.signal("-TERM", up.process.id());
    assert_eq!(up.process.wait().unwrap().code(), Some(0));
    assert!(!Path::new("/dev/shm").join(format!("ringway-{}", id.trim())).exists(), "segments outlived it");
    for child in children {
        assert!(!Path::new(&format!("/proc/{child}")).exists(), "a child outlived it");
    }
}

#[test]
fn a_kill_without_warning_leaves_no_child_behind() {
    let mut up = Up::start();
    let children = [up.child("control"), up.child("gateway")];
    assert_ne!(children[0], children[1]);
    up.signal("-KILL", up.process.id());
    // Its standard error is theirs as well: it ends when the last of the three has ended.
    while up.notices.next().is_some() {}
}

#[test]
fn a_broken_file_at_the_first_start_ends_it_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ringway.yaml");
    fs::write(&file, "version: 1\nhsots: {}\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
        .args(["up", "--api", "127.0.0.1:0", "--state"])
        .arg(folder.path().join("state"))
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ringway.yaml:2:1"));
}

#[test]
fn a_file_changes_nothing_before_its_writer_has_closed_it() {
    let mut up = Up::start();
    let mut file = fs::File::create(site(up.folder.path())).unwrap();
    file.write_all(definition("half").as_bytes()).unwrap();
    // The beginning of a configuration is one too, and stays unserved however long its writer pauses.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        assert_eq!(up.ask(), "first");
    }
    file.write_all(b"limits: {l: {rate: 1/s}}\n").unwrap();
    drop(file);
    assert_eq!(up.event("applied")["generation"]["number"], 2);
    assert_eq!(up.ask(), "half");
}

#[test]
fn a_file_that_was_cut_to_nothing_changes_nothing() {
    let mut up = Up::start();
    fs::write(site(up.folder.path()), "").unwrap();
    up.notice("the document is empty");
    up.notice("generation 1 goes on serving");
    assert_eq!(up.ask(), "first");
    fs::write(site(up.folder.path()), b"version: 1 # caf\xe9\n").unwrap();
    up.notice("the document is not UTF-8");
    up.notice("generation 1 goes on serving");
    assert_eq!(up.ask(), "first");
}

#[test]
fn a_file_that_cannot_be_read_ends_nothing_while_control_is_away() {
    let mut up = Up::start();
    // As where control has ended and is not started again yet.
    fs::remove_file(up.folder.path().join("state/control.address")).unwrap();
    fs::write(site(up.folder.path()), b"version: 1 # caf\xe9\n").unwrap();
    up.notice("the document is not UTF-8");
    up.notice("goes on serving");
    assert_eq!(up.ask(), "first");
}

#[test]
fn a_changed_token_ends_nothing_and_comes_into_force_by_a_hang_up() {
    let mut up = Up::start();
    fs::write(up.folder.path().join("state/control.token"), "another\n").unwrap();
    up.edit(&definition("second"));
    up.notice("goes on serving");
    assert_eq!(up.ask(), "first");
    up.signal("-HUP", up.process.id());
    assert_eq!(up.event("applied")["generation"]["number"], 2);
    assert_eq!(up.ask(), "second");
    fs::write(up.folder.path().join("state/control.token"), "a third\n").unwrap();
    up.edit(&definition("third"));
    up.notice("goes on serving");
    up.signal("-HUP", up.process.id());
    assert_eq!(up.event("applied")["generation"]["number"], 3);
}

#[test]
fn a_change_is_seen_through_links_and_in_a_folder_that_was_made_anew() {
    let mut up = Up::start();
    let folder = up.folder.path().to_owned();
    // As releases are deployed: the link changes, and then what it leads to.
    for (number, answer) in [(2, "second"), (3, "third")] {
        let release = folder.join(answer);
        fs::create_dir(&release).unwrap();
        fs::write(release.join("ringway.yaml"), definition(answer)).unwrap();
        if number == 2 {
            fs::rename(folder.join("site"), folder.join("old")).unwrap();
        } else {
            fs::remove_file(folder.join("site")).unwrap();
        }
        std::os::unix::fs::symlink(&release, folder.join("site")).unwrap();
        assert_eq!(up.event("applied")["generation"]["number"], number);
        assert_eq!(up.ask(), answer);
    }
    fs::write(folder.join("third/ringway.yaml"), definition("fourth")).unwrap();
    assert_eq!(up.event("applied")["generation"]["number"], 4);
    assert_eq!(up.ask(), "fourth");
}

#[test]
fn a_termination_that_is_told_twice_at_once_is_one() {
    let mut up = Up::start();
    // Longer than any pause of this test.
    let held = TcpStream::connect(&up.listener).unwrap();
    (&held).write_all(b"GET / HTTP/1.1\r\nHost: any.example\r\n").unwrap();
    assert_eq!(up.ask(), "first");
    let id = up.process.id();
    // `timeout`, and supervisors that signal a whole group, tell it twice. It finds both, however long the machine takes
    // to send them.
    up.signal("-STOP", id);
    while !fs::read_to_string(format!("/proc/{id}/stat")).unwrap().contains(") T ") {}
    up.signal("-TERM", id);
    up.signal("-INT", id);
    up.signal("-CONT", id);
    up.notice("draining");
    (&held).write_all(b"\r\n").unwrap();
    let mut reply = String::new();
    (&held).read_to_string(&mut reply).unwrap();
    assert!(reply.ends_with("first"), "{reply}");
    assert!(up.process.wait().unwrap().success());
}
