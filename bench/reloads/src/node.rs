//! A control daemon and a gateway of their own, the definitions that they get, and how to speak to them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Routes of one host.
const ROUTES_PER_HOST: u64 = 10;

/// Turns an error into a sentence.
pub(crate) fn why<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> String {
    move |error| format!("cannot {doing}: {error}")
}

/// Definitions of which there are many editions.
pub(crate) struct Site {
    /// Where the gateway listens.
    pub(crate) address: SocketAddr,
    routes: u64,
    upstream: SocketAddr,
}

impl Site {
    pub(crate) fn new(routes: u64, upstream: SocketAddr) -> Result<Self, String> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(why("find a free port"))?;
        let address = free.local_addr().map_err(why("find a free port"))?;
        Ok(Self { address, routes, upstream })
    }

    /// The definitions with something in them that no other edition has.
    pub(crate) fn edition(&self, edition: u64) -> String {
        let Self { address, routes, upstream } = self;
        let mut text = format!(
            "version: 1\nsettings: {{admin: \"127.0.0.1:0\", timeouts: {{keep_alive: 10m}}}}\nlisteners: [{{address: \"{address}\"}}]\n\
             upstreams: {{one: {{endpoints: [\"{upstream}\"], timeout: {{idle: 1h}}}}}}\nchains:\n  marked: [{{headers: {{response: {{set: {{X-Edition: \"{edition}\"}}}}}}}}]\n\
             hosts:\n  load.test:\n    /*: {{to: one, chain: marked}}\n    /ws/*: {{to: one, websocket: true}}\n"
        );
        for host in 0..routes.div_ceil(ROUTES_PER_HOST) {
            let _ = writeln!(text, "  h{host}.example.com:");
            for route in 0..ROUTES_PER_HOST.min(routes - host * ROUTES_PER_HOST) {
                let _ = writeln!(text, "    /r{route}/*: {{to: one, chain: marked}}");
            }
        }
        text
    }
}

/// A process that is ended with its owner.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Control and gateway.
pub(crate) struct Node {
    gateway: Ended,
    _control: Ended,
    api: SocketAddr,
    token: String,
    _state: TempDir,
}

impl Node {
    /// Starts both and makes the first edition live.
    pub(crate) fn start(ringway: &str, site: &Site) -> Result<Self, String> {
        let state = TempDir::new().map_err(why("make a state directory"))?;
        let mut control = Command::new(ringway)
            .args(["control", "--api", "127.0.0.1:0", "--state"])
            .arg(state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(Ended)
            .map_err(why("start `ringway control`; is the binary built (cargo build --release)?"))?;
        let said = control.0.stdout.take().ok_or("control says nothing")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).map_err(why("read what control says"))?;
        let api = line.split_whitespace().last().and_then(|url| url.strip_prefix("http://"));
        let api = api.and_then(|api| api.parse().ok()).ok_or(format!("control says {line:?}"))?;
        let token =
            std::fs::read_to_string(state.path().join("control.token")).map_err(why("read the token"))?;
        let gateway = Command::new(ringway)
            .args(["gateway", "--workers", "1", "--state"])
            .arg(state.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Ended)
            .map_err(why("start `ringway gateway`"))?;
        let node = Self { gateway, _control: control, api, token: token.trim().to_owned(), _state: state };
        let mut control = node.control()?;
        let until = Instant::now() + PATIENCE;
        // The first applies may come before the gateway has asked for the first time.
        while !control.apply(&site.edition(0))? {
            if Instant::now() > until {
                return Err("the gateway did not come up".to_owned());
            }
            control.apply(&site.edition(1))?;
        }
        Ok(node)
    }

    /// A connection to control.
    pub(crate) fn control(&self) -> Result<Control, String> {
        let stream = TcpStream::connect(self.api).map_err(why("reach control"))?;
        stream.set_nodelay(true).map_err(why("reach control"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(why("reach control"))?;
        Ok(Control { stream: BufReader::new(stream), token: self.token.clone() })
    }

    /// Resident memory of the gateway, but for its record segments: those are kept on purpose, and bounded in number.
    pub(crate) fn memory_kib(&self) -> Result<u64, String> {
        let path = PathBuf::from(format!("/proc/{}/smaps", self.gateway.0.id()));
        let maps = std::fs::read_to_string(path).map_err(why("read the gateway's memory: it has ended"))?;
        let mut kib = 0;
        let mut segment = false;
        for line in maps.lines() {
            if let Some(resident) = line.strip_prefix("Rss:") {
                let resident = resident.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
                kib += resident.filter(|_| !segment).unwrap_or(0);
            } else if line.split_whitespace().next().is_some_and(|range| range.contains('-')) {
                segment = line.contains("/ringway-");
            }
        }
        if kib == 0 { Err("the gateway's memory is not told".to_owned()) } else { Ok(kib) }
    }

    /// Ends both in order, so that nothing of them is left in shared memory.
    pub(crate) fn stop(mut self) -> Result<(), String> {
        let pid = self.gateway.0.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        told.map_err(why("end the gateway")).map(drop)?;
        self.gateway.0.wait().map_err(why("wait for the gateway")).map(drop)
    }
}

/// A connection to control's API.
pub(crate) struct Control {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Control {
    /// Applies definitions and waits for the node. Whether it serves them.
    pub(crate) fn apply(&mut self, text: &str) -> Result<bool, String> {
        let body =
            json!({"documents": [{"name": "ringway.yaml", "text": text}], "wait_ms": 20_000}).to_string();
        let head = format!(
            "POST /v1/generations HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        let sent = self.stream.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat());
        sent.map_err(why("send an apply"))?;
        let reply = self.reply().map_err(why("read what an apply came to"))?;
        Ok(reply.pointer("/live/live").and_then(Value::as_u64) == Some(1))
    }

    fn reply(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        let mut length = None;
        let mut status = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("control closed".to_owned());
            }
            if status.is_empty() {
                status = line.trim().to_owned();
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
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
