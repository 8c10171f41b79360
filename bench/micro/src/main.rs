//! `cargo bench-micro`: instructions and allocations of the operations that a request is made of, beside a checked-in
//! baseline.
//!
//! Both are counted, not timed: the same binary on the same input gives the same figure on a busy machine. Instructions
//! come from callgrind, which runs this binary again as its child; allocations from an allocator that counts. An operation
//! that takes 5 % more instructions than the baseline, or one allocation more, fails; `--bless` writes a new baseline.

mod allocator;
mod callgrind;
mod cases;
mod gate;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use callgrind::Measured;

/// How the command is called.
const USAGE: &str = "\
cargo bench-micro             measure, compare with bench/baseline.json, fail where it is worse
cargo bench-micro --bless     measure and write the baseline
cargo bench-micro --only NAME measure the cases whose names contain NAME; compares, never blesses
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => measure("").and_then(|measured| gate::compare(&baseline(), &measured)),
        ["--only", part] => measure(part).and_then(|measured| gate::compare(&baseline(), &measured)),
        ["--bless"] => measure("").and_then(|measured| gate::bless(&baseline(), &measured)),
        ["child", folder, name] => cases::run(Path::new(folder), name),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(text) => {
            // A reader that went away is not an error.
            writeln!(std::io::stdout(), "{}", text.trim_end()).ok();
            ExitCode::SUCCESS
        }
        Err(text) => {
            writeln!(std::io::stderr(), "{}", text.trim_end()).ok();
            ExitCode::FAILURE
        }
    }
}

/// Lays the worlds out natively, because that would take minutes under callgrind, and measures in a child.
fn measure(part: &str) -> Result<Vec<Measured>, String> {
    let folder = std::env::temp_dir().join(format!("ringway-micro-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let measured = world::write_all(&folder)
        .and_then(|()| cases::names(part).map(|name| callgrind::measure(&folder, name)).collect());
    // It lies in the system's own directory for such things: what stays there is taken away with it.
    std::fs::remove_dir_all(&folder).ok();
    measured
}

/// The checked-in figures.
fn baseline() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).join("baseline.json")
}
