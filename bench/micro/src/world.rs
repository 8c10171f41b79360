//! What the cases run on: snapshots of 10, 10,000 and 1,000,000 routes, written as files by the parent.

use std::fs;
use std::path::Path;

use ringway_snapshot::Snapshot;
use ringway_snapshot::builder::{BuildOptions, build};
use ringway_snapshot::current::ContentHash;
use ringway_snapshot::id;
use ringway_snapshot::keys::{Pepper, SigningKey, Trust, api_key_digest};
use ringway_snapshot::model::{
    Action, Application, Authenticator, AuthenticatorKind, Chain, Credential, CredentialPlace,
    EndpointAddress, FieldEdit, Host, HostPattern, Limit, LimitKey, LimitScope, Mode, Model, OnMissing,
    PathPattern, PathPolicy, Policy, Rewrite, Route, RouteTimeout, Step, Upstream,
};
use ringway_snapshot::reader::AlignedBytes;
use ringway_snapshot::seal::SealKey;

/// A world's routes: so many hosts with so many prefixes each, and applications with a key each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Name of its file.
    pub(crate) name: &'static str,
    pub(crate) hosts: u32,
    pub(crate) prefixes: u32,
    pub(crate) applications: u32,
}

pub(crate) const TEN: Size = Size { name: "10", hosts: 1, prefixes: 10, applications: 0 };
pub(crate) const TEN_THOUSAND: Size = Size { name: "10000", hosts: 100, prefixes: 100, applications: 10_000 };
pub(crate) const MILLION: Size = Size { name: "1000000", hosts: 100_000, prefixes: 10, applications: 0 };

/// Writes the file of each world.
pub(crate) fn write_all(folder: &Path) -> Result<(), String> {
    for size in [TEN, TEN_THOUSAND, MILLION] {
        let hash = ContentHash([0; 32]);
        let options = BuildOptions { generation: 1, parent_hash: hash, signing: &signing_key()? };
        let bytes =
            build(&model(size)?, &options).map_err(|error| format!("world {}: {error}", size.name))?;
        fs::write(folder.join(size.name), bytes).map_err(|error| format!("world {}: {error}", size.name))?;
    }
    Ok(())
}

/// The bytes of a world, where [`Snapshot::open`] takes them.
pub(crate) fn bytes(folder: &Path, size: Size) -> Result<AlignedBytes, String> {
    let bytes = fs::read(folder.join(size.name)).map_err(|error| format!("world {}: {error}", size.name))?;
    Ok(AlignedBytes::copy(&bytes))
}

/// A world, opened.
pub(crate) fn open(folder: &Path, size: Size) -> Result<Snapshot, String> {
    let trust = Trust::of(&signing_key()?);
    Snapshot::open(bytes(folder, size)?, &trust).map_err(|error| format!("world {}: {error}", size.name))
}

pub(crate) fn signing_key() -> Result<SigningKey, String> {
    SigningKey::from_seed([1; 32]).ok_or_else(|| "no signing key".to_owned())
}

pub(crate) fn pepper() -> Result<Pepper, String> {
    let pepper = SealKey::from_bytes([9; 32]).as_ref().and_then(Pepper::of);
    pepper.ok_or_else(|| "no pepper".to_owned())
}

/// Name of a host.
pub(crate) fn host_name(number: u32) -> String {
    format!("h{number}.example.com")
}

/// The key of an application.
pub(crate) fn api_key(number: u32) -> String {
    format!("key-{number:05}-0123456789abcdef")
}

fn model(size: Size) -> Result<Model, String> {
    let hosts = (0..size.hosts).map(|number| host(&host_name(number), size.prefixes)).collect();
    let pepper = pepper()?;
    let applications = (0..size.applications).map(|number| application(&pepper, number)).collect();
    let place = CredentialPlace::Header("x-api-key".to_owned());
    Ok(Model {
        upstreams: vec![Upstream::plain("orders", EndpointAddress::Socket(([127, 0, 0, 1], 3000).into()))],
        authenticators: vec![Authenticator {
            name: "keys".to_owned(),
            kind: AuthenticatorKind::ApiKey { place, hide: false },
        }],
        limits: vec![Limit {
            name: "each".to_owned(),
            id: id::limit("each").0,
            count: 100_000,
            per_ms: 1000,
            burst: 100_000,
            by: LimitKey::Application,
            on_missing: OnMissing::Reject,
            scope: LimitScope::Node,
        }],
        chains: vec![Chain::default(), chain()],
        hosts,
        applications,
        ..Model::default()
    })
}

/// A key, a limit, and edits both ways.
fn chain() -> Chain {
    let set = |name: &str, value: &str| FieldEdit::Set { name: name.to_owned(), value: value.to_owned() };
    let steps = vec![
        Policy::Authenticate { any_of: vec![0], applications: Vec::new() },
        Policy::Limit(0),
        Policy::Headers {
            request: vec![set("x-edge", "par1")],
            response: vec![set("x-served-by", "par1"), FieldEdit::Remove { name: "server".to_owned() }],
        },
    ];
    let steps = steps.into_iter().map(|policy| Step { mode: Mode::Enforce, policy }).collect();
    Chain { name: "public".to_owned(), steps }
}

fn application(pepper: &Pepper, number: u32) -> Application {
    let key = api_key(number);
    let credential = Credential {
        id: u128::from(number) + 1,
        pepper_id: pepper.id(),
        digest: api_key_digest(pepper, key.as_bytes()),
        prefix: key.chars().take(9).collect(),
        not_after_unix_ms: None,
    };
    Application { name: format!("a{number}"), id: u128::from(number) + 1, credentials: vec![credential] }
}

fn host(name: &str, prefixes: u32) -> Host {
    let pattern = HostPattern::Exact(name.to_owned());
    let routes = (0..prefixes).map(|number| route(&pattern, number)).collect();
    Host { pattern, path_policy: PathPolicy::Strict, routes }
}

fn route(host: &HostPattern, number: u32) -> Route {
    let mut route = Route {
        name: format!("/svc{number}/*"),
        id: 0,
        path: PathPattern::Prefix(format!("/svc{number}")),
        methods: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        chain: 1,
        action: Action::Proxy { upstream: 0, rewrite: Rewrite::default(), timeout: RouteTimeout::default() },
        websocket: false,
        encoded_slash: false,
        grpc_web: false,
        body_bytes_max: None,
    };
    route.id = id::route(host, &route).0;
    route
}
