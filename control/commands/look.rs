//! Commands that look: history, diff, status, export.

use std::fmt::Write;

use super::change::count;
use super::client::Client;
use super::failure::Failure;
use super::terminal::Terminal;
use super::{DiffArgs, ExportArgs, HistoryArgs, StatusArgs};
use crate::api::views::{DefinitionsView, DiffView, GenerationView, HistoryView, NodeJson, StatusView};

/// `ringway history`.
pub(super) fn history(args: &HistoryArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let before = args.before.map(|before| format!("&before={before}")).unwrap_or_default();
    let history: HistoryView = client.get(&format!("/v1/generations?count={}{before}", args.count))?;
    terminal.result(&history, |history| {
        if history.generations.is_empty() {
            return "nothing was applied yet".to_owned();
        }
        history.generations.iter().map(row).collect::<Vec<_>>().join("\n")
    });
    Ok(0)
}

/// `ringway diff`.
pub(super) fn diff(args: &DiffArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let diff: DiffView = client.get(&format!("/v1/generations/{}/diff/{}", args.from, args.to))?;
    terminal.result(&diff, |diff| {
        if diff.lines.is_empty() {
            return format!("generations {} and {} say the same", args.from, args.to);
        }
        diff.lines.join("\n")
    });
    Ok(0)
}

/// `ringway export`.
pub(super) fn export(args: &ExportArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let path = match args.generation {
        Some(number) => format!("/v1/generations/{number}/definitions"),
        None => "/v1/definitions".to_owned(),
    };
    let definitions: DefinitionsView = client.get(&path)?;
    terminal.result(&definitions, |definitions| definitions.yaml.clone());
    Ok(0)
}

/// `ringway schema`: JSON in both forms.
pub(super) fn schema(terminal: Terminal) -> u8 {
    let schema = crate::config::json_schema();
    terminal.result(&schema, |schema| serde_json::to_string_pretty(schema).unwrap_or_default());
    0
}

/// `ringway status`.
pub(super) fn status(args: &StatusArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let status: StatusView = client.get("/v1/status")?;
    terminal.result(&status, describe);
    Ok(0)
}

fn describe(status: &StatusView) -> String {
    let mut text = format!("{}\n", status.standing);
    if let Some(complaint) = &status.complaint {
        // A String takes everything.
        writeln!(text, "error: {complaint}").ok();
    }
    if let Some(newest) = &status.newest {
        text.push_str(&row(newest));
        text.push('\n');
    }
    if status.nodes.is_empty() {
        text.push_str("no node has been heard of\n");
    }
    for node in &status.nodes {
        text.push_str(&describe_node(node));
    }
    text
}

fn describe_node(node: &NodeJson) -> String {
    let state = if node.connected { "connected" } else { "gone" };
    let serves =
        node.generation.map_or("serves nothing".to_owned(), |number| format!("serves generation {number}"));
    let mut text = format!("node {}: {state}, {serves}, seen {} ago", node.id, duration(node.silent_ms));
    if let Some(ms) = node.live_ms {
        // A String takes everything.
        write!(text, ", live in {ms} ms").ok();
    }
    let report = &node.report;
    if report.workers > 0 {
        write!(text, ", {} workers on {}", report.workers, report.driver).ok();
    }
    if !report.listeners.is_empty() {
        write!(text, ", {}", report.listeners.join(" ")).ok();
    }
    if let (Some(number), Some(reason)) = (node.refused_generation, &node.refused_reason) {
        write!(text, "\n  refused generation {number}: {reason}").ok();
    }
    for problem in &report.problems {
        write!(text, "\n  {problem}").ok();
    }
    text.push('\n');
    text
}

/// `  42  2026-11-21T12:00:00Z  live 3m  ada@host  why`.
fn row(generation: &GenerationView) -> String {
    let mark = if generation.newest { '*' } else { ' ' };
    let pinned = if generation.pinned { "  pinned" } else { "" };
    let why = match generation.restores {
        Some(restored) if generation.message.is_empty() => format!("(back to {restored})"),
        Some(restored) => format!("{} (back to {restored})", generation.message),
        None => generation.message.clone(),
    };
    format!(
        "{mark}{:>5}  {}  {:<9}  {:>7}  {}, {}  {}{pinned}  {why}",
        generation.number,
        generation.created_at,
        generation.state,
        duration(generation.newest_for_ms),
        count(generation.routes, "route"),
        count(generation.changes, "change"),
        generation.author,
    )
    .trim_end()
    .to_owned()
}

/// `450ms`, `12s`, `3m`, `5h`, `2d`.
fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_said_in_the_unit_that_fits() {
        let said: Vec<_> = [450, 12_000, 180_000, 18_000_000, 172_800_000].map(duration).into();
        assert_eq!(said, ["450ms", "12s", "3m", "5h", "2d"]);
    }
}
