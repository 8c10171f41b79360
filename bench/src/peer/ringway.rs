//! Ringway: `ringway gateway` alone on its core, from a snapshot that a control daemon compiled before.

use std::fmt::Write;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{HOST, Place, Reload, Setup, static_body, write};
use crate::host::LOAD_CORE;
use crate::process::{Launch, Running};
use crate::works::{Answer, Kind, Protocol, hosts, keys};

/// How long compiling may take: a million routes from YAML take some ten seconds.
const READY: Duration = Duration::from_secs(30);
/// What an answer of control may take; it waits for the nodes itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands in the definitions where each edition has a number of its own: a timeout in milliseconds.
const EDITION: &str = "@edition@";
const EDITION_FIRST: u64 = 15_000;

pub(super) fn set_up(place: &Place<'_>, routes: u32) -> Result<Setup, String> {
    set_up_with(place, definitions(place, routes)?)
}

/// With definitions of one's own.
pub(crate) fn set_up_with(place: &Place<'_>, definitions: String) -> Result<Setup, String> {
    let program = place.tools.ringway.as_deref().ok_or("ringway is not there")?;
    let state = place.folder.join("state");
    let site = Site {
        daemon: Launch::new(
            program,
            &["control", "--state", &state.display().to_string(), "--api", "127.0.0.1:0"],
        ),
        state: state.clone(),
        definitions,
        folder: place.folder.to_owned(),
    };
    let state = state.display().to_string();
    if place.work.all_of_up {
        let file = place.folder.join("ringway.yaml");
        write(&file, &site.edition(0))?;
        let file = file.display().to_string();
        let words = ["up", &file, "--state", &state, "--api", "127.0.0.1:0", "--workers", "1"];
        return Ok(Setup { launch: Launch::new(program, &words), reload: Reload::Never });
    }
    // Without a gateway there is nobody to wait for.
    Control::start(&site)?.apply(&site.edition(0), 0)?;
    let launch = Launch::new(program, &["gateway", "--state", &state, "--workers", "1", "--cores", "0"]);
    Ok(Setup { launch, reload: Reload::Control(Box::new(site)) })
}

/// Definitions of which there are many editions, and the control daemon that takes them.
#[derive(Debug)]
pub(crate) struct Site {
    daemon: Launch,
    state: PathBuf,
    definitions: String,
    folder: PathBuf,
}

impl Site {
    /// The definitions with something in them that no other edition has.
    pub(crate) fn edition(&self, number: u64) -> String {
        self.definitions.replace(EDITION, &(EDITION_FIRST + number).to_string())
    }
}

/// A control daemon on the load's core, and a connection to its API; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Control {
    _running: Running,
    stream: BufReader<TcpStream>,
    token: String,
}

impl Control {
    pub(crate) fn start(site: &Site) -> Result<Self, String> {
        let mut running = Running::start(&site.daemon, LOAD_CORE, None, &site.folder)?;
        let said = running.wait_for_words("ready", READY)?;
        let api = said.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let stream =
            TcpStream::connect(api.ok_or("control names no API")?).map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        let token = std::fs::read_to_string(site.state.join("control.token"))
            .map_err(|error| format!("the token of control: {error}"))?;
        Ok(Self { _running: running, stream: BufReader::new(stream), token: token.trim().to_owned() })
    }

    /// Applies definitions and waits for the nodes; on how many they are live.
    pub(crate) fn apply(&mut self, text: &str, wait_ms: u32) -> Result<u64, String> {
        let body =
            json!({"documents": [{"name": "ringway.yaml", "text": text}], "wait_ms": wait_ms}).to_string();
        let head = format!(
            "POST /v1/generations HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        let sent = self.stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat());
        sent.map_err(|error| format!("an apply could not be sent: {error}"))?;
        let reply = self.reply()?;
        Ok(reply.pointer("/live/live").and_then(Value::as_u64).unwrap_or(0))
    }

    fn reply(&mut self) -> Result<Value, String> {
        let (mut status, mut length) = (String::new(), None);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).map_err(|error| format!("no answer to an apply: {error}"))?
                == 0
            {
                return Err("control closed its connection".to_owned());
            }
            if status.is_empty() {
                line.trim().clone_into(&mut status);
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<usize>().ok();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length.ok_or("control tells no length")?];
        self.stream.read_exact(&mut body).map_err(|error| error.to_string())?;
        if !status.contains(" 200 ") {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    }
}

fn definitions(place: &Place<'_>, routes: u32) -> Result<String, String> {
    let work = place.work;
    let protocols = match work.protocol {
        Protocol::Http2 => "[http1, http2]",
        Protocol::Http3 => "[http1, http3]",
        Protocol::Http1 | Protocol::WebSocket => "[http1]",
    };
    let tls = if work.tls { ", tls: default" } else { "" };
    let log = match work.access_log {
        true => format!(", access_log: \"file:{}\"", place.folder.join("access.log").display()),
        false => String::new(),
    };
    let mut text =
        format!("version: 1\nsettings: {{admin: \"127.0.0.1:0\", timeouts: {{keep_alive: 10m}}{log}}}\n");
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
         upstreams:\n  endpoint: {{endpoints: [\"127.0.0.1:{}\"], timeout: {{request: {EDITION}ms, idle: 1h}}, pool: {{connections: 4096}}}}",
        place.port, place.endpoint
    );
    let mut action = match work.answer {
        Answer::Proxy => respond(),
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
        text.push_str("  \"*\":\n");
        if work.kind == Kind::Generators {
            let _ = writeln!(text, "    /static: {}", respond());
        }
        let _ = writeln!(text, "    /*: {action}");
        return Ok(text);
    }
    if work.reloading.tunnels > 0 {
        let _ = writeln!(text, "  {HOST}: {{/ws: {{to: endpoint, websocket: true}}, /endless: {action}}}");
    }
    for (host, prefixes) in hosts(routes) {
        let _ = writeln!(text, "  {host}:");
        for prefix in prefixes {
            let _ = writeln!(text, "    \"{prefix}*\": {action}");
        }
    }
    Ok(text)
}

fn respond() -> String {
    format!("{{respond: {{status: 200, body: \"{}\"}}}}", static_body())
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
