//! What the program does, from its arguments to its exit code.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals as SystemSignals;

use crate::histogram_log::HistogramLog;
use crate::knee::{ANSWERED_SHARE_MIN, FAILED_SHARE_MAX, Held, Knee, Search, Trial};
use crate::options::{Action, CommandLine, Options};
use crate::plan::{Load, Plan};
use crate::prepare::{self, PrepareError, with_warm_up};
use crate::quantity::show_rate;
use crate::report::compare::{self, CompareError};
use crate::report::{Report, csv, html, text};
use crate::run::{RunError, run};
use crate::schedule::Piece;
use crate::screen::{RESTORE, Screen};
use crate::threshold::Condition;
use crate::worker::Signals;

/// A `--fail-if` condition is fulfilled.
const EXIT_FAILED: u8 = 3;
/// Ended by ^C, as shells have it: 128 and the signal's number.
const EXIT_INTERRUPTED: u8 = 130;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Compare(#[from] CompareError),
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let line = CommandLine::parse();
    let done = match &line.action {
        Some(Action::Compare { reports, output }) => compare_all(reports, output),
        None => load(&line.options),
    };
    done.unwrap_or_else(|error| {
        let mut shown = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            shown.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        say(&format!("error: {shown}\n"));
        ExitCode::FAILURE
    })
}

fn compare_all(paths: &[PathBuf], output: &Path) -> Result<ExitCode, CommandError> {
    let reports = paths.iter().map(|path| compare::read(path)).collect::<Result<Vec<_>, _>>()?;
    put(output, &compare::page(&reports))?;
    say(&format!("written: {}\n", output.display()));
    Ok(ExitCode::SUCCESS)
}

fn load(options: &Options) -> Result<ExitCode, CommandError> {
    let plan = prepare::plan(options)?;
    let signals = Signals::new();
    stop_on_signal(&signals)?;
    let name = options.output.name.clone().or_else(|| options.url.clone()).unwrap_or_else(|| {
        options.request.scenario.as_ref().map_or_else(String::new, |path| path.display().to_string())
    });
    let report = match &options.load.find_knee {
        Some(condition) => find_knee(options, condition, &signals, &name)?,
        None => one_run(options, plan, &signals, &name)?,
    };
    write_all(options, &report)?;
    Ok(match () {
        () if report.conditions.iter().any(|judged| judged.fulfilled) => ExitCode::from(EXIT_FAILED),
        () if report.interrupted => ExitCode::from(EXIT_INTERRUPTED),
        () => ExitCode::SUCCESS,
    })
}

/// The first signal ends the run and lets it report; the second ends the program.
fn stop_on_signal(signals: &Arc<Signals>) -> Result<(), CommandError> {
    let mut received = SystemSignals::new([SIGINT, SIGTERM]).map_err(CommandError::Signals)?;
    let signals = signals.clone();
    let builder = thread::Builder::new().name("signals".to_owned());
    let wait = move || {
        for _ in received.forever() {
            if signals.is_stopped() {
                say(RESTORE);
                std::process::exit(i32::from(EXIT_INTERRUPTED));
            }
            signals.stop();
        }
    };
    builder.spawn(wait).map(drop).map_err(CommandError::Signals)
}

fn one_run(
    options: &Options,
    plan: Plan,
    signals: &Arc<Signals>,
    name: &str,
) -> Result<Report, CommandError> {
    let output = &options.output;
    let mut screen = if output.quiet { Screen::quiet(name) } else { Screen::fitting(name) };
    let log_path = output.histogram_log.as_deref();
    let mut log = HistogramLog::new(log_path, &mut screen).map_err(|source| CommandError::Write {
        path: log_path.unwrap_or(Path::new("")).to_owned(),
        source,
    })?;
    let ran = run(&Arc::new(plan), signals, &mut log)?;
    drop(screen);
    Ok(Report::of(&ran, name, &options.check.fail_if))
}

/// Tries rate after rate, and reports the largest at which the condition held, or else the first trial.
fn find_knee(
    options: &Options,
    condition: &Condition,
    signals: &Arc<Signals>,
    name: &str,
) -> Result<Report, CommandError> {
    let mut search = Search::new(options.load.knee_from);
    let mut knee = Knee {
        condition: condition.text().to_owned(),
        rate: None,
        generator_limited: false,
        trials: Vec::new(),
    };
    let mut best: Option<Report> = None;
    while let Some(rate) = search.next_rate() {
        let mut plan = prepare::plan(options)?;
        let pieces = vec![Piece { seconds: plan.duration_ns as f64 / 1e9, from: rate, to: rate }];
        let pieces = with_warm_up(pieces, plan.warm_up_ns);
        plan.load = Load::Open { pieces, arrivals: options.load.arrivals };
        let report = one_run(options, plan, signals, &format!("{name} at {}/s", show_rate(rate)))?;
        let trial = tried(&report, condition, rate);
        if !options.output.quiet {
            let verdict = if trial.held { "holds" } else { "does not" };
            say(&format!("  {:>10}/s  {}: {}, {verdict}\n", show_rate(rate), condition.text(), trial.shown));
        }
        let held = if trial.held { Held::Yes } else { Held::No };
        search.tell(rate, held);
        if trial.held && knee.rate.is_none_or(|best| best < rate) {
            knee.rate = Some(rate);
        }
        if best.is_none() || knee.rate == Some(rate) {
            best = Some(report.clone());
        }
        knee.trials.push(trial);
        if report.generator.limited && held == Held::No {
            knee.generator_limited = true;
        }
        if report.interrupted {
            break;
        }
    }
    let mut report = best.ok_or(RunError::Interrupted)?;
    report.knee = Some(knee);
    Ok(report)
}

fn tried(report: &Report, condition: &Condition, rate: f64) -> Trial {
    let judged = report.judge(condition);
    let answered_share = report.requests.answered as f64 / report.requests.due.max(1) as f64;
    let served = report.requests.failed_share <= FAILED_SHARE_MAX && answered_share >= ANSWERED_SHARE_MIN;
    Trial {
        rate,
        held: judged.fulfilled && served && !report.interrupted,
        value: judged.value,
        shown: judged.shown,
        answered_rate: report.rates.answered,
        failed_share: report.requests.failed_share,
    }
}

fn write_all(options: &Options, report: &Report) -> Result<(), CommandError> {
    let output = &options.output;
    let to_standard = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    if !to_standard(&output.json) && !to_standard(&output.csv) {
        put(Path::new("-"), &text::text(report))?;
    }
    if let Some(path) = &output.json {
        let json = serde_json::to_string_pretty(report).map_err(io::Error::other);
        let json = json.map_err(|source| CommandError::Write { path: path.clone(), source })?;
        put(path, &format!("{json}\n"))?;
    }
    if let Some(path) = &output.csv {
        put(path, &csv::csv(report))?;
    }
    if let Some(path) = &output.html {
        put(path, &html::page(report))?;
    }
    Ok(())
}

/// Writes to a file, or to standard output for `-`. A reader that has gone is no error of ours.
fn put(path: &Path, text: &str) -> Result<(), CommandError> {
    let fault = |source| CommandError::Write { path: path.to_owned(), source };
    if path != Path::new("-") {
        return std::fs::write(path, text).map_err(fault);
    }
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(fault(error)),
        _ => Ok(()),
    }
}

/// Tells people. What cannot be told changes nothing.
fn say(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
