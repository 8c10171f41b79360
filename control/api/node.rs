//! The gateway protocol (`docs/reference/control-protocol.md`), on the Unix socket and, for other hosts, over mutual TLS.

use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::secret::Secret;
use serde::Deserialize;

use super::problem::{Problem, ProblemKind};
use super::{Service, now_unix_ms, read_json};
use crate::domain::{Acknowledgement, GenerationNumber, NodeReport, NodeVerdict};
use crate::limits::{NODE_BODY_BYTES_MAX, NODE_ID_BYTES_MAX, NODE_POLL_MS_MAX};

/// Longest reason of a refusal that is kept.
const REASON_BYTES_MAX: usize = 4096;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Whoever may open the socket in the state directory.
    Local,
    /// A node whose certificate the handshake has verified.
    Node(String),
    /// Somebody without a certificate: only an enrolment is heard.
    Stranger,
}

impl Caller {
    /// The node's id, if it is one and the caller may speak for it.
    fn speaks_for(&self, node: String) -> Result<String, Problem> {
        let fits = (1..=NODE_ID_BYTES_MAX).contains(&node.len());
        if !fits || !node.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return Err(Problem::new(ProblemKind::Malformed, "`node` is not an id"));
        }
        match self {
            Self::Node(own) if *own != node => {
                let detail = format!("the certificate is of node {own}, not of {node}");
                Err(Problem::new(ProblemKind::Forbidden, detail)
                    .hint("give each gateway a state directory of its own, and enrol each"))
            }
            _ => Ok(node),
        }
    }
}

/// All endpoints of the protocol, for one caller.
pub fn router(service: Service, caller: Caller) -> Router {
    let admitted = Router::new()
        .route("/v1/node/generation", get(generation))
        .route("/v1/node/snapshots/{hash}", get(snapshot))
        .route("/v1/node/acknowledgements", post(acknowledge))
        .route("/v1/node/heartbeat", post(heartbeat))
        .route("/v1/node/certificate", post(renew))
        .layer(axum::middleware::from_fn_with_state(service.clone(), admit));
    Router::new()
        .route("/v1/node/enrolment", post(enrol))
        .merge(admitted)
        .fallback(async || Problem::new(ProblemKind::NotFound, "no such endpoint"))
        .layer(DefaultBodyLimit::max(NODE_BODY_BYTES_MAX))
        .layer(Extension(caller))
        .with_state(service)
}

/// Lets nodes pass that are enrolled.
async fn admit(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match &caller {
        Caller::Local => {}
        Caller::Node(node) => service.app.admit(node)?,
        Caller::Stranger => {
            let problem =
                Problem::new(ProblemKind::Forbidden, "this needs the certificate of an enrolled node");
            return Err(problem.hint(
                "enrol the gateway: `ringway gateway --join TOKEN`, with a token of `ringway join-token`",
            ));
        }
    }
    Ok(next.run(request).await)
}

#[derive(Debug, Deserialize)]
struct Enrolment {
    node: String,
    secret: String,
    public_key: String,
}

#[derive(Debug, Deserialize)]
struct Renewal {
    node: String,
    public_key: String,
}

/// Enrols a node for a join token's secret.
async fn enrol(
    State(service): State<Service>,
    body: Bytes,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let said: Enrolment = read_json(&body)?;
    let node = Caller::Stranger.speaks_for(said.node)?;
    let secret = Secret::new(bytes_of(&said.secret, "secret")?);
    let key = bytes_of(&said.public_key, "public_key")?;
    let enrolled = service.app.enrol(&secret, &node, &key, now_unix_ms()).await?;
    Ok(axum::Json(serde_json::json!({
        "certificate": hex_of(&enrolled.issued.certificate),
        "issued_unix_ms": enrolled.issued.issued_unix_ms,
        "expires_unix_ms": enrolled.issued.expires_unix_ms,
        "authority": hex_of(&enrolled.authority),
        "signing_public": enrolled.signing_public,
        "seal_key": String::from_utf8_lossy(enrolled.seal_key.expose()),
    })))
}

/// Gives an enrolled node its next certificate.
async fn renew(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    let said: Renewal = read_json(&body)?;
    let node = caller.speaks_for(said.node)?;
    let key = bytes_of(&said.public_key, "public_key")?;
    let issued = service.app.renew(&node, &key, now_unix_ms()).await?;
    Ok(axum::Json(serde_json::json!({
        "certificate": hex_of(&issued.certificate),
        "issued_unix_ms": issued.issued_unix_ms,
        "expires_unix_ms": issued.expires_unix_ms,
    })))
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(text: &str, name: &str) -> Result<Vec<u8>, Problem> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty());
    bytes.ok_or_else(|| Problem::new(ProblemKind::Malformed, format!("`{name}` is not hexadecimal")))
}

#[derive(Debug, Deserialize)]
struct Poll {
    node: String,
    after: u64,
    /// How long to wait at most; [`NODE_POLL_MS_MAX`] without.
    wait_ms: Option<u64>,
}

/// Waits for another generation than the node has.
async fn generation(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    Query(poll): Query<Poll>,
) -> Result<Response, Problem> {
    let node = caller.speaks_for(poll.node)?;
    let nodes = service.app.nodes();
    let guard = nodes.poll(&node, now_unix_ms()).map_err(too_many)?;
    let mut news = service.app.publisher().subscribe();
    let mut ending = service.ending.clone();
    let wait_ms = poll.wait_ms.unwrap_or(NODE_POLL_MS_MAX).min(NODE_POLL_MS_MAX);
    let first = guard.is_first();
    let other = news.wait_for(|news| news.as_ref().is_some_and(|news| first || news.number.0 != poll.after));
    let response = tokio::select! {
        news = other => match news.ok().and_then(|news| news.clone()) {
            Some(news) => pointer(&news.pointer),
            None => StatusCode::NO_CONTENT.into_response(),
        },
        () = tokio::time::sleep(Duration::from_millis(wait_ms)) => StatusCode::NO_CONTENT.into_response(),
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
async fn acknowledge(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let said: Acknowledge = read_json(&body)?;
    let node = caller.speaks_for(said.node)?;
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
async fn heartbeat(
    State(service): State<Service>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let said: Heartbeat = read_json(&body)?;
    let node = caller.speaks_for(said.node)?;
    let nodes = service.app.nodes();
    let now = now_unix_ms();
    nodes.heartbeat(&node, said.report, now).map_err(too_many)?;
    nodes.serves(&node, GenerationNumber(said.generation), now).map_err(too_many)?;
    Ok(StatusCode::NO_CONTENT)
}

fn too_many(error: crate::publish::nodes::TooManyNodes) -> Problem {
    Problem::new(ProblemKind::TooMany, error.to_string())
}
