//! What must hold of a model before it is laid out.

use std::collections::HashSet;

use crate::builder::BuildError;
use crate::id;
use crate::limits::{HOST_BYTES_MAX, HOST_REGEXES_MAX, PATH_SEGMENTS_MAX};
use crate::model::{Host, HostPattern, Model, PathPattern, Route, Segment};

/// Checks names, paths, ids and identities. Indices of small sections are checked where those of a file are.
pub(crate) fn model(model: &Model) -> Result<(), BuildError> {
    let chains = model.chains.len().max(1);
    let mut names = HashSet::new();
    for host in &model.hosts {
        self::host(host)?;
        let wildcard = matches!(host.pattern, HostPattern::Wildcard(_));
        if !names.insert((wildcard, text(&host.pattern))) {
            return Err(BuildError::DuplicateHost(display(&host.pattern)));
        }
        for route in &host.routes {
            path(host, route)?;
            if route.chain as usize >= chains {
                return Err(bad("route", &route.name, "names a chain that does not exist"));
            }
            let empty = route.methods.iter().any(String::is_empty);
            let conditions = || route.headers.iter().chain(&route.query);
            if empty || conditions().any(|one| one.name.is_empty()) {
                return Err(bad("route", &route.name, "has a method or a condition without a name"));
            }
        }
        let regex = |route: &&Route| matches!(route.path, PathPattern::Regex(_));
        if host.routes.iter().filter(regex).count() > usize::from(HOST_REGEXES_MAX) {
            let host = display(&host.pattern);
            return Err(BuildError::TooManyExpressions { host, max: HOST_REGEXES_MAX });
        }
    }
    route_ids(model)?;
    named_ids("upstreams", model.upstreams.iter().map(|one| (one.id, one.name.as_str())))?;
    named_ids("limits", model.limits.iter().map(|one| (one.id, one.name.as_str())))?;
    identities(model)
}

/// The pattern as a definition writes it.
fn display(pattern: &HostPattern) -> String {
    match pattern {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
        HostPattern::Any => "*".to_owned(),
    }
}

fn text(pattern: &HostPattern) -> &str {
    match pattern {
        HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
        // No name is empty, so this is no other's.
        HostPattern::Any => "",
    }
}

fn bad(kind: &'static str, name: &str, what: &'static str) -> BuildError {
    BuildError::Bad { kind, name: name.to_owned(), what }
}

fn host(host: &Host) -> Result<(), BuildError> {
    let name = match &host.pattern {
        HostPattern::Any => return Ok(()),
        HostPattern::Exact(name) | HostPattern::Wildcard(name) => name,
    };
    let never =
        |byte: u8| byte <= b' ' || byte >= 0x7f || byte.is_ascii_uppercase() || b"/*?#@".contains(&byte);
    let fine = !name.is_empty()
        && name.len() <= HOST_BYTES_MAX
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.bytes().any(never);
    if fine { Ok(()) } else { Err(BuildError::BadHost(name.clone())) }
}

fn path(host: &Host, route: &Route) -> Result<(), BuildError> {
    // NUL stands for a variable in a template's shape, and no request has it in its path.
    let clean = |text: &str| !text.contains('\0');
    let fine = match &route.path {
        PathPattern::Exact(text) => (text.starts_with('/') || text == "*") && clean(text),
        PathPattern::Prefix(text) => (text.is_empty() || text.starts_with('/')) && clean(text),
        PathPattern::Template { segments, .. } => {
            let literal = |segment: &Segment| match segment {
                Segment::Literal(text) => clean(text) && !text.contains('/'),
                Segment::Variable(name) => !name.is_empty(),
            };
            segments.iter().all(literal) && !segments.is_empty()
        }
        PathPattern::Regex(_) => true,
    };
    let (host, name) = (|| display(&host.pattern), || route.name.clone());
    if !fine {
        return Err(BuildError::BadPath { host: host(), route: name() });
    }
    let depth = match &route.path {
        PathPattern::Exact(_) | PathPattern::Regex(_) => 0,
        PathPattern::Prefix(text) => text.bytes().filter(|byte| *byte == b'/').count(),
        PathPattern::Template { segments, .. } => segments.len(),
    };
    if depth > usize::from(PATH_SEGMENTS_MAX) {
        return Err(BuildError::TooDeep { host: host(), route: name(), max: PATH_SEGMENTS_MAX });
    }
    Ok(())
}

/// No two routes share an id; two that match the same requests would.
fn route_ids(model: &Model) -> Result<(), BuildError> {
    let mut ids: Vec<(u64, u32, u32)> = Vec::new();
    for (at, host) in model.hosts.iter().enumerate() {
        ids.extend(host.routes.iter().enumerate().map(|(route, row)| (row.id, at as u32, route as u32)));
    }
    ids.sort_unstable();
    for pair in ids.windows(2) {
        let [first, second] = pair else { continue };
        if first.0 != second.0 {
            continue;
        }
        let look = |(_, host, route): &(u64, u32, u32)| {
            let host = model.hosts.get(*host as usize)?;
            Some((host, host.routes.get(*route as usize)?))
        };
        let (Some((host, one)), Some((other_host, other))) = (look(first), look(second)) else { continue };
        // Routes are named with their host: the same path stands in many.
        return Err(if id::canonical(&host.pattern, one) == id::canonical(&other_host.pattern, other) {
            BuildError::DuplicateRoute {
                host: display(&host.pattern),
                first: one.name.clone(),
                second: other.name.clone(),
            }
        } else {
            BuildError::IdCollision {
                kind: "routes",
                first: format!("{} {}", display(&host.pattern), one.name),
                second: format!("{} {}", display(&other_host.pattern), other.name),
            }
        });
    }
    Ok(())
}

fn named_ids<'a>(kind: &'static str, ids: impl Iterator<Item = (u64, &'a str)>) -> Result<(), BuildError> {
    let mut ids: Vec<(u64, &str)> = ids.collect();
    ids.sort_unstable();
    for pair in ids.windows(2) {
        if let [first, second] = pair
            && first.0 == second.0
        {
            let (first, second) = (first.1.to_owned(), second.1.to_owned());
            return Err(BuildError::IdCollision { kind, first, second });
        }
    }
    Ok(())
}

fn identities(model: &Model) -> Result<(), BuildError> {
    let (mut applications, mut credentials, mut digests) = (HashSet::new(), HashSet::new(), HashSet::new());
    for application in &model.applications {
        let twice = |kind| BuildError::DuplicateIdentity { kind, application: application.name.clone() };
        if !applications.insert(application.id) {
            return Err(twice("the id"));
        }
        for credential in &application.credentials {
            if !credentials.insert(credential.id) {
                return Err(twice("a credential's id"));
            }
            if !digests.insert(&credential.digest) {
                return Err(twice("a credential"));
            }
        }
    }
    Ok(())
}
