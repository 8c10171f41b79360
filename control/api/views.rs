//! The JSON shapes of the REST API, shared by its handlers and by the commands that call it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::NodeReport;

/// A document of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentView {
    /// Its path: references in it (`file:…`) are relative to its folder, and diagnostics name it.
    pub name: String,
    /// YAML.
    pub text: String,
}

/// When a source is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyWhen {
    /// Whatever was there before.
    #[default]
    Always,
    /// Only if the documents differ from those last applied from the same source, or another source was
    /// applied since; changes made by REST or a rollback stand otherwise.
    SourceChanged,
}

/// What to apply. The whole configuration: what it does not name goes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The documents, merged by key.
    pub documents: Vec<DocumentView>,
    /// Who asks.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// The file or directory that the documents come from.
    #[serde(default)]
    pub source: Option<String>,
    /// When to apply.
    #[serde(default)]
    pub when: ApplyWhen,
    /// How long to wait for acknowledgements; 0 answers once the generation is published.
    #[serde(default = "default_wait_ms")]
    pub wait_ms: u64,
}

fn default_wait_ms() -> u64 {
    crate::limits::LIVE_WAIT_MS
}

/// What came of an apply or a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyOutcome {
    /// There is a new generation.
    Applied,
    /// The definitions are those of the newest generation already.
    Unchanged,
    /// The source is as it was when it was last applied, and the store stands.
    SourceUnchanged,
}

/// What came of an apply or a rollback, in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplyResponse {
    /// In a word.
    pub outcome: ApplyOutcome,
    /// The newest generation now.
    pub generation: GenerationView,
    /// How it fares on the nodes.
    pub live: LiveView,
    /// Objects `{severity, class, message, file, line, column, label, hint, related}`.
    #[schema(value_type = Vec<Object>)]
    pub warnings: serde_json::Value,
    /// The same, for a terminal.
    pub rendered: String,
}

/// How a generation fares on the nodes that were connected when it was published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LiveView {
    /// How many nodes there were.
    pub nodes: usize,
    /// How many serve it.
    pub live: usize,
    /// From publishing to the last word, in milliseconds.
    pub ms: u64,
    /// Those that refused it.
    pub refused: Vec<RefusalView>,
    /// Those that have not answered.
    pub waiting: Vec<String>,
}

/// A node's refusal of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalView {
    /// Which node.
    pub node: String,
    /// Why.
    pub reason: String,
}

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GenerationView {
    /// Its number.
    pub number: u64,
    /// The one before it.
    pub parent: Option<u64>,
    /// The one whose definitions a rollback brought back.
    pub restores: Option<u64>,
    /// BLAKE3 of the snapshot, 64 hex digits.
    pub snapshot: String,
    /// Size of the snapshot.
    pub snapshot_bytes: u64,
    /// BLAKE3 over the definitions: equal definitions, equal roots.
    pub root: String,
    /// How many resources changed against the parent.
    pub changes: u64,
    /// How many routes it has.
    pub routes: u64,
    /// Who.
    pub author: String,
    /// Why.
    pub message: String,
    /// Where it was applied from.
    pub source: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Unix milliseconds of the same.
    pub created_unix_ms: u64,
    /// How long compiling took.
    pub compile_ms: u64,
    /// `compiled`, `published` or `live`.
    pub state: String,
    /// Never pruned.
    pub pinned: bool,
    /// How long it was, or has been, the newest.
    pub newest_for_ms: u64,
    /// Whether it is the newest.
    pub newest: bool,
}

/// A page of the history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryView {
    /// The rows.
    pub generations: Vec<GenerationView>,
}

/// What to roll back to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Which generation; without, the newest that differs, before what is live (going on backwards from a rollback).
    #[serde(default)]
    pub generation: Option<u64>,
    /// Who asks.
    #[serde(default)]
    pub author: String,
    /// Why.
    #[serde(default)]
    pub message: String,
    /// Keep the new generation's snapshot from being pruned.
    #[serde(default)]
    pub pin: bool,
    /// As for an apply.
    #[serde(default = "default_wait_ms")]
    pub wait_ms: u64,
}

