//! TLS profiles and listeners.

use std::net::{IpAddr, SocketAddr};

use ringway_snapshot::model::{Certificate, ClientAuth, Listener, Protocols, TlsProfile, TlsVersion};
use ringway_snapshot::seal::CERTIFICATE_KEY;

use super::view::View;
use super::{Compiler, certificate};
use crate::config::scalar::parse_redirect_https;
use crate::config::{Class, Diagnostic, Kind, Material, Place, Value};

/// Compiles `tls:`.
pub(super) fn compile(compiler: &mut Compiler<'_>) {
    for (name, value) in compiler.resources(Kind::Tls) {
        let view = View::new("tls.*", &value);
        let place = Place::new(Kind::Tls, name);
        let certificates = certificates(compiler, &view, &place);
        let client = match view.at("client").text() {
            "optional" => ClientAuth::Optional,
            "require" => ClientAuth::Require,
            _ => ClientAuth::None,
        };
        let client_ca = view.at("client_ca").value().map(|value| ders(compiler, value)).unwrap_or_default();
        check_client(compiler, &view, client, &place);
        let crls = view.at("client_crls").elements();
        let profile = TlsProfile {
            name: name.to_owned(),
            certificates,
            serve_without_sni: view.at("without_sni").text() == "first",
            minimum: if view.at("minimum").text() == "1.3" { TlsVersion::Tls13 } else { TlsVersion::Tls12 },
            client,
            client_ca,
            client_crls: crls.iter().flat_map(|value| ders(compiler, value)).collect(),
        };
        compiler.model.tls.push(profile);
    }
}

fn certificates(compiler: &mut Compiler<'_>, view: &View<'_>, place: &Place) -> Vec<Certificate> {
    let mut out = Vec::new();
    let pairs = view.at("certificates").elements();
    for (index, pair) in pairs.iter().enumerate() {
        let at = place.clone().key("certificates").index(index);
        let Some(certificate) = certificate::compile(compiler, pair, &at) else { continue };
        if certificate.names.is_empty() {
            let diagnostic =
                Diagnostic::error(Class::Certificate, at.key("chain"), "the certificate is for no DNS name")
                    .hint("it needs names in its subject alternative name; the common name is not looked at");
            compiler.found.push(diagnostic);
        } else if let Some(name) =
            certificate.names.iter().find(|name| out.iter().any(|c: &Certificate| c.names.contains(name)))
        {
            let message = format!("another certificate of this profile is for `{name}` too");
            compiler.found.push(
                Diagnostic::warning(Class::Certificate, at.key("chain"), message)
                    .saying("the first one is used"),
            );
        }
        out.push(certificate);
    }
    let names: Vec<String> =
        view.at("self_signed").elements().iter().filter_map(Value::text).map(str::to_owned).collect();
    if !names.is_empty() {
        match self_signed(compiler, &names) {
            Ok(certificate) => out.push(certificate),
            Err(reason) => {
                let at = place.clone().key("self_signed");
                let message = "the self-signed certificate cannot be made";
                compiler.found.push(Diagnostic::error(Class::Certificate, at, message).saying(reason));
            }
        }
    } else if pairs.is_empty() {
        let diagnostic = Diagnostic::error(
            Class::MissingKey,
            place.clone().as_key(),
            "the profile has no certificate",
        )
        .hint(
            "write certificates: [{chain: file:…, key: file:…}], or self_signed: [localhost] to try it out",
        );
        compiler.found.push(diagnostic);
    }
    out
}

fn self_signed(compiler: &Compiler<'_>, names: &[String]) -> Result<Certificate, String> {
    let made = (compiler.environment.self_signed)(names)?;
    let facts = certificate::facts(&made.certificate)?;
    let key =
        compiler.environment.seal_key.seal(&made.key, CERTIFICATE_KEY).map_err(|error| error.to_string())?;
    Ok(Certificate {
        names: facts.names,
        chain: vec![made.certificate],
        key,
        not_after_unix_ms: facts.not_after_unix_ms,
    })
}

/// DER certificates or revocation lists that a value refers to.
pub(super) fn ders(compiler: &Compiler<'_>, value: &Value) -> Vec<Vec<u8>> {
    let material = value.referred().and_then(|referred| compiler.definitions.materials.get(&referred.digest));
    match material {
        Some(Material::Certificates(ders) | Material::RevocationLists(ders)) => ders.clone(),
        _ => Vec::new(),
    }
}

fn check_client(compiler: &mut Compiler<'_>, view: &View<'_>, client: ClientAuth, place: &Place) {
    let given = view.at("client_ca").value().is_some() || !view.at("client_crls").elements().is_empty();
    if client != ClientAuth::None && view.at("client_ca").value().is_none() {
        let message = "client certificates are asked for, but nothing says who signs them";
        let diagnostic = Diagnostic::error(Class::MissingKey, place.clone().key("client"), message);
        compiler.found.push(diagnostic.hint("write client_ca: file:…"));
    } else if client == ClientAuth::None && given {
        let key = if view.at("client_ca").value().is_some() { "client_ca" } else { "client_crls" };
        let message = format!("`{key}` has no effect: client certificates are not asked for");
        let diagnostic = Diagnostic::error(Class::Conflict, place.clone().key(key).as_key(), message);
        compiler.found.push(diagnostic.hint("write client: optional or client: require"));
    }
}

