//! Opens any bytes as a snapshot, and changed ones of a good file, signed again so that the semantic pass is reached. What
//! opens must survive every read and every match.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ringway_policy::route::{
    FieldLookup, RouteExpressions, RouteQuery, match_route, shadowed, trace_route, variables,
};
use ringway_snapshot::Snapshot;
use ringway_snapshot::builder::{BuildOptions, build};
use ringway_snapshot::current::{ContentHash, Current};
use ringway_snapshot::header::{FIXED_BYTES, seal_header};
use ringway_snapshot::id;
use ringway_snapshot::keys::{SigningKey, Trust};
use ringway_snapshot::model::{
    Action, Application, Credential, FieldMatch, Host, HostPattern, Model, PathPattern, PathPolicy, Route,
    Segment, ValueMatch,
};
use ringway_snapshot::reader::AlignedBytes;
use ringway_snapshot::tables::{ApplicationIndex, Condition, CredentialIndex, HostIndex, RouteIndex};

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_seed([1; 32]).expect("any seed is a key"));
static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::of(&KEY));
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let options = BuildOptions { generation: 1, parent_hash: ContentHash::default(), signing: &KEY };
    build(&model(), &options).expect("the model is good")
});

fuzz_target!(|data: &[u8]| {
    let _ = Current::decode(data, &TRUST);
    let _ = Current::decode_published(data, &TRUST);
    open(data);
    let changed = changed(data);
    open(&changed);
    let mut signed = changed;
    seal_header(&mut signed, &KEY);
    open(&signed);
});

/// The good file with runs of bytes overwritten: each of (offset u16, length u8, bytes). A run of length 255 cuts the file there.
fn changed(mut data: &[u8]) -> Vec<u8> {
    let mut file = GOOD.clone();
    while let [low, high, length, rest @ ..] = data {
        let at = FIXED_BYTES + usize::from(u16::from_le_bytes([*low, *high])) % (GOOD.len() - FIXED_BYTES);
        if *length == 255 {
            file.truncate(at);
        }
        let run = &rest[..usize::from(length % 17).min(rest.len())];
        for (slot, byte) in file.iter_mut().skip(at).zip(run) {
            *slot = *byte;
        }
        data = &rest[run.len()..];
    }
    file
}

struct Fields;

impl FieldLookup for Fields {
    fn any(&self, name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        name == b"x-beta" && (test(b"1") || test(b"22"))
    }
}

