//! What is said about definitions that are well formed but cannot be carried out.

use expect_test::{Expect, expect};

use super::{World, certificate, document, said};
use crate::config::{Colour, compile, render_text};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&said(text));
}

#[test]
fn a_name_that_nothing_defines_is_refused() {
    check(
        r#"
listeners: [{address: "0.0.0.0:80", tls: defualt}, {address: "0.0.0.0:81", redirect: https}]
tls: {default: {self_signed: [localhost]}}
chains: {a: [{authenticate: {any_of: [key]}}, {limit: l}]}
tests: [{request: "GET http://a/", as: acme, expect: {upstream: b}}]
"#,
        expect![[r#"
            error: there is no TLS profile `defualt`
              ┌─ ringway.yaml:2:42
              │
            2 │ listeners: [{address: "0.0.0.0:80", tls: defualt}, {address: "0.0.0.0:81", redirect: https}]
              │                                          ^^^^^^^ did you mean `default`?

            error: there is no TLS listener to redirect to
              ┌─ ringway.yaml:2:86
              │
            2 │ listeners: [{address: "0.0.0.0:80", tls: defualt}, {address: "0.0.0.0:81", redirect: https}]
              │                                                                                      ^^^^^ write the port: "https:443"

            error: there is no authenticator `key`
              ┌─ ringway.yaml:4:39
              │
            4 │ chains: {a: [{authenticate: {any_of: [key]}}, {limit: l}]}
              │                                       ^^^
              │
              = hint: define it under `authenticators:`

            error: there is no limit `l`
              ┌─ ringway.yaml:4:55
              │
            4 │ chains: {a: [{authenticate: {any_of: [key]}}, {limit: l}]}
              │                                                       ^
              │
              = hint: define it under `limits:`

            error: there is no application `acme`
              ┌─ ringway.yaml:5:40
              │
            5 │ tests: [{request: "GET http://a/", as: acme, expect: {upstream: b}}]
              │                                        ^^^^
              │
              = hint: define it under `applications:`

            error: there is no upstream `b`
              ┌─ ringway.yaml:5:65
              │
            5 │ tests: [{request: "GET http://a/", as: acme, expect: {upstream: b}}]
              │                                                                 ^
              │
              = hint: define it under `upstreams:`

        "#]],
    );
}

#[test]
fn listeners_and_profiles_that_exclude_each_other_are_refused() {
    check(
        r#"
settings: {admin: "127.0.0.1:8080"}
listeners: [{address: "0.0.0.0:8080"}, {address: "10.0.0.1:8080"}]
tls:
  a: {self_signed: [localhost], client_crls: [], client_ca: env:NOTHING, client: none}
  b: {}
  c: {self_signed: [x], client: require}
"#,
        expect![[r#"
            error: 0.0.0.0:8080 overlaps the admin listener on 127.0.0.1:8080
              ┌─ ringway.yaml:3:23
              │
            3 │ listeners: [{address: "0.0.0.0:8080"}, {address: "10.0.0.1:8080"}]
              │                       ^^^^^^^^^^^^^^
              │
              = hint: choose another port, or set settings.admin

            error: 10.0.0.1:8080 overlaps 0.0.0.0:8080
              ┌─ ringway.yaml:3:50
              │
            3 │ listeners: [{address: "0.0.0.0:8080"}, {address: "10.0.0.1:8080"}]
              │                       --------------             ^^^^^^^^^^^^^^^
              │                       │                           
              │                       which is listened on too
              │
              = hint: keep one of them, or give one another port

            error: `client_ca` has no effect: client certificates are not asked for
              ┌─ ringway.yaml:5:50
              │
            5 │   a: {self_signed: [localhost], client_crls: [], client_ca: env:NOTHING, client: none}
              │                                                  ^^^^^^^^^
              │
              = hint: write client: optional or client: require

            error: certificates cannot be read from `env:NOTHING`
              ┌─ ringway.yaml:5:61
              │
            5 │   a: {self_signed: [localhost], client_crls: [], client_ca: env:NOTHING, client: none}
              │                                                             ^^^^^^^^^^^ the variable NOTHING is not set

            error: the profile has no certificate
              ┌─ ringway.yaml:6:3
              │
            6 │   b: {}
              │   ^
              │
              = hint: write certificates: [{chain: file:…, key: file:…}], or self_signed: [localhost] to try it out

            error: client certificates are asked for, but nothing says who signs them
              ┌─ ringway.yaml:7:33
              │
            7 │   c: {self_signed: [x], client: require}
              │                                 ^^^^^^^
              │
              = hint: write client_ca: file:…

        "#]],
    );
}

#[test]
fn policies_that_cannot_be_carried_out_are_refused() {
    check(
        r#"
upstreams: {a: {endpoints: [10.0.0.1:80, 10.0.0.1:80]}}
chains:
  a: [{limit: l, headers: {}}, {mode: shadow}]
  b: [{headers: {request: {set: {Connection: x, X-A: "1"}, rename: {x-a: Host}}}}]
limits: {l: {rate: 1/s, by: "header:Connection"}}
"#,
        expect![[r#"
            error: the endpoint 10.0.0.1:80 stands twice
              ┌─ ringway.yaml:2:42
              │
            2 │ upstreams: {a: {endpoints: [10.0.0.1:80, 10.0.0.1:80]}}
              │                                          ^^^^^^^^^^^
              │
              = hint: give it a weight instead: {address: …, weight: 2}

            error: a step has one policy, not 2
              ┌─ ringway.yaml:4:7
              │
            4 │   a: [{limit: l, headers: {}}, {mode: shadow}]
              │       ^^^^^^^^^^^^^^^^^^^^^^^
              │
              = hint: write each as a step of its own: `- {…}`

            error: a step has a policy beside its mode
              ┌─ ringway.yaml:4:32
              │
            4 │   a: [{limit: l, headers: {}}, {mode: shadow}]
              │                                ^^^^^^^^^^^^^^
              │
              = hint: authenticate, limit or headers

            error: the field connection belongs to the connection or the framing and cannot be edited
              ┌─ ringway.yaml:5:34
              │
            5 │   b: [{headers: {request: {set: {Connection: x, X-A: "1"}, rename: {x-a: Host}}}}]
              │                                  ^^^^^^^^^^
              │
              = hint: for Host write rewrite: {host: …} on the route; the others the gateway writes itself

            error: `X-A` stands under `rename` and under `set`
              ┌─ ringway.yaml:5:49
              │
            5 │   b: [{headers: {request: {set: {Connection: x, X-A: "1"}, rename: {x-a: Host}}}}]
              │                                                 ^^^ keep one of them

            error: the field host belongs to the connection or the framing and cannot be edited
              ┌─ ringway.yaml:5:69
              │
            5 │   b: [{headers: {request: {set: {Connection: x, X-A: "1"}, rename: {x-a: Host}}}}]
              │                                                                     ^^^
              │
              = hint: for Host write rewrite: {host: …} on the route; the others the gateway writes itself

            error: the limit cannot go by this field
              ┌─ ringway.yaml:6:29
              │
            6 │ limits: {l: {rate: 1/s, by: "header:Connection"}}
              │                             ^^^^^^^^^^^^^^^^^^^ the field connection belongs to the connection or the framing and cannot be edited

        "#]],
    );
}

#[test]
fn applications_that_may_pass_are_there_once() {
    check(
        r#"
authenticators: {k: {api_key: {}}}
applications: {acme: {credentials: [{api_key: env:ACME_KEY}]}}
chains:
  a: [{authenticate: {any_of: [k], applications: [acme, acmee, acme]}}]
  b: [{authenticate: {any_of: k, applications: []}}]
  c: [{authenticate: {applications: [acme]}}]
  d: [{authenticate: {any_of: [k], aplications: [acme]}}]
  e: [{authenticate: {any_of: [k], applications: acme}}]
"#,
        expect![[r#"
            error: there is no application `acmee`
              ┌─ ringway.yaml:5:57
              │
            5 │   a: [{authenticate: {any_of: [k], applications: [acme, acmee, acme]}}]
              │                                                         ^^^^^ did you mean `acme`?

            error: `acme` stands twice
              ┌─ ringway.yaml:5:64
              │
            5 │   a: [{authenticate: {any_of: [k], applications: [acme, acmee, acme]}}]
              │                                                                ^^^^

            error: nobody could pass: there is no application
              ┌─ ringway.yaml:6:48
              │
            6 │   b: [{authenticate: {any_of: k, applications: []}}]
              │                                                ^^ name at least one, or leave the key out to let all of them pass

            error: `any_of` is missing
              ┌─ ringway.yaml:7:22
              │
            7 │   c: [{authenticate: {applications: [acme]}}]
              │                      ^^^^^^^^^^^^^^^^^^^^^^
              │
              = hint: Authenticators, tried in order. For example: any_of: [partner_key]

            error: there is no key `aplications` here
              ┌─ ringway.yaml:8:36
              │
            8 │   d: [{authenticate: {any_of: [k], aplications: [acme]}}]
              │                                    ^^^^^^^^^^^ did you mean `applications`?

        "#]],
    );
}

#[test]
fn an_api_key_belongs_to_one_credential() {
    check(
        "applications: {x: {credentials: [{api_key: env:ACME_KEY}, {api_key: env:ACME_KEY}]}}\n",
        expect![[r#"
            error: the same API key stands twice: nobody could say who calls
              ┌─ ringway.yaml:1:59
              │
            1 │ applications: {x: {credentials: [{api_key: env:ACME_KEY}, {api_key: env:ACME_KEY}]}}
              │                                  -----------------------  ^^^^^^^^^^^^^^^^^^^^^^^ again here
              │                                  │                         
              │                                  first here

        "#]],
    );
}

#[test]
fn routes_that_contradict_themselves_are_refused() {
    check(
        r#"
upstreams: {a: {endpoints: [10.0.0.1:80]}}
hosts:
  a.example.com:
    /a: {to: a, respond: {}}
    /b: {}
    "/c/{id}": {to: a, rewrite: {prefix: /x}}
    /d: {respond: {status: 204, body: x}, websocket: true}
    /e: {redirect: {}}
"#,
        expect![[r#"
            error: the route does several things
              ┌─ ringway.yaml:5:5
              │
            5 │     /a: {to: a, respond: {}}
              │     ^^
              │
              = hint: a route has exactly one of `to`, `redirect` and `respond`

            error: the route does nothing
              ┌─ ringway.yaml:6:5
              │
            6 │     /b: {}
              │     ^^
              │
              = hint: a route has exactly one of `to`, `redirect` and `respond`

            error: a path with variables or an expression has no prefix
              ┌─ ringway.yaml:7:42
              │
            7 │     "/c/{id}": {to: a, rewrite: {prefix: /x}}
              │                                          ^^
              │
              = hint: use rewrite: {path: …}

            error: a reply with status 204 has no body
              ┌─ ringway.yaml:8:39
              │
            8 │     /d: {respond: {status: 204, body: x}, websocket: true}
              │                                       ^

            error: only a route with `to` has WebSockets
              ┌─ ringway.yaml:8:43
              │
            8 │     /d: {respond: {status: 204, body: x}, websocket: true}
              │                                           ^^^^^^^^^

            error: the redirect leads to itself
              ┌─ ringway.yaml:9:20
              │
            9 │     /e: {redirect: {}}
              │                    ^^
              │
              = hint: name at least one of scheme, host and path

        "#]],
    );
}

#[test]
fn routes_are_refused_that_their_upstream_cannot_carry_out() {
    check(
        r#"
upstreams: {b: {endpoints: [10.0.0.1:81], protocol: http2}, c: {endpoints: [10.0.0.1:82]}}
hosts:
  a.example.com:
    /f: {to: b, websocket: true}
    /g: {redirect: {path: /h}, grpc_web: true}
    /h: {to: c, grpc_web: true}
"#,
        expect![[r#"
            error: WebSockets go to upstreams over HTTP/1.1, and this one speaks HTTP/2 alone
              ┌─ ringway.yaml:5:17
              │
            5 │     /f: {to: b, websocket: true}
              │                 ^^^^^^^^^
              │
              = hint: write `protocol: auto` or `http1` at the upstream

            error: only a route with `to` has gRPC
              ┌─ ringway.yaml:6:32
              │
            6 │     /g: {redirect: {path: /h}, grpc_web: true}
              │                                ^^^^^^^^

            error: gRPC goes to upstreams over HTTP/2, and this one speaks HTTP/1.1 alone
              ┌─ ringway.yaml:7:17
              │
            7 │     /h: {to: c, grpc_web: true}
              │                 ^^^^^^^^
              │
              = hint: write `protocol: http2` at the upstream

        "#]],
    );
}

#[test]
fn routes_that_are_never_reached_are_found() {
    check(
        r#"
hosts:
  a.example.com:
    "/a/{id}": {respond: {}}
    "/a/{name}": {respond: {}}
    "GET,POST /b": {respond: {}}
    "GET /b": {respond: {}}
    "~/c/[0-9]+": {respond: {}}
    /c/*: {respond: {}}
"#,
        expect![[r#"
            error: another route has the same conditions
              ┌─ ringway.yaml:5:5
              │
            4 │     "/a/{id}": {respond: {}}
              │     --------- because of this one
            5 │     "/a/{name}": {respond: {}}
              │     ^^^^^^^^^^^ never reached
              │
              = hint: variables of any name match the same; add a condition under `match:`

            warning: the route is never reached
              ┌─ ringway.yaml:7:5
              │
            6 │     "GET,POST /b": {respond: {}}
              │     ------------- this one stands before it and takes the same methods
            7 │     "GET /b": {respond: {}}
              │     ^^^^^^^^
              │
              = hint: write the narrower one first

            warning: the expression is never tried
              ┌─ ringway.yaml:8:5
              │
            8 │     "~/c/[0-9]+": {respond: {}}
              │     ^^^^^^^^^^^^
            9 │     /c/*: {respond: {}}
              │     ---- this prefix matches all that it could match, and comes first
              │
              = hint: expressions are tried after all prefixes; use a template `{name}`, or a condition on the prefix

        "#]],
    );
}

#[test]
fn policies_run_in_the_order_of_their_stages_and_it_is_said() {
    check(
        "limits: {l: {rate: 1/s}}\nauthenticators: {k: {api_key: {}}}\nchains:\n  a: [{limit: l}, {authenticate: k}]\n",
        expect![[r#"
            warning: `authenticate` runs before `limit`, wherever it is written
              ┌─ ringway.yaml:4:19
              │
            4 │   a: [{limit: l}, {authenticate: k}]
              │                   ^^^^^^^^^^^^^^^^^
              │
              = hint: stages have a fixed order; write the chain in it, so that it reads as it runs

        "#]],
    );
}

#[test]
fn a_key_must_belong_to_its_certificate_and_be_in_time() {
    let ((a, a_key), (_, b_key)) =
        (certificate(&["a.example.com"], 2036), certificate(&["b.example.com"], 2036));
    let ((old, old_key), (nameless, nameless_key)) =
        (certificate(&["old.example.com"], 2026), certificate(&[], 2036));
    let keys =
        [a_key.serialize_pem(), b_key.serialize_pem(), old_key.serialize_pem(), nameless_key.serialize_pem()];
    let (a, old, nameless) = (a.pem(), old.pem(), nameless.pem());
    let world = World::new(&[
        ("a.pem", &a),
        ("a.key", &keys[0]),
        ("b.key", &keys[1]),
        ("old.pem", &old),
        ("old.key", &keys[2]),
        ("nameless.pem", &nameless),
        ("nameless.key", &keys[3]),
    ]);
    let text = "
tls:
  good: {certificates: [{chain: file:a.pem, key: file:a.key}]}
  mismatch: {certificates: [{chain: file:a.pem, key: file:b.key}]}
  old: {certificates: [{chain: file:old.pem, key: file:old.key}]}
  nameless: {certificates: [{chain: file:nameless.pem, key: file:nameless.key}]}
";
    let diagnostics =
        world.with(|environment| compile(vec![document("a.yaml", text)], environment)).unwrap_err();
    expect![[r#"
        error: the key does not belong to the certificate
          ┌─ a.yaml:4:54
          │
        4 │   mismatch: {certificates: [{chain: file:a.pem, key: file:b.key}]}
          │                                     ----------       ^^^^^^^^^^ this key signs for another certificate
          │                                     │                 
          │                                     whose first certificate has another public key
          │
          = hint: the first certificate of the chain is the leaf, the one for your names

        warning: the certificate has expired
          ┌─ a.yaml:5:32
          │
        5 │   old: {certificates: [{chain: file:old.pem, key: file:old.key}]}
          │                                ^^^^^^^^^^^^ on 2026-01-01

        error: the certificate is for no DNS name
          ┌─ a.yaml:6:37
          │
        6 │   nameless: {certificates: [{chain: file:nameless.pem, key: file:nameless.key}]}
          │                                     ^^^^^^^^^^^^^^^^^
          │
          = hint: it needs names in its subject alternative name; the common name is not looked at

    "#]].assert_eq(&render_text(&diagnostics, Colour::Never));
}

#[test]
fn a_test_of_a_later_file_is_found_in_that_file() {
    let test =
        |name: &str| format!("tests: [{{request: \"GET http://a/\", expect: {{upstream: {name}}}}}]\n");
    let documents = vec![document("a.yaml", &test("one")), document("b.yaml", &test("two"))];
    let diagnostics = World::new(&[]).with(|environment| compile(documents, environment)).unwrap_err();
    expect![[r#"
        error: there is no upstream `one`
          ┌─ a.yaml:1:55
          │
        1 │ tests: [{request: "GET http://a/", expect: {upstream: one}}]
          │                                                       ^^^
          │
          = hint: define it under `upstreams:`

        error: there is no upstream `two`
          ┌─ b.yaml:1:55
          │
        1 │ tests: [{request: "GET http://a/", expect: {upstream: two}}]
          │                                                       ^^^
          │
          = hint: define it under `upstreams:`

    "#]]
    .assert_eq(&render_text(&diagnostics, Colour::Never));
}

#[test]
fn only_what_is_forwarded_has_timeouts() {
    check(
        r#"
listeners: [{address: "0.0.0.0:80"}]
hosts: {"*": {/a: {respond: {status: 200}, timeout: {request: 5s}}}}
"#,
        expect![[r#"
            error: only a route with `to` has timeouts
              ┌─ ringway.yaml:3:44
              │
            3 │ hosts: {"*": {/a: {respond: {status: 200}, timeout: {request: 5s}}}}
              │                                            ^^^^^^^

        "#]],
    );
}

#[test]
fn ports_that_the_system_chooses_do_not_overlap() {
    check(
        r#"
settings: {admin: "127.0.0.1:0"}
listeners: [{address: "127.0.0.1:0"}, {address: "0.0.0.0:0"}]
hosts: {"*": {/*: {respond: {status: 200}}}}
"#,
        expect![""],
    );
}
