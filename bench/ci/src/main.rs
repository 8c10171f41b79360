//! `cargo ci`: every check that stands between a change and the main branch, here as on the build machine.
//!
//! `cargo ci` runs all steps and then says which failed; `cargo ci clippy tests` runs those two.
#![expect(clippy::print_stdout, reason = "a command that people read")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// How one step ended.
enum Ended {
    Passed,
    Failed,
    /// A tool is not there; the text says which, and what was therefore not checked.
    NotRun(String),
}

/// A step: name, what it holds, how.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Ended,
}

/// In the order from cheap to dear; the tests come last, so that their summary is what one sees.
const STEPS: &[Step] = &[
    Step { name: "format", about: "rustfmt changes nothing", run: format },
    Step { name: "clippy", about: "no warning in any target of the workspace", run: clippy },
    Step { name: "deny", about: "bans, licences and sources of dependencies (deny.toml)", run: deny },
    Step { name: "docs", about: "the documentation builds without a warning", run: docs },
    Step { name: "fuzz", about: "each fuzz target survives some seconds", run: fuzz },
    Step { name: "micro", about: "no operation takes more instructions or allocations", run: micro },
    Step { name: "doctests", about: "examples in the documentation", run: doctests },
    Step { name: "tests", about: "all tests of the workspace, black-box ones included", run: tests },
];

/// Time for each fuzz target; longer runs are for other machines.
const FUZZ_SECONDS_MAX: u32 = 5;

/// What cargo-fuzz passes to rustc: coverage for libFuzzer, AddressSanitizer, and assertions in release code.
const FUZZ_RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        println!("cargo ci: no step {unknown}; the steps are:");
        for step in STEPS {
            println!("  {:9} {}", step.name, step.about);
        }
        return ExitCode::from(2);
    }
    let steps = STEPS.iter().filter(|step| wanted.is_empty() || wanted.iter().any(|name| name == step.name));
    let ends: Vec<(&Step, Ended)> = steps
        .map(|step| {
            println!("\n==> {}: {}", step.name, step.about);
            let started = Instant::now();
            let ended = (step.run)();
            println!("==> {} took {} s", step.name, started.elapsed().as_secs());
            (step, ended)
        })
        .collect();
    println!();
    for (step, ended) in &ends {
        match ended {
            Ended::Passed => println!("    {:9} ok", step.name),
            Ended::Failed => println!("    {:9} FAILED", step.name),
            Ended::NotRun(why) => println!("    {:9} NOT RUN: {why}", step.name),
        }
    }
    let count = |is: fn(&Ended) -> bool| ends.iter().filter(|(_, ended)| is(ended)).count();
    let failed = count(|ended| matches!(ended, Ended::Failed));
    let passed = count(|ended| matches!(ended, Ended::Passed));
    println!("\nsteps: {passed} passed, {failed} failed, {} skipped", ends.len() - passed - failed);
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn format() -> Ended {
    cargo(&["fmt", "--all", "--check"])
}

fn clippy() -> Ended {
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"])
}

fn deny() -> Ended {
    if !is_there("cargo-deny") {
        return Ended::NotRun("cargo-deny is not installed (cargo install --locked cargo-deny)".to_owned());
    }
    cargo(&["deny", "--locked", "check", "bans", "licenses", "sources"])
}

/// These crates are read in their source: a link to a private item helps there.
fn docs() -> Ended {
    ended(
        from_root("cargo")
            .args(["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"),
    )
}

fn doctests() -> Ended {
    cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"])
}

fn tests() -> Ended {
    if is_there("cargo-nextest") {
        // What failed, and what it said, stands last and not between a thousand lines of what passed.
        let quiet = ["--status-level", "slow", "--final-status-level", "slow", "--failure-output", "final"];
        let all = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];
        return ended(from_root("cargo").args(all).args(quiet).stderr(Stdio::from(std::io::stdout())));
    }
    println!(
        "cargo-nextest is not installed: the tests run by cargo test, slower and one binary after the other"
    );
    cargo(&["test", "--workspace", "--all-targets", "--locked", "--no-fail-fast"])
}

