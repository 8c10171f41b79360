//! Values of the application as the JSON shapes of the API.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::views::{
    ApplyOutcome, ApplyResponse, GenerationView, IdentityView, LiveView, NodeJson, RefusalView, SourceView,
    StatusView,
};
use crate::app::{Applied, Outcome, Status};
use crate::config::{Colour, render_json, render_text};
use crate::domain::{Generation, Identity};
use crate::publish::{LiveReport, NodeView};
use crate::store::SourceState;

/// RFC 3339 in UTC with seconds; times beyond year 9999 are the epoch.
pub(super) fn instant(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

/// `ended` is when the next generation took over; it is the newest without.
pub(super) fn generation(
    generation: &Generation,
    ended_unix_ms: Option<u64>,
    now_unix_ms: u64,
) -> GenerationView {
    let until = ended_unix_ms.unwrap_or(now_unix_ms);
    GenerationView {
        number: generation.number.0,
        parent: generation.parent.map(|number| number.0),
        restores: generation.restores.map(|number| number.0),
        snapshot: generation.snapshot.to_string(),
        snapshot_bytes: generation.snapshot_bytes,
        root: generation.root.to_string(),
        changes: generation.changes,
        routes: generation.routes,
        author: generation.author.clone(),
        message: generation.message.clone(),
        source: generation.source.clone(),
        created_at: instant(generation.created_unix_ms),
        created_unix_ms: generation.created_unix_ms,
        compile_ms: generation.compile_ms,
        state: generation.state.name().to_owned(),
        pinned: generation.pinned,
        newest_for_ms: until.saturating_sub(generation.created_unix_ms),
        newest: ended_unix_ms.is_none(),
    }
}

pub(super) fn live(report: LiveReport, ms: u64) -> LiveView {
    let refusal = |(node, reason)| RefusalView { node, reason };
    LiveView {
        nodes: report.nodes(),
        live: report.live.len(),
        ms,
        refused: report.refused.into_iter().map(refusal).collect(),
        waiting: report.waiting,
    }
}

pub(super) fn applied(applied: Applied, now_unix_ms: u64) -> ApplyResponse {
    ApplyResponse {
        outcome: match applied.outcome {
            Outcome::Applied => ApplyOutcome::Applied,
            Outcome::Unchanged => ApplyOutcome::Unchanged,
            Outcome::SourceUnchanged => ApplyOutcome::SourceUnchanged,
        },
        generation: generation(&applied.generation, None, now_unix_ms),
        live: live(applied.live, applied.live_ms),
        warnings: render_json(&applied.warnings),
        rendered: render_text(&applied.warnings, Colour::Never),
    }
}

pub(super) fn node(node: NodeView, now_unix_ms: u64) -> NodeJson {
    NodeJson {
        id: node.id,
        connected: node.connected,
        heard_at: instant(node.heard_unix_ms),
        silent_ms: now_unix_ms.saturating_sub(node.heard_unix_ms),
        generation: node.live.map(|(number, _)| number.0),
        live_ms: node.live.and_then(|(_, ms)| ms),
        refused_generation: node.refused.as_ref().map(|(number, _)| number.0),
        refused_reason: node.refused.map(|(_, reason)| reason),
        report: node.report,
    }
}

pub(super) fn identity(identity: Identity) -> IdentityView {
    let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    IdentityView {
        id: uuid::Uuid::from_u128(identity.id).to_string(),
        application: identity.key.application,
        credential: identity.key.credential.map(hex),
        since: identity.since.0,
    }
}

pub(super) fn status(status: Status, now_unix_ms: u64) -> StatusView {
    let source = |source: SourceState| SourceView {
        source: source.source,
        hash: source.hash.to_string(),
        generation: source.generation.0,
        applied_at: instant(source.applied_unix_ms),
    };
    StatusView {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        newest: status.newest.map(|newest| generation(&newest, None, now_unix_ms)),
        standing: status.standing,
        complaint: status.complaint,
        nodes: status.nodes.into_iter().map(|one| node(one, now_unix_ms)).collect(),
        sources: status.sources.into_iter().map(source).collect(),
    }
}
