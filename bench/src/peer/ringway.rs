//! Ringway: `ringway gateway` alone on its core, from a snapshot that a control daemon compiled before.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::{Place, Reload, Setup, finish, static_body, write};
use crate::host::LOAD_CORE;
use crate::process::{Launch, Running};
use crate::works::{Answer, Kind, Protocol, hosts, keys};

/// How long compiling may take: a million routes from YAML take some ten seconds.
const READY: Duration = Duration::from_secs(30);

pub(super) fn set_up(place: &Place<'_>, routes: u32) -> Result<Setup, String> {
    let program = place.tools.ringway.as_deref().ok_or("ringway is not there")?;
    let state = place.folder.join("state").display().to_string();
    let apply = |name: &str, retry: u32| -> Result<Launch, String> {
        let path = place.folder.join(name);
        write(&path, &definitions(place, routes, retry)?)?;
        let path = path.display().to_string();
        Ok(Launch::new(program, &["apply", &path, "--state", &state, "--wait-ms", "60000"]))
    };
    // Two definitions that differ in one timeout, to be applied in turn.
    let applies = [apply("one.yaml", 15)?, apply("two.yaml", 16)?];
    let daemon = Launch::new(program, &["control", "--state", &state, "--api", "127.0.0.1:0"]);
    let [first, _] = &applies;
    let running = start_control(&daemon, place.folder)?;
    // Without a gateway there is nobody to wait for.
    let unwatched: Vec<String> = first
        .arguments
        .iter()
        .map(|word| if word == "60000" { "0".to_owned() } else { word.clone() })
        .collect();
    finish(&Launch { arguments: unwatched, ..first.clone() })?;
    drop(running);
    let launch = Launch::new(program, &["gateway", "--state", &state, "--workers", "1", "--cores", "0"]);
    Ok(Setup { launch, reload: Reload::Control { daemon: Box::new(daemon), applies: applies.into() } })
}

pub(super) fn start_control(daemon: &Launch, folder: &Path) -> Result<Running, String> {
    let log = folder.join("ringway.log");
    std::fs::write(&log, "").ok();
    let mut running = Running::start(daemon, LOAD_CORE, None, folder)?;
    running.wait_for_words("ready", READY)?;
    Ok(running)
}

fn definitions(place: &Place<'_>, routes: u32, timeout_s: u32) -> Result<String, String> {
    let work = place.work;
    let protocols = match work.protocol {
        Protocol::Http2 => "[http1, http2]",
        Protocol::Http3 => "[http1, http3]",
        Protocol::Http1 | Protocol::WebSocket => "[http1]",
    };
    let tls = if work.tls { ", tls: default" } else { "" };
    let mut text =
        String::from("version: 1\nsettings: {admin: \"127.0.0.1:0\", timeouts: {keep_alive: 10m}}\n");
    if work.tls {
        let _ = writeln!(
            text,
            "tls:\n  default: {{certificates: [{{chain: \"file:{}\", key: \"file:{}\"}}], without_sni: first}}",
            place.certificate.chain.display(),
            place.certificate.key.display()
        );
    }
    let _ = writeln!(
        text,
        "listeners:\n  - {{address: \"127.0.0.1:{}\", protocols: {protocols}{tls}}}\n\
         upstreams:\n  endpoint: {{endpoints: [\"127.0.0.1:{}\"], timeout: {{request: {timeout_s}s}}}}",
        place.port, place.endpoint
    );
    let mut action = match work.answer {
        Answer::Proxy => format!("{{respond: {{status: 200, body: \"{}\"}}}}", static_body()),
        Answer::Endpoint(_) if work.protocol == Protocol::WebSocket => {
            "{to: endpoint, websocket: true}".to_owned()
        }
        Answer::Endpoint(_) => "{to: endpoint}".to_owned(),
    };
    if work.key_and_limit {
        add_keys(place, &mut text)?;
        "{chain: known, to: endpoint}".clone_into(&mut action);
    }
    text.push_str("hosts:\n");
    if routes == 0 {
        let _ = writeln!(text, "  \"*\":\n    /*: {action}");
        return Ok(text);
    }
    for (host, prefixes) in hosts(routes.max(work_hosts(place, routes))) {
        let _ = writeln!(text, "  {host}:");
        for prefix in prefixes {
            let _ = writeln!(text, "    \"{prefix}*\": {action}");
        }
    }
    Ok(text)
}

/// As many routes as asked for, whatever the work's own number.
fn work_hosts(place: &Place<'_>, routes: u32) -> u32 {
    if place.work.kind == Kind::Reload { place.work.routes } else { routes }
}

/// Ten thousand applications with a key each, and a chain that asks for one.
fn add_keys(place: &Place<'_>, text: &mut String) -> Result<(), String> {
    let folder = place.folder.join("keys");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    text.push_str("applications:\n");
    for (number, key) in keys().enumerate() {
        let path = folder.join(number.to_string());
        write(&path, &key)?;
        let _ = writeln!(text, "  a{number}: {{credentials: [{{api_key: \"file:{}\"}}]}}", path.display());
    }
    text.push_str(
        "authenticators:\n  key: {api_key: {in: header, name: X-Api-Key}}\n\
         limits:\n  each: {rate: 100000/s, burst: 100000, by: application, scope: node}\n\
         chains:\n  known:\n    - authenticate: {any_of: [key]}\n    - limit: each\n",
    );
    Ok(())
}
