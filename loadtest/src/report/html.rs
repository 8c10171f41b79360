//! The report as one page: nothing is loaded from anywhere, no script, good in light and in dark.

use std::fmt::{self, Write};

use super::svg::{Axis, HALF, Look, Scale, Series, Unit, WIDE, escape, plot};
use super::{Latency, Part, Report, Sample};
use ringway_wire::date::imf_fixdate;

use crate::limits::PLOT_POINTS_MAX;
use crate::quantity::{several, show_bytes, show_count, show_ns, show_rate, show_share};

/// The page of a run.
pub(crate) fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut out, report);
    out
}

/// A page with this title and content.
pub(super) fn frame(out: &mut String, title: &str, content: &str) -> fmt::Result {
    writeln!(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")?;
    writeln!(out, "<title>{}</title>\n<style>\n{}</style></head>", escape(title), include_str!("page.css"))?;
    writeln!(out, "<body><main>\n{content}</main></body></html>")
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let mut content = String::new();
    let body = &mut content;
    heading(body, report)?;
    tiles(body, report)?;
    let say = if report.generator.limited { "bad" } else { "good" };
    for (place, finding) in report.generator.findings.iter().enumerate() {
        let class = if place > 0 && !report.generator.limited { "bad" } else { say };
        writeln!(body, "<p class=\"say {class}\">{}</p>", escape(finding))?;
    }
    for judged in &report.conditions {
        let (class, verdict) = if judged.fulfilled { ("bad", "Failed") } else { ("good", "Passed") };
        let (condition, shown) = (escape(&judged.condition), escape(&judged.shown));
        writeln!(body, "<p class=\"say {class}\">{verdict}: fail if {condition}; it is {shown}.</p>")?;
    }
    body.push_str(&by_percentile(&curves(report)));
    writeln!(body, "<div class=\"two\">")?;
    body.push_str(&throughput(&report.series));
    body.push_str(&over_time(&report.series));
    writeln!(body, "</div>")?;
    latency_table(body, report)?;
    writeln!(body, "<div class=\"two\">")?;
    counts(body, report)?;
    generator(body, report)?;
    writeln!(body, "</div>")?;
    failures(body, report)?;
    parts(body, "By target", &report.targets)?;
    parts(body, "By step of the rate", &report.steps)?;
    knee(body, report)?;
    writeln!(body, "<footer>{}, {}</footer>", escape(&report.tool), escape(&began(report)))?;
    frame(out, &report.name, &content)
}

/// When it began, and what makes it repeatable.
fn began(report: &Report) -> String {
    let date = imf_fixdate(report.began_unix_s as u64);
    format!("began {}, random seed {}", String::from_utf8_lossy(&date), report.settings.seed)
}

fn heading(out: &mut String, report: &Report) -> fmt::Result {
    let settings = &report.settings;
    let tls = if settings.tls { " with TLS" } else { "" };
    let how = match (&settings.rate, &settings.arrivals) {
        (Some(rate), Some(arrivals)) => format!("open loop at {rate} requests/s, {arrivals} arrivals"),
        _ => "closed loop".to_owned(),
    };
    writeln!(out, "<h1>{}</h1>", escape(&report.name))?;
    writeln!(
        out,
        "<p class=\"sub\">{}{tls}, {how}, {}, {}, {:.1} s{}</p>",
        settings.protocol,
        several(settings.connections, "connection"),
        several(settings.threads, "thread"),
        report.elapsed_s,
        if report.interrupted { ", interrupted" } else { "" }
    )
}

fn tile(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", escape(value), escape(name))
}

fn tiles(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "<div class=\"tiles\">")?;
    tile(out, "answered/s", &show_rate(report.rates.answered))?;
    if let Some(due) = report.rates.due {
        tile(out, "due/s", &show_rate(due))?;
    }
    for percentile in [50.0, 99.0, 99.9] {
        let name = format!("p{percentile} latency");
        tile(out, &name, &show_ns(report.latency.at(percentile)))?;
    }
    tile(out, "largest latency", &show_ns(report.latency.max_ns))?;
    tile(out, "failed", &show_share(report.requests.failed_share))?;
    writeln!(out, "</div>")
}

