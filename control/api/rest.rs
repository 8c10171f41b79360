//! The REST API: history, apply, plan, rollback, status, nodes, definitions, explain.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde::Deserialize;
use tokio::sync::watch;

use super::authorise::{Token, authorise};
use super::problem::{Problem, ProblemKind, of_every_error};
use super::views::{
    ApplyRequest, ApplyResponse, ApplyWhen, DefinitionsView, DiffView, ExplainRequest, ExplanationView,
    GenerationView, HistoryView, IdentityView, JoinTokenView, LiveView, NodesView, PinRequest, PlanRequest,
    ProblemView, RollbackRequest, StatusView,
};
use super::{Service, convert, now_unix_ms, read_json};
use crate::app::{ApplyInput, ExplainInput, PinInput, RollbackInput, When};
use crate::config::{Colour, Definitions, Document, diff, export, render_json, render_text};
use crate::domain::GenerationNumber;
use crate::limits::{APPLY_BODY_BYTES_MAX, LIVE_WAIT_MS_MAX};
use crate::store::Pin;

macro_rules! endpoints {
    ($($method:ident $path:literal $handler:ident;)+) => {
        /// Method and path of every endpoint.
        #[cfg(test)]
        pub(super) const ENDPOINTS: &[(&str, &str)] = &[$((stringify!($method), $path),)+];

        fn routes() -> Router<Service> {
            let router = Router::new();
            $(let router = router.route($path, $method($handler) as MethodRouter<Service>);)+
            router
        }

        /// The OpenAPI document's paths and shapes.
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($handler),+))]
        pub(super) struct Paths;
    };
}

endpoints! {
    get "/v1/status" status;
    get "/v1/nodes" nodes;
    get "/v1/generations" history;
    post "/v1/generations" apply;
    get "/v1/generations/{number}" generation;
    post "/v1/generations/{number}/pin" pin;
    get "/v1/generations/{number}/diff/{other}" compare;
    get "/v1/generations/{number}/live" live;
    get "/v1/generations/{number}/definitions" definitions;
    get "/v1/definitions" newest_definitions;
    post "/v1/plans" plan;
    post "/v1/rollbacks" rollback;
    post "/v1/explanations" explain;
    get "/v1/identities/{id}" identity;
    post "/v1/join-tokens" join_token;
    post "/v1/nodes/{node}/removal" remove_node;
    get "/v1/openapi.json" openapi;
}

/// All endpoints, each behind the token.
pub fn router(service: Service, token: watch::Receiver<Token>) -> Router {
    routes()
        .method_not_allowed_fallback(async || {
            Problem::new(ProblemKind::WrongMethod, "this endpoint takes another method")
        })
        .fallback(async || Problem::new(ProblemKind::NotFound, "no such endpoint"))
        .layer(DefaultBodyLimit::max(APPLY_BODY_BYTES_MAX))
        .layer(axum::middleware::map_response(of_every_error))
        .layer(axum::middleware::from_fn_with_state(token, authorise))
        .with_state(service)
}

/// Where things stand.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = StatusView)))]
async fn status(State(service): State<Service>) -> Result<axum::Json<StatusView>, Problem> {
    Ok(axum::Json(convert::status(service.app.status().await?, now_unix_ms())))
}

/// The nodes and what they serve.
#[utoipa::path(get, path = "/v1/nodes", responses((status = 200, body = NodesView)))]
async fn nodes(State(service): State<Service>) -> axum::Json<NodesView> {
    let now = now_unix_ms();
    let nodes = service.app.nodes().list().into_iter().map(|node| convert::node(node, now)).collect();
    axum::Json(NodesView { nodes })
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Only generations before this one.
    before: Option<u64>,
    /// At most this many; 20 without.
    count: Option<u32>,
}

/// The history, newest first.
#[utoipa::path(get, path = "/v1/generations", params(Page), responses((status = 200, body = HistoryView)))]
async fn history(
    State(service): State<Service>,
    Query(page): Query<Page>,
) -> Result<axum::Json<HistoryView>, Problem> {
    let before = page.before.map(GenerationNumber);
    let rows = service.app.history(before, page.count.unwrap_or(20)).await?;
    let mut ended = match rows.first() {
        Some(first) => service.app.successor(first.number).await?.map(|next| next.created_unix_ms),
        None => None,
    };
    let now = now_unix_ms();
    let mut generations = Vec::with_capacity(rows.len());
    for row in &rows {
        generations.push(convert::generation(row, ended, now));
        ended = Some(row.created_unix_ms);
    }
    Ok(axum::Json(HistoryView { generations }))
}

/// One generation.
#[utoipa::path(get, path = "/v1/generations/{number}", params(("number" = u64, Path)),
    responses((status = 200, body = GenerationView), (status = 404, body = ProblemView)))]
async fn generation(
    State(service): State<Service>,
    Path(number): Path<u64>,
) -> Result<axum::Json<GenerationView>, Problem> {
    let number = GenerationNumber(number);
    let row = service.app.generation(number).await?;
    let ended = service.app.successor(number).await?.map(|next| next.created_unix_ms);
    Ok(axum::Json(convert::generation(&row, ended, now_unix_ms())))
}

