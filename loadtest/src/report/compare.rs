//! Two or more reports in one page: the first is what the others are measured against.

use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use super::html::{by_percentile, frame};
use super::svg::{Look, Series, escape};
use super::{Report, SCHEMA};
use crate::quantity::{show_ns, show_rate, show_share};

/// Why a report cannot be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no report.
    #[error("{} is no report of this tool", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is of another version.
    #[error("{} has the form `{schema}`; this version reads `{SCHEMA}`", path.display())]
    Schema {
        /// Which.
        path: PathBuf,
        /// What it says.
        schema: String,
    },
}

/// Reads a report.
pub(crate) fn read(path: &Path) -> Result<Report, CompareError> {
    #[derive(serde::Deserialize)]
    struct Form {
        schema: String,
    }
    let text = std::fs::read(path).map_err(|source| CompareError::Read { path: path.to_owned(), source })?;
    let form_fault = |source| CompareError::Form { path: path.to_owned(), source };
    let form: Form = serde_json::from_slice(&text).map_err(form_fault)?;
    if form.schema != SCHEMA {
        return Err(CompareError::Schema { path: path.to_owned(), schema: form.schema });
    }
    serde_json::from_slice(&text).map_err(form_fault)
}

/// One figure of a report: its name, its value, how it is shown, and which way is better.
type Row = (&'static str, fn(&Report) -> f64, fn(f64) -> String, Better);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

const ROWS: &[Row] = &[
    ("answered per second", |r| r.rates.answered, |v| show_rate(v), Better::More),
    ("p50", |r| r.latency.at(50.0) as f64, ns, Better::Less),
    ("p90", |r| r.latency.at(90.0) as f64, ns, Better::Less),
    ("p99", |r| r.latency.at(99.0) as f64, ns, Better::Less),
    ("p99.9", |r| r.latency.at(99.9) as f64, ns, Better::Less),
    ("p99.99", |r| r.latency.at(99.99) as f64, ns, Better::Less),
    ("max", |r| r.latency.max_ns as f64, ns, Better::Less),
    ("mean", |r| r.latency.mean_ns, ns, Better::Less),
    ("failed", |r| r.requests.failed_share, |v| show_share(v), Better::Less),
    ("answered per generator CPU second", |r| r.generator.answered_per_cpu_s, |v| show_rate(v), Better::More),
];

fn ns(value: f64) -> String {
    show_ns(value as u64)
}

/// A ratio like this is called a difference; what is closer may be noise.
const DIFFERENCE: f64 = 0.05;

/// The page.
pub(crate) fn page(reports: &[Report]) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut out, reports);
    out
}

fn write(out: &mut String, reports: &[Report]) -> fmt::Result {
    let mut content = String::new();
    let body = &mut content;
    let title = reports.iter().map(|report| report.name.as_str()).collect::<Vec<_>>().join(" / ");
    writeln!(body, "<h1>{}</h1>", escape(&title))?;
    writeln!(body, "<p class=\"sub\">{} runs; ratios are to the first</p>", reports.len())?;
    for report in reports.iter().filter(|report| report.generator.limited) {
        let finding = report.generator.findings.first().map_or("", String::as_str);
        writeln!(body, "<p class=\"say bad\">{}: {}</p>", escape(&report.name), escape(finding))?;
    }
    let curves: Vec<Series> = reports
        .iter()
        .enumerate()
        .map(|(place, report)| Series {
            name: report.name.clone(),
            class: format!("c{}", place % 6),
            look: if place < 6 { Look::Line } else { Look::Dashed },
            points: report.latency.curve.iter().map(|point| (point.percentile, point.ns as f64)).collect(),
        })
        .collect();
    body.push_str(&by_percentile(&curves));
    table(body, reports)?;
    settings(body, reports)?;
    frame(out, &title, &content)
}

fn table(out: &mut String, reports: &[Report]) -> fmt::Result {
    writeln!(out, "<section><h2>Figures</h2><div class=\"wide\"><table><tr><th></th>")?;
    for report in reports {
        write!(out, "<th>{}</th>", escape(&report.name))?;
    }
    writeln!(out, "</tr>")?;
    for (name, value, show, better) in ROWS {
        write!(out, "<tr><td>{name}</td>")?;
        let first = reports.first().map_or(0.0, value);
        for (place, report) in reports.iter().enumerate() {
            let own = value(report);
            if place == 0 || first == 0.0 {
                write!(out, "<td>{}</td>", show(own))?;
                continue;
            }
            let ratio = own / first;
            let class = match (ratio > 1.0 + DIFFERENCE, ratio < 1.0 - DIFFERENCE, better) {
                (true, _, Better::More) | (_, true, Better::Less) => "better",
                (true, _, Better::Less) | (_, true, Better::More) => "worse",
                _ => "",
            };
            write!(out, "<td class=\"{class}\">{} ({ratio:.2}×)</td>", show(own))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</table></div></section>")
}

fn settings(out: &mut String, reports: &[Report]) -> fmt::Result {
    writeln!(out, "<section><h2>How they were run</h2><div class=\"wide\"><table>")?;
    writeln!(
        out,
        "<tr><th></th><th class=\"text\">load</th><th>connections</th><th>threads</th><th>time</th></tr>"
    )?;
    for report in reports {
        let settings = &report.settings;
        let load = match (&settings.rate, &settings.arrivals) {
            (Some(rate), Some(arrivals)) => {
                format!("{}, open loop at {rate}/s, {arrivals}", settings.protocol)
            }
            _ => format!("{}, closed loop", settings.protocol),
        };
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td><td>{:.1} s</td></tr>",
            escape(&report.name),
            escape(&load),
            settings.connections,
            settings.threads,
            report.elapsed_s
        )?;
    }
    writeln!(out, "</table></div></section>")
}
