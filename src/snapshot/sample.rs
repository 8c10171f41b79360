//! A model with one of everything, for tests.

use crate::builder::{BuildOptions, build};
use crate::current::ContentHash;
use crate::error::SnapshotError;
use crate::id;
use crate::keys::{SigningKey, Trust};
use crate::model::{
    Action, Application, Chain, Credential, EndpointAddress, FieldMatch, Host, HostPattern, Limit, LimitKey,
    LimitScope, Mode, Model, OnMissing, PathPattern, PathPolicy, Policy, Rewrite, Route, RouteTimeout,
    Segment, Step, Upstream, ValueMatch,
};
use crate::reader::{AlignedBytes, Snapshot};

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed([1; 32]).unwrap()
}

fn route(host: &HostPattern, name: &str, path: PathPattern) -> Route {
    let mut route = Route {
        name: name.to_owned(),
        id: 0,
        path,
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        chain: 0,
        action: Action::Proxy { upstream: 0, rewrite: Rewrite::default(), timeout: RouteTimeout::default() },
        websocket: false,
        encoded_slash: false,
        grpc_web: false,
        body_bytes_max: None,
    };
    if let Some((method, _)) = name.split_once(' ') {
        route.methods = vec![method.to_owned()];
    }
    route.id = id::route(host, &route).0;
    route
}

fn host(pattern: HostPattern, paths: &[(&str, PathPattern)]) -> Host {
    let routes = paths.iter().map(|(name, path)| route(&pattern, name, path.clone())).collect();
    Host { pattern, path_policy: PathPolicy::Strict, routes }
}

/// One of everything.
pub(crate) fn sample() -> Model {
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let template = PathPattern::Template {
        segments: vec![literal("orders"), Segment::Variable("id".to_owned()), literal("lines")],
        rest: true,
    };
    let mut api = host(
        HostPattern::Exact("api.example.com".to_owned()),
        &[
            ("/orders/*", PathPattern::Prefix("/orders".to_owned())),
            ("GET /status", PathPattern::Exact("/status".to_owned())),
            ("PURGE /status", PathPattern::Exact("/status".to_owned())),
            ("/orders/{id}/lines/*", template),
            ("~ /v[0-9]+", PathPattern::Regex("/v[0-9]+".to_owned())),
        ],
    );
    let mut beta = api.routes[0].clone();
    beta.headers = vec![FieldMatch { name: "x-beta".to_owned(), value: ValueMatch::Exact("1".to_owned()) }];
    beta.query = vec![FieldMatch { name: "lang".to_owned(), value: ValueMatch::Regex("fr|de".to_owned()) }];
    beta.body_bytes_max = Some(1000);
    beta.websocket = true;
    beta.chain = 1;
    beta.id = id::route(&api.pattern, &beta).0;
    api.routes.push(beta);
    let limit = Limit {
        name: "each".to_owned(),
        id: id::limit("each").0,
        count: 100,
        per_ms: 1000,
        burst: 200,
        by: LimitKey::Application,
        on_missing: OnMissing::Ip,
        scope: LimitScope::Node,
    };
    let credential = Credential {
        id: 7,
        pepper_id: 3,
        digest: [9; 32],
        prefix: "rw_live_ab12cd34".to_owned(),
        not_after_unix_ms: Some(5),
    };
    Model {
        upstreams: vec![Upstream::plain(
            "orders",
            EndpointAddress::Socket("127.0.0.1:3000".parse().unwrap()),
        )],
        limits: vec![limit],
        chains: vec![
            Chain::default(),
            Chain {
                name: "public".to_owned(),
                steps: vec![Step { mode: Mode::Enforce, policy: Policy::Limit(0) }],
            },
        ],
        hosts: vec![
            api,
            host(
                HostPattern::Wildcard("shop.example.com".to_owned()),
                &[("shop", PathPattern::Prefix("/s".to_owned()))],
            ),
            host(HostPattern::Wildcard("example.com".to_owned()), &[]),
            host(HostPattern::Any, &[("/*", PathPattern::Prefix(String::new()))]),
        ],
        applications: vec![
            Application { name: "idle".to_owned(), id: 1, credentials: Vec::new() },
            Application { name: "acme".to_owned(), id: 2, credentials: vec![credential] },
        ],
        ..Model::default()
    }
}

pub(crate) fn built(model: &Model) -> Vec<u8> {
    build(model, &BuildOptions { generation: 4, parent_hash: ContentHash([2; 32]), signing: &key() }).unwrap()
}

pub(crate) fn opened(file: &[u8]) -> Result<Snapshot, SnapshotError> {
    Snapshot::open(AlignedBytes::copy(file), &Trust::of(&key()))
}