/// Compiles `listeners:`.
pub(super) fn listeners(compiler: &mut Compiler<'_>) {
    let mut redirects = Vec::new();
    for (name, value) in compiler.resources(Kind::Listener) {
        let view = View::new("listeners[]", &value);
        let place = Place::new(Kind::Listener, name);
        let Some(address) = view.at("address").address() else { continue };
        let tls = view.at("tls").written();
        let tls = tls.and_then(|tls| compiler.find(Kind::Tls, tls, || place.clone().key("tls")));
        let redirect = view.at("redirect").written().and_then(parse_redirect_https);
        if redirect.is_some() && view.at("tls").value().is_some() {
            let at = place.clone().key("redirect");
            let diagnostic =
                Diagnostic::error(Class::Conflict, at, "a TLS listener would redirect to itself");
            compiler.found.push(diagnostic.hint("redirect on the plain-text listener"));
        }
        if let Some(port) = redirect {
            redirects.push((compiler.model.listeners.len(), port, place.clone()));
        }
        overlap(compiler, address, &place);
        let protocols = protocols(compiler, &view, &place);
        compiler.model.listeners.push(Listener { address, protocols, tls, redirect_https_port: None });
    }
    for (index, port, place) in redirects {
        let port = port.or_else(|| tls_port(compiler, &place));
        if let Some(listener) = compiler.model.listeners.get_mut(index) {
            listener.redirect_https_port = port;
        }
    }
}

/// What a listener speaks. HTTP/3 has TLS in it, and clients hear of it over HTTP/1.1 or HTTP/2 (RFC 9114 §3.1.1).
fn protocols(compiler: &mut Compiler<'_>, view: &View<'_>, place: &Place) -> Protocols {
    let written = view.at("protocols");
    let names: Vec<&str> = written.elements().iter().filter_map(|name| name.text()).collect();
    let has = |name: &str| names.contains(&name);
    let absent = written.value().is_none();
    let protocols = Protocols { http1: has("http1") || absent, http2: has("http2"), http3: has("http3") };
    let found = if protocols.http3 && view.at("tls").value().is_none() {
        Some(("HTTP/3 is not spoken without TLS", "name a TLS profile: tls: default"))
    } else if protocols.http3 && !(protocols.http1 || protocols.http2) {
        Some(("clients hear of HTTP/3 over HTTP/1.1 or HTTP/2 only", "write [http1, http2, http3]"))
    } else if names.is_empty() && !absent {
        Some(("a listener speaks some protocol", "write [http1], or leave it out"))
    } else {
        None
    };
    if let Some((message, hint)) = found {
        let diagnostic = Diagnostic::error(Class::Conflict, place.clone().key("protocols"), message);
        compiler.found.push(diagnostic.hint(hint));
    }
    protocols
}

/// The one port of the TLS listeners.
fn tls_port(compiler: &mut Compiler<'_>, place: &Place) -> Option<u16> {
    let mut ports: Vec<u16> = compiler
        .model
        .listeners
        .iter()
        .filter(|listener| listener.tls.is_some())
        .map(|l| l.address.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    if let [port] = ports.as_slice() {
        return Some(*port);
    }
    let message = if ports.is_empty() {
        "there is no TLS listener to redirect to"
    } else {
        "there are TLS listeners on several ports"
    };
    let diagnostic = Diagnostic::error(Class::UnknownReference, place.clone().key("redirect"), message);
    compiler.found.push(diagnostic.saying("write the port: \"https:443\""));
    None
}

/// Two sockets cannot share a port where one of them takes all addresses.
fn overlap(compiler: &mut Compiler<'_>, address: SocketAddr, place: &Place) {
    let clash = |other: SocketAddr| {
        // Where the system chooses the ports it chooses different ones.
        address.port() != 0
            && other.port() == address.port()
            && other.is_ipv4() == address.is_ipv4()
            && (other.ip() == address.ip() || is_all(other.ip()) || is_all(address.ip()))
    };
    let diagnostic =
        |message: String| Diagnostic::error(Class::Conflict, place.clone().key("address"), message);
    if let Some(other) =
        compiler.model.listeners.iter().map(|listener| listener.address).find(|other| clash(*other))
    {
        let before = Place::new(Kind::Listener, &other.to_string()).key("address");
        let found = diagnostic(format!("{address} overlaps {other}")).and(before, "which is listened on too");
        compiler.found.push(found.hint("keep one of them, or give one another port"));
    }
    if clash(compiler.model.settings.admin_address) {
        let admin = compiler.model.settings.admin_address;
        let found = diagnostic(format!("{address} overlaps the admin listener on {admin}"));
        compiler.found.push(found.hint("choose another port, or set settings.admin"));
    }
}

fn is_all(ip: IpAddr) -> bool {
    ip.is_unspecified()
}