fn curves(report: &Report) -> Vec<Series> {
    let points =
        |latency: &Latency| latency.curve.iter().map(|point| (point.percentile, point.ns as f64)).collect();
    let series = |name: &str, class: &str, look, latency| Series {
        name: name.to_owned(),
        class: class.to_owned(),
        look,
        points: points(latency),
    };
    match &report.service {
        Some(service) => vec![
            series("from the intended time", "c0", Look::Line, &report.latency),
            series("from when it was sent", "c1", Look::Dashed, service),
        ],
        None => vec![series("from when it was sent", "c0", Look::Line, &report.latency)],
    }
}

/// Latency by percentile, both on logarithmic axes.
pub(super) fn by_percentile(series: &[Series]) -> String {
    let points = || series.iter().flat_map(|one| &one.points);
    let least = points().map(|(_, ns)| *ns).fold(f64::INFINITY, f64::min);
    let most = points().map(|(_, ns)| *ns).fold(0.0, f64::max);
    let last = points().map(|(percentile, _)| *percentile).fold(90.0, f64::max);
    let nines = (-(1.0 - last / 100.0).max(1e-9).log10() - 1e-6).ceil().max(2.0);
    let x = Axis { scale: Scale::Nines(nines), unit: Unit::Percentile, title: "percentile of requests" };
    let y = Axis { scale: Scale::decades(least.min(most), most), unit: Unit::Ns, title: "latency" };
    plot("Latency by percentile", WIDE, x, y, series)
}

/// Samples drawn together where there are more than a plot can show: the sum of their counts, the worst of their latencies.
fn thinned(series: &[Sample]) -> Vec<Sample> {
    let together = series.len().div_ceil(PLOT_POINTS_MAX).max(1);
    let joined = series.chunks(together).filter_map(|chunk| {
        let mut samples = chunk.iter();
        let mut sum = samples.next()?.clone();
        for sample in samples {
            sum.seconds += sample.seconds;
            sum.answered += sample.answered;
            sum.failed += sample.failed;
            sum.broken += sample.broken;
            sum.classes.iter_mut().zip(sample.classes).for_each(|(sum, count)| *sum += count);
            sum.p50_ns = sum.p50_ns.max(sample.p50_ns);
            sum.p90_ns = sum.p90_ns.max(sample.p90_ns);
            sum.p99_ns = sum.p99_ns.max(sample.p99_ns);
            sum.p999_ns = sum.p999_ns.max(sample.p999_ns);
            sum.max_ns = sum.max_ns.max(sample.max_ns);
        }
        Some(sum)
    });
    joined.collect()
}

fn end_of(samples: &[Sample]) -> f64 {
    samples.last().map_or(1.0, |last| (last.at_s + last.seconds).max(0.1))
}

fn time_axis(samples: &[Sample]) -> Axis {
    Axis { scale: Scale::Linear(0.0, end_of(samples)), unit: Unit::Seconds, title: "time" }
}

/// Replies per second, stacked by the class of their status, failures on top.
fn throughput(series: &[Sample]) -> String {
    let samples = thinned(series);
    let layer = |sample: &Sample, place: usize| sample.classes.get(place).copied().unwrap_or(sample.broken);
    let mut sums = vec![0.0; samples.len()];
    let mut layers = Vec::new();
    let order = [
        (1, "2xx", "k2"),
        (2, "3xx", "k3"),
        (0, "1xx", "k1"),
        (3, "4xx", "k4"),
        (4, "5xx", "k5"),
        (5, "no reply", "k6"),
    ];
    for (place, name, class) in order {
        if samples.iter().all(|sample| layer(sample, place) == 0) {
            continue;
        }
        let mut points = Vec::new();
        for (sample, sum) in samples.iter().zip(&mut sums) {
            *sum += layer(sample, place) as f64 / sample.seconds.max(1e-9);
            // Steps: a tick's rate holds for all of the tick.
            points.push((sample.at_s, *sum));
            points.push((sample.at_s + sample.seconds, *sum));
        }
        layers.push(Series { name: name.to_owned(), class: class.to_owned(), look: Look::Stacked, points });
    }
    let most = sums.iter().copied().fold(0.0, f64::max);
    let y = Axis { scale: Scale::from_zero(most), unit: Unit::PerSecond, title: "replies per second" };
    plot("Throughput by status", HALF, time_axis(&samples), y, &layers)
}

