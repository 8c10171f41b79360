//! Clients that others wrote (`.ci/peers` installs them), driven as processes.

use std::path::PathBuf;
use std::process::Command;

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
