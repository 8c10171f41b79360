//! Stable ids: the same name has the same id in every generation and on every node.
//!
//! An id is the first eight bytes of blake3 over the kind and the canonical name. The builder refuses a snapshot in which
//! two names share one, so an id can stand for its name in records for ever.

use crate::model::{FieldMatch, HostPattern, PathPattern, Route, Segment, ValueMatch};

/// Stable id of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

/// Stable id of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u64);

/// Stable id of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitId(pub u64);

/// Id of what the route matches: host, path, methods, header and query conditions; not of what it does.
#[must_use]
pub fn route(host: &HostPattern, route: &Route) -> RouteId {
    RouteId(canonical(host, route).finish())
}

/// The name that a route's id is made of.
pub(crate) fn canonical(host: &HostPattern, route: &Route) -> Canonical {
    let mut name = Canonical::new("route");
    match host {
        HostPattern::Exact(host) => name.tag(b'e').text(host),
        HostPattern::Wildcard(suffix) => name.tag(b'w').text(suffix),
        HostPattern::Any => name.tag(b'a'),
    };
    path(&mut name, &route.path);
    let mut methods: Vec<&str> = route.methods.iter().map(String::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    name.count(methods.len());
    for method in methods {
        name.text(method);
    }
    conditions(&mut name, &route.headers);
    conditions(&mut name, &route.query);
    name
}

/// Id of an upstream's name.
#[must_use]
pub fn upstream(name: &str) -> UpstreamId {
    UpstreamId(Canonical::new("upstream").text(name).finish())
}

/// Id of a limit's name.
#[must_use]
pub fn limit(name: &str) -> LimitId {
    LimitId(Canonical::new("limit").text(name).finish())
}

fn path(name: &mut Canonical, path: &PathPattern) {
    match path {
        PathPattern::Exact(text) => {
            name.tag(b'e').text(text);
        }
        PathPattern::Prefix(text) => {
            name.tag(b'p').text(text);
        }
        PathPattern::Template { segments, rest } => {
            name.tag(if *rest { b'r' } else { b't' }).count(segments.len());
            for segment in segments {
                match segment {
                    Segment::Literal(text) => name.tag(b'l').text(text),
                    // The variable's name is not what is matched.
                    Segment::Variable(_) => name.tag(b'v'),
                };
            }
        }
        PathPattern::Regex(text) => {
            name.tag(b'x').text(text);
        }
    }
}

fn conditions(name: &mut Canonical, conditions: &[FieldMatch]) {
    let mut sorted: Vec<&FieldMatch> = conditions.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    name.count(sorted.len());
    for condition in sorted {
        name.text(&condition.name);
        match &condition.value {
            ValueMatch::Exact(value) => name.tag(b'e').text(value),
            ValueMatch::Present => name.tag(b'p'),
            ValueMatch::Regex(pattern) => name.tag(b'x').text(pattern),
        };
    }
}

/// A name in an unambiguous form: every part carries its length.
#[derive(PartialEq, Eq)]
pub(crate) struct Canonical(Vec<u8>);

impl Canonical {
    fn new(kind: &str) -> Self {
        let mut name = Self(Vec::with_capacity(128));
        name.text(kind);
        name
    }

    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn finish(&self) -> u64 {
        let hash = blake3::hash(&self.0);
        hash.as_bytes().first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::{limit, upstream};
    use crate::model::{
        Action, FieldMatch, HostPattern, PathPattern, Rewrite, Route, RouteTimeout, Segment, ValueMatch,
    };

    fn sample() -> Route {
        Route {
            name: "GET /a/{id}".to_owned(),
            id: 0,
            path: PathPattern::Template {
                segments: vec![Segment::Literal("a".to_owned()), Segment::Variable("id".to_owned())],
                rest: false,
            },
            methods: vec!["GET".to_owned(), "PUT".to_owned()],
            headers: vec![FieldMatch { name: "x-beta".to_owned(), value: ValueMatch::Present }],
            query: Vec::new(),
            chain: 0,
            action: Action::Proxy {
                upstream: 0,
                rewrite: Rewrite::default(),
                timeout: RouteTimeout::default(),
            },
            websocket: false,
            encoded_slash: false,
            grpc_web: false,
            body_bytes_max: None,
        }
    }

    #[test]
    fn what_a_route_does_and_calls_its_variables_is_not_in_its_id() {
        let host = HostPattern::Exact("a.example".to_owned());
        let mut other = sample();
        other.methods.reverse();
        other.chain = 7;
        other.websocket = true;
        other.path = PathPattern::Template {
            segments: vec![Segment::Literal("a".to_owned()), Segment::Variable("order".to_owned())],
            rest: false,
        };
        assert_eq!(super::route(&host, &sample()), super::route(&host, &other));
    }

    #[test]
    fn what_a_route_matches_is_in_its_id() {
        let host = HostPattern::Exact("a.example".to_owned());
        let id = super::route(&host, &sample());
        assert_ne!(super::route(&HostPattern::Wildcard("a.example".to_owned()), &sample()), id);
        let mut other = sample();
        other.query = std::mem::take(&mut other.headers);
        assert_ne!(super::route(&host, &other), id);
        other = sample();
        other.methods.pop();
        assert_ne!(super::route(&host, &other), id);
    }

    /// Records name routes by these numbers for ever.
    #[test]
    fn ids_never_change() {
        let route = super::route(&HostPattern::Any, &sample()).0;
        let printed = format!("{route:016x} {:016x} {:016x}", upstream("orders").0, limit("orders").0);
        expect!["cfd79fdd90e0f38e 53b5aea3979779cc 827516ea055ade69"].assert_eq(&printed);
    }
}
