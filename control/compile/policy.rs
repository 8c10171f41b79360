//! Authenticators, limits and chains.

use std::collections::{BTreeMap, HashMap, HashSet};

use ringway_policy::headers::check_edit;
use ringway_policy::limits::{CHAIN_LIMITS_MAX, CHALLENGES_MAX};
use ringway_policy::stage::Stage;
use ringway_snapshot::id;
use ringway_snapshot::model::{
    Authenticator, AuthenticatorKind, Chain, CredentialPlace, FieldEdit, Limit, LimitKey, LimitScope, Mode,
    OnMissing, Policy, Step,
};

use super::endpoint::collision;
use super::view::View;
use super::{Compiler, empty_chain};
use crate::config::scalar::{parse_ip_key, parse_rate};
use crate::config::{Class, Diagnostic, Kind, Place, Value};

/// Compiles `authenticators:`, `limits:` and `chains:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    authenticators(compiler);
    limits(compiler);
    compiler.model.chains.push(empty_chain());
    for (name, value) in compiler.resources(Kind::Chain) {
        let place = Place::new(Kind::Chain, name);
        let steps = steps(compiler, &value, &place);
        compiler.model.chains.push(Chain { name: name.to_owned(), steps });
    }
}

fn authenticators(compiler: &mut Compiler<'_>) {
    for (name, value) in compiler.resources(Kind::Authenticator) {
        if value.entries().is_empty() {
            let diagnostic = Diagnostic::error(
                Class::MissingKey,
                Place::new(Kind::Authenticator, name),
                "`api_key` is missing",
            );
            compiler.found.push(diagnostic.hint("for example: {api_key: {in: header, name: X-API-Key}}"));
        }
        let view = View::new("authenticators.*", &value).at("api_key");
        let place = Place::new(Kind::Authenticator, name).key("api_key");
        let (kind, written) = (view.at("in").text(), view.at("name").written());
        if written.is_none() && kind != "header" {
            let message = format!("`name` is missing: which {kind} holds the key");
            compiler.found.push(Diagnostic::error(Class::MissingKey, place.clone(), message));
        }
        let field = written.unwrap_or("X-API-Key").to_owned();
        let location = match kind {
            "query" => CredentialPlace::Query(field),
            "cookie" => CredentialPlace::Cookie(field),
            _ => CredentialPlace::Header(field.to_ascii_lowercase()),
        };
        let kind = AuthenticatorKind::ApiKey { place: location, hide: view.at("hide").bool() };
        let authenticator = Authenticator { name: name.to_owned(), kind };
        if let Err(error) = ringway_policy::api_key::Authenticator::prepare(&authenticator) {
            compiler.found.push(refused(place.key("name"), &error).hint(error.hint()));
        }
        compiler.model.authenticators.push(authenticator);
    }
}

/// What the policy itself refuses, in its own words.
pub(super) fn refused(place: Place, error: &dyn std::error::Error) -> Diagnostic {
    let reason = error.source().map(ToString::to_string).unwrap_or_default();
    Diagnostic::error(Class::BadValue, place, error.to_string()).saying(reason)
}

fn limits(compiler: &mut Compiler<'_>) {
    let mut ids: HashMap<u64, &str> = HashMap::new();
    for (name, value) in compiler.resources(Kind::Limit) {
        let view = View::new("limits.*", &value);
        let place = Place::new(Kind::Limit, name);
        let id = id::limit(name).0;
        if let Some(other) = ids.insert(id, name) {
            compiler.found.push(collision(&place, other));
        }
        let (count, per_ms) = parse_rate(view.at("rate").text()).unwrap_or((1, 1000));
        let limit = Limit {
            name: name.to_owned(),
            id,
            count,
            per_ms,
            burst: view.at("burst").value().map_or(count, |_| view.at("burst").integer()),
            by: limit_key(view.at("by").text()),
            on_missing: match view.at("on_missing").text() {
                "reject" => OnMissing::Reject,
                "skip" => OnMissing::Skip,
                _ => OnMissing::Ip,
            },
            scope: if view.at("scope").text() == "core" { LimitScope::Core } else { LimitScope::Node },
        };
        if let Err(error) = ringway_policy::limit::Limit::prepare(&limit, 1) {
            let key =
                if matches!(error, ringway_policy::limit::LimitError::Field(_)) { "by" } else { "rate" };
            compiler.found.push(refused(place.key(key), &error));
        }
        compiler.model.limits.push(limit);
    }
}

