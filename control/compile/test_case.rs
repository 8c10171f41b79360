//! `tests:` as plain data, which `check` and `plan` run through the very policy that the gateway runs.

use std::net::IpAddr;

use super::Compiler;
use super::view::View;
use crate::config::scalar::parse_request_line;
use crate::config::{Class, Diagnostic, Kind, Place, Value};

/// One request and what must come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestCase {
    /// Its place in the documents, from 0.
    pub index: usize,
    /// Request method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host with an optional port.
    pub authority: String,
    /// Path and query.
    pub target: String,
    /// Fields of the request, names as written.
    pub fields: Vec<(String, String)>,
    /// Address of the caller.
    pub from: IpAddr,
    /// Index into the model's applications: whose first credential the request carries.
    pub application: Option<u32>,
    /// Status of a reply that the gateway makes itself.
    pub expect_status: Option<u16>,
    /// Name of the route that matches.
    pub expect_route: Option<String>,
    /// Name of the upstream that is chosen.
    pub expect_upstream: Option<String>,
}

impl TestCase {
    /// Where it stands, for what a run finds.
    pub fn place(&self) -> Place {
        Place::new(Kind::Tests, "").index(self.index)
    }

    /// As it is written: `GET https://api.example.com/x`.
    pub fn request_line(&self) -> String {
        format!("{} {}://{}{}", self.method, self.scheme, self.authority, self.target)
    }
}

/// Compiles `tests:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) -> Vec<TestCase> {
    let mut out = Vec::new();
    for (_, list) in compiler.resources(Kind::Tests) {
        for (index, value) in list.elements().iter().enumerate() {
            out.extend(one(compiler, index, value));
        }
    }
    out
}

fn one(compiler: &mut Compiler<'_>, index: usize, value: &Value) -> Option<TestCase> {
    let view = View::new("tests[]", value);
    let place = Place::new(Kind::Tests, "").index(index);
    let (method, scheme, authority, target) = parse_request_line(view.at("request").written()?)?;
    let expect = view.at("expect");
    if expect.value().is_some_and(|value| value.entries().is_empty()) {
        let diagnostic =
            Diagnostic::error(Class::MissingKey, place.clone().key("expect"), "the test expects nothing");
        compiler.found.push(diagnostic.hint("expect at least one of status, route and upstream"));
    }
    let application = view.at("as").written();
    let application =
        application.and_then(|name| compiler.find(Kind::Application, name, || place.clone().key("as")));
    let upstream = expect.at("upstream").written();
    let upstream = upstream.filter(|name| {
        compiler.find(Kind::Upstream, name, || place.clone().key("expect").key("upstream")).is_some()
    });
    let fields = view.at("headers").value().map(Value::entries).unwrap_or_default();
    Some(TestCase {
        index,
        method: method.to_owned(),
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        target: target.to_owned(),
        fields: fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.text()?.to_owned())))
            .collect(),
        from: view.at("from").text().parse().ok()?,
        application,
        expect_status: expect.at("status").value().map(|_| expect.at("status").small()),
        expect_route: expect.at("route").written().map(str::to_owned),
        expect_upstream: upstream.map(str::to_owned),
    })
}
