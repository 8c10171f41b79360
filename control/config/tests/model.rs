//! What documents compile to.

use expect_test::expect;
use ringway_snapshot::model::{Action, HostPattern, PathPattern, RouteTimeout};

use super::compile_text;

const MINIMAL: &str = r#"
listeners:
  - {address: "127.0.0.1:8080"}
upstreams:
  echo: {endpoints: ["127.0.0.1:9080"]}
hosts:
  "*":
    /*: {to: echo}
"#;

#[test]
fn a_listener_an_upstream_and_a_host_make_a_model() {
    let compiled = compile_text(MINIMAL).unwrap();
    assert!(compiled.warnings.is_empty());
    let model = &compiled.model;
    assert_eq!(model.listeners.len(), 1);
    assert_eq!(model.upstreams[0].request_ms_max, 15_000);
    assert_eq!(model.hosts[0].pattern, HostPattern::Any);
    let route = &model.hosts[0].routes[0];
    assert_eq!(route.path, PathPattern::Prefix(String::new()));
    assert!(matches!(route.action, Action::Proxy { upstream: 0, .. }));
    assert_eq!(model.chains.len(), 1);
}

#[test]
fn defaults_of_the_table_are_those_of_the_model() {
    assert_eq!(
        compile_text("version: 1").unwrap().model.settings,
        ringway_snapshot::model::Settings::default()
    );
}

#[test]
fn definitions_are_canonical() {
    let compiled = compile_text(MINIMAL).unwrap();
    let mut out = String::new();
    for (key, resource) in &compiled.definitions.resources {
        out.push_str(&format!("{} {}: {}\n", key.kind.one(), key.name, resource.content()));
    }
    expect![[r#"
        listener 127.0.0.1:8080: {"address":"127.0.0.1:8080"}
        upstream echo: {"endpoints":["127.0.0.1:9080"]}
        host *: {"/*":{"to":"echo"}}
    "#]]
    .assert_eq(&out);
}

#[test]
fn a_routes_timeouts_stand_beside_its_upstreams() {
    let text = MINIMAL.replace("{to: echo}", "{to: echo, timeout: {request: 2m, idle: 300ms}}");
    let model = compile_text(&text).unwrap().model;
    let Action::Proxy { timeout, .. } = model.hosts[0].routes[0].action else { panic!() };
    let expected = RouteTimeout {
        connect_ms_max: None,
        request_ms_max: Some(120_000),
        idle_ms_max: Some(300),
        tunnel_idle_ms_max: None,
    };
    assert_eq!(timeout, expected);
    assert_eq!(model.upstreams[0].request_ms_max, 15_000);
}