fn limit_key(text: &str) -> LimitKey {
    match text {
        "key" => LimitKey::Credential,
        "route" => LimitKey::Route,
        "all" => LimitKey::All,
        _ => match (text.strip_prefix("header:"), parse_ip_key(text)) {
            (Some(field), _) => LimitKey::Header(field.to_ascii_lowercase()),
            (None, Some((v4_bits, v6_bits))) => LimitKey::Ip { v4_bits, v6_bits },
            _ => LimitKey::Application,
        },
    }
}

/// The steps of a chain, in the order of the stage table.
pub(super) fn steps(compiler: &mut Compiler<'_>, value: &Value, place: &Place) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for (index, step) in value.elements().iter().enumerate() {
        let at = place.clone().index(index);
        let Some(step) = one_step(compiler, step, &at) else { continue };
        let stage = Stage::of(&step.policy);
        if let Some(last) = out.last().map(|last| Stage::of(&last.policy)).filter(|last| *last > stage) {
            let message = format!("`{}` runs before `{}`, wherever it is written", stage.name(), last.name());
            let diagnostic = Diagnostic::warning(Class::Conflict, at, message);
            compiler.found.push(
                diagnostic
                    .hint("stages have a fixed order; write the chain in it, so that it reads as it runs"),
            );
        }
        out.push(step);
    }
    let limits = out.iter().filter(|step| matches!(step.policy, Policy::Limit(_)) && step.mode != Mode::Off);
    if limits.count() > CHAIN_LIMITS_MAX {
        let message = format!("a chain has at most {CHAIN_LIMITS_MAX} limits");
        compiler.found.push(Diagnostic::error(Class::Conflict, place.clone(), message));
    }
    out.sort_by_key(|step| Stage::of(&step.policy));
    out
}

fn one_step(compiler: &mut Compiler<'_>, value: &Value, place: &Place) -> Option<Step> {
    let view = View::new("chains.*[]", value);
    let mode = match view.at("mode").text() {
        "shadow" => Mode::Shadow,
        "off" => Mode::Off,
        _ => Mode::Enforce,
    };
    let known = ["authenticate", "limit", "headers"];
    let keys = || value.entries().iter().map(|(key, _)| key.as_str());
    let written: Vec<&str> = keys().filter(|key| known.contains(key)).collect();
    let policy = match written.as_slice() {
        ["authenticate"] => {
            let value = view.at("authenticate").value()?;
            authenticate(compiler, value, &place.clone().key("authenticate"))?
        }
        ["limit"] => {
            let name = view.at("limit").written()?;
            Policy::Limit(compiler.find(Kind::Limit, name, || place.clone().key("limit"))?)
        }
        ["headers"] => {
            let headers = view.at("headers").value()?;
            let place = place.clone().key("headers");
            let mut edits = |side: &str| edits(compiler, headers.find(side), &place.clone().key(side));
            Policy::Headers { request: edits("request"), response: edits("response") }
        }
        // A step that was refused before comes as an empty map, or with a key that is not available yet.
        [] if keys().all(|key| key != "mode") => return None,
        [] => {
            let diagnostic =
                Diagnostic::error(Class::MissingKey, place.clone(), "a step has a policy beside its mode");
            compiler.found.push(diagnostic.hint("authenticate, limit or headers"));
            return None;
        }
        several => {
            let message = format!("a step has one policy, not {}", several.len());
            let diagnostic = Diagnostic::error(Class::Conflict, place.clone(), message);
            compiler.found.push(diagnostic.hint("write each as a step of its own: `- {…}`"));
            return None;
        }
    };
    Some(Step { mode, policy })
}

