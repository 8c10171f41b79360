//! The report for the terminal.

use std::fmt::{self, Write};

use super::{Latency, Part, Report};
use crate::quantity::{several, show_bytes, show_count, show_ns, show_rate, show_share};

/// The report as text, its last line ended.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    heading(out, report)?;
    let requests = &report.requests;
    writeln!(
        out,
        "  requests    {} due, {} answered, {} failed ({})",
        show_count(requests.due),
        show_count(requests.answered),
        show_count(requests.failed),
        show_share(requests.failed_share)
    )?;
    let of = match report.rates.due {
        Some(due) => {
            format!(" of {}/s due ({})", show_rate(due), show_share(report.rates.answered / due.max(1e-9)))
        }
        None => String::new(),
    };
    let bytes = show_bytes(report.rates.bytes_in);
    writeln!(out, "  rate        {}/s answered{of}, {bytes}/s received", show_rate(report.rates.answered))?;
    latencies(out, report)?;
    statuses(out, report)?;
    let connections = &report.connections;
    write!(out, "  connections {} opened before the run", connections.opened_before)?;
    if connections.failed_before > 0 {
        write!(out, ", {} could not be", connections.failed_before)?;
    }
    if connections.opened > 0 {
        let (p50, p99) = (show_ns(connections.connect_p50_ns), show_ns(connections.connect_p99_ns));
        write!(out, ", {} during it in {p50} (p50), {p99} (p99)", show_count(connections.opened))?;
    }
    if connections.idle > 0 {
        write!(out, ", {} held idle, {} of them lost", connections.idle, connections.idle_lost)?;
    }
    writeln!(out)?;
    parts(out, "target", &report.targets)?;
    parts(out, "step", &report.steps)?;
    knee(out, report)?;
    generator(out, report)
}

/// What a search for the knee found.
fn knee(out: &mut String, report: &Report) -> fmt::Result {
    let Some(knee) = &report.knee else { return Ok(()) };
    let next =
        knee.trials.iter().filter(|trial| !trial.held).map(|trial| trial.rate).fold(f64::INFINITY, f64::min);
    match knee.rate {
        Some(rate) => write!(
            out,
            "  knee        {}/s: the largest rate tried at which {} holds",
            show_rate(rate),
            knee.condition
        )?,
        None => write!(out, "  knee        {} holds at no rate that was tried", knee.condition)?,
    }
    if next.is_finite() {
        write!(out, "; at {}/s it does not", show_rate(next))?;
    }
    writeln!(out)?;
    if knee.generator_limited {
        writeln!(
            out,
            "              In a trial that failed the generator was at its own limit: the target may do better."
        )?;
    }
    Ok(())
}

fn heading(out: &mut String, report: &Report) -> fmt::Result {
    let settings = &report.settings;
    writeln!(out, "{}", report.name)?;
    let tls = if settings.tls { " with TLS" } else { "" };
    let rate = match (&settings.rate, &settings.arrivals) {
        (Some(rate), Some(arrivals)) => format!("open loop at {rate}/s, {arrivals} arrivals"),
        _ => "closed loop".to_owned(),
    };
    let seconds = report.elapsed_s;
    let connections = several(settings.connections, "connection");
    let threads = several(settings.threads, "thread");
    let interrupted = if report.interrupted { ", interrupted" } else { "" };
    writeln!(
        out,
        "  {}{tls}, {rate}, {connections}, {threads}, {seconds:.1} s{interrupted}\n",
        settings.protocol
    )
}

fn latencies(out: &mut String, report: &Report) -> fmt::Result {
    write!(out, "  latency   ")?;
    for name in ["p50", "p90", "p99", "p99.9", "p99.99", "max", "mean"] {
        write!(out, "{name:>10}")?;
    }
    writeln!(out)?;
    match &report.service {
        Some(service) => {
            latency(out, "intended", &report.latency)?;
            latency(out, "sent", service)?;
            writeln!(out, "    (intended: from when a request was due; sent: from when it was sent)")
        }
        None => latency(out, "sent", &report.latency),
    }
}

fn latency(out: &mut String, name: &str, latency: &Latency) -> fmt::Result {
    write!(out, "    {name:<8}")?;
    for percentile in [50.0, 90.0, 99.0, 99.9, 99.99] {
        write!(out, "{:>10}", show_ns(latency.at(percentile)))?;
    }
    writeln!(out, "{:>10}{:>10}", show_ns(latency.max_ns), show_ns(latency.mean_ns as u64))
}

fn statuses(out: &mut String, report: &Report) -> fmt::Result {
    let counts = report.statuses.iter().map(|row| format!("{}: {}", row.status, show_count(row.count)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    writeln!(out, "  status      {}", if counts.is_empty() { "no reply" } else { &counts })?;
    for (place, row) in report.failures.iter().enumerate() {
        let title = if place == 0 { "failures" } else { "" };
        writeln!(out, "  {title:<10}  {:<16}{:>10}  {}", row.class, show_count(row.count), row.meaning)?;
    }
    Ok(())
}

fn parts(out: &mut String, title: &str, parts: &[Part]) -> fmt::Result {
    if parts.is_empty() {
        return Ok(());
    }
    let width = parts.iter().map(|part| part.name.chars().count()).max().unwrap_or(0).clamp(10, 60);
    writeln!(
        out,
        "  {title:<width$}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "answered/s", "failed", "p50", "p99", "p99.9", "max"
    )?;
    for part in parts {
        let name: String = part.name.chars().take(width).collect();
        writeln!(
            out,
            "  {name:<width$}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
            show_rate(part.rate),
            show_count(part.failed),
            show_ns(part.p50_ns),
            show_ns(part.p99_ns),
            show_ns(part.p999_ns),
            show_ns(part.max_ns)
        )?;
    }
    Ok(())
}

fn generator(out: &mut String, report: &Report) -> fmt::Result {
    let generator = &report.generator;
    let shares =
        generator.threads.iter().map(|thread| show_share(thread.cpu_share)).collect::<Vec<_>>().join(", ");
    let starved = generator.threads.iter().map(|thread| thread.starved_share).fold(0.0, f64::max);
    writeln!(
        out,
        "  generator   {shares} of a core by thread, waiting for one {} at most; {} answered per CPU second",
        show_share(starved),
        show_rate(generator.answered_per_cpu_s)
    )?;
    if let Some(late) = &generator.lateness {
        let (p50, p99, max) = (show_ns(late.p50_ns), show_ns(late.p99_ns), show_ns(late.max_ns));
        writeln!(out, "              sends late by {p50} (p50), {p99} (p99), {max} (max)")?;
    }
    for finding in &generator.findings {
        writeln!(out, "              {finding}")?;
    }
    for judged in &report.conditions {
        let verdict = if judged.fulfilled { "FAILED" } else { "passed" };
        writeln!(out, "  {verdict}      --fail-if '{}': it is {}", judged.condition, judged.shown)?;
    }
    Ok(())
}
