//! Which route takes a request.
//!
//! Order (Gateway API, contract §2): an exact path, then segment by segment literal before `{template}` before `*` (so that
//! the longest prefix wins), expressions last; among routes with one path those that name the method, then more
//! conditions on fields, then more on the query, then as declared. A route takes the request where all of its
//! conditions hold; where they do not, the next one in this order is asked.
//!
//! Nothing here allocates but a 405, and a query value that is both encoded and matched by an expression.

use std::ops::ControlFlow;

use ringway_snapshot::Snapshot;
use ringway_snapshot::rows::RouteRow;
use ringway_snapshot::tables::{HostIndex, RouteIndex, Tables};

use crate::route::conditions::{Asked, Takes};

mod conditions;
mod expressions;
mod shadow;
mod trace;
mod walk;

pub use expressions::{ExpressionError, RouteExpressions, compile_expression};
pub use shadow::{Shadowed, shadowed};
pub use trace::{Candidate, Reason, RouteTrace, trace_route};

/// The fields of a request, as far as routes ask for them.
pub trait FieldLookup {
    /// Whether a value of this name (lower case) passes the test. Each line is a value of its own.
    fn any(&self, name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool;
}

impl FieldLookup for ringway_wire::RequestHead {
    fn any(&self, name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.fields_named(name).any(test)
    }
}

/// Names in any case, and values.
impl FieldLookup for [(&[u8], &[u8])] {
    fn any(&self, name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(own, value)| own.eq_ignore_ascii_case(name) && test(value))
    }
}

/// What of a request decides its route.
#[derive(Clone, Copy)]
pub struct RouteQuery<'a> {
    /// Lower case, without the port.
    pub host: &'a [u8],
    /// Normalised: the bytes that are authorised and forwarded as well.
    pub path: &'a [u8],
    /// Raw, without the `?`.
    pub query: Option<&'a [u8]>,
    /// The token.
    pub method: &'a [u8],
    /// Fields.
    pub fields: &'a dyn FieldLookup,
}

impl std::fmt::Debug for RouteQuery<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "RouteQuery({} {}{})", text(self.method), text(self.host), text(self.path))
    }
}

impl<'a> RouteQuery<'a> {
    /// Of a head whose path has been normalised.
    #[must_use]
    pub fn of(head: &'a ringway_wire::RequestHead) -> Self {
        Self {
            host: head.host(),
            path: head.path(),
            query: head.query(),
            method: head.method_bytes(),
            fields: head,
        }
    }
}

/// The route that takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its host.
    pub host: HostIndex,
    /// The route, in this generation.
    pub route: RouteIndex,
    /// Its row: id, chain, action, flags.
    pub row: RouteRow,
    /// How many bytes of the path the pattern stands for: those that a rewrite of the prefix replaces. All of them
    /// unless the pattern ends in `/*`.
    pub matched: usize,
}

/// What became of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMatch {
    /// This route takes it.
    Found(Found),
    /// No host has this name: 404 (421 where the protocol binds connections to hosts; that is the gateway's to say).
    UnknownHost,
    /// The host has no route that takes it: 404.
    NoRoute(HostIndex),
    /// The host has, for other methods: 405.
    MethodNotAllowed {
        /// The host.
        host: HostIndex,
        /// What `Allow` says.
        allow: AllowedMethods,
    },
}

/// Methods for `Allow` (RFC 9110 §10.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AllowedMethods {
    /// Bits of [`ringway_snapshot::method`].
    known: u16,
    /// Those without a bit, in the order of the routes.
    others: Vec<String>,
}

impl AllowedMethods {
    fn add(&mut self, tables: &Tables<'_>, row: &RouteRow) {
        use ringway_snapshot::method::{GET, HEAD};
        self.known |= row.methods;
        if row.methods & GET != 0 {
            self.known |= HEAD;
        }
        for other in tables.other_methods(row) {
            if !self.others.iter().any(|own| own == other) {
                self.others.push(other.to_owned());
            }
        }
    }

