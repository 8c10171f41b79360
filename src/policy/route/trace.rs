//! Which route and why not the others: what `ringway explain` shows.

use std::ops::ControlFlow;

use ringway_snapshot::Snapshot;
use ringway_snapshot::rows::RouteRow;
use ringway_snapshot::tables::{HostIndex, RouteIndex};

use crate::limits::TRACE_ROUTES_MAX;
use crate::route::conditions::{Asked, Takes, Unmet};
use crate::route::{RouteExpressions, RouteMatch, RouteQuery, match_host, match_path, walk};

/// The answer and all that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTrace {
    /// The answer: that of [`crate::route::match_route`].
    pub outcome: RouteMatch,
    /// The host that answers to the name.
    pub host: Option<HostIndex>,
    /// Routes whose path fits, in the order in which they are asked, then some whose path does not; at most
    /// [`TRACE_ROUTES_MAX`].
    pub candidates: Vec<Candidate>,
    /// Routes of the host that are not among the candidates.
    pub others: u32,
}

/// A route and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The route.
    pub route: RouteIndex,
    /// Why it was, or was not, chosen.
    pub reason: Reason,
}

/// Why a route was, or was not, chosen. `Display` is a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It takes the request.
    Chosen,
    /// It would, but the chosen one comes first.
    LowerPrecedence,
    /// It takes other methods: these.
    Method(Vec<String>),
    /// Its condition on this field does not hold.
    Header(String),
    /// Its condition on this parameter does not hold.
    Query(String),
    /// Its path does not fit.
    Path,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Chosen => f.write_str("takes the request"),
            Self::LowerPrecedence => f.write_str("would take it, but another comes first"),
            Self::Method(methods) => write!(f, "takes {} alone", methods.join(", ")),
            Self::Header(name) => write!(f, "its condition on the field {name} does not hold"),
            Self::Query(name) => write!(f, "its condition on the parameter {name} does not hold"),
            Self::Path => f.write_str("its path does not fit"),
        }
    }
}

/// Finds the route of a request, and says why.
#[must_use]
pub fn trace_route(
    snapshot: &Snapshot,
    expressions: &RouteExpressions,
    query: &RouteQuery<'_>,
) -> RouteTrace {
    let Some(host) = match_host(snapshot, query.host) else {
        return RouteTrace {
            outcome: RouteMatch::UnknownHost,
            host: None,
            candidates: Vec::new(),
            others: 0,
        };
    };
    let tables = snapshot.tables();
    let outcome = match_path(tables, expressions, host, query);
    let asked = Asked::new(tables, expressions, query);
    let chosen = match &outcome {
        RouteMatch::Found(found) => Some(found.route),
        _ => None,
    };
    let mut all = All { asked: &asked, chosen, candidates: Vec::new() };
    let _ = walk::walk(tables, host, query.path, &mut all);
    let mut candidates = all.candidates;
    let mut others = 0;
    if let Some(row) = tables.host(host) {
        let routes = row.route_first..row.route_first.saturating_add(row.route_count);
        others = row.route_count.saturating_sub(candidates.len() as u32);
        let fitting: Vec<u32> = candidates.iter().map(|candidate| candidate.route.0).collect();
        for route in routes.filter(|route| !fitting.contains(route)) {
            if candidates.len() >= TRACE_ROUTES_MAX {
                break;
            }
            candidates.push(Candidate { route: RouteIndex(route), reason: Reason::Path });
            others -= 1;
        }
    }
    RouteTrace { outcome, host: Some(host), candidates, others }
}

/// Takes down every route whose path fits.
struct All<'a> {
    asked: &'a Asked<'a>,
    chosen: Option<RouteIndex>,
    candidates: Vec<Candidate>,
}

impl All<'_> {
    fn reason(&self, route: RouteIndex, row: &RouteRow) -> Reason {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.asked.conditions(row) {
            _ if self.chosen == Some(route) => Reason::Chosen,
            Err(Unmet::Path) => Reason::Path,
            _ if self.asked.method(row) == Takes::No => {
                Reason::Method(self.asked.tables.methods(row).into_iter().map(str::to_owned).collect())
            }
            Err(Unmet::Header(name)) => Reason::Header(text(name)),
            Err(Unmet::Query(name)) => Reason::Query(text(name)),
            Ok(()) => Reason::LowerPrecedence,
        }
    }
}

impl walk::Visit for All<'_> {
    fn group(&mut self, first: RouteIndex, _matched: usize) -> ControlFlow<()> {
        for (route, row) in walk::rows(self.asked.tables, first) {
            let reason = self.reason(route, &row);
            // The chosen one is shown wherever it stands.
            if self.candidates.len() < TRACE_ROUTES_MAX || reason == Reason::Chosen {
                self.candidates.push(Candidate { route, reason });
            }
        }
        ControlFlow::Continue(())
    }
}
