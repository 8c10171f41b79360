//! Routes of one host.

use std::collections::HashMap;

use ringway_policy::headers::check_edit;
use ringway_snapshot::id;
use ringway_snapshot::model::{
    Action, Chain, FieldEdit, FieldMatch, HostPattern, PathPattern, Rewrite, Route, RouteTimeout,
    UpstreamProtocol, ValueMatch,
};

use super::policy::{refused, steps};
use super::{Compiler, damaged};
use crate::config::path::RouteKey;
use crate::config::scalar::{parse_duration, parse_size};
use crate::config::{Class, Diagnostic, Kind, Place, Value};

/// Where a route stands: its key in the host, and its index where that key has a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// In the list, if there is one.
    pub(super) index: Option<usize>,
}

/// Makes the routes of one host.
pub(super) struct Routes<'c, 'd, 'i> {
    compiler: &'c mut Compiler<'d>,
    host: &'c str,
    pattern: &'c HostPattern,
    /// Chains written in place, by their content: equal ones are one.
    inline: &'i mut HashMap<String, u32>,
    routes: Vec<(Route, Origin)>,
}

impl<'c, 'd, 'i> Routes<'c, 'd, 'i> {
    pub(super) fn new(
        compiler: &'c mut Compiler<'d>,
        host: &'c str,
        pattern: &'c HostPattern,
        inline: &'i mut HashMap<String, u32>,
    ) -> Self {
        Self { compiler, host, pattern, inline, routes: Vec::new() }
    }

    /// All of them, in declaration order.
    pub(super) fn finish(self) -> Vec<(Route, Origin)> {
        self.routes
    }

    /// Adds what stands under a route's key.
    pub(super) fn add(&mut self, key: &str, value: Value) {
        let Ok(parsed) = RouteKey::parse(key) else {
            self.compiler.found.push(damaged(Kind::Host, self.host, "not a route's key"));
            return;
        };
        match value {
            Value::List(alternatives) => {
                for (index, alternative) in alternatives.into_iter().enumerate() {
                    self.one(key, parsed.clone(), alternative, Origin { index: Some(index) });
                }
            }
            value => self.one(key, parsed, value, Origin { index: None }),
        }
    }

    fn one(&mut self, key: &str, parsed: RouteKey, value: Value, origin: Origin) {
        let maker = Maker { host: self.host, key, origin };
        let Value::Map(entries) = value else { return };
        let mut route = Route {
            name: key.to_owned(),
            id: 0,
            path: parsed.path,
            methods: parsed.methods,
            headers: Vec::new(),
            query: Vec::new(),
            chain: 0,
            action: Action::Respond { status: 404, fields: Vec::new(), body: Vec::new() },
            websocket: false,
            encoded_slash: false,
            grpc_web: false,
            body_bytes_max: None,
        };
        let mut actions = 0;
        let (mut rewrite, mut timeout) = (None, None);
        for (key, value) in entries {
            match key.as_str() {
                "match" => self.conditions(&maker, &mut route, &value),
                "chain" => route.chain = self.chain(&maker, &value),
                "to" => {
                    actions += 1;
                    // What is no text was refused before.
                    let find = |name| self.compiler.find(Kind::Upstream, name, || maker.place().key("to"));
                    let found = value.text().and_then(find);
                    route.action = Action::Proxy {
                        upstream: found.unwrap_or(0),
                        rewrite: Rewrite::default(),
                        timeout: RouteTimeout::default(),
                    };
                }
                "redirect" => {
                    actions += 1;
                    route.action = self.redirect(&maker, &value);
                }
                "respond" => {
                    actions += 1;
                    route.action = self.respond(&maker, &value);
                }
                "rewrite" => rewrite = Some(value),
                "timeout" => timeout = Some(value),
                "websocket" => route.websocket = value.bool().unwrap_or(false),
                "grpc_web" => route.grpc_web = value.bool().unwrap_or(false),
                "encoded_slash" => route.encoded_slash = value.text() == Some("keep"),
                "body" => route.body_bytes_max = value.text().and_then(|text| parse_size(text).ok()),
                // A key that is not available yet was refused before.
                _ if value.entries().is_empty() => {}
                _ => self.compiler.found.push(damaged(Kind::Host, self.host, &format!("unknown key {key}"))),
            }
        }
        self.check_actions(&maker, actions);
        self.check_forwarding(&maker, &route);
        self.rewrite(&maker, &mut route, rewrite);
        self.timeout(&maker, &mut route, timeout);
        route.id = id::route(self.pattern, &route).0;
        self.routes.push((route, origin));
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.compiler.found.push(diagnostic);
    }

