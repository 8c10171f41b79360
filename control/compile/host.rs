//! Hosts: the biggest section. No default is looked up and no place is made for what is right.

use std::collections::HashMap;

use ringway_snapshot::model::{Host, PathPolicy};

use super::route::Routes;
use super::{Compiler, damaged, shadow};
use crate::config::path::parse_host;
use crate::config::{Kind, Value};

/// Compiles `hosts:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    let mut inline = HashMap::new();
    let definitions = compiler.definitions;
    for (name, resource) in definitions.of_kind(Kind::Host) {
        let value = match resource.value() {
            Ok(value) => value,
            Err(error) => {
                compiler.found.push(damaged(Kind::Host, name, &error.to_string()));
                continue;
            }
        };
        let Ok(pattern) = parse_host(name) else {
            compiler.found.push(damaged(Kind::Host, name, "not a host name"));
            continue;
        };
        let mut routes = Routes::new(compiler, name, &pattern, &mut inline);
        let mut path_policy = PathPolicy::Strict;
        let Value::Map(entries) = value else { continue };
        for (key, value) in entries {
            match (key.as_str(), &value) {
                ("path_policy", Value::Text(text)) => path_policy = policy(text),
                _ => routes.add(&key, value),
            }
        }
        let routes = routes.finish();
        shadow::check(name, &routes, &mut compiler.found);
        let routes = routes.into_iter().map(|(route, _)| route).collect();
        compiler.model.hosts.push(Host { pattern, path_policy, routes });
    }
}

fn policy(text: &str) -> PathPolicy {
    match text {
        "merge" => PathPolicy::Merge,
        "as_is" => PathPolicy::AsIs,
        _ => PathPolicy::Strict,
    }
}
