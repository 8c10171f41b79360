//! The gateway protocol (`docs/reference/control-protocol.md`), served on the Unix socket alone.

use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ringway_snapshot::current::ContentHash;
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};
use super::{Service, now_unix_ms, read_json};
use crate::domain::{Acknowledgement, GenerationNumber, NodeReport, NodeVerdict};
use crate::limits::{NODE_BODY_BYTES_MAX, NODE_ID_BYTES_MAX, NODE_POLL_MS_MAX};

/// Longest reason of a refusal that is kept.
const REASON_BYTES_MAX: usize = 4096;

/// All endpoints of the protocol.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/node/generation", get(generation))
        .route("/v1/node/snapshots/{hash}", get(snapshot))
        .route("/v1/node/acknowledgements", post(acknowledge))
        .route("/v1/node/heartbeat", post(heartbeat))
        .fallback(async || Problem::new(ProblemKind::NotFound, "no such endpoint"))
        .layer(DefaultBodyLimit::max(NODE_BODY_BYTES_MAX))
        .with_state(service)
}

#[derive(Debug, Deserialize)]
struct Poll {
    node: String,
    after: u64,
}

/// Waits for another generation than the node has.
async fn generation(State(service): State<Service>, Query(poll): Query<Poll>) -> Result<Response, Problem> {
    let node = checked(poll.node)?;
    let nodes = service.app.nodes();
    let guard = nodes.poll(&node, now_unix_ms()).map_err(too_many)?;
    let mut news = service.app.publisher().subscribe();
    let mut ending = service.ending.clone();
    let first = guard.is_first();
    let other = news.wait_for(|news| news.as_ref().is_some_and(|news| first || news.number.0 != poll.after));
    let response = tokio::select! {
        news = other => match news.ok().and_then(|news| news.clone()) {
            Some(news) => pointer(&news.pointer),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        () = tokio::time::sleep(Duration::from_millis(NODE_POLL_MS_MAX)) => StatusCode::NO_CONTENT.into_response(),
        _ = ending.wait_for(|ending| *ending) => StatusCode::NO_CONTENT.into_response(),
    };
    guard.answered();
    Ok(response)
}

fn pointer(text: &str) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_owned()).into_response()
}

/// A snapshot file.
async fn snapshot(State(service): State<Service>, Path(hash): Path<String>) -> Result<Response, Problem> {
    let gone = || Problem::new(ProblemKind::NotFound, "no such snapshot is kept");
    let hash = ContentHash::parse(&hash).ok_or_else(gone)?;
    let bytes = service.app.snapshot(hash, now_unix_ms()).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}

#[derive(Debug, Deserialize)]
struct Acknowledge {
    node: String,
    generation: u64,
    hash: String,
    ok: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    live_ms: u64,
    #[serde(default)]
    report: Option<NodeReport>,
}

/// Keeps what a node says about a generation.
async fn acknowledge(State(service): State<Service>, body: Bytes) -> Result<StatusCode, Problem> {
    let said: Acknowledge = read_json(&body)?;
    let node = checked(said.node)?;
    let hash = ContentHash::parse(&said.hash)
        .ok_or_else(|| Problem::new(ProblemKind::Malformed, "`hash` is not 64 hex digits"))?;
    let now = now_unix_ms();
    if let Some(report) = said.report {
        service.app.nodes().heartbeat(&node, report, now).map_err(too_many)?;
    }
    let verdict = if said.ok {
        NodeVerdict::Live { live_ms: said.live_ms }
    } else {
        let reason = said.reason.unwrap_or_else(|| "no reason was given".to_owned());
        NodeVerdict::Refused { reason: reason.chars().take(REASON_BYTES_MAX).collect() }
    };
    let generation = GenerationNumber(said.generation);
    service.app.acknowledge(Acknowledgement { node, generation, hash, verdict, received_unix_ms: now })?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Heartbeat {
    node: String,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    report: NodeReport,
}

/// Keeps what a node says about itself.
async fn heartbeat(State(service): State<Service>, body: Bytes) -> Result<StatusCode, Problem> {
    let said: Heartbeat = read_json(&body)?;
    let node = checked(said.node)?;
    let nodes = service.app.nodes();
    let now = now_unix_ms();
    nodes.heartbeat(&node, said.report, now).map_err(too_many)?;
    nodes.serves(&node, GenerationNumber(said.generation), now).map_err(too_many)?;
    Ok(StatusCode::NO_CONTENT)
}

fn checked(node: String) -> Result<String, Problem> {
    let fits = (1..=NODE_ID_BYTES_MAX).contains(&node.len());
    if fits && node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(node);
    }
    Err(Problem::new(ProblemKind::Malformed, "`node` is not an id"))
}

fn too_many(error: crate::publish::nodes::TooManyNodes) -> Problem {
    Problem::new(ProblemKind::TooMany, error.to_string())
}
