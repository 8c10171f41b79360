//! One request tried on a snapshot, without sending anything: for `ringway explain` and for `tests:`.
//!
//! Parsing, routing and the chain are the very functions that the gateway runs.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_policy::api_key::Identity;
use ringway_policy::chain::{Decisions, run_request};
use ringway_policy::facts::Facts;
use ringway_policy::limit::{HashKey, NodeCells};
use ringway_policy::memory::Memory;
use ringway_policy::prepare::{PrepareError, Prepared};
use ringway_policy::route::{
    ExpressionError, Found, RouteExpressions, RouteMatch, RouteQuery, match_host, trace_route,
};
use ringway_policy::trace::Trace;
use ringway_record::Outcome;
use ringway_snapshot::error::SnapshotError;
use ringway_snapshot::keys::{Pepper, Trust};
use ringway_snapshot::model::{self, Action};
use ringway_snapshot::reader::{AlignedBytes, Snapshot};
use ringway_snapshot::rows::flag;
use ringway_snapshot::tables::{ApplicationIndex, CredentialIndex};
use ringway_wire::http1::{Parse, normalise_path, parse_request};
use ringway_wire::{Buffer, HeadLimits, Overlay, PathPolicy, RequestHead};
use serde::Serialize;

/// Cells of limits that one trial may need; each trial begins with none.
const CELLS_MAX: usize = 64;

/// A request to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialRequest {
    /// `GET`.
    pub method: String,
    /// Host with an optional port.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Further fields.
    pub fields: Vec<(String, String)>,
    /// Address of the caller.
    pub from: IpAddr,
    /// Index of an application whose first credential counts as shown.
    pub application: Option<u32>,
}

/// What would become of the request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Trial {
    /// As it was read: method, host, normalised path.
    pub request: String,
    /// Pattern of the host that answers to the name.
    pub host: Option<String>,
    /// Name of the route that takes it.
    pub route: Option<String>,
    /// Routes that were asked, and what became of each.
    pub candidates: Vec<TrialCandidate>,
    /// Routes of the host that are not among them.
    pub other_routes: u32,
    /// One line for each stage of the chain.
    pub stages: Vec<String>,
    /// Name of the upstream that it is sent to.
    pub upstream: Option<String>,
    /// What the route does, in words.
    pub action: Option<String>,
    /// Towards the upstream: name, milliseconds, and whether the route itself says so.
    pub timeouts: Vec<TrialTimeout>,
    /// Status of a reply that the gateway makes itself.
    pub status: Option<u16>,
    /// How it ends, in the words of records, where the gateway ends it.
    pub outcome: Option<String>,
    /// Fields that the upstream would see, after all edits.
    pub forwarded: Vec<(String, String)>,
}

/// A route that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialCandidate {
    /// Its name.
    pub route: String,
    /// What became of it.
    pub reason: String,
}

/// A timeout that would hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialTimeout {
    /// As the key is called.
    pub name: &'static str,
    /// Milliseconds.
    pub ms: u32,
    /// The route says so; else its upstream does.
    pub of_route: bool,
}