fn open(bytes: &[u8]) {
    match Snapshot::open(AlignedBytes::copy(bytes), &TRUST) {
        Ok(snapshot) => {
            read(&snapshot);
            ask(&snapshot);
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
}

/// Every accessor.
fn read(snapshot: &Snapshot) {
    let tables = snapshot.tables();
    for host in (0..tables.host_count()).map(HostIndex) {
        assert!(tables.host(host).is_some() && tables.host_pattern(host).is_some());
        let _ = (tables.host_name(host), tables.host(host).map(|row| row.path_policy()));
    }
    for route in (0..tables.route_count()).map(RouteIndex) {
        let row = tables.route(route).expect("it exists");
        assert!((row.chain as usize) < snapshot.chains().len());
        assert!((row.action as usize) < snapshot.actions().len());
        assert!(tables.host_of(route).is_some() && row.kind().is_some());
        let _ = (tables.route_name(route), tables.route_path(&row), tables.methods(&row));
        let _ = tables.body_bytes_max(&row);
        if let Some(extra) = tables.extra(&row) {
            let regexes = tables.regexes().len();
            for (_, condition) in tables.headers(&extra).chain(tables.query(&extra)) {
                assert!(!matches!(condition, Condition::Regex(index) if index as usize >= regexes));
            }
            assert_eq!(tables.variables(&extra).count(), usize::from(extra.variable_count));
        }
    }
    for credential in (0..tables.credential_count()).map(CredentialIndex) {
        let row = tables.credential(credential).expect("it exists");
        let application = ApplicationIndex(row.application);
        assert!(tables.application(application).is_some());
        let _ = (tables.application_name(application), tables.credential_prefix(&row));
        let _ = tables.find_credential(&row.digest);
    }
    assert!(tables.pepper_ids().len() <= tables.credential_count() as usize);
    let upstreams = snapshot.upstreams().len();
    for action in snapshot.actions() {
        assert!(!matches!(action, Action::Proxy { upstream, .. } if *upstream as usize >= upstreams));
    }
    let _ = (snapshot.settings(), snapshot.listeners(), snapshot.tls(), snapshot.limits());
    let _ = snapshot.authenticators();
}

/// Matches, explains, and looks for shadowed routes.
fn ask(snapshot: &Snapshot) {
    let Ok(expressions) = RouteExpressions::prepare(snapshot) else { return };
    for host in [&b"api.example.com"[..], b"a.b.shop.example.com", b"other", b""] {
        for path in [&b"/orders/7/lines/2"[..], b"/status", b"/v1", b"/", b"*", b"/a//b/"] {
            for method in [&b"GET"[..], b"HEAD", b"PURGE"] {
                let query = RouteQuery { host, path, query: Some(b"lang=fr&x=%20"), method, fields: &Fields };
                let found = match_route(snapshot, &expressions, &query);
                assert_eq!(trace_route(snapshot, &expressions, &query).outcome, found);
                if let ringway_policy::route::RouteMatch::Found(found) = found {
                    assert!(found.matched <= path.len());
                    let _ = variables(snapshot, &found.row, path).count();
                }
            }
        }
    }
    let _ = shadowed(snapshot);
}

fn model() -> Model {
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let variable = |text: &str| Segment::Variable(text.to_owned());
    let template = |segments: Vec<Segment>, rest| PathPattern::Template { segments, rest };
    let exact = |text: &str| PathPattern::Exact(text.to_owned());
    let prefix = |text: &str| PathPattern::Prefix(text.to_owned());
    let api = [
        (prefix("/orders"), "", ""),
        (prefix("/orders"), "GET", "x-beta"),
        (exact("/status"), "GET", ""),
        (exact("/status"), "PURGE", ""),
        (template(vec![literal("orders"), variable("id"), literal("lines")], true), "", ""),
        (template(vec![literal("orders"), variable("id"), literal("lines"), variable("n")], false), "", ""),
        (template(vec![variable("any")], false), "POST", ""),
        (PathPattern::Regex("/v[0-9]+".to_owned()), "", ""),
        (PathPattern::Regex("/a.*".to_owned()), "GET", "x-beta"),
    ];
    let all = [(prefix(""), "", "")];
    let credential = |id: u128| Credential {
        id,
        pepper_id: 3,
        digest: [id as u8; 32],
        prefix: "rw_live_ab12cd34".to_owned(),
        not_after_unix_ms: None,
    };
    Model {
        hosts: vec![
            host(HostPattern::Exact("api.example.com".to_owned()), &api),
            host(HostPattern::Wildcard("shop.example.com".to_owned()), &all),
            host(HostPattern::Wildcard("example.com".to_owned()), &[]),
            host(HostPattern::Any, &all),
        ],
        applications: vec![
            Application { name: "acme".to_owned(), id: 1, credentials: vec![credential(1), credential(2)] },
            Application { name: "idle".to_owned(), id: 2, credentials: Vec::new() },
        ],
        ..Model::default()
    }
}

fn host(pattern: HostPattern, routes: &[(PathPattern, &str, &str)]) -> Host {
    let route = |(path, method, header): &(PathPattern, &str, &str)| {
        let value = ValueMatch::Regex("[0-9]".to_owned());
        let headers = Some(FieldMatch { name: (*header).to_owned(), value });
        let mut route = Route {
            name: format!("{method} {path:?}"),
            id: 0,
            path: path.clone(),
            methods: Some((*method).to_owned()).filter(|method| !method.is_empty()).into_iter().collect(),
            headers: headers.filter(|field| !field.name.is_empty()).into_iter().collect(),
            query: Vec::new(),
            chain: 0,
            action: Action::Respond { status: 200, fields: Vec::new(), body: b"ok".to_vec() },
            websocket: false,
            encoded_slash: false,
            grpc_web: false,
            body_bytes_max: None,
        };
        route.id = id::route(&pattern, &route).0;
        route
    };
    let routes = routes.iter().map(route).collect();
    Host { pattern: pattern.clone(), path_policy: PathPolicy::Strict, routes }
}
