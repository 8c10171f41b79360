//! Upstreams and their endpoints.

use std::collections::HashMap;

use ringway_snapshot::id;
use ringway_snapshot::model::{Balance, Endpoint, EndpointAddress, Upstream, UpstreamProtocol, UpstreamTls};

use super::view::View;
use super::{Compiler, certificate, tls};
use crate::config::scalar::name_and_port;
use crate::config::{Class, Diagnostic, Kind, Place, Value};

/// Compiles `upstreams:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    let mut ids: HashMap<u64, &str> = HashMap::new();
    for (name, value) in compiler.resources(Kind::Upstream) {
        let view = View::new("upstreams.*", &value);
        let place = Place::new(Kind::Upstream, name);
        let id = id::upstream(name).0;
        if let Some(other) = ids.insert(id, name) {
            compiler.found.push(collision(&place, other));
        }
        let endpoints = endpoints(compiler, &view, &place);
        let tls = view
            .at("tls")
            .value()
            .map(|_| upstream_tls(compiler, &view.at("tls"), &place.clone().key("tls")));
        let (timeout, pool) = (view.at("timeout"), view.at("pool"));
        compiler.model.upstreams.push(Upstream {
            name: name.to_owned(),
            id,
            endpoints,
            protocol: match view.at("protocol").text() {
                "http2" => UpstreamProtocol::Http2,
                "auto" => UpstreamProtocol::Auto,
                _ => UpstreamProtocol::Http1,
            },
            tls,
            balance: match view.at("balance").text() {
                "round_robin" => Balance::RoundRobin,
                "random" => Balance::Random,
                _ => Balance::LeastRequest,
            },
            connect_ms_max: timeout.at("connect").ms(),
            request_ms_max: timeout.at("request").ms(),
            idle_ms_max: timeout.at("idle").ms(),
            tunnel_idle_ms_max: timeout.at("tunnel_idle").ms(),
            pool_idle_ms_max: pool.at("idle").ms(),
            connections_max: pool.at("connections").small(),
            streams_max: pool.at("streams").small(),
        });
    }
}

/// Two names share a stable id: about once in 2^32 pairs.
pub(super) fn collision(place: &Place, other: &str) -> Diagnostic {
    let message = format!("this name and `{other}` have the same stable id by chance");
    Diagnostic::error(Class::Conflict, place.clone().as_key(), message).hint("give one of them another name")
}

fn endpoints(compiler: &mut Compiler<'_>, view: &View<'_>, place: &Place) -> Vec<Endpoint> {
    let mut out: Vec<Endpoint> = Vec::new();
    let written = view.at("endpoints");
    for (index, value) in written.elements().iter().enumerate() {
        let at = || place.clone().key("endpoints").index(index);
        let inside = View::new("upstreams.*.endpoints[]", value);
        let text = value.text().unwrap_or_else(|| inside.at("address").text());
        // What has no address was refused before.
        let Some(address) = address(text) else { continue };
        if out.iter().any(|other| other.address == address) {
            let diagnostic =
                Diagnostic::error(Class::Conflict, at(), format!("the endpoint {text} stands twice"));
            compiler.found.push(diagnostic.hint("give it a weight instead: {address: …, weight: 2}"));
        }
        out.push(Endpoint {
            address,
            weight: inside.at("weight").small(),
            priority: inside.at("priority").small(),
        });
    }
    if written.value().is_some() && written.elements().is_empty() {
        let at = place.clone().key("endpoints");
        compiler.found.push(
            Diagnostic::error(Class::BadValue, at, "an upstream has at least one endpoint").saying("add one"),
        );
    }
    out
}

fn address(text: &str) -> Option<EndpointAddress> {
    if let Ok(address) = text.parse() {
        return Some(EndpointAddress::Socket(address));
    }
    name_and_port(text).map(|(host, port)| EndpointAddress::Name { host: host.to_owned(), port })
}

fn upstream_tls(compiler: &mut Compiler<'_>, view: &View<'_>, place: &Place) -> UpstreamTls {
    let insecure = view.at("insecure").bool();
    if insecure {
        let at = place.clone().key("insecure");
        let message = "certificates of this upstream are not verified";
        let diagnostic = Diagnostic::warning(Class::Certificate, at, message);
        compiler.found.push(
            diagnostic.hint("anybody on the way can read and change everything; write ca: file:… instead"),
        );
    }
    let certificate = view.at("certificate").value();
    UpstreamTls {
        server_name: view.at("name").written().map(str::to_owned),
        ca: view.at("ca").value().map(|value: &Value| tls::ders(compiler, value)).unwrap_or_default(),
        certificate: certificate
            .and_then(|pair| certificate::compile(compiler, pair, &place.clone().key("certificate"))),
        insecure,
    }
}
