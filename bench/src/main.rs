//! `cargo bench-peers`: Ringway and its peers side by side, work by work, so that a sceptic can repeat what
//! `docs/performance.md` says. `cargo bench-peers --help` says how; `bench/README.md` says by what method.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test that panics fails, as it should"
    )
)]

mod arguments;
mod bystanders;
mod generators;
mod host;
mod idle;
mod install;
mod load;
mod loaders;
mod peer;
mod process;
mod profile;
mod reload;
mod report;
mod results;
mod rounds;
mod run;
mod statistics;
mod works;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

fn main() -> ExitCode {
    // The child's form is ours alone, and its arguments are another program's.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == process::CHILD) {
        return say(process::become_child(words));
    }
    let arguments = Arguments::parse();
    say(match &arguments.command {
        None => run::run(&arguments.run),
        Some(Command::Report) => report::write(),
        Some(Command::Profile) => profile::make(),
        Some(Command::List) => Ok(run::list()),
        Some(Command::Install) => {
            install::install(&peer::Peer::ALL, install::Generators::Wanted).map(|tools| tools.summary())
        }
    })
}

fn say(done: Result<String, String>) -> ExitCode {
    match done {
        Ok(text) => {
            // A reader that went away is not an error.
            writeln!(std::io::stdout(), "{}", text.trim_end()).ok();
            ExitCode::SUCCESS
        }
        Err(text) => {
            writeln!(std::io::stderr(), "error: {}", text.trim_end()).ok();
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error what is going on.
fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}
