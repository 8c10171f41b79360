//! Routes that never take a request, because others before them take all that they would: what `check` and `plan` warn of.
//!
//! A route with another path can be in front only if its path is more specific, and then it leaves requests over; so
//! the ones to blame have the same path. Expressions stand behind all other paths, and so behind `/*`. What only
//! several expressions or several conditions together take away is not found.

use std::collections::BTreeSet;

use ringway_snapshot::Snapshot;
use ringway_snapshot::rows::{NONE, PathKind, RouteRow, flag};
use ringway_snapshot::tables::{Condition, HostIndex, RouteIndex, Tables};

/// A route that never takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowed {
    /// The route.
    pub route: RouteIndex,
    /// The routes before it that take all of its requests, in the order in which they are asked.
    pub by: Vec<RouteIndex>,
}

/// All routes of a snapshot that never take a request.
#[must_use]
pub fn shadowed(snapshot: &Snapshot) -> Vec<Shadowed> {
    let tables = snapshot.tables();
    let mut found = Vec::new();
    for host in 0..tables.host_count() {
        of_host(tables, HostIndex(host), &mut found);
    }
    found
}

fn of_host(tables: &Tables<'_>, host: HostIndex, found: &mut Vec<Shadowed>) {
    let Some(host) = tables.host(host) else { return };
    let rows = (host.route_first..host.route_first.saturating_add(host.route_count))
        .filter_map(|route| Some((RouteIndex(route), tables.route(RouteIndex(route))?)));
    // Routes of `/*`, behind which expressions stand.
    let mut all_paths = Vec::new();
    let mut group: Vec<Asks<'_>> = Vec::new();
    for (route, row) in rows {
        let asks = Asks::of(tables, route, &row);
        let before = all_paths.iter().filter(|_| row.kind() == Some(PathKind::Regex)).chain(&group);
        if let Some(by) = asks.taken_by(before) {
            found.push(Shadowed { route, by });
        }
        if row.kind() == Some(PathKind::Prefix) && row.path_length == 0 {
            all_paths.push(asks.clone());
        }
        group.push(asks);
        if row.has(flag::GROUP_LAST) {
            group.clear();
        }
    }
}

/// What a route asks for beside its path; of an expression, that too.
#[derive(Clone)]
struct Asks<'a> {
    route: RouteIndex,
    /// Empty: all.
    methods: BTreeSet<&'a str>,
    headers: Vec<(&'a [u8], Condition<'a>)>,
    query: Vec<(&'a [u8], Condition<'a>)>,
    expression: u32,
}

impl<'a> Asks<'a> {
    fn of(tables: &Tables<'a>, route: RouteIndex, row: &RouteRow) -> Self {
        let extra = tables.extra(row);
        Self {
            route,
            methods: tables.methods(row).into_iter().collect(),
            headers: extra.map(|extra| tables.headers(&extra).collect()).unwrap_or_default(),
            query: extra.map(|extra| tables.query(&extra).collect()).unwrap_or_default(),
            expression: extra.map_or(NONE, |extra| extra.path_regex),
        }
    }

    /// The routes before it that take all that it asks for, if they do.
    fn taken_by<'b>(&self, before: impl Iterator<Item = &'b Self>) -> Option<Vec<RouteIndex>>
    where
        'a: 'b,
    {
        let mut left = self.methods.clone();
        let mut by = Vec::new();
        for other in before.filter(|other| other.asks_no_more_than(self)) {
            if other.methods.is_empty() {
                by.push(other.route);
                return Some(by);
            }
            // HEAD that a route for GET takes as well goes to whoever names it, so only named methods count.
            let count = left.len();
            left.retain(|method| !other.methods.contains(method));
            if left.len() < count {
                by.push(other.route);
            }
            if count > 0 && left.is_empty() {
                return Some(by);
            }
        }
        None
    }

    /// Whether all of its conditions but the method hold wherever those of the other do.
    fn asks_no_more_than(&self, other: &Self) -> bool {
        (self.expression == NONE || self.expression == other.expression)
            && implied(&self.headers, &other.headers)
            && implied(&self.query, &other.query)
    }
}

fn implied(weaker: &[(&[u8], Condition<'_>)], stronger: &[(&[u8], Condition<'_>)]) -> bool {
    weaker.iter().all(|(name, condition)| {
        stronger
            .iter()
            .any(|(own, asks)| own == name && (asks == condition || *condition == Condition::Present))
    })
}
