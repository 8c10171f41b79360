//! What is said about mistakes: one test for each class.

use expect_test::{Expect, expect};

use super::said;

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