/// Applies a whole configuration, and answers when the nodes have spoken. `If-Match` with the number of a generation
/// (0 for none) makes it fail with 412 if another one is the newest.
#[utoipa::path(post, path = "/v1/generations", request_body = ApplyRequest,
    params(("If-Match" = Option<String>, Header, description = "Number of the newest generation")),
    responses((status = 200, body = ApplyResponse), (status = 412, body = ProblemView), (status = 422, body = ProblemView)))]
async fn apply(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<axum::Json<ApplyResponse>, Problem> {
    let request: ApplyRequest = read_json(&body)?;
    drop(body);
    let now_unix_ms = now_unix_ms();
    let input = ApplyInput {
        documents: documents(request.documents),
        author: request.author,
        message: request.message,
        source: request.source,
        when: match request.when {
            ApplyWhen::Always => When::Always,
            ApplyWhen::SourceChanged => When::SourceChanged,
        },
        if_match: if_match(&headers)?,
        wait_ms: request.wait_ms,
        now_unix_ms,
    };
    Ok(axum::Json(convert::applied(service.app.apply(input).await?, now_unix_ms)))
}

/// What applying a configuration would change.
#[utoipa::path(post, path = "/v1/plans", request_body = PlanRequest,
    responses((status = 200, body = DiffView), (status = 422, body = ProblemView)))]
async fn plan(State(service): State<Service>, body: Bytes) -> Result<axum::Json<DiffView>, Problem> {
    let request: PlanRequest = read_json(&body)?;
    let against = request.against.map(GenerationNumber);
    let plan = service.app.plan(documents(request.documents), against, now_unix_ms()).await?;
    Ok(axum::Json(DiffView {
        from: plan.against.map(|number| number.0),
        to: None,
        lines: lines(&plan.before, &plan.after),
        snapshot_bytes: plan.snapshot_bytes,
        warnings: render_json(&plan.warnings),
        rendered: render_text(&plan.warnings, Colour::Never),
    }))
}

/// Brings an older generation back, as a new one.
#[utoipa::path(post, path = "/v1/rollbacks", request_body = RollbackRequest,
    params(("If-Match" = Option<String>, Header, description = "Number of the newest generation")),
    responses((status = 200, body = ApplyResponse), (status = 404, body = ProblemView), (status = 412, body = ProblemView)))]
async fn rollback(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<axum::Json<ApplyResponse>, Problem> {
    let request: RollbackRequest = read_json(&body)?;
    let now_unix_ms = now_unix_ms();
    let input = RollbackInput {
        to: request.generation.map(GenerationNumber),
        author: request.author,
        message: request.message,
        if_match: if_match(&headers)?,
        pinned: request.pin,
        wait_ms: request.wait_ms,
        now_unix_ms,
    };
    Ok(axum::Json(convert::applied(service.app.rollback(input).await?, now_unix_ms)))
}

/// Keeps a generation's snapshot from being pruned, or lets it go.
#[utoipa::path(post, path = "/v1/generations/{number}/pin", request_body = PinRequest,
    params(("number" = u64, Path)),
    responses((status = 200, body = GenerationView), (status = 404, body = ProblemView)))]
async fn pin(
    State(service): State<Service>,
    Path(number): Path<u64>,
    body: Bytes,
) -> Result<axum::Json<GenerationView>, Problem> {
    let request: PinRequest = read_json(&body)?;
    let (number, now_unix_ms) = (GenerationNumber(number), now_unix_ms());
    let pin = if request.pinned { Pin::Keep } else { Pin::Release };
    let input = PinInput { number, pin, author: request.author, now_unix_ms };
    let row = service.app.pin(input).await?;
    let ended = service.app.successor(number).await?.map(|next| next.created_unix_ms);
    Ok(axum::Json(convert::generation(&row, ended, now_unix_ms)))
}

/// The definitions of a generation as one canonical YAML document.
#[utoipa::path(get, path = "/v1/generations/{number}/definitions", params(("number" = u64, Path)),
    responses((status = 200, body = DefinitionsView), (status = 404, body = ProblemView)))]
async fn definitions(
    State(service): State<Service>,
    Path(number): Path<u64>,
) -> Result<axum::Json<DefinitionsView>, Problem> {
    exported(&service, Some(GenerationNumber(number))).await
}

/// The definitions of the newest generation as one canonical YAML document.
#[utoipa::path(get, path = "/v1/definitions",
    responses((status = 200, body = DefinitionsView), (status = 404, body = ProblemView)))]
async fn newest_definitions(State(service): State<Service>) -> Result<axum::Json<DefinitionsView>, Problem> {
    exported(&service, None).await
}

async fn exported(
    service: &Service,
    number: Option<GenerationNumber>,
) -> Result<axum::Json<DefinitionsView>, Problem> {
    let (number, definitions) = service.app.definitions(number).await?;
    Ok(axum::Json(DefinitionsView { generation: number.0, yaml: export(&definitions) }))
}

