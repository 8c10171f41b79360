//! What is said about mistakes: at least one test for each class.

use expect_test::{Expect, expect};

use super::{World, document, said};
use crate::config::{Class, Colour, compile, render_json, render_text};

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&said(text));
}

#[test]
fn a_rate_without_unit_is_refused() {
    check(
        "limits:\n  per_application: {rate: 100, burst: 200}\n",
        expect![[r#"
        error: rate is not a number per unit of time
          ┌─ ringway.yaml:2:27
          │
        2 │   per_application: {rate: 100, burst: 200}
          │                           ^^^ write 100/s, 100/m, 100/h or 100/d

    "#]],
    );
}

#[test]
fn all_mistakes_are_said_at_once() {
    check(
        "
listener: []
limits:
  a: {rate: 100, burts: 2}
hosts:
  api.example.com:
    /a/*: {to: orders, chian: x}
    /b: {to: ordres}
    orders/x: {to: orders}
upstreams:
  orders: {endpoints: [10.0.0.1, 10.0.0.1:80], health: {path: /x}}
",
        expect![[r#"
            error: there is no section `listener`
              ┌─ ringway.yaml:2:1
              │
            2 │ listener: []
              │ ^^^^^^^^ did you mean `listeners`?

            error: rate is not a number per unit of time
              ┌─ ringway.yaml:4:13
              │
            4 │   a: {rate: 100, burts: 2}
              │             ^^^ write 100/s, 100/m, 100/h or 100/d

            error: there is no key `burts` here
              ┌─ ringway.yaml:4:18
              │
            4 │   a: {rate: 100, burts: 2}
              │                  ^^^^^ did you mean `burst`?

            error: there is no key `chian` here
              ┌─ ringway.yaml:7:24
              │
            7 │     /a/*: {to: orders, chian: x}
              │                        ^^^^^ did you mean `chain`?

            error: there is no upstream `ordres`
              ┌─ ringway.yaml:8:14
              │
            8 │     /b: {to: ordres}
              │              ^^^^^^ did you mean `orders`?

            error: a path begins with `/`
              ┌─ ringway.yaml:9:5
              │
            9 │     orders/x: {to: orders}
              │     ^^^^^^^^
              │
              = hint: or with `~` for an expression; methods stand before it: `GET /path`

            error: not an endpoint
               ┌─ ringway.yaml:11:24
               │
            11 │   orders: {endpoints: [10.0.0.1, 10.0.0.1:80], health: {path: /x}}
               │                        ^^^^^^^^ write 10.0.0.11:8080 or orders.internal:8080

            error: `health` is not available yet
               ┌─ ringway.yaml:11:56
               │
            11 │   orders: {endpoints: [10.0.0.1, 10.0.0.1:80], health: {path: /x}}
               │                                                        ^^^^^^^^^^
               │
               = hint: Active health checks: a later version; leave it out

        "#]],
    );
}

#[test]
fn what_is_not_yaml_is_refused_where_it_breaks() {
    check(
        "hosts: {a: [1, 2}\n",
        expect![[r#"
            error: not YAML: while parsing a flow sequence, expected ',' or ']'
              ┌─ ringway.yaml:1:17
              │
            1 │ hosts: {a: [1, 2}
              │                 ^
              │
              = hint: close the bracket or brace that was opened before

        "#]],
    );
    check(
        "a: 1\n---\nb: 2\n",
        expect![[r#"
        error: a second document begins here
          ┌─ ringway.yaml:2:1
          │
        2 │ ---
          │ ^^^
          │
          = hint: use one file for each document

    "#]],
    );
    check(
        "limits: !!map {}\n",
        expect![[r#"
        error: tags are refused
          ┌─ ringway.yaml:1:9
          │
        1 │ limits: !!map {}
          │         ^^^^^^^
          │
          = hint: leave the tag out: the key says what type its value has

    "#]],
    );
}

#[test]
fn merge_keys_are_refused_and_aliases_are_not() {
    check(
        "upstreams:\n  a: &a {endpoints: [10.0.0.1:80]}\n  b: *a\n  c: {<<: *a}\n",
        expect![[r#"
        error: merge keys are refused
          ┌─ ringway.yaml:4:7
          │
        4 │   c: {<<: *a}
          │       ^^
          │
          = hint: an alias may stand for a whole value; to share policies, name a chain

    "#]],
    );
}

#[test]
fn aliases_that_expand_without_end_are_refused() {
    let mut text = String::from("hosts:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let before = level - 1;
        text.push_str(&format!("  a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
    }
    let said = said(&text);
    assert!(said.starts_with("error: the aliases expand to too much"), "{said}");
    let deep = format!("hosts: {}1{}\n", "[".repeat(100), "]".repeat(100));
    assert!(super::said(&deep).starts_with("error: nested too deeply"));
}

#[test]
fn a_key_defined_twice_is_refused() {
    check(
        "limits:\n  a: {rate: 1/s}\n  a: {rate: 2/s}\nhosts:\n  A.example.com: {}\n  a.example.com: {}\n",
        expect![[r#"
            error: `a` is defined twice
              ┌─ ringway.yaml:3:3
              │
            2 │   a: {rate: 1/s}
              │   - first here
            3 │   a: {rate: 2/s}
              │   ^ again here
              │
              = hint: keep one of them

        "#]],
    );
}

#[test]
fn a_key_defined_in_two_files_names_both() {
    let documents = vec![
        document(
            "10-limits.yaml",
            "limits:\n  a: {rate: 1/s}\nhosts:\n  a.example.com:\n    /x: {respond: {}}\n",
        ),
        document(
            "20-more.yaml",
            "limits:\n  a: {rate: 2/s}\nhosts:\n  a.example.com:\n    /y: {respond: {}}\n    /x: {respond: {}}\n",
        ),
    ];
    let diagnostics = World::new(&[]).with(|environment| compile(documents, environment)).unwrap_err();
    expect![[r#"
        error: `limits.a` is defined twice
          ┌─ 20-more.yaml:2:3
          │
        2 │   a: {rate: 2/s}
          │   ^ again here
          │
          ┌─ 10-limits.yaml:2:3
          │
        2 │   a: {rate: 1/s}
          │   - first here
          │
          = hint: keep one of the two; files of one folder are merged by key

        error: `a.example.com /x` is defined twice
          ┌─ 20-more.yaml:6:5
          │
        6 │     /x: {respond: {}}
          │     ^^ again here
          │
          ┌─ 10-limits.yaml:5:5
          │
        5 │     /x: {respond: {}}
          │     -- first here
          │
          = hint: keep one of the two; files of one folder are merged by key

    "#]]
    .assert_eq(&render_text(&diagnostics, Colour::Never));
}

#[test]
fn an_unknown_key_is_refused_with_what_is_meant() {
    check(
        "upstreams:\n  a: {endpoints: [10.0.0.1:80], timeot: {request: 1s}, burst: 3, zzz: 1}\n",
        expect![[r#"
            error: there is no key `timeot` here
              ┌─ ringway.yaml:2:33
              │
            2 │   a: {endpoints: [10.0.0.1:80], timeot: {request: 1s}, burst: 3, zzz: 1}
              │                                 ^^^^^^ did you mean `timeout`?

            error: there is no key `burst` here
              ┌─ ringway.yaml:2:56
              │
            2 │   a: {endpoints: [10.0.0.1:80], timeot: {request: 1s}, burst: 3, zzz: 1}
              │                                                        ^^^^^
              │
              = hint: `burst` is a key of `limits.*`

            error: there is no key `zzz` here
              ┌─ ringway.yaml:2:66
              │
            2 │   a: {endpoints: [10.0.0.1:80], timeot: {request: 1s}, burst: 3, zzz: 1}
              │                                                                  ^^^
              │
              = hint: possible here: endpoints, protocol, tls, balance, timeout, pool

        "#]],
    );
}

#[test]
fn another_shape_than_the_keys_own_is_refused() {
    check(
        "upstreams: [a]\nlisteners: {address: x}\nlimits:\n  a: 100/s\n  b: {rate: [1/s]}\n",
        expect![[r#"
            error: `upstreams` is a map
              ┌─ ringway.yaml:1:12
              │
            1 │ upstreams: [a]
              │            ^^^

            error: `listeners` is a list
              ┌─ ringway.yaml:2:12
              │
            2 │ listeners: {address: x}
              │            ^^^^^^^^^^^^ for example: [{address: "0.0.0.0:8443", tls: default}]

            error: an entry of `limits` is a map
              ┌─ ringway.yaml:4:6
              │
            4 │   a: 100/s
              │      ^^^^^ for example: {rate: 100/s, burst: 200, by: application}

            error: `rate` is a single value
              ┌─ ringway.yaml:5:13
              │
            5 │   b: {rate: [1/s]}
              │             ^^^^^ for example: 100/s

        "#]],
    );
}

#[test]
fn a_required_key_is_asked_for() {
    check(
        "limits:\n  a: {burst: 3}\nlisteners:\n  - {tls: x}\n",
        expect![[r#"
        error: `rate` is missing
          ┌─ ringway.yaml:2:6
          │
        2 │   a: {burst: 3}
          │      ^^^^^^^^^^
          │
          = hint: Requests per unit of time. For example: rate: 100/s

        error: `address` is missing
          ┌─ ringway.yaml:4:5
          │
        4 │   - {tls: x}
          │     ^^^^^^^^
          │
          = hint: IP address and port. For example: address: "[::]:8443"

    "#]],
    );
}

#[test]
fn settings_are_checked_by_their_types() {
    check(
        r#"
settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
"#,
        expect![[r#"
            error: a duration has a unit
              ┌─ ringway.yaml:2:29
              │
            2 │ settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
              │                             ^^ write 10ms, 10s, 10m or 10h

            error: 40d is out of range
              ┌─ ringway.yaml:2:40
              │
            2 │ settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
              │                                        ^^^ write a value between 1ms and 31d

            error: not a size
              ┌─ ringway.yaml:2:59
              │
            2 │ settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
              │                                                           ^^^^ write a whole number and B, KiB, MiB or GiB: 64KiB
              │
              = hint: powers of ten (kB, MB) are refused, because half of the readers take them for powers of two

            error: a number stands without quotes
              ┌─ ringway.yaml:2:79
              │
            2 │ settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
              │                                                                               ^^^ write 5

            error: the address has bits beyond its prefix
              ┌─ ringway.yaml:2:94
              │
            2 │ settings: {timeouts: {head: 10, drain: 40d}, head: {size: 64kB}, connections: "5", trusted: [10.0.0.1/8]}
              │                                                                                              ^^^^^^^^^^ write 10.0.0.0/8

        "#]],
    );
}

#[test]
fn values_are_checked_by_their_types() {
    check(
        r#"
limits:
  a: {rate: 0/s, scope: nodes, by: user}
upstreams:
  a: {endpoints: ["http://10.0.0.1:80"], tls: {insecure: yes}}
applications: {x: {credentials: [{api_key: env:ACME_KEY, expires: tomorrow}]}}
"#,
        expect![[r#"
            error: a rate of zero lets nothing pass
              ┌─ ringway.yaml:3:13
              │
            3 │   a: {rate: 0/s, scope: nodes, by: user}
              │             ^^^ to refuse everything, answer with `respond`

            error: `nodes` is none of the possible words
              ┌─ ringway.yaml:3:25
              │
            3 │   a: {rate: 0/s, scope: nodes, by: user}
              │                         ^^^^^ did you mean node?

            error: not a key of a limit
              ┌─ ringway.yaml:3:36
              │
            3 │   a: {rate: 0/s, scope: nodes, by: user}
              │                                    ^^^^ write application, key, ip, ip/24/56, header:NAME, route or all

            error: an endpoint is an address, not a URL
              ┌─ ringway.yaml:5:19
              │
            5 │   a: {endpoints: ["http://10.0.0.1:80"], tls: {insecure: yes}}
              │                   ^^^^^^^^^^^^^^^^^^^^ write 10.0.0.1:80
              │
              = hint: TLS is a key of the upstream: tls: {}

            error: not a truth value
              ┌─ ringway.yaml:5:58
              │
            5 │   a: {endpoints: ["http://10.0.0.1:80"], tls: {insecure: yes}}
              │                                                          ^^^ write true

            error: not a date
              ┌─ ringway.yaml:6:67
              │
            6 │ applications: {x: {credentials: [{api_key: env:ACME_KEY, expires: tomorrow}]}}
              │                                                                   ^^^^^^^^ write 2027-01-31 or 2027-01-31T12:00:00Z

        "#]],
    );
}

#[test]
fn keys_of_routes_are_checked() {
    check(
        r#"
hosts:
  a.example.com:8080: {}
  b.example.com:
    /a//b: {respond: {}}
    /a/*/b: {respond: {}}
    /é: {respond: {}}
    /%41: {respond: {}}
    "~/[": {respond: {}}
    get /x: {respond: {}}
"#,
        expect![[r#"
            error: a host name has no port
              ┌─ ringway.yaml:3:3
              │
            3 │   a.example.com:8080: {}
              │   ^^^^^^^^^^^^^^^^^^ routes hold on every listener: leave the port out

            error: the path has an empty segment
              ┌─ ringway.yaml:5:5
              │
            5 │     /a//b: {respond: {}}
              │     ^^^^^ write one `/`

            error: `*` stands only at the end, as `/*`
              ┌─ ringway.yaml:6:5
              │
            6 │     /a/*/b: {respond: {}}
              │     ^^^^^^
              │
              = hint: one segment of any name is `{name}`; anything else is an expression after `~`

            error: `é` cannot stand in a path
              ┌─ ringway.yaml:7:5
              │
            7 │     /é: {respond: {}}
              │     ^^ write `%C3%A9`

            error: paths are normalised before they are matched
              ┌─ ringway.yaml:8:5
              │
            8 │     /%41: {respond: {}}
              │     ^^^^ write `A`

            error: the path is not a regular expression
              ┌─ ringway.yaml:9:5
              │
            9 │     "~/[": {respond: {}}
              │     ^^^^^ unclosed character class

            error: methods are upper case: `get`
               ┌─ ringway.yaml:10:5
               │
            10 │     get /x: {respond: {}}
               │     ^^^^^^ write GET

        "#]],
    );
}

#[test]
fn what_is_not_available_yet_is_refused_and_never_ignored() {
    check(
        r#"
upstreams: {a: {endpoints: [10.0.0.1:80], balance: maglev, retry: {attempts: 2}}}
limits: {a: {rate: 1/s, scope: cluster, by: "claim:sub"}}
"#,
        expect![[r#"
            error: `maglev` is not available yet
              ┌─ ringway.yaml:2:52
              │
            2 │ upstreams: {a: {endpoints: [10.0.0.1:80], balance: maglev, retry: {attempts: 2}}}
              │                                                    ^^^^^^ this version knows least_request, round_robin or random

            error: `retry` is not available yet
              ┌─ ringway.yaml:2:67
              │
            2 │ upstreams: {a: {endpoints: [10.0.0.1:80], balance: maglev, retry: {attempts: 2}}}
              │                                                                   ^^^^^^^^^^^^^
              │
              = hint: Retry policies; a failed connect and a stale connection are retried once in any case: a later version; leave it out

            error: `cluster` is not available yet
              ┌─ ringway.yaml:3:32
              │
            3 │ limits: {a: {rate: 1/s, scope: cluster, by: "claim:sub"}}
              │                                ^^^^^^^ this version knows node or core

            error: `claim:` is not available yet
              ┌─ ringway.yaml:3:45
              │
            3 │ limits: {a: {rate: 1/s, scope: cluster, by: "claim:sub"}}
              │                                             ^^^^^^^^^^^

        "#]],
    );
}

#[test]
fn policies_and_splits_of_later_versions_are_refused() {
    check(
        r#"
upstreams: {a: {endpoints: [10.0.0.1:80]}}
authenticators: {a: {jwt: {issuer: x}}}
chains: {a: [{cors: {}}]}
hosts: {a.example.com: {/x: {to: [{upstream: a, weight: 3}], sticky: {cookie: x}}}}
"#,
        expect![[r#"
            error: `jwt` is not available yet
              ┌─ ringway.yaml:3:27
              │
            3 │ authenticators: {a: {jwt: {issuer: x}}}
              │                           ^^^^^^^^^^^
              │
              = hint: JSON Web Tokens: a later version; leave it out

            error: `cors` is not available yet
              ┌─ ringway.yaml:4:21
              │
            4 │ chains: {a: [{cors: {}}]}
              │                     ^^
              │
              = hint: Cross-origin requests: a later version; leave it out

            error: splitting by weight is not available yet
              ┌─ ringway.yaml:5:34
              │
            5 │ hosts: {a.example.com: {/x: {to: [{upstream: a, weight: 3}], sticky: {cookie: x}}}}
              │                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^ name one upstream

            error: `sticky` is not available yet
              ┌─ ringway.yaml:5:70
              │
            5 │ hosts: {a.example.com: {/x: {to: [{upstream: a, weight: 3}], sticky: {cookie: x}}}}
              │                                                                      ^^^^^^^^^^^
              │
              = hint: Sticky splitting: a later version; leave it out

        "#]],
    );
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_shown() {
    check(
        "applications:\n  acme: {credentials: [{api_key: rw_live_supersecret0}]}\n",
        expect![[r#"
        error: a secret stands in the file itself
          ┌─ ringway.yaml:2:34
          │
        2 │   acme: {credentials: [{api_key: ********************}]}
          │                                  ^^^^^^^^^^^^^^^^^^^^ write file:PATH or env:NAME
          │
          = hint: whoever reads this file, its backups or its history has the secret: replace it by a new one

    "#]],
    );
}

#[test]
fn what_is_referred_to_must_be_readable() {
    check(
        "tls:\n  a: {certificates: [{chain: file:nothing.pem, key: file:keys/acme}], client_ca: env:NOTHING}\n",
        expect![[r#"
            error: certificates cannot be read from `file:nothing.pem`
              ┌─ ringway.yaml:2:30
              │
            2 │   a: {certificates: [{chain: file:nothing.pem, key: file:keys/acme}], client_ca: env:NOTHING}
              │                              ^^^^^^^^^^^^^^^^ no such file

            error: the private key cannot be read from `file:keys/acme`
              ┌─ ringway.yaml:2:53
              │
            2 │   a: {certificates: [{chain: file:nothing.pem, key: file:keys/acme}], client_ca: env:NOTHING}
              │                                                     ^^^^^^^^^^^^^^ there is no PEM section PRIVATE KEY in it

            error: `client_ca` has no effect: client certificates are not asked for
              ┌─ ringway.yaml:2:71
              │
            2 │   a: {certificates: [{chain: file:nothing.pem, key: file:keys/acme}], client_ca: env:NOTHING}
              │                                                                       ^^^^^^^^^
              │
              = hint: write client: optional or client: require

            error: certificates cannot be read from `env:NOTHING`
              ┌─ ringway.yaml:2:82
              │
            2 │   a: {certificates: [{chain: file:nothing.pem, key: file:keys/acme}], client_ca: env:NOTHING}
              │                                                                                  ^^^^^^^^^^^ the variable NOTHING is not set

        "#]],
    );
}

#[test]
fn json_has_the_place_of_each_mistake() {
    let diagnostics = super::compile_text("limits:\n  ä: {rate: 1/s}\n  b: {rate: 7}\n").unwrap_err();
    expect![[r#"
        [
          {
            "severity": "error",
            "class": "bad_value",
            "message": "`ä` is not a name",
            "file": "ringway.yaml",
            "line": 2,
            "column": 3,
            "label": "letters, digits, `_`, `-` and `.`, at most 128",
            "hint": null,
            "related": []
          },
          {
            "severity": "error",
            "class": "bad_value",
            "message": "rate is not a number per unit of time",
            "file": "ringway.yaml",
            "line": 3,
            "column": 13,
            "label": "write 7/s, 7/m, 7/h or 7/d",
            "hint": null,
            "related": []
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&render_json(&diagnostics)).unwrap());
}

#[test]
fn every_class_has_its_own_word() {
    let words: std::collections::BTreeSet<&str> = Class::ALL.iter().map(|class| class.word()).collect();
    assert_eq!(words.len(), Class::ALL.len());
}

#[test]
fn a_document_with_nothing_in_it_was_cut_short() {
    for text in ["", " \n\n", "\u{feff}\n"] {
        assert!(
            said(text).contains("ringway.yaml:1:1") && said(text).contains("the document is empty"),
            "{text:?}"
        );
    }
    assert_eq!(said("# nothing yet\n"), "");
}

#[test]
fn mistakes_beside_a_secret_literal_have_places_too() {
    check(
        "upstreams: {a: {endpoints: []}}\napplications: {acme: {credentials: [{api_key: a-literal-secret}]}}\n",
        expect![[r#"
            error: an upstream has at least one endpoint
              ┌─ ringway.yaml:1:28
              │
            1 │ upstreams: {a: {endpoints: []}}
              │                            ^^ add one

            error: a secret stands in the file itself
              ┌─ ringway.yaml:2:47
              │
            2 │ applications: {acme: {credentials: [{api_key: ****************}]}}
              │                                               ^^^^^^^^^^^^^^^^ write file:PATH or env:NAME
              │
              = hint: whoever reads this file, its backups or its history has the secret: replace it by a new one

        "#]],
    );
}

#[test]
fn a_byte_order_mark_is_no_column() {
    assert!(said("\u{feff}versio: 1\n").contains("ringway.yaml:1:1"));
}

#[test]
fn of_a_long_line_what_is_around_the_mistake_is_shown() {
    let routes: Vec<String> = (0..1000).map(|n| format!("/p{n}: {{respond: {{}}}}")).collect();
    check(
        &format!(
            "hosts: {{\"*\": {{{}, /wrong: {{bad: 1}}, {}}}}}\n",
            routes.join(", "),
            routes.join(", ").replace("/p", "/q")
        ),
        expect![[r#"
            error: the route does nothing
              ┌─ ringway.yaml:1:21905
              │
            1 │ … {respond: {}}, /p998: {respond: {}}, /p999: {respond: {}}, /wrong: {bad: 1}, /q0: {respond: {}}, /q1: {respond: {}}, /q2: {respond: {}}, /q3: {respond: {}}, /q4: {respond: {}}, /q5: {respond: {}}, /q6: {respond: {}}, /q7: {respond: {}}, /q…
              │                                                              ^^^^^^
              │
              = hint: a route has exactly one of `to`, `redirect` and `respond`

            error: there is no key `bad` here
              ┌─ ringway.yaml:1:21914
              │
            1 │ …: {}}, /p998: {respond: {}}, /p999: {respond: {}}, /wrong: {bad: 1}, /q0: {respond: {}}, /q1: {respond: {}}, /q2: {respond: {}}, /q3: {respond: {}}, /q4: {respond: {}}, /q5: {respond: {}}, /q6: {respond: {}}, /q7: {respond: {}}, /q8: {respo…
              │                                                              ^^^
              │
              = hint: possible here: match, chain, to, redirect, respond, rewrite, websocket, grpc_web, encoded_slash, body, timeout

        "#]],
    );
    assert!(said(&format!("hosts: {}\n", "a".repeat(1 << 20))).len() < 2048);
}

#[test]
fn a_terminal_carries_out_nothing_that_a_document_says() {
    for text in [
        "versio: 1 # \u{1b}]0;title\u{7}\n",
        "\"versi\\eo\\x9b\": 1\n",
        "versio: 1 # \u{9b}1m \u{202e}x\n",
        "upstreams: {one: {endpoints: [\"\\e]0;x\\a\"]}}\n",
    ] {
        let said = said(text);
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{said:?}");
    }
}

#[test]
fn what_is_no_yaml_has_a_way_out() {
    for (text, way) in [
        ("a:\n\t- b\n", "indent with spaces"),
        ("a: *b\n", "an alias stands after its anchor"),
        ("a: \"b\n", "close the quote"),
        ("a: {b: [1, 2}\n", "close the bracket"),
        ("a: {b: c}}\n", "hint: "),
        ("a:\n  - b\n c: d\n", "indented alike"),
    ] {
        assert!(said(text).contains(way), "{text:?}: {}", said(text));
    }
}

#[test]
fn an_address_that_stands_twice_points_at_both() {
    check(
        "listeners:\n  - {address: \"127.0.0.1:80\"}\n  - {address: \"127.0.0.1:80\"}\n",
        expect![[r#"
        error: `listeners.127.0.0.1:80` is defined twice
          ┌─ ringway.yaml:3:5
          │
        2 │   - {address: "127.0.0.1:80"}
          │     ------------------------- first here
        3 │   - {address: "127.0.0.1:80"}
          │     ^^^^^^^^^^^^^^^^^^^^^^^^^ again here
          │
          = hint: keep one of the two; files of one folder are merged by key

    "#]],
    );
}
