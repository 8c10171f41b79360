//! The admin listener: metrics, readiness, upstreams. A helper thread, plain HTTP, loopback unless told otherwise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringway_record::metrics::{CONTENT_TYPE, Info};
use ringway_rt::Doorbell;
use ringway_snapshot::model::Settings;
use ringway_wire::buffer::{Buffer, Class};
use ringway_wire::head::{Framing, RequestHead};
use ringway_wire::http1::{Parse, ResponseExtra, parse_request, write_status_head};
use ringway_wire::limits::HeadLimits;
use ringway_wire::method::Method;
use ringway_wire::overlay::Overlay;

use crate::names::KnownNames;
use crate::node::Node;

/// Requests served at once; more wait in the kernel.
const THREADS_MAX: usize = 16;
/// How long one request may take to come and its reply to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts at an address that could not be bound.
const BIND_EVERY: Duration = Duration::from_secs(1);
/// After an attempt to accept that failed: descriptors or memory have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a node may be without a generation before it says so on the default address.
const FIRST_GENERATION: Duration = Duration::from_secs(2);

/// Serves the admin address of the current generation; moves with it. Before there is one, the default: whoever asks whether
/// the node lives and is ready gets an answer. Waits for callers and for the node's bell, and looks for nothing.
pub(crate) fn run(node: &Arc<Node>) {
    let busy = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tried = started;
    let mut configured: Option<SocketAddr> = None;
    let mut listener: Option<TcpListener> = None;
    loop {
        let unknown = || (started.elapsed() >= FIRST_GENERATION).then(|| Settings::default().admin_address);
        let wanted = node.published.current().map(|generation| generation.settings.admin_address);
        let wanted = wanted.or_else(unknown);
        if wanted != configured || (listener.is_none() && tried.elapsed() >= BIND_EVERY) {
            listener = wanted.and_then(|address| bind(node, address));
            configured = wanted;
            tried = Instant::now();
        }
        let waiting = listener.as_ref().filter(|_| busy.load(Ordering::Acquire) < THREADS_MAX);
        let waited = match waiting.map(TcpListener::accept) {
            Some(Ok((stream, _))) => {
                start(node, stream, Serving::new(&busy, &node.admin_bell));
                continue;
            }
            Some(Err(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                node.admin_bell.wait_beside(waiting.map(AsFd::as_fd), None)
            }
            Some(Err(_)) => node.admin_bell.wait_beside(None, Some(ACCEPT_PAUSE)),
            // The first of so many requests that ends rings, and so does a generation that is published.
            None if listener.is_some() => node.admin_bell.wait_beside(None, None),
            None => {
                let (since, long) =
                    if wanted.is_some() { (tried, BIND_EVERY) } else { (started, FIRST_GENERATION) };
                node.admin_bell.wait_beside(None, Some(long.saturating_sub(since.elapsed())))
            }
        };
        if waited.is_err() {
            std::thread::sleep(ACCEPT_PAUSE);
        }
    }
}

fn start(node: &Arc<Node>, stream: TcpStream, serving: Serving) {
    let node = Arc::clone(node);
    let started = std::thread::Builder::new().name("admin-request".to_owned()).spawn(move || {
        let _serving = serving;
        if let Err(error) = serve(&node, stream) {
            tracing::debug!(%error, "admin request not answered");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "no thread for an admin request");
    }
}

/// One of the requests that are served at once; given back however its thread ends.
struct Serving {
    busy: Arc<AtomicUsize>,
    bell: Doorbell,
}

impl Serving {
    fn new(busy: &Arc<AtomicUsize>, bell: &Doorbell) -> Self {
        busy.fetch_add(1, Ordering::AcqRel);
        Self { busy: Arc::clone(busy), bell: bell.clone() }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.busy.fetch_sub(1, Ordering::AcqRel) >= THREADS_MAX {
            self.bell.ring();
        }
    }
}

fn bind(node: &Node, address: SocketAddr) -> Option<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    match bound {
        Ok((at, listener)) => {
            node.set_admin(Ok(at));
            tracing::info!(address = %at, "admin listening");
            Some(listener)
        }
        Err(error) => {
            let problem = format!("the admin listener is not bound to {address}: {error}");
            if node.problems() != [problem.as_str()] {
                tracing::error!(%address, %error, "admin listener not bound; it is tried again each second");
            }
            node.set_admin(Err(problem));
            None
        }
    }
}

fn serve(node: &Node, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let until = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut buffer = Buffer::take(Class::K16);
    let head = loop {
        let mut chunk = [0; 4096];
        let left = until.checked_duration_since(Instant::now()).ok_or(std::io::ErrorKind::TimedOut)?;
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let count = stream.read(&mut chunk)?;
        buffer.vec_mut().extend_from_slice(chunk.get(..count).unwrap_or_default());
        match parse_request(buffer, &HeadLimits::DEFAULT) {
            Parse::Complete(head) => break head,
            Parse::Partial(back) if count > 0 => buffer = back,
            Parse::Partial(_) => return Ok(()),
            Parse::Reject(reject, _) => {
                return send(&mut stream, None, reject.status(), "text/plain", reject.name());
            }
        }
    };
    let (status, content_type, body) = answer(node, &head);
    send(&mut stream, Some(&head), status, content_type, &body)
}

fn answer(node: &Node, head: &RequestHead) -> (u16, &'static str, String) {
    const TEXT: &str = "text/plain; charset=utf-8";
    const JSON: &str = "application/json";
    if !matches!(head.method(), Method::Get | Method::Head) {
        return (405, TEXT, "GET and HEAD only\n".to_owned());
    }
    match head.path() {
        b"/metrics" => (200, CONTENT_TYPE, metrics(node)),
        b"/live" => (200, TEXT, "live\n".to_owned()),
        b"/ready" if node.draining() => (503, TEXT, "draining\n".to_owned()),
        b"/ready" if node.published.current().is_none() => (503, TEXT, "no snapshot yet\n".to_owned()),
        b"/ready" => (200, TEXT, "ready\n".to_owned()),
        b"/upstreams" => (200, JSON, pretty(&upstreams(node))),
        b"/status" => (200, JSON, pretty(&report(node))),
        _ => (404, TEXT, "/metrics /ready /live /upstreams /status\n".to_owned()),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn metrics(node: &Node) -> String {
    node.refresh_gauges();
    let merged = node.metrics.merge();
    let mut names = KnownNames::default();
    if let Some(generation) = node.published.current() {
        names.learn(&generation, merged.route_ids());
    }
    merged.print(&names, Info { driver: &node.driver(), version: env!("CARGO_PKG_VERSION") })
}

/// What the node says of itself to control and on `/status`.
pub(crate) fn report(node: &Node) -> serde_json::Value {
    serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "workers": node.workers(),
        "driver": node.driver(),
        "listeners": node.listening().iter().map(|(_, bound)| bound.to_string()).collect::<Vec<_>>(),
        "admin": node.admin_address().map(|address| address.to_string()),
        "problems": node.problems(),
        "upstreams": upstreams(node),
    })
}

fn upstreams(node: &Node) -> serde_json::Value {
    let seen = node.upstreams.seen();
    let Some(generation) = node.published.current() else { return serde_json::json!([]) };
    let upstreams = generation.upstreams.iter().map(|upstream| {
        let endpoints = upstream.addresses().map(|at| {
            let seen = seen.get(&at.address).copied().unwrap_or_default();
            serde_json::json!({
                "address": at.address.to_string(),
                "weight": at.weight,
                "priority": at.priority,
                "requests": seen.requests,
                "failures": seen.failures,
                "in_flight": seen.in_flight,
                "connections": seen.connections,
                "idle": seen.idle,
                "passed_over": seen.penalised > 0,
            })
        });
        serde_json::json!({ "name": upstream.name, "endpoints": endpoints.collect::<Vec<_>>() })
    });
    serde_json::Value::Array(upstreams.collect())
}

fn send(
    stream: &mut TcpStream,
    head: Option<&RequestHead>,
    status: u16,
    content_type: &str,
    body: &str,
) -> std::io::Result<()> {
    let version = ringway_wire::head::Version::Http11;
    let extra = ResponseExtra { version, close: true, upgrade: None, date: None };
    let fields = [(&b"Content-Type"[..], content_type.as_bytes()), (&b"Cache-Control"[..], &b"no-store"[..])];
    let mut out = Vec::with_capacity(256 + body.len());
    let framing = Framing::Length(body.len() as u64);
    write_status_head(&mut out, status, fields, &Overlay::take(), framing, &extra)
        .map_err(std::io::Error::other)?;
    if head.is_none_or(|head| head.method() != Method::Head) {
        out.extend_from_slice(body.as_bytes());
    }
    stream.write_all(&out)?;
    stream.shutdown(std::net::Shutdown::Write)
}
