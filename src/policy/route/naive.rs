//! The rules of precedence, written down as plainly as they can be: every route is asked, the best one is taken.

use std::cmp::Reverse;

use ringway_snapshot::model::{
    FieldMatch, Host, HostPattern, Model, PathPattern, Route, Segment, ValueMatch,
};
use ringway_wire::query::{decoded, parameters};

use crate::route::RouteQuery;
use crate::route::expressions::compile_expression;

/// The answer, by ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Naive {
    Found(u64),
    UnknownHost,
    NoRoute,
    MethodNotAllowed(Vec<String>),
}

/// Where a path's pattern stands among others, segment by segment; larger comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Expression,
    Segments(Vec<Piece>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Rest,
    End,
    Variable,
    Literal,
}

pub(crate) fn naive(model: &Model, query: &RouteQuery<'_>) -> Naive {
    let Some(host) = host(model, query.host) else { return Naive::UnknownHost };
    let mut best = None;
    let mut allow = Vec::new();
    for (at, route) in host.routes.iter().enumerate() {
        let Some(rank) = path(&route.path, query.path) else { continue };
        if !fields(&route.headers, query) || !query_string(&route.query, query) {
            continue;
        }
        let method = match method(route, query.method) {
            Some(method) => method,
            None => {
                allow.extend(route.methods.iter().cloned());
                if route.methods.iter().any(|method| method == "GET") {
                    allow.push("HEAD".to_owned());
                }
                continue;
            }
        };
        let key = (rank, method, route.headers.len(), route.query.len(), Reverse(at));
        if best.as_ref().is_none_or(|(other, _)| key > *other) {
            best = Some((key, route.id));
        }
    }
    match best {
        Some((_, id)) => Naive::Found(id),
        None if allow.is_empty() => Naive::NoRoute,
        None => {
            allow.sort();
            allow.dedup();
            Naive::MethodNotAllowed(allow)
        }
    }
}

fn host<'a>(model: &'a Model, name: &[u8]) -> Option<&'a Host> {
    let name = std::str::from_utf8(name).unwrap();
    let rank = |host: &Host| match &host.pattern {
        HostPattern::Exact(own) => (own == name).then_some((2, 0)),
        HostPattern::Wildcard(suffix) => {
            let before = name.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            (!before.is_empty()).then_some((1, suffix.len()))
        }
        HostPattern::Any => Some((0, 0)),
    };
    model.hosts.iter().filter(|host| rank(host).is_some()).max_by_key(|host| rank(host))
}

fn path(pattern: &PathPattern, path: &[u8]) -> Option<Rank> {
    let text = std::str::from_utf8(path).unwrap();
    let (segments, rest): (Vec<Segment>, bool) = match pattern {
        PathPattern::Regex(pattern) => {
            return compile_expression(pattern).unwrap().is_match(path).then_some(Rank::Expression);
        }
        PathPattern::Exact(own) if !own.starts_with('/') => {
            return (own == text).then(|| Rank::Segments(vec![Piece::End]));
        }
        PathPattern::Prefix(own) if own.is_empty() => return Some(Rank::Segments(vec![Piece::Rest])),
        PathPattern::Exact(own) => (literals(own), false),
        PathPattern::Prefix(own) => (literals(own), true),
        PathPattern::Template { segments, rest } => (segments.clone(), *rest),
    };
    let own: Vec<&str> = text.strip_prefix('/')?.split('/').collect();
    if own.len() < segments.len() || (!rest && own.len() > segments.len()) {
        return None;
    }
    let mut rank = Vec::new();
    for (segment, own) in segments.iter().zip(own) {
        match segment {
            Segment::Literal(text) if text == own => rank.push(Piece::Literal),
            Segment::Variable(_) if !own.is_empty() => rank.push(Piece::Variable),
            _ => return None,
        }
    }
    rank.push(if rest { Piece::Rest } else { Piece::End });
    Some(Rank::Segments(rank))
}

fn literals(path: &str) -> Vec<Segment> {
    path.split('/').skip(1).map(|text| Segment::Literal(text.to_owned())).collect()
}

/// 2: named, 1: HEAD by way of GET, 0: all.
fn method(route: &Route, method: &[u8]) -> Option<u8> {
    let names = |name: &[u8]| route.methods.iter().any(|own| own.as_bytes() == name);
    if route.methods.is_empty() {
        Some(0)
    } else if names(method) {
        Some(2)
    } else {
        (method == b"HEAD" && names(b"GET")).then_some(1)
    }
}

fn holds(condition: &ValueMatch, value: &[u8]) -> bool {
    match condition {
        ValueMatch::Exact(expected) => expected.as_bytes() == value,
        ValueMatch::Present => true,
        ValueMatch::Regex(pattern) => compile_expression(pattern).unwrap().is_match(value),
    }
}

fn fields(conditions: &[FieldMatch], query: &RouteQuery<'_>) -> bool {
    let one = |condition: &FieldMatch| {
        query.fields.any(condition.name.as_bytes(), &mut |value| holds(&condition.value, value))
    };
    conditions.iter().all(one)
}

fn query_string(conditions: &[FieldMatch], query: &RouteQuery<'_>) -> bool {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = parameters(query.query.unwrap_or_default())
        .map(|(name, value)| (decoded(name).collect(), decoded(value).collect()))
        .collect();
    let one = |condition: &FieldMatch| {
        pairs.iter().any(|(name, value)| name == condition.name.as_bytes() && holds(&condition.value, value))
    };
    conditions.iter().all(one)
}