/// What changed from one generation to another.
#[utoipa::path(get, path = "/v1/generations/{number}/diff/{other}",
    params(("number" = u64, Path, description = "From"), ("other" = u64, Path, description = "To")),
    responses((status = 200, body = DiffView), (status = 404, body = ProblemView)))]
async fn compare(
    State(service): State<Service>,
    Path((from, to)): Path<(u64, u64)>,
) -> Result<axum::Json<DiffView>, Problem> {
    let (_, before) = service.app.definitions(Some(GenerationNumber(from))).await?;
    let (_, after) = service.app.definitions(Some(GenerationNumber(to))).await?;
    let newer = service.app.generation(GenerationNumber(to)).await?;
    Ok(axum::Json(DiffView {
        from: Some(from),
        to: Some(to),
        lines: lines(&before, &after),
        snapshot_bytes: newer.snapshot_bytes,
        warnings: serde_json::Value::Array(Vec::new()),
        rendered: String::new(),
    }))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Wait {
    /// How long to wait; not at all without.
    wait_ms: Option<u64>,
}

/// Waits until a node serves the generation or a newer one, and says how it fares on all that are connected.
#[utoipa::path(get, path = "/v1/generations/{number}/live", params(("number" = u64, Path), Wait),
    responses((status = 200, body = LiveView)))]
async fn live(
    State(service): State<Service>,
    Path(number): Path<u64>,
    Query(wait): Query<Wait>,
) -> axum::Json<LiveView> {
    let since = tokio::time::Instant::now();
    let at_most = std::time::Duration::from_millis(wait.wait_ms.unwrap_or(0).min(LIVE_WAIT_MS_MAX));
    let report = service.app.nodes().wait_for_any(GenerationNumber(number), at_most).await;
    axum::Json(convert::live(report, u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)))
}

/// Which route a request takes and why not the others, each stage's decision, and the upstream; nothing is sent.
#[utoipa::path(post, path = "/v1/explanations", request_body = ExplainRequest,
    responses((status = 200, body = ExplanationView), (status = 404, body = ProblemView)))]
async fn explain(
    State(service): State<Service>,
    body: Bytes,
) -> Result<axum::Json<ExplanationView>, Problem> {
    let request: ExplainRequest = read_json(&body)?;
    let input = ExplainInput {
        request: request.request,
        fields: request.headers,
        from: request.peer,
        generation: request.generation.map(GenerationNumber),
        now_unix_ms: now_unix_ms(),
    };
    let (number, trial) = service.app.explain(input).await?;
    let trial = serde_json::to_value(trial).unwrap_or_default();
    Ok(axum::Json(ExplanationView { generation: number.0, trial }))
}

/// Whose an id of a record is or was: an application's or a credential's, whether it still exists or not.
#[utoipa::path(get, path = "/v1/identities/{id}", params(("id" = String, Path, description = "UUID")),
    responses((status = 200, body = IdentityView), (status = 404, body = ProblemView)))]
async fn identity(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<axum::Json<IdentityView>, Problem> {
    let id =
        uuid::Uuid::parse_str(&id).map_err(|_| Problem::new(ProblemKind::Malformed, "this is no UUID"))?;
    Ok(axum::Json(convert::identity(service.app.identity(id.as_u128()).await?)))
}

/// Makes a token with which one gateway of another host is enrolled.
#[utoipa::path(post, path = "/v1/join-tokens", responses((status = 200, body = JoinTokenView)))]
async fn join_token(State(service): State<Service>) -> Result<axum::Json<JoinTokenView>, Problem> {
    let (token, until) = service.app.join_token(now_unix_ms())?;
    Ok(axum::Json(JoinTokenView { token: token.encode(), good_until: convert::instant(until) }))
}

/// Removes a node of another host: its certificate is worth nothing any more.
#[utoipa::path(post, path = "/v1/nodes/{node}/removal", params(("node" = String, Path)),
    responses((status = 200, body = NodesView), (status = 404, body = ProblemView)))]
async fn remove_node(
    State(service): State<Service>,
    Path(node): Path<String>,
) -> Result<axum::Json<NodesView>, Problem> {
    service.app.remove_node(&node).await?;
    Ok(nodes(State(service)).await)
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", responses((status = 200, body = Object)))]
async fn openapi() -> Response {
    let document = super::openapi::document();
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], document).into_response()
}

fn documents(views: Vec<super::views::DocumentView>) -> Vec<Document> {
    views.into_iter().map(|view| Document { name: view.name, text: view.text }).collect()
}

/// The number in `If-Match`: `42` or `"42"`.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().trim_matches('"').parse().ok());
    let malformed = || Problem::new(ProblemKind::Malformed, "`If-Match` is not the number of a generation");
    number.ok_or_else(malformed).map(Some)
}

fn lines(before: &Definitions, after: &Definitions) -> Vec<String> {
    diff(before, after).iter().map(ToString::to_string).collect()
}