/// Latency percentiles of each tick.
fn over_time(series: &[Sample]) -> String {
    let samples: Vec<Sample> = thinned(series).into_iter().filter(|sample| sample.max_ns > 0).collect();
    type Row = (&'static str, &'static str, fn(&Sample) -> u64);
    let rows: [Row; 4] = [
        ("max", "c3", |sample| sample.max_ns),
        ("p99", "c1", |sample| sample.p99_ns),
        ("p90", "c4", |sample| sample.p90_ns),
        ("p50", "c0", |sample| sample.p50_ns),
    ];
    let lines: Vec<Series> = rows
        .iter()
        .map(|(name, class, value)| Series {
            name: (*name).to_owned(),
            class: (*class).to_owned(),
            look: Look::Line,
            points: samples.iter().map(|s| (s.at_s + s.seconds / 2.0, value(s) as f64)).collect(),
        })
        .collect();
    let least = samples.iter().map(|sample| sample.p50_ns).min().unwrap_or(1_000) as f64;
    let most = samples.iter().map(|sample| sample.max_ns).max().unwrap_or(1_000_000) as f64;
    let y = Axis { scale: Scale::decades(least, most), unit: Unit::Ns, title: "latency" };
    plot("Latency over time", HALF, time_axis(series), y, &lines)
}

fn latency_table(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "<section><h2>Latency</h2><div class=\"wide\"><table><tr><th></th>")?;
    for point in &report.latency.percentiles {
        write!(out, "<th>p{}</th>", point.percentile)?;
    }
    writeln!(out, "<th>max</th><th>mean</th><th>deviation</th><th>count</th></tr>")?;
    let mut row = |name: &str, latency: &Latency| {
        write!(out, "<tr><td>{name}</td>")?;
        for point in &latency.percentiles {
            write!(out, "<td>{}</td>", show_ns(point.ns))?;
        }
        let (mean, deviation) = (show_ns(latency.mean_ns as u64), show_ns(latency.deviation_ns as u64));
        let (max, count) = (show_ns(latency.max_ns), show_count(latency.count));
        writeln!(out, "<td>{max}</td><td>{mean}</td><td>{deviation}</td><td>{count}</td></tr>")
    };
    match &report.service {
        Some(service) => {
            row("from the intended time", &report.latency)?;
            row("from when it was sent", service)?;
        }
        None => row("from when it was sent", &report.latency)?,
    }
    writeln!(out, "</table></div></section>")
}

fn counts(out: &mut String, report: &Report) -> fmt::Result {
    let requests = &report.requests;
    writeln!(out, "<section><h2>Requests</h2><div class=\"wide\"><table class=\"pairs\">")?;
    let mut row =
        |name: &str, value: String| writeln!(out, "<tr><td>{}</td><td>{value}</td></tr>", escape(name));
    row("due", show_count(requests.due))?;
    row("answered", show_count(requests.answered))?;
    row("failed", show_count(requests.failed))?;
    row("waited for a free connection", show_count(requests.waited))?;
    row(
        "received",
        format!("{} ({}/s)", show_bytes(requests.bytes_in as f64), show_bytes(report.rates.bytes_in)),
    )?;
    row("sent", show_bytes(requests.bytes_out as f64))?;
    for status in &report.statuses {
        row(&format!("status {}", status.status), show_count(status.count))?;
    }
    writeln!(out, "</table></div></section>")
}

