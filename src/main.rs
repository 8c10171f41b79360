//! Dispatches commands. The gateway's own are carried out here, because nothing else may know both planes.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ringway_control::commands::{self, Cli, Command, GatewayArgs, OutputFormat};
use ringway_gateway::doctor::{Colour, Level, Report};
use ringway_gateway::outlet::StandardError;
use ringway_gateway::{DriverChoice, GatewayOptions};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    log(&cli.command);
    match &cli.command {
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "ringway", &mut io::stdout());
            ExitCode::SUCCESS
        }
        Command::Gateway(arguments) => gateway(arguments),
        Command::Doctor => doctor(cli.output),
        _ => ExitCode::from(commands::run(&cli)),
    }
}

/// Help and version are answers; what cannot be parsed fails with 1, because 2 means changes (`plan`). Whoever asked for JSON
/// gets it.
fn usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let asked = arguments.windows(2).any(|pair| pair == ["--output", "json"]);
    if error.use_stderr() && (asked || arguments.iter().any(|argument| argument == "--output=json")) {
        let said = error.to_string();
        let said = said.trim_end().trim_start_matches("error: ");
        let value = serde_json::json!({ "error": said, "hint": null, "diagnostics": null, "exit": 1 });
        writeln!(io::stdout(), "{value}").ok();
    }
    // Nobody reads it, and nothing is left to do.
    error.print().ok();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Logs go to standard error, as long as somebody takes them, filtered by `RINGWAY_LOG` (`info`, `ringway_control=debug`): of daemons from `info`
/// up, of other commands from `warn` up.
fn log(command: &Command) {
    let daemon = matches!(command, Command::Gateway(_) | Command::Control(_));
    let level = if daemon { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("RINGWAY_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(StandardError::default)
        .with_target(false);
    log.with_ansi(io::stderr().is_terminal()).init();
}

/// Looks at this host; a problem is a failure.
fn doctor(format: OutputFormat) -> ExitCode {
    let report = Report::of_this_host();
    let mut stdout = io::stdout().lock();
    let colour = if stdout.is_terminal() { Colour::Always } else { Colour::Never };
    let text = match format {
        OutputFormat::Text => report.text(colour),
        OutputFormat::Json => report.json(),
    };
    // A reader that went away is not an error: `ringway doctor | head`.
    writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()).ok();
    if report.worst() == Level::Problem { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Runs the data plane until it is told to end.
fn gateway(arguments: &GatewayArgs) -> ExitCode {
    if arguments.supervised {
        commands::end_with_parent();
    }
    let driver = match arguments.driver.as_str() {
        "auto" => DriverChoice::Auto,
        "uring" => DriverChoice::Uring,
        "uring-coop" => DriverChoice::UringCoop,
        "epoll" => DriverChoice::Epoll,
        other => {
            tracing::error!(driver = other, "no such driver: write auto, uring, uring-coop or epoll");
            return ExitCode::FAILURE;
        }
    };
    let options = GatewayOptions {
        state: arguments.state.directory(),
        control: arguments.control.clone(),
        join: arguments.join.clone(),
        workers: arguments.workers,
        cores: arguments.cores.clone(),
        driver,
    };
    match ringway_gateway::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = error.chain(), hint = error.hint(), "the gateway ended");
            ExitCode::FAILURE
        }
    }
}
