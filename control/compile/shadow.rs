//! Routes of one host that can never be reached.

use std::collections::HashMap;

use ringway_snapshot::model::{PathPattern, Route, Segment};

use super::route::{Origin, place};
use crate::config::{Class, Diagnostic};

/// Reports routes with the same conditions as another one (an error: the second is meant for something), and routes that
/// another one covers (a warning).
pub(super) fn check(host: &str, routes: &[(Route, Origin)], found: &mut Vec<Diagnostic>) {
    let mut by_id: HashMap<u64, &(Route, Origin)> = HashMap::with_capacity(routes.len());
    for entry in routes {
        if let Some(before) = by_id.get(&entry.0.id) {
            found.push(
                Diagnostic::error(
                    Class::Unreachable,
                    at(host, entry),
                    "another route has the same conditions",
                )
                .saying("never reached")
                .and(at(host, before), "because of this one")
                .hint("variables of any name match the same; add a condition under `match:`"),
            );
        } else {
            by_id.insert(entry.0.id, entry);
        }
    }
    covered_methods(host, routes, found);
    covered_expressions(host, routes, found);
}

fn at(host: &str, (route, origin): &(Route, Origin)) -> crate::config::Place {
    let place = place(host, &route.name, *origin);
    if origin.index.is_none() { place.as_key() } else { place }
}

/// `GET,POST /x` before `GET /x`: routes of one path with as many conditions are tried in the order of declaration.
fn covered_methods(host: &str, routes: &[(Route, Origin)], found: &mut Vec<Diagnostic>) {
    let several = routes.iter().filter(|(route, _)| !route.methods.is_empty());
    let mut groups: HashMap<String, Vec<&(Route, Origin)>> = HashMap::new();
    for entry in several {
        groups.entry(shape(&entry.0)).or_default().push(entry);
    }
    for group in groups.into_values().filter(|group| group.len() > 1) {
        for (index, entry) in group.iter().enumerate() {
            let earlier = group.iter().take(index);
            let covers = |other: &&&(Route, Origin)| {
                other.0.id != entry.0.id
                    && entry.0.methods.iter().all(|method| other.0.methods.contains(method))
            };
            if let Some(other) = earlier.into_iter().find(covers) {
                let diagnostic =
                    Diagnostic::warning(Class::Unreachable, at(host, entry), "the route is never reached")
                        .and(at(host, other), "this one stands before it and takes the same methods")
                        .hint("write the narrower one first");
                found.push(diagnostic);
            }
        }
    }
}

/// Path without variable names, headers and query.
fn shape(route: &Route) -> String {
    let path = match &route.path {
        PathPattern::Template { segments, rest } => {
            let parts = segments.iter().map(|segment| match segment {
                Segment::Literal(text) => text.as_str(),
                Segment::Variable(_) => "{}",
            });
            format!("{:?} {rest}", parts.collect::<Vec<_>>())
        }
        path => format!("{path:?}"),
    };
    format!("{path} {:?} {:?}", route.headers, route.query)
}

/// An expression is tried after all prefixes: one that can only match below an unconditional prefix never is.
fn covered_expressions(host: &str, routes: &[(Route, Origin)], found: &mut Vec<Diagnostic>) {
    let expressions: Vec<_> =
        routes.iter().filter(|(route, _)| matches!(route.path, PathPattern::Regex(_))).collect();
    if expressions.is_empty() {
        return;
    }
    let open = |route: &Route| route.methods.is_empty() && route.headers.is_empty() && route.query.is_empty();
    let prefixes: Vec<_> = routes
        .iter()
        .filter_map(|entry| match &entry.0.path {
            PathPattern::Prefix(stem) if open(&entry.0) => Some((stem.as_str(), entry)),
            _ => None,
        })
        .collect();
    for entry in expressions {
        let PathPattern::Regex(expression) = &entry.0.path else { continue };
        let literal = literal_prefix(expression);
        let covers = |stem: &str| {
            stem.is_empty() || literal.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some((_, other)) = prefixes.iter().find(|(stem, _)| covers(stem)) {
            let diagnostic = Diagnostic::warning(Class::Unreachable, at(host, entry), "the expression is never tried")
                .and(at(host, other), "this prefix matches all that it could match, and comes first")
                .hint("expressions are tried after all prefixes; use a template `{name}`, or a condition on the prefix");
            found.push(diagnostic);
        }
    }
}

/// The characters that every match begins with; fewer where that is not plain.
fn literal_prefix(expression: &str) -> &str {
    let end = expression.find(|c: char| "\\.+*?()|[]{}^$".contains(c)).unwrap_or(expression.len());
    if expression.contains('|') {
        return "";
    }
    let repeats = expression.get(end..).is_some_and(|rest| rest.starts_with(['*', '?', '{']));
    let cut = if repeats {
        expression.get(..end).and_then(|text| text.char_indices().next_back()).map_or(0, |(at, _)| at)
    } else {
        end
    };
    expression.get(..cut).unwrap_or_default()
}
