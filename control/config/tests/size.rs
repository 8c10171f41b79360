//! How long many routes take. The figures are printed; what is asserted holds on any machine.

use std::fmt::Write as _;
use std::time::Instant;

use super::{World, document};
use crate::compile::from_definitions;
use crate::config::{compile, diff, export};

/// A document with hosts of ten routes each.
fn many(hosts: usize) -> String {
    let mut text = String::from("upstreams: {orders: {endpoints: [10.0.0.1:80]}}\nhosts:\n");
    for host in 0..hosts {
        let _ = writeln!(text, "  h{host}.example.com:");
        for route in 0..10 {
            let _ = writeln!(text, "    /orders/v{route}/*: {{to: orders, rewrite: {{prefix: /v{route}}}}}");
        }
    }
    text
}

#[test]
#[expect(clippy::print_stderr, reason = "a release run prints the figures that docs/performance.md quotes")]
fn many_routes_compile_alike_from_yaml_and_from_definitions() {
    // The release build measures a million: `cargo nextest run --release`.
    let hosts = if cfg!(debug_assertions) { 300 } else { 100_000 };
    let text = many(hosts);
    World::new(&[]).with(|environment| {
        let start = Instant::now();
        let compiled = compile(vec![document("a.yaml", &text)], environment).unwrap();
        let from_yaml = start.elapsed();
        let start = Instant::now();
        let (model, _, _) = from_definitions(&compiled.definitions, environment).unwrap();
        let from_definitions = start.elapsed();
        assert_eq!(model.hosts.len(), hosts);
        assert!(model == compiled.model);
        let start = Instant::now();
        let exported = export(&compiled.definitions);
        let exporting = start.elapsed();
        assert!(exported.len() > text.len() / 2);
        let start = Instant::now();
        assert!(diff(&compiled.definitions, &compiled.definitions).is_empty());
        let comparing = start.elapsed();
        eprintln!(
            "{} routes, {} bytes of YAML: compile {from_yaml:?}, from definitions {from_definitions:?}, export {exporting:?}, diff {comparing:?}",
            hosts * 10,
            text.len()
        );
    });
}
