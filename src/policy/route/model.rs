//! Short ways to write models down in tests of routes.

use ringway_snapshot::Snapshot;
use ringway_snapshot::builder::{BuildOptions, build};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::id;
use ringway_snapshot::keys::{SigningKey, Trust};
use ringway_snapshot::model::{
    Action, FieldMatch, Host, HostPattern, Model, PathPattern, PathPolicy, Route, Segment, ValueMatch,
};
use ringway_snapshot::reader::AlignedBytes;

/// `api.example.com`, `*.example.com` or `*`.
pub(crate) fn pattern(name: &str) -> HostPattern {
    match name.strip_prefix("*.") {
        _ if name == "*" => HostPattern::Any,
        Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
        None => HostPattern::Exact(name.to_owned()),
    }
}

/// `/a`, `/a/*`, `/a/{b}`, `/a/{b}/*`, `~ /v[0-9]+`.
pub(crate) fn path(text: &str) -> PathPattern {
    if let Some(expression) = text.strip_prefix("~ ") {
        return PathPattern::Regex(expression.to_owned());
    }
    let (text, rest) = text.strip_suffix("/*").map_or((text, false), |before| (before, true));
    if !text.contains('{') {
        return if rest { PathPattern::Prefix(text.to_owned()) } else { PathPattern::Exact(text.to_owned()) };
    }
    let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Segment::Variable(name.to_owned()),
        None => Segment::Literal(text.to_owned()),
    };
    PathPattern::Template { segments: text.split('/').skip(1).map(segment).collect(), rest }
}

/// `name=value`, `name` (present) or `name~expression`.
fn condition(text: &str) -> FieldMatch {
    let (name, value) = if let Some((name, value)) = text.split_once('=') {
        (name, ValueMatch::Exact(value.to_owned()))
    } else if let Some((name, value)) = text.split_once('~') {
        (name, ValueMatch::Regex(value.to_owned()))
    } else {
        (text, ValueMatch::Present)
    };
    FieldMatch { name: name.to_owned(), value }
}

/// `GET,POST /a/* h:x-beta=1 q:lang~fr|de`: methods, path, and conditions on fields and parameters.
pub(crate) fn route(host: &HostPattern, text: &str) -> Route {
    let (methods, rest) = match text.split_once(' ') {
        Some((methods, rest)) if !methods.starts_with(['/', '~', '*']) => (methods, rest),
        _ => ("", text),
    };
    let mut parts = rest.split(' ').filter(|part| *part != "~");
    let first = parts.next().unwrap();
    let first = if rest.starts_with("~ ") { format!("~ {first}") } else { first.to_owned() };
    let mut route = Route {
        name: text.to_owned(),
        id: 0,
        path: path(&first),
        methods: methods.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        headers: Vec::new(),
        query: Vec::new(),
        chain: 0,
        action: Action::Respond { status: 200, fields: Vec::new(), body: Vec::new() },
        websocket: false,
        encoded_slash: false,
        grpc_web: false,
        body_bytes_max: None,
    };
    for part in parts {
        match part.split_at(2) {
            ("h:", text) => route.headers.push(condition(text)),
            (_, text) => route.query.push(condition(text)),
        }
    }
    route.id = id::route(host, &route).0;
    route
}

/// Hosts, each with its routes.
pub(crate) fn model(hosts: &[(&str, &[&str])]) -> Model {
    let host = |(name, routes): &(&str, &[&str])| {
        let pattern = pattern(name);
        let routes = routes.iter().map(|text| route(&pattern, text)).collect();
        Host { pattern, path_policy: PathPolicy::Strict, routes }
    };
    Model { hosts: hosts.iter().map(host).collect(), ..Model::default() }
}

/// The model as a gateway sees it.
pub(crate) fn snapshot(model: &Model) -> Snapshot {
    let signing = SigningKey::from_seed([1; 32]).unwrap();
    let options = BuildOptions { generation: 1, parent_hash: ContentHash::default(), signing: &signing };
    let file = build(model, &options).unwrap();
    Snapshot::open(AlignedBytes::copy(&file), &Trust::of(&signing)).unwrap()
}
