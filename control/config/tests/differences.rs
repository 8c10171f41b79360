//! What `plan` and `diff` say, and what `export` prints.

use expect_test::{Expect, expect};

use super::{World, certificate, document};
use crate::config::{CompileEnvironment, Definitions, diff, export, parse};

fn definitions(environment: &CompileEnvironment<'_>, text: &str) -> Definitions {
    match parse(vec![document("ringway.yaml", text)], environment) {
        Ok((definitions, _)) => definitions,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

fn check(before: &str, after: &str, expected: Expect) {
    World::new(&[("keys/acme", "rw_live_ab12cd34ef56gh78ij90klmn")]).with(|environment| {
        let (before, after) = (definitions(environment, before), definitions(environment, after));
        let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
        expected.assert_eq(&lines.join("\n"));
    });
}

const BEFORE: &str = r#"
settings: {timeouts: {head: 5s}}
listeners: [{address: "0.0.0.0:8080"}]
upstreams:
  orders: {endpoints: [10.0.0.1:80, 10.0.0.2:80]}
  old: {endpoints: [10.0.0.9:80]}
limits: {a: {rate: 1/s}}
chains: {c: [{limit: a}]}
hosts:
  api.example.com:
    /orders/v2/*: {to: orders}
    /gone: {to: old}
    /list: [{match: {query: {a: b}}, to: orders}, {to: old}]
applications: {acme: {credentials: [{api_key: file:keys/acme}]}}
"#;

#[test]
fn changes_are_told_in_the_words_of_the_configuration() {
    check(
        BEFORE,
        r#"
listeners: [{address: "0.0.0.0:8080"}, {address: "0.0.0.0:8081"}]
upstreams:
  orders: {endpoints: [10.0.0.1:80], timeout: {request: 5s, connect: 1s}, balance: random}
limits: {a: {rate: 60/m, burst: 5}}
chains: {c: [{limit: a, mode: shadow}, {headers: {request: {remove: [X-A]}}}]}
hosts:
  api.example.com:
    path_policy: merge
    /orders/v2/*: {to: orders, chain: c}
    /list: [{match: {query: {a: c}}, to: orders}, {to: orders}]
    "GET /new": {respond: {body: ok}}
  "*": {/*: {to: orders}}
applications: {acme: {credentials: [{api_key: env:ACME_KEY}]}}
"#,
        expect![[r#"
            ~ settings: timeouts.head 5s → 10s
            + listener 0.0.0.0:8081: {address: 0.0.0.0:8081}
            - upstream old: {endpoints: [10.0.0.9:80]}
            ~ upstream orders: balance least_request → random
            ~ upstream orders: endpoints [10.0.0.1:80, 10.0.0.2:80] → [10.0.0.1:80]
            ~ upstream orders: timeout.request 15s → 5s
            ~ limit a: burst nothing → 5
            ~ limit a: rate 1/s → 60/m
            ~ chain c: [{limit: a}] → [{limit: a, mode: shadow}, {headers: {request: {remove: [X-A]}}}]
            + * /*: {to: orders}
            - api.example.com /gone: {to: old}
            ~ api.example.com: path_policy strict → merge
            ~ api.example.com /orders/v2/*: chain nothing → c
            ~ api.example.com /list: [0].match.query.a b → c
            ~ api.example.com /list: [1].to old → orders
            + api.example.com GET /new: {respond: {body: ok}}
            ~ application acme: credentials[0].api_key file:keys/acme → env:ACME_KEY"#]],
    );
}

#[test]
fn a_written_default_differs_from_nothing_in_no_way_that_matters() {
    check(
        "upstreams: {a: {endpoints: [10.0.0.1:80]}}\n",
        "settings: {timeouts: {head: 10000ms}}\nupstreams: {a: {endpoints: [{address: 10.0.0.1:80}], timeout: {connect: 1s}}}\n",
        expect![[r#""#]],
    );
}

#[test]
fn an_order_that_breaks_ties_is_a_difference() {
    check(
        "hosts: {a.b: {'~/a.*': {respond: {}}, '~/.*b': {respond: {}}}}\n",
        "hosts: {a.b: {'~/.*b': {respond: {}}, '~/a.*': {respond: {}}}}\n",
        expect!["~ a.b: order ~/a.* ~/.*b → ~/.*b ~/a.*"],
    );
}

#[test]
fn another_content_behind_the_same_reference_is_a_difference() {
    let text = "tls: {a: {certificates: [{chain: file:a.pem, key: file:a.key}]}}\n";
    let generations = [certificate(&["a.example.com"], 2036), certificate(&["a.example.com"], 2037)];
    let [before, after] = generations.map(|(certificate, key)| {
        let (chain, key) = (certificate.pem(), key.serialize_pem());
        World::new(&[("a.pem", &chain), ("a.key", &key)]).with(|environment| definitions(environment, text))
    });
    let lines: Vec<String> = diff(&before, &after).iter().map(ToString::to_string).collect();
    expect![[r#"
        ~ TLS profile a: certificates[0].chain file:a.pem → file:a.pem (new content)
        ~ TLS profile a: certificates[0].key file:a.key → file:a.key (new content)"#]]
    .assert_eq(&lines.join("\n"));
    assert_ne!(before.root_hash(), after.root_hash());
}

#[test]
fn an_export_is_a_configuration_in_canonical_form() {
    World::new(&[]).with(|environment| {
        let text = include_str!("../../../config/ringway.yaml");
        let exported = export(&definitions(environment, text));
        expect![[r#"
            version: 1
            settings:
              name: edge-par1
              access_log: stdout
              trusted: [10.0.0.0/8]
              timeouts: {head: 10s, keep_alive: 1m, drain: 30s}
              body: {size: 100MiB}
            listeners:
              - {address: 0.0.0.0:8080, redirect: https}
              - {address: 0.0.0.0:8443, tls: default}
              - {address: "[::]:8443", tls: default}
            tls:
              default: {self_signed: [api.example.com, "*.shop.example.com"], minimum: "1.2", client: none}
            upstreams:
              orders:
                endpoints: [10.0.0.11:8080, {address: orders.internal:8080, weight: 2}]
                balance: least_request
                timeout: {connect: 1s, request: 15s, idle: 1m, tunnel_idle: 1h}
                pool: {idle: 30s, connections: 256}
              orders_next: {endpoints: [orders-next.internal:8443], protocol: auto, tls: {name: orders-next.internal}}
            authenticators:
              partner_key: {api_key: {in: header, name: X-API-Key}}
            limits:
              per_address: {rate: 20/s, by: ip/24/56, on_missing: reject}
              per_application: {rate: 100/s, burst: 200, by: application, scope: node}
            chains:
              public_api:
                - {authenticate: partner_key}
                - {limit: per_application}
                - {limit: per_address, mode: shadow}
                - {headers: {request: {set: {X-Edge: par1}}, response: {remove: [Server]}}}
            hosts:
              "*.shop.example.com":
                /*: {to: orders, rewrite: {host: orders.internal}}
              api.example.com:
                path_policy: strict
                /orders/v2/*: {chain: public_api, to: orders}
                /orders/v1/*: {chain: public_api, to: orders, rewrite: {prefix: /orders/v2}}
                "/customers/{id}/orders": {chain: public_api, to: orders, body: 64KiB}
                "GET /status": {respond: {status: 200, body: ok}}
                /search: [{match: {headers: {X-Beta: "1"}}, to: orders_next}, {match: {query: {lang: fr}}, to: orders}]
                /ws/*: {to: orders, websocket: true}
                "~/legacy/[0-9]+": {redirect: {status: "301", path: /orders/v2}}
            applications:
              acme: {credentials: [{api_key: env:ACME_KEY}]}
            tests:
              - {request: "GET https://api.example.com/orders/v2/1", expect: {status: 401}}
              - request: "GET https://api.example.com/orders/v2/1"
                as: acme
                expect: {route: /orders/v2/*, upstream: orders}
              - {request: "GET https://api.example.com/status", expect: {status: 200, route: "GET /status"}}
              - {request: "GET https://api.example.com/search", headers: {X-Beta: "1"}, expect: {upstream: orders_next}}
        "#]].assert_eq(&exported);
        assert_eq!(export(&definitions(environment, &exported)), exported);
    });
}
