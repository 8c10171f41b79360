//! Peers of fewer works: h2o, Caddy, and the small proxies that are built from `bench/peers`.

use std::path::Path;

use serde_json::json;

use super::{Place, Reload, Setup, write};
use crate::process::Launch;
use crate::works::Protocol;

pub(super) fn h2o(place: &Place<'_>) -> Result<Setup, String> {
    let program = place.tools.h2o.as_deref().ok_or("h2o is not there")?;
    let mut text = format!(
        "num-threads: 1\nmax-connections: 19000\nhttp1-request-timeout: 600\nhttp2-idle-timeout: 600\n\
         proxy.timeout.keepalive: 600000\nproxy.preserve-host: ON\nerror-log: {}/error.log\n\
         listen:\n  host: 127.0.0.1\n  port: {}\n",
        place.folder.display(),
        place.port
    );
    if place.work.tls {
        text.push_str(&format!(
            "  ssl:\n    certificate-file: {}\n    key-file: {}\n    minimum-version: TLSv1.2\nssl-session-resumption:\n  mode: off\n",
            place.certificate.chain.display(),
            place.certificate.key.display()
        ));
    }
    text.push_str(&format!(
        "hosts:\n  default:\n    paths:\n      \"/\":\n        proxy.reverse.url: \"http://127.0.0.1:{}/\"\n",
        place.endpoint
    ));
    let path = place.folder.join("h2o.conf");
    write(&path, &text)?;
    let launch = Launch::new(program, &["-c", &path.display().to_string()]);
    Ok(Setup { launch: Launch { environment: place.tools.library_path(), ..launch }, reload: Reload::Never })
}

pub(super) fn caddy(place: &Place<'_>) -> Result<Setup, String> {
    let program = place.tools.caddy.as_deref().ok_or("caddy is not there")?;
    let keep = json!({ "enabled": true, "max_idle_conns": 4096, "max_idle_conns_per_host": 4096, "idle_timeout": "600s" });
    let proxy = json!({
        "handler": "reverse_proxy",
        "upstreams": [{ "dial": format!("127.0.0.1:{}", place.endpoint) }],
        "transport": { "protocol": "http", "keep_alive": keep },
    });
    let protocols = match place.work.protocol {
        Protocol::Http2 => json!(["h1", "h2"]),
        Protocol::Http3 => json!(["h1", "h3"]),
        Protocol::Http1 | Protocol::WebSocket => json!(["h1"]),
    };
    let mut listener = json!({
        "listen": [format!("127.0.0.1:{}", place.port)],
        "routes": [{ "handle": [proxy] }],
        "protocols": protocols,
        "automatic_https": { "disable": true },
        "idle_timeout": "600s",
    });
    let mut apps = json!({});
    if place.work.tls {
        let certificate = json!({ "certificate": place.certificate.chain, "key": place.certificate.key });
        apps = json!({ "tls": {
            "certificates": { "load_files": [certificate] },
            "session_tickets": { "disabled": true },
        }});
        if let Some(listener) = listener.as_object_mut() {
            listener.insert("tls_connection_policies".to_owned(), json!([{}]));
        }
    }
    if let Some(apps) = apps.as_object_mut() {
        apps.insert("http".to_owned(), json!({ "servers": { "s": listener } }));
    }
    let settings = json!({
        "admin": { "disabled": true },
        "logging": { "logs": { "default": { "level": "ERROR" } } },
        "apps": apps,
    });
    let path = place.folder.join("caddy.json");
    write(&path, &settings.to_string())?;
    let home = place.folder.display().to_string();
    let launch = Launch::new(program, &["run", "--config", &path.display().to_string()]);
    let launch = launch.with("GOMAXPROCS", "1").with("HOME", &home).with("XDG_DATA_HOME", &home);
    Ok(Setup { launch: launch.with("XDG_CONFIG_HOME", &home), reload: Reload::Never })
}

/// A proxy of `bench/peers`: port, endpoint, and certificate and key where it speaks TLS.
pub(super) fn built(place: &Place<'_>, program: Option<&Path>) -> Result<Setup, String> {
    let program = program.ok_or("it is not built")?;
    let mut arguments = vec![place.port.to_string(), place.endpoint.to_string()];
    if place.work.tls {
        arguments.push(place.certificate.chain.display().to_string());
        arguments.push(place.certificate.key.display().to_string());
    }
    let launch = Launch { program: program.to_owned(), arguments, environment: Vec::new() };
    Ok(Setup { launch, reload: Reload::Never })
}