/// Whether a generation's snapshot is kept from being pruned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinRequest {
    /// It is; or it may be pruned as any other.
    pub pinned: bool,
    /// Who asks.
    #[serde(default)]
    pub author: String,
}

/// What to compare with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The documents, merged by key.
    pub documents: Vec<DocumentView>,
    /// The generation to compare with; the newest without.
    #[serde(default)]
    pub against: Option<u64>,
}

/// What would change, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffView {
    /// From this generation; none where there is none yet.
    pub from: Option<u64>,
    /// To this one; none for documents that were not applied.
    pub to: Option<u64>,
    /// One line a change: `+`, `-` or `~`, the place, and what changes.
    pub lines: Vec<String>,
    /// Size of the snapshot that would be published.
    pub snapshot_bytes: u64,
    /// Objects `{severity, class, message, file, line, column, label, hint, related}`.
    #[schema(value_type = Vec<Object>)]
    pub warnings: serde_json::Value,
    /// The same, for a terminal.
    pub rendered: String,
}

/// A request to explain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// `GET https://host/path?query`.
    pub request: String,
    /// Name and value of each field.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Address of the caller; loopback without.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub peer: Option<std::net::IpAddr>,
    /// In this generation; the newest without.
    #[serde(default)]
    pub generation: Option<u64>,
}

/// What would become of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplanationView {
    /// In this generation.
    pub generation: u64,
    /// Request as read, host, route, candidates with reasons, stages, upstream, action, status, outcome, forwarded fields.
    #[schema(value_type = Object)]
    pub trial: serde_json::Value,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeJson {
    /// Its id.
    pub id: String,
    /// Heard of recently.
    pub connected: bool,
    /// Last word, RFC 3339.
    pub heard_at: String,
    /// How long ago that was, in milliseconds.
    pub silent_ms: u64,
    /// What it serves.
    pub generation: Option<u64>,
    /// How long it took to bring that live.
    pub live_ms: Option<u64>,
    /// A newer one that it refused.
    pub refused_generation: Option<u64>,
    /// Why.
    pub refused_reason: Option<String>,
    /// What it says about itself.
    pub report: NodeReport,
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodesView {
    /// Ordered by id.
    pub nodes: Vec<NodeJson>,
}

/// A token that enrols one gateway of another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenView {
    /// A secret: whoever has it becomes a node and gets the cluster's seal key.
    pub token: String,
    /// RFC 3339. It is good once, and until the daemon ends at the latest.
    pub good_until: String,
}

/// What an id was given to. Ids are never given to anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IdentityView {
    /// UUID.
    pub id: String,
    /// Name of the application.
    pub application: String,
    /// Digest of the credential's key, 64 hex digits, where the id is a credential's.
    pub credential: Option<String>,
    /// The generation in which it was given.
    pub since: u64,
}

/// A source and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceView {
    /// File, directory or quick start.
    pub source: String,
    /// Hash of its documents when last applied.
    pub hash: String,
    /// What came of it.
    pub generation: u64,
    /// When, RFC 3339.
    pub applied_at: String,
}

/// The whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// Version of the control daemon.
    pub version: String,
    /// The newest generation.
    pub newest: Option<GenerationView>,
    /// In words: where the configuration that is live comes from.
    pub standing: String,
    /// In words: which file that the configuration refers to has changed and cannot be applied, and why.
    pub complaint: Option<String>,
    /// The nodes.
    pub nodes: Vec<NodeJson>,
    /// The sources, the one applied last first.
    pub sources: Vec<SourceView>,
}

/// A definition document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DefinitionsView {
    /// Of this generation.
    pub generation: u64,
    /// Canonical YAML.
    pub yaml: String,
}

/// A problem (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemView {
    /// Stable URI of the kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line, the same for the kind.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// This occurrence.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Of a configuration with mistakes: all of them.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    #[schema(value_type = Vec<Object>)]
    pub diagnostics: serde_json::Value,
    /// The same, rendered for a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendered: Option<String>,
    /// Of a lost race: the newest generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<u64>,
}