/// Counts instructions and allocations beside `bench/baseline.json`.
fn micro() -> Ended {
    if !is_there("valgrind") {
        return Ended::NotRun("valgrind is not installed (apt-get install valgrind)".to_owned());
    }
    cargo(&["run", "--quiet", "--locked", "--profile", "measure", "--package", "ringway-micro"])
}

/// Builds the fuzz workspace as cargo-fuzz would, so that only a nightly toolchain is needed, and runs each target.
fn fuzz() -> Ended {
    let manifest = root().join("fuzz/Cargo.toml");
    if !manifest.is_file() {
        return Ended::NotRun("there is no fuzz/Cargo.toml".to_owned());
    }
    if !answers(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        return Ended::NotRun("no nightly toolchain: NO parser was fuzzed in this run".to_owned());
    }
    let host = "x86_64-unknown-linux-gnu";
    if cfg!(not(all(target_arch = "x86_64", target_os = "linux"))) {
        return Ended::NotRun(format!("the fuzz targets are built for {host} alone"));
    }
    let build = [
        "run",
        "nightly",
        "cargo",
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--target",
        host,
        "--manifest-path",
    ];
    let target = target().join("fuzz");
    let mut command = from_root("rustup");
    command.args(build).arg(&manifest).arg("--target-dir").arg(&target).env("RUSTFLAGS", FUZZ_RUSTFLAGS);
    // Built in a third of the time, and fast enough for some seconds each.
    for (name, value) in [("OPT_LEVEL", "1"), ("LTO", "off"), ("DEBUG", "0")] {
        command.env(format!("CARGO_PROFILE_RELEASE_{name}"), value);
    }
    // The variables that cargo set for us speak of the pinned toolchain.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH", "CARGO_TARGET_DIR"] {
        command.env_remove(name);
    }
    if !matches!(ended(&mut command), Ended::Passed) {
        return Ended::Failed;
    }
    let failed: Vec<String> = fuzz_targets()
        .into_iter()
        .filter(|name| {
            println!("    fuzzing {name} for {FUZZ_SECONDS_MAX} s");
            let mut command = Command::new(target.join(host).join("release").join(name));
            command
                .arg(format!("-max_total_time={FUZZ_SECONDS_MAX}"))
                .args(["-timeout=60", "-rss_limit_mb=4096"]);
            command.arg(format!("-artifact_prefix={}/", target.display()));
            // A corpus that is checked in is read, never written to.
            let seeds = root().join("fuzz/seeds").join(name);
            let fresh = target.join("corpus").join(name);
            let _ = std::fs::create_dir_all(&fresh);
            command.arg(fresh);
            if seeds.is_dir() {
                command.arg(seeds);
            }
            !said_well(&mut command)
        })
        .collect();
    if failed.is_empty() { Ended::Passed } else { Ended::Failed }
}

/// Names of the fuzz targets, in order.
fn fuzz_targets() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("fuzz/fuzz_targets")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Runs a program whose output matters only when it fails.
fn said_well(command: &mut Command) -> bool {
    match command.current_dir(root()).stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            println!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            false
        }
        Err(error) => {
            println!("cannot run {command:?}: {error}");
            false
        }
    }
}

fn cargo(arguments: &[&str]) -> Ended {
    ended(from_root("cargo").args(arguments))
}

fn from_root(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn ended(command: &mut Command) -> Ended {
    match command.status() {
        Ok(status) if status.success() => Ended::Passed,
        Ok(_) => Ended::Failed,
        Err(error) => {
            println!("cannot run {command:?}: {error}");
            Ended::Failed
        }
    }
}

/// Whether a program can be run at all.
fn is_there(program: &str) -> bool {
    answers(Command::new(program).arg("--version"))
}

fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
