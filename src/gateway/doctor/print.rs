//! A report as people read it, as programs do, and the table as its reference page.

use std::fmt::Write;

use serde_json::json;

use super::table::Group;
use super::{Colour, Level, Report};

/// Columns of the advice below a finding.
const WIDTH: usize = 100;

pub(super) fn text(report: &Report, colour: Colour) -> String {
    let mut out = format!("Ringway doctor · {}\n", report.title);
    let width = report.findings.iter().map(|(row, _)| row.name.len()).max().unwrap_or(0);
    for group in Group::ALL {
        let _ = writeln!(out, "\n{}", painted(group.name(), "1", colour));
        for (row, finding) in report.findings.iter().filter(|(row, _)| row.group == group) {
            let level = painted(&format!("{:7}", finding.level.name()), tint(finding.level), colour);
            let _ = writeln!(out, "  {level}  {:width$}  {}", row.name, finding.found);
            if finding.level > Level::Ok {
                let fix = finding.fix.as_deref().unwrap_or(row.fix);
                for (label, words) in [("want", row.recommended), ("why", row.why)] {
                    advice(&mut out, &painted(&format!("{label:4}"), "2", colour), words);
                }
                // What is to be typed stays on its line, so that it can be copied.
                let _ = writeln!(out, "           {}  {fix}", painted("type", "2", colour));
            }
        }
    }
    let _ = writeln!(out, "\n{}", summary(report));
    out
}

/// Words below a finding, wrapped.
fn advice(out: &mut String, label: &str, words: &str) {
    let mut line = String::new();
    let mut label = label;
    let indent = " ".repeat(11);
    for word in words.split(' ') {
        if line.chars().count() + word.chars().count() + 18 > WIDTH {
            let _ = writeln!(out, "{indent}{label}  {line}");
            (line, label) = (String::new(), "    ");
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(out, "{indent}{label}  {line}");
}

const fn tint(level: Level) -> &'static str {
    match level {
        Level::Ok => "32",
        Level::Note => "36",
        Level::Warning => "33",
        Level::Problem => "1;31",
    }
}

fn painted(text: &str, code: &str, colour: Colour) -> String {
    match colour {
        Colour::Always => format!("\x1b[{code}m{text}\x1b[0m"),
        Colour::Never => text.to_owned(),
    }
}

fn count(report: &Report, level: Level) -> usize {
    report.findings.iter().filter(|(_, finding)| finding.level == level).count()
}

fn summary(report: &Report) -> String {
    let of = |level: Level, many: &str| match count(report, level) {
        1 => format!("1 {}", level.name()),
        count => format!("{count} {many}"),
    };
    let mut line = format!(
        "{} checks: {}, {}, {}, {}",
        report.findings.len(),
        of(Level::Problem, "problems"),
        of(Level::Warning, "warnings"),
        of(Level::Note, "notes"),
        of(Level::Ok, "ok"),
    );
    if report.worst() > Level::Ok {
        line.push_str(".\nSettings of sysctl last until the next boot; to keep them, write them to /etc/sysctl.d/90-ringway.conf.");
    }
    line
}

pub(super) fn json(report: &Report) -> String {
    let checks: Vec<_> = report
        .findings
        .iter()
        .map(|(row, finding)| {
            json!({
                "group": row.group.name(),
                "name": row.name,
                "level": finding.level.name(),
                "found": finding.found,
                "recommended": row.recommended,
                "why": row.why,
                "fix": finding.fix.as_deref().unwrap_or(row.fix),
            })
        })
        .collect();
    let counts: serde_json::Map<String, serde_json::Value> =
        Level::ALL.iter().map(|level| (level.name().to_owned(), json!(count(report, *level)))).collect();
    let value =
        json!({ "host": report.title, "worst": report.worst().name(), "counts": counts, "checks": checks });
    format!("{value:#}")
}

/// Prints `docs/reference/doctor.md`.
#[cfg(test)]
pub(super) fn reference() -> String {
    let mut page = String::from(
        "# Checks of the host\n\nWhat `ringway doctor` looks at. Printed from `src/gateway/doctor/table.rs`; do not edit.\n\n\
         A check ends as *ok*, *note* (worth knowing), *warning* (it costs throughput, latency or connections) or *problem* (a\n\
         gateway does not work as it should here). The command changes nothing, needs no privilege and no daemon, and exits\n\
         with 1 when there is a problem, else with 0; `--output json` prints the same for programs. What it cannot see (in a\n\
         container, say) it says so and does not count. [Tuning](../tuning.md) has the order in which to go about it.\n",
    );
    for group in Group::ALL {
        let _ = writeln!(page, "\n## {}", group.name());
        for row in super::ROWS.iter().filter(|row| row.group == group) {
            let _ = writeln!(page, "\n### `{}`\n\n{}\n", row.name, row.why);
            let _ = writeln!(page, "- Recommended: {}\n- What to type: `{}`", row.recommended, row.fix);
        }
    }
    page
}
