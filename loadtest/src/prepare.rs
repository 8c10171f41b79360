//! From the command line to a plan: everything is checked and read here, before anything is sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::available_parallelism;

use crate::check::{BadCheck, Checks, parse_sha256, parse_statuses};
use crate::data::{DataError, Table};
use crate::options::{HttpVersion, Options};
use crate::plan::{Connecting, EndpointError, Endpoints, Load, Plan, Protocol, Target};
use crate::request::{BadRequest, Request, RequestText};
use crate::scenario::{self, ScenarioError, TargetText};
use crate::schedule::{BadRate, Piece, parse_rate, parse_steps};
use crate::url::{BadUrl, Url};

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    /// Nothing to do.
    #[error("give an address, or a --scenario")]
    NoTarget,
    /// The address.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// The rate.
    #[error(transparent)]
    Rate(#[from] BadRate),
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A request.
    #[error("{target}: {what}")]
    Request {
        /// Of which target.
        target: String,
        /// What is wrong with it.
        what: BadRequest,
    },
    /// A check.
    #[error(transparent)]
    Check(#[from] BadCheck),
    /// An endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The body.
    #[error("cannot read {}", path.display())]
    Body {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was asked for does not go together.
    #[error("{0}")]
    Spoken(&'static str),
    /// No connection would carry a request.
    #[error("at least one connection is needed, and some time")]
    Nothing,
}

/// Checks and prepares everything.
pub(crate) fn plan(options: &Options) -> Result<Plan, PrepareError> {
    let mut tables =
        options.request.data.iter().map(|text| Table::from_option(text)).collect::<Result<Vec<_>, _>>()?;
    let texts = match &options.request.scenario {
        Some(path) => {
            let scenario = scenario::read(path)?;
            tables.extend(scenario.tables);
            scenario.targets
        }
        None => vec![only_target(options)?],
    };
    let protocol = protocol(options, &texts)?;
    let mut endpoints = Endpoints::new(Connecting {
        protocol: Some(protocol),
        insecure: options.connection.insecure,
        roots: options.connection.cacert.clone(),
        address: options.connection.connect,
    });
    let mut targets = Vec::new();
    for text in texts {
        let url = Url::parse(&text.url)?;
        targets.push(target(text, &url, endpoints.of(&url)?, &tables)?);
    }
    let connections = options.connection.connections as usize;
    let cores = available_parallelism().map_or(1, usize::from);
    let threads = options.generator.threads.map_or(cores, |threads| threads as usize).min(connections);
    let (load, duration_ns) = load(options)?;
    if threads == 0 || duration_ns == 0 {
        return Err(PrepareError::Nothing);
    }
    Ok(Plan {
        protocol,
        endpoints: endpoints.into_list(),
        targets,
        tables: Arc::new(tables),
        load,
        connections,
        streams: if protocol.is_multiplexed() { usize::from(options.connection.streams) } else { 1 },
        grpc: options.request.grpc,
        idle: options.connection.idle as usize,
        threads,
        cores: options.generator.cores.clone(),
        requests_per_connection: options.connection.requests_per_connection,
        requests: options.load.requests,
        warm_up_ns: options.load.warm_up,
        duration_ns,
        timeout_ns: options.connection.timeout,
        connect_timeout_ns: options.connection.connect_timeout,
        drain_ns: options.generator.drain.unwrap_or(options.connection.timeout),
        tick_ns: tick_ns(duration_ns),
        seed: options.generator.seed,
        driver: options.generator.driver.into(),
        message_bytes: options.request.message_bytes as usize,
        busy: options.generator.busy,
    })
}

/// What is spoken, from what was asked for and from the addresses.
fn protocol(options: &Options, texts: &[TargetText]) -> Result<Protocol, PrepareError> {
    let schemes = texts.iter().map(|text| Url::parse(&text.url).map(|url| url.scheme));
    let schemes = schemes.collect::<Result<Vec<_>, _>>()?;
    let websocket = options.request.websocket || schemes.iter().any(|scheme| scheme.is_websocket());
    Ok(match (websocket, options.connection.http) {
        (true, None | Some(HttpVersion::One)) => Protocol::WebSocket,
        (true, Some(_)) => return Err(PrepareError::Spoken("WebSockets are opened over HTTP/1.1 only")),
        (false, Some(HttpVersion::Three)) if options.request.grpc => {
            return Err(PrepareError::Spoken("gRPC is spoken over HTTP/2"));
        }
        (false, Some(HttpVersion::One)) if options.request.grpc => {
            return Err(PrepareError::Spoken("gRPC is spoken over HTTP/2"));
        }
        (false, Some(HttpVersion::Three)) if schemes.iter().any(|scheme| !scheme.is_tls()) => {
            return Err(PrepareError::Spoken("HTTP/3 needs https"));
        }
        (false, Some(HttpVersion::Three)) => Protocol::Http3,
        (false, Some(HttpVersion::Two)) => Protocol::Http2,
        (false, None) if options.request.grpc => Protocol::Http2,
        (false, _) => Protocol::Http1,
    })
}

/// Fifty points and more for a plot, and never more than five a second.
pub(crate) fn tick_ns(duration_ns: u64) -> u64 {
    if duration_ns <= 30_000_000_000 { 200_000_000 } else { 1_000_000_000 }
}

/// The load, with the warm-up as its first piece, and how long it is without.
fn load(options: &Options) -> Result<(Load, u64), PrepareError> {
    let arrivals = options.load.arrivals;
    let (pieces, duration_ns) = match (&options.load.rate, &options.load.steps) {
        (_, Some(steps)) => {
            let pieces = parse_steps(steps)?;
            let seconds: f64 = pieces.iter().map(|piece| piece.seconds).sum();
            (pieces, (seconds * 1e9).round() as u64)
        }
        (Some(rate), None) => (parse_rate(rate, options.load.duration as f64 / 1e9)?, options.load.duration),
        (None, None) => return Ok((Load::Closed, options.load.duration)),
    };
    Ok((Load::Open { pieces: with_warm_up(pieces, options.load.warm_up), arrivals }, duration_ns))
}

/// Pieces with one before them at the first rate, for the warm-up.
pub(crate) fn with_warm_up(mut pieces: Vec<Piece>, warm_up_ns: u64) -> Vec<Piece> {
    if warm_up_ns > 0 {
        let first = pieces.iter().map(|piece| piece.from).find(|rate| *rate > 0.0).unwrap_or(1.0);
        pieces.insert(0, Piece { seconds: warm_up_ns as f64 / 1e9, from: first, to: first });
    }
    pieces
}

fn only_target(options: &Options) -> Result<TargetText, PrepareError> {
    let request = &options.request;
    let body = match (&request.body, &request.body_file) {
        (Some(body), _) => Some(body.clone().into_bytes()),
        (None, Some(path)) => {
            let read = std::fs::read(path);
            Some(read.map_err(|source| PrepareError::Body { path: path.clone(), source })?)
        }
        (None, None) => None,
    };
    let mut fields = request.header.clone();
    let mut body = body;
    if request.grpc {
        let given = |field: &String| field.to_ascii_lowercase().starts_with("content-type:");
        if !fields.iter().any(given) {
            fields.push("Content-Type: application/grpc".to_owned());
        }
        body.get_or_insert_default();
    }
    let method =
        request.method.clone().unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    let check = &options.check;
    Ok(TargetText {
        name: None,
        url: options.url.clone().ok_or(PrepareError::NoTarget)?,
        weight: 1,
        request: RequestText { method, fields, body, grpc: request.grpc, ..RequestText::default() },
        checks: Checks {
            statuses: check.expect_status.as_deref().map(parse_statuses).transpose()?.unwrap_or_default(),
            length: check.expect_length,
            sha256: check.expect_sha256.as_deref().map(parse_sha256).transpose()?,
            contains: check.expect_body.as_ref().map(|text| text.as_bytes().into()),
        },
    })
}

fn target(text: TargetText, url: &Url, endpoint: usize, tables: &[Table]) -> Result<Target, PrepareError> {
    let name = text.name.unwrap_or_else(|| format!("{} {}", text.request.method, text.url));
    let request =
        RequestText { authority: url.authority.clone(), target: url.target.clone(), ..text.request };
    let request = Request::prepare(&request, tables)
        .map_err(|what| PrepareError::Request { target: name.clone(), what })?;
    Ok(Target { name, endpoint, weight: text.weight, request, checks: text.checks })
}