fn authenticate(compiler: &mut Compiler<'_>, value: &Value, place: &Place) -> Option<Policy> {
    let applications = allowed(compiler, value, &place.clone().key("applications"));
    let (names, place) = match value.find("any_of") {
        Some(names) => (names, place.clone().key("any_of")),
        None => (value, place.clone()),
    };
    let any_of = named(compiler, Kind::Authenticator, names, &place);
    if any_of.len() > CHALLENGES_MAX {
        let message = format!("a step has at most {CHALLENGES_MAX} authenticators");
        compiler.found.push(Diagnostic::error(Class::Conflict, place.clone(), message));
    }
    if any_of.is_empty() && names.elements().is_empty() {
        let message = "nobody could pass: there is no authenticator";
        compiler.found.push(Diagnostic::error(Class::BadValue, place, message).saying("name at least one"));
    }
    Some(Policy::Authenticate { any_of, applications })
}

/// The applications that may pass, ascending; none where all may.
fn allowed(compiler: &mut Compiler<'_>, value: &Value, place: &Place) -> Vec<u32> {
    let Some(names) = value.find("applications") else { return Vec::new() };
    let mut applications = named(compiler, Kind::Application, names, place);
    if names.elements().is_empty() {
        let message = "nobody could pass: there is no application";
        let diagnostic = Diagnostic::error(Class::BadValue, place.clone(), message);
        compiler
            .found
            .push(diagnostic.saying("name at least one, or leave the key out to let all of them pass"));
    }
    applications.sort_unstable();
    applications
}

/// What a list of names refers to, in its order.
fn named(compiler: &mut Compiler<'_>, kind: Kind, names: &Value, place: &Place) -> Vec<u32> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for (index, name) in names.elements().iter().enumerate() {
        let Some(name) = name.text() else { continue };
        let Some(found) = compiler.find(kind, name, || place.clone().index(index)) else { continue };
        if seen.insert(found) {
            all.push(found);
        } else {
            let message = format!("`{name}` stands twice");
            compiler.found.push(Diagnostic::error(Class::Conflict, place.clone().index(index), message));
        }
    }
    all
}

/// Renames first, then removals, then what is set and added.
fn edits(compiler: &mut Compiler<'_>, value: Option<&Value>, place: &Place) -> Vec<FieldEdit> {
    let Some(value) = value else { return Vec::new() };
    let mut out = Vec::new();
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    for (operation, list) in value.entries() {
        let at = place.clone().key(operation);
        let entries: Vec<(&str, &str, Place)> = match list {
            Value::Map(entries) => entries
                .iter()
                .filter_map(|(k, v)| Some((k.as_str(), v.text()?, at.clone().key(k).as_key())))
                .collect(),
            list => {
                let named = |(index, v): (usize, &'_ Value)| v.text().map(|_| at.clone().index(index));
                let places: Vec<Option<Place>> = list.elements().iter().enumerate().map(named).collect();
                list.elements().iter().zip(places).filter_map(|(v, at)| Some((v.text()?, "", at?))).collect()
            }
        };
        for (name, value, at) in entries {
            let lower = name.to_ascii_lowercase();
            if let Some(before) = names.insert(lower.clone(), operation)
                && before != "remove"
                && operation != "append"
            {
                let message = format!("`{name}` stands under `{before}` and under `{operation}`");
                compiler
                    .found
                    .push(Diagnostic::error(Class::Conflict, at.clone(), message).saying("keep one of them"));
            }
            let edit = match operation.as_str() {
                "set" => FieldEdit::Set { name: lower, value: value.to_owned() },
                "append" => FieldEdit::Append { name: lower, value: value.to_owned() },
                "rename" => FieldEdit::Rename { from: lower, to: value.to_ascii_lowercase() },
                _ => FieldEdit::Remove { name: lower },
            };
            if let Err(error) = check_edit(&edit) {
                compiler.found.push(refused(at, &error).hint(error.hint()));
            }
            out.push(edit);
        }
    }
    out
}