    /// The methods, known ones first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let known = ringway_snapshot::method::names(self.known).map(|name| -> &str { name });
        known.chain(self.others.iter().map(String::as_str))
    }
}

/// The value of `Allow`.
impl std::fmt::Display for AllowedMethods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, name) in self.names().enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Finds the host of a name, whose path policy says how the path is normalised before it is matched.
#[must_use]
#[inline]
pub fn match_host(snapshot: &Snapshot, host: &[u8]) -> Option<HostIndex> {
    snapshot.tables().find_host(host)
}

/// Finds the route of a request whose host is already known.
#[must_use]
pub fn match_path(
    tables: &Tables<'_>,
    expressions: &RouteExpressions,
    host: HostIndex,
    query: &RouteQuery<'_>,
) -> RouteMatch {
    let asked = Asked::new(tables, expressions, query);
    let mut first = First { asked: &asked, host, found: None };
    let _ = walk::walk(tables, host, query.path, &mut first);
    if let Some(found) = first.found {
        return RouteMatch::Found(found);
    }
    let mut allow = Allow { asked: &asked, methods: AllowedMethods::default(), any: false };
    let _ = walk::walk(tables, host, query.path, &mut allow);
    if allow.any {
        RouteMatch::MethodNotAllowed { host, allow: allow.methods }
    } else {
        RouteMatch::NoRoute(host)
    }
}

/// Finds host and route of a request.
#[must_use]
pub fn match_route(
    snapshot: &Snapshot,
    expressions: &RouteExpressions,
    query: &RouteQuery<'_>,
) -> RouteMatch {
    let tables = snapshot.tables();
    match tables.find_host(query.host) {
        Some(host) => match_path(tables, expressions, host, query),
        None => RouteMatch::UnknownHost,
    }
}

/// The variables of the route's template with their values, which are segments of the path as they stand there.
pub fn variables<'s, 'p>(
    snapshot: &'s Snapshot,
    row: &RouteRow,
    path: &'p [u8],
) -> impl Iterator<Item = (&'s str, &'p [u8])> + use<'s, 'p> {
    let tables = snapshot.tables();
    let extra = tables.extra(row);
    extra.into_iter().flat_map(move |extra| tables.variables(&extra)).map(move |(name, segment)| {
        let mut segments = path.split(|byte| *byte == b'/').skip(1);
        (name, segments.nth(usize::from(segment)).unwrap_or_default())
    })
}

/// Stops at the first route that takes the request.
struct First<'a> {
    asked: &'a Asked<'a>,
    host: HostIndex,
    found: Option<Found>,
}

impl walk::Visit for First<'_> {
    #[inline]
    fn group(&mut self, first: RouteIndex, matched: usize) -> ControlFlow<()> {
        let found = |route, row| Some(Found { host: self.host, route, row, matched });
        // A route for GET takes HEAD as well, unless another one with this path names it.
        let mut implied = None;
        for (route, row) in walk::rows(self.asked.tables, first) {
            let takes = self.asked.method(&row);
            if takes == Takes::All && implied.is_some() {
                break;
            }
            if takes == Takes::No || (takes == Takes::Implied && implied.is_some()) {
                continue;
            }
            if self.asked.conditions(&row).is_err() {
                continue;
            }
            if takes == Takes::Implied {
                implied = found(route, row);
            } else {
                self.found = found(route, row);
                return ControlFlow::Break(());
            }
        }
        self.found = implied;
        if self.found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Collects the methods of all routes that would take the request but for its method.
struct Allow<'a> {
    asked: &'a Asked<'a>,
    methods: AllowedMethods,
    any: bool,
}

impl walk::Visit for Allow<'_> {
    fn group(&mut self, first: RouteIndex, _matched: usize) -> ControlFlow<()> {
        for (_, row) in walk::rows(self.asked.tables, first) {
            if self.asked.method(&row) == Takes::No && self.asked.conditions(&row).is_ok() {
                self.any = true;
                self.methods.add(self.asked.tables, &row);
            }
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
