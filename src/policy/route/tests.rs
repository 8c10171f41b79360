//! Laws of matching.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use ringway_snapshot::Snapshot;
use ringway_snapshot::model::Model;

use crate::route::model::{model, route, snapshot};
use crate::route::naive::{Naive, naive};
use crate::route::{
    RouteExpressions, RouteMatch, RouteQuery, compile_expression, match_route, shadowed, trace_route,
    variables,
};

type Fields<'a> = [(&'a [u8], &'a [u8])];

/// `GET host/path?query`, with one field if there is one.
struct Request {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    field: Option<(String, String)>,
}

impl Request {
    fn parse(text: &str) -> Self {
        let mut parts = text.split(' ');
        let method = parts.next().unwrap().to_owned();
        let target = parts.next().unwrap();
        let field = parts.next().map(|field| field.split_once(':').unwrap());
        let (target, query) = target.split_once('?').map_or((target, None), |(a, b)| (a, Some(b)));
        let slash = target.find('/').unwrap_or(target.len());
        Self {
            method,
            host: target[..slash].to_owned(),
            path: target[slash..].to_owned(),
            query: query.map(str::to_owned),
            field: field.map(|(name, value)| (name.to_owned(), value.to_owned())),
        }
    }

    fn ask<R>(&self, with: impl FnOnce(&RouteQuery<'_>) -> R) -> R {
        struct One<'a>(Option<(&'a [u8], &'a [u8])>);
        impl super::FieldLookup for One<'_> {
            fn any(&self, name: &[u8], test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
                let fields: &Fields<'_> = self.0.as_slice();
                fields.any(name, test)
            }
        }
        let fields = One(self.field.as_ref().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        with(&RouteQuery {
            host: self.host.as_bytes(),
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            method: self.method.as_bytes(),
            fields: &fields,
        })
    }
}

fn answer(snapshot: &Snapshot, request: &str) -> String {
    let expressions = RouteExpressions::prepare(snapshot).unwrap();
    let request = Request::parse(request);
    let tables = snapshot.tables();
    request.ask(|query| match match_route(snapshot, &expressions, query) {
        RouteMatch::Found(found) => {
            let mut text = tables.route_name(found.route).to_owned();
            for (name, value) in variables(snapshot, &found.row, query.path) {
                text.push_str(&format!(" [{name}={}]", String::from_utf8_lossy(value)));
            }
            if found.matched < query.path.len() {
                text.push_str(&format!(" [matched {}]", &request.path[..found.matched]));
            }
            text
        }
        RouteMatch::UnknownHost => "unknown host".to_owned(),
        RouteMatch::NoRoute(_) => "no route".to_owned(),
        RouteMatch::MethodNotAllowed { allow, .. } => format!("allow {allow}"),
    })
}

/// Asks one host's routes.
fn check(routes: &[&str], requests: &[&str], expected: Expect) {
    let snapshot = snapshot(&model(&[("a", routes)]));
    let lines = requests.iter().map(|request| format!("{request} -> {}\n", answer(&snapshot, request)));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn an_exact_path_comes_before_a_prefix() {
    check(
        &["/a/*", "/a", "/a/b"],
        &["GET a/a", "GET a/a/", "GET a/a/b", "GET a/a/b/", "GET a/ab", "GET a/"],
        expect![[r#"
            GET a/a -> /a
            GET a/a/ -> /a/* [matched /a]
            GET a/a/b -> /a/b
            GET a/a/b/ -> /a/* [matched /a]
            GET a/ab -> no route
            GET a/ -> no route
        "#]],
    );
}

#[test]
fn the_longest_prefix_wins_and_ends_between_segments() {
    check(
        &["/*", "/a/*", "/a/b/*", "/a/b/c/d/*"],
        &[
            "GET a/",
            "GET a/ab",
            "GET a/a",
            "GET a/a/bc",
            "GET a/a/b",
            "GET a/a/b/c",
            "GET a/a/b/c/d/e",
            "GET a/x//y",
        ],
        expect![[r#"
            GET a/ -> /* [matched ]
            GET a/ab -> /* [matched ]
            GET a/a -> /a/*
            GET a/a/bc -> /a/* [matched /a]
            GET a/a/b -> /a/b/*
            GET a/a/b/c -> /a/b/* [matched /a/b]
            GET a/a/b/c/d/e -> /a/b/c/d/* [matched /a/b/c/d]
            GET a/x//y -> /* [matched ]
        "#]],
    );
}

#[test]
fn a_literal_comes_before_a_template_and_that_before_a_star_segment_by_segment() {
    check(
        &[
            "/o/*",
            "/o/{id}",
            "/o/new",
            "/o/{id}/lines",
            "/o/new/*",
            "/{x}/new/z",
            "/o/{id}/*",
            "/o/{id}/lines/{n}",
        ],
        &[
            "GET a/o",
            "GET a/o/",
            "GET a/o/7",
            "GET a/o/new",
            "GET a/o/new/lines",
            "GET a/o/new/z",
            "GET a/p/new/z",
            "GET a/o/7/lines",
            "GET a/o/7/lines/3",
            "GET a/o/7/lines/3/4",
            "GET a/o/7/other",
            "GET a/o//lines",
        ],
        expect![[r#"
            GET a/o -> /o/*
            GET a/o/ -> /o/* [matched /o]
            GET a/o/7 -> /o/{id} [id=7]
            GET a/o/new -> /o/new
            GET a/o/new/lines -> /o/new/* [matched /o/new]
            GET a/o/new/z -> /o/new/* [matched /o/new]
            GET a/p/new/z -> /{x}/new/z [x=p]
            GET a/o/7/lines -> /o/{id}/lines [id=7]
            GET a/o/7/lines/3 -> /o/{id}/lines/{n} [id=7] [n=3]
            GET a/o/7/lines/3/4 -> /o/{id}/* [id=7] [matched /o/7]
            GET a/o/7/other -> /o/{id}/* [id=7] [matched /o/7]
            GET a/o//lines -> /o/* [matched /o]
        "#]],
    );
}

#[test]
fn an_expression_comes_after_every_prefix_and_matches_the_whole_path() {
    check(
        &["~ /v[0-9]+", "~ /v1/.*", "/v1/*"],
        &["GET a/v1", "GET a/v2", "GET a/v22/x", "GET a/xv2", "GET a/v1/x"],
        expect![[r#"
            GET a/v1 -> /v1/*
            GET a/v2 -> ~ /v[0-9]+
            GET a/v22/x -> no route
            GET a/xv2 -> no route
            GET a/v1/x -> /v1/* [matched /v1]
        "#]],
    );
    check(
        &["/*", "~ /v[0-9]+"],
        &["GET a/v1"],
        expect![[r#"
        GET a/v1 -> /* [matched ]
    "#]],
    );
}

#[test]
fn then_the_method_then_headers_then_the_query_then_the_order() {
    check(
        &["/a", "/a q:l=fr", "/a h:x-b=1", "/a h:x-b=1 q:l=fr", "POST /a", "GET /a h:x-b=2", "/a q:m"],
        &[
            "GET a/a",
            "GET a/a?l=fr",
            "GET a/a?l=fr x-b:1",
            "GET a/a?l=de x-b:1",
            "POST a/a?l=fr x-b:1",
            "GET a/a?l=fr x-b:2",
            "PUT a/a x-b:2",
            "GET a/a?m=&l=fr",
        ],
        expect![[r#"
            GET a/a -> /a
            GET a/a?l=fr -> /a q:l=fr
            GET a/a?l=fr x-b:1 -> /a h:x-b=1 q:l=fr
            GET a/a?l=de x-b:1 -> /a h:x-b=1
            POST a/a?l=fr x-b:1 -> POST /a
            GET a/a?l=fr x-b:2 -> GET /a h:x-b=2
            PUT a/a x-b:2 -> /a
            GET a/a?m=&l=fr -> /a q:l=fr
        "#]],
    );
}

#[test]
fn where_the_conditions_of_a_better_path_do_not_hold_the_next_path_is_asked() {
    check(
        &["POST /a/b", "/a/{x} h:x-b", "/a/* q:l=fr", "/*"],
        &["GET a/a/b", "GET a/a/b x-b:1", "GET a/a/b?l=fr", "POST a/a/b", "GET a/c"],
        expect![[r#"
            GET a/a/b -> /* [matched ]
            GET a/a/b x-b:1 -> /a/{x} h:x-b [x=b]
            GET a/a/b?l=fr -> /a/* q:l=fr [matched /a]
            POST a/a/b -> POST /a/b
            GET a/c -> /* [matched ]
        "#]],
    );
}

#[test]
fn a_route_for_get_takes_head_unless_another_names_it() {
    check(
        &["GET /a", "GET /b", "HEAD /b", "/b", "GET /c h:x-b", "/c"],
        &["HEAD a/a", "HEAD a/b", "GET a/b", "PUT a/b", "HEAD a/c", "HEAD a/c x-b:1"],
        expect![[r#"
            HEAD a/a -> GET /a
            HEAD a/b -> HEAD /b
            GET a/b -> GET /b
            PUT a/b -> /b
            HEAD a/c -> /c
            HEAD a/c x-b:1 -> GET /c h:x-b
        "#]],
    );
}

#[test]
fn a_known_path_with_another_method_says_what_is_allowed() {
    check(
        &[
            "GET /a",
            "PURGE,POST /a",
            "DELETE /a/*",
            "GET /h h:x-b",
            "PUT /a h:x-b",
            "PATCH /{x}",
            "GET ~ /e.",
        ],
        &[
            "OPTIONS a/a",
            "OPTIONS a/a x-b:1",
            "PURGE a/a",
            "purge a/a",
            "BAN a/a/b",
            "POST a/h",
            "POST a/h x-b:1",
            "POST a/ee",
            "POST a/x/y",
        ],
        expect![[r#"
            OPTIONS a/a -> allow GET, HEAD, POST, DELETE, PATCH, PURGE
            OPTIONS a/a x-b:1 -> allow GET, HEAD, POST, PUT, DELETE, PATCH, PURGE
            PURGE a/a -> PURGE,POST /a
            purge a/a -> allow GET, HEAD, POST, DELETE, PATCH, PURGE
            BAN a/a/b -> allow DELETE
            POST a/h -> allow PATCH
            POST a/h x-b:1 -> allow GET, HEAD, PATCH
            POST a/ee -> allow GET, HEAD, PATCH
            POST a/x/y -> no route
        "#]],
    );
}

#[test]
fn conditions_look_at_every_line_and_at_decoded_parameters() {
    check(
        &["/p q:l~fr|de", "/q q:l=a/b", "/r q:l~a.b", "/s h:x-b~[0-9]+"],
        &[
            "GET a/p?l=fr",
            "GET a/p?l=frx",
            "GET a/p?l=en&l=de",
            "GET a/p?l=%66r",
            "GET a/q?l=a%2Fb",
            "GET a/r?l=a+b",
            "GET a/r?l=a%ffb",
            "GET a/s x-b:12",
            "GET a/s x-b:12a",
            "GET a/s X-B:12",
        ],
        expect![[r#"
            GET a/p?l=fr -> /p q:l~fr|de
            GET a/p?l=frx -> no route
            GET a/p?l=en&l=de -> /p q:l~fr|de
            GET a/p?l=%66r -> /p q:l~fr|de
            GET a/q?l=a%2Fb -> /q q:l=a/b
            GET a/r?l=a+b -> /r q:l~a.b
            GET a/r?l=a%ffb -> /r q:l~a.b
            GET a/s x-b:12 -> /s h:x-b~[0-9]+
            GET a/s x-b:12a -> no route
            GET a/s X-B:12 -> /s h:x-b~[0-9]+
        "#]],
    );
}

#[test]
fn a_target_that_is_no_path_fits_the_star_alone() {
    check(
        &["/*", "/{x}", "~ \\*"],
        &["OPTIONS a"],
        expect![[r#"
        OPTIONS a -> /*
    "#]],
    );
    let snapshot = snapshot(&model(&[("a", &["OPTIONS *", "/*"])]));
    let expressions = RouteExpressions::prepare(&snapshot).unwrap();
    let mut request = Request::parse("OPTIONS a");
    request.path = "*".to_owned();
    let found = request.ask(|query| match_route(&snapshot, &expressions, query));
    let RouteMatch::Found(found) = found else { panic!("{found:?}") };
    assert_eq!(snapshot.tables().route_name(found.route), "OPTIONS *");
}

#[test]
fn a_host_is_exact_then_the_longest_wildcard_then_any() {
    let snapshot = snapshot(&model(&[
        ("*", &["/any"]),
        ("*.example.com", &["/wide"]),
        ("*.shop.example.com", &["/shop"]),
        ("a.shop.example.com", &["/exact"]),
    ]));
    let hosts = [
        ("a.shop.example.com", "/exact"),
        ("b.shop.example.com", "/shop"),
        ("c.b.shop.example.com", "/shop"),
        ("shop.example.com", "/wide"),
        ("example.com", "/any"),
        ("[::1]", "/any"),
    ];
    for (host, path) in hosts {
        assert_eq!(answer(&snapshot, &format!("GET {host}{path}")), path);
        assert_eq!(answer(&snapshot, &format!("GET {host}/other")), "no route");
    }
}

#[test]
fn an_unknown_host_is_told_from_an_unknown_path() {
    let snapshot = snapshot(&model(&[("a", &["/b"])]));
    assert_eq!(answer(&snapshot, "GET b/b"), "unknown host");
    assert_eq!(answer(&snapshot, "GET a/c"), "no route");
}

#[test]
fn an_expression_has_to_be_well_formed_by_itself_and_linear() {
    for pattern in ["a)|(b", "(", "(?=a)", "(a)\\1", "(a{1000}){1000}{1000}"] {
        assert!(compile_expression(pattern).is_err(), "{pattern}");
    }
    assert!(compile_expression("a|b").unwrap().is_match("a"));
    assert!(!compile_expression("a|b").unwrap().is_match("ab"));
    assert!(!compile_expression("a").unwrap().is_match("a\n"));
}

#[test]
fn an_explanation_says_why_not_the_others() {
    let routes = ["/a/*", "POST /a/b", "/a/b h:x-b", "/a/b q:l=fr", "/a/b", "/c", "~ /a/.*", "~ /z"];
    let snapshot = snapshot(&model(&[("a", &routes)]));
    let expressions = RouteExpressions::prepare(&snapshot).unwrap();
    let trace = Request::parse("GET a/a/b").ask(|query| trace_route(&snapshot, &expressions, query));
    let lines = trace.candidates.iter().map(|candidate| {
        format!("{}: {}\n", snapshot.tables().route_name(candidate.route), candidate.reason)
    });
    expect![[r#"
        POST /a/b: takes POST alone
        /a/b h:x-b: its condition on the field x-b does not hold
        /a/b q:l=fr: its condition on the parameter l does not hold
        /a/b: takes the request
        /a/*: would take it, but another comes first
        ~ /a/.*: would take it, but another comes first
        ~ /z: its path does not fit
        /c: its path does not fit
    "#]]
    .assert_eq(&lines.collect::<String>());
    assert_eq!(trace.others, 0);
    assert!(matches!(trace.outcome, RouteMatch::Found(_)));
}

#[test]
fn a_route_that_never_takes_a_request_is_named_with_those_before_it() {
    let routes = [
        "GET,POST /a",
        "POST /a",
        "PUT /a",
        "GET,PUT /a",
        "HEAD /a",
        "/b/{x}",
        "/c h:x-b",
        "/c h:x-b=1",
        "/d",
        "~ /e+",
        "GET ~ /e+",
        "/*",
    ];
    let snapshot = snapshot(&model(&[("a", &routes)]));
    let tables = snapshot.tables();
    let name = |route| tables.route_name(route);
    let lines = shadowed(&snapshot).into_iter().map(|shadowed| {
        let by: Vec<&str> = shadowed.by.into_iter().map(name).collect();
        format!("{} by {}\n", name(shadowed.route), by.join(" and "))
    });
    expect![[r#"
        POST /a by GET,POST /a
        GET,PUT /a by GET,POST /a and PUT /a
        /c h:x-b=1 by /c h:x-b
        GET ~ /e+ by /*
        ~ /e+ by /*
    "#]]
    .assert_eq(&lines.collect::<String>());
}

/// Few names, so that routes and requests meet.
fn a_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![4 => "[ab]", 2 => Just("{x}".to_owned()), 1 => Just(String::new())];
    let plain = (prop::collection::vec(segment, 1..4), any::<bool>())
        .prop_map(|(segments, rest)| format!("/{}{}", segments.join("/"), if rest { "/*" } else { "" }));
    let expression = prop::sample::select(vec!["~ /a.*", "~ /[ab]/b", "~ .*", "~ /a/?b*"]);
    prop_oneof![8 => plain, 1 => Just("/*".to_owned()), 1 => expression.prop_map(str::to_owned)]
}

fn a_route() -> impl Strategy<Value = String> {
    let methods = prop::sample::select(vec!["", "", "GET ", "POST ", "HEAD ", "GET,PURGE ", "PURGE,BAN "]);
    let headers = prop::sample::select(vec!["", "", " h:x-b", " h:x-b=1", " h:x-b~[12]", " h:x-b h:x-b=1"]);
    let query = prop::sample::select(vec!["", "", " q:l", " q:l=fr", " q:l~f. q:m"]);
    (methods, a_path(), headers, query).prop_map(|(a, b, c, d)| format!("{a}{b}{c}{d}"))
}

fn a_request() -> impl Strategy<Value = String> {
    let methods = prop::sample::select(vec!["GET", "HEAD", "POST", "PURGE", "BAN", "DELETE"]);
    let hosts = prop::sample::select(vec!["h", "x.h", "y.x.h", "z", "x.y.h"]);
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..5);
    let query = prop::sample::select(vec!["", "?l", "?l=fr", "?l=de&m", "?m&l=f%72&l=x"]);
    let field = prop::sample::select(vec!["", " x-b:1", " x-b:3", " x-c:1"]);
    (methods, hosts, path, query, field).prop_map(|(method, host, path, query, field)| {
        format!("{method} {host}/{}{query}{field}", path.join("/"))
    })
}

fn a_model() -> impl Strategy<Value = Model> {
    let routes = || prop::collection::vec(a_route(), 0..14);
    (routes(), routes(), routes(), prop::option::of(routes())).prop_map(|(exact, wide, narrow, other)| {
        let mut hosts = vec![("h", exact), ("*.h", wide), ("*.x.h", narrow)];
        hosts.extend(other.map(|routes| ("*", routes)));
        let mut model = Model::default();
        for (name, texts) in hosts {
            let pattern = crate::route::model::pattern(name);
            let mut routes: Vec<ringway_snapshot::model::Route> = Vec::new();
            for text in texts {
                let route = route(&pattern, &text);
                if !routes.iter().any(|other| other.id == route.id) {
                    routes.push(route);
                }
            }
            model.hosts.push(ringway_snapshot::model::Host {
                pattern,
                path_policy: ringway_snapshot::model::PathPolicy::Strict,
                routes,
            });
        }
        model
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_answer_as_the_rules_do(model in a_model(), requests in prop::collection::vec(a_request(), 1..60)) {
        let snapshot = snapshot(&model);
        let expressions = RouteExpressions::prepare(&snapshot).unwrap();
        for text in requests {
            let request = Request::parse(&text);
            let (found, trace, expected) = request.ask(|query| {
                (match_route(&snapshot, &expressions, query), trace_route(&snapshot, &expressions, query), naive(&model, query))
            });
            prop_assert_eq!(&trace.outcome, &found);
            let found = match found {
                RouteMatch::Found(found) => Naive::Found(found.row.id),
                RouteMatch::UnknownHost => Naive::UnknownHost,
                RouteMatch::NoRoute(_) => Naive::NoRoute,
                RouteMatch::MethodNotAllowed { allow, .. } => {
                    let mut names: Vec<String> = allow.names().map(str::to_owned).collect();
                    names.sort();
                    Naive::MethodNotAllowed(names)
                }
            };
            prop_assert_eq!(found, expected, "{}", text);
        }
    }

    #[test]
    fn a_shadowed_route_is_never_chosen(model in a_model(), requests in prop::collection::vec(a_request(), 1..60)) {
        let snapshot = snapshot(&model);
        let expressions = RouteExpressions::prepare(&snapshot).unwrap();
        let shadowed = shadowed(&snapshot);
        for text in requests {
            let found = Request::parse(&text).ask(|query| match_route(&snapshot, &expressions, query));
            if let RouteMatch::Found(found) = found {
                prop_assert!(!shadowed.iter().any(|one| one.route == found.route), "{}", text);
            }
        }
    }
}
