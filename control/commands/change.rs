//! Commands that change what is live, or say what would change: apply, plan, rollback.

use super::client::Client;
use super::documents;
use super::failure::{EXIT_CHANGES, Failure};
use super::terminal::Terminal;
use super::{ApplyArgs, PinArgs, PlanArgs, RollbackArgs};
use crate::api::views::{
    ApplyOutcome, ApplyRequest, ApplyResponse, ApplyWhen, DiffView, GenerationView, LiveView, PinRequest,
    PlanRequest, RollbackRequest,
};

/// `ringway apply`.
pub(super) fn apply(args: &ApplyArgs, terminal: Terminal) -> Result<u8, Failure> {
    let documents = documents::read(&args.file)?;
    let client = Client::connect(&args.connect)?;
    let request = ApplyRequest {
        documents: documents::views(documents),
        author: documents::author(),
        message: args.message.clone(),
        source: Some(documents::source(&args.file)),
        when: ApplyWhen::Always,
        wait_ms: args.wait_ms,
    };
    let progress = terminal.progress("compiling and bringing it live");
    let applied: ApplyResponse = client.post("/v1/generations", &request, args.if_match)?;
    drop(progress);
    finish(&applied, terminal)
}

/// `ringway rollback`.
pub(super) fn rollback(args: &RollbackArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let request = RollbackRequest {
        generation: args.generation,
        author: documents::author(),
        message: args.message.clone(),
        pin: args.pin,
        wait_ms: crate::limits::LIVE_WAIT_MS,
    };
    let progress = terminal.progress("rolling back");
    let applied: ApplyResponse = client.post("/v1/rollbacks", &request, args.if_match)?;
    drop(progress);
    finish(&applied, terminal)
}

/// `ringway pin`.
pub(super) fn pin(args: &PinArgs, terminal: Terminal) -> Result<u8, Failure> {
    let client = Client::connect(&args.connect)?;
    let request = PinRequest { pinned: !args.release, author: documents::author() };
    let path = format!("/v1/generations/{}/pin", args.generation);
    let generation: GenerationView = client.post(&path, &request, None)?;
    terminal.result(&generation, |generation| {
        let is = if generation.pinned { "is pinned: its snapshot is kept" } else { "is pinned no longer" };
        format!("generation {} {is}", generation.number)
    });
    Ok(0)
}

/// `ringway plan`.
pub(super) fn plan(args: &PlanArgs, terminal: Terminal) -> Result<u8, Failure> {
    let against = match args.against.as_str() {
        "live" => None,
        number => Some(number.parse().map_err(|_| {
            Failure::Usage(format!("--against takes `live` or the number of a generation, not `{number}`"))
        })?),
    };
    let documents = documents::read(&args.file)?;
    let client = Client::connect(&args.connect)?;
    let request = PlanRequest { documents: documents::views(documents), against };
    let plan: DiffView = client.post("/v1/plans", &request, None)?;
    terminal.warnings(&plan.rendered);
    terminal.result(&plan, |plan| {
        let against =
            plan.from.map_or("an empty gateway".to_owned(), |number| format!("generation {number}"));
        if plan.lines.is_empty() {
            return format!("no changes against {against}");
        }
        let lines = plan.lines.join("\n");
        let size = bytes(plan.snapshot_bytes);
        format!("{lines}\n{} against {against}; snapshot of {size}", count(plan.lines.len() as u64, "change"))
    });
    Ok(if plan.lines.is_empty() { 0 } else { EXIT_CHANGES })
}

fn finish(applied: &ApplyResponse, terminal: Terminal) -> Result<u8, Failure> {
    terminal.warnings(&applied.rendered);
    terminal.result(applied, describe);
    match applied.live.refused.first() {
        Some(refusal) => Err(Failure::Refused(format!(
            "{} of {} nodes refused generation {} and go on serving what they had: {}",
            applied.live.refused.len(),
            applied.live.nodes,
            applied.generation.number,
            refusal.reason
        ))),
        None => Ok(0),
    }
}

/// `compiled generation 42 in 180 ms, live on 3/3 nodes in 41 ms`.
pub(super) fn describe(applied: &ApplyResponse) -> String {
    let generation = &applied.generation;
    let number = generation.number;
    match applied.outcome {
        ApplyOutcome::Unchanged => format!("no changes: generation {number} says the same"),
        ApplyOutcome::SourceUnchanged => {
            format!("the source has not changed since it was applied: generation {number} stands")
        }
        ApplyOutcome::Applied => {
            let what = match generation.restores {
                Some(restored) => format!("generation {restored} is back as generation {number}"),
                None => format!("compiled generation {number} in {} ms", generation.compile_ms),
            };
            format!("{what}, {}", describe_live(&applied.live))
        }
    }
}

fn describe_live(live: &LiveView) -> String {
    if live.nodes == 0 {
        return "published; no node is connected".to_owned();
    }
    let nodes = if live.nodes == 1 { "node" } else { "nodes" };
    let said = format!("live on {}/{} {nodes} in {} ms", live.live, live.nodes, live.ms);
    if live.waiting.is_empty() { said } else { format!("{said}; no answer from {}", live.waiting.join(", ")) }
}

/// `1 route`, `2 routes`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `4.2 MiB`.
pub(super) fn bytes(count: u64) -> String {
    let mut size = count as f64;
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{size:.digits$} {}", units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_the_unit_that_fits() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(24 << 20), "24.0 MiB");
    }

    #[test]
    fn a_generation_is_said_to_be_live_only_on_the_nodes_that_said_so() {
        let live =
            LiveView { nodes: 3, live: 2, ms: 41, waiting: vec!["n3".to_owned()], ..LiveView::default() };
        assert_eq!(describe_live(&live), "live on 2/3 nodes in 41 ms; no answer from n3");
        assert_eq!(describe_live(&LiveView::default()), "published; no node is connected");
    }
}
