//! Clients that others wrote (`.ci/peers` installs them), driven as processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// The folder of the clients: `RINGWAY_PEERS`, or `target/peers` of this checkout.
fn folder() -> PathBuf {
    let asked = std::env::var_os("RINGWAY_PEERS").map(PathBuf::from);
    asked.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers")))
}

/// A script of `tests/peers` with these arguments.
fn script(name: &str, arguments: &[&str]) -> Command {
    let python = folder().join("bin/python");
    assert!(python.is_file(), "{} is not there: run .ci/peers", python.display());
    let mut command = Command::new(python);
    command.arg(format!("{}/tests/peers/{name}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
    command
}

/// Runs a script to its end; the objects that it says.
#[track_caller]
pub(crate) fn run(name: &str, arguments: &[&str]) -> Vec<Value> {
    let output = script(name, arguments).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}:\n{told}\n{wrong}");
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A headless Chromium, which asks for nothing but what it is told to.
pub(crate) fn chromium(profile: &Path) -> Command {
    let mut command = Command::new("chromium");
    command
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .stdin(Stdio::null());
    command
}

/// A script in the background.
pub(crate) struct Running {
    child: Child,
    says: BufReader<ChildStdout>,
}

/// Starts one.
pub(crate) fn start(name: &str, arguments: &[&str]) -> Running {
    let mut command = script(name, arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let says = BufReader::new(child.stdout.take().unwrap());
    Running { child, says }
}

impl Running {
    /// The next object that it says.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("it said {line:?}"))
    }

    /// Takes its input, to be written at will.
    pub(crate) fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// What it says, byte by byte.
    pub(crate) fn says(&mut self) -> &mut impl Read {
        &mut self.says
    }

    /// Waits for its end; its exit status.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Gives it a line of input.
    pub(crate) fn go_on(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