    fn check_actions(&mut self, maker: &Maker<'_>, actions: usize) {
        if actions == 1 {
            return;
        }
        let message = if actions == 0 { "the route does nothing" } else { "the route does several things" };
        let diagnostic = Diagnostic::error(Class::Conflict, maker.place().as_key(), message);
        self.report(diagnostic.hint("a route has exactly one of `to`, `redirect` and `respond`"));
    }

    /// What a route can do only where it has an upstream, and one that speaks the right protocol.
    fn check_forwarding(&mut self, maker: &Maker<'_>, route: &Route) {
        let at = |key: &str| maker.place().key(key).as_key();
        let Action::Proxy { upstream, .. } = &route.action else {
            if route.websocket {
                self.report(Diagnostic::error(
                    Class::Conflict,
                    at("websocket"),
                    "only a route with `to` has WebSockets",
                ));
            }
            if route.grpc_web {
                self.report(Diagnostic::error(
                    Class::Conflict,
                    at("grpc_web"),
                    "only a route with `to` has gRPC",
                ));
            }
            return;
        };
        let upstreams = &self.compiler.model.upstreams;
        let protocol = upstreams.get(*upstream as usize).map(|upstream| upstream.protocol);
        if route.websocket && protocol == Some(UpstreamProtocol::Http2) {
            let message = "WebSockets go to upstreams over HTTP/1.1, and this one speaks HTTP/2 alone";
            let diagnostic = Diagnostic::error(Class::Conflict, at("websocket"), message);
            self.report(diagnostic.hint("write `protocol: auto` or `http1` at the upstream"));
        }
        if route.grpc_web && protocol == Some(UpstreamProtocol::Http1) {
            let message = "gRPC goes to upstreams over HTTP/2, and this one speaks HTTP/1.1 alone";
            let diagnostic = Diagnostic::error(Class::Conflict, at("grpc_web"), message);
            self.report(diagnostic.hint("write `protocol: http2` at the upstream"));
        }
    }

    fn rewrite(&mut self, maker: &Maker<'_>, route: &mut Route, value: Option<Value>) {
        let Some(value) = value else { return };
        let at = || maker.place().key("rewrite");
        let Action::Proxy { rewrite, .. } = &mut route.action else {
            self.report(Diagnostic::error(
                Class::Conflict,
                at().as_key(),
                "only a route with `to` is rewritten",
            ));
            return;
        };
        let text = |key: &str| value.find(key).and_then(Value::text).map(str::to_owned);
        *rewrite = Rewrite { prefix: text("prefix"), path: text("path"), host: text("host") };
        if rewrite.prefix.is_some() && rewrite.path.is_some() {
            self.report(Diagnostic::error(Class::Conflict, at(), "`prefix` and `path` exclude each other"));
        } else if rewrite.prefix.is_some()
            && !matches!(route.path, PathPattern::Prefix(_) | PathPattern::Exact(_))
        {
            let diagnostic = Diagnostic::error(
                Class::Conflict,
                at().key("prefix"),
                "a path with variables or an expression has no prefix",
            );
            self.report(diagnostic.hint("use rewrite: {path: …}"));
        }
        if let Action::Proxy { rewrite: Rewrite { prefix: Some(prefix), .. }, .. } = &mut route.action
            && prefix.ends_with('/')
            && prefix.len() > 1
            && matches!(route.path, PathPattern::Prefix(_))
        {
            // `/v2/` in place of `/v1` would double the slash that the rest begins with.
            prefix.pop();
        }
    }

    fn timeout(&mut self, maker: &Maker<'_>, route: &mut Route, value: Option<Value>) {
        let Some(value) = value else { return };
        let Action::Proxy { timeout, .. } = &mut route.action else {
            let at = maker.place().key("timeout").as_key();
            self.report(Diagnostic::error(Class::Conflict, at, "only a route with `to` has timeouts"));
            return;
        };
        let ms = |key: &str| {
            let written = value.find(key).and_then(Value::text)?;
            parse_duration(written).ok().and_then(|ms| u32::try_from(ms).ok())
        };
        *timeout = RouteTimeout {
            connect_ms_max: ms("connect"),
            request_ms_max: ms("request"),
            idle_ms_max: ms("idle"),
            tunnel_idle_ms_max: ms("tunnel_idle"),
        };
    }

    fn chain(&mut self, maker: &Maker<'_>, value: &Value) -> u32 {
        if let Some(name) = value.text() {
            let found = self.compiler.find(Kind::Chain, name, || maker.place().key("chain"));
            return found.map_or(0, |index| index + 1);
        }
        if let Value::Map(_) = value {
            return 0;
        }
        let content = value.to_json();
        if let Some(index) = self.inline.get(&content) {
            return *index;
        }
        let steps = steps(self.compiler, value, &maker.place().key("chain"));
        let chains = &mut self.compiler.model.chains;
        let index = u32::try_from(chains.len()).unwrap_or(u32::MAX);
        chains.push(Chain { name: String::new(), steps });
        self.inline.insert(content, index);
        index
    }