/// Why nothing can be tried.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The snapshot is none.
    #[error("the snapshot cannot be read")]
    Snapshot(#[source] SnapshotError),
    /// Its policies cannot be carried out.
    #[error("the policies cannot be prepared")]
    Prepare(#[source] PrepareError),
    /// An expression in a route cannot be.
    #[error("a route's expression cannot be prepared")]
    Expression(#[source] ExpressionError),
    /// The request is not one.
    #[error("this is no request: {0}")]
    Request(String),
}

/// A generation on which requests are tried.
#[derive(Debug)]
pub struct Trials {
    snapshot: Snapshot,
    prepared: Prepared,
    expressions: RouteExpressions,
}

impl Trials {
    /// Over a snapshot's bytes.
    ///
    /// # Errors
    /// The bytes are none that a gateway would take.
    pub fn open(bytes: &[u8], trust: &Trust, peppers: &[Pepper]) -> Result<Self, TrialError> {
        let snapshot = Snapshot::open(AlignedBytes::copy(bytes), trust).map_err(TrialError::Snapshot)?;
        let prepared = Prepared::from(&snapshot, peppers, 1).map_err(TrialError::Prepare)?;
        let expressions = RouteExpressions::prepare(&snapshot).map_err(TrialError::Expression)?;
        Ok(Self { snapshot, prepared, expressions })
    }

    /// Tries a request. Limits begin unused.
    ///
    /// # Errors
    /// [`TrialError::Request`]: the text is not one request; what a gateway refuses as malformed is an answer.
    pub fn run(&self, request: &TrialRequest, now_unix_ms: u64) -> Result<Trial, TrialError> {
        let mut head = match self.read(request)? {
            Ok(head) => head,
            Err(trial) => return Ok(trial),
        };
        let tables = self.snapshot.tables();
        let policy = match_host(&self.snapshot, head.host()).and_then(|host| tables.host(host));
        let policy = policy.map_or(model::PathPolicy::Strict, |row| row.path_policy());
        if let Err(reject) = normalise_path(&mut head, path_policy(policy)) {
            return Ok(Trial::rejected(shown(&head), reject.status(), reject.name()));
        }
        let found = trace_route(&self.snapshot, &self.expressions, &RouteQuery::of(&head));
        let candidate = |candidate: &ringway_policy::route::Candidate| TrialCandidate {
            route: tables.route_name(candidate.route).to_owned(),
            reason: candidate.reason.to_string(),
        };
        let mut trial = Trial {
            request: shown(&head),
            host: found.host.map(|host| tables.host_name(host)),
            candidates: found.candidates.iter().map(candidate).collect(),
            other_routes: found.others,
            ..Trial::default()
        };
        match found.outcome {
            RouteMatch::Found(found) => self.decide(&mut trial, &head, &found, request, now_unix_ms)?,
            RouteMatch::UnknownHost => trial.end(Outcome::UnknownHost),
            RouteMatch::NoRoute(_) => trial.end(Outcome::NoRoute),
            RouteMatch::MethodNotAllowed { allow, .. } => {
                trial.end(Outcome::MethodNotAllowed);
                trial.action = Some(format!("Allow: {allow}"));
            }
        }
        Ok(trial)
    }

    fn read(&self, request: &TrialRequest) -> Result<Result<RequestHead, Trial>, TrialError> {
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        let own_host = request.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
        if !own_host {
            text.push_str(&format!("host: {}\r\n", request.authority));
        }
        for (name, value) in &request.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let settings = self.snapshot.settings();
        let limits = HeadLimits {
            head_bytes_max: settings.head_bytes_max,
            target_bytes_max: settings.target_bytes_max,
            fields_max: settings.head_fields_max,
        };
        let line = format!("{} {}{}", request.method, request.authority, request.target);
        match parse_request(Buffer::copied_from(text.as_bytes()), &limits) {
            Parse::Complete(head) if head.rest().is_empty() => Ok(Ok(head)),
            Parse::Complete(_) | Parse::Partial(_) => Err(TrialError::Request(line)),
            Parse::Reject(reject, _) => Ok(Err(Trial::rejected(line, reject.status(), reject.name()))),
        }
    }

    fn decide(
        &self,
        trial: &mut Trial,
        head: &RequestHead,
        found: &Found,
        request: &TrialRequest,
        now_unix_ms: u64,
    ) -> Result<(), TrialError> {
        let tables = self.snapshot.tables();
        trial.route = Some(tables.route_name(found.route).to_owned());
        if head.has_encoded_slash() && !found.row.has(flag::ENCODED_SLASH) {
            trial.status = Some(400);
            trial.action =
                Some("the path holds an encoded slash, which this route does not allow".to_owned());
            return Ok(());
        }
        let assumed = match request.application {
            Some(application) => Some(self.identity(application)?),
            None => None,
        };
        let facts = Facts {
            head,
            tables,
            client: request.from,
            route_id: found.row.id,
            mono_ns: 0,
            unix_ms: now_unix_ms,
            assumed,
        };
        let chain = self.prepared.chain(found.row.chain);
        let chain = chain.ok_or_else(|| TrialError::Request("its route has no chain".to_owned()))?;
        let cells = NodeCells::new(HashKey([0; 16]), CELLS_MAX);
        let mut memory = Memory::new(Arc::new(cells), HashKey([0; 16]));
        let (mut overlay, mut decisions, mut trace) =
            (Overlay::take(), Decisions::default(), Trace::default());
        let (prepared, told) = (&self.prepared, Some(&mut trace));
        let verdict = run_request(prepared, chain, &facts, &mut memory, &mut overlay, &mut decisions, told);
        trial.stages = trace.lines();
        match verdict {
            Err(refused) => trial.end(refused.outcome),
            Ok(()) => self.act(trial, found, head, &overlay),
        }
        Ok(())
    }

    fn act(&self, trial: &mut Trial, found: &Found, head: &RequestHead, overlay: &Overlay) {
        let action = self.snapshot.actions().get(found.row.action as usize);
        match action {
            Some(Action::Proxy { upstream, rewrite, timeout }) => {
                let upstream = self.snapshot.upstreams().get(*upstream as usize);
                let name = upstream.map(|upstream| upstream.name.clone());
                trial.action = Some(describe_proxy(name.as_deref(), rewrite));
                trial.timeouts = upstream.map(|upstream| timeouts(upstream, timeout)).unwrap_or_default();
                trial.upstream = name;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let field = |(name, value): (&[u8], &[u8])| (text(name), text(value));
                trial.forwarded = head.sent_fields(overlay).map(field).collect();
            }
            Some(Action::Redirect { status, .. }) => {
                trial.status = Some(*status);
                trial.action = Some("redirects".to_owned());
            }
            Some(Action::Respond { status, body, .. }) => {
                trial.status = Some(*status);
                trial.action = Some(format!("answers with {} bytes", body.len()));
            }
            None => trial.action = Some("does nothing that this version knows".to_owned()),
        }
    }

    fn identity(&self, application: u32) -> Result<Identity, TrialError> {
        let tables = self.snapshot.tables();
        let row = tables.application(ApplicationIndex(application)).filter(|row| row.credential_count > 0);
        let identity = row.and_then(|row| Identity::of(tables, CredentialIndex(row.credential_first)));
        identity.ok_or_else(|| TrialError::Request("the application has no credential".to_owned()))
    }
}

impl Trial {
    fn rejected(request: String, status: u16, outcome: &str) -> Self {
        Self { request, status: Some(status), outcome: Some(outcome.to_owned()), ..Self::default() }
    }

    fn end(&mut self, outcome: Outcome) {
        self.status = outcome.status();
        self.outcome = Some(outcome.name().to_owned());
    }
}

fn describe_proxy(upstream: Option<&str>, rewrite: &model::Rewrite) -> String {
    let mut words = format!("forwards to {}", upstream.unwrap_or("an upstream without a name"));
    if let Some(prefix) = &rewrite.prefix {
        words.push_str(&format!(", the matched prefix becomes {prefix}"));
    }
    if let Some(path) = &rewrite.path {
        words.push_str(&format!(", the path becomes {path}"));
    }
    if let Some(host) = &rewrite.host {
        words.push_str(&format!(", the host becomes {host}"));
    }
    words
}

fn timeouts(upstream: &model::Upstream, route: &model::RouteTimeout) -> Vec<TrialTimeout> {
    let one = |name, route: Option<u32>, upstream| TrialTimeout {
        name,
        ms: route.unwrap_or(upstream),
        of_route: route.is_some(),
    };
    vec![
        one("connect", route.connect_ms_max, upstream.connect_ms_max),
        one("request", route.request_ms_max, upstream.request_ms_max),
        one("idle", route.idle_ms_max, upstream.idle_ms_max),
        one("tunnel_idle", route.tunnel_idle_ms_max, upstream.tunnel_idle_ms_max),
    ]
}

fn path_policy(policy: model::PathPolicy) -> PathPolicy {
    match policy {
        model::PathPolicy::Strict => PathPolicy::Strict,
        model::PathPolicy::Merge => PathPolicy::Merge,
        model::PathPolicy::AsIs => PathPolicy::AsIs,
    }
}

fn shown(head: &RequestHead) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let query = head.query().map(|query| format!("?{}", text(query))).unwrap_or_default();
    format!("{} {}{}{query}", text(head.method_bytes()), text(head.authority()), text(head.path()))
}
