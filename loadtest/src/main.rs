//! The load generator: not built yet, and says so.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Whether the message can be written changes nothing: the command fails either way.
    let _ =
        writeln!(std::io::stderr(), "error: the load generator of Ringway is not available in this version");
    ExitCode::FAILURE
}