    fn conditions(&mut self, maker: &Maker<'_>, route: &mut Route, value: &Value) {
        for method in value.find("methods").map(Value::elements).unwrap_or_default() {
            let Some(method) = method.text() else { continue };
            if !route.methods.iter().any(|known| known == method) {
                route.methods.push(method.to_owned());
            }
        }
        route.methods.sort();
        if value.find("methods").is_some() && maker.key.contains(' ') {
            let at = maker.place().key("match").key("methods").as_key();
            self.report(
                Diagnostic::error(Class::Conflict, at, "methods stand before the path already")
                    .hint("write them in one place"),
            );
        }
        for (section, lower) in [("headers", true), ("query", false)] {
            let mut out = Vec::new();
            for (name, condition) in value.find(section).map(Value::entries).unwrap_or_default() {
                let at = || maker.place().key("match").key(section).key(name);
                match condition_of(condition) {
                    Ok(value) => {
                        let name = if lower { name.to_ascii_lowercase() } else { name.clone() };
                        out.push(FieldMatch { name, value });
                    }
                    Err(message) => {
                        let diagnostic = Diagnostic::error(Class::Conflict, at(), message);
                        self.report(
                            diagnostic
                                .hint("write a value, or one of {exact: …}, {regex: …}, {present: true}"),
                        );
                    }
                }
            }
            if lower { route.headers = out } else { route.query = out }
        }
    }

    fn redirect(&mut self, maker: &Maker<'_>, value: &Value) -> Action {
        let text = |key: &str| value.find(key).and_then(Value::text).map(str::to_owned);
        let (scheme, authority, path) = (text("scheme"), text("host"), text("path"));
        if value.entries().iter().all(|(key, _)| key == "status") {
            let diagnostic = Diagnostic::error(
                Class::MissingKey,
                maker.place().key("redirect"),
                "the redirect leads to itself",
            );
            self.report(diagnostic.hint("name at least one of scheme, host and path"));
        }
        let status = text("status").and_then(|status| status.parse().ok()).unwrap_or(308);
        Action::Redirect { status, scheme, authority, path }
    }

    fn respond(&mut self, maker: &Maker<'_>, value: &Value) -> Action {
        let status = value
            .find("status")
            .and_then(Value::integer)
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or(200);
        let body = value.find("body").and_then(Value::text).unwrap_or_default();
        let mut fields = Vec::new();
        for (name, value) in value.find("headers").map(Value::entries).unwrap_or_default() {
            let (name, value) = (name.to_ascii_lowercase(), value.text().unwrap_or_default().to_owned());
            let edit = FieldEdit::Set { name, value };
            if let Err(error) = check_edit(&edit) {
                let FieldEdit::Set { name, .. } = &edit else { continue };
                let at = maker.place().key("respond").key("headers").key(name).as_key();
                self.report(
                    refused(at, &error).hint("the gateway writes framing and connection fields itself"),
                );
            }
            let FieldEdit::Set { name, value } = edit else { continue };
            fields.push((name, value));
        }
        if !body.is_empty() && matches!(status, 204 | 205 | 304) {
            let at = maker.place().key("respond").key("body");
            self.report(Diagnostic::error(
                Class::Conflict,
                at,
                format!("a reply with status {status} has no body"),
            ));
        } else if !body.is_empty() && !fields.iter().any(|(name, _)| name == "content-type") {
            fields.push(("content-type".to_owned(), "text/plain; charset=utf-8".to_owned()));
        }
        Action::Respond { status, fields, body: body.as_bytes().to_vec() }
    }
}

fn condition_of(value: &Value) -> Result<ValueMatch, &'static str> {
    if let Some(text) = value.text() {
        return Ok(ValueMatch::Exact(text.to_owned()));
    }
    match value.entries() {
        [(key, Value::Text(text))] if key == "exact" => Ok(ValueMatch::Exact(text.clone())),
        [(key, Value::Text(text))] if key == "regex" => Ok(ValueMatch::Regex(text.clone())),
        [(key, Value::Bool(true))] if key == "present" => Ok(ValueMatch::Present),
        [(key, Value::Bool(false))] if key == "present" => {
            Err("`present: false` is not possible: leave the condition out")
        }
        [] => Err("the condition is empty"),
        _ => Err("the condition says several things"),
    }
}

/// Which route is being made, for its place.
struct Maker<'a> {
    host: &'a str,
    key: &'a str,
    origin: Origin,
}

impl Maker<'_> {
    fn place(&self) -> Place {
        place(self.host, self.key, self.origin)
    }
}

/// Where a route stands.
pub(super) fn place(host: &str, key: &str, origin: Origin) -> Place {
    let place = Place::new(Kind::Host, host).key(key);
    match origin.index {
        Some(index) => place.index(index),
        None => place,
    }
}