/// Failures by their class.
fn failures(out: &mut String, report: &Report) -> fmt::Result {
    if !report.failures.is_empty() {
        writeln!(out, "<section><h2>Failures</h2><div class=\"wide\"><table>")?;
        writeln!(out, "<tr><th>class</th><th>count</th><th class=\"text\">meaning</th></tr>")?;
        for failure in &report.failures {
            let (class, meaning) = (escape(&failure.class), escape(&failure.meaning));
            let count = show_count(failure.count);
            writeln!(out, "<tr><td>{class}</td><td>{count}</td><td class=\"text\">{meaning}</td></tr>")?;
        }
        writeln!(out, "</table></div></section>")?;
    }
    Ok(())
}

fn generator(out: &mut String, report: &Report) -> fmt::Result {
    let generator = &report.generator;
    writeln!(out, "<section><h2>The generator itself</h2><div class=\"wide\"><table class=\"pairs\">")?;
    for thread in &generator.threads {
        writeln!(
            out,
            "<tr><td>thread {} ({})</td><td>{} of a core, {} waiting for one</td></tr>",
            thread.thread,
            escape(&thread.driver),
            show_share(thread.cpu_share),
            show_share(thread.starved_share)
        )?;
    }
    writeln!(
        out,
        "<tr><td>answered per CPU second</td><td>{}</td></tr>",
        show_rate(generator.answered_per_cpu_s)
    )?;
    if let Some(late) = &generator.lateness {
        let (p50, p99, max) = (show_ns(late.p50_ns), show_ns(late.p99_ns), show_ns(late.max_ns));
        writeln!(out, "<tr><td>sends late by</td><td>{p50} p50, {p99} p99, {max} max</td></tr>")?;
    }
    let connections = &report.connections;
    writeln!(
        out,
        "<tr><td>connections opened before the run</td><td>{}</td></tr>",
        connections.opened_before
    )?;
    if connections.opened > 0 {
        let (opened, p99) = (show_count(connections.opened), show_ns(connections.connect_p99_ns));
        writeln!(out, "<tr><td>opened during it</td><td>{opened}, {p99} p99</td></tr>")?;
    }
    if connections.idle > 0 {
        let (idle, lost) = (connections.idle, connections.idle_lost);
        writeln!(out, "<tr><td>held idle</td><td>{idle}, {lost} of them lost</td></tr>")?;
    }
    writeln!(out, "</table></div></section>")
}

/// The trials of a search for the knee.
fn knee(out: &mut String, report: &Report) -> fmt::Result {
    let Some(knee) = &report.knee else { return Ok(()) };
    let found = knee.rate.map_or_else(|| "none".to_owned(), |rate| format!("{}/s", show_rate(rate)));
    let condition = escape(&knee.condition);
    writeln!(out, "<section><h2>Largest rate at which {condition}: {found}</h2><div class=\"wide\"><table>")?;
    writeln!(out, "<tr><th>rate</th><th>value</th><th>answered/s</th><th>failed</th><th>holds</th></tr>")?;
    for trial in &knee.trials {
        writeln!(
            out,
            "<tr><td>{}/s</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            show_rate(trial.rate),
            escape(&trial.shown),
            show_rate(trial.answered_rate),
            show_share(trial.failed_share),
            if trial.held { "yes" } else { "no" }
        )?;
    }
    writeln!(out, "</table></div></section>")
}

fn parts(out: &mut String, title: &str, parts: &[Part]) -> fmt::Result {
    if parts.is_empty() {
        return Ok(());
    }
    writeln!(out, "<section><h2>{title}</h2><div class=\"wide\"><table>")?;
    writeln!(
        out,
        "<tr><th></th><th>answered/s</th><th>failed</th><th>p50</th><th>p99</th><th>p99.9</th><th>max</th></tr>"
    )?;
    for part in parts {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&part.name),
            show_rate(part.rate),
            show_count(part.failed),
            show_ns(part.p50_ns),
            show_ns(part.p99_ns),
            show_ns(part.p999_ns),
            show_ns(part.max_ns)
        )?;
    }
    writeln!(out, "</table></div></section>")
}
